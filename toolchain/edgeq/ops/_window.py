"""The geometry that convolutions and pools share."""

from __future__ import annotations

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import IntType


def output_size(
    x: IntType, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...], dilation: tuple[int, int]
) -> tuple[int, int]:
    """(Ho, Wo) of a window sliding over x, ONNX's floor rule; pads: (top, left, bottom, right)."""
    if len(x.shape) != 3:
        raise EdgeqError(f"a window cannot slide over {x}", fix="its input must be (C, H, W)")
    if min(*kernel, *stride, *dilation) < 1 or min(pads) < 0 or len(pads) != 4:
        raise EdgeqError(f"a window has kernel {kernel}, stride {stride}, dilation {dilation}, pads {pads}")
    sizes = []
    for axis in (0, 1):
        extent = (kernel[axis] - 1) * dilation[axis] + 1
        room = x.shape[1 + axis] + pads[axis] + pads[axis + 2] - extent
        if room < 0:
            raise EdgeqError(f"a window of {extent} does not fit {x.shape[1 + axis]} with pads {pads}")
        sizes.append(room // stride[axis] + 1)
    return sizes[0], sizes[1]


def patches(
    x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...], dilation: tuple[int, int], fill: int
) -> np.ndarray:
    """Every window of x [N, C, H, W] as a view [N, C, Ho, Wo, Kh, Kw] of a copy padded with `fill`."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(2, 3))  # type: ignore[call-overload]
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
