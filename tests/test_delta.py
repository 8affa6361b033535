"""Folded binary layers along their spanning tree: the code, the module that runs it, its cycles and its cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.board import board
from edgeq.delta import BANK_WORDS, MAX_LANES, Program, lanes_of, program
from edgeq.engines.yosys import estimate
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.folding import Target, choose
from edgeq.graph import Graph, IntType, Node
from edgeq.hardware import Cost, from_bits
from edgeq.lower import rtl
from edgeq.ops._rtl import folds, plain_fold, steps, tree_folds
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.threshold import Threshold

ACC_BITS = 20


def descended(rng: np.random.Generator, channels: int, terms: int, flip: float) -> np.ndarray:
    """Each channel is plus or minus an earlier one with a share of its weights flipped."""
    rows = 2 * rng.integers(0, 2, (channels, terms)) - 1
    for c in range(1, channels):
        rows[c] = rng.choice([-1, 1]) * rows[rng.integers(c)] * np.where(rng.random(terms) < flip, -1, 1)
    return rows


def words(image: str, width: int) -> np.ndarray:
    """A memory image as bits [words, width]."""
    return np.array([[int(line, 16) >> i & 1 for i in range(width)] for line in image.split()], np.uint8)


def run(made: Program, x: np.ndarray) -> np.ndarray:
    """What hls/rtl/eq_mvu_tree.sv makes of the images.  x: [N, P] of -1 and +1 -> [N, C]."""
    wires, entry = made.wires(), made.entry_bits
    banks = np.zeros((len(x), 1 << (entry - 1), made.layout.lanes), np.int64)  # words that are never written stay 0
    banks[:, : len(wires)] = np.where(wires >= 0, (x > 0)[:, wires], 0)
    code = words(made.code(), made.code_width)
    entries = from_bits(code[:, :-1], entry, signed=False).reshape(len(code), made.pe, -1)
    address, weight = entries & ((1 << (entry - 1)) - 1), entries >> (entry - 1)
    picked = np.take_along_axis(banks[:, None], address.reshape(1, 1, -1, made.layout.lanes), axis=2)
    equal = (picked.reshape(len(x), len(code), made.pe, -1) == weight).sum(axis=3)
    slot_bits = max(1, (made.slots.size - 1).bit_length())
    slots = words(made.slot_words(ACC_BITS), made.slot_width(ACC_BITS))
    bias = from_bits(slots[:, :ACC_BITS], ACC_BITS, signed=True)[:, 0]
    parent = from_bits(slots[:, ACC_BITS : ACC_BITS + slot_bits], slot_bits, signed=False)[:, 0]
    negate, root, channel = slots[:, -3:].T.astype(bool)
    sums, handed = np.zeros((made.slots.size, len(x)), np.int64), np.zeros(made.slots.size, np.int64)
    out, start = [], 0
    for step, end in enumerate(int(k) + 1 for k in np.flatnonzero(code[:, -1])):
        assert end - start >= made.pe
        for p in range(made.pe):
            slot = step * made.pe + p
            handed[slot] = end + 1 + p
            if not channel[slot]:
                continue
            count = equal[:, start:end, p].sum(axis=1)
            link = ~sums[parent[slot]] if negate[slot] else sums[parent[slot]]
            sums[slot] = bias[slot] + (2 * count if root[slot] else link + 4 * count)
            assert root[slot] or handed[slot] - handed[parent[slot]] >= 2
            out.append(sums[slot])
        start = end
    assert start == made.cycles == made.lengths.sum()
    y = np.empty((len(x), len(out)), np.int64)
    y[:, made.order] = np.array(out).T
    return y


@given(st.integers(2, 10), st.integers(1, 5), st.sampled_from([1, 2, 3]), st.sampled_from([1, 4]), st.data())
def test_the_code_computes_the_layer(per_group: int, per_tap: int, groups: int, taps: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    channels, terms = groups * per_group, taps * per_tap
    rows = descended(rng, channels, terms, data.draw(st.sampled_from([0, 0.1, 0.5])))
    made = program(rows, data.draw(st.integers(1, channels)), groups, taps)
    assert sorted(made.order) == list(range(channels)) and made.layout.words <= min(BANK_WORDS, made.cycles)
    x = 2 * rng.integers(0, 2, (5, taps, groups, per_tap)) - 1
    expected = np.einsum("ntgk,gctk->ngc", x, rows.reshape(groups, per_group, taps, per_tap))
    assert np.array_equal(run(made, x.reshape(5, -1)), expected.reshape(5, channels))


def test_banks_are_nearly_even_and_equal_channels_are_nearly_free() -> None:
    rng = np.random.default_rng(0)
    made = program(descended(rng, 64, 576, 0.1), 1)
    plan = made.layout
    least = plan.used[plan.parent >= 0].sum() / plan.lanes
    assert plan.lanes == 21 and plan.words == 28
    assert least < plan.cycles[plan.parent >= 0].sum() < 1.4 * least
    same = np.repeat(descended(rng, 4, 576, 0.5), 16, axis=0)
    assert program(same, 1).cycles < 4 * 28 + 2 * 64  # of 1,792


def test_a_patch_that_fits_no_bank_is_refused_and_not_offered() -> None:
    rows = np.ones((2, (MAX_LANES - 6) * BANK_WORDS + 1), np.int64)
    assert lanes_of(rows.shape[1]) > MAX_LANES
    with pytest.raises(EdgeqError, match="banks"):
        program(rows, 1)
    assert tree_folds(IntType((rows.shape[1],), -1, 1, 2), rows) == []
    depthwise = np.ones((4, 9), np.int64)
    assert tree_folds(IntType((4, 5, 5), -1, 1, 2), depthwise, groups=4) == []
    assert tree_folds(IntType((9,), 0, 1), depthwise) == []


def check(case: parity.Case, fold: Fold, folder: Path) -> None:
    chosen = parity.folds_of(case, fold)
    cycles = parity.check_verilog(case.built, chosen, case.x, case.y, folder)
    assert cycles == parity.declared_cycles(case.built, chosen), f"{fold}: the rate is not the declared one"
    parity.check_synthesized_verilog(case.built, case.x, case.y, folder)


@pytest.mark.parametrize("kind", [BinaryDense, BinaryConv2d], ids=lambda kind: kind.kind())
@pytest.mark.parametrize("seed", range(100, 100 + max(2, parity.EXAMPLES // 2)))
def test_verilog_equals_the_reference(kind: type[BinaryConv2d], seed: int, tmp_path: Path) -> None:
    """Random layers, every second with a fused operator, under random stalls; two degrees of parallelism."""
    cases = (parity.varied_case(kind, k, seed) for k in range(100))
    case, ladder = next((c, f) for c in cases if (f := [f for f in c.op.folds(*c.types) if f.mode == "tree"]))
    for index, fold in enumerate({ladder[0], ladder[-1]}):
        check(case, fold, tmp_path / str(index))


LAYERS: dict[str, tuple[Any, ...]] = {
    "same padding": ((32, 16), 1, (6, 6), {"pads": (1, 1, 1, 1)}, 4),
    "groups": ((12, 12), 3, (5, 4), {"pads": (0, 1, 2, 0), "stride": (2, 1)}, 3),
    "dilated": ((8, 5), 1, (7, 9), {"pads": (2, 2, 2, 2), "dilation": (2, 2)}, 8),
    "bound by its window": ((3, 2), 1, (4, 30), {"pads": (3, 9, 0, 9), "stride": (2, 4)}, 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_convolutions_at_the_border(name: str, tmp_path: Path) -> None:
    (channels, inputs), groups, size, geometry, pe = LAYERS[name]
    rng = np.random.default_rng(3)
    rows = np.concatenate([descended(rng, channels // groups, 9 * inputs // groups, 0.1) for _ in range(groups)])
    op = BinaryConv2d(rows.reshape(channels, inputs // groups, 3, 3), groups=groups, **geometry)
    post = Threshold(rng.integers(-6, 7, (channels, 1)), rng.integers(0, 2, channels), -1, 2)
    case = parity.case_of(op, (IntType((inputs, *size), -1, 1, 2),), 0, post)
    assert case.varied
    lanes = lanes_of(inputs * 9)
    check(case, Fold("tree", pe, lanes), tmp_path)


MUTANTS = {
    "a dropped complement": ("negate5_q ? ~above : above", "above"),
    "a forgotten factor": ("AccBits'({count5_q, 2'b00})", "AccBits'({count5_q, 1'b0})"),
    "padding with -1": ("y6_q + AccBits'(constant)", "y6_q"),
    "the other half of the banks": ("= half1_q;", "= !half1_q;"),
    "a stale sum": ("(first3_q ? '0 : sum_q)", "sum_q"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_verilog_is_killed(name: str, tmp_path: Path) -> None:
    rows = descended(np.random.default_rng(1), 8, 27, 0.1)
    op = BinaryConv2d(rows.reshape(8, 3, 3, 3), pads=(1, 0, 1, 2))
    case = parity.case_of(op, (IntType((3, 5, 5), -1, 1, 2),))
    assert program(op.hardware_rows(), 2, 1, 9).layout.complement.any()
    rtl.lower(case.built, {"op": Fold("tree", 2, 7)}, tmp_path)
    assert parity.mismatches(case.y, parity.simulation(case.built, tmp_path).run(case.x)) == 0
    path, (old, new) = tmp_path / "eq_mvu_tree.sv", MUTANTS[name]
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    assert parity.mismatches(case.y, parity.simulation(case.built, tmp_path).run(case.x)) > 0


def layer(rows: np.ndarray) -> Graph:
    rng = np.random.default_rng(0)
    op = BinaryDense(rows, Threshold(rng.integers(-9, 9, (len(rows), 1)), rng.integers(0, 2, len(rows)), -1, 2))
    graph = Graph("x", IntType((rows.shape[1],), -1, 1, 2), [Node("a", op, ("x",), "y")], "y")
    graph.check()
    return graph


@pytest.mark.parametrize("luts", [1000, 1500])
def test_the_tree_is_chosen_where_it_is_faster_within_the_budget(luts: int) -> None:
    rng = np.random.default_rng(0)
    ultra96 = board("ultra96")
    small = replace(ultra96, budget=replace(ultra96.budget, lut=luts / 0.7, bram36=20))
    alike, unlike = (layer(descended(rng, 128, 1152, flip)) for flip in (0.05, 0.5))
    fast, slow = (choose(alike, small, Target(mst=mst))["a"] for mst in (True, False))
    op = alike.nodes[0].op
    cycles = [op.cycles(fold, alike.input_type) for fold in (fast, slow)]
    assert (fast.mode, slow.mode) == ("tree", "folded") and cycles[0] < cycles[1] / 3
    assert choose(unlike, small)["a"].mode == "folded"


def test_the_report_says_what_the_tree_saves() -> None:
    graph, fold = layer(descended(np.random.default_rng(0), 64, 576, 0.05)), Fold("tree", 4, 21)
    op = graph.nodes[0].op
    notes = op.rtl(fold, graph.input_type).notes
    assert notes["patch_cycles"] == op.cycles(fold, graph.input_type) < int(notes["direct_patch_cycles"]) / 3
    assert notes["direct_patch_cycles"] == 16 * 28 and notes["direct_weight_bits"] == 64 * 576
    assert int(notes["additions"]) < int(notes["direct_additions"]) / 4
    assert str(fold) == "4 x 21 tree"


def test_an_engine_without_trees_gets_as_many_products_a_cycle() -> None:
    rows = descended(np.random.default_rng(0), 16, 36, 0.1)
    x = IntType((36,), -1, 1, 2)
    every = folds(x, rows)
    assert [steps(f, rows) for f in every] == sorted((steps(f, rows) for f in every), reverse=True)
    for fold in every:
        plain = plain_fold(fold, rows)
        assert plain == fold if fold.mode != "tree" else plain.pe * plain.simd >= fold.pe * fold.simd
    assert plain_fold(Fold("tree", 1, 7), rows).mode == "folded"


@pytest.mark.parametrize("fold", [Fold("folded", 4, 32), Fold("tree", 1, 21)], ids=str)
def test_the_model_of_the_cost_follows_yosys(fold: Fold, tmp_path: Path) -> None:
    graph = layer(descended(np.random.default_rng(0), 64, 576, 0.1))
    made = rtl.lower(graph, {"a": fold}, tmp_path).instances["a"]
    files = [tmp_path / name for name in (*(f"{stem}.sv" for stem in made.uses), *made.sources)]
    counted: Cost = estimate(files, made.module, made.params, cwd=tmp_path)
    model = graph.nodes[0].op.cost(fold, graph.input_type)
    assert abs(model.lut - counted.lut) < 0.2 * counted.lut and model.bram36 == counted.bram36
