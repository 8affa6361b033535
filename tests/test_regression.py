"""Whole data sets over workers: the same results, byte for byte, for every number of workers and every size of a chunk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import cluster

from edgeq import flow, regression
from edgeq.board import board
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import VerilatorEngine
from edgeq.errors import EdgeqError
from edgeq.folding import Target
from edgeq.frontend.qonnx import input_floats, random_inputs
from edgeq.lower import onnx as lower_onnx
from edgeq.ui import Ui

UI = Ui(quiet=True)
FRAMES = 300
MODULE = """
from pathlib import Path
import brevitas.nn as qnn
from torch import nn

(Path(__file__).parent / "imported").touch()

def make():
    return nn.Sequential(
        qnn.QuantIdentity(bit_width=4, return_quant_tensor=True), qnn.QuantConv2d(1, 3, 3, bias=False, weight_bit_width=3),
        nn.BatchNorm2d(3), qnn.QuantReLU(bit_width=3, return_quant_tensor=True), nn.Flatten(),
        qnn.QuantLinear(48, 4, bias=False, weight_bit_width=3),
    )
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cluster's programs run and keep their caches."""
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """Two workers that share a cache with each other, and no folder with this process."""
    with cluster(place, 2) as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a module with scales that float32 does not hold, its build, and a data file with labels."""
    import torch

    from edgeq.frontend.brevitas import load_module

    made = tmp_path_factory.mktemp("network")
    (made / "net.py").write_text(MODULE)
    torch.manual_seed(2)
    module = load_module(f"{made / 'net.py'}:make")
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(16, 1, 6, 6))
    torch.save(module.state_dict(), made / "net.pt")
    flow.export(
        f"{made / 'net.py'}:make", made / "export", weights=made / "net.pt", input_shape=(1, 1, 6, 6), input_type=None,
        samples=5, seed=0, data=None, force=False, ui=UI,
    )  # fmt: skip
    flow.synth(made / "export", board("ultra96"), made / "build", target=Target(), estimate="model", force=False, ui=UI)
    graph = lower_onnx.load(made / "export" / flow.INTEGER_FILE)
    codes, floats = random_inputs(graph, FRAMES, 1)
    outputs = ReferenceEngine(graph).run(codes)
    np.savez(made / "data.npz", x=floats, y=np.where(np.arange(FRAMES) % 3, outputs.argmax(axis=1), 0))
    return made


def without_times(result: dict[str, Any]) -> str:
    """The JSON of a result, but for its rates."""
    text = json.dumps(result)
    for engine in result["engines"].values():
        assert engine["frames_per_second"] > 0
        text = text.replace(f'"frames_per_second": {json.dumps(engine["frames_per_second"])}', "")
    assert "second" not in text
    return text


def verify(export: Path, data: Path, **where: Any) -> dict[str, Any]:
    return flow.verify(export, samples=None, seed=0, data=data, ui=UI, **where)


def sim(build: Path, data: Path | None, stalls: int | None = None, **where: Any) -> dict[str, Any]:
    return flow.sim(build, samples=None, seed=0, data=data, engine="rtl", stalls=stalls, trace=None, ui=UI, **where)


def test_verification_does_not_depend_on_workers(
    folder: Path, place: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted error in the integer file, and scales at which float32 differs: all counts and the first difference."""
    graph = lower_onnx.load(folder / "export" / flow.INTEGER_FILE)
    nodes = list(graph.nodes)
    index = next(i for i, n in enumerate(nodes) if n.op.kind() == "Threshold")
    op: Any = nodes[index].op
    thresholds = op.thresholds.copy()
    thresholds[1, 2] += 1
    nodes[index] = replace(nodes[index], op=replace(op, thresholds=thresholds))
    wrong = folder / "wrong"
    shutil.copytree(folder / "export", wrong)
    lower_onnx.save(replace(graph, nodes=nodes), wrong / flow.INTEGER_FILE)
    one = verify(wrong, folder / "data.npz", workers=1)
    assert set(one["engines"]) == {"reference", "onnxruntime", "qonnx", "pytorch"}
    assert all(e["frames"] == FRAMES for e in one["engines"].values())
    assert 0.5 < one["accuracy"]["onnxruntime"] < 1
    others = [verify(wrong, folder / "data.npz", scheduler=address)]
    assert list(place.rglob("imported")), "the module did not go to the workers"
    with monkeypatch.context() as patch:
        for size in (64, 1 << 20):
            patch.setattr(regression, "VERIFY_FRAMES", size)
            others.append(verify(wrong, folder / "data.npz"))
    assert {without_times(r) for r in others} == {without_times(one)}
    first = one["engines"]["pytorch"]["first_difference"]
    assert (first["operator"], first["element"][1]) == (nodes[index].name, 1)
    assert one["engines"]["qonnx"]["mismatches"] > 0


