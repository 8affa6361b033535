"""Sequences of tokens: [N, T, D] and, split into heads, [N, heads, T, d].

Their tensor is (D, 1, T), a pixel a token, of which the source's is another order (`views.py`): a linear layer is a convolution
of 1 x 1 pixels, and attention has operators of its own.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.frontend import views
from edgeq.frontend.builder import shown
from edgeq.frontend.exact import UNIT, Lane, common_divisor, merge
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.symbols import Const, QConst, Sym, Value, per_channel, spread_over
from edgeq.frontend.views import Order, Shape
from edgeq.graph import Op
from edgeq.ops.add import MAX_MULTIPLIER_BITS
from edgeq.ops.add_position import AddPosition
from edgeq.ops.append_tokens import AppendTokens
from edgeq.ops.attention_scores import AttentionScores
from edgeq.ops.attention_values import AttentionValues
from edgeq.ops.select_channels import SelectChannels
from edgeq.ops.select_tokens import SelectTokens


def features_last(shape: Shape) -> Order:
    """The order of [..., D] of a tensor with D channels."""
    return views.transposed(None, (shape[-1], *shape[:-1]), (*range(1, len(shape)), 0))


def by_feature(call: Call, sym: Sym) -> Sym:
    """[..., D] on a tensor of D channels, a pixel a token."""
    shape = sym.shape
    return call.builder.as_tensor(sym, (shape[-1], 1, prod(shape[:-1])), features_last(shape))


def plain(sym: Sym) -> Sym:
    """The tensor itself."""
    return replace(sym, shape=sym.type.shape, order=None)


def placed(sym: Sym, shape: Shape) -> Sym:
    """[..., D] of a tensor with D channels."""
    return replace(sym, shape=shape, order=features_last(shape))


# Attention


def activations(call: Call) -> Value:
    """MatMul of two activations, [h, M, K] by [h, K, N]: scores of queries and keys, or an attention map and values.

    Either operator gives any such product; it is the one whose operands lie as they are wanted.
    """
    a, b = call.integers(0), call.integers(1)
    leading = a.batch == b.batch and a.batch in (*range(len(a.shape) - 1), None)
    alike = len(a.shape) in (2, 3) and a.shape[:-2] == b.shape[:-2] and len(a.shape) == len(b.shape)
    if not leading or not alike or a.shape[-1] != b.shape[-2]:
        what = f"a MatMul of two activations of shapes {call.full(a)} and {call.full(b)}"
        raise call.refuse(what, "[N, heads, T, d] by [N, heads, d, T]")
    heads, (m, k, n) = prod(a.shape[:-2]), (*a.shape[-2:], b.shape[-1])
    turned = (0, 2, 1)
    scores = ((heads * k, 1, m), views.transposed(None, (heads, k, m), turned)), ((heads * k, 1, n), None)
    values = ((heads, m, k), None), ((heads * n, 1, k), views.transposed(None, (heads, n, k), turned))

    def moves(forms: tuple[tuple[Shape, Order], ...]) -> int:
        pairs = zip((a, b), forms, strict=True)
        return sum((s.order, s.type.channels, s.type.pixels) != (order, shape[0], prod(shape[1:])) for s, (shape, order) in pairs)

    as_scores = moves(scores) <= moves(values)
    operands = []
    for sym, (shape, order) in zip((a, b), scores if as_scores else values, strict=True):
        made = call.builder.scaled(call.builder.as_tensor(sym, shape, order))
        if not as_scores and order is None:
            made = call.builder.in_layout(replace(made, shape=shape, order=None))
        operands.append(call.builder.narrow(made))
    op = AttentionScores(heads) if as_scores else AttentionValues(heads)
    tensor, kind = call.builder.emit(op, *(s.tensor for s in operands))
    order = None if as_scores else views.transposed(None, (heads, n, m), turned)
    scale = operands[0].scales[0] * operands[1].scales[0]
    lane, size = Lane(scale), abs(float(scale)) * k * prod(s.reach or 0 for s in operands)
    off = sum(s.lanes[0].error(s.reach or 0) / abs(float(s.scales[0]) * (s.reach or 1)) for s in operands)
    error = 1.01 * off * size
    if not lane.is_float32(k * prod(s.reach or 0 for s in operands)):
        error += 1.01 * (k + 6) * UNIT * size
    made = Sym(tensor, kind, (lane,), (*a.shape[:-1], n), order, batch=a.batch)
    return call.builder.record(made, call.output, [error])


# Constants among tokens


def in_units(call: Call, sym: Sym, values: np.ndarray) -> tuple[Sym, np.ndarray]:
    """(sym with one scale, exact values as int64 in units of it): both of the largest unit that they share."""
    sym = call.builder.scaled(sym)
    unit = common_divisor((sym.scales[0], *set(values.ravel().tolist())))
    factor = abs(sym.scales[0]) / unit
    if factor >= 1 << (MAX_MULTIPLIER_BITS - 1):
        what = f"a constant that no integers of {MAX_MULTIPLIER_BITS} bits relate to activations of scale {shown(sym.scales)}"
        raise call.refuse(what, "quantize the constant, by the quantizer of the activations or one of 2^k times its scale")
    if sym.scales[0] < 0 or factor > 1:
        sym = call.builder.multiplied(sym, int(sym.scales[0] / unit))
    codes = np.array([int(v / unit) for v in values.ravel().tolist()], np.int64).reshape(values.shape)
    return sym, codes


def position(call: Call, sym: Sym, value: Const | QConst | None, sign: int) -> Sym | None:
    """sym + sign * a constant that differs from pixel to pixel; None where it does not."""
    if value is None or value.array.size == 1 or sym.is_input or len(sym.type.shape) != 3:
        return None
    values = call.aligned(call.finite(value), sym)
    try:
        per_channel(values, sym)
        return None
    except EdgeqError:
        spread = sign * spread_over(values, sym)
    sym, codes = in_units(call, sym, spread.reshape(sym.type.channels, -1))
    tensor, kind = call.builder.emit(AddPosition(codes), sym.tensor)
    lane = sym.lanes[0].rounded(max(abs(kind.lo), abs(kind.hi)))
    return call.builder.record(replace(sym, tensor=tensor, type=kind, lanes=(lane,)), call.output)


def append(call: Call) -> Value:
    """Concat of tokens [N, T, D] and constant ones, behind them or in front."""
    front = int(not isinstance(call.value(0), Sym))
    if len(call.inputs) != 2 or isinstance(call.value(1 - front), Sym):
        raise call.refuse("two activations joined along their tokens, or more", "tokens and constant ones")
    sym, value = by_feature(call, call.integers(front)), call.const(1 - front)
    assert value is not None
    count, features = sym.shape
    if value.array.ndim != 3 or value.shape[0] not in (1, call.batch) or value.shape[2] != features:
        raise call.refuse(f"a constant of shape {value.shape} beside tokens {(call.batch, *sym.shape)}", "[N, K, D]")
    values = call.finite(value)
    if np.any(values != values[:1]):
        raise call.refuse("tokens that differ from frame to frame", "the same for all")
    sym, codes = in_units(call, sym, values[0].T)
    tensor, kind = call.builder.emit(AppendTokens(codes, front), sym.tensor)
    made = placed(replace(sym, tensor=tensor, type=kind), (count + codes.shape[1], features))
    return call.builder.record(made, call.output)


# Some of the tokens, or of the features


def selected(call: Call, axis: int, start: int, count: int) -> Sym:
    """The elements start to start + count - 1 along an axis of the source."""
    sym, at = call.integers(), call.axis(call.sym(), axis)
    size = sym.shape[at]
    if count < 1:
        raise call.refuse(f"{call.node.op_type} of nothing", "one element or more")
    if count == size:
        return sym
    found = views.cut(sym.order, sym.shape, sym.type.shape, at, count)
    if found is None and len(sym.shape) == 2:
        sym = by_feature(call, sym)
        found = views.cut(sym.order, sym.shape, sym.type.shape, at, count)
    if found is None:
        what = f"{call.node.op_type} along axis {axis} of {call.full(sym)}, whose elements lie apart in {sym.type}"
        raise call.refuse(what, "whole tokens, or q, k and v as the outermost of the features: [N, T, 3, heads, d]")
    channels, order = found
    lanes = sym.lanes
    if channels:
        inner = sym.type.channels // size
        op: Op = SelectChannels(start * inner, count * inner)
        lanes = merge(lanes[start * inner : (start + count) * inner]) if len(lanes) > 1 else lanes
    else:
        inner = sym.type.pixels // size
        op = SelectTokens(start * inner, count * inner)
    tensor, kind = call.builder.emit(op, sym.tensor)
    shape = (*sym.shape[:at], count, *sym.shape[at + 1 :])
    return replace(sym, tensor=tensor, type=kind, lanes=lanes, shape=shape, order=order)


@handles("Gather")
def gather(call: Call) -> Value:
    indices = call.array(1)
    if indices is None or not np.issubdtype(indices.dtype, np.integer) or indices.ndim > 1 or indices.size == 0:
        raise call.refuse("Gather with such indices", "constant integers, one or a row")
    full = call.full(call.integers())
    axis = int(call.attribute("axis", 0)) % len(full)
    rows = [int(v) + (full[axis] if v < 0 else 0) for v in indices.ravel()]
    if rows != list(range(rows[0], rows[0] + len(rows))) or rows[0] < 0 or rows[-1] >= full[axis]:
        raise call.refuse(f"Gather of the elements {rows[:8]}", f"elements of {full[axis]} that follow each other")
    sym = call.builder.record(selected(call, axis, rows[0], len(rows)), call.output)
    return sym if indices.ndim else call.framed(sym, full[:axis] + full[axis + 1 :])


@handles("Slice")
def take(call: Call) -> Value:
    starts, ends = call.integers_of(1, "starts"), call.integers_of(2, "ends")
    axes, steps = call.integers_of(3, "axes"), call.integers_of(4, "steps")
    if starts is None or ends is None or len(starts) != 1 or len(ends) != 1 or (steps or [1]) != [1]:
        raise call.refuse("Slice of several axes, or with steps", "one axis, step 1")
    full = call.full(call.integers())
    axis = (axes or [0])[0] % len(full)
    start, end = (min(max(v + full[axis] if v < 0 else v, 0), full[axis]) for v in (starts[0], ends[0]))
    if (start, end) == (0, full[axis]):
        return call.sym()
    return call.builder.record(selected(call, axis, start, end - start), call.output)


@handles("Split")
def split(call: Call) -> list[Value]:
    full = call.full(call.integers())
    axis, count = int(call.attribute("axis", 0)) % len(full), len(call.node.output)
    each = -(-full[axis] // count)
    sizes = call.integers_of(1, "split") or [each] * (count - 1) + [full[axis] - each * (count - 1)]
    if len(sizes) != count or sum(sizes) != full[axis]:
        raise call.refuse(f"Split of {full[axis]} into {sizes}", "constant sizes, one an output")
    starts = np.cumsum([0, *sizes])
    parts = zip(call.node.output, starts.tolist(), sizes, strict=False)
    return [call.builder.record(selected(call, axis, start, size), name) for name, start, size in parts]
