"""The products of attention against an oracle that shares no code with them, alone and as the attention of a small network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import parity
import pytest

from edgeq.board import board
from edgeq.engines.hls import HlsEngine
from edgeq.engines.ort import OrtEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.lower import hls
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.attention_scores import AttentionScores
from edgeq.ops.attention_values import AttentionValues
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.requantize import Requantize
from edgeq.passes import hardware_passes
from edgeq.schedule import Network

VECTORS = 10_000
BYTE, WORD = (-128, 127, 1), (0, 65_535, 1)
BIPOLAR, BIT = (-1, 1, 2), (0, 1, 1)
RANGES = {"bytes": (BYTE, BYTE), "words": (WORD, (-32_768, 32_767, 1)), "bipolar": (BIPOLAR, BIPOLAR), "bit": (BIT, BYTE)}


def oracle_scores(op: AttentionScores, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """On Python's own integers, by the definition."""
    q, k = (x.reshape(len(x), op.heads, -1, x.shape[2] * x.shape[3]).astype(object) for x in (q, k))
    return np.einsum("nhci,nhcj->nhij" if op.pairs else "nhci,nhcj->nhji", q, k)


def oracle_values(op: AttentionValues, p: np.ndarray, v: np.ndarray) -> np.ndarray:
    v = v.reshape(len(v), op.heads, -1, v.shape[2] * v.shape[3]).astype(object)
    return np.einsum("nhij,nhcj->nhci", p.astype(object), v)


SCORES = (AttentionScores(2), (4, 2, 2), (4, 1, 3), oracle_scores)
QUERIES = (AttentionScores(2, pairs=0), (4, 2, 2), (4, 1, 3), oracle_scores)
VALUES = (AttentionValues(2), (2, 4, 3), (4, 1, 3), oracle_values)
EACH_PRODUCT = pytest.mark.parametrize(
    ("op", "first", "second", "oracle"), [SCORES, QUERIES, VALUES], ids=["scores", "queries", "values"]
)


@EACH_PRODUCT
@pytest.mark.parametrize("ranges", RANGES.values(), ids=RANGES)
def test_ten_thousand_random_frames_equal_the_oracle_in_the_reference_and_onnxruntime(
    op: Op,
    first: tuple[int, ...],
    second: tuple[int, ...],
    oracle: Callable[..., np.ndarray],
    ranges: tuple[tuple[int, int, int], ...],
    tmp_path: Path,
) -> None:
    """Both ends of both ranges come together in the first frames."""
    types = [IntType(shape, *limits) for shape, limits in zip((first, second), ranges, strict=True)]
    xs = [t.random(np.random.default_rng(i), VECTORS) for i, t in enumerate(types)]
    xs[0][:4], xs[1][:4] = xs[0][[0, 1, 0, 1]], xs[1][[0, 1, 1, 0]]
    y = op.reference(*xs)
    assert op.infer(*types).admits(y)
    assert np.array_equal(y, oracle(op, *xs).reshape(y.shape))
    assert {int(y[:4].min()), int(y[:4].max())} == {op.infer(*types).lo, op.infer(*types).hi}
    graph = parity.case_of(op, tuple(types)).graph
    made = {"x": graph.input_type.random(np.random.default_rng(2), VECTORS)}
    for node in graph.nodes:
        made[node.output] = node.op.reference(*(made[name] for name in node.inputs))
    lower_onnx.save(graph, tmp_path / "model.int.onnx")
    found = OrtEngine(tmp_path / "model.int.onnx", threads=1).run(made["x"])
    assert np.array_equal(found, oracle(op, made["x0"], made["x1"]).reshape(found.shape))


@pytest.mark.parametrize("product", [SCORES, VALUES], ids=["scores", "values"])
@pytest.mark.parametrize(
    "ranges", [(BIPOLAR, BIPOLAR), (BIT, BYTE), (BYTE, BIPOLAR), (BIT, BIPOLAR)], ids=["signs", "bit", "sign", "bit and sign"]
)
def test_one_bit_operands_in_verilog(
    product: tuple[Op, tuple[int, ...], tuple[int, ...], object], ranges: tuple[tuple[int, int, int], ...], tmp_path: Path
) -> None:
    """Products without a multiplier, and popcounts where both operands are bipolar."""
    op, first, second, _ = product
    case = parity.case_of(op, (IntType(first, *ranges[0]), IntType(second, *ranges[1])))
    folds = parity.folds_of(case, op.folds(*case.types)[-1])
    cycles = parity.check_verilog(case.built, folds, case.x, case.y, tmp_path)
    assert cycles == parity.declared_cycles(case.built, folds)
    parity.check_synthesized_verilog(case.built, case.x, case.y, tmp_path)


def requantize(shift: int, lo: int, hi: int) -> Requantize:
    return Requantize(np.array([1]), np.array([0]), shift, "half_even", lo, hi)


