"""The HLS project: equal to the reference, the same bytes each time, and guarded against what hls4ml gets wrong."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import parity
import pytest
from bundle import bundle, feasible

from edgeq.board import board
from edgeq.engines.hls import HlsEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, Graph, IntType, Node, Op
from edgeq.hardware import HlsCall
from edgeq.lower import hls
from edgeq.mst import spanning_tree
from edgeq.ops._mac import Mac
from edgeq.ops.add import Add
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.threshold import Threshold

BOARD = board("ultra96")
FRAMES = 40
HOSTILE = 'x"; system("touch /tmp/owned"); //'
ONE = np.array([1])
BIPOLAR = (-1, 1, 2)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every project is compiled afresh."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEQ_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def random_fold(op: Op, draw: Draw) -> Fold:
    """Any legal way to build the operator."""
    if not isinstance(op, Mac) or draw(0, 1):
        return Fold("unrolled", mst=bool(draw(0, 1)))
    pe, simd = ([d for d in range(1, n + 1) if n % d == 0] for n in (op.channels_out, op.terms))
    return Fold("folded", pe[draw(0, len(pe) - 1)], simd[draw(0, len(simd) - 1)])


def random_operators(draw: Draw) -> list[tuple[Op, tuple[IntType, ...], Fold]]:
    """One of each operator, layers also with a fused operator; their outputs vary."""
    found = []
    for kind in parity.KINDS:
        for fused in (False, True) if issubclass(kind, Mac) else (False,):
            op, types = kind.sample(draw)
            while not feasible(types) or not varies(op, types):
                op, types = kind.sample(draw)
            if fused:
                op = replace(op, post=parity.draw_post(op, types[0], draw))
            found.append((op, types, random_fold(op, draw)))
    return found


def varies(op: Op, types: tuple[IntType, ...]) -> bool:
    rng = np.random.default_rng(0)
    return bool(np.ptp(op.reference(*(t.random(rng, FRAMES) for t in types))))


def chosen_operators() -> list[tuple[Op, tuple[IntType, ...], Fold]]:
    """hls4ml's own layers, binary words on both sides of their length, a tree with every kind of edge and a border, and what
    a few random operators may lack."""
    rng = np.random.default_rng(7)
    found: list[tuple[Op, tuple[IntType, ...], Fold]] = [
        (MaxPool((2, 3), (2, 3)), (IntType((3, 4, 6), -2000, -7),), Fold()),
        (MaxPool((1, 1), (1, 1)), (IntType((2, 3, 2), 0, 65000),), Fold()),
        (Add(ONE, ONE), (IntType((3, 2, 4), -5, 900), IntType((3, 2, 4), 0, 1 << 20)), Fold()),
        (Add(ONE, ONE), (IntType((6,), -(1 << 40), -3), IntType((6,), 0, 1)), Fold()),
    ]
    for terms in (1, 31, 32, 33, 65):
        dense = BinaryDense(rng.choice([-1, 1], (4, terms)))
        found.append((dense, (IntType((terms,), *BIPOLAR),), Fold("folded", 2, terms)))
    rows = rng.choice([-1, 1], (1, 4, 3, 3)) * np.where(rng.random((8, 4, 3, 3)) < 0.2, -1, 1)
    rows *= rng.choice([-1, 1], (8, 1, 1, 1))  # every other channel is nearly the complement of the rest
    found.append((BinaryConv2d(rows, pads=(1, 0, 2, 1)), (IntType((4, 4, 3), *BIPOLAR),), Fold("unrolled")))
    weight = rng.integers(-128, 128, (6, 2, 3, 2))
    strided = Conv2d(weight, stride=(2, 3), pads=(2, 1, 0, 3), dilation=(1, 2), groups=2)
    found.append((strided, (IntType((4, 5, 6), -(1 << 15), (1 << 15) - 1),), Fold("folded", 3, 4)))
    scaled = Add(np.array([-32767]), rng.integers(-9, 9, 3))
    found.append((scaled, (IntType((3, 2, 2), -5, 900), IntType((3, 2, 2), 0, 1 << 16)), Fold()))
    return found


def test_every_operator_equals_the_reference(tmp_path: Path) -> None:
    draw = parity.seeded(2026)
    operators = random_operators(draw) + chosen_operators()
    made = bundle([(op, types) for op, types, _ in operators])
    folds = pixel_folds(made.graph) | {f"op{k}": fold for k, (_, _, fold) in enumerate(operators)}
    hls.lower(made.graph, folds, BOARD, tmp_path / "hls")
    x = made.graph.input_type.random(np.random.default_rng(0), FRAMES)
    y, expected = HlsEngine(tmp_path / "hls").run(x), ReferenceEngine(made.graph).run(x)
    assert y.dtype == np.int64 and y.shape == expected.shape
    wrong = {
        f"op{k} {op.kind()} {types[0]} {fold}": int(np.count_nonzero(y[:, span] != expected[:, span]))
        for k, ((op, types, fold), span) in enumerate(zip(operators, made.spans, strict=True))
    }
    assert {name: count for name, count in wrong.items() if count} == {}
    varied = {op.kind() for (op, *_), span in zip(operators, made.spans, strict=True) if np.ptp(expected[:, span])}
    assert varied == {kind.kind() for kind in parity.KINDS}


@pytest.mark.parametrize("groups", [1, 2])
def test_an_unrolled_binary_layer_sums_the_trees_terms_only(groups: int) -> None:
    rng = np.random.default_rng(0)
    layer = BinaryConv2d(rng.choice([-1, 1], (16, 4 // groups, 3, 3)), groups=groups)
    call = layer.hls(Fold("unrolled"), IntType((4, 5, 5), -1, 1, 2))
    trees = [spanning_tree(rows) for rows in np.split(layer.hardware_rows(), groups)]
    summed = sum(int(word).bit_count() for word in call.tables["deltas"].values.flat)
    assert call.kernel == "eq_binary_tree" and np.count_nonzero(call.tables["links"].values == 0) == groups
    assert summed == sum(tree.additions for tree in trees) < layer.weight.size


def small_graph() -> Graph:
    """A convolution, a fork, a residual addition with names that no file may hold."""
    rng = np.random.default_rng(1)
    nodes = [
        Node(HOSTILE, Conv2d(rng.integers(-8, 8, (4, 3, 3, 3)), pads=(1, 1, 1, 1)), (f"in{HOSTILE}",), "a"),
        Node("b", Threshold(rng.integers(-50, 50, (4, 3)), rng.integers(0, 2, 4), -1), ("a",), f"t{HOSTILE}"),
        Node("c", Add(ONE, ONE), (f"t{HOSTILE}", f"t{HOSTILE}"), "y"),
    ]
    return Graph(f"in{HOSTILE}", IntType((3, 6, 5), -8, 7), nodes, "y")


def pixel_folds(graph: Graph) -> dict[str, Fold]:
    return {node.name: Fold() for node in graph.nodes}


def test_hls4ml_compile_and_predict_give_the_same_integers(tmp_path: Path) -> None:
    graph = small_graph()
    model = hls.build(graph, pixel_folds(graph), BOARD, tmp_path)
    model.compile()
    x = graph.input_type.random(np.random.default_rng(0), 8)
    y = model.predict(np.ascontiguousarray(np.moveaxis(x, 1, -1), dtype=np.float32))
    expected = ReferenceEngine(graph).run(x)
    assert np.array_equal(np.moveaxis(y.reshape(8, 6, 5, 4), -1, 1), expected)
    assert np.ptp(expected) > 0


def test_the_project_is_the_same_twice_and_free_of_the_models_names(tmp_path: Path) -> None:
    graph = small_graph()
    files = []
    for folder in (tmp_path / "one", tmp_path / "another place"):
        hls.lower(graph, pixel_folds(graph), BOARD, folder)
        files.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert files[0] == files[1]
    assert not any(b"touch /tmp" in data for data in files[0].values())
    assert f'set part "{BOARD.part}"'.encode() in files[0][Path("project.tcl")]
    assert b"not run here" in files[0][Path("README.md")].lower()
    assert {Path("build_prj.tcl"), Path("build_opt.tcl"), Path("firmware/nnet_utils/eq_conv2d.h")} <= files[0].keys()


def test_every_header_is_the_cpp11_that_build_prj_asks_for(tmp_path: Path) -> None:
    hls.lower(small_graph(), pixel_folds(small_graph()), BOARD, tmp_path)
    headers = sorted((tmp_path / "firmware" / "nnet_utils").glob("eq_*.h"))
    assert {f"eq_{kind.__module__.rsplit('.', 1)[1]}.h" for kind in parity.KINDS} <= {h.name for h in headers}
    (tmp_path / "all.cpp").write_text("".join(f'#include "firmware/nnet_utils/{h.name}"\n' for h in headers))
    flags = ["-std=c++11", "-fsyntax-only", "-w", "-Ifirmware/ap_types"]
    subprocess.run(["g++", *flags, "all.cpp"], cwd=tmp_path, check=True)


class Native(Op):
    """An operator that asks for one of hls4ml's own layers."""

    def __init__(self, layer: dict[str, object]) -> None:
        self.layer = layer

    def infer(self, *xs: IntType) -> IntType:
        return xs[0]

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        return HlsCall(native=self.layer)

    reference = to_onnx = rtl = schedule = cost = None  # type: ignore[assignment]


