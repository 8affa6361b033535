"""The network of benchmarks/peers.py, which says in numpy what NNgen and edgeq must both compute."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edgeq.engines.reference import ReferenceEngine

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from peers_cnn import HIGHEST, half_away, random_cnn


@pytest.mark.parametrize("shift", [0, 1, 2, 5])
def test_half_away_from_zero_is_the_nearest_integer_and_ties_go_outwards(shift: int) -> None:
    x = np.arange(-70, 71)
    for value, y in zip(x.tolist(), half_away(x, shift).tolist(), strict=True):
        exact = Fraction(value, 1 << shift)
        distance = abs(exact - y)
        assert distance < Fraction(1, 2) or (distance == Fraction(1, 2) and abs(y) > abs(exact))


def test_the_graph_means_what_numpy_says_and_no_layer_is_constant() -> None:
    cnn = random_cnn(8, (3, 4, 5), 6, seed=3)
    x = cnn.frames(16, seed=4)
    y = cnn.run(x)
    graph = cnn.graph()
    assert np.array_equal(ReferenceEngine(graph).run(x.transpose(0, 3, 1, 2)), y)
    assert len(np.unique(y)) > y.size // 2
    assert cnn.products == 64 * 3 * 4 * 9 + 16 * 4 * 5 * 9 + 2 * 2 * 5 * 6
    for layer in cnn.layers:
        assert np.abs(layer.weight).max() <= HIGHEST and 0 < layer.shift < 31
