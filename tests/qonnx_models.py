"""Small QONNX models for the tests, written node by node, and random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeq import verify
from edgeq.frontend.execute import QonnxEngine
from edgeq.frontend.load import load_model
from edgeq.frontend.qonnx import given_inputs, import_qonnx
from edgeq.graph import Graph
from edgeq.verify import Engines, merged

DOMAIN = "qonnx.custom_op.general"
MODES = ("ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


class Builder:
    """A QONNX model under construction; its input is `x`, float32 [1, *shape]."""

    def __init__(self, *shape: int, opset: int = 20) -> None:
        self.shape, self.opset = shape, opset
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [name], name=f"n{len(self.nodes)}", domain=domain, **attributes)
        )
        return name

    def quant(
        self, x: str, scale: Any, bits: int, signed: int = 1, narrow: int = 0, mode: str = "ROUND", zero: int = 0,
        op_type: str = "Quant", domain: str = DOMAIN,
    ) -> str:  # fmt: skip
        parameters = (self.const(v) for v in (scale, zero, bits))
        return self.op(op_type, x, *parameters, domain=domain, signed=signed, narrow=narrow, rounding_mode=mode)

    def sign(self, x: str, scale: Any = 1.0) -> str:
        return self.op("BipolarQuant", x, self.const(scale), domain=DOMAIN)

    def weight(self, value: Any, bits: int = 4, scale: Any = 0.25) -> str:
        return self.quant(self.const(value), scale, bits, narrow=1)

    def batch_norm(self, x: str, slope: Any, seed: int = 0) -> str:
        rng = np.random.default_rng(seed)
        slope = np.asarray(slope, np.float32)
        mean, beta, variance = (rng.normal(size=slope.shape), rng.normal(size=slope.shape), rng.uniform(0.1, 2, slope.shape))
        return self.op("BatchNormalization", x, *(self.const(v) for v in (slope, beta, mean, variance)))

    def model(self, *outputs: str, batch: Any = 1, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        source = helper.make_tensor_value_info("x", kind, [batch, *self.shape])
        made = helper.make_graph(
            self.nodes, "g", [source], [helper.make_empty_tensor_value_info(y) for y in outputs], self.stored
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(DOMAIN, 2)]
        model = helper.make_model(made, opset_imports=opsets)
        model.ir_version = 10
        return model


def engines(
    graph: Graph, integer: Path, path: Path, module: nn.Module | None, codes: np.ndarray, floats: np.ndarray
) -> dict[str, dict[str, Any]]:
    """What `edgeq verify` says of each engine."""
    part = merged([Engines(graph, integer, path, module).check(codes, floats)], graph.output)
    return {name: tally.result() for name, tally in part.tallies.items()}


def verify_qonnx(graph: Graph, path: Path, codes: np.ndarray, floats: np.ndarray) -> dict[str, Any]:
    """What it says of qonnx, as verify.json has it."""
    return verify.verify_qonnx(graph, QonnxEngine(load_model(path)), codes, floats).result()


def check(model: onnx.ModelProto, folder: Path, spec: str | None = None, frames: int = 24, grid: float = 0.0) -> Graph:
    """Import a model and compare it with its execution by qonnx, operator by operator: no mismatch."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    graph = import_qonnx(path, spec)
    rng = np.random.default_rng(1)
    shape = (frames, *graph.meta["input"]["shape"])
    if graph.meta["input"]["kind"] == "integer":
        x = graph.input_type.random(rng, frames).reshape(shape) / float(graph.meta["input"]["divisor"])
    else:
        x = rng.normal(size=shape) * 2
    codes, floats = given_inputs(graph, np.round(x / grid) * grid if grid else x)
    result = verify_qonnx(graph, path, codes, floats)
    assert result["mismatches"] == 0, result
    assert result["values"] > 0
    if grid:
        assert result["near_ties"] == 0, result
    return graph


def kinds(graph: Graph) -> list[str]:
    return [node.op.kind() for node in graph.nodes]


def random_model(seed: int) -> tuple[onnx.ModelProto, bool]:
    """(model, power-of-two scales only): quantizers of every rounding and width, affine steps, clips, layers and pools."""
    return _Random(seed).made()


