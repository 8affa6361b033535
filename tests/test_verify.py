"""Comparison of engines: equal models pass, near ties are told from errors, and every planted error is found."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.export import export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int32Bias,
    ShiftedUint8ActPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFixedPoint,
)
from qonnx_models import Builder, engines, verify_qonnx
from torch import nn

from edgeq.errors import EdgeqError
from edgeq.frontend.brevitas import export_module, quiet
from edgeq.frontend.qonnx import apply_tail, execute, given_inputs, import_qonnx, random_inputs
from edgeq.graph import Graph
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.threshold import Threshold
from edgeq.verify import Part, Tally, classified, compare, first_difference, merged, verify_module

RNG = np.random.default_rng(0)


def prepared(model: Any, folder: Path, frames: int = 50) -> tuple[Graph, Path, np.ndarray, np.ndarray]:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    graph = import_qonnx(path)
    return graph, path, *random_inputs(graph, frames, 0)


def two_layers(scale: float = 0.25) -> Builder:
    b = Builder(2, 5, 5)
    x = b.op("Conv", b.quant("x", 0.5, 4), b.weight(RNG.normal(size=(4, 2, 2, 2)), 4, scale))
    x = b.quant(b.op("Relu", x), 0.5, 4, signed=0)
    b.op("Gemm", b.op("Flatten", x), b.weight(RNG.normal(size=(3, 64)), 4, scale), transB=1)
    return b


def test_power_of_two_models_are_equal_everywhere(tmp_path: Path) -> None:
    b = two_layers()
    graph, path, codes, floats = prepared(b.model(b.nodes[-1].output[0]), tmp_path)
    lower_onnx.save(graph, tmp_path / "int.onnx")
    results = engines(graph, tmp_path / "int.onnx", path, None, codes, floats)
    assert list(results) == ["reference", "onnxruntime", "qonnx"]
    for found in results.values():
        assert (found["mismatches"], found["near_ties"], found["max_tie_distance"], found["frames"]) == (0, 0, 0.0, 50)
        assert found["values"] >= 150
        assert found["frames_per_second"] > 0
        assert "first_difference" not in found


def tie_model(scale: float) -> Any:
    """Codes 0..255 of `scale` halved: every odd code is an exact tie, which float32 may miss."""
    b = Builder(256)
    return b.model(b.op("Relu", b.quant(b.quant("x", scale, 8, signed=0), 2 * scale, 6, signed=0)))


def test_float32_ties_are_near_ties_and_counted_with_their_distance(tmp_path: Path) -> None:
    found = []
    for scale in np.linspace(0.01, 0.9, 40).astype(np.float32):
        graph, path, _, _ = prepared(tie_model(float(scale)), tmp_path)
        codes = np.arange(256)[None]
        found.append(verify_qonnx(graph, path, codes, codes.astype(np.float32) * scale))
    assert all(r["mismatches"] == 0 for r in found)
    assert sum(r["near_ties"] for r in found) > 0
    assert all(r["max_tie_distance"] == 0.0 for r in found)  # the exact values are ties: float32 misses them


def test_a_near_tie_is_told_from_an_error(tmp_path: Path) -> None:
    b = Builder(64)
    x = b.op("Mul", b.op("Mul", b.quant("x", 1.0, 8, signed=0), b.const(0.7)), b.const(1 / 1.4))
    graph, path, _, _ = prepared(b.model(b.quant(x, 1.0, 7, signed=0)), tmp_path)
    codes = np.arange(64)[None]
    found = verify_qonnx(graph, path, codes, codes.astype(np.float32))
    assert found["mismatches"] == 0
    assert found["near_ties"] > 0  # 0.7 * (1 / 1.4) is not quite 0.5: float32 sees ties where there are none
    assert 0 < found["max_tie_distance"] < 1e-5
    record = graph.meta["real"][graph.meta["quantizers"][-1]]["quantizer"]
    assert 0 < record["error"][0] < 1e-3
    record["error"] = [0.0]
    assert verify_qonnx(graph, path, codes, codes.astype(np.float32))["mismatches"] == found["near_ties"]


def wrong_threshold(graph: Graph) -> Graph:
    nodes = list(graph.nodes)
    index = next(i for i, n in enumerate(nodes) if isinstance(n.op, Threshold))
    op = nodes[index].op
    assert isinstance(op, Threshold)
    thresholds = op.thresholds.copy()
    thresholds[0, 2] += 1
    nodes[index] = replace(nodes[index], op=replace(op, thresholds=thresholds))
    return replace(graph, nodes=nodes)


def wrong_weight(graph: Graph) -> Graph:
    nodes = list(graph.nodes)
    op: Any = nodes[0].op
    weight = op.weight.copy()
    weight[0, 0, 0, 0] -= 1 if weight[0, 0, 0, 0] > -7 else -1
    nodes[0] = replace(nodes[0], op=replace(op, weight=weight))
    return replace(graph, nodes=nodes)


@pytest.mark.parametrize("scale", [0.25, 0.3])
@pytest.mark.parametrize(("plant", "kind"), [(wrong_threshold, "threshold"), (wrong_weight, "conv2d")])
def test_planted_errors_are_found_where_they_are(plant: Any, kind: str, scale: float, tmp_path: Path) -> None:
    b = two_layers(scale)
    graph, path, codes, floats = prepared(b.model(b.nodes[-1].output[0]), tmp_path)
    found = verify_qonnx(plant(graph), path, codes, floats)
    assert found["mismatches"] > 0
    first = found["first_difference"]
    assert first["operator"].startswith(kind)
    assert first["source"] in {n.output[0] for n in b.nodes}
    assert first["expected"] != pytest.approx(first["found"])


def test_a_wrong_scale_offset_or_input_is_found(tmp_path: Path) -> None:
    b = two_layers(0.3)
    graph, path, codes, floats = prepared(b.model(b.nodes[-1].output[0]), tmp_path)
    source = next(s for s, record in graph.meta["real"].items() if record["tensor"] == graph.nodes[0].output)
    for key, value in (("scale", "3001/20000"), ("offset", "1/1000")):
        worse = copy.deepcopy(graph)
        worse.meta["real"][source][key] = [value]
        assert verify_qonnx(worse, path, codes, floats)["first_difference"]["operator"] == graph.nodes[0].name
    shifted = codes.copy()
    shifted[7, 1, 2, 3] += 1 if codes[7, 1, 2, 3] < 7 else -1
    first = verify_qonnx(graph, path, shifted, floats)["first_difference"]
    assert (first["operator"], first["element"]) == ("x", [7, 1, 2, 3])


def test_the_integer_file_is_searched_for_the_first_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = two_layers()
    graph, path, codes, floats = prepared(b.model(b.nodes[-1].output[0]), tmp_path)
    worse = wrong_threshold(graph)
    lower_onnx.save(worse, tmp_path / "int.onnx")
    save = lower_onnx.save
    monkeypatch.setattr(
        lower_onnx, "save", lambda g, p: save(Graph(g.input, g.input_type, worse.nodes[: len(g.nodes)], g.output), p)
    )
    found = engines(graph, tmp_path / "int.onnx", path, None, codes, floats)["onnxruntime"]
    assert found["mismatches"] > 0
    assert found["first_difference"]["operator"].startswith("threshold")
    assert abs(found["first_difference"]["expected"] - found["first_difference"]["found"]) == 1
    with pytest.raises(AssertionError):
        monkeypatch.undo()
        first_difference(graph, codes)


def test_constant_outputs_do_not_count() -> None:
    with pytest.raises(EdgeqError, match="constant"):
        merged([Part({"rtl": Tally(frames=4)}, n, n) for n in (1, 1)], "y")
    assert merged([Part({"rtl": Tally(frames=4)}, n, n) for n in (1, 2)], "y").tallies["rtl"].frames == 8
    with pytest.raises(EdgeqError, match="shape"):
        compare(np.arange(4)[:, None], np.ones((3, 1)), "y")


def test_labels_are_of_frames_or_of_pixels() -> None:
    scores = RNG.normal(size=(5, 4, 2, 3))
    scores[0, 2] += 9
    frames, pixels = scores.reshape(5, -1).argmax(1), scores.argmax(1)
    assert classified(scores, frames) == 5 and classified(scores, pixels) == 30 == classified(pixels[:, None], pixels)
    frames[1], pixels[0, 0, 0], pixels[1] = -1, 1, -1
    parts = [Part({}, 0, 1), Part({}, 0, 1)]
    parts[0].judge({"rtl": scores}, pixels)
    parts[1].judge({"rtl": scores}, frames)
    assert parts[0].accuracy() == {"rtl": 23 / 24} and parts[1].accuracy() == {"rtl": 1}
    parts[0].merge(parts[1])
    assert parts[0].accuracy() == {"rtl": 27 / 28}
    with pytest.raises(EdgeqError, match="labels of shape"):
        classified(scores, pixels[:, :1])


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    b = two_layers()
    graph, path, codes, floats = prepared(b.model(b.nodes[-1].output[0]), tmp_path)
    graph.meta["real"] = {f"{source}_other": record for source, record in graph.meta["real"].items()}
    with pytest.raises(EdgeqError, match="export again"):
        verify_qonnx(graph, path, codes, floats)


# Brevitas


class FixedPoint(nn.Module):
    """Residual addition with a shared quantizer, depthwise, upsampling, average pool with Trunc: all power-of-two scales."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        weight = {"weight_quant": Int8WeightPerTensorFixedPoint, "weight_bit_width": bits}
        signed = {"act_quant": Int8ActPerTensorFixedPoint, "bit_width": bits, "return_quant_tensor": True}
        unsigned = {"act_quant": Uint8ActPerTensorFixedPoint, "bit_width": bits, "return_quant_tensor": True}
        self.input = qnn.QuantIdentity(**signed)
        self.conv = qnn.QuantConv2d(3, 4, 3, padding=1, bias=True, bias_quant=Int32Bias, **weight)
        self.act = qnn.QuantReLU(**unsigned)
        self.depthwise = qnn.QuantConv2d(4, 4, 3, padding=1, groups=4, bias=False, **weight)
        self.shared = qnn.QuantIdentity(**signed)
        self.point = qnn.QuantConv2d(4, 4, 1, bias=False, **weight)
        self.act2 = qnn.QuantReLU(**unsigned)
        self.up = nn.Upsample(scale_factor=2)
        self.pool = qnn.TruncAvgPool2d(4)
        self.fc = qnn.QuantLinear(36, 5, bias=True, **weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv(self.input(x)))
        x = self.act2(self.shared(x) + self.shared(self.point(self.act(self.depthwise(x)))))
        return self.fc(torch.flatten(self.pool(self.act2(self.up(x))), 1))


