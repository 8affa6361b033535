"""The command line: exit codes, JSON, and bad input, which writes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 6)


def edgeq(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeq.cli", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


def quantized_dense(
    scale: float = 0.25, op_type: str = "Relu", name: str = "relu", features: int = 6, outputs: int = 4
) -> onnx.ModelProto:
    """Quant -> MatMul by quantized weights -> op -> Quant."""
    rng = np.random.default_rng(3)
    constants = {
        "s": np.float32(scale), "z": np.float32(0), "b4": np.float32(4), "b8": np.float32(8),
        "w": rng.integers(-8, 8, (features, outputs)).astype(np.float32) / 4, "ws": np.float32(0.25),
    }  # fmt: skip
    quant = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [
        helper.make_node("Quant", ["x", "s", "z", "b8"], ["xq"], name="quant_in", **quant),
        helper.make_node("Quant", ["w", "ws", "z", "b4"], ["wq"], name="quant_w", **quant),
        helper.make_node("MatMul", ["xq", "wq"], ["acc"], name="matmul"),
        helper.make_node(op_type, ["acc"], ["act"], name=name),
        helper.make_node("Quant", ["act", "ws", "z", "b4"], ["y"], name="quant_out", **quant),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("qonnx.custom_op.general", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refused(tmp_path: Path, *args: object, says: str) -> str:
    """Exit code 1, a message that holds `says`, no traceback, and nothing left behind."""
    before = sorted(tmp_path.rglob("*"))
    done = edgeq(*args, cwd=tmp_path)
    message = done.stderr.replace("\n", " ")
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert says in message and "Traceback" not in message, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path, "export", "nowhere.onnx", "-o", "out", says="nowhere.onnx")


def test_a_truncated_file(tmp_path: Path) -> None:
    whole = quantized_dense().SerializeToString()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, "export", "half.onnx", "-o", "out", says="half.onnx")


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("this is not a model\n" * 20)
    refused(tmp_path, "export", "model.onnx", "-o", "out", says="model.onnx")


def test_an_unsupported_operator(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", quantized_dense(op_type="Tanh", name="squash"))
    message = refused(tmp_path, "export", "m.onnx", "-o", "out", says="Tanh")
    assert "squash" in message and "fix:" in message


@pytest.mark.parametrize("scale", [float("nan"), -0.5, 0.0, float("inf")])
def test_an_impossible_scale(tmp_path: Path, scale: float) -> None:
    write(tmp_path / "m.onnx", quantized_dense(scale))
    refused(tmp_path, "export", "m.onnx", "-o", "out", says="scale")


def test_a_dynamic_shape(tmp_path: Path) -> None:
    model = quantized_dense()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    write(tmp_path / "m.onnx", model)
    refused(tmp_path, "export", "m.onnx", "-o", "out", says="x")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "missing.bin"])
def test_external_data(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    folder = tmp_path / "model"
    folder.mkdir()
    model = quantized_dense()
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    write(folder / "m.onnx", model)
    refused(tmp_path, "export", folder / "m.onnx", "-o", "out", says=location)


def test_a_huge_declared_weight(tmp_path: Path) -> None:
    model = quantized_dense()
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    tensor.dims[:] = [100_000, 100_000]
    write(tmp_path / "m.onnx", model)
    refused(tmp_path, "export", "m.onnx", "-o", "out", says="100000")


def test_a_board_that_is_not_known(tmp_path: Path) -> None:
    message = refused(tmp_path, "synth", "out", "--board", "ultra97", "-o", "build", says="ultra97")
    assert "ultra96" in message and "kv260" in message


def test_a_fold_file_that_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", quantized_dense())
    assert edgeq("export", "m.onnx", "-o", "e", cwd=tmp_path).returncode == 0
    synth = ("synth", "e", "--board", "ultra96", "-o", "b/c", "--fold", "fold.toml")
    (tmp_path / "fold.toml").write_text('[dense_0]\nmode = "folded"\npe = 5\nsimd = 1\n')
    refused(tmp_path, *synth, says="fold.toml: [dense_0]: the operator cannot be built as pe 5, simd 1")
    (tmp_path / "fold.toml").write_text('[dense_0]\nmode = "folded"\npe = 1\nsimd = 1\n')
    refused(tmp_path, *synth, "--fps", 100e6, says="takes 24 with the fold that is given")


def test_folders_that_edgeq_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path, "verify", "empty", says="edgeq export")
    refused(tmp_path, "sim", "empty", says="edgeq synth")
    refused(tmp_path, "synth", "empty", "--board", "ultra96", "-o", "build", says="edgeq export")


def test_usage_errors_exit_with_2(tmp_path: Path) -> None:
    assert edgeq("export", cwd=tmp_path).returncode == 2
    assert edgeq("sim", "b", "--engine", "gpu", cwd=tmp_path).returncode == 2


def test_an_output_directory_that_exists(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", quantized_dense())
    assert edgeq("export", "m.onnx", "-o", "out", cwd=tmp_path).returncode == 0
    refused(tmp_path, "export", "m.onnx", "-o", "out", says="--force")
    assert edgeq("export", "m.onnx", "-o", "out", "--force", cwd=tmp_path).returncode == 0
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    refused(tmp_path, "export", "m.onnx", "-o", "precious", "--force", says="did not write")


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", quantized_dense())
    assert edgeq("export", "m.onnx", "-o", "out", cwd=tmp_path).returncode == 0
    with np.load(tmp_path / "out" / "vectors.npz") as pack:
        arrays = dict(pack)
    arrays["outputs"][3, 1] += 1
    np.savez(tmp_path / "out" / "vectors.npz", **arrays)
    refused(tmp_path, "verify", "out", says="golden outputs")


def test_a_model_too_big_for_the_board(tmp_path: Path) -> None:
    """16 Mbit of weights; the ZU3EG has 7.6 Mbit of block RAM."""
    write(tmp_path / "m.onnx", quantized_dense(features=2048, outputs=2048))
    assert edgeq("export", "m.onnx", "-o", "out", "--samples", 4, cwd=tmp_path).returncode == 0
    message = refused(tmp_path, "synth", "out", "--board", "ultra96", "-o", "build", says="bram36")
    assert "matmul" in message


def test_export_is_deterministic_and_hostile_names_stay_out(tmp_path: Path) -> None:
    """The whole path on a model whose node names are attacks; twice, with the same bytes."""
    model = quantized_dense(name='"; system("touch owned"); //`$(touch owned)')
    for node in model.graph.node:
        if node.name != "quant_w":
            node.name += '"; system("'
    write(tmp_path / "m.onnx", model)
    trees = []
    for n in (1, 2):
        assert edgeq("export", "m.onnx", "-o", f"e{n}", cwd=tmp_path).returncode == 0
        done = edgeq("synth", f"e{n}", "--board", "ultra96", "-o", f"b{n}", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        files = [p for folder in (f"e{n}", f"b{n}") for p in sorted((tmp_path / folder).rglob("*")) if p.is_file()]
        trees.append({str(p.relative_to(tmp_path))[3:]: p.read_bytes() for p in files})
    assert trees[0] == trees[1]
    for path in (tmp_path / "b1").rglob("*"):
        if path.is_file() and path.suffix not in (".json", ".onnx", ".npz"):
            assert b"system(" not in path.read_bytes() or b"touch owned" not in path.read_bytes(), path
            assert b"touch owned" not in path.read_bytes(), path
    done = edgeq("sim", "b1", "--json", "--samples", 50, "--stalls", 7, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    engines = json.loads(done.stdout)["engines"]
    assert {name: e["mismatches"] for name, e in engines.items()} == {"hls": 0, "rtl": 0}
    assert all(e["values"] == 200 for e in engines.values())
    keys = {"board", "clock_mhz", "cycles_per_frame", "operators", "total", "budget"}
    assert keys <= set(report) and report == json.loads((tmp_path / "b1" / "report.json").read_text())
    done = edgeq("sim", "b1", "--json", "--engine", "rtl", cwd=tmp_path)
    simulated = json.loads(done.stdout)["engines"]["rtl"]
    assert {name: simulated[name] for name in ("cycles_per_frame", "latency_cycles")}.items() <= report.items()
    assert not (tmp_path / "owned").exists()


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "export.json").write_text('{"source": "m.onnx"}')
    done = edgeq("synth", "export", "--board", "ultra96", "-o", "build", cwd=tmp_path)
    assert done.returncode == 1 and "another version of edgeq wrote this folder" in done.stderr
    assert not (tmp_path / "build").exists()
