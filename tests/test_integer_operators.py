"""benchmarks/integer_operators.py: its baselines are what is published, its scales begin where an operator's do."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from edgeq.errors import EdgeqError

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import ivit
from integer_operators import Sweep, picture, summary, sweeps


@pytest.fixture(scope="module")
def by_name() -> dict[str, Sweep]:
    return {sweep.name: sweep for sweep in sweeps()}


def test_ten_newton_steps_are_too_few_for_small_roots() -> None:
    roots = np.array([0, 30, 186, 187, 1000, 30_000])
    assert ivit.newton_root(roots * roots).tolist() == [64, 67, 187, 187, 1000, 30_000]


def test_the_published_exponential_is_close_to_exp() -> None:
    x = np.arange(-200, 1)
    assert np.allclose(ivit.exp_shift(x, 1 / 16, 15) / (16 << 15), np.exp(x / 16), atol=0.07)


def test_published_rows_of_8_bits_sum_to_less_than_one() -> None:
    x = np.random.default_rng(0).normal(0, 16, (100, 197)).round().astype(np.int64)
    sums = {bits: np.sum(y * unit, axis=1) for bits in (8, 16) for y, unit in [ivit.shiftmax(x, 1 / 16, bits)]}
    assert sums[8].max() < 0.75 and sums[16].min() > 0.98


def test_the_published_gelu_depends_on_its_neighbours() -> None:
    x = np.array([[-3, 5, 20], [-3, 5, 900]])
    (y, unit), (alone, _) = ivit.shift_gelu(x, 1 / 16), ivit.shift_gelu(x[:, :2], 1 / 16)
    assert not np.array_equal(y[1, :2], alone[1]) and unit == 2.0**-11
    with pytest.raises(ivit.Overflow):
        ivit.shift_gelu(x, 0.0022)
    ivit.shift_gelu(x, 0.0024)


def test_scales_begin_at_the_smallest_legal_one(by_name: dict[str, Sweep]) -> None:
    for name in ("Shiftmax, 16 bits", "Shiftmax, 8 bits", "ShiftGELU"):
        with pytest.raises(EdgeqError):
            by_name[name].row(by_name[name].exponents[0] - 1)


def test_errors_are_those_that_were_measured(by_name: dict[str, Sweep]) -> None:
    gelu = by_name["ShiftGELU"].row(-6)
    assert 0.012 < gelu["ours: RMS"] < 0.014 < 0.04 < gelu["published: RMS"]
    rows = [by_name["NearMax"].row(-4), by_name["LayerNorm, 13 bits"].row(0), by_name["LayerNorm, 13 bits"].row(-18), gelu]
    assert rows[0]["ours: largest"] == 0 and rows[0]["published: RMS"] is None
    assert rows[1]["ours: RMS"] < 0.2 < 0.7 < rows[1]["published: RMS"]
    lines = summary(rows)
    assert [line["operator"] for line in lines] == ["NearMax", "LayerNorm, 13 bits", "ShiftGELU"]
    assert lines[1]["ours: scales"] == "2^0 to 2^-18" and lines[1]["published: scales"] == "2^0"
    drawn = ElementTree.fromstring(picture(rows[1:3]))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 4