def native_pool(**changes: int) -> dict[str, object]:
    (x,) = (IntType((1, 4, 4), 0, 3),)
    return dict(MaxPool((2, 2), (2, 2)).hls(Fold(), x).native or {}) | changes


@pytest.mark.parametrize(
    "layer",
    [
        *({"class_name": kind} for kind in (*hls.KNOWN_WRONG, "Activation")),
        {"class_name": "Merge", "op": "multiply"},
        native_pool(stride_height=1),
        native_pool(pad_left=1),
        native_pool(pool_height=3, stride_height=3),
    ],
    ids=lambda layer: "-".join(str(v) for v in layer.values())[:40],
)
def test_a_native_layer_that_is_not_exact_is_refused(layer: dict[str, object], tmp_path: Path) -> None:
    graph = Graph("x", IntType((1, 4, 4), 0, 3), [Node("n", Native(layer), ("x",), "y")], "y")
    with pytest.raises(EdgeqError, match=r"may not be used|is exact for") as caught:
        hls.lower(graph, pixel_folds(graph), BOARD, tmp_path)
    assert caught.value.where == "n"


@pytest.mark.parametrize("change", ["drop a node", "change a type", "change a table", "drop a call"])
def test_a_change_by_hls4mls_optimizers_is_an_error(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = hls._check_model

    def tampered(model, *rest) -> None:  # type: ignore[no-untyped-def]
        node = list(model.get_layers())[1]
        if change == "drop a node":
            del model.graph[node.name]
        elif change == "change a type":
            node.get_output_variable().type.precision.width += 1
        elif change == "change a table":
            node.weights["weights"].data = node.weights["weights"].data + 1
        else:
            node.set_attr("function_cpp", None)
        check(model, *rest)

    monkeypatch.setattr(hls, "_check_model", tampered)
    with pytest.raises(EdgeqError, match="hls4ml"):
        hls.lower(small_graph(), pixel_folds(small_graph()), BOARD, tmp_path)


def test_a_table_that_hls4ml_writes_wrongly_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls, "optimize_model", lambda model, passes: _write_with_a_wrong_weight(model, tmp_path))
    with pytest.raises(EdgeqError, match="wrote the table weights2 wrongly"):
        hls.lower(small_graph(), pixel_folds(small_graph()), BOARD, tmp_path)