class Scaled(nn.Module):
    """Arbitrary scales: per-channel weights, a zero point, concat, HardTanh, BatchNorm with slopes of both signs, max pool."""

    def __init__(self) -> None:
        super().__init__()
        self.input = qnn.QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat, return_quant_tensor=True)
        self.a = qnn.QuantConv2d(3, 4, 3, padding=1, bias=True, weight_quant=Int8WeightPerChannelFloat)
        self.bn = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2, padding=1)
        self.act = qnn.QuantReLU(bit_width=4, return_quant_tensor=True)
        self.b = qnn.QuantConv2d(3, 2, 2, stride=2, padding=1, bias=False, weight_bit_width=4)
        self.c = qnn.QuantConv2d(6, 4, 3, groups=2, bias=True, weight_bit_width=3)
        self.tanh = qnn.QuantHardTanh(bit_width=6, min_val=-1.5, max_val=1.5, return_quant_tensor=True)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.last = qnn.QuantIdentity(bit_width=8, return_quant_tensor=True)
        self.fc = qnn.QuantLinear(4, 5, bias=True, weight_bit_width=5)
        self.tail = nn.BatchNorm1d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input(x)
        x = torch.cat([self.act(self.pool(self.bn(self.a(x)))), self.act(self.b(x))], 1)
        return self.tail(self.fc(torch.flatten(self.last(self.mean(self.tanh(self.c(x)))), 1)))


