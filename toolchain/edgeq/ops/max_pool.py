"""Maximum over a sliding window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample, _schedule
from edgeq.ops._hls import window
from edgeq.ops._window import output_size, patches

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class MaxPool(Op):
    """y = the largest real pixel of the window; padding never wins.  x: (C, H, W).  y: (C, Ho, Wo)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    selects = True
    summary = "any kernel, stride, padding and dilation"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        while True:
            w = _sample.Window(draw)
            op, x = cls(w.kernel, w.stride, w.pads, w.dilation), _sample.int_type(draw, (draw(1, 4), *w.size))
            if _sample.legal(op, x):
                return op, (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        ho, wo = output_size(x, self.kernel, self.stride, self.pads, self.dilation)
        extent = [(k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True)]
        if any(pad > extent[i % 2] for i, pad in enumerate(self.pads)) or (any(self.pads) and max(self.dilation) > 1):
            # A window made of padding alone has no maximum; with dilation it can fall between the pixels.
            self._refuse_empty_windows(x, (ho, wo))
        return IntType((x.shape[0], ho, wo), x.lo, x.hi, x.step)

    def _refuse_empty_windows(self, x: IntType, size: tuple[int, int]) -> None:
        for axis in (0, 1):
            starts = np.arange(size[axis]) * self.stride[axis] - self.pads[axis]
            taps = starts[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis]
            if not np.all(np.any((taps >= 0) & (taps < x.shape[1 + axis]), axis=1)):
                raise EdgeqError(f"a window lies wholly in the padding {self.pads}", fix="pad less than the kernel")

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        least = int(np.iinfo(np.int64).min)
        return patches(xs[0], self.kernel, self.stride, self.pads, self.dilation, fill=least).max(axis=(4, 5))

    def tiles(self, x: IntType) -> bool:
        """True where every pixel is in exactly one window."""
        whole = all(size % k == 0 for size, k in zip(x.shape[1:], self.kernel, strict=True))
        return whole and self.kernel == self.stride and not any(self.pads) and self.dilation == (1, 1)

    def to_onnx(self, body: Body, *xs: str) -> str:
        (x,) = xs
        if self.tiles(body.type(x)):
            # Faster than onnxruntime's own pool of bytes: 1.2 to 7 times, the more the larger (docs/benchmarks.md).
            c, ho, wo = body.out.shape
            for axis, view in ((3, [c, ho, self.kernel[0], -1]), (4, [c, ho, wo, self.kernel[1]])):
                split = body.op("Reshape", x, body.const(np.array([0, *view])))
                slices = [body.op("Gather", split, body.const(np.array(k)), axis=axis) for k in range(view[axis - 1])]
                x = reduce(lambda a, b: body.extreme("Max", a, b), slices)
            return x
        thin = all(pad < self.kernel[i % 2] for i, pad in enumerate(self.pads))  # onnxruntime demands it
        if body.out.storage.itemsize == 1 and max(self.dilation) == 1 and thin:
            window = {"kernel_shape": list(self.kernel), "strides": list(self.stride), "pads": list(self.pads)}
            return body.op("MaxPool", x, **window)
        taps = body.taps(x, self.kernel, self.stride, self.pads, self.dilation, fill=body.type(x).lo)
        return reduce(lambda a, b: body.extreme("Max", a, b), taps)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        if self.tiles(x):
            return HlsCall(native=self._native(x))
        config = window(x, self.kernel, self.stride, self.pads, self.dilation, pad_value=x.lo)
        return HlsCall("eq_max_pool", config | {"folds": 1})

    def _native(self, x: IntType) -> dict[str, object]:
        """hls4ml's own layer, exact where the windows tile the image."""
        sizes = {"in": x.shape[1:], "out": self.infer(x).shape[1:], "pool": self.kernel, "stride": self.stride}
        layer = {f"{name}_{axis}": size[i] for name, size in sizes.items() for i, axis in enumerate(("height", "width"))}
        pads = {f"pad_{side}": 0 for side in ("top", "left", "bottom", "right")}
        shape = {"n_filt": x.channels, "count_pad": False, "data_format": "channels_last"}
        return {"class_name": "MaxPooling2D", **layer, **pads, **shape}

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        params = self.window(x).params() | {"Channels": x.channels} | _rtl.one_input(x)
        return RtlInstance("eq_max_pool", params, uses=("eq_max_pool",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return (_schedule.window(self.window(xs[0]), depth=6, latency=2),)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        taps, bits = self.kernel[0] * self.kernel[1], x.channels * x.width
        compare = Cost(lut=bits * (taps - 1) * (0.25 if x.width == 1 else 1.5), ff=bits * taps / 2)
        return _cost.window(self.window(x), bits) + compare + _cost.fifo(bits, 16)

    def window(self, x: IntType) -> _rtl.Window:
        """The geometry in hardware."""
        return _rtl.Window(x, self.kernel, self.stride, self.pads, self.dilation)
