"""Spanning trees, the plans of their adders, and the modules made of both."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import case_of, check_synthesized_verilog, check_verilog, folds_of

from edgeq.compressor import Column, Counter, Plan, plan
from edgeq.engines.yosys import equivalent
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import IntType
from edgeq.mst import direct, spanning_tree
from edgeq.netlist import Bit, Netlist, _Sum
from edgeq.ops._mac import Mac
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.threshold import Threshold
from edgeq.share import shared
from edgeq.shift_add import ShiftAdd
from edgeq.unrolled import FORMS, Compare, Unrolled, border_masks, estimated_luts, unrolled_sv

SAME_3X3: dict[str, Any] = {"kernel": (3, 3), "stride": (1, 1), "pads": (1, 1, 1, 1), "dilation": (1, 1)}
MASKS_4X4 = border_masks((4, 4), **SAME_3X3)


def signs(seed: int, *shape: int) -> np.ndarray:
    return 2 * np.random.default_rng(seed).integers(0, 2, shape) - 1


def correlated(seed: int, channels: int, terms: int, group: int = 8, equal: float = 0.85) -> np.ndarray:
    """Groups of channels that share a pattern up to a few weights."""
    rng = np.random.default_rng(seed)
    base = np.repeat(2 * rng.integers(0, 2, (channels // group, terms)) - 1, group, axis=0)
    return np.where(rng.random((channels, terms)) < equal, base, -base)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 1 << 32), st.sampled_from([0, 3, None]))
def test_the_tree_is_minimal_central_and_computes_the_layer(channels: int, terms: int, seed: int, extra: int | None) -> None:
    weight = signs(seed, channels, terms)
    tree = spanning_tree(weight, extra)
    cost = max(1, terms.bit_length()) - 1 if extra is None else extra
    graph = networkx.Graph()
    graph.add_nodes_from(range(channels))
    for a in range(channels):
        for b in range(a):
            differ = int((weight[a] != weight[b]).sum())
            graph.add_edge(a, b, weight=min(differ, terms - differ + cost))
    edges = [(c, int(p)) for c, p in enumerate(tree.parent) if p >= 0]
    best = networkx.minimum_spanning_tree(graph).size("weight")
    assert len(edges) == channels - 1
    assert sum(graph.edges[edge]["weight"] for edge in edges) == best == tree.additions - terms + cost * tree.complement.sum()
    used = networkx.Graph()
    used.add_nodes_from(range(channels))
    used.add_edges_from(edges)
    assert tree.depth == -(-networkx.diameter(used) // 2)
    x = np.random.default_rng(seed).integers(-1, 2, (20, terms))
    assert np.array_equal(tree.run(x), x @ weight.T)
    assert np.array_equal(direct(weight).run(x), x @ weight.T)


@given(st.integers(2, 12), st.integers(1, 40), st.integers(0, 1 << 32), st.integers(1, 6))
def test_a_limit_of_depth_holds_and_costs_distance_only(channels: int, terms: int, seed: int, limit: int) -> None:
    weight = signs(seed, channels, terms)
    free, tree = spanning_tree(weight, 0), spanning_tree(weight, 0, limit)
    assert tree.depth <= limit and (tree.parent < 0).sum() == 1
    assert tree.additions >= free.additions
    if free.depth <= limit:
        assert np.array_equal(tree.parent, free.parent)
    if limit == 1:  # a star: the best one is known
        differ = (terms - weight @ weight.T) // 2
        assert tree.additions == terms + np.minimum(differ, terms - differ).sum(axis=1).min()
    x = np.random.default_rng(seed).integers(-1, 2, (20, terms))
    assert np.array_equal(tree.run(x), x @ weight.T)


def test_a_limited_tree_is_near_the_unlimited_one() -> None:
    """What the search reaches on random weights (128 x 576): a star costs 8 % more than the tree of depth 11, depth 3 1.2 %."""
    weight = signs(0, 128, 576)
    free, star, three = (spanning_tree(weight, 0, limit).additions for limit in (None, 1, 3))
    assert free < three < 1.015 * free < star


def test_a_tree_needs_at_least_one_edge_of_depth() -> None:
    with pytest.raises(EdgeqError, match="depth 0"):
        spanning_tree(signs(0, 3, 5), max_depth=0)


def test_the_same_weights_give_the_same_tree() -> None:
    a, b = (spanning_tree(correlated(1, 16, 60)) for _ in range(2))
    assert np.array_equal(a.parent, b.parent) and np.array_equal(a.order, b.order)


@pytest.mark.parametrize("weight", [np.zeros((2, 3), np.int64), np.ones(4, np.int64), np.ones((0, 3), np.int64)])
def test_weights_that_are_not_binary_are_refused(weight: np.ndarray) -> None:
    with pytest.raises(EdgeqError, match="-1 and \\+1"):
        spanning_tree(weight)


def simulated(net: Netlist, values: dict[str, np.ndarray]) -> Callable[[Bit | int], np.ndarray]:
    """Reads a signal of a netlist, given those of its inputs."""
    made = {name: (cell, i) for cell in net.cells for i, name in enumerate(cell.names)}

    def get(name: str) -> np.ndarray:
        if name not in values:
            if name in made:
                cell, output = made[name]
                table = (cell.init >> 32 if output == 0 else cell.init & 0xFFFFFFFF) if len(cell.names) == 2 else cell.init
                assert len(cell.inputs) <= (5 if len(cell.names) == 2 else 6)
                index = sum((get(b.name) << i for i, b in enumerate(cell.inputs)), np.zeros(1, np.int64))
                values[name] = np.array([table >> k & 1 for k in range(1 << len(cell.inputs))])[index]
            else:
                pin, number, at = re.fullmatch(r"(c?o)(\d+)\[(\d)\]", name).groups()  # type: ignore[union-attr]
                block, i = net.blocks[int(number)], int(at)
                carry, s = read(block.carry_in) if i == 0 else get(f"co{number}[{i - 1}]"), read(block.s[i])
                values[name] = s ^ carry if pin == "o" else np.where(s == 1, carry, read(block.di[i]))
        return values[name]

    def read(bit: Bit | int) -> np.ndarray:
        return np.array([bit]) if isinstance(bit, int) else get(bit.name) ^ bit.inverted

    return read


HEIGHTS = st.lists(st.integers(0, 9), min_size=1, max_size=9) | st.tuples(st.integers(0, 90), st.integers(1, 9)).map(
    lambda t: [t[0], *[0] * (t[1] - 1)]
)


@given(HEIGHTS, st.integers(0, 1 << 32), st.sampled_from(["sum", "with a word", "compare"]), st.integers(2, 7))
@settings(max_examples=300)
def test_a_netlist_adds_up_what_its_plan_says(heights: list[int], seed: int, kind: str, levels: int) -> None:
    """Every position is within its LUT, no stage reads a later one, and the sum is exact for 500 inputs."""
    rng = np.random.default_rng(seed)
    width, count = len(heights), 500
    constant = int(rng.integers(0, 1 << width)) if rng.random() < 0.6 else 0
    inverted = rng.choice([0.0, 0.5, 1.0])
    chosen = plan(tuple(heights), constant, kind == "with a word", kind == "compare", levels > 2)
    net = Netlist(levels)
    columns = [[Bit(f"x{j}_{i}", 0, 0, bool(rng.random() < inverted)) for i in range(n)] for j, n in enumerate(heights)]
    word: list[Bit | int] | None = None
    if kind == "with a word":
        word = [Bit(f"w{j}", 0, int(rng.integers(0, 3)), bool(rng.random() < inverted)) for j in range(width)]
    out = net.add(chosen, columns, word, int(rng.integers(0, 9)))
    values = {b.name: rng.integers(0, 2, count) for c in [*columns, word or []] for b in c if isinstance(b, Bit)}
    read = simulated(net, dict(values))
    parts = [(bits, j) for j, bits in enumerate(columns)] + [([b], j) for j, b in enumerate(word or []) if isinstance(b, Bit)]
    total = constant + sum(((values[b.name] ^ b.inverted) << j for bits, j in parts for b in bits), np.zeros(count, np.int64))
    total %= 1 << width
    if kind == "compare":
        total >>= width - 1
    assert np.array_equal(sum((read(b) << j for j, b in enumerate(out)), np.zeros(count, np.int64)), total)
    assert all(b.stage <= cell.stage for cell in net.cells for b in cell.inputs)
    reads = [(block.stage, b) for block in net.blocks for b in (block.carry_in, *block.s, *block.di)]
    assert all(b.stage <= stage for stage, b in reads if isinstance(b, Bit))


COUNTERS = [
    Counter(7, 0, 3),
    Counter(6, 0, 3),
    Counter(5, 1, 3),
    Counter(3, 0, 2),
    Counter(2, 0, 2),
    Counter(6, 0, 1),
    Counter(7, 0, 2),
]


@pytest.mark.parametrize("counter", COUNTERS, ids=str)
def test_a_counter_by_its_full_truth_table(counter: Counter) -> None:
    """For all inversions of its inputs, all inputs: the outputs count the ones, and the LUTs are those that it says."""
    size = counter.low + counter.high
    index = np.arange(1 << size)
    for inverted in range(1 << size):
        net = Netlist(4)
        bits = [Bit(f"x{i}", 0, 0, bool(inverted >> i & 1)) for i in range(size)]
        chosen = Plan(0, 0, 2, 0, False, (Column((counter,)), Column(()), Column(())))
        built = _Sum(net, chosen, [[(0, b) for b in bits[: counter.low]], [(0, b) for b in bits[counter.low :]], []], None)
        built.counters(0, (counter,))
        read = simulated(net, {f"x{i}": index >> i & 1 for i in range(size)})
        ones = sum((index >> i & 1 ^ inverted >> i & 1) << (i >= counter.low) for i in range(size))
        outputs = [read(column[-1][1]) for column in built.columns[: counter.outputs]]
        assert np.array_equal(sum(b << k for k, b in enumerate(outputs)), ones % (1 << counter.outputs))
        assert len(net.cells) == counter.luts and len(net.blocks) == counter.chained


def test_chains_share_a_carry_block() -> None:
    """Three counters of the same moment in a CARRY8; one that begins later has its own."""
    net = Netlist(4)
    net.add(plan((21, 0, 0, 0, 0), 0), [[Bit(f"x{i}", 0, 0) for i in range(21)], [], [], [], []])
    assert len(net.blocks[0].s) == 8
    assert [i for i, s in enumerate(net.blocks[0].s) if s == 0] == [2, 5]


def test_the_layers_reach_what_was_measured() -> None:
    """Yosys counts what the generator does (test_yosys.py). Baselines: da4ml 0.6 takes 2,912 and 1,734 LUT."""
    assert unrolled_sv("layer", signs(0, 32, 144)).luts <= 915
    assert unrolled_sv("layer", correlated(0, 32, 144)).luts <= 620


# The LUT form, read back from its text.

_LUT = re.compile(r"LUT\d #\(\d+'h(\w+)\) u_\w+ \((.*)\);")
_LUT2 = re.compile(r"LUT6_2 #\(64'h(\w+)\) u_\w+ \(\.O6\((\w+)\), \.O5\((\w+)\), (.*)\);")
_CARRY = re.compile(r"CARRY8 u_c(\d+) \(.*\.CI\((.*?)\), .*\.DI\(\{(.*?)\}\), \.S\(\{(.*?)\}\)\);")
_REGISTER = re.compile(r"s(\d+)_\d+_q")


class Text:
    """Interprets the EQ_LUT6 body of a module for many inputs at once, and checks that stages do not mix."""

    def __init__(self, unrolled: Unrolled | ShiftAdd, x: np.ndarray, mask: np.ndarray | None) -> None:
        self.values = {f"x_i[{i}]": (0, column) for i, column in enumerate(x.T.astype(bool))}
        self.values |= {f"mask_i[{i}]": (0, column) for i, column in enumerate(mask.T)} if mask is not None else {}
        self.values |= {f"1'b{v}": (-1, np.full(len(x), bool(v))) for v in (0, 1)}
        body = unrolled.text.split("`ifdef EQ_LUT6\n")[1].split("`else")[0]
        lines = [line.strip().removeprefix("always_ff @(posedge clk_i) begin").strip() + ";" for line in re.split(r";\n", body)]
        waiting: list[str] = []
        for line in lines:  # a block's pins may be read by LUTs of its stage that are written before it
            waiting = [late for late in [*waiting, line] if not self.line(late)]
        while waiting:
            left = [line for line in waiting if not self.line(line)]
            assert len(left) < len(waiting), left
            waiting = left
        words = re.findall(r"assign (?:acc_o|y_o)(?:\[\d+ \+: \d+\])? = \{?(.*?)\}?;", body, re.S)
        outputs = [[self.read(name) for name in reversed(re.split(r",\s*", word))] for word in words]
        assert {stage for word in outputs for stage, _ in word} - {-1} <= {unrolled.latency}
        bits = np.array([[value for _, value in word] for word in outputs]).astype(np.int64)
        signed = 1 << np.arange(bits.shape[1])
        signed[-1] *= -1
        self.unsigned = np.einsum("cwn,w->nc", bits, np.abs(signed))
        self.y = bits[0].T if unrolled.compare else np.einsum("cwn,w->nc", bits, signed)

    def read(self, name: str) -> tuple[int, np.ndarray]:
        stage, value = self.values[name.strip().lstrip("~")]
        return stage, ~value if name.strip().startswith("~") else value

    def line(self, line: str) -> bool:
        """False where a signal that the line reads is not there yet."""
        try:
            self.define(line)
        except KeyError:
            return False
        return True

    def define(self, line: str) -> None:
        if found := _LUT2.match(line):
            inputs = re.findall(r"\.I\d\((.*?)\)", found[4])
            assert inputs[5] == "1'b1"
            self.table(found[2], int(found[1], 16) >> 32, inputs[:5])
            self.table(found[3], int(found[1], 16) & 0xFFFFFFFF, inputs[:5])
        elif found := _LUT.match(line):
            target, *inputs = re.split(r",\s*", found[2])
            self.table(target, int(found[1], 16), inputs)
        elif found := _CARRY.match(line):
            di, s = (list(reversed(re.split(r",\s*", part))) for part in (found[3], found[4]))
            stage, (carry, *_) = self.together([found[2], *di, *s])
            for i in range(8):
                (_, d), (_, p) = self.read(di[i]), self.read(s[i])
                self.values[f"o{found[1]}[{i}]"] = (stage, p ^ carry)
                carry = np.where(p, carry, d)
                self.values[f"co{found[1]}[{i}]"] = (stage, carry)
        elif " <= " in line:
            target, source = line.removesuffix(";").removeprefix("end").split(" <= ")
            stage, value = self.read(source)
            register = _REGISTER.match(target)
            assert register and int(register[1]) == stage + 1
            self.values[target] = (stage + 1, value)

    def table(self, target: str, init: int, inputs: list[str]) -> None:
        stage, bits = self.together(inputs)
        index = sum(bit.astype(np.int64) << i for i, bit in enumerate(bits))
        self.values[target] = (stage, np.array([init >> i & 1 for i in range(1 << len(inputs))], bool)[index])

    def together(self, names: list[str]) -> tuple[int, list[np.ndarray]]:
        read = [self.read(name) for name in names]
        stages = {stage for stage, _ in read} - {-1}
        assert len(stages) == 1, names
        return stages.pop(), [value for _, value in read]


CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "random": (signs(0, 12, 300), {}),
    "two carry blocks": (signs(1, 6, 700), {}),
    "direct": (signs(2, 4, 33), {"form": "direct"}),
    "odd": (correlated(3, 16, 75), {}),
    "opposites": (np.concatenate([signs(4, 5, 40), -signs(4, 5, 40)]), {}),
    "equal channels": (np.repeat(signs(5, 2, 12), 3, axis=0), {}),
    "one term": (signs(6, 5, 1), {}),
    "two terms": (signs(7, 9, 2), {}),
    "padded": (signs(8, 8, 36), {"taps": 9, "masks": border_masks((5, 6), **SAME_3X3)}),
    "padded and grouped": (signs(9, 8, 18), {"taps": 9, "groups": 4, "masks": border_masks((4, 4), **SAME_3X3)}),
    "one window": (signs(10, 3, 18), {"taps": 9, "masks": border_masks((1, 1), **SAME_3X3)}),
    "padding that is never read": (signs(11, 3, 8), {"taps": 4, "masks": np.ones((1, 4), bool)}),
    "25 kinds of border": (
        signs(12, 4, 50),
        {"taps": 25, "masks": border_masks((7, 7), (5, 5), (1, 1), (2, 2, 2, 2), (1, 1))},
    ),
    "49 kinds of border": (
        signs(13, 2, 49),
        {"taps": 49, "masks": border_masks((9, 9), (7, 7), (1, 1), (3, 3, 3, 3), (1, 1))},
    ),
}


def comparison(seed: int, weight: np.ndarray, masks: np.ndarray | None) -> Compare:
    """Thresholds in the middle, at both ends and beyond them, in both directions."""
    rng, terms = np.random.default_rng(seed), weight.shape[1]
    middle = rng.normal(0, max(1, terms**0.5), len(weight)).round().astype(np.int64)
    ends = rng.choice([-terms - 1, -terms, 1 - terms, terms, terms + 1, terms + 9], len(weight))
    return Compare(np.where(rng.random(len(weight)) < 0.25, ends, middle), rng.random(len(weight)) < 0.4)


@pytest.mark.parametrize(("form", "levels"), [("direct", 4), ("tree", 2), ("tree", 6), ("shared", 4), ("shared", 6)])
@pytest.mark.parametrize("compared", [False, True], ids=["sums", "comparisons"])
@pytest.mark.parametrize("case", CASES)
def test_the_lut_form_gives_the_exact_sums(case: str, compared: bool, form: str, levels: int) -> None:
    weight, options = CASES[case]
    groups, taps, masks = options.get("groups", 1), options.get("taps", 1), options.get("masks")
    rng = np.random.default_rng(0)
    x = 2 * rng.integers(0, 2, (400, taps, groups, weight.shape[1] // taps)) - 1
    mask = None if masks is None else masks[rng.integers(0, len(masks), 400)]
    real = x if mask is None else x * mask[:, :, None, None]
    columns = real.transpose(2, 0, 1, 3).reshape(groups, 400, -1)
    expected = np.concatenate([c @ w.T for c, w in zip(columns, np.split(weight, groups), strict=True)], axis=1)
    compare = comparison(1, weight, masks) if compared else None
    if compare:
        expected = (expected >= compare.thresholds) ^ compare.negative
    unrolled = unrolled_sv("layer", weight, **{"form": form, **options}, compare=compare, max_lut_levels=levels)
    assert np.array_equal(Text(unrolled, (real > 0).reshape(400, -1), mask).y, expected)


def test_both_bodies_are_proved_equal(tmp_path: Path) -> None:
    """By SAT, for every input and every mask that occurs, with a zero where a tap is masked: small cases side by side."""
    units: list[tuple[np.ndarray, dict[str, Any]]] = [
        (signs(2, 2, 7), {"form": "direct"}),
        (np.concatenate([signs(4, 3, 10), -signs(4, 2, 10)]), {}),
        (signs(6, 3, 1), {}),
        (signs(9, 4, 9), {"taps": 9, "groups": 2, "masks": border_masks((4, 4), **SAME_3X3)}),
        (signs(10, 2, 9), {"taps": 9, "masks": border_masks((1, 1), **SAME_3X3)}),
        (signs(12, 4, 9), {"compare": Compare(np.array([1, -1, 3, 0]), np.array([False, True, False, True]))}),
        (signs(13, 2, 9), {"taps": 9, "masks": MASKS_4X4, "compare": Compare(np.array([1, 0]), np.array([0, 1], bool))}),
    ]
    ports, body, latency = ["input logic clk_i"], [], 0
    for i, (weight, options) in enumerate(units):
        groups, taps, masks = options.get("groups", 1), options.get("taps", 1), options.get("masks")
        unrolled = unrolled_sv(f"unit{i}", weight, **options)
        (tmp_path / f"unit{i}.sv").write_text(unrolled.text)
        latency = max(latency, unrolled.latency)
        inputs = weight.shape[1] * groups
        port, bits = ("y_o", len(weight)) if unrolled.compare else ("acc_o", len(weight) * unrolled.acc_width)
        ports.append(f"input logic [{inputs - 1}:0] x{i}, output logic [{bits - 1}:0] y{i}")
        wires = f".clk_i(clk_i), .{port}(y{i}), .x_i(x{i})"
        if masks is not None:
            size = inputs // taps
            codes = ["".join("01"[int(v)] for v in reversed(row)) for row in masks]
            choose = "".join(f"k{i} == {k} ? {taps}'b{code} : " for k, code in enumerate(codes[:-1]))
            spread = ", ".join(f"{{{size}{{m{i}[{t}]}}}}" for t in reversed(range(taps)))
            ports.append(f"input logic [3:0] k{i}")
            body += [f"  logic [{taps - 1}:0] m{i};", f"  assign m{i} = {choose}{taps}'b{codes[-1]};"]
            wires = f".clk_i(clk_i), .{port}(y{i}), .mask_i(m{i}), .x_i(x{i} & {{{spread}}})"
        body.append(f"  unit{i} u{i} ({wires});")
    top = tmp_path / "top.sv"
    top.write_text(f"module top ({', '.join(ports)});\n" + "\n".join(body) + "\nendmodule\n")
    files = [*sorted(tmp_path.glob("unit*.sv")), top]
    assert equivalent(files, "top", latency=latency)
    text = files[0].read_text()
    broken = re.sub(r"(LUT\d #\(\d+'h)(\w+)", lambda m: f"{m[1]}{int(m[2], 16) ^ 1:x}", text, count=1)
    assert broken != text
    files[0].write_text(broken)
    assert not equivalent(files, "top", latency=latency)


def test_chosen_forms_are_the_smallest_and_the_estimate_is_near() -> None:
    for weight in (signs(0, 32, 144), correlated(0, 32, 144), signs(3, 8, 16), correlated(1, 16, 300)):
        for compare in (None, Compare(np.zeros(len(weight), np.int64), np.zeros(len(weight), bool))):
            luts = {form: unrolled_sv("layer", weight, form, compare=compare).luts for form in FORMS}
            best = unrolled_sv("layer", weight, compare=compare)
            assert best.luts <= min(luts.values()) * 1.03 + 6
            assert estimated_luts(weight, best.form, 1, compare is not None, None) == pytest.approx(best.luts, rel=0.1, abs=12)


@pytest.mark.parametrize("least", [1, 4])
def test_shared_rows_are_the_rows(least: int) -> None:
    """Each row is its terms and parts, to the last; a part is used at least twice."""
    rows = np.random.default_rng(0).integers(-1, 2, (20, 90))
    found = shared(rows, least)
    whole: dict[int, np.ndarray] = {}
    uses = [part for row in found for part, _ in row.parts]

    def expand(i: int) -> np.ndarray:
        if i not in whole:
            whole[i] = np.zeros(rows.shape[1], np.int64)
            whole[i][found[i].terms] = found[i].signs
            whole[i] += sum((sign * expand(part) for part, sign in found[i].parts), np.zeros(rows.shape[1], np.int64))
        return whole[i]

    assert np.array_equal([expand(i) for i in range(len(rows))], rows)
    assert len(found) > len(rows) and all(uses.count(part) == 2 for part in range(len(rows), len(found)))
    assert all(row.count == np.abs(expand(i)).sum() for i, row in enumerate(found))


def test_a_depth_limit_shortens_the_pipeline() -> None:
    weight = signs(5, 40, 80)
    free, flat = (unrolled_sv("layer", weight, max_depth=depth) for depth in (None, 1))
    assert flat.depth == 1 < free.depth and flat.latency < free.latency and flat.distance > free.distance


@pytest.mark.parametrize("levels", [2, 5])
@pytest.mark.parametrize("padded", [False, True])
def test_a_fused_threshold_is_compared_in_the_tree(padded: bool, levels: int, tmp_path: Path) -> None:
    """In Verilog, both bodies, with stalls: thresholds of both directions, one never and one always passed."""
    if padded:
        layer: Mac = BinaryConv2d(signs(0, 7, 2, 3, 3), pads=(1, 1, 1, 1))
        x = IntType((2, 4, 5), -1, 1, 2)
    else:
        layer, x = BinaryDense(signs(1, 7, 21)), IntType((21,), -1, 1, 2)
    thresholds = np.array([[1], [-1], [0], [3], [2], [-99], [99]])
    case = case_of(
        layer, (x,), 0, Threshold(thresholds, np.array([0, 1, 0, 1, 1, 0, 0]), -1 if padded else 0, 2 if padded else 1)
    )
    fold = Fold("unrolled", *layer.weight.shape[:2], max_lut_levels=levels)
    folds = folds_of(case, fold)
    check_verilog(case.built, folds, case.x, case.y, tmp_path)
    check_synthesized_verilog(case.built, case.x, case.y, tmp_path)
    assert "y_o(y)" in "".join(path.read_text() for path in tmp_path.glob("eq_unrolled*.sv"))
