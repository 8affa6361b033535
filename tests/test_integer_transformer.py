"""benchmarks/integer_transformer.py: what it counts, and whose time it measures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from edgeq.graph import Graph, IntType, Node
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.dense import Dense
from edgeq.ops.requantize import Requantize

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from integer_transformer import float_bytes, integer_bytes, shares


def test_constants_are_counted_at_their_word_length_and_every_part_has_its_time(tmp_path: Path) -> None:
    weight = np.resize([-128, 127, 3], (8, 16))
    scale = Requantize(np.full(8, 5), np.arange(8), 4, "half_even", -8, 7)
    nodes = [Node("fc", Dense(weight), ("x",), "a"), Node("q", scale, ("a",), "y")]
    graph = Graph("x", IntType((16,), -128, 127), nodes, "y")
    assert integer_bytes(graph) == (128, 128 + 6)  # multipliers and offsets of 3 bits
    lower_onnx.save(graph, tmp_path / "m.onnx")
    found = shares(graph, tmp_path / "m.onnx", np.zeros((2, 16), np.int64))
    assert set(found) == {"Dense", "Requantize"} and sum(found.values()) == pytest.approx(1)


def test_float_parameters_are_counted_without_counters() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4))
    assert float_bytes(net) == (4 * 300, 4 * (300 + 4 + 16))
