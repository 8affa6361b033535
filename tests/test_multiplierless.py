"""Products without multipliers: signed digits, shifters in hardware, and builds that may take no DSP."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import parity
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.board import board
from edgeq.digits import DigitCode, digit_count, signed_digits
from edgeq.engines.yosys import estimate
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.folding import Target, choose
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.hardware import Cost
from edgeq.lower import rtl as lower_rtl
from edgeq.ops.add import Add
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense
from edgeq.ops.requantize import Requantize

PIXELS = IntType((8,), 0, 255)
SUMS = IntType((6,), -30000, 30000)


def k_hot(k: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random 8-bit words of at most k signed digits."""
    words = np.arange(-127, 128)
    return np.random.default_rng(k).choice(words[digit_count(words) <= k], shape)


@given(st.lists(st.integers(-(1 << 60), 1 << 60), min_size=1, max_size=9))
def test_digits_add_up_and_no_two_are_neighbours(values: list[int]) -> None:
    array = np.array(values)
    signs, shifts = signed_digits(array)
    assert [sum(int(s) << int(h) for s, h in zip(*row, strict=True)) for row in zip(signs, shifts, strict=True)] == values
    assert signs.shape[1] == max(1, digit_count(array).max())
    for row, places in zip(signs, shifts, strict=True):
        used = places[row != 0]
        assert np.all(np.diff(used) > 1) and len(used) == np.count_nonzero(row[: len(used)])


def test_no_word_has_a_sum_of_fewer_powers() -> None:
    """Against all sums of up to three signed powers of two."""
    powers = np.array([s << e for e in range(10) for s in (1, -1)])
    reached, seen = {0}, {0: 0}
    for count in (1, 2, 3):
        reached = {int(a + b) for a in reached for b in powers}
        for value in reached:
            seen.setdefault(value, count)
    values = np.arange(-255, 256)
    for value, count in zip(values.tolist(), digit_count(values).tolist(), strict=True):
        assert seen.get(value, 4) == min(count, 4)


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=8))
def test_a_code_holds_its_digits(values: list[int]) -> None:
    array = np.array(values)
    code = DigitCode.of(array)
    size = 2 + code.shift_bits
    words = code.codes(array)
    assert np.all(words < 1 << code.width)
    total = np.zeros_like(array)
    for d in range(code.count):
        digit = words >> (d * size) & ((1 << size) - 1)
        total += np.where(digit & 1, np.where(digit & 2, -1, 1) << (digit >> 2), 0)
    assert np.array_equal(total, array)


def counted(op: Op, fold: Fold, folder: Path, *xs: IntType) -> Cost:
    """The operator by Yosys."""
    folder.mkdir()
    made = lower_rtl.lower(Graph("x", xs[0], [Node("op", op, ("x",) * len(xs), "y")], "y"), {"op": fold}, folder)
    instance = made.instances["op"]
    files = [folder / name for name in (*(f"{stem}.sv" for stem in instance.uses), *instance.sources)]
    return estimate(files, instance.module, instance.params, cwd=folder)


SCALE = Requantize(k_hot(2, (6,)), np.arange(-3, 3) * 100, 7, "half_even", 0, 255)


@pytest.mark.parametrize(
    ("op", "fold", "xs"),
    [
        (replace(Dense(k_hot(2, (6, 8))), post=SCALE), Fold("folded", 2, 4), (PIXELS,)),
        (replace(Dense(np.array([[-1, 0, 1, 1]] * 6)), post=SCALE), Fold("folded", 3, 2), (IntType((4,), -128, 127),)),
        (SCALE, Fold(), (SUMS,)),
    ],
    ids=["K = 2", "ternary", "requantize"],
)
def test_digits_take_no_dsp(op: Op, fold: Fold, xs: tuple[IntType, ...], tmp_path: Path) -> None:
    """And our model says so, and what they cost in LUTs."""
    by_digits = replace(fold, digits=True)
    plain, made = (counted(op, f, tmp_path / name, *xs) for f, name in ((fold, "plain"), (by_digits, "digits")))
    assert plain.dsp > 0 and made.dsp == 0 and op.cost(by_digits, *xs).dsp == 0
    assert 0.7 < op.cost(by_digits, *xs).lut / made.lut < 1.9  # constants dominate such small layers


def test_constants_of_an_addition_take_no_dsp(tmp_path: Path) -> None:
    x = IntType((4,), -128, 127)
    assert counted(Add(np.array([93]), np.array([-4])), Fold(), tmp_path / "add", x, x).dsp == 0


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1 << 30))
def test_digits_mean_what_multipliers_mean(seed: int) -> None:
    """A convolution and its requantize, weights of any number of digits, however folded."""
    draw = parity.seeded(seed)
    case = parity.draw_case(Conv2d, draw, fused=True)
    folds = [fold for fold in case.built.nodes[-1].op.folds(*case.types) if fold.digits]
    if folds and case.varied:
        fold = folds[draw(0, len(folds) - 1)]
        with tempfile.TemporaryDirectory() as folder:
            parity.check_verilog(case.built, parity.folds_of(case, fold), case.x, case.y, Path(folder))


def network(multiplier: int) -> Graph:
    layer = replace(Dense(k_hot(2, (6, 8))), post=Requantize(np.array([multiplier]), np.array([5]), 12, "half_even", -128, 127))
    return Graph("x", PIXELS, [Node("a", layer, ("x",), "s"), Node("b", Dense(k_hot(1, (4, 6))), ("s",), "y")], "y")


def test_a_build_may_take_no_dsp() -> None:
    graph, ultra96 = network(77), board("ultra96")
    for most in (0, 2):
        folds = choose(graph, ultra96, Target(max_dsp=most))
        types = graph.types()
        assert sum(node.op.cost(folds[node.name], *(types[x] for x in node.inputs)).dsp for node in graph.nodes) <= most


def test_a_constant_of_too_many_digits_is_refused() -> None:
    """Where it is on its own; behind a layer, an unrolled one has no bound."""
    scale = Requantize(np.array([int("1" + "01" * 14, 2)]), np.array([5]), 12, "half_even", -128, 127)
    graph = Graph("x", SUMS, [Node("a", scale, ("x",), "y")], "y")
    with pytest.raises(EdgeqError, match="dsp") as caught:
        choose(graph, board("ultra96"), Target(max_dsp=0))
    assert caught.value.where == "a"