def attention(tokens: tuple[int, int], folded: int) -> tuple[Graph, dict[str, Fold]]:
    """x -> queries, keys and values, a convolution of 1 x 1 each -> scores -> 4 bits, not negative -> the sum of the values.

    folded: cycles a pair of query and key takes, in both products.
    """
    rng = np.random.default_rng(5)
    heads, size = 2, 4
    nodes = []
    for name in "qkv":
        nodes.append(Node(name, Conv2d(rng.integers(-8, 8, (heads * size, 5, 1, 1))), ("x",), f"{name}_sums"))
        nodes.append(Node(f"{name}_byte", requantize(5, -128, 127), (f"{name}_sums",), f"{name}_bytes"))
    nodes += [
        Node("scores", AttentionScores(heads), ("q_bytes", "k_bytes"), "s"),
        Node("weights", requantize(9, 0, 15), ("s",), "p"),
        Node("values", AttentionValues(heads), ("p", "v_bytes"), "y"),
    ]
    graph = Graph("x", IntType((5, *tokens), -128, 127), nodes, "y")
    folds = {"scores": Fold("folded", 1, size // folded), "values": Fold("folded", size // folded, 1)}
    return graph, folds


def with_the_fastest(graph: Graph, folds: dict[str, Fold]) -> dict[str, Fold]:
    """The folds, and of all other nodes the fastest."""
    types = graph.types()
    return {n.name: n.op.folds(*(types[name] for name in n.inputs))[-1] for n in graph.nodes} | folds


@pytest.mark.parametrize(("tokens", "folded", "fifo"), [((2, 3), 1, 0), ((1, 5), 4, 0), ((8, 8), 2, 54)])
def test_an_attention_runs_at_the_rate_of_its_products_whatever_stalls(
    tokens: tuple[int, int], folded: int, fifo: int, tmp_path: Path
) -> None:
    """64 tokens: the queries of a frame wait in a FIFO while its keys are stored."""
    graph, folds = attention(tokens, folded)
    x = graph.input_type.random(np.random.default_rng(0), 8)
    y = ReferenceEngine(graph).run(x)
    assert len(np.unique(y)) > 100
    lower_onnx.save(graph, tmp_path / "model.int.onnx")
    assert parity.mismatches(y, OrtEngine(tmp_path / "model.int.onnx", threads=1).run(x)) == 0
    built = hardware_passes(graph)
    folds = with_the_fastest(built, folds)
    count = tokens[0] * tokens[1]
    assert parity.check_verilog(built, folds, x, y, tmp_path) == parity.declared_cycles(built, folds) == count**2 * folded
    assert Network(built, folds).least_depths()["scores", 0] == fifo


def test_the_hls_project_of_an_attention_equals_the_reference(tmp_path: Path) -> None:
    graph, folds = attention((2, 3), 2)
    x = graph.input_type.random(np.random.default_rng(0), 30)
    built = hardware_passes(graph)
    hls.lower(built, with_the_fastest(built, folds), board("ultra96"), tmp_path)
    assert parity.mismatches(ReferenceEngine(graph).run(x), HlsEngine(tmp_path).run(x)) == 0


Q, K = IntType((4, 2, 3), -8, 7), IntType((4, 1, 5), 0, 15)
P, V = IntType((2, 6, 5), 0, 15), IntType((4, 1, 5), -8, 7)
REFUSED = {
    "channels": (AttentionScores(2), (Q, IntType((6, 1, 5), 0, 15)), "differ in their channels"),
    "heads": (AttentionScores(3), (Q, K), "3 heads"),
    "no head": (AttentionScores(0), (Q, K), "0 heads"),
    "pairs": (AttentionScores(2, 2), (Q, K), "pairs = 2"),
    "vector": (AttentionScores(2), (IntType((4,), -8, 7), K), r"\(C, H, W\)"),
    "wide query": (AttentionScores(2), (IntType((4, 2, 3), 0, 1 << 16), K), "17 bits"),
    "wide key": (AttentionScores(2), (Q, IntType((4, 1, 5), -1, 1 << 15)), "17 bits"),
    "large head": (AttentionScores(1), (IntType((33_026, 1, 1), 0, 1), IntType((33_026, 1, 1), 0, 1)), "pass 32 bits"),
    "large map": (AttentionScores(1), (IntType((1, 200, 200), 0, 1), IntType((1, 200, 200), 0, 1)), "elements"),
    "another map": (AttentionValues(2), (IntType((2, 6, 4), 0, 15), V), r"\(2, Tq, 5\)"),
    "other heads": (AttentionValues(1), (P, V), "with 1 heads"),
    "split heads": (AttentionValues(2), (P, IntType((5, 1, 5), -8, 7)), "2 heads"),
    "vector of values": (AttentionValues(2), (P, IntType((4,), -8, 7)), r"\(C, H, W\)"),
    "wide weight": (AttentionValues(2), (IntType((2, 6, 5), 0, 1 << 16), V), "17 bits"),
    "many values": (AttentionValues(1), (IntType((1, 1, 33_026), 0, 1), IntType((1, 1, 33_026), 0, 1)), "pass 32 bits"),
}


@pytest.mark.parametrize(("op", "types", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_legal_is_refused(op: Op, types: tuple[IntType, ...], message: str) -> None:
    with pytest.raises(EdgeqError, match=message):
        op.infer(*types)


def test_the_longest_sums_of_the_largest_bytes_are_exact_in_onnxruntime(tmp_path: Path) -> None:
    """33,025 products of 255 * 255, in a head of so many channels."""
    x = IntType((33_025, 1, 1), 0, 255)
    graph = Graph("x", x, [Node("s", AttentionScores(1), ("x", "x"), "y")], "y")
    lower_onnx.save(graph, tmp_path / "model.int.onnx")
    frames = x.random(np.random.default_rng(0), 4)
    y = OrtEngine(tmp_path / "model.int.onnx", threads=1).run(frames)
    assert y.max() == 33_025 * 255**2 == graph.types()["y"].hi
    assert y.ravel().tolist() == [sum(v * v for v in frame.ravel().tolist()) for frame in frames]


@pytest.mark.parametrize("op", [AttentionScores(2), AttentionValues(2)], ids=lambda op: op.kind())
def test_the_units_of_the_operands_multiply(op: Op) -> None:
    assert op.rescaled(-3, 2) == (op, -1)
