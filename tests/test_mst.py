"""Spanning trees, the plans of their adders, and the modules made of both."""

from __future__ import annotations

import re
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.compressor import Plan, plan
from edgeq.engines.yosys import equivalent
from edgeq.errors import EdgeqError
from edgeq.mst import direct, spanning_tree
from edgeq.unrolled import Unrolled, border_masks, unrolled_sv

SAME_3X3 = {"kernel": (3, 3), "stride": (1, 1), "pads": (1, 1, 1, 1), "dilation": (1, 1)}


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


def carried_out(chosen: Plan, bits: np.ndarray, word: int | None) -> int:
    """The plan on numbers: every counter replaced by what it counts, and the second operand by the sum of its inputs."""
    columns: list[list[int]] = [list(map(int, bits)), *([] for _ in range(len(chosen.columns) + 2))]
    total = word or 0
    free = 0
    for j, column in enumerate(chosen.columns):
        for counter in column.counters:
            low, columns[j] = columns[j][: counter.low], columns[j][counter.low :]
            high, columns[j + 1] = columns[j + 1][: counter.high], columns[j + 1][counter.high :]
            assert (len(low), len(high)) == (counter.low, counter.high) and counter.low + counter.high <= 6
            count = sum(low) + 2 * sum(high) + counter.plus
            assert count < 1 << counter.outputs or j + counter.outputs == len(chosen.columns)
            for k in range(counter.outputs):
                columns[j + k].append(count >> k & 1)
        if column.span:
            free = 5
        free -= len(columns[j]) - (word is None and len(columns[j]) > 0)
        assert free >= 0
        total += (sum(columns[j]) + column.constant) << j
    return total % (1 << len(chosen.columns))


@given(st.integers(1, 11), st.integers(0, 700), st.integers(0, 1 << 32), st.booleans())
@settings(max_examples=150)
def test_a_plan_adds_up_what_it_should_in_counters_that_exist(width: int, bits: int, seed: int, second: bool) -> None:
    rng = np.random.default_rng(seed)
    constant, word = int(rng.integers(-(1 << width), 1 << width)), int(rng.integers(0, 1 << width)) if second else None
    bits %= 1 << width
    chosen = plan(width, bits, constant, second)
    if chosen.luts == 0:
        assert bits == 0
        return
    x = rng.integers(0, 2, bits)
    assert carried_out(chosen, x, word) == (int(x.sum()) + constant + (word or 0)) % (1 << width)


def test_the_compressors_reach_what_was_measured() -> None:
    """Yosys counts what the generator does (test_yosys.py). Baselines: da4ml 0.6 takes 2,789 and 1,817 LUT."""
    assert unrolled_sv("layer", signs(0, 32, 144)).luts <= 2100
    assert unrolled_sv("layer", correlated(0, 32, 144)).luts <= 1250


# The compressor form, read back from its text.

_LUT = re.compile(r"LUT\d #\(\d+'h(\w+)\) u_\w+ \((.*)\);")
_CARRY = re.compile(
    r"CARRY8 \w+ \(\.CO\((\w+)\[.*?\]\), \.O\((.*?)\), \.CI\((.*?)\), .*\.DI\(\{(.*?)\}\), \.S\(\{(.*?)\}\)\);", re.S
)
_REGISTER = re.compile(r"s(\d+)_\d+_q")


