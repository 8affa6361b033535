"""Integer layers as shifts and additions: the generator alone, both of its bodies, and layers with what is fused into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import case_of, check_synthesized_verilog, check_verilog, folds_of
from test_mst import Text

from edgeq.digits import digit_count, digit_planes
from edgeq.engines.yosys import equivalent, estimate
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import IntType, Op
from edgeq.hardware import to_bits
from edgeq.ops._mac import Mac
from edgeq.ops._rtl import layer, terms_of
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold
from edgeq.shift_add import (
    MAX_DIGITS,
    Compare,
    Inputs,
    Rescale,
    Sums,
    Tail,
    digits,
    estimated_shift_add_luts,
    program,
    shift_add_sv,
)

RANGES = ((0, 63), (-128, 127), (0, 1), (-3, 9), (3, 5), (-32768, 32767), (-6, -1), (0, 0))


def inputs_of(ranges: list[tuple[int, int]]) -> tuple[Inputs, int]:
    """Words one after the other, and their bits in all."""
    lo, hi = np.array(ranges).T
    inputs, at, ports = Inputs((), lo, hi), 0, []
    for k in range(len(ranges)):
        ports.append(("x_i", at))
        at += inputs.width(k)
    return Inputs(tuple(ports), lo, hi), at


def frames(inputs: Inputs, seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Values [N, K], ends of the ranges among them, and their bits."""
    rng = np.random.default_rng(seed)
    x = rng.integers(inputs.lo, inputs.hi + 1, (count, len(inputs.lo)))
    ends = np.where(rng.random(x.shape) < 0.5, inputs.lo, inputs.hi)
    x = np.where(rng.random((count, 1)) < 0.4, ends, x)
    return x, np.hstack([to_bits(x[:, k : k + 1], inputs.width(k)) for k in range(x.shape[1])])


def expected_of(y: np.ndarray, tail: Tail) -> np.ndarray:
    """What the output's bits stand for."""
    if isinstance(tail, Compare):
        return (y >= tail.thresholds) ^ tail.negative
    if isinstance(tail, Sums):
        return y
    op = Requantize(tail.multiplier, tail.offset, tail.shift, "half_even" if tail.half_even else "floor", tail.lo, tail.hi)
    return op.reference(y)


def seen(text: Text, tail: Tail) -> np.ndarray:
    return text.unsigned if isinstance(tail, Rescale) and tail.lo >= 0 else text.y


