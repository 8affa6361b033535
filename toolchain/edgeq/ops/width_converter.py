"""A stream's beats made wider or narrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample, _schedule

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

DEPTH = 2
"""FifoDepth of eq_width_converter.sv."""


@dataclass(frozen=True, eq=False)
class WidthConverter(Op):
    """y = x, of any shape, in beats of other widths, as its fold says: `edgeq.beats.fitted` puts it where hardware needs it."""

    elementwise = True
    summary = "the same values in wider or narrower beats; hardware only"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        return cls(), (_sample.int_type(draw, _sample.any_shape(draw)),)

    def infer(self, *xs: IntType) -> IntType:
        return xs[0]

    def is_identity(self, x: IntType) -> bool:
        return True

    def rises(self) -> bool:
        return True

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return xs[0]

    def to_onnx(self, body: Body, *xs: str) -> str:
        return body.op("Identity", xs[0])

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        return HlsCall("eq_width_converter", {"n_pixels": xs[0].pixels})

    def _widths(self, fold: Fold, x: IntType) -> tuple[int, int]:
        """Channels of a beat in, and out."""
        (taken,), given = self.beats(fold, x)
        return taken, given

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        taken, given = self._widths(fold, x)
        return RtlInstance(
            "eq_width_converter", {"InBits": taken * x.width, "OutBits": given * x.width}, uses=("eq_width_converter",)
        )

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        taken, given = self._widths(fold, x)
        beat = _schedule.together(given // taken) if given > taken else _schedule.parts(taken // given)
        return (Stage(beat * (x.size // max(taken, given)), DEPTH),)

    def buffers(self, fold: Fold) -> bool:
        return not fold.narrow or fold.pe == fold.simd

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        """As a buffer; `edgeq.beats.fitted` gives a converter its own."""
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        taken, given = self._widths(fold, x)
        if given > taken:
            return Cost(ff=(given - taken) * x.width) + _cost.fifo(given * x.width, DEPTH)
        return _cost.slices(taken * x.width, taken // given) + _cost.fifo(given * x.width, DEPTH)