class Binary(nn.Module):
    """One-bit weights and activations, zero-padded, with BatchNorm before each sign."""

    def __init__(self) -> None:
        super().__init__()
        weight = {"weight_quant": SignedBinaryWeightPerTensorConst, "weight_scaling_const": 1.0, "bias": False}
        sign = {"act_quant": SignedBinaryActPerTensorConst, "scaling_const": 1.0}
        self.body = nn.Sequential(
            qnn.QuantIdentity(**sign), qnn.QuantConv2d(3, 8, 3, padding=1, **weight), nn.BatchNorm2d(8),
            qnn.QuantIdentity(**sign), nn.MaxPool2d(2), qnn.QuantConv2d(8, 8, 2, **weight), nn.BatchNorm2d(8),
            qnn.QuantIdentity(**sign),
            nn.Flatten(), qnn.QuantLinear(32, 5, **weight),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def trained(make: Any) -> nn.Module:
    """A module whose quantizers and BatchNorms have seen data, with slopes of both signs."""
    torch.manual_seed(1)
    module = make()
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(16, 3, 6, 6))
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module.eval()


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(
    ("make", "exact"), [(lambda: FixedPoint(8), True), (lambda: FixedPoint(4), True), (Scaled, False), (Binary, False)],
    ids=["fixed8", "fixed4", "scaled", "binary"],
)  # fmt: skip
def test_brevitas_modules(make: Any, exact: bool, dynamo: bool, tmp_path: Path) -> None:
    module = trained(make)
    path = tmp_path / "model.onnx"
    if dynamo:
        with quiet():
            export_qonnx(copy.deepcopy(module), torch.zeros(1, 3, 6, 6), str(path), dynamo=True)
    else:
        export_module(module, (1, 3, 6, 6), path)
    for spec in (None, "int16/1024"):
        graph = import_qonnx(path, spec)
        lower_onnx.save(graph, tmp_path / "int.onnx")
        graph = lower_onnx.load(tmp_path / "int.onnx")
        codes, floats = given_inputs(graph, np.random.default_rng(0).normal(size=(40, 3, 6, 6)))
        results = engines(graph, tmp_path / "int.onnx", path, module, codes, floats)
        assert list(results) == ["reference", "onnxruntime", "qonnx", "pytorch"]
        assert {name: r["mismatches"] for name, r in results.items()} == dict.fromkeys(results, 0), results
        assert all(r["max_tie_distance"] < 1e-5 for r in results.values())
        if exact:
            assert all(r["near_ties"] == 0 for r in results.values())
        y = apply_tail(graph, lower_onnx_run(tmp_path / "int.onnx", codes))
        assert np.allclose(y, execute(path, floats), atol=1e-4)


