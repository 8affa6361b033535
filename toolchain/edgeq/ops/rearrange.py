"""Flatten, reshape and transpose: the same elements in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, READ, TAKE, Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _sample, _schedule

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body


MAX_RTL_AXES = 15
MAX_HLS_AXES = 6
"""Axes that eq_rearrange.h takes."""


@dataclass(frozen=True, eq=False)
class Rearrange(Op):
    """y = x.reshape(view).transpose(perm).reshape(shape), frame by frame, in NCHW order.

    view, perm: any factorization of a frame and a permutation of it.  shape: (C, H, W) or (F,).
    """

    view: tuple[int, ...]
    perm: tuple[int, ...]
    shape: tuple[int, ...]

    summary = "flatten, reshape, transpose"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        view = tuple(draw(1, 4) for _ in range(draw(1, 4)))
        perm = tuple(int(i) for i in np.random.default_rng(draw(0, 99)).permutation(len(view)))
        shape, out = (_sample.regroup(draw, dims) for dims in (view, [view[i] for i in perm]))
        return cls(view, perm, out), (_sample.int_type(draw, shape),)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        sizes = {x.size, int(np.prod(self.view)), int(np.prod(self.shape))}
        if len(sizes) > 1 or min(self.view) < 1 or sorted(self.perm) != list(range(len(self.view))):
            raise EdgeqError(f"cannot rearrange {x} as {self.view}, {self.perm}, {self.shape}")
        return IntType(self.shape, x.lo, x.hi, x.step)

    def is_identity(self, x: IntType) -> bool:
        moved = [i for i in self.perm if self.view[i] > 1]
        return x.shape == self.shape and moved == sorted(moved)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        n = len(x)
        return x.reshape(n, *self.view).transpose(0, *(p + 1 for p in self.perm)).reshape(n, *self.shape)

    def to_onnx(self, body: Body, *xs: str) -> str:
        y = body.op("Reshape", xs[0], body.const(np.array([-1, *self.view])))
        if self.perm != tuple(range(len(self.perm))):
            y = body.op("Transpose", y, perm=[0, *(p + 1 for p in self.perm)])
        return body.op("Reshape", y, body.const(np.array([-1, *self.shape])))

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        if len(self.view) > MAX_HLS_AXES:
            raise EdgeqError(f"a rearrangement has {len(self.view)} axes", fix=f"at most {MAX_HLS_AXES}")
        steps = [int(np.prod(self.view[axis + 1 :])) for axis in self.perm]
        spare = MAX_HLS_AXES - len(self.perm)
        sizes, strides = [1] * spare + [self.view[axis] for axis in self.perm], [0] * spare + steps
        axes = {f"size{i}": size for i, size in enumerate(sizes)} | {f"stride{i}": step for i, step in enumerate(strides)}
        return HlsCall("eq_rearrange", {"n_elements": x.size, "in_channels": x.channels} | axes)

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        y = self.infer(x)
        axes = [(self.view[axis], int(np.prod(self.view[axis + 1 :]))) for axis in reversed(self.perm)]
        if len(axes) > MAX_RTL_AXES:
            raise EdgeqError(f"a rearrangement has {len(axes)} axes", fix=f"at most {MAX_RTL_AXES}")
        sizes, strides = (1 << 511 | sum(v << (32 * i) for i, v in enumerate(values)) for values in zip(*axes, strict=True))
        ends = {"InChannels": x.channels, "InPixels": x.pixels, "OutChannels": y.channels, "OutPixels": y.pixels}
        params = {"Bits": x.width, **ends, "Beat": fold.beat, "Rank": len(axes), "Sizes": sizes, "Strides": strides}
        return RtlInstance("eq_rearrange", params, uses=("eq_rearrange",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (collect,) = _schedule.whole_frame(xs[0].pixels // fold.beat, depth=2, latency=1, back=0)
        emit = bytes([READ | EMIT]) * (self.infer(*xs).pixels - 1) + bytes([READ | TAKE | EMIT])
        return collect, Stage(emit, depth=3)

    def input_folds(self, *xs: IntType) -> list[Fold]:
        # A frame is collected before it is emitted, so beats may be of any size; a larger one than these gains nothing.
        (x,), out = xs, self.infer(*xs).pixels
        beats = [beat for beat in range(1, x.pixels + 1) if x.pixels % beat == 0]
        least = next(beat for beat in beats if x.pixels // beat <= out)
        return [Fold(beat=beat) for beat in beats if beat <= least]

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        y = self.infer(x)
        frame = x.size * x.width
        if x.pixels == 1 and y.pixels == 1:
            return _cost.fifo(frame, 2)
        out = _cost.fifo(frame, 3) if y.pixels == 1 else Cost()
        return Cost(lut=frame * min(1.0, 0.4 * (y.pixels - 1)) + 60, ff=2 * frame + 40) + out
