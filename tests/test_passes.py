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
from edgeq.ops.add_position import AddPosition
from edgeq.ops.attention_scores import AttentionScores
from edgeq.ops.attention_values import AttentionValues
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.layer_norm import LayerNorm
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
from edgeq.passes.wait_before import WAIT_BEFORE

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


# wait_before: n is made from x by a LayerNorm; queries q, keys k and values v are made from n


TOKENS = IntType((4, 1, 6), -128, 127)
CAST = Requantize(np.array([1]), np.array([0]), 9, "half_even", -128, 127)


def tokens(source: str, output: str, seed: int = 0) -> Node:
    """A layer of each token."""
    return Node(output, Conv2d(np.random.default_rng(seed).integers(-9, 10, size=(4, 4, 1, 1)), post=CAST), (source,), output)


def attention(
    sources: str = "nnn", residual: str = "x", norm: tuple[Node, ...] | None = None, more: tuple[Node, ...] = ()
) -> Graph:
    """sources: of q, k and v.  residual: what is added to the result.  norm: what makes n."""
    one = np.array([1])
    nodes = [
        Node("x", AddPosition(np.arange(24).reshape(4, 6)), ("image",), "x"),
        *(norm or (Node("n", LayerNorm(24), ("x",), "n"),)),
        *(tokens(source, output, seed) for seed, (source, output) in enumerate(zip(sources, "qkv", strict=True))),
        *more,
        Node("s", AttentionScores(2), ("q", "k"), "s"),
        Node("p", Requantize(one, np.array([0]), 8, "floor", 0, 255), ("s",), "p"),
        Node("a", AttentionValues(2), ("p", "v"), "a"),
        Node("y", Add(one, one), (residual, "a"), "y"),
    ]
    return Graph("image", TOKENS, nodes, "y")


def waited(graph: Graph) -> dict[str, tuple[str, ...]]:
    """What each node reads after the pass, which run_passes shows to keep the integers."""
    return {node.name: node.inputs for node in run_passes(graph, (WAIT_BEFORE,)).nodes}


def unmoved(graph: Graph) -> bool:
    return waited(graph) == {node.name: node.inputs for node in graph.nodes}


def test_queries_and_the_residual_wait_in_one_buffer() -> None:
    """Rule 3: keys and values come from n at once; the scores' queries from a copy of it behind the buffer."""
    graph = attention()
    made = waited(graph)
    added = {"n_buffer": ("x",), "n_again": ("n_buffer",)}
    moved = {"q": ("n_again",), "y": ("n_buffer", "a")}
    assert made == {node.name: node.inputs for node in graph.nodes} | added | moved
    assert [made[name] for name in ("n", "k", "v")] == [("x",), ("n",), ("n",)]
    built = run_passes(graph, (WAIT_BEFORE,))
    x = TOKENS.random(np.random.default_rng(0), 50)
    y = ReferenceEngine(graph).run(x)
    assert np.ptp(y) > 0 and np.array_equal(ReferenceEngine(built).run(x), y)


def test_paths_of_several_operators_wait_as_a_whole() -> None:
    """Rules 1 and 2: q and k by two layers each, n by two operators, which are both built again."""
    norm = (
        Node("m", LayerNorm(24), ("x",), "m"),
        Node("n", Requantize(np.array([3]), np.array([1]), 1, "floor", -99, 99), ("m",), "n"),
    )
    graph = attention("efn", norm=(*norm, tokens("n", "e", 5), tokens("n", "f", 6)))
    made = waited(graph)
    assert [made[name] for name in ("m_buffer", "m_again", "n_again")] == [("x",), ("m_buffer",), ("m_again",)]
    assert [made[name] for name in ("e", "f", "q", "k", "y")] == [("n_again",), ("n",), ("e",), ("f",), ("m_buffer", "a")]


def test_what_others_read_too_ends_a_path() -> None:
    """Of m, between x and n, another reader: x of rule 2 is then m."""
    norm = (Node("m", LayerNorm(24), ("x",), "m"), Node("n", CAST, ("m",), "n"))
    made = waited(attention(norm=norm, residual="m"))
    assert [made[name] for name in ("n_buffer", "n_again", "q", "y")] == [("m",), ("n_buffer",), ("n_again",), ("n_buffer", "a")]
    # nobody else reads x: x of rule 2 is then the image
    made = waited(attention(residual="image"))
    assert [made[name] for name in ("x_buffer", "x_again", "n_again", "q")] == [
        ("image",),
        ("x_buffer",),
        ("x_again",),
        ("n_again",),
    ]
    # of e, between n and q: the queries end at e, the keys at n
    assert unmoved(attention("enn", norm=(Node("n", LayerNorm(24), ("x",), "n"), tokens("n", "e")), residual="e"))


def test_two_attentions_share_a_buffer() -> None:
    second = (tokens("n", "r", 7), tokens("n", "l", 8), Node("t", AttentionScores(2), ("r", "l"), "t"))
    graph = attention(more=second)
    graph.nodes.append(Node("z", Concat(), ("y2", "t2"), "z"))
    graph.nodes[-1:-1] = [
        Node("y2", Rearrange((24,), (0,), (24,)), ("y",), "y2"),
        Node("t2", Rearrange((72,), (0,), (72,)), ("t",), "t2"),
    ]
    graph.output = "z"
    made = waited(graph)
    assert [made[name] for name in ("q", "r", "k", "l")] == [("n_again",), ("n_again",), ("n",), ("n",)]
    assert sum(name.endswith(("_buffer", "_again")) for name in made) == 2


@pytest.mark.parametrize(
    "graph",
    [
        attention("xnn"), attention("nxn", residual="n"),  # rule 1: two tensors
        attention("nnn", residual="n"),  # rule 2: nobody else reads x
        replace(attention("nnn", residual="x"), nodes=attention("nnn", residual="x").nodes[:-1], output="a"),
    ],
    ids=["queries of x", "keys of x", "residual of n", "no residual"],
)  # fmt: skip
def test_tokens_that_need_no_buffer_stay(graph: Graph) -> None:
    assert unmoved(graph)


def test_no_buffer_in_front_of_nothing() -> None:
    """Rule 2: n is x, here the input of the graph; rule 1: queries that are the keys cannot come before them."""
    graph = attention("iii", residual="i")
    assert unmoved(replace(graph, nodes=graph.nodes[2:], input="i"))
    graph = attention()
    same = [replace(node, inputs=("k", "k")) if node.name == "s" else node for node in graph.nodes if node.name != "q"]
    assert unmoved(replace(graph, nodes=same))
