"""The pass runner and every rule of every pass: where it fires, and where it must not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from qonnx_models import Builder, random_model

from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.frontend.qonnx import import_qonnx
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.add import Add
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.lookup import Lookup
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold
from edgeq.ops.upsample import Upsample
from edgeq.passes import hardware_passes
from edgeq.passes.fuse_post import FUSE_POST, UNFUSED
from edgeq.passes.hoist_elementwise import HOIST_ELEMENTWISE
from edgeq.passes.remove_identity import REMOVE_IDENTITY
from edgeq.passes.runner import Condition, Pass, run_passes

IMAGE = IntType((2, 4, 4), -8, 7)


def chain(*ops: Op, kind: IntType = IMAGE) -> Graph:
    """ops one after the other: n0, n1, ..."""
    nodes = [Node(f"n{i}", op, (f"t{i - 1}" if i else "x",), f"t{i}") for i, op in enumerate(ops)]
    return Graph("x", kind, nodes, nodes[-1].output)


def names(graph: Graph) -> list[str]:
    return [node.op.kind() for node in graph.nodes]


def threshold(negative: int = 0, levels: int = 3) -> Threshold:
    rows = np.arange(levels) * (-1 if negative else 1)
    return Threshold(np.stack([rows, rows]), np.array([0, negative]), 0)


def conv(seed: int = 0) -> Conv2d:
    return Conv2d(np.random.default_rng(seed).integers(-3, 4, size=(2, 2, 1, 1)))


# remove_identity


@pytest.mark.parametrize(
    ("op", "removed"),
    [
        (Rearrange((2, 4, 4), (0, 1, 2), (2, 4, 4)), True), (Rearrange((32,), (0,), (2, 4, 4)), True),
        (Rearrange((2, 1, 16), (1, 0, 2), (2, 4, 4)), True), (Rearrange((2, 4, 4), (0, 2, 1), (2, 4, 4)), False),
        (Rearrange((2, 4, 4), (0, 1, 2), (4, 4, 2)), False), (Rearrange((2, 4, 4), (0, 1, 2), (32,)), False),
    ],
)  # fmt: skip
def test_identities_are_removed_and_nothing_else(op: Rearrange, removed: bool) -> None:
    assert names(run_passes(chain(conv(), op), (REMOVE_IDENTITY,))) == (["Conv2d"] if removed else ["Conv2d", "Rearrange"])


def test_an_identity_at_the_output_is_removed_but_not_the_only_node() -> None:
    same = Rearrange((2, 4, 4), (0, 1, 2), (2, 4, 4))
    graph = run_passes(chain(conv(), same, same), (REMOVE_IDENTITY,))
    assert (names(graph), graph.output) == (["Conv2d"], "t0")
    assert names(run_passes(chain(same), (REMOVE_IDENTITY,))) == ["Rearrange"]


# hoist_elementwise


@pytest.mark.parametrize("selecting", [MaxPool((2, 2), (2, 2)), MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), Upsample((2, 3))])
def test_rising_operators_move_in_front(selecting: Op) -> None:
    wide = Requantize(np.array([3, 0]), np.array([1, 5]), 2, "half_even", -4, 3)
    graph = run_passes(chain(selecting, wide), (HOIST_ELEMENTWISE,))
    assert names(graph) == ["Requantize", selecting.kind()]
    assert [node.name for node in graph.nodes] == ["n1", "n0"]
    assert graph.output == "t1"


def test_a_rising_table_moves_in_front() -> None:
    assert names(run_passes(chain(MaxPool((2, 2)), Lookup(np.arange(16)[None] // 2, -8)), (HOIST_ELEMENTWISE,)))[0] == "Lookup"


def test_they_move_through_several() -> None:
    graph = run_passes(chain(MaxPool((2, 2)), Upsample((2, 2)), threshold()), (HOIST_ELEMENTWISE,))
    assert names(graph) == ["Threshold", "MaxPool", "Upsample"]


@pytest.mark.parametrize(
    "op",
    [threshold(negative=1), Requantize(np.array([1, -1]), np.zeros(2, np.int64), 0, "floor", -8, 8),
     Requantize(np.array([64]), np.array([0]), 0, "floor", -999, 999), Lookup(np.arange(16)[None] // 2 ^ 1, -8)],
)  # fmt: skip
def test_falling_or_widening_operators_stay(op: Op) -> None:
    assert names(run_passes(chain(MaxPool((2, 2)), op), (HOIST_ELEMENTWISE,))) == ["MaxPool", op.kind()]


def test_a_pool_with_two_readers_stays() -> None:
    one = np.array([1])
    nodes = [
        Node("pool", MaxPool((2, 2)), ("x",), "p"), Node("low", threshold(), ("p",), "t"),
        Node("sum", Add(one, one), ("p", "t"), "y"),
    ]  # fmt: skip
    assert names(run_passes(Graph("x", IMAGE, nodes, "y"), (HOIST_ELEMENTWISE,))) == ["MaxPool", "Threshold", "Add"]


# fuse_post


def test_a_layer_takes_its_threshold_in() -> None:
    graph = run_passes(chain(conv(), threshold(1), conv(1)), (FUSE_POST,))
    assert [(n.name, n.inputs, n.output) for n in graph.nodes] == [("n0", ("x",), "t1"), ("n2", ("t1",), "t2")]
    with pytest.raises(EdgeqError, match="needs 'no layer has a fused operator', which Conv2d 'n0' breaks"):
        run_passes(graph, (FUSE_POST,))


def test_a_table_is_no_part_of_a_layer() -> None:
    table = Lookup(np.arange(128)[None] % 7, -64)
    assert names(run_passes(chain(conv(), table), (FUSE_POST,))) == ["Conv2d", "Lookup"]


def test_sums_that_are_read_twice_or_leave_the_graph_stay() -> None:
    one = np.array([1])
    nodes = [Node("a", conv(), ("x",), "s"), Node("b", threshold(), ("s",), "t"), Node("c", Add(one, one), ("s", "t"), "y")]
    assert names(run_passes(Graph("x", IMAGE, nodes, "y"), (FUSE_POST,))) == ["Conv2d", "Threshold", "Add"]
    assert names(run_passes(chain(conv()), (FUSE_POST,))) == ["Conv2d"]
    assert names(run_passes(chain(MaxPool((2, 2)), threshold()), (FUSE_POST,))) == ["MaxPool", "Threshold"]


# The runner


def broken(change: object) -> Pass:
    return Pass("broken", lambda graph: change(graph))  # type: ignore[operator]


def test_a_pass_that_changes_the_meaning_is_named() -> None:
    graph = chain(conv(), threshold(), MaxPool((2, 2)))

    def change(graph: Graph) -> Graph:
        node = graph.nodes[1]
        op = node.op
        assert isinstance(op, Threshold)
        worse = replace(op, thresholds=op.thresholds + 1)
        return replace(graph, nodes=[graph.nodes[0], replace(node, op=worse), graph.nodes[2]])

    with pytest.raises(EdgeqError) as caught:
        run_passes(graph, (REMOVE_IDENTITY, broken(change)))
    assert "pass 'broken' after ['remove_identity']" in caught.value.where
    assert "Threshold 'n1'" in caught.value.what
    assert "element [" in caught.value.what


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    graph = chain(conv(), threshold())
    with pytest.raises(EdgeqError, match=r"'broken'.*not well formed"):
        run_passes(graph, (broken(lambda g: replace(g, nodes=g.nodes[1:])),))
    with pytest.raises(EdgeqError, match="changes the graph's input"):
        run_passes(graph, (broken(lambda g: replace(g, input_type=replace(IMAGE, lo=-7))),))
    with pytest.raises(EdgeqError, match=r"shape|changes"):
        run_passes(
            graph, (broken(lambda g: replace(g, nodes=[*g.nodes, Node("n9", MaxPool((2, 2)), ("t1",), "t9")], output="t9")),)
        )


def test_promises_are_kept() -> None:
    never = Condition("nothing is left", lambda graph: graph.nodes[0])
    with pytest.raises(EdgeqError, match="does not ensure 'nothing is left', which Conv2d 'n0' breaks"):
        run_passes(chain(conv()), (Pass("idle", lambda graph: graph, ensures=(never,)),))
    assert UNFUSED.broken(chain(conv(), threshold())) is None


def test_a_graph_that_is_not_well_formed_is_refused_before_any_pass() -> None:
    with pytest.raises(EdgeqError, match="made by no node"):
        run_passes(replace(chain(conv()), output="nowhere"), ())


# Together


@pytest.mark.parametrize("seed", range(12))
def test_hardware_passes_keep_every_integer(seed: int) -> None:
    graph = import_qonnx(random_model(seed)[0])
    made = hardware_passes(graph)
    x = graph.input_type.random(np.random.default_rng(seed), 8)
    assert np.array_equal(ReferenceEngine(graph).run(x), ReferenceEngine(made).run(x))
    assert len(made.nodes) <= len(graph.nodes)


def test_batch_norm_before_a_pool_is_fused_into_the_layer(tmp_path: Path) -> None:
    b = Builder(2, 6, 6)
    x = b.op("Conv", b.quant("x", 0.25, 4), b.weight(np.random.default_rng(0).normal(size=(3, 2, 3, 3))))
    x = b.op("MaxPool", b.op("Relu", b.batch_norm(x, [0.5, 1.0, 2.0])), kernel_shape=[2, 2], strides=[2, 2])
    graph = import_qonnx(b.model(b.quant(x, 0.25, 4, signed=0)))
    assert names(graph) == ["Conv2d", "MaxPool", "Threshold"]
    assert names(hardware_passes(graph)) == ["Conv2d", "MaxPool"]
    lower_onnx.save(graph, tmp_path / "m.onnx")
    assert Fraction(graph.meta["real"]["t0"]["scale"][0]) == Fraction(1, 4)