def lower_onnx_run(path: Path, codes: np.ndarray) -> np.ndarray:
    from edgeq.engines.ort import OrtEngine

    return OrtEngine(path).run(codes)


def test_another_module_is_not_taken_for_the_exported_one(tmp_path: Path) -> None:
    module = trained(Binary)
    path = tmp_path / "model.onnx"
    export_module(module, (1, 3, 6, 6), path)
    graph = import_qonnx(path)
    codes, floats = random_inputs(graph, 20, 0)
    assert verify_module(graph, module, codes, floats).mismatches == 0
    with pytest.raises(EdgeqError, match="frames of shape"):
        verify_module(graph, trained(lambda: FixedPoint(8)), codes, floats)
    longer = trained(Binary)
    longer.body.append(qnn.QuantIdentity(bit_width=8))
    with pytest.raises(EdgeqError, match="does not run"):
        verify_module(graph, longer, codes, floats)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.body[1].weight[0, 0, 0, 0] *= -1
    found = verify_module(graph, other, codes, floats)
    assert found.mismatches > 0
    assert found.first is not None and found.first["operator"] == graph.nodes[0].name


def test_a_module_is_left_as_it_was(tmp_path: Path) -> None:
    module = trained(Binary)
    before = module(torch.ones(2, 3, 6, 6))
    export_module(module, (1, 3, 6, 6), tmp_path / "model.onnx")
    graph = import_qonnx(tmp_path / "model.onnx")
    verify_module(graph, module, *random_inputs(graph, 5, 0))
    assert torch.equal(before, module(torch.ones(2, 3, 6, 6)))
