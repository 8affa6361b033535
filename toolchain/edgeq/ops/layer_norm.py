"""Layer normalization of a pixel over its channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op, range_width
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage, memory_cost
from edgeq.ops import _cost, _root, _rtl, _sample, _schedule

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

RECIPROCAL_BITS = 31
TOP = (1 << RECIPROCAL_BITS) - 1
SUM_BITS = 53
MEANS, SQUARES, ROOTS, RECIPROCALS, OUTPUTS, NARROW_OUTPUTS = 3, 3, 2, 3, 2, 5
"""Pixels behind each stage of eq_layer_norm.sv (parts of one behind the last), with which it is as fast as its slowest stage."""


@dataclass(frozen=True, eq=False)
class LayerNorm(Op):
    """y = (d * F) >> (1 + shift), of each pixel over its channels: d = x - mu, mu = the mean, rounded half to even,
    k = floor(sqrt(sum of d^2)), F = (2^31 - 1) // max(k, 1).

    x, y: (C, H, W) or (C,).  shift: 0 to 30.  y is in [-2^(30-shift), 2^(30-shift) - 1]; y * 2^(shift-30) * sqrt(C) is the
    normalized value.  |sum of x| < 2^53, and C*(hi - lo)^2/4 + C/4, which bounds the sum of squares, < 2^48.
    I-ViT's I-LayerNorm (arXiv 2207.01405) with an exact root; its affine part is a Requantize behind it.
    """

    shift: int

    carried = True
    summary = "of a pixel over its channels: mean, root of the sum of squares and reciprocal in integers"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        _, *pixels = _sample.any_shape(draw)
        shape = (_sample.choice(draw, [draw(2, 12), 24]), *pixels)
        shift = draw(0, RECIPROCAL_BITS - 1) if _sample.rare(draw, 3) else draw(15, 25)
        x = _sample.int_type(draw, shape, 16)
        if _sample.rare(draw, 4):  # far from 0
            offset = _sample.choice(draw, [-1, 1]) * (1 << 40) + draw(0, 1)
            x = IntType(shape, x.lo + offset, x.hi + offset, x.step)
        return cls(shift), (x,)

    @staticmethod
    def squares(x: IntType) -> int:
        """The largest sum of squares of d: C*variance + C*(mean - mu)^2."""
        return x.channels * ((x.hi - x.lo) ** 2 + 1) // 4

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if not 0 <= self.shift < RECIPROCAL_BITS:
            raise EdgeqError(f"a layer normalization has a shift of {self.shift}", fix=f"0 to {RECIPROCAL_BITS - 1}")
        if x.channels * max(-x.lo, x.hi) >> SUM_BITS:  # onnxruntime's integer ReduceSum goes through double
            raise EdgeqError(f"the sum of the channels of {x} passes 2^{SUM_BITS}", fix="requantize before normalizing")
        if self.squares(x) >> _root.ROOT_BITS:
            raise EdgeqError(
                f"the sum of squares of the channels of {x} may pass 2^{_root.ROOT_BITS}", fix="requantize before normalizing"
            )
        top = 1 << (RECIPROCAL_BITS - 1 - self.shift)
        return IntType(x.shape, -top, top - 1)

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        return self, 0

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        channels = x.shape[1]
        lifted = x.sum(axis=1, keepdims=True) + channels // 2
        mean = lifted // channels
        if channels % 2 == 0:  # of an odd number no mean is half way
            mean -= (lifted % channels == 0) & (mean % 2 == 1)
        d = x - mean
        k = _root.isqrt((d * d).sum(axis=1, keepdims=True))
        return d * (TOP // np.maximum(k, 1)) >> (1 + self.shift)

    @staticmethod
    def base(x: IntType) -> int:
        """An even number not above any x: a mean above it rounds half to even as the mean itself does, and division truncates."""
        return x.lo - x.lo % 2

    def to_onnx(self, body: Body, *xs: str) -> str:
        i64, u64 = np.dtype(np.int64), np.dtype(np.uint64)

        def const(value: int) -> str:
            return body.const(np.array(value, i64))

        def channel_sum(terms: str) -> str:
            return body.op("ReduceSum", terms, body.const(np.array([1])), keepdims=1)

        kind = body.type(xs[0])
        channels, base = kind.channels, self.base(kind)
        x = body.cast(xs[0], i64)
        lifted = body.affine(channel_sum(x), 1, channels // 2 - channels * base)
        mean = body.op("Div", lifted, const(channels))
        if channels % 2 == 0:
            tie = body.op("Equal", body.op("Mul", mean, const(channels)), lifted, dtype=np.bool_)
            mean = body.op("Sub", mean, body.op("Mul", body.op("BitwiseAnd", mean, const(1)), body.cast(tie, i64)))
        d = body.op("Sub", x, body.affine(mean, 1, base))
        k = _root.to_onnx(body, channel_sum(body.op("Mul", d, d)))
        reciprocal = body.op("Div", const(TOP), body.extreme("Max", k, const(1)))
        # onnxruntime shifts unsigned integers only: move the products above zero by a multiple of 2^(1 + shift).
        lifted = body.cast(body.affine(body.op("Mul", d, reciprocal), 1, TOP + 1), u64)
        shifted = body.op("BitShift", lifted, body.const(np.array(1 + self.shift, np.uint64)), direction="RIGHT")
        return body.cast(body.affine(body.cast(shifted, i64), 1, -((TOP + 1) >> (1 + self.shift))), body.out.storage)

    def _mean(self, x: IntType) -> Mean:
        """How hardware finds it."""
        odd, twos = x.channels, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        most = x.channels * (x.hi - self.base(x)) + x.channels // 2
        return Mean(range_width(0, most), twos, *multiply_shift(odd, most >> twos))

    def _diff_bits(self, x: IntType) -> int:
        """Of d in two's complement."""
        return _rtl.signed_bits(x.lo - x.hi, x.hi - x.lo)

    def _square_bits(self, x: IntType) -> int:
        return range_width(0, self.squares(x))

    def _config(self, fold: Fold, x: IntType) -> dict[str, int]:
        """What both hardware engines know of the mean."""
        mean, base = self._mean(x), self.base(x)
        start = (x.channels // 2 - x.channels * base) & ((1 << mean.sum_bits) - 1)
        return {
            "start": start, "base": base & ((1 << self._diff_bits(x)) - 1), "twos": mean.twos, "mean_mul": mean.multiplier,
            "mean_shift": mean.shift, "shift": self.shift, "pe": _rtl.lanes(fold, x.channels),
        }  # fmt: skip

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        mean, squares = self._mean(x), self._square_bits(x)
        config = {"n_pixels": x.pixels, "folds": x.channels // _rtl.lanes(fold, x.channels), "digits": _root.digits(squares)}
        types = {
            "sum_t": (mean.sum_bits, False),
            "product_t": (mean.sum_bits + mean.multiplier.bit_length(), False),
            "diff_t": (self._diff_bits(x), True),
            "square_t": (squares, False),
        }
        return HlsCall("eq_layer_norm", config | self._config(fold, x), types=types)

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        mean = self._mean(x)
        names = {"".join(word.title() for word in key.split("_")): value for key, value in self._config(fold, x).items()}
        widths = {"DiffBits": self._diff_bits(x), "SquareBits": self._square_bits(x), "SumBits": mean.sum_bits}
        widths["MeanBits"] = mean.multiplier.bit_length()
        params = {"Channels": x.channels, **_rtl.one_input(x), **widths, **names, **_rtl.narrow(fold)}
        return RtlInstance("eq_layer_norm", params, uses=("eq_layer_norm",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        pe, n = _rtl.lanes(fold, x.channels), x.pixels
        steps, summing = x.channels // pe, 4 + _schedule.sum_latency(pe)
        if fold.narrow:
            first = Stage(_schedule.together(steps) * n, MEANS, summing)
            last = Stage(_schedule.parts(steps) * n, NARROW_OUTPUTS, 3)
        else:
            first, last = Stage.each(n, MEANS, summing, steps), Stage.each(n, OUTPUTS, 3, steps)
        return (
            first,
            Stage.each(n, SQUARES, summing, steps),
            Stage.each(n, ROOTS, 1, _root.digits(self._square_bits(x))),
            Stage.each(n, RECIPROCALS, 1, RECIPROCAL_BITS),
            last,
        )

    def folds(self, *xs: IntType) -> list[Fold]:
        (x,) = xs
        return [Fold("folded", pe) for pe in range(1, x.channels + 1) if x.channels % pe == 0]

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        y, pe = self.infer(x), _rtl.lanes(fold, x.channels)
        steps, d, squares, mean = x.channels // pe, self._diff_bits(x), self._square_bits(x), self._mean(x)
        roots = _root.digits(squares)
        lane = _cost.product(d, d) + _cost.product(d, RECIPROCAL_BITS) + Cost(lut=4 * d + x.width, ff=2 * d + x.width + y.width)
        sums = Cost(lut=(pe - 1) * 3 * d + 1.5 * (mean.sum_bits + squares), ff=pe * d + mean.sum_bits + squares)
        of_mean = _cost.product(mean.sum_bits, mean.multiplier.bit_length()) if mean.shift else Cost()
        memories = memory_cost(pe * d, MEANS * steps) + memory_cost(pe * d, (SQUARES + ROOTS + RECIPROCALS) * steps)
        slow = _root.cost(squares, iterative=True) + _cost.divide(roots, RECIPROCAL_BITS, iterative=True)
        words = ((d, MEANS), (squares, SQUARES), (roots, ROOTS), (RECIPROCAL_BITS, RECIPROCALS))
        fifos = reduce(Cost.__add__, (_cost.fifo(*word) for word in words))
        parts = _rtl.beat_parts(fold, x.channels)
        front = _cost.slices(parts * pe * x.width, parts)
        end = Cost(ff=(parts - 1) * pe * y.width) + _cost.fifo(parts * pe * y.width, NARROW_OUTPUTS if fold.narrow else OUTPUTS)
        return front + _cost.scaled(lane, pe) + sums + of_mean + memories + slow + fifos + end


@dataclass(frozen=True)
class Mean:
    """sum_bits: of the sum that is divided.  twos: C = 2^twos * an odd number.  multiplier, shift: division by that number."""

    sum_bits: int
    twos: int
    multiplier: int
    shift: int


def multiply_shift(divisor: int, most: int) -> tuple[int, int]:
    """(M, s) such that of each w in [0, most]: w*M >> s is w // divisor, and w*M mod 2^s < M if and only if nothing remains.

    With M*divisor = 2^s + e and w = q*divisor + r: w*M = q*2^s + q*e + r*M. Where (q + 1)*e < M, q*e + r*M is less than
    M*divisor - e = 2^s for every r < divisor, and less than M for r = 0 only. (Lemire, Kaser, Kurz, "Faster remainder by direct
    computation", 2019.)
    """
    shift = 0
    while True:
        multiplier = -(-(1 << shift) // divisor)
        if (most // divisor + 1) * (multiplier * divisor - (1 << shift)) < multiplier:
            return multiplier, shift
        shift += 1