def mutated(build: Path, to: Path) -> list[Path]:
    """Copies of a build, each with another bit of its memory images wrong."""
    images = sorted(p for p in (build / "rtl").iterdir() if p.suffix in (".hex", ".mem") and p.stat().st_size > 40)
    made = []
    for n, image in enumerate(images):
        copy = to / f"mutant{n}"
        shutil.copytree(build, copy)
        lines = image.read_text().splitlines()
        at = len(lines) // 2
        lines[at] = lines[at][:-1] + f"{int(lines[at][-1], 16) ^ 1:x}"
        (copy / "rtl" / image.name).write_text("\n".join(lines) + "\n")
        made.append(copy)
    return made


def test_simulation_does_not_depend_on_workers(
    folder: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = folder / "build"
    graph = lower_onnx.load(build / flow.INTEGER_FILE)
    wrong = mutated(build, tmp_path)[0]
    codes, _ = random_inputs(graph, FRAMES, 2)
    report = json.loads((build / flow.REPORT_FILE).read_text())
    engine = VerilatorEngine(
        wrong / "rtl", graph.input_type, graph.types()[graph.output], beat=report["input"]["pixels_per_beat"]
    )
    expected = ReferenceEngine(graph).run(codes)
    differs = (expected != engine.run(codes)).any(axis=1)
    assert 20 < differs.sum() < FRAMES - 60
    good, bad = np.flatnonzero(~differs), np.flatnonzero(differs)
    order = np.concatenate([good[:45], bad[:7], good[45:60], bad[7:20]])
    np.savez(tmp_path / "data.npz", x=input_floats(graph, codes[order]), y=expected[order].argmax(axis=1))
    results = []
    for cycles, where in ((1 << 20, {"workers": 1}), (1 << 10, {"workers": 2}), (1 << 11, {"scheduler": address}), (1 << 10, {})):
        monkeypatch.setitem(regression.CHUNK_CYCLES, "rtl", (cycles, cycles))
        results.append(sim(wrong, tmp_path / "data.npz", **where))
    found = results[0]["engines"]["rtl"]
    assert found["mismatches"] == (engine.run(codes[order]) != expected[order]).sum()
    assert found["first_difference"]["element"][0] == 45
    assert found["frames"] == len(order) and results[0]["accuracy"]["rtl"] >= 60 / len(order)
    assert len({without_times(r) for r in results}) == 1
    both = flow.regress(
        [build, wrong], samples=None, seed=0, data=tmp_path / "data.npz", engine="rtl", stalls=3, trace=None, scheduler=address,
        workers=None, ui=UI,
    )["builds"]  # fmt: skip
    assert both[str(build)]["engines"]["rtl"]["mismatches"] == 0 < both[str(wrong)]["engines"]["rtl"]["mismatches"]
    stalled = sim(wrong, tmp_path / "data.npz", stalls=3)["engines"]["rtl"]
    assert stalled["first_difference"] == found["first_difference"] and "latency_cycles" not in stalled


def test_a_constant_output_is_one_of_the_whole_set(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReferenceEngine, "run", lambda self, x: (x[:, :, 0, :1] > 0).astype(np.int64).reshape(len(x), 1))
    monkeypatch.setattr(VerilatorEngine, "run", lambda self, x, stalls, trace: ReferenceEngine.run(self, x))  # type: ignore[arg-type]
    monkeypatch.setitem(regression.CHUNK_CYCLES, "rtl", (0, 0))
    signs = np.ones((8, 1, 6, 6), np.float32)
    np.savez(tmp_path / "same.npz", x=signs)
    with pytest.raises(EdgeqError, match="constant over 8 frames"):
        sim(folder / "build", tmp_path / "same.npz")
    signs[4:] = -1  # every chunk of 4 frames has a constant output
    np.savez(tmp_path / "differ.npz", x=signs)
    assert sim(folder / "build", tmp_path / "differ.npz")["engines"]["rtl"]["mismatches"] == 0


@pytest.mark.parametrize(
    ("frames", "cycles", "size"),
    [(100, 4096, 16), (100, 8192, 8), (10000, 8192, 64), (100, 1, 2048), (10000, 1, 2048), (20000, 1024, 512), (5, 1 << 30, 4)],
)
def test_the_size_of_a_chunk(frames: int, cycles: int, size: int) -> None:
    assert regression.chunk_frames(frames, cycles, ("hls", "rtl")) == size


def test_a_trace_is_of_one_simulation(folder: Path, tmp_path: Path) -> None:
    for builds, where in (([folder / "build"] * 2, {}), ([folder / "build"], {"workers": 2})):
        with pytest.raises(EdgeqError, match="one simulation"):
            flow.regress(
                builds, samples=9, seed=0, data=None, engine="rtl", stalls=None, trace=tmp_path / "t.vcd", ui=UI,
                **({"scheduler": None, "workers": None} | where),
            )  # fmt: skip
