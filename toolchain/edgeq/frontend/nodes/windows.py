"""Pools, Resize, Pad and Concat."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from edgeq.frontend.exact import UNIT, Lane, is_power_of_two, spread
from edgeq.frontend.nodes import tokens
from edgeq.frontend.nodes.call import NO_PADS, Call, handles
from edgeq.frontend.symbols import Shape, Sym, Value
from edgeq.ops.average_pool import AveragePool
from edgeq.ops.concat import Concat
from edgeq.ops.global_average_pool import GlobalAveragePool
from edgeq.ops.global_max_pool import GlobalMaxPool
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.upsample import Upsample


def padding(call: Call, size: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) from `pads` or `auto_pad`."""
    mode = call.attribute("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = tuple(int(p) for p in call.attribute("pads", [0, 0, 0, 0]))
        if len(pads) != 4:
            raise call.refuse(f"pads are {pads}", "top, left, bottom, right")
        return pads  # type: ignore[return-value]
    if mode == "VALID":
        return NO_PADS
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.refuse(f"auto_pad is {mode!r}", "explicit pads")
    before, after = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small = total // 2
        before.append(small if mode == "SAME_UPPER" else total - small)
        after.append(total - before[-1])
    return before[0], before[1], after[0], after[1]


def pair(call: Call, name: str, default: Any = (1, 1)) -> tuple[int, int]:
    values = tuple(int(v) for v in call.attribute(name, default))
    if len(values) != 2:
        raise call.refuse(f"{name} is {list(values)}", "two-dimensional windows on [N, C, H, W]")
    return values  # type: ignore[return-value]


def out_size(n: int, kernel: int, stride: int, dilation: int, pads: int, ceil: bool) -> int:
    room = n + pads - (kernel - 1) * dilation - 1
    return (-(-room // stride) if ceil else room // stride) + 1


def window(
    call: Call, sym: Sym, dilation: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """(kernel, stride, pads, pixels that ceil_mode adds below and to the right)."""
    if len(sym.shape) != 3:
        raise call.refuse(f"the input has shape {(call.batch, *sym.shape)}", "images [N, C, H, W]")
    kernel, stride = pair(call, "kernel_shape", ()), pair(call, "strides")
    pads = padding(call, sym.shape[1:], kernel, stride, dilation)
    extra = [0, 0]
    if call.attribute("ceil_mode", 0):
        for i in (0, 1):
            n, room = sym.shape[1 + i], pads[i] + pads[i + 2]
            size = out_size(n, kernel[i], stride[i], dilation[i], room, True)
            if (size - 1) * stride[i] >= n + pads[i]:
                size -= 1  # onnxruntime and PyTorch drop a window that starts beyond the image
            extra[i] = max(0, (size - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - n - room)
    return kernel, stride, pads, (extra[0], extra[1])


@handles("MaxPool")
def max_pool(call: Call) -> Value:
    if len(call.node.output) > 1 and call.node.output[1]:
        raise call.refuse("MaxPool with an index output", "the first output only")
    sym = call.builder.rising(call.integers())
    dilation = pair(call, "dilations")
    kernel, stride, pads, extra = window(call, sym, dilation)
    pads = (pads[0], pads[1], pads[2] + extra[0], pads[3] + extra[1])  # padding never wins
    tensor, kind = call.builder.emit(MaxPool(kernel, stride, pads, dilation), sym.tensor)
    return call.builder.record(replace(sym, tensor=tensor, type=kind, shape=kind.shape), call.output)


@handles("GlobalMaxPool")
def global_max_pool(call: Call) -> Value:
    sym = call.builder.rising(call.integers())
    tensor, kind = call.builder.emit(GlobalMaxPool(), sym.tensor)
    return call.builder.record(replace(sym, tensor=tensor, type=kind, shape=kind.shape), call.output)


def averaged(call: Call, sym: Sym, op: AveragePool | GlobalAveragePool, count: int) -> Sym:
    """The sum in integers, the division in the scale."""
    tensor, kind = call.builder.emit(op, sym.tensor)
    lanes = []
    for lane in sym.lanes:
        reach = max(abs(kind.lo), abs(kind.hi))
        mean = Lane(lane.a / count, lane.b)
        sums = Lane(lane.a, lane.b * count)
        error = lane.error(sym.reach or 0)
        if error or not sums.is_float32(reach):
            error += (count + 2) * UNIT * (abs(float(mean.a)) * reach + abs(float(mean.b)))
        mean = replace(mean, error0=error)
        lanes.append(mean if not error and is_power_of_two(Fraction(count)) else mean.rounded(reach, 2))
    made = replace(sym, tensor=tensor, type=kind, shape=kind.shape).with_lanes(lanes)
    return call.builder.record(made, call.output)


def poolable(call: Call, padded: bool) -> Sym:
    """An input whose sum over a window is a sum of integers."""
    sym = call.builder.in_layout(call.integers().tightened())
    return call.builder.scaled(sym) if sym.clips or (padded and sym.offsets != (0,)) else sym


@handles("AveragePool")
def average_pool(call: Call) -> Value:
    if pair(call, "dilations") != (1, 1):
        raise call.refuse("AveragePool with dilation", "dilation 1")
    kernel, stride, pads, extra = window(call, call.integers(), (1, 1))
    if any(extra):
        raise call.refuse("AveragePool whose ceil_mode adds windows that leave the image", "ceil_mode=0")
    if any(pads) and not call.attribute("count_include_pad", 0):
        raise call.refuse("AveragePool that divides by another count at the border", "count_include_pad=1, or no padding")
    return averaged(call, poolable(call, any(pads)), AveragePool(kernel, stride, pads), kernel[0] * kernel[1])


def global_average(call: Call) -> Sym:
    sym = poolable(call, False)
    if len(sym.shape) != 3:
        raise call.refuse(f"the input has shape {(call.batch, *sym.shape)}", "images [N, C, H, W]")
    return averaged(call, sym, GlobalAveragePool(), prod(sym.shape[1:]))


@handles("GlobalAveragePool")
def global_average_pool(call: Call) -> Value:
    return global_average(call)


@handles("ReduceMean")
def reduce_mean(call: Call) -> Value:
    shape = call.integers().shape
    rank = 1 + len(shape)
    axes = sorted(a % rank for a in call.integers_of(1, "axes") or [])
    if rank == 3 and axes == [1]:
        sym = call.builder.scaled(tokens.plain(tokens.by_feature(call, call.integers())))
        mean = averaged(call, sym, GlobalAveragePool(), shape[0])
        return call.builder.reshaped(mean, (1, shape[1]) if call.attribute("keepdims", 1) else shape[1:])
    if rank != 4 or axes != [2, 3]:
        raise call.refuse(f"ReduceMean over axes {axes} of {rank} dimensions", "over H and W: axes 2 and 3 of [N, C, H, W]")
    sym = global_average(call)
    return sym if call.attribute("keepdims", 1) else call.builder.reshaped(sym, sym.shape[:1])


@handles("Resize", "Upsample")
def resize(call: Call) -> Value:
    sym = call.builder.in_layout(call.integers())
    if len(sym.shape) != 3 or call.attribute("mode", "nearest") != "nearest" or call.attribute("antialias", 0):
        raise call.refuse(
            f"{call.node.op_type} with mode {call.attribute('mode', 'nearest')!r}", "nearest neighbour on [N, C, H, W]"
        )
    if call.attributes.get("axes"):
        raise call.refuse("Resize with axes", "scales for all four dimensions")
    old = call.node.op_type == "Upsample" or call.opset < 11
    full = (call.batch, *sym.shape)
    scales = np.array(call.attribute("scales", [1.0])) if "scales" in call.attributes else call.array(1 if old else 2)
    if scales is None or scales.size == 0:
        sizes = None if old else call.array(3)
        if sizes is None:
            raise call.refuse(f"{call.node.op_type} without scales")
        scales = sizes.astype(np.float64) / np.array(full)
    factors = [float(v) for v in scales.ravel()]
    if len(factors) != 4 or factors[:2] != [1, 1] or any(f != int(f) or f < 1 for f in factors):
        raise call.refuse(f"{call.node.op_type} by {factors}", "integer factors over H and W")
    factor = (int(factors[2]), int(factors[3]))
    coordinates = "asymmetric" if old else call.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else call.attribute("nearest_mode", "round_prefer_floor")
    for n, f in zip(sym.shape[1:], factor, strict=True):
        if not repeats(coordinates, nearest, n, f):
            raise call.refuse(
                f"Resize with {coordinates!r} and {nearest!r} by {f} does not repeat each pixel {f} times",
                "coordinate_transformation_mode='asymmetric' with nearest_mode='floor'",
            )
    if factor == (1, 1):
        return sym
    tensor, kind = call.builder.emit(Upsample(factor), sym.tensor)
    return call.builder.record(replace(sym, tensor=tensor, type=kind, shape=kind.shape), call.output)


def repeats(coordinates: str, nearest: str, size: int, factor: int) -> bool:
    """True where ONNX's nearest-neighbour rule is x[i // factor]."""
    for i in range(size * factor):
        match coordinates:
            case "asymmetric":
                at = Fraction(i, factor)
            case "half_pixel":
                at = Fraction(2 * i + 1, 2 * factor) - Fraction(1, 2)
            case "pytorch_half_pixel":
                at = Fraction(2 * i + 1, 2 * factor) - Fraction(1, 2) if size * factor > 1 else Fraction(0)
            case "align_corners":
                at = Fraction(i * (size - 1), size * factor - 1) if size * factor > 1 else Fraction(0)
            case _:
                return False
        below = at.__floor__()
        match nearest:
            case "floor":
                index = below
            case "ceil":
                index = at.__ceil__()
            case "round_prefer_floor":
                index = below + (at - below > Fraction(1, 2))
            case "round_prefer_ceil":
                index = below + (at - below >= Fraction(1, 2))
            case _:
                return False
        if min(max(index, 0), size - 1) != i // factor:
            return False
    return True


@handles("Pad")
def pad(call: Call) -> Value:
    sym = call.integers()
    amounts, axes = call.integers_of(1, "pads"), call.integers_of(3, "axes")
    value = np.array(call.attribute("value", 0.0)) if "pads" in call.attributes else call.array(2)
    rank = 1 + len(sym.shape)
    if amounts is None or len(amounts) != 2 * rank or (axes is not None and axes != list(range(rank))):
        raise call.refuse("Pad with pads for some axes only", "pads for all dimensions")
    if not any(amounts):
        return sym
    zero = value is None or not np.any(value)
    spatial = rank == 4 and not any(amounts[i] for i in (0, 1, 4, 5)) and min(amounts) >= 0
    if call.attribute("mode", "constant") != "constant" or not zero or not spatial:
        raise call.refuse("Pad with something other than zeros around H and W", "zero padding of images")
    sym = call.builder.in_layout(sym)
    top, left, bottom, right = (amounts[i] for i in (2, 3, 6, 7))
    shape = (sym.shape[0], sym.shape[1], sym.shape[2])
    return replace(sym, pads=(top, left, bottom, right), shape=shape)


@handles("Concat")
def concat(call: Call) -> Value:
    if int(call.attribute("axis", 1)) == 1 and any(isinstance(v, Sym) and len(v.shape) == 2 for v in call.inputs):
        return tokens.append(call)
    syms = [call.builder.in_layout(call.integers(i)) for i in range(len(call.inputs))]
    if int(call.attribute("axis", 1)) % (1 + len(syms[0].shape)) != 1:
        raise call.refuse(f"Concat along axis {call.attribute('axis', 1)}", "along the channels, axis 1")
    result = syms[0]
    for other in syms[1:]:
        lanes = spread(result.lanes, result.shape[0]) + spread(other.lanes, other.shape[0])
        tensor, kind = call.builder.emit(Concat(), result.tensor, other.tensor)
        result = replace(result, tensor=tensor, type=kind, shape=kind.shape).with_lanes(lanes)
    return call.builder.record(result, call.output)