class Text:
    """Interprets the EQ_LUT6 body of a module for many inputs at once, and checks that stages do not mix."""

    def __init__(self, unrolled: Unrolled, x: np.ndarray, mask: np.ndarray | None) -> None:
        self.values = {f"x_i[{i}]": (0, column) for i, column in enumerate(x.T.astype(bool))}
        self.values |= {f"mask_i[{i}]": (0, column) for i, column in enumerate(mask.T)} if mask is not None else {}
        self.values |= {f"1'b{v}": (-1, np.full(len(x), bool(v))) for v in (0, 1)}
        self.seen: list[int] = []
        self.tables: dict[str, int] = {}
        body = unrolled.text.split("`ifdef EQ_LUT6\n")[1].split("`else")[0]
        for line in re.split(r";\n", body):
            self.line(line.strip().removeprefix("always_ff @(posedge clk_i) begin").strip() + ";")
        words = re.findall(r"assign acc_o\[(\d+) \+: \d+\] = \{?(.*?)\}?;", body, re.S)
        outputs = [[self.read(name) for name in reversed(re.split(r",\s*", word))] for _, word in words]
        assert {stage for word in outputs for stage, _ in word} - {-1} == {unrolled.latency}
        bits = np.array([[value for _, value in word] for word in outputs])
        signed = 1 << np.arange(bits.shape[1])
        signed[-1] *= -1
        self.y = np.einsum("cwn,w->nc", bits.astype(np.int64), signed)

    def read(self, name: str) -> tuple[int, np.ndarray]:
        stage, value = self.values[name.strip().lstrip("~")]
        return stage, ~value if name.strip().startswith("~") else value

    def line(self, line: str) -> None:
        if found := _LUT.match(line):
            target, *inputs = re.split(r",\s*", found[2])
            stage, bits = self.together(inputs)
            index = sum(bit.astype(np.int64) << i for i, bit in enumerate(bits))
            table = np.array([int(found[1], 16) >> i & 1 for i in range(1 << len(inputs))], bool)
            self.values[target] = (stage, table[index])
        elif found := _CARRY.match(line):
            name, low = re.findall(r"(h\w+)\[\d+:(\d+)\]", found[2])[0]
            inputs = [list(reversed(re.split(r",\s*", part))) for part in (found[4], found[5])]
            carry = self.values.get(found[3], (0, np.zeros(1, bool)))[1]
            stage, bits = self.together(inputs[0] + inputs[1])
            for i, (di, s) in enumerate(zip(bits[:8], bits[8:], strict=True)):
                self.values[f"{name}[{int(low) + i}]"] = (stage, s ^ carry)
                carry = np.where(s, carry, di)
                self.values[f"{found[1]}[{int(low) + i}]"] = (stage, carry)
        elif found := re.match(r"assign (border\[\d+\]) = (.*);", line):
            seen = sum(self.values[f"mask_i[{t}]"][1].astype(np.int64) << i for i, t in enumerate(self.seen))
            self.values[found[1]] = (0, np.isin(seen, [int(v, 16) for v in re.findall(r"'h(\w+)", found[2])]))
        elif found := re.match(r"assign seen = \{(.*)\};", line):
            self.seen = [int(t) for t in reversed(re.findall(r"mask_i\[(\d+)\]", found[1]))]
        elif found := re.match(r"localparam .* (Back\d+) = \d+'h(\w+);", line):
            self.tables[found[1]] = int(found[2], 16)
        elif found := re.match(r"assign (e\d+) = (\w+)\[\{(.*)\} \* (\d+) \+: \d+\];", line):
            stage, code = self.together(re.split(r",\s*", found[3])[::-1])
            shift = sum(bit.astype(np.int64) << i for i, bit in enumerate(code)) * (width := int(found[4]))
            for k in range(width):
                bit = [self.tables[found[2]] >> int(v + k) & 1 for v in shift]
                self.values[f"{found[1]}[{k}]"] = (stage, np.array(bit, bool))
        elif " <= " in line:
            target, source = line.removesuffix(";").split(" <= ")
            stage, value = self.read(source)
            found = _REGISTER.match(target)
            assert found and int(found[1]) == stage + 1
            self.values[target] = (stage + 1, value)

    def together(self, names: list[str]) -> tuple[int, list[np.ndarray]]:
        read = [self.read(name) for name in names]
        stages = {stage for stage, _ in read} - {-1}
        assert len(stages) == 1, names
        return stages.pop(), [value for _, value in read]


CASES = {
    "random": (signs(0, 12, 300), {}),
    "two carry blocks": (signs(1, 6, 700), {}),
    "direct": (signs(2, 4, 33), {"mst": False}),
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


@pytest.mark.parametrize("case", CASES)
def test_the_compressor_form_gives_the_exact_sums(case: str) -> None:
    weight, options = CASES[case]
    groups, taps, masks = options.get("groups", 1), options.get("taps", 1), options.get("masks")
    rng = np.random.default_rng(0)
    x = 2 * rng.integers(0, 2, (400, taps, groups, weight.shape[1] // taps)) - 1
    mask = None if masks is None else masks[rng.integers(0, len(masks), 400)]
    real = x if mask is None else x * mask[:, :, None, None]
    columns = real.transpose(2, 0, 1, 3).reshape(groups, 400, -1)
    expected = np.concatenate([c @ w.T for c, w in zip(columns, np.split(weight, groups), strict=True)], axis=1)
    unrolled = unrolled_sv("layer", weight, **options)
    assert np.array_equal(Text(unrolled, (real > 0).reshape(400, -1), mask).y, expected)


def test_both_bodies_are_proved_equal(tmp_path: Path) -> None:
    """By SAT, for every input and every mask that occurs, with a zero where a tap is masked: small cases side by side."""
    units = [
        (signs(2, 2, 7), {"mst": False}),
        (np.concatenate([signs(4, 3, 10), -signs(4, 2, 10)]), {}),
        (signs(6, 3, 1), {}),
        (signs(9, 4, 9), {"taps": 9, "groups": 2, "masks": border_masks((4, 4), **SAME_3X3)}),
        (signs(10, 2, 9), {"taps": 9, "masks": border_masks((1, 1), **SAME_3X3)}),
    ]
    ports, body, latency = ["input logic clk_i"], [], 0
    for i, (weight, options) in enumerate(units):
        groups, taps, masks = options.get("groups", 1), options.get("taps", 1), options.get("masks")
        unrolled = unrolled_sv(f"unit{i}", weight, **options)
        (tmp_path / f"unit{i}.sv").write_text(unrolled.text)
        latency = max(latency, unrolled.latency)
        inputs = weight.shape[1] * groups
        ports.append(f"input logic [{inputs - 1}:0] x{i}, output logic [{len(weight) * unrolled.acc_width - 1}:0] y{i}")
        wires = f".clk_i(clk_i), .acc_o(y{i}), .x_i(x{i})"
        if masks is not None:
            size = inputs // taps
            codes = ["".join("01"[int(v)] for v in reversed(row)) for row in masks]
            choose = "".join(f"k{i} == {k} ? {taps}'b{code} : " for k, code in enumerate(codes[:-1]))
            spread = ", ".join(f"{{{size}{{m{i}[{t}]}}}}" for t in reversed(range(taps)))
            ports.append(f"input logic [3:0] k{i}")
            body += [f"  logic [{taps - 1}:0] m{i};", f"  assign m{i} = {choose}{taps}'b{codes[-1]};"]
            wires = f".clk_i(clk_i), .acc_o(y{i}), .mask_i(m{i}), .x_i(x{i} & {{{spread}}})"
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