@st.composite
def layers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]], Tail]:
    """Weights of any sparsity with zero and equal rows, constants, ranges of the inputs, and a tail."""
    seed = draw(st.integers(0, 1 << 30))
    rng = np.random.default_rng(seed)
    channels, terms = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    most = draw(st.sampled_from([1, 3, 31, 127, 255]))
    weight = rng.integers(0 if most == 255 else -most, most + 1, (channels, terms)) * (rng.random((channels, terms)) < 0.8)
    weight[rng.random(channels) < 0.2] = 0
    ranges = (
        [RANGES[i] for i in rng.integers(0, len(RANGES), terms)]
        if draw(st.booleans())
        else [draw(st.sampled_from(RANGES))] * terms
    )
    constant = rng.integers(-50, 50, channels) * draw(st.integers(0, 1))
    lo, hi = np.array(ranges).T
    reach = int((np.abs(weight) * np.maximum(np.abs(lo), np.abs(hi))).sum(axis=1).max()) + 50
    kind = draw(st.sampled_from(["sums", "compare", "rescale", "rescale"]))
    if kind == "sums":
        return weight, constant, ranges, Sums(reach.bit_length() + 1)
    if kind == "compare":
        near = rng.integers(-reach // 4, reach // 4 + 1, channels)
        return (
            weight,
            constant,
            ranges,
            Compare(np.where(rng.random(channels) < 0.2, 2 * reach, near), rng.random(channels) < 0.5),
        )
    multiplier = rng.integers(-40, 41, channels) if draw(st.booleans()) else np.full(channels, draw(st.sampled_from([1, -2, 4])))
    shift = draw(st.integers(0, 9))
    lo_y, hi_y = draw(st.sampled_from([(0, 63), (-16, 15), (-7, 7), (0, 1), (3, 12), (-100000, 0), (-5, 1 << 30)]))
    bits = IntType((1,), lo_y, hi_y).width
    offset = rng.integers(-reach, reach + 1, channels)
    return weight, constant, ranges, Rescale(multiplier, offset, shift, draw(st.booleans()), lo_y, hi_y, bits)


@settings(deadline=None, max_examples=60)
@given(layers(), st.integers(2, 6), st.booleans())
def test_the_lut_form_gives_the_exact_results(
    made: tuple[np.ndarray, np.ndarray, list[tuple[int, int]], Tail], levels: int, share: bool
) -> None:
    weight, constant, ranges, tail = made
    inputs, bits = inputs_of(ranges)
    found = shift_add_sv(
        "layer", weight, constant, inputs, (tuple(range(len(ranges))),), tail, {"x_i": bits}, share=share, max_lut_levels=levels
    )
    x, code = frames(inputs, 0)
    assert np.array_equal(seen(Text(found, code, None), tail), expected_of(x @ weight.T + constant, tail))


def test_outputs_that_are_always_clipped() -> None:
    """Sums that nothing reads are made all the same, in stages of their own."""
    inputs, bits = inputs_of([(0, 63)] * 20)
    weight = np.random.default_rng(0).integers(-9, 10, (3, 20))
    tail = Rescale(np.ones(3, np.int64), np.array([1 << 20, -1 << 20, 1 << 20]), 0, False, 2, 12, 4)
    constant = np.zeros(3, np.int64)
    found = shift_add_sv("layer", weight, constant, inputs, (tuple(range(20)),), tail, {"x_i": bits}, max_lut_levels=2)
    _, code = frames(inputs, 0)
    assert np.array_equal(seen(Text(found, code, None), tail), [[12, 2, 12]] * len(code))


def test_digits_are_canonical_and_few() -> None:
    values = np.arange(-300, 300)
    found = digit_planes(values)
    assert np.array_equal(found @ (1 << np.arange(found.shape[1])), values)
    assert np.array_equal(np.count_nonzero(found, axis=1), digit_count(values))


@settings(deadline=None, max_examples=20)
@given(layers(), st.booleans())
def test_a_program_is_its_weights(made: tuple[np.ndarray, np.ndarray, list[tuple[int, int]], Tail], share: bool) -> None:
    """Expanded in the inputs; and the range of each node is exact."""
    weight, _, ranges, _ = made
    inputs, _ = inputs_of(ranges)
    found = program(weight, inputs, (tuple(range(len(ranges))),), share)
    nodes = list(np.eye(len(ranges), dtype=np.int64))
    for part in found.parts:
        nodes.append(sum(sign * (nodes[n] << s) for n, s, sign in part))
    zero = np.zeros(len(ranges), np.int64)
    assert np.array_equal([sum((sign * (nodes[n] << s) for n, s, sign in row), zero) for row in found.rows], weight)
    ends = np.array([np.sort([node * inputs.lo, node * inputs.hi], axis=0).sum(axis=1) for node in nodes])
    assert np.array_equal(ends, np.array([found.lo, found.hi]).T)
    assert found.additions <= digits(weight)


def test_common_subexpressions_save_and_the_estimate_is_near() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-31, 32, (32, 24))
    inputs, bits = inputs_of([(0, 63)] * 24)
    tail = Rescale(np.ones(32, np.int64), np.zeros(32, np.int64), 5, True, 0, 63, 6)
    arguments = weight, np.zeros(32, np.int64), inputs, (tuple(range(24)),), tail, {"x_i": bits}
    plain, shared = (shift_add_sv("layer", *arguments, share=share) for share in (False, True))
    assert shared.luts < 0.9 * plain.luts and shared.additions < plain.additions == shared.direct_additions
    estimated = estimated_shift_add_luts(weight, inputs, (tuple(range(24)),), tail)
    assert estimated == pytest.approx(shared.luts, rel=0.15)
    assert shared.latency <= 3, "carries of one column must not hold up the next"


def test_both_bodies_are_proved_equal(tmp_path: Path) -> None:
    """By SAT for every input, with each tail; a wrong LUT is found."""
    rng = np.random.default_rng(1)
    tails: list[Tail] = [
        Sums(12),
        Compare(np.array([3, -9]), np.array([False, True])),
        Rescale(np.array([3, -4]), np.array([-7, 5]), 3, True, -5, 9, 5),
        Rescale(np.array([1, 1]), np.array([1, 0]), 2, True, 0, 15, 4),
    ]
    for i, tail in enumerate(tails):
        inputs, bits = inputs_of([(-4, 3), (0, 7), (-4, 3)])
        weight = rng.integers(-15, 16, (2, 3))
        made = shift_add_sv("layer", weight, np.array([2, -1]), inputs, ((0, 1, 2),), tail, {"x_i": bits}, max_lut_levels=3)
        path = tmp_path / f"layer{i}.sv"
        path.write_text(made.text)
        assert equivalent([path], "layer", latency=made.latency)
    path.write_text(made.text.replace("h6 >>", "h9 >>") if "h6 >>" in made.text else made.text.replace("+ 32'sd", "- 32'sd", 1))
    assert not equivalent([path], "layer", latency=made.latency)


