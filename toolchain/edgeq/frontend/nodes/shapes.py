"""Reshape and its kin, and what stands at the end: ArgMax, Softmax."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from edgeq.frontend.exact import Lane
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.symbols import Const, QConst, Sym, Value
from edgeq.graph import MAX_ELEMENTS
from edgeq.ops.argmax import Argmax


@handles("Reshape")
def reshape(call: Call) -> Value:
    value, target = call.value(0), call.integers_of(1, "shape")
    if target is None or value is None:
        raise call.refuse("the shape is missing")
    full = call.full(value) if isinstance(value, Sym) else list(value.shape)
    dims = [full[i] if d == 0 and i < len(full) and not call.attribute("allowzero", 0) else d for i, d in enumerate(target)]
    rest = prod(d for d in dims if d != -1)
    if dims.count(-1) == 1 and rest > 0 and prod(full) % rest == 0:
        dims[dims.index(-1)] = prod(full) // rest
    if prod(dims) != prod(full) or min(dims, default=1) < 1:
        raise call.refuse(f"cannot reshape {full} to {target}")
    if not isinstance(value, QConst):
        return call.framed(call.sym(), dims)
    moved = value.values.reshape(dims)
    if value.scale.size == 1:
        return QConst(moved, value.scale.reshape((1,) * len(dims)))
    if value.scale.size == value.scale.shape[0] and dims[0] == full[0]:
        return QConst(moved, value.scale.reshape(-1, *(1,) * (len(dims) - 1)))
    return Const(value.array.reshape(dims), value.fuzz)


@handles("Expand")
def expand(call: Call) -> Value:
    value, target = call.value(0), call.array(1)
    if not isinstance(value, QConst) or target is None:
        raise call.refuse("Expand of an activation", "constants only")
    shape = np.broadcast_shapes(value.shape, tuple(int(d) for d in target.ravel()))
    if prod(shape) > MAX_ELEMENTS:
        raise call.refuse(f"a constant of {prod(shape):,} elements")
    wide = (1,) * (len(shape) - value.scale.ndim) + value.scale.shape
    return QConst(np.broadcast_to(value.values, shape).copy(), value.scale.reshape(wide))


@handles("Flatten")
def flatten(call: Call) -> Value:
    sym = call.sym()
    full = call.full(sym)
    axis = int(call.attribute("axis", 1)) % (len(full) + 1)
    return call.framed(sym, [prod(full[:axis]), prod(full[axis:])])


@handles("Transpose")
def transpose(call: Call) -> Value:
    value = call.value(0)
    if isinstance(value, QConst):
        perm = call.attribute("perm", list(range(value.values.ndim))[::-1])
        if sorted(perm) != list(range(value.values.ndim)):
            raise call.refuse(f"Transpose by {perm} of {value.values.ndim} dimensions")
        return replace(value, values=value.values.transpose(perm), scale=value.scale.transpose(perm))
    sym = call.sym()
    full = call.full(sym)
    perm = tuple(int(p) for p in call.attribute("perm", list(range(len(full)))[::-1]))
    if sorted(perm) != list(range(len(full))) or (call.batch > 1 and perm[0] != 0):
        raise call.refuse(f"Transpose by {list(perm)} moves the batch", "keep axis 0 first, or export with a batch of 1")
    if perm == tuple(range(len(full))):
        return sym
    if perm[0] == sym.batch == 0:
        return call.builder.transposed(sym, tuple(p - 1 for p in perm[1:]))
    made = call.builder.transposed(call.builder.reshaped(sym, tuple(full)), perm)
    return call.framed(made, list(made.shape))


@handles("SpaceToDepth", "DepthToSpace")
def blocks(call: Call) -> Value:
    """Blocks of b x b pixels as channels of one pixel, and back; the order of the channels as ONNX defines it."""
    sym = call.sym()
    size = call.attribute("blocksize", 0)
    gather = call.node.op_type == "SpaceToDepth"
    split, unit = (sym.shape[1:], size) if gather else (sym.shape[:1], size * size)
    if len(sym.shape) != 3 or size < 1 or any(d % unit for d in split):
        raise call.refuse(f"{call.node.op_type} in blocks of {size} of the shape {(call.batch, *sym.shape)}")
    c, h, w = sym.shape
    if gather:
        view, perm, shape = (c, h // size, size, w // size, size), (2, 4, 0, 1, 3), (c * size * size, h // size, w // size)
    elif call.attribute("mode", "DCR") == "CRD":
        view, perm, shape = (c // size**2, size, size, h, w), (0, 3, 1, 4, 2), (c // size**2, h * size, w * size)
    else:
        view, perm, shape = (size, size, c // size**2, h, w), (2, 3, 0, 4, 1), (c // size**2, h * size, w * size)
    return call.builder.reshaped(call.builder.transposed(call.builder.reshaped(sym, view), perm), shape)


@handles("Squeeze")
def squeeze(call: Call) -> Value:
    sym = call.sym()
    full = call.full(sym)
    axes = call.integers_of(1, "axes")
    drop = {a % len(full) for a in axes} if axes is not None else {i for i, d in enumerate(full) if d == 1 and i != sym.batch}
    if any(full[a] != 1 for a in drop):
        raise call.refuse(f"cannot squeeze axes {sorted(drop)} of {full}")
    return call.framed(sym, [d for i, d in enumerate(full) if i not in drop])


@handles("Unsqueeze")
def unsqueeze(call: Call) -> Value:
    sym = call.sym()
    axes = call.integers_of(1, "axes") or []
    full = call.full(sym)
    rank = len(full) + len(axes)
    for axis in sorted(a % rank for a in axes):
        full.insert(axis, 1)
    return call.framed(sym, full)


@handles("Shape")
def shape_of(call: Call) -> Value:
    full = call.full(call.sym())
    return Const(np.array(full[call.attribute("start", 0) : call.attribute("end", len(full))], np.int64))


@handles("ArgMax")
def argmax(call: Call) -> Value:
    value = call.value(0)
    if isinstance(value, Sym) and value.cut:  # the largest stays the largest
        call.inputs[0] = replace(value, cut="")
    sym = call.integers()
    rank = 1 + len(sym.shape)
    if int(call.attribute("axis", 0)) % rank != 1 or call.attribute("select_last_index", 0):
        raise call.refuse("ArgMax over another axis than the channels, or the last of equals", "axis=1, select_last_index=0")
    sym = call.builder.in_layout(sym.tightened())
    if sym.clips or len(sym.scales) > 1 or len(sym.offsets) > 1 or sym.scales[0] <= 0:
        sym = call.builder.rising(call.builder.scaled(sym))
    tensor, kind = call.builder.emit(Argmax(), sym.tensor)
    made = Sym(tensor, kind, (Lane(Fraction(1)),), kind.shape)
    recorded = call.builder.record(made, call.output, [0.0])
    return recorded if call.attribute("keepdims", 1) else replace(recorded, shape=kind.shape[1:])


@handles("Softmax", "LogSoftmax")
def softmax(call: Call) -> Value:
    """At the end and over the channels; elsewhere `approximate.py` has it."""
    return replace(call.integers(), cut=call.node.name or call.node.output[0])
