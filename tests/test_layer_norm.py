"""Layer normalization and the integer square root: against the formulas in Python's integers, at the ends of their ranges."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from pathlib import Path

import numpy as np
import parity
import pytest

from edgeq.engines.ort import OrtEngine
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.lower import onnx
from edgeq.ops import _root
from edgeq.ops.isqrt import ISqrt
from edgeq.ops.layer_norm import LayerNorm, multiply_shift

TOP = 2**31 - 1


def normalized(x: list[int], shift: int) -> list[int]:
    """A pixel by the formulas, in Python's integers and fractions."""
    mean = round(Fraction(sum(x), len(x)))  # half to even
    d = [v - mean for v in x]
    scale = TOP // max(isqrt(sum(v * v for v in d)), 1)
    return [(v * scale) >> (1 + shift) for v in d]


def run_onnx(op: Op, kind: IntType, x: np.ndarray, folder: Path) -> np.ndarray:
    onnx.save(Graph("x", kind, [Node("op", op, ("x",), "y")], "y"), folder / "model.int.onnx")
    return OrtEngine(folder / "model.int.onnx", threads=1).run(x)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 48, 192])
def test_the_reference_is_the_formula_in_pythons_integers(channels: int, tmp_path: Path) -> None:
    """10,000 pixels, many of which have their mean half way, and some all channels equal; onnxruntime too."""
    rng = np.random.default_rng(channels)
    for shift, lo, hi in ((0, -3, 4), (7, -128, 127), (15, -(1 << 15), (1 << 15) - 1), (30, -(1 << 19), -(1 << 19) + 9)):
        kind = IntType((channels, 1, 80), lo, hi)
        op, x = LayerNorm(shift), kind.random(rng, 4)
        x[3] = x[3, :1] + rng.integers(0, 2, x[3].shape)  # a narrow pixel: its sum of squares is small
        x = np.clip(x, lo, hi)
        y = op.reference(x)
        pixels, found = (np.moveaxis(v, 1, -1).reshape(-1, channels).tolist() for v in (x, y))
        assert found == [normalized(pixel, shift) for pixel in pixels]
        assert op.infer(kind).admits(y)
        assert np.array_equal(run_onnx(op, kind, x, tmp_path), y)


def test_the_declared_range_is_reached() -> None:
    for shift in (0, 15, 29):
        kind = IntType((3,), -1, 1)
        y = LayerNorm(shift).reference(np.array([[0, 0, -1], [0, 0, 1]]))
        out = LayerNorm(shift).infer(kind)
        assert (y.min(), y.max()) == (out.lo, out.hi) == (-(1 << (30 - shift)), (1 << (30 - shift)) - 1)


@pytest.mark.parametrize("channels", [8, 192, 384])
def test_it_is_as_accurate_as_its_roundings_allow(channels: int) -> None:
    rng = np.random.default_rng(0)
    shift = 15
    kind = IntType((channels, 1, 500), -(1 << 15), (1 << 15) - 1)
    x = np.clip(rng.normal(rng.normal(0, 1000, (4, 1, 1, 500)), 2000, (4, channels, 1, 500)).round(), kind.lo, kind.hi)
    unit = 2.0 ** (shift - 30) * np.sqrt(channels)
    y = LayerNorm(shift).reference(x.astype(np.int64)) * unit
    sigma = x.std(axis=1, keepdims=True)
    expected = (x - x.mean(axis=1, keepdims=True)) / sigma
    k = sigma * np.sqrt(channels)
    # the mean by 1/2; the root by 1, and what the mean's error adds to it; the reciprocal by 1 of 2^31 / k; y by 1
    bound = 0.5 / sigma + np.abs(expected) * (1 / k + 0.125 / sigma**2 + k / 2**31) + unit
    assert np.all(np.abs(y - expected) <= 1.01 * bound)
    assert np.abs(y - expected).max() < 0.01


@pytest.mark.parametrize(
    ("op", "kind", "message"),
    [
        (LayerNorm(-1), IntType((4,), 0, 1), "a shift of -1"),
        (LayerNorm(31), IntType((4,), 0, 1), "a shift of 31"),
        (LayerNorm(8), IntType((4, 2, 2), 0, 1 << 24), r"squares .* 2\^48"),
        (LayerNorm(8), IntType((8,), -(1 << 50), 7 - (1 << 50)), r"sum .* 2\^53"),
        (LayerNorm(8), IntType((8,), (1 << 50) - 7, 1 << 50), r"sum .* 2\^53"),
        (ISqrt(), IntType((4,), -1, 1, 2), "square root"),
        (ISqrt(), IntType((4,), -1, 5), "square root"),
        (ISqrt(), IntType((4, 1, 1), 0, 1 << 48), "48 bits"),
    ],
)
def test_what_would_not_be_exact_is_refused(op: Op, kind: IntType, message: str) -> None:
    with pytest.raises(EdgeqError, match=message):
        op.infer(kind)


