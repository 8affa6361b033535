"""Every operator of the integer-only transformers, alone, on 10,000 vectors: 0 values differ between any two engines.

test_parity.py draws small operators of every kind and many folds, with 8 frames each. Here is one operator of each kind, of words
as the networks have (`edgeq.train.integer`), in one fold, and so many frames that rare values occur: those at the ends, those
that meet (equal channels, a margin that is just reached, a mean or a quotient half way), those near 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import parity
import pytest
from bundle import bundle, stretch

from edgeq.beats import fitted
from edgeq.board import board
from edgeq.engines.hls import EXACT_BITS, HlsEngine
from edgeq.engines.ort import OrtEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.lower import hls
from edgeq.lower import onnx as lower_onnx
from edgeq.lower import rtl as lower_rtl
from edgeq.ops.add import Add
from edgeq.ops.add_position import AddPosition
from edgeq.ops.append_tokens import AppendTokens
from edgeq.ops.argmax import Argmax
from edgeq.ops.attention_scores import AttentionScores
from edgeq.ops.attention_values import AttentionValues
from edgeq.ops.isqrt import ISqrt
from edgeq.ops.layer_norm import LayerNorm
from edgeq.ops.near_max import NearMax
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.select_tokens import SelectTokens
from edgeq.ops.shift_gelu import ShiftGELU
from edgeq.ops.shiftmax import Shiftmax
from edgeq.ops.upsample import Upsample

VECTORS, STALLED = 10_000, 1_000
RNG = np.random.default_rng(6)


def byte(*shape: int) -> IntType:
    return IntType(shape, -128, 127)


def word(*shape: int) -> IntType:
    return IntType(shape, -(1 << 15), (1 << 15) - 1)


def words(*shape: int) -> np.ndarray:
    """Constants of 16 bits."""
    return RNG.integers(-(1 << 15), 1 << 15, shape)


@dataclass(frozen=True)
class Instance:
    """op on inputs of these types.  pe: channels a cycle where it has a choice."""

    op: Op
    types: tuple[IntType, ...]
    pe: int = 0

    def fold(self, narrow: bool = False) -> Fold:
        every = (self.op.narrow_folds if narrow else self.op.folds)(*self.types)
        return next((fold for fold in every if self.pe in (fold.pe, fold.simd)), every[-1])


MULTIPLIERS = np.array([181, -256, 97, 300])
OFFSETS = np.array([0, 1 << 11, -77, 1 << 17])
OPERATORS = {
    "shiftmax": Instance(Shiftmax(27, 8, 15), (byte(2, 2, 5),)),
    "near_max": Instance(NearMax(44), (byte(2, 2, 5),)),
    "shift_gelu": Instance(ShiftGELU(27, 14, 15, (1 << 15) - 1), (word(4, 1, 3),), 2),
    "shift_gelu_cut": Instance(ShiftGELU(27, 8, 15, 40), (byte(4, 1, 3),), 2),
    "layer_norm": Instance(LayerNorm(18), (word(6, 1, 2),), 2),
    "isqrt": Instance(ISqrt(), (IntType((4, 1, 2), 0, (1 << 32) - 1),), 2),
    "scores": Instance(AttentionScores(2), (word(4, 1, 3), byte(4, 1, 4)), 1),
    "values": Instance(AttentionValues(2), (IntType((2, 2, 4), 0, 1 << 15), byte(4, 1, 4)), 1),
    "append_tokens": Instance(AppendTokens(words(4, 2)), (word(4, 1, 3),), 2),
    "add_position": Instance(AddPosition(words(4, 6)), (word(4, 2, 3),), 2),
    "select_tokens": Instance(SelectTokens(1, 4, 2), (word(4, 1, 6),), 2),
    "add": Instance(Add(np.array([1, -3, 4, 7]), np.array([5, 2, -1, 1])), (word(4, 1, 3), word(4, 1, 3)), 2),
    "upsample": Instance(Upsample((2, 3)), (byte(3, 2, 2),)),
    "argmax": Instance(Argmax(), (byte(5, 2, 2),)),
    "requantize": Instance(Requantize(MULTIPLIERS, OFFSETS, 12, "half_even", -128, 127), (word(4, 1, 3),), 2),
}
NARROW = [name for name, one in OPERATORS.items() if one.op.narrow_folds(*one.types)]


def spread(kind: IntType, rng: np.random.Generator, count: int) -> np.ndarray:
    """A third uniform; a third of both ends; a third around 0 or any value, as near to it as 1 or as far as the range goes."""
    x, third = kind.random(rng, count), count // 3
    x[third : 2 * third] = rng.choice([kind.lo, kind.hi], (third, *kind.shape))
    each = (count - 2 * third, *[1] * len(kind.shape))
    middle = rng.integers(kind.lo, kind.hi, each) * rng.integers(0, 2, each)
    reach = 1 << rng.integers(0, kind.width, each)
    x[2 * third :] = np.clip(middle + rng.integers(-reach, reach + 1, (each[0], *kind.shape)), kind.lo, kind.hi)
    return x


def alone(one: Instance) -> Graph:
    """The operator in a graph with one input; two inputs are tokens of it, the first ones those of the first."""
    if len(one.types) == 1:
        return Graph("x", one.types[0], [Node("op", one.op, ("x",), "y")], "y")
    channels = one.types[1].channels
    graph = Graph("x", word(channels, 1, sum(t.size for t in one.types) // channels))
    start = 0
    for i, t in enumerate(one.types):
        tokens = SelectTokens(start, t.size // channels)
        start += tokens.count
        graph.nodes.append(Node(f"tokens{i}", tokens, ("x",), f"t{i}"))
        graph.nodes.append(Node(f"shape{i}", Rearrange((t.size,), (0,), t.shape), (f"t{i}",), f"s{i}"))
        source = graph.types()[f"s{i}"]
        graph.nodes.append(Node(f"range{i}", stretch(source, t), (f"s{i}",), f"x{i}"))
    graph.nodes.append(Node("op", one.op, ("x0", "x1"), "y"))
    graph.output = "y"
    assert [graph.types()[f"x{i}"] for i in (0, 1)] == list(one.types)
    return graph


@pytest.mark.parametrize("name", OPERATORS)
def test_reference_onnxruntime_and_verilog_agree(name: str, tmp_path: Path) -> None:
    one = OPERATORS[name]
    graph = alone(one)
    x = spread(graph.input_type, np.random.default_rng(0), VECTORS)
    y = ReferenceEngine(graph).run(x)
    assert len(y) == VECTORS and np.ptp(y) > 0
    lower_onnx.save(graph, tmp_path / "model.int.onnx")
    assert parity.mismatches(y, OrtEngine(tmp_path / "model.int.onnx", threads=1).run(x)) == 0
    types = graph.types()
    folds = {n.name: n.op.folds(*(types[i] for i in n.inputs))[-1] for n in graph.nodes} | {"op": one.fold()}
    lower_rtl.lower(graph, folds, tmp_path / "rtl")
    engine = parity.simulation(graph, tmp_path / "rtl")
    assert parity.mismatches(y, engine.run(x)) == 0
    assert engine.cycles_per_frame == parity.declared_cycles(graph, folds)


@pytest.mark.parametrize("name", NARROW)
def test_verilog_in_narrow_beats_agrees_with_stalls(name: str, tmp_path: Path) -> None:
    one = OPERATORS[name]
    graph = alone(one)
    x = spread(graph.input_type, np.random.default_rng(1), STALLED)
    y = ReferenceEngine(graph).run(x)
    assert np.ptp(y) > 0
    types = graph.types()
    folds = {n.name: n.op.folds(*(types[i] for i in n.inputs))[-1] for n in graph.nodes} | {"op": one.fold(narrow=True)}
    wired, wired_folds = fitted(graph, folds)
    lower_rtl.lower(wired, wired_folds, tmp_path)
    assert parity.mismatches(y, parity.simulation(graph, tmp_path).run(x, stalls=1)) == 0


def test_hls_agrees(tmp_path: Path) -> None:
    """All operators side by side in one project, since each compilation takes long."""
    made = bundle([(one.op, one.types) for one in OPERATORS.values()])
    assert made.graph.types()[made.graph.output].width < EXACT_BITS
    folds = {node.name: Fold() for node in made.graph.nodes}
    folds |= {f"op{k}": one.fold() for k, one in enumerate(OPERATORS.values())}
    hls.lower(made.graph, folds, board("ultra96"), tmp_path / "hls")
    x = spread(made.graph.input_type, np.random.default_rng(2), VECTORS)
    y, expected = HlsEngine(tmp_path / "hls").run(x), ReferenceEngine(made.graph).run(x)
    parts = dict(zip(OPERATORS, made.spans, strict=True))
    wrong = {name: parity.mismatches(expected[:, span], y[:, span]) for name, span in parts.items()}
    assert wrong == dict.fromkeys(parts, 0)
    assert [name for name, span in parts.items() if np.ptp(expected[:, span]) == 0] == []
