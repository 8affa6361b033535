"""The parity suite: random instances of every registered operator, all engines, exact equality."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import parity
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeq.engines.reference import ReferenceEngine
from edgeq.graph import Op

pytestmark = pytest.mark.parametrize("kind", parity.KINDS, ids=lambda kind: kind.kind())


@settings(max_examples=parity.ONNX_EXAMPLES)
@given(data=st.data())
def test_onnxruntime_equals_the_reference(kind: type[Op], data: st.DataObject) -> None:
    case = parity.draw_case(kind, lambda lo, hi: data.draw(st.integers(lo, hi)))
    assume(case.varied)
    with tempfile.TemporaryDirectory() as folder:
        assert parity.onnx_mismatches(case, Path(folder)) == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_fused_layer_means_the_layer_and_then_its_post(kind: type[Op], seed: int) -> None:
    case = parity.varied_case(kind, seed, 1)
    assert np.array_equal(ReferenceEngine(case.built).run(case.x), case.y)
