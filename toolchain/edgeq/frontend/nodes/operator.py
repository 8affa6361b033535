"""FixedOperator of `edgeq.custom_op`: an operator of the integer graph, on the integers of the casts before it."""

from __future__ import annotations

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fixed_point import INTEGER
from edgeq.frontend.exact import Lane
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.nodes.quantizers import codes_of, power_of_two
from edgeq.frontend.symbols import Const, Sym, Value
from edgeq.operators import NAME, build, operator_class


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
    tensors = []
    for index in range(arity):
        tensors.append(call.builder.in_layout(codes_of(call, index, power_of_two(call, arity + index))).tensor)
    out = power_of_two(call, len(call.inputs) - 1)
    tensor, made = call.builder.emit(op, *tensors)
    return call.builder.record(Sym(tensor, made, (Lane(out),), made.shape), call.output, [0.0])


def stored(call: Call, index: int) -> np.ndarray | None:
    value = call.const(index)
    return value.array if isinstance(value, Const) else None
