"""The choice of parallelism: the fastest rate that fits, each operator as cheap as that rate allows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from edgeq import fold_file
from edgeq.board import board, boards
from edgeq.errors import EdgeqError
from edgeq.flow import refuse_below_rate, refuse_over_budget
from edgeq.fold import Fold
from edgeq.folding import Target, choose, ladders
from edgeq.graph import Graph, IntType, Node
from edgeq.hardware import Cost
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.dense import Dense
from edgeq.ops.rearrange import Rearrange


def network(inputs: int = 12, hidden: int = 8) -> Graph:
    """A dense layer of 6-bit weights, then one of 4 bits, both foldable."""
    rng = np.random.default_rng(5)
    first, second = Dense(rng.integers(-32, 32, (hidden, inputs))), Dense(rng.integers(-8, 8, (4, hidden)))
    graph = Graph("x", IntType((inputs,), -8, 7), [Node("a", first, ("x",), "h"), Node("b", second, ("h",), "y")], "y")
    graph.check()
    return graph


def cost_and_cycles(graph: Graph, folds: dict[str, Fold]) -> tuple[Cost, int]:
    types = graph.types()
    xs = {node.name: [types[name] for name in node.inputs] for node in graph.nodes}
    costs = [node.op.cost(folds[node.name], *xs[node.name]) for node in graph.nodes]
    return sum(costs, Cost()), max(node.op.cycles(folds[node.name], *xs[node.name]) for node in graph.nodes)


def share(cost: Cost, budget: Cost) -> float:
    return sum(used / most for used, most in zip(cost.astuple(), budget.astuple(), strict=True) if most)


def fits(cost: Cost, limit: Cost) -> bool:
    return all(used <= most for used, most in zip(cost.astuple(), limit.astuple(), strict=True))


@pytest.mark.parametrize("dsp", [8, 20, 60, 200])
def test_the_choice_is_the_fastest_of_all_that_fit(dsp: int) -> None:
    graph, ultra96 = network(), board("ultra96")
    small = replace(ultra96, budget=replace(ultra96.budget, dsp=dsp, lut=5000))
    limit = replace(small.budget, dsp=0.7 * dsp, lut=3500, ff=0.7 * small.budget.ff, bram36=0.7 * small.budget.bram36)
    chosen = choose(graph, small)
    cost, cycles = cost_and_cycles(graph, chosen)
    assert fits(cost, limit)
    types = graph.types()
    ladders = [node.op.folds(*(types[name] for name in node.inputs)) for node in graph.nodes]
    every = (dict(zip("ab", folds, strict=True)) for folds in product(*ladders))
    fitting = [(c, share(k, small.budget)) for folds in every for k, c in [cost_and_cycles(graph, folds)] if fits(k, limit)]
    fastest = min(c for c, _ in fitting)
    assert cycles == fastest < max(c for c, _ in fitting)
    assert share(cost, small.budget) == pytest.approx(min(s for c, s in fitting if c == fastest))


def test_a_rate_is_reached_as_cheaply_as_possible_or_refused() -> None:
    graph, ultra96 = network(32, 24), board("ultra96")  # so large that few cycles are not the cheapest too
    slow, fast = (choose(graph, ultra96, Target(fps=300e6 / most)) for most in (97, 24))
    assert [cost_and_cycles(graph, folds)[1] for folds in (slow, fast)] == [96, 24]
    assert cost_and_cycles(graph, slow)[0].lut < cost_and_cycles(graph, fast)[0].lut
    with pytest.raises(EdgeqError, match="leave 0 cycles") as refused:
        choose(graph, ultra96, Target(fps=301e6))
    assert refused.value.where == "a"
    with pytest.raises(EdgeqError, match="at 100,000,000 frames a second the network needs"):
        choose(graph, ultra96, Target(fps=100e6, max_utilization=0.01))
    with pytest.raises(EdgeqError, match="takes 768 with the fold that is given"):
        choose(graph, ultra96, Target(fps=10e6, fixed={"a": Fold("folded", 1, 1)}))


def test_a_fold_file_gives_the_same_folds_back_and_may_be_edited(tmp_path: Path) -> None:
    graph, ultra96, file = network(), board("ultra96"), tmp_path / "fold.toml"
    graph.nodes[0] = replace(graph.nodes[0], name='"]\n[\x7f\u00e9\U0001f600')
    folds = choose(graph, ultra96, Target(fps=20e6))
    fold_file.write(graph, folds, ladders(graph, ultra96), file)
    assert fold_file.read(file, graph, Target()) == folds
    text = file.read_text()
    assert text.count("cycles a frame") == sum(len(choices) for choices in ladders(graph, ultra96).values())
    # a shape that the ladder leaves out, for 2 x 6 runs at that rate with fewer channels
    file.write_text('[b]\nmode = "folded"\npe = 4\nsimd = 2\nmax_depth = 3\n')
    edited = fold_file.read(file, graph, Target(share=False))
    assert edited == {"b": Fold("folded", 4, 2, share=False, max_depth=3)}
    assert edited["b"] not in graph.nodes[1].op.folds(graph.types()["h"])
    assert choose(graph, ultra96, Target(fixed=edited))["b"] == edited["b"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[b", "not TOML"),
        ("b = 3", "unknown: 3"),
        ("[c]", "no such operator"),
        ('[b]\nmode = "pixel"', "none of this operator's"),
        ("[b]\nmode = 3", "none of this operator's"),
        ('[b]\nmode = "folded"\npe = 3', "cannot be built as pe 3"),
        ('[b]\nmode = "folded"\npe = 4\nsimd = 8', "cannot be built as pe 4, simd 8"),
        ('[b]\nmode = "folded"\npe = 4\nsimd = [1]', "cannot be built"),
        ('[b]\nmode = "folded"\nbeat = 2', "beat 2"),
        ('[b]\nmode = "unrolled"\nmst = 1', "mst is 1"),
        ('[b]\nmode = "unrolled"\nmax_lut_levels = 1', "max_lut_levels is 1"),
        ('[b]\nmode = "unrolled"\nmax_depth = true', "max_depth is True"),
        ('[b]\nmode = "unrolled"\nspeed = 1', "unknown: speed"),
    ],
)
def test_a_wrong_fold_file_is_refused(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "fold.toml"
    file.write_text(text)
    with pytest.raises(EdgeqError, match=what) as refused:
        fold_file.read(file, network(), Target())
    assert str(file) in refused.value.where


def test_a_budget_that_is_broken_names_the_layer_and_the_resource() -> None:
    graph, ultra96 = network(), board("ultra96")
    with pytest.raises(EdgeqError, match="lut") as refused:
        choose(graph, replace(ultra96, budget=replace(ultra96.budget, lut=100)))
    assert refused.value.where in ("a", "b") and refused.value.fix


def test_weights_of_few_words_move_into_block_ram_where_luts_are_short() -> None:
    rng = np.random.default_rng(2)
    layer = BinaryDense(rng.choice([-1, 1], (64, 96)))
    graph = Graph("x", IntType((96,), -1, 1, 2), [Node("a", layer, ("x",), "y")], "y")
    graph.check()
    ultra96 = board("ultra96")
    target = Target(fps=ultra96.clock_mhz * 1e6 / 16, mst=False)
    roomy = choose(graph, ultra96, target)["a"]
    lut = layer.cost(roomy, graph.input_type).lut
    tight = replace(ultra96, budget=replace(ultra96.budget, lut=lut / 0.75))
    moved = choose(graph, tight, target)["a"]
    assert (roomy.block, moved.block) == (False, True) and layer.cycles(moved, graph.input_type) <= 16
    assert layer.cost(moved, graph.input_type).lut <= 0.7 * tight.budget.lut
    assert layer.rtl(moved, graph.input_type).params["WeightBlock"] == 1


def test_the_tree_can_be_switched_off() -> None:
    rng = np.random.default_rng(1)
    layer = BinaryDense(rng.choice([-1, 1], (8, 24)))
    graph = Graph("x", IntType((24,), -1, 1, 2), [Node("a", layer, ("x",), "y")], "y")
    tree, direct = (choose(graph, board("ultra96"), Target(mst=mst))["a"] for mst in (True, False))
    assert tree.mode == direct.mode == "unrolled" and tree.mst and not direct.mst
    costs = [layer.cost(fold, graph.input_type).lut for fold in (tree, direct)]
    notes = [layer.rtl(fold, graph.input_type).notes for fold in (tree, direct)]
    assert costs[0] < costs[1]
    assert notes[0]["additions"] < notes[1]["additions"] == notes[1]["direct_additions"]


def test_sums_are_shared_unless_that_is_switched_off() -> None:
    layer = BinaryDense(np.random.default_rng(1).choice([-1, 1], (32, 144)))
    x = IntType((144,), -1, 1, 2)
    graph = Graph("x", x, [Node("a", layer, ("x",), "y")], "y")
    shared, tree = (choose(graph, board("ultra96"), Target(share=sharing))["a"] for sharing in (True, False))
    notes = [layer.rtl(fold, x).notes for fold in (shared, tree)]
    assert [note["form"] for note in notes] == ["shared", "tree"] and notes[0]["luts"] < notes[1]["luts"]
    assert layer.cost(shared, x).lut < layer.cost(tree, x).lut


def test_a_rate_that_the_clock_does_not_give_is_refused() -> None:
    result = {"cycles_per_frame": 100, "clock_mhz": 59.5, "frames_per_second": 595_000.0}
    refuse_below_rate(result, None)
    refuse_below_rate(result, 595_000)
    with pytest.raises(EdgeqError, match=r"100 cycles a frame at 59\.5 MHz are 595,000") as refused:
        refuse_below_rate(result, 595_001)
    assert refused.value.fix


def test_boards_go_by_name_and_alias() -> None:
    assert board("ultra96") == board("ultra96v2")
    assert len({b.name for b in boards()}) == len(boards()) >= 3
    with pytest.raises(EdgeqError, match="ultra97") as refused:
        board("ultra97")
    assert all(b.name in refused.value.fix for b in boards())


def test_a_report_over_the_budget_is_refused() -> None:
    graph = Graph("x", IntType((2,), 0, 1), [Node("a", Rearrange((2,), (0,), (2,)), ("x",), "y")], "y")
    rows = [{"name": "a", "lut": 900}]
    result = {"board": "b", "operators": rows, "total": {"lut": 900}, "budget": {"lut": 900}, "carry8": {"used": 7, "budget": 7}}
    refuse_over_budget(result, graph)
    with pytest.raises(EdgeqError, match="900 lut of 900, and its shell 1"):
        refuse_over_budget(result | {"shell": {"lut": 1}}, graph)
    with pytest.raises(EdgeqError, match="900 lut of 800"):
        refuse_over_budget(result | {"budget": {"lut": 800}}, graph)
    with pytest.raises(EdgeqError, match="7 CARRY8 of 6"):
        refuse_over_budget(result | {"carry8": {"used": 7, "budget": 6}}, graph)
