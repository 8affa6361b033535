"""The parity suite: random instances of every registered operator, all engines, exact equality."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import parity
import pytest
from bundle import bundle
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeq.beats import fitted
from edgeq.board import board
from edgeq.engines.hls import HlsEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.fold import Fold
from edgeq.graph import Op
from edgeq.lower import hls

EACH_KIND = pytest.mark.parametrize("kind", parity.KINDS, ids=lambda kind: kind.kind())
SEEDS = range(parity.EXAMPLES)


@EACH_KIND
@settings(max_examples=parity.ONNX_EXAMPLES)
@given(data=st.data())
def test_onnxruntime_equals_the_reference(kind: type[Op], data: st.DataObject) -> None:
    case = parity.draw_case(kind, lambda lo, hi: data.draw(st.integers(lo, hi)))
    assume(case.varied)
    with tempfile.TemporaryDirectory() as folder:
        assert parity.onnx_mismatches(case, Path(folder)) == 0


@pytest.mark.parametrize("kind", [kind for kind in parity.KINDS if kind.absorbs_post], ids=lambda kind: kind.kind())
@pytest.mark.parametrize("seed", range(20))
def test_a_fused_layer_means_the_layer_and_then_its_post(kind: type[Op], seed: int) -> None:
    case = parity.varied_case(kind, seed, 1)
    assert len(case.graph.nodes) == len(case.built.nodes) + 1
    assert np.array_equal(ReferenceEngine(case.built).run(case.x), case.y)


@EACH_KIND
@pytest.mark.parametrize("seed", SEEDS)
def test_verilog_equals_the_reference_however_it_is_folded(kind: type[Op], seed: int, tmp_path: Path) -> None:
    case = parity.varied_case(kind, seed)
    for index, fold in enumerate(chosen := parity.some_folds(case, seed)):
        folds, folder = parity.folds_of(case, fold), tmp_path / str(index)
        cycles = parity.check_verilog(case.built, folds, case.x, case.y, folder)
        assert cycles == parity.declared_cycles(case.built, folds), f"{fold}: the rate is not the declared one"
        if fold in (chosen[0], chosen[-1]):
            parity.check_synthesized_verilog(case.built, case.x, case.y, folder)


NARROW = [kind for kind in parity.KINDS if parity.sliced_case(kind, 0)]
"""Those that take and give parts of a pixel a beat."""


@pytest.mark.parametrize("kind", NARROW, ids=lambda kind: kind.kind())
@pytest.mark.parametrize("seed", SEEDS)
def test_verilog_in_narrow_beats_equals_the_reference(kind: type[Op], seed: int, tmp_path: Path) -> None:
    case = parity.sliced_case(kind, seed)
    assert case is not None
    for index, fold in enumerate(parity.some_folds(case, seed, narrow=True)):
        graph, folds = fitted(case.built, parity.folds_of(case, fold))
        cycles = parity.check_verilog(graph, folds, case.x, case.y, tmp_path / str(index))
        assert cycles == parity.declared_cycles(graph, folds), f"{fold}: the rate is not the declared one"


@pytest.mark.parametrize("seed", range(max(2, parity.EXAMPLES // 2)))
def test_hls_equals_the_reference_however_it_is_folded(seed: int, tmp_path: Path) -> None:
    """All operators, each folded in several ways, side by side in one project, since each compilation takes long."""
    cases = [parity.narrow_case(kind, seed) for kind in parity.KINDS]
    heads = [(case, fold) for case in cases for fold in parity.some_folds(case, seed)]
    made = bundle([(case.built.nodes[-1].op, case.types) for case, _ in heads], seed)
    folds = {node.name: Fold() for node in made.graph.nodes} | {f"op{k}": fold for k, (_, fold) in enumerate(heads)}
    hls.lower(made.graph, folds, board("ultra96"), tmp_path / "hls")
    x = made.graph.input_type.random(np.random.default_rng(seed), 30)
    y, expected = HlsEngine(tmp_path / "hls").run(x), ReferenceEngine(made.graph).run(x)
    assert y.shape == expected.shape and y.dtype == np.int64
    parts = list(zip(heads, made.spans, strict=True))
    wrong = [f"{case.op.kind()} {case.types} {fold}" for (case, fold), span in parts if np.any(y[:, span] != expected[:, span])]
    assert wrong == []
    assert [case.op.kind() for (case, _), span in parts if np.ptp(expected[:, span]) == 0] == []
