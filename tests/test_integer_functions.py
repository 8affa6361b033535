"""The integer forms of softmax and GELU: the published formulas, refused outside their ranges, and near the real functions."""

from __future__ import annotations

from dataclasses import replace
from math import floor, log
from pathlib import Path

import numpy as np
import parity
import pytest
from scipy.special import erf, expit, softmax

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import IntType, Op
from edgeq.ops.near_max import NearMax
from edgeq.ops.shift_gelu import ShiftGELU
from edgeq.ops.shiftmax import Shiftmax
from edgeq.schedule import cycles_alone

VECTORS = 10_000
ROW = IntType((2, 3, 8), -128, 127)
PIXEL = IntType((4, 2, 2), -128, 127)
GELU = ShiftGELU(27, 8, 15, 127)


# The formulas of I-ViT (arXiv 2207.01405) in Python's integers, its I0 being -2^point.


def exponential(i: int, point: int, n: int) -> int:
    i += (i >> 1) - (i >> 4)
    i0 = -(2**point)
    i = max(i, n * i0)
    q = i // i0
    r = i - q * i0
    return ((r - 2 * i0) << (n - q)) >> 1


def published_softmax(row: list[int], op: Shiftmax) -> list[int]:
    e = [exponential((i - max(row)) * op.slope, op.point, op.shift) for i in row]
    factor = (2**31 - 1) // min(sum(e), 2**31 - 1)
    return [(v * factor) >> (32 - op.bits) for v in e]


