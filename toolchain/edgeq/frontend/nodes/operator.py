"""FixedOperator of `edgeq.custom_op`: an operator of the integer graph, on the integers of the casts before it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fixed_point import INTEGER
from edgeq.frontend.builder import shown
from edgeq.frontend.exact import Lane
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.nodes.quantizers import quantizer_parameters
from edgeq.frontend.symbols import Const, Sym, Value
from edgeq.operators import NAME, build, operator_class

MAX_DRIFT = 0.25
"""How far float32 engines may be off a code, in codes, for it to be found again."""


@handles(INTEGER)
def fixed_operator(call: Call) -> Value:
    kind = call.attribute(NAME, "")
    try:
        arity = operator_class(kind).arity
        if len(call.inputs) < 2 * arity + 1:
            fix = "its tensors, a scale for each, its arrays, the scale of the result"
            raise EdgeqError(f"{kind} has {len(call.inputs)} inputs", fix=fix)
        fields = {name: call.attribute(name, 0) for name in call.attributes if name != NAME}
        op = build(kind, fields, [stored(call, i) for i in range(2 * arity, len(call.inputs) - 1)])
    except EdgeqError as error:
        raise call.refuse(error.what, error.fix) from None
    tensors = [call.builder.in_layout(multiple(call, i, one_scale(call, arity + i))).tensor for i in range(arity)]
    out = one_scale(call, len(call.inputs) - 1)
    tensor, made = call.builder.emit(op, *tensors)
    return call.builder.record(Sym(tensor, made, (Lane(out),), made.shape), call.output, [0.0])


def one_scale(call: Call, index: int) -> Fraction:
    _, exact = quantizer_parameters(call, index)
    if exact.size != 1:
        raise call.refuse(f"{exact.size} scales of a tensor", "one")
    scale: Fraction = exact.ravel()[0]
    return scale


def multiple(call: Call, index: int, scale: Fraction) -> Sym:
    """An input as integers of unit `scale`: of codes of that scale, or of a multiple of it, as near as float32 has both."""
    sym = call.integers(index).tightened()
    factor = round(sym.scales[0] / scale)
    reach = sym.reach or 0
    drift = abs(float(sym.scales[0] / scale) - factor) * reach + sym.lanes[0].error(reach) / float(scale)
    if sym.clips or len(sym.scales) > 1 or sym.offsets != (0,) or factor < 1 or drift >= MAX_DRIFT:
        what = f"values of scale {shown(sym.scales)} and offset {shown(sym.offsets)} are no codes of scale {shown((scale,))}"
        raise call.refuse(what, "a cast to this scale right before it")
    return sym if factor == 1 else call.builder.multiplied(sym, factor)


def stored(call: Call, index: int) -> np.ndarray | None:
    value = call.const(index)
    return value.array if isinstance(value, Const) else None