CONV = np.random.default_rng(2).integers(-7, 8, (4, 2, 3, 3))
CASES: dict[str, tuple[Mac, IntType, Op | None]] = {
    "padded bipolar": (Conv2d(CONV, pads=(1, 1, 1, 1)), IntType((2, 4, 5), -1, 1, 2), Requantize(
        np.array([100, 900, 256, 3]), np.array([-50, 20, 7, 0]), 7, "half_even", -11, 14)),
    "depthwise": (Conv2d(CONV[:, :1], pads=(1, 0, 1, 1), groups=4), IntType((4, 4, 5), -3, 12), Requantize(
        np.array([-9, 4, 0, 7]), np.array([-50, 20, 7, 0]), 3, "floor", -16, 15)),
    "levels": (Dense(CONV.reshape(4, 18)), IntType((18,), -8, 7), Threshold(
        np.array([[-40, 3, 50], [0, 1, 2], [-9, 0, 200], [5, 6, 7]]), np.array([0, 1, 0, 1]), 0)),
    "one level": (Dense(CONV.reshape(4, 18)), IntType((18,), 0, 255), Threshold(
        np.array([[-40], [0], [900], [5]]), np.array([0, 1, 0, 1]), -1, 2)),
    "plain": (Dense(CONV.reshape(4, 18)), IntType((18,), -1, 1, 2), None),
}  # fmt: skip


def test_layers_in_verilog(tmp_path: Path) -> None:
    """Windows, groups, padding and every fused operator, in both bodies, with stalls, against reference and schedule."""
    for name, (op, x, post) in CASES.items():
        case = case_of(op, (x,), 0, post)
        check_verilog(case.built, folds_of(case, Fold("unrolled", *op.weight.shape[:2])), case.x, case.y, tmp_path / name)
        check_synthesized_verilog(case.built, case.x, case.y, tmp_path / name)


def test_an_unrolled_layer_with_requantize_has_no_dsp(tmp_path: Path) -> None:
    """Yosys finds the LUTs and registers that the generator counts, and no multiplier."""
    rng = np.random.default_rng(3)
    inputs, bits = inputs_of([(-128, 127)] * 8)
    tail = Rescale(rng.integers(90, 200, 4), rng.integers(-99, 99, 4), 10, True, -128, 127, 8)
    made = shift_add_sv(
        "layer", rng.integers(-127, 128, (4, 8)), np.zeros(4, np.int64), inputs, (tuple(range(8)),), tail, {"x_i": bits}
    )
    path = tmp_path / "layer.sv"
    path.write_text(made.text)
    cost = estimate([path], "layer", {})
    assert cost.dsp == 0 and abs(cost.lut - made.luts) <= 0.02 * made.luts and cost.ff == made.ffs


def test_a_layer_of_too_many_digits_is_not_unrolled() -> None:
    weight = np.full((200, 200), 85)  # four digits each
    assert digits(weight) > MAX_DIGITS
    op, x = Dense(weight), IntType((200,), 0, 1)
    assert all(fold.mode == "folded" for fold in op.folds(x))
    with pytest.raises(EdgeqError, match="too many to unroll"):
        layer(op, Fold("unrolled", 200, 200), x, op.accumulator_type(x), weight, None)


def test_a_bipolar_word_is_twice_its_bit_less_its_mask() -> None:
    op, x = Conv2d(CONV, pads=(1, 1, 1, 1)), IntType((2, 4, 5), -1, 1, 2)
    weight, constant, inputs, blocks = terms_of(x, op.hardware_rows(), op.window(x), 1)
    assert weight.shape == (4, 27) and not constant.any() and inputs.port[18] == ("mask_i", 0) and len(blocks) == 2
    assert np.array_equal(weight[:, 18:], -op.hardware_rows().reshape(4, 9, 2).sum(axis=2))