def published_gelu(i: int, op: ShiftGELU) -> int:
    i = min(i, op.hi)
    m = max(i, 0)
    e1, e2 = (exponential(v * op.slope, op.point, op.shift) for v in (i - m, -m))
    return i * ((e1 << op.bits) // (e1 + e2))


@pytest.mark.parametrize("kind", [Shiftmax, ShiftGELU, NearMax], ids=lambda kind: kind.kind())
def test_the_reference_is_the_published_formula(kind: type[Op]) -> None:
    rng = np.random.default_rng(5)
    done = seed = 0
    while done < VECTORS:
        op, (t,) = kind.sample(parity.seeded(seed))
        x = t.random(rng, 12)
        rows = x.reshape(-1, x.shape[-1])
        y = op.reference(x).reshape(rows.shape).tolist()
        for row, found in zip(rows.tolist(), y, strict=True):
            if isinstance(op, Shiftmax):
                assert found == published_softmax(row, op)
            elif isinstance(op, ShiftGELU):
                assert found == [published_gelu(i, op) for i in row]
            elif isinstance(op, NearMax):
                assert found == [int(i >= max(row) - op.margin) for i in row]
        done, seed = done + len(rows), seed + 1


@pytest.mark.parametrize(
    ("op", "x", "what"),
    [
        (Shiftmax(1, 8), IntType((4,), 0, 9), "must be"),
        (Shiftmax(0, 8), ROW, "slope of 0"),
        (Shiftmax(1, -1), ROW, "point -1"),
        (Shiftmax(1, 8, 0), ROW, "shift of 0"),
        (Shiftmax(1, 16, 15), replace(ROW, shape=(1, 1, 1)), "point 16"),
        (Shiftmax(1, 14, 15), replace(ROW, shape=(1, 1, 4)), "may pass 2"),
        (Shiftmax(1, 8, bits=1), ROW, "1 bits"),
        (Shiftmax(1, 8, bits=33), ROW, "33 bits"),
        (Shiftmax(1 << 30, 8), replace(ROW, lo=-(1 << 31), hi=1 << 31), "passes 61 bits"),
        (NearMax(3), IntType((4,), 0, 9), "must be"),
        (NearMax(-1), ROW, "margin of -1"),
        (NearMax((1 << 62) + 1), ROW, "margin of"),
        (replace(GELU, slope=0), PIXEL, "slope of 0"),
        (replace(GELU, point=-1), PIXEL, "point -1"),
        (replace(GELU, shift=23), PIXEL, "shift of 23"),
        (replace(GELU, bits=0), PIXEL, "0 bits"),
        (replace(GELU, bits=17), PIXEL, "17 bits"),
        (replace(GELU, hi=-129), PIXEL, "cuts"),
        (replace(GELU, hi=1 << 62), PIXEL, "cuts"),
        (replace(GELU, slope=1 << 54), PIXEL, "passes 61 bits"),
        (replace(GELU, slope=1, bits=16), replace(PIXEL, lo=-(1 << 45)), "by 16 bits"),
    ],
    ids=str,
)
def test_what_no_engine_takes_is_refused(op: Op, x: IntType, what: str) -> None:
    with pytest.raises(EdgeqError, match=what):
        op.infer(x)


@pytest.mark.parametrize(
    ("op", "x"),
    [
        (Shiftmax(1, 0, 30), replace(ROW, shape=(1, 1, 1))),
        (Shiftmax(1, 14, 15), replace(ROW, shape=(1, 1, 3))),
        (Shiftmax((1 << 29) - 1, 8, bits=32), replace(ROW, lo=-(1 << 31), hi=(1 << 31) - 1)),
        (replace(GELU, point=15), PIXEL),
        (replace(GELU, hi=-128), PIXEL),
        (replace(GELU, slope=(1 << 54) - 1), PIXEL),
        (replace(GELU, slope=1, bits=16, hi=0), replace(PIXEL, lo=1 - (1 << 45))),
    ],
    ids=str,
)
def test_the_ends_of_the_legal_ranges_are_exact(op: Op, x: IntType, tmp_path: Path) -> None:
    case = parity.case_of(op, (x,))
    assert case.built.types()["y"].admits(case.y)
    assert parity.onnx_mismatches(case, tmp_path) == 0


WIDE = IntType((2, 3, 8), (1 << 31) - 300, (1 << 32) + 300)


@pytest.mark.parametrize(
    ("op", "x"),
    [
        (Shiftmax(1, 26, 1), WIDE),
        (NearMax(1 << 30), WIDE),
        (ShiftGELU(1, 15, 15, (1 << 31) + 5), replace(WIDE, lo=-(1 << 32))),
    ],
    ids=str,
)
def test_integers_around_bit_31_are_exact_in_onnxruntime(op: Op, x: IntType, tmp_path: Path) -> None:
    case = parity.case_of(op, (x,))
    assert case.varied
    assert parity.onnx_mismatches(case, tmp_path) == 0


@pytest.mark.parametrize("op", [Shiftmax(3, 8), NearMax(5)], ids=lambda op: op.kind())
def test_rows_of_one_key_are_whole(op: Op, tmp_path: Path) -> None:
    case = parity.case_of(op, (replace(ROW, shape=(2, 5, 1)),))
    assert set(case.y.flat) == {(1 << 15) - (1 << 7) if isinstance(op, Shiftmax) else 1}  # 255 / 256
    folds = parity.folds_of(case, Fold())
    cycles = parity.check_verilog(case.built, folds, case.x, case.y, tmp_path)
    assert cycles == parity.declared_cycles(case.built, folds)


@pytest.mark.parametrize("bits", range(1, 31))
def test_a_row_takes_its_keys_or_the_digits_of_its_quotient(bits: int) -> None:
    """bits: point + shift. No FIFO between the passes makes them wait for one another."""
    for keys in [keys for keys in (1, 2, 3, 5, 7, 8, 30 - bits, 31 - bits, 32 - bits, 40) if 0 < keys << bits < 1 << 31]:
        op, x = Shiftmax(1, 0, bits), IntType((1, 3, keys), 0, 9)
        assert cycles_alone(op.schedule(Fold(), x)) == op.cycles(Fold(), x) == 3 * max(keys, 31 - bits)


@pytest.mark.parametrize(("point", "least"), [(4, 0.98), (6, 0.96), (8, 0.86)])
@pytest.mark.parametrize("spread", [1, 4])
def test_softmax_is_near_the_real_one(point: int, least: float, spread: int) -> None:
    """Rows of 197 keys, x in units of 2^-point: off by up to 9 % of the row's largest, and as much as the row lacks of 1."""
    x = np.round(np.random.default_rng(3).normal(0, spread, (1, 1, 400, 197)) * 2**point).astype(np.int64)
    y = Shiftmax(1, point).reference(x) / (1 << 15)
    real = softmax(x / 2**point, axis=3)
    assert np.all(np.abs(y - real) < (0.09 + 1 - least) * real.max(axis=3, keepdims=True))
    assert least < y.sum(axis=3).min() and y.sum(axis=3).max() < 1


@pytest.mark.parametrize("scale", [0.02, 0.05, 1 / 16])
@pytest.mark.parametrize(("bits", "rms"), [(7, 0.027), (8, 0.016), (10, 0.0135)])
def test_gelu_is_near_the_real_one(scale: float, bits: int, rms: float) -> None:
    """Of x*sigmoid(1.702 x) off by a unit of the sigmoid and 0.0085; of GELU itself, rms over all x of 8 bits."""
    x = np.arange(-128, 128).reshape(1, -1, 1, 1)
    op, real = ShiftGELU(round(1.702 * scale * 2**10), 10, 15, 127, bits), x * scale
    y = op.reference(x) * scale / 2**bits
    assert np.all(np.abs(y - real * expit(1.702 * real)) < np.abs(real) / 2**bits + 0.0085)
    assert np.sqrt(np.mean((y - real * (1 + erf(real / np.sqrt(2))) / 2) ** 2)) < rms


def test_the_clip_of_lambda_shift_gelu_ends_the_tail() -> None:
    x = np.arange(-128, 128).reshape(1, -1, 1, 1)
    plain, cut = GELU.reference(x), replace(GELU, hi=40).reference(x)
    assert np.array_equal(plain[:, : 128 + 41], cut[:, : 128 + 41])
    assert np.all(cut[:, 128 + 40 :] == plain[0, 128 + 40])


@pytest.mark.parametrize("scale", [0.02, 0.1, 0.3])
def test_near_max_is_a_quarter_of_the_largest_softmax(scale: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-64, 64, (1, 2, 50, 30))
    real = softmax(x * scale, axis=3)
    found = NearMax(floor(log(4) / scale)).reference(x)
    assert np.array_equal(found, real >= real.max(axis=3, keepdims=True) / 4)
    assert 0 < found.mean() < 1


@pytest.mark.parametrize("op", [Shiftmax(24, 8), NearMax(24), ShiftGELU(24, 8, 12, 80)], ids=lambda op: op.kind())
@pytest.mark.parametrize("exponent", [-3, -1, 2])
def test_a_rescaled_operator_means_the_same(op: Op, exponent: int) -> None:
    made, e = op.rescaled(exponent)
    unit = 2.0**exponent
    x = np.random.default_rng(0).integers(-30, 31, (4, 2, 3, 6)) * max(1, 1 << -exponent if exponent < 0 else 1)
    old = (x * unit).astype(np.int64)
    assert np.array_equal(made.reference(x) * 2.0**e, op.reference(old))
    assert e == (exponent if isinstance(op, ShiftGELU) else 0)


def test_a_slope_that_cannot_be_rescaled_is_refused() -> None:
    with pytest.raises(EdgeqError, match="no multiple of"):
        Shiftmax(3, 8).rescaled(-1)