def test_the_largest_that_is_not_refused(tmp_path: Path) -> None:
    """Sums of squares just below 2^48, and sums just below 2^53."""
    rng = np.random.default_rng(0)
    for kind in (IntType((4, 1, 3000), 0, (1 << 24) - 1), IntType((8, 1, 3000), (1 << 50) - 4000, (1 << 50) - 1)):
        op, x = LayerNorm(3), kind.random(rng, 3)
        x[2, : kind.channels // 2], x[2, kind.channels // 2 :] = kind.lo, kind.hi
        y = op.reference(x)
        pixels, found = (np.moveaxis(v, 1, -1).reshape(-1, kind.channels).tolist() for v in (x, y))
        assert found == [normalized(pixel, 3) for pixel in pixels]
        assert np.array_equal(run_onnx(op, kind, x, tmp_path), y)


def around_squares(bits: int, count: int) -> np.ndarray:
    """k^2 - 1, k^2 and k^2 + 1, of random k and of those near a power of two, in [0, 2^bits)."""
    rng = np.random.default_rng(bits)
    powers = [(1 << p) + d for p in range(bits // 2 + 1) for d in (-2, -1, 0, 1, 2)]
    k = np.concatenate([rng.integers(0, 1 << rng.integers(1, bits // 2 + 1, count)), powers])
    v = np.concatenate([k * k - 1, k * k, k * k + 1])
    return v[(v >= 0) & (v < 1 << bits)]


def test_the_root_is_pythons_also_beyond_what_a_double_holds() -> None:
    v = np.concatenate([around_squares(62, 20_000), np.arange(5000), [(1 << 62) - 1, 1 << 62]])
    assert _root.isqrt(v).tolist() == [isqrt(k) for k in v.tolist()]


def test_the_root_in_onnxruntime_around_squares(tmp_path: Path) -> None:
    v = around_squares(48, 50_000)
    kind = IntType((len(v),), 0, (1 << 48) - 1)
    y = run_onnx(ISqrt(), kind, v[None], tmp_path)
    assert y[0].tolist() == [isqrt(k) for k in v.tolist()]


def test_the_root_in_verilog_around_squares(tmp_path: Path) -> None:
    v = around_squares(48, 900)
    x = v[: len(v) // 16 * 16].reshape(4, 4, 1, -1)
    graph = Graph("x", IntType(x.shape[1:], 0, (1 << 48) - 1), [Node("op", ISqrt(), ("x",), "y")], "y")
    y = np.array([isqrt(k) for k in x.ravel().tolist()]).reshape(x.shape)
    cycles = parity.check_verilog(graph, {"op": Fold("folded", 2)}, x, y, tmp_path)
    assert cycles == 2 * x.shape[3]


@pytest.mark.parametrize(
    ("kind", "fold", "cycles"),
    [
        (IntType((4, 2, 8), 0, (1 << 24) - 1), Fold("folded", 4), 31),  # all widths at their largest, the divider the slowest
        (IntType((48, 2, 8), -(1 << 15), (1 << 15) - 1), Fold("folded", 1), 48),
        (IntType((99, 1, 8), (1 << 45) - 512, (1 << 45) - 1), Fold("folded", 3), 33),
        (IntType((40, 1, 8), -7, 8), Fold("folded", 40), 31),
    ],
    ids=str,
)
def test_verilog_at_the_ends_and_its_rate(kind: IntType, fold: Fold, cycles: int, tmp_path: Path) -> None:
    """cycles: of a pixel."""
    op = LayerNorm(11)
    graph = Graph("x", kind, [Node("op", op, ("x",), "y")], "y")
    x = kind.random(np.random.default_rng(0), 6)
    x[2, :1], x[3, 1:] = kind.lo, kind.hi
    x[4] = x[4, :1]  # no square is left
    x[5] = kind.lo + np.arange(kind.pixels).reshape(kind.shape[1:]) % 8 + np.arange(kind.channels)[:, None, None] % 2  # half way
    y = op.reference(x)
    assert parity.check_verilog(graph, {"op": fold}, x, y, tmp_path) == kind.pixels * cycles


@pytest.mark.parametrize("divisor", [1, 3, 5, 7, 9, 49, 63, 381, 1023, 12345])
def test_division_by_a_constant_is_a_multiplication(divisor: int) -> None:
    """All dividends, and around multiples where there are too many."""
    rng = np.random.default_rng(divisor)
    for most in (0, 1, divisor - 1, divisor, 10_000, (1 << 39) - 1):
        multiplier, shift = multiply_shift(divisor, most)
        near = divisor * rng.integers(0, most // divisor + 1, 3000)[:, None] + np.arange(-1, 2)
        every = set(range(10_001)) | set(near.ravel().tolist()) | {most - k for k in range(2 * divisor)}
        for w in (w for w in every if 0 <= w <= most):
            quotient, left = divmod(w * multiplier, 1 << shift)
            assert quotient == w // divisor and (left < multiplier) == (w % divisor == 0)


def test_in_other_units() -> None:
    assert ISqrt().rescaled(-6)[1] == -3
    assert LayerNorm(4).rescaled(5)[1] == 0
    with pytest.raises(EdgeqError, match="even"):
        ISqrt().rescaled(3)
