"""Layouts: how the elements of a source's tensor lie in the tensor of the integer graph.

An order (view, perm) says that the source's is tensor.reshape(view).transpose(perm).reshape(shape), None that it is a plain
reshape. Exporters write tokens as [N, T, D] and [N, heads, T, d]; here they stay (D, 1, T) or (C, H, W), pixels of which the
features are the channels, and splitting heads off or merging them changes the order only.
"""

from __future__ import annotations

from math import prod

import numpy as np

Shape = tuple[int, ...]
Order = tuple[Shape, Shape] | None


def common(a: Shape, b: Shape) -> Shape | None:
    """The coarsest shape that both a and b are made from by merging neighbours, without ones; None where there is none."""
    left, right = [d for d in a[::-1] if d > 1], [d for d in b[::-1] if d > 1]  # outermost last
    found = []
    while left and right:
        x, y = left.pop(), right.pop()
        small, large = min(x, y), max(x, y)
        if large % small:
            return None
        found.append(small)
        if large > small:
            (left if x > y else right).append(large // small)
    return tuple(found)


def parts(fine: Shape, coarse: Shape) -> list[Shape]:
    """Which dimensions of `fine`, by number, make each of `coarse`."""
    found, at = [], 0
    for size in coarse:
        start, left = at, size
        while left > 1:
            left //= fine[at]
            at += 1
        found.append(tuple(range(start, at)))
    return found


def shown(order: Order, shape: Shape) -> tuple[Shape, Shape]:
    """(view, perm) of an order, whose dimensions, permuted, are parts of those of `shape`; both fit each other."""
    view, perm = order or (shape, tuple(range(len(shape))))
    fine = common(tuple(view[p] for p in perm), shape)
    assert fine is not None
    split = parts(fine, tuple(view[p] for p in perm))
    place = {axis: split[i] for i, axis in enumerate(perm)}
    numbers = [k for axis in range(len(view)) for k in place[axis]]  # of the permuted parts, in the tensor's order
    return tuple(fine[k] for k in numbers), tuple(int(i) for i in np.argsort(numbers))


def simple(view: Shape, perm: Shape) -> Order:
    """The same order with neighbours that stay together merged, without ones; None where nothing moves."""
    kept = [i for i, size in enumerate(view) if size > 1]
    view, perm = tuple(view[i] for i in kept), tuple(kept.index(p) for p in perm if p in kept)
    runs: list[list[int]] = []
    for p in perm:
        if runs and runs[-1][-1] + 1 == p:
            runs[-1].append(p)
        else:
            runs.append([p])
    if len(runs) < 2:
        return None
    starts = sorted(run[0] for run in runs)
    sizes = {run[0]: prod(view[p] for p in run) for run in runs}
    return tuple(sizes[s] for s in starts), tuple(starts.index(run[0]) for run in runs)


def transposed(order: Order, shape: Shape, perm: Shape) -> Order:
    """The order of a tensor seen in `shape` after a transpose by perm."""
    view, before = shown(order, shape)
    groups = parts(tuple(view[p] for p in before), shape)
    return simple(view, tuple(before[k] for axis in perm for k in groups[axis]))


def cut(order: Order, shape: Shape, tensor: Shape, axis: int, count: int) -> tuple[bool, Order] | None:
    """Of `count` elements that follow each other along an axis: (True where they are channels of the tensor that follow each
    other, False where pixels; their order). None where they lie apart."""
    view, perm = shown(order, shape)
    fine = common(view, (tensor[0], prod(tensor[1:])))
    if fine is None:
        return None
    split = parts(fine, view)
    numbers = tuple(k for p in perm for k in split[p])
    own = tuple(numbers[k] for k in parts(tuple(fine[k] for k in numbers), shape)[axis])
    channels = len(parts(fine, tensor[:1])[0])
    first, last = (0, channels) if 0 in own and channels else (channels, len(fine))
    if not own or own != tuple(range(first, first + len(own))) or own[-1] >= last:
        return None
    return last == channels, simple((*fine[:first], count, *(1 for _ in own[1:]), *fine[own[-1] + 1 :]), numbers)


def fits(order: Order, shape: Shape) -> bool:
    """True where the elements, in this order, can be seen in another shape without being moved."""
    return order is None or common(tuple(order[0][p] for p in order[1]), shape) is not None


def to_tensor(x: np.ndarray, order: Order, shape: Shape) -> np.ndarray:
    """[N, *source shape] as the tensor of the graph has it, [N, *shape]."""
    if order is not None:
        view, perm = order
        x = x.reshape(len(x), *(view[p] for p in perm)).transpose(0, *(int(p) + 1 for p in np.argsort(perm)))
    return x.reshape(len(x), *shape)


def to_source(x: np.ndarray, order: Order, shape: Shape) -> np.ndarray:
    """[N, *tensor shape] as the source has it, [N, *shape]."""
    if order is not None:
        view, perm = order
        x = x.reshape(len(x), *view).transpose(0, *(p + 1 for p in perm))
    return x.reshape(len(x), *shape)
