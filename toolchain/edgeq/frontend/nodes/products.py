"""Conv, MatMul, Gemm: sums of products of an integer activation and integer weights."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.frontend.exact import UNIT, Lane, merge, spread
from edgeq.frontend.nodes import tokens
from edgeq.frontend.nodes.call import NO_PADS, Call, handles
from edgeq.frontend.nodes.windows import padding, pair
from edgeq.frontend.symbols import Const, QConst, Sym, Value, integer_weights
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense


def weights(call: Call, index: int) -> tuple[np.ndarray, np.ndarray]:
    value = call.const(index)
    if value is None:
        raise call.refuse("the weights are missing")
    try:
        return integer_weights(value)
    except EdgeqError as error:
        raise call.refuse(error.what, error.fix) from None


def output_scales(call: Call, scale: np.ndarray, axis: int) -> list[Fraction]:
    """Weight scales as one a output channel, or one; axis: that of the output channels."""
    if any(d != 1 for i, d in enumerate(scale.shape) if i != axis):
        raise call.refuse(f"the weights have scales of shape {scale.shape}", "one scale a tensor, or one an output channel")
    return list(scale.ravel())


def operand(call: Call, sym: Sym, groups: int, padded: bool) -> tuple[Sym, tuple[Fraction, ...], tuple[Fraction, ...]]:
    """(activation, its scale, its offset, each one a group or one a channel) ready for a sum of products.

    Where nothing is padded an offset stays outside: sum w*(a*v + b) = a*sum w*v + b*sum w.
    """
    sym = call.builder.in_layout(sym.tightened())
    size = sym.shape[0] // groups
    scales = sym.scales if len(sym.scales) > 1 else sym.scales * sym.shape[0]
    grouped = [merge(scales[i : i + size]) for i in range(0, len(scales), size)]
    uniform = all(len(g) == 1 for g in grouped)
    if not sym.clips and uniform and sym.offsets == (0,):
        return sym, merge(g[0] for g in grouped), (Fraction(0),)
    try:
        made = call.builder.scaled(sym)
        call.builder.narrow(made)
        return made, made.scales, (Fraction(0),)
    except EdgeqError:
        if sym.clips or not uniform or padded:
            raise
        return sym, merge(g[0] for g in grouped), sym.offsets


def product(
    call: Call, made: Sym, x: Sym, weight: np.ndarray, scale: list[Fraction], x_scale: tuple[Fraction, ...], base: list[Fraction],
    bias: Const | QConst | None, factor: Fraction,
) -> Sym:  # fmt: skip
    """The real value of an accumulator: x_scale * scale * factor * v + base + bias, one a output channel, recorded."""
    count = len(weight)
    per_group = np.repeat(np.array(x_scale, dtype=object), count // len(x_scale))
    total = [s * t * factor for s, t in zip(np.broadcast_to(np.array(scale, dtype=object), (count,)), per_group, strict=True)]
    extra = [Fraction(0)] * count
    if bias is not None:
        values = call.finite(bias).ravel()
        if values.size not in (1, count):
            raise call.refuse(f"the bias has {values.size} values for {count} channels", "one a channel")
        extra = list(np.broadcast_to(values, (count,)))
    sums = np.abs(weight).reshape(count, -1).sum(axis=1)
    reach, terms = x.reach or 0, weight[0].size
    # The error of the activations in units of their integer; 0 where a float32 holds them exactly.
    unit = max((lane.error(reach) / abs(float(lane.a)) for lane in x.lanes if lane.a), default=0.0)
    lanes, errors = [], []
    for a, b, e, most in zip(total, np.broadcast_to(np.array(base, dtype=object), (count,)), extra, sums.tolist(), strict=True):
        lanes.append(Lane(a, b + e))
        size = abs(float(a)) * most * reach + abs(float(b)) + abs(float(e))
        error = 1.01 * abs(float(a)) * most * unit
        errors.append(error if lanes[-1].is_float32(most * reach) else error + 1.01 * (terms + 6) * UNIT * size)
    return call.builder.record(made.with_lanes(lanes), call.output, errors)


@handles("Conv")
def conv(call: Call) -> Value:
    weight, scale = weights(call, 1)
    if weight.ndim != 4:
        raise call.refuse(f"the weights have shape {weight.shape}", "two-dimensional convolutions, [Cout, Cin/groups, Kh, Kw]")
    sym, waiting = call.integers(), NO_PADS
    if sym.pads != NO_PADS:
        sym, waiting = replace(sym, pads=NO_PADS), sym.pads
    if len(sym.shape) != 3:
        raise call.refuse(f"the input has shape {(call.batch, *sym.shape)}", "images [N, C, H, W]")
    kernel, stride, dilation = weight.shape[2:], pair(call, "strides"), pair(call, "dilations")
    declared = tuple(call.attribute("kernel_shape", kernel))
    if declared != kernel:
        raise call.refuse(f"kernel_shape {declared} is not that of the weights {weight.shape}")
    size = (sym.shape[1] + waiting[0] + waiting[2], sym.shape[2] + waiting[1] + waiting[3])
    own = padding(call, size, kernel, stride, dilation)
    pads = (own[0] + waiting[0], own[1] + waiting[1], own[2] + waiting[2], own[3] + waiting[3])
    groups = int(call.attribute("group", 1))
    if groups < 1 or weight.shape[1] * groups != sym.shape[0] or len(weight) % groups:
        raise call.refuse(f"{sym.shape[0]} channels do not match weights {weight.shape} in {groups} groups")
    x, x_scale, offset = operand(call, sym, groups, any(pads))
    call.builder.narrow(x)
    binary = x.type.bipolar and bool(np.all(np.abs(weight) == 1))
    op = (BinaryConv2d if binary else Conv2d)(weight, None, stride, pads, dilation, groups)
    tensor, kind = call.builder.emit(op, x.tensor)
    made = Sym(tensor, kind, (), kind.shape)
    per_output = output_scales(call, scale, 0)
    base = offset_of(weight, per_output, offset, groups)
    return product(call, made, x, weight, per_output, x_scale, base, call.const(2), Fraction(1))


def offset_of(weight: np.ndarray, scale: list[Fraction], offset: tuple[Fraction, ...], groups: int) -> list[Fraction]:
    """What an offset of the input channels adds to each output channel: sum over k of scale * weight * offset."""
    if offset == (0,):
        return [Fraction(0)]
    count, per_group = len(weight), weight.shape[1]
    taps = weight.reshape(count, per_group, -1).sum(axis=2)
    channels = np.array(spread(offset, per_group * groups), dtype=object)
    found = []
    for o in range(count):
        first = o // (count // groups) * per_group
        found.append(sum((int(w) * b for w, b in zip(taps[o], channels[first : first + per_group], strict=True)), Fraction(0)))
    return [s * f for s, f in zip(np.broadcast_to(np.array(scale, dtype=object), (count,)), found, strict=True)]


def dense(call: Call, weight: np.ndarray, scale: list[Fraction], bias: Const | QConst | None, factor: Fraction) -> Sym:
    """A vector by weight [O, F]."""
    sym = call.integers()
    if len(sym.shape) != 1 or sym.batch != 0:
        raise call.refuse(f"{call.node.op_type} reads a tensor of shape {call.full(sym)}", "flatten to [N, F] before it")
    if weight.shape[1] != sym.shape[0]:
        raise call.refuse(f"{sym.shape[0]} features do not match weights {weight.shape}")
    x, x_scale, offset = operand(call, sym, 1, False)
    call.builder.narrow(x)
    binary = x.type.bipolar and bool(np.all(np.abs(weight) == 1))
    tensor, kind = call.builder.emit((BinaryDense if binary else Dense)(weight), x.tensor)
    base = [factor * b for b in offset_of(weight, scale, offset, 1)]
    return product(call, Sym(tensor, kind, (), kind.shape), x, weight, scale, x_scale, base, bias, factor)


def linear(call: Call, weight: np.ndarray, scale: list[Fraction], bias: Const | QConst | None, factor: Fraction) -> Sym:
    """[..., D] by weight [O, D]: a convolution of 1 x 1 pixels."""
    shape, batch = call.integers().shape, call.sym().batch
    if weight.shape[1] != shape[-1] or batch == len(shape):
        raise call.refuse(f"the last of {call.full(call.sym())} does not match weights {weight.shape}")
    x, x_scale, offset = operand(call, tokens.plain(tokens.by_feature(call, call.integers())), 1, False)
    call.builder.narrow(x)
    kernel = weight[:, :, None, None]
    binary = x.type.bipolar and bool(np.all(np.abs(weight) == 1))
    tensor, kind = call.builder.emit((BinaryConv2d if binary else Conv2d)(kernel), x.tensor)
    base = [factor * b for b in offset_of(weight, scale, offset, 1)]
    made = tokens.placed(Sym(tensor, kind, (), kind.shape, batch=batch), (*shape[:-1], len(weight)))
    return product(call, made, x, kernel, scale, x_scale, base, bias, factor)


@handles("MatMul")
def matmul(call: Call) -> Value:
    if isinstance(call.value(1), Sym):
        if isinstance(call.value(0), Sym):
            return tokens.activations(call)
        raise call.refuse("a MatMul with the weights first", "activation by weights: x @ w")
    weight, scale = weights(call, 1)
    if weight.ndim != 2:
        raise call.refuse(f"the weights have shape {weight.shape}", "a matrix [F, O]")
    weight, per_output = np.ascontiguousarray(weight.T), output_scales(call, scale, 1)
    return (dense if len(call.integers().shape) == 1 else linear)(call, weight, per_output, None, Fraction(1))


@handles("Gemm")
def gemm(call: Call) -> Value:
    if call.attribute("transA", 0):
        raise call.refuse("Gemm with transA=1", "transA=0: rows are frames")
    weight, scale = weights(call, 1)
    if weight.ndim != 2:
        raise call.refuse(f"the weights have shape {weight.shape}", "a matrix")
    if not call.attribute("transB", 0):
        weight, scale = np.ascontiguousarray(weight.T), scale.T
    alpha, beta = (Fraction(float(call.attribute(name, 1.0))) for name in ("alpha", "beta"))
    if alpha == 0:
        raise call.refuse("Gemm with alpha=0")
    bias = call.const(2)
    if bias is not None and beta != 1:
        bias = QConst(np.ones(bias.shape, np.int64), call.finite(bias) * beta)
    layer = linear if call.integers().batch is None else dense
    return layer(call, weight, output_scales(call, scale, 0), bias, alpha)