class _Random:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.exact = bool(self.rng.random() < 0.3)
        self.channels = int(self.rng.integers(1, 4))
        self.size = [int(v) for v in self.rng.integers(3, 7, size=2)]
        self.b = Builder(self.channels, *self.size)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def scale(self) -> float:
        return float(2.0 ** self.rng.integers(-7, 1)) if self.exact else float(np.float32(self.rng.uniform(0.003, 0.9)))

    def quantized(self, x: str) -> str:
        if self.chance(0.2):
            return self.b.sign(x, self.scale())
        bits, signed = int(self.rng.integers(1, 9)), int(self.chance(0.6))
        narrow = int(bits > 1 and self.chance(0.3))
        mode = MODES[self.rng.integers(0, len(MODES))] if self.chance(0.5) else "ROUND"
        zero = int(self.rng.integers(0, 4)) if not signed and bits > 2 and self.chance(0.3) else 0
        return self.b.quant(x, self.scale() * 4 / 2**bits, bits, signed, narrow, mode, zero)

    def steps(self, x: str) -> str:
        """Up to two affine steps or clips."""
        for _ in range(self.rng.integers(0, 3)):
            value = self.rng.normal(size=(1, self.channels, 1, 1) if self.chance(0.4) else ())
            value = np.round(value * 4) / 4 if self.exact else value
            match self.rng.integers(0, 6):
                case 0:
                    x = self.b.op("Mul", x, self.b.const(value))
                case 1:
                    x = self.b.op("Add", *((x, self.b.const(value)) if self.chance(0.5) else (self.b.const(value), x)))
                case 2:
                    x = self.b.op("Sub", self.b.const(value), x)
                case 3:
                    x = self.b.op("Div", x, self.b.const(np.where(value == 0, 1, value)))
                case 4:
                    x = self.b.op("Relu", x)
                case _:
                    low = float(self.rng.normal())
                    x = self.b.op("Clip", x, self.b.const(low), self.b.const(low + abs(float(self.rng.normal()))))
        return x

    def normalized(self, x: str) -> str:
        slope = self.rng.normal(size=self.channels) * (self.rng.random(self.channels) > 0.1)
        return self.b.batch_norm(x, slope, int(self.rng.integers(99)))

    def convolved(self, x: str) -> str:
        groups = self.channels if self.chance(0.3) else 1
        out = groups * int(self.rng.integers(1, 5 if groups == 1 else 3))
        pad = int(self.chance(0.5))
        kernel = int(self.rng.integers(1, min(4, min(self.size) + 2 * pad + 1)))
        value = self.b.const(self.rng.normal(size=(out, self.channels // groups, kernel, kernel)))
        if self.chance(0.3):
            weight = self.b.sign(value, self.scale())
        else:
            bits, shape = int(self.rng.integers(2, 9)), (out, 1, 1, 1) if self.chance(0.5) else ()
            scale = 2.0 ** self.rng.integers(-6, 0, size=shape) if self.exact else self.rng.uniform(0.01, 0.5, size=shape)
            weight = self.b.quant(value, scale * 8 / 2**bits, bits, narrow=1)
        bias = [self.b.const(np.round(self.rng.normal(size=out) * 8) / 8)] if self.chance(0.3) else []
        self.channels, self.size = out, [n + 2 * pad - kernel + 1 for n in self.size]
        return self.b.op("Conv", x, weight, *bias, kernel_shape=[kernel, kernel], pads=[pad] * 4, group=groups)

    def pooled(self, x: str, op_type: str, stride: int) -> str:
        if min(self.size) < 2:
            return x
        self.size = [(n - 2) // stride + 1 for n in self.size]
        return self.b.op(op_type, x, kernel_shape=[2, 2], strides=[stride, stride])

    def layer(self, x: str) -> str:
        match self.rng.integers(0, 10):
            case 0:
                x = self.pooled(x, "MaxPool", 2)
            case 1:
                x = self.pooled(x, "AveragePool", 1)
            case 2 if max(self.size) < 7:
                self.size = [2 * n for n in self.size]
                scales = self.b.const([1, 1, 2, 2])
                x = self.b.op("Resize", x, "", scales, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
            case 3:
                self.size = self.size[::-1]
                x = self.b.op("Transpose", x, perm=[0, 1, 3, 2])
            case _:
                x = self.convolved(x)
        x = self.steps(self.normalized(x) if self.chance(0.5) else x)
        return self.quantized(self.pooled(x, "MaxPool", 1) if self.chance(0.3) else x)

    def made(self) -> tuple[onnx.ModelProto, bool]:
        x = self.steps("x")
        x = self.quantized(self.normalized(x) if self.chance(0.2) else x)
        for _ in range(self.rng.integers(1, 4)):
            x = self.layer(x)
        features = self.channels * self.size[0] * self.size[1]
        x = self.b.op("Flatten", x, axis=1)
        weight = self.b.weight(self.rng.normal(size=(5, features)))
        return self.b.model(self.b.op("Gemm", x, weight, transB=1)), self.exact
