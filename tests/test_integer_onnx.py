"""The integer ONNX file: plain onnxruntime runs it, it holds integers only, it is deterministic, and a bad one is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import parity
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.engines.ort import OrtEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.lower.onnx import DOMAIN, load, save, to_model
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold

EACH_KIND = pytest.mark.parametrize("kind", parity.KINDS, ids=lambda kind: kind.kind())
INTEGERS = {TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
INTEGERS |= {TensorProto.UINT32, TensorProto.UINT64}  # what BitShift takes


def small() -> Graph:
    """Two convolutions of one geometry with a threshold between, and metadata."""
    rng = np.random.default_rng(3)
    x = IntType((2, 5, 4), -1, 1, 2)
    weights = [2 * rng.integers(0, 2, (2, 2, 3, 3)) - 1 for _ in range(2)]
    sign = Threshold(np.array([[0], [1]]), np.array([0, 1]), -1, 2)
    convs = [Conv2d(w, pads=(1, 1, 1, 1)) for w in weights]
    nodes = [Node("c1", convs[0], ("x",), "a"), Node("t", sign, ("a",), "b"), Node("c2", convs[1], ("b",), "y")]
    return Graph("x", x, nodes, "y", {"real": {"y": {"scale": ["1/3"], "source": "näme"}}})


def inlined(graph: Graph) -> onnx.GraphProto:
    """The graph of standard operators that a runtime sees, with the element type of every tensor."""
    return onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(to_model(graph)), strict_mode=True).graph


@EACH_KIND
@pytest.mark.parametrize("seed", range(4))
def test_the_checker_accepts_every_operator(kind: type[Op], seed: int) -> None:
    onnx.checker.check_model(to_model(parity.varied_case(kind, seed).graph), full_check=True)


@EACH_KIND
@pytest.mark.parametrize("seed", range(4))
def test_every_tensor_is_an_integer_and_products_are_of_unsigned_bytes(kind: type[Op], seed: int) -> None:
    graph = inlined(parity.varied_case(kind, seed).graph)
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    types |= {t.name: t.data_type for t in graph.initializer}
    others = {name: types[name] for n in graph.node for name in (*n.input, *n.output) if types[name] not in INTEGERS}
    roots = {name for n in graph.node if n.op_type == "Sqrt" for name in (*n.input, *n.output)}
    # A root's first guess, which integers correct, whatever it is off by.
    assert all(name in roots and t == TensorProto.DOUBLE for name, t in others.items())
    # u8 x u8 is the one form that is exact without VNNI too (docs/design.md, "Integer ONNX").
    sums = [types[name] for n in graph.node if n.op_type in ("ConvInteger", "MatMulInteger") for name in n.input]
    assert set(sums) <= {TensorProto.UINT8}
    # onnxruntime's Min and Max of int64 are wrong where bit 31 is set.
    assert not [n.name for n in graph.node if n.op_type in ("Min", "Max", "Clip") and types[n.input[0]] == TensorProto.INT64]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_plain_session_takes_any_batch(tmp_path: Path, batch: int) -> None:
    graph = small()
    save(graph, tmp_path / "m.onnx")
    x = graph.input_type.random(np.random.default_rng(0), batch)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x.astype(np.int8)})
    assert y.dtype == np.int8 and np.array_equal(y, ReferenceEngine(graph).run(x))
    assert np.ptp(y) > 0


def test_the_engine_gives_the_same_in_batches_of_any_size(tmp_path: Path) -> None:
    graph = small()
    save(graph, tmp_path / "m.onnx")
    x = graph.input_type.random(np.random.default_rng(0), 11)
    assert np.array_equal(OrtEngine(tmp_path / "m.onnx", batch=4).run(x), ReferenceEngine(graph).run(x))


def test_nodes_keep_names_and_share_functions() -> None:
    model = to_model(small())
    assert [(n.name, n.domain, n.op_type) for n in model.graph.node] == [
        ("c1", DOMAIN, "Conv2d"), ("t", DOMAIN, "Threshold"), ("c2", DOMAIN, "Conv2d"),
    ]  # fmt: skip
    assert sorted(f.name for f in model.functions) == ["Conv2d", "Threshold"]


def test_metadata_survives(tmp_path: Path) -> None:
    graph = small()
    save(graph, tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    assert (loaded.meta, loaded.input_type, loaded.types()) == (graph.meta, graph.input_type, graph.types())


def test_the_same_graph_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_integer_onnx as t;"
        "t.save(t.small(), Path(sys.argv[2]))"
    )
    files = [tmp_path / f"{seed}.onnx" for seed in (1, 2)]
    for seed, path in enumerate(files, 1):
        command = [sys.executable, "-c", code, str(Path(__file__).parent), str(path)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": str(seed)})
    save(small(), tmp_path / "3.onnx")
    assert files[0].read_bytes() == files[1].read_bytes() == (tmp_path / "3.onnx").read_bytes()


@pytest.mark.parametrize("rounding", ["floor", "half_even"])
def test_a_requantize_clips_exactly_past_31_bits(tmp_path: Path, rounding: str) -> None:
    x = IntType((40,), 0, (1 << 20) - 1)
    op = Requantize(np.array([1 << 13]), np.array([5]), 1, rounding, 3, (1 << 31) + 12)
    case = parity.case_of(op, (x,))
    assert parity.onnx_mismatches(case, tmp_path) == 0
    assert case.y.max() == op.hi


def test_a_max_pool_is_exact_past_31_bits(tmp_path: Path) -> None:
    edges = np.array([1 << 31, (1 << 31) - 1, -(1 << 31), 0, (1 << 32) - 1, 5, 1 << 32, (1 << 31) + 9])
    case = parity.case_of(MaxPool((2, 2)), (IntType((1, 8, 9), -(1 << 32), 1 << 33),))
    x = np.random.default_rng(0).choice(edges, (6, 1, 8, 9))
    wide = parity.Case(case.op, case.types, case.graph, case.built, x, ReferenceEngine(case.graph).run(x))
    assert parity.onnx_mismatches(wide, tmp_path) == 0


@pytest.mark.parametrize("pads", [(0, 0, 1, 0), (0, 0, 0, 1)])
def test_a_max_pool_may_be_padded_by_its_kernel(tmp_path: Path, pads: tuple[int, int, int, int]) -> None:
    case = parity.case_of(MaxPool((1, 1), stride=(2, 2), pads=pads), (IntType((2, 3, 3), -9, 9),))
    assert case.varied and parity.onnx_mismatches(case, tmp_path) == 0


def damage(edit: Callable[[onnx.ModelProto], object]) -> Callable[[onnx.ModelProto], bytes]:
    def apply(model: onnx.ModelProto) -> bytes:
        edit(model)
        return model.SerializeToString()

    return apply


def set_props(**changes: object) -> Callable[[onnx.ModelProto], bytes]:
    def edit(model: onnx.ModelProto) -> None:
        props = json.loads(model.metadata_props[0].value)
        model.metadata_props[0].value = json.dumps(props | changes)

    return damage(edit)


def set_attribute(node: int, name: str, value: object) -> Callable[[onnx.ModelProto], bytes]:
    def edit(model: onnx.ModelProto) -> None:
        kept = [a for a in model.graph.node[node].attribute if a.name != name]
        del model.graph.node[node].attribute[:]
        model.graph.node[node].attribute.extend([*kept, helper.make_attribute(name, value)])
        arrays = [x for x in model.graph.node[node].input if not x.endswith(f".{name}")]
        del model.graph.node[node].input[:]
        model.graph.node[node].input.extend(arrays)

    return damage(edit)


def set_initializer(array: np.ndarray) -> Callable[[onnx.ModelProto], bytes]:
    return damage(lambda m: m.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, m.graph.initializer[0].name)))


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    tensor.ClearField("raw_data")


def huge(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([100_000, 100_000])


def symbolic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "C"


HOSTILE: dict[str, tuple[Callable[[onnx.ModelProto], bytes], str]] = {
    "empty": (lambda m: b"", "not an integer ONNX file"),
    "text": (lambda m: b"hello, this is no model\n" * 40, "not an integer ONNX file"),
    "truncated": (lambda m: m.SerializeToString()[:-40], "not an integer ONNX file"),
    "truncated in half": (lambda m: m.SerializeToString()[: m.ByteSize() // 2], "not an integer ONNX file"),
    "a float model": (damage(lambda m: m.ClearField("metadata_props")), "not an integer ONNX file"),
    "external data": (damage(external), "is external or too large"),
    "huge dims": (damage(huge), "is external or too large"),
    "dims without data": (damage(lambda m: m.graph.initializer[0].dims.__setitem__(0, 50_000)), "not an integer ONNX file"),
    "float weights": (set_initializer(np.full((2, 2, 3, 3), 0.5, np.float32)), "not of an integer type"),
    "string weights": (set_initializer(np.array([b"a"], dtype=object)), "not of an integer type"),
    "empty weights": (set_initializer(np.zeros((0, 2, 3, 3), np.int8)), "not an integer ONNX file"),
    "weights of another shape": (set_initializer(np.ones((2, 2), np.int8)), "weights of a convolution"),
    "weights too wide": (set_initializer(np.full((2, 2, 3, 3), 300, np.int32)), "weights reach"),
    "unknown operator": (damage(lambda m: setattr(m.graph.node[0], "op_type", "Exec")), "edgeq.Exec is not edgeq's"),
    "foreign domain": (damage(lambda m: setattr(m.graph.node[0], "domain", "evil")), "evil.Conv2d is not edgeq's"),
    "private name": (damage(lambda m: setattr(m.graph.node[0], "op_type", "Mac")), "is not edgeq's"),
    "unknown field": (set_attribute(0, "command", "rm -rf /"), "no field"),
    "fused field": (set_attribute(0, "post", 1), "post is not of the type"),
    "array as attribute": (set_attribute(1, "thresholds", [1, 2]), "is not of the type np.ndarray"),
    "text for a number": (set_attribute(0, "groups", "2"), "groups is not of the type int"),
    "fraction": (set_attribute(0, "groups", 1.5), "not an integer ONNX file"),
    "list of fractions": (set_attribute(0, "stride", [1.5, 1.0]), "not an integer ONNX file"),
    "short stride": (set_attribute(0, "stride", [1]), "stride is not of the type"),
    "long stride": (set_attribute(0, "stride", [1, 1, 1]), "stride is not of the type"),
    "zero stride": (set_attribute(0, "stride", [0, 1]), "stride"),
    "negative pads": (set_attribute(0, "pads", [-1, 0, 0, 0]), "pads"),
    "zero groups": (set_attribute(0, "groups", 0), "in 0 groups"),
    "huge pads": (set_attribute(0, "pads", [1 << 20, 1 << 20, 1 << 20, 1 << 20]), "the limit is"),
    "missing field": (damage(lambda m: m.graph.node[1].ClearField("attribute")), "not an integer ONNX file"),
    "missing input": (damage(lambda m: m.graph.node[0].ClearField("input")), "not an integer ONNX file"),
    "missing output": (damage(lambda m: m.graph.node[0].ClearField("output")), "not an integer ONNX file"),
    "dangling input": (damage(lambda m: m.graph.node[1].input.__setitem__(0, "no")), "before it is made"),
    "two inputs": (damage(lambda m: m.graph.input.append(m.graph.input[0])), "not an integer ONNX file"),
    "no outputs": (damage(lambda m: m.graph.ClearField("output")), "not an integer ONNX file"),
    "nodes out of order": (damage(lambda m: m.graph.node.reverse()), "before it is made"),
    "symbolic shape": (damage(symbolic), "has shape"),
    "fractional range": (set_props(input={"lo": 0.5, "hi": 1.5, "step": 1}), "not an integer ONNX file"),
    "nonsense range": (set_props(input={"lo": 1, "hi": 0, "step": 1}), "impossible range"),
    "nonsense input": (set_props(input=[1, 2]), "not an integer ONNX file"),
    "metadata of another type": (set_props(meta=[1]), "not an integer ONNX file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(tmp_path: Path, name: str) -> None:
    hurt, message = HOSTILE[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(hurt(to_model(small())))
    with pytest.raises(EdgeqError, match=message):
        load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "no.onnx", tmp_path):
        with pytest.raises(EdgeqError, match="no such file") as caught:
            load(path)
        assert caught.value.where == str(path)


@pytest.mark.parametrize("seed", range(60))
def test_a_file_with_flipped_bits_loads_or_is_refused(tmp_path: Path, seed: int) -> None:
    """Whatever the bytes are, load gives a checked graph or an EdgeqError: no other exception, no endless loop."""
    rng = np.random.default_rng(seed)
    data = bytearray(to_model(small()).SerializeToString())
    for at in rng.integers(0, len(data), 4):
        data[at] ^= 1 << int(rng.integers(8))
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(data))
    try:
        graph = load(path)
    except EdgeqError as error:
        assert str(error)
    else:
        y = ReferenceEngine(graph).run(graph.input_type.random(np.random.default_rng(0), 2))
        assert y.shape == (2, *graph.types()[graph.output].shape)