def _write_with_a_wrong_weight(model, out: Path) -> None:  # type: ignore[no-untyped-def]
    model.write()
    path = out / "firmware" / "weights" / "weights2.txt"
    first, rest = path.read_text().split(",", 1)
    path.write_text(f"{int(first) + 1},{rest}")


def test_more_readers_than_hls4ml_can_fork_is_an_error(tmp_path: Path) -> None:
    graph = Graph("x", IntType((2,), 0, 3), [Node("a", Rearrange((2,), (0,), (2,)), ("x",), "a")], "y4")
    graph.nodes += [Node(f"n{i}", Add(ONE, ONE), (("a", f"y{i - 1}") if i else ("a", "a")), f"y{i}") for i in range(7)]
    graph.output = "y6"
    with pytest.raises(EdgeqError, match="8 operators read"):
        hls.lower(graph, pixel_folds(graph), BOARD, tmp_path)


def test_ends_too_wide_for_a_double_are_an_error(tmp_path: Path) -> None:
    graph = Graph("x", IntType((2,), 0, 1 << 53), [Node("a", Rearrange((2,), (0,), (2,)), ("x",), "y")], "y")
    hls.lower(graph, pixel_folds(graph), BOARD, tmp_path)
    with pytest.raises(EdgeqError, match="at most 53 bits"):
        HlsEngine(tmp_path)


def test_a_crash_or_a_bad_project_is_an_error_not_a_result(tmp_path: Path) -> None:
    graph = Graph("x", IntType((2,), -3, 3), [Node("a", Rearrange((2,), (0,), (2,)), ("x",), "y")], "y")
    hls.lower(graph, pixel_folds(graph), BOARD, tmp_path / "hls")
    source = tmp_path / "hls" / "firmware" / "edgeq.cpp"
    good = source.read_text()
    source.write_text(good + "\nstruct Bomb { Bomb() { __builtin_trap(); } } bomb;\n")
    with pytest.raises(EdgeqError, match="killed by signal"):
        HlsEngine(tmp_path / "hls").run(np.zeros((1, 2), np.int64))
    source.write_text(good + "\nthis is not C++\n")
    with pytest.raises(EdgeqError, match="g\\+\\+ refused"):
        HlsEngine(tmp_path / "hls")


def test_without_a_compiler_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hls.lower(small_graph(), pixel_folds(small_graph()), BOARD, tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(EdgeqError, match="needs g"):
        HlsEngine(tmp_path)
