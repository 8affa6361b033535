"""Float functions as exporters write them: recognized, approximated by integer operators, measured; tokens and attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from brevitas import nn as qnn
from qonnx_models import Builder, kinds
from torch import Tensor, nn

from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.frontend import views
from edgeq.frontend.approximate import measure
from edgeq.frontend.brevitas import export_module
from edgeq.frontend.ends import apply_tail
from edgeq.frontend.execute import QonnxEngine
from edgeq.frontend.load import load_model
from edgeq.frontend.qonnx import given_inputs, import_model, import_qonnx
from edgeq.graph import Graph
from edgeq.verify import verify_module, verify_qonnx

SCALES = (0.03125, 0.0437)
Write = Callable[[Builder, str], str]


def checked(model: onnx.ModelProto, spread: float = 2.0) -> tuple[Graph, float]:
    """(graph, RMS difference from the float model): the QONNX file with operators is equal, and imports as the same graph."""
    graph, exact = import_model(model)
    shape = graph.meta["input"]["shape"]
    codes, floats = given_inputs(graph, np.random.default_rng(1).normal(size=(6, *shape)) * spread)
    result = verify_qonnx(graph, QonnxEngine(exact), codes, floats).result()
    assert result["mismatches"] == 0, result
    assert result["values"] > 0
    assert kinds(import_qonnx(exact)) == kinds(graph)
    ours = apply_tail(graph, ReferenceEngine(graph).run(codes))
    measure(graph, codes)
    return graph, float(np.sqrt(np.square(ours - QonnxEngine(model).run(floats)).mean()))


def gelu_erf(b: Builder, x: str) -> str:
    inner = b.op("Add", b.op("Erf", b.op("Div", x, b.const(math.sqrt(2)))), b.const(1.0))
    return b.op("Mul", b.op("Mul", x, inner), b.const(0.5))


def gelu_erf_halved_first(b: Builder, x: str) -> str:
    inner = b.op("Add", b.const(1.0), b.op("Erf", b.op("Mul", x, b.const(math.sqrt(0.5)))))
    return b.op("Mul", inner, b.op("Mul", x, b.const(0.5)))


def gelu_tanh(b: Builder, x: str) -> str:
    cube = b.op("Mul", b.op("Pow", x, b.const(3.0)), b.const(0.044715))
    inner = b.op("Mul", b.const(math.sqrt(2 / math.pi)), b.op("Add", x, cube))
    return b.op("Mul", b.op("Mul", b.const(0.5), x), b.op("Add", b.const(1.0), b.op("Tanh", inner)))


def softmax(b: Builder, x: str, largest: bool = True) -> str:
    axis = b.const([-1], np.int64)
    x = b.op("Sub", x, b.op("ReduceMax", x, axis)) if largest else x
    e = b.op("Exp", x)
    return b.op("Div", e, b.op("ReduceSum", e, axis))


def layer_norm(b: Builder, x: str, size: int, axis: int = -1, squared: str = "Pow", root: str = "Div") -> str:
    axes = b.const([axis], np.int64)
    d = b.op("Sub", x, b.op("ReduceMean", x, axes))
    square = b.op("Pow", d, b.const(2.0)) if squared == "Pow" else b.op("Mul", d, d)
    lifted = b.op("Add", b.op("ReduceMean", square, axes), b.const(1e-5))
    if root == "Div":
        y = b.op("Div", d, b.op("Sqrt", lifted))
    elif root == "Reciprocal":
        y = b.op("Mul", d, b.op("Reciprocal", b.op("Sqrt", lifted)))
    else:
        y = b.op("Mul", d, b.op("Pow", lifted, b.const(-0.5)))
    shape = (size, *(1,) * (-axis - 1))
    gamma, beta = np.linspace(0.5, 2, size).reshape(shape), np.linspace(-1, 1, size).reshape(shape)
    return b.op("Add", b.op("Mul", y, b.const(gamma)), b.const(beta))


def normalized(b: Builder, x: str, size: int) -> str:
    return b.op("LayerNormalization", x, b.const(np.linspace(0.5, 2, size)), b.const(np.linspace(-1, 1, size)), axis=-1)


ELEMENTWISE: dict[str, Write] = {
    "Gelu": lambda b, x: b.op("Gelu", x), "tanh": lambda b, x: b.op("Gelu", x, approximate="tanh"), "erf": gelu_erf,
    "halved first": gelu_erf_halved_first, "written tanh": gelu_tanh,
}  # fmt: skip


@pytest.mark.parametrize("form", ELEMENTWISE)
@pytest.mark.parametrize(("shape", "scale"), [((2, 3, 4), SCALES[0]), ((5, 8), SCALES[1]), ((6,), SCALES[1])])
def test_gelu(form: str, shape: tuple[int, ...], scale: float) -> None:
    b = Builder(*shape)
    graph, error = checked(b.model(b.quant(ELEMENTWISE[form](b, b.quant("x", scale, 8)), 0.02, 8)))
    assert [k for k in kinds(graph) if k != "Rearrange"] == ["ShiftGELU", "Requantize"]
    (entry,) = graph.meta["approximations"]
    assert entry["form"] == ("tanh" if "tanh" in form else "none")
    assert entry["over"] == "all codes"
    assert entry["rms"] < 0.016 and entry["largest"] < 0.035
    assert error < 0.02


@pytest.mark.parametrize("form", ["Softmax", "written", "without maximum"])
@pytest.mark.parametrize(("shape", "scale"), [((2, 3, 4), SCALES[0]), ((5, 8), SCALES[1]), ((6,), SCALES[0])])
def test_softmax(form: str, shape: tuple[int, ...], scale: float) -> None:
    b = Builder(*shape)
    x = b.quant("x", scale, 8)
    y = b.op("Softmax", x, axis=-1) if form == "Softmax" else softmax(b, x, form == "written")
    graph, error = checked(b.model(b.quant(y, 1 / 128, 8, signed=0)))
    assert [k for k in kinds(graph) if k != "Rearrange"] == ["Shiftmax", "Requantize"]
    (entry,) = graph.meta["approximations"]
    assert entry["rms"] < 0.012 and entry["largest"] < 0.04
    assert error < 0.015


@pytest.mark.parametrize("form", ["LayerNormalization", "written", "Mul, Reciprocal", "Pow -1/2"])
@pytest.mark.parametrize(("shape", "scale"), [((2, 3, 8), SCALES[0]), ((5, 8), SCALES[1]), ((8,), SCALES[0])])
def test_layer_norm(form: str, shape: tuple[int, ...], scale: float) -> None:
    b = Builder(*shape)
    x = b.quant("x", scale, 8)
    match form:
        case "LayerNormalization":
            y = normalized(b, x, 8)
        case "written":
            y = layer_norm(b, x, 8)
        case "Mul, Reciprocal":
            y = layer_norm(b, x, 8, squared="Mul", root="Reciprocal")
        case _:
            y = layer_norm(b, x, 8, root="Pow")
    graph, error = checked(b.model(b.quant(y, 0.03, 8)))
    assert "LayerNorm" in kinds(graph)
    (entry,) = graph.meta["approximations"]
    assert entry["rms"] < 0.003 and entry["largest"] < 0.01
    assert error < 0.01


def test_layer_norm_over_the_channels_of_an_image() -> None:
    b = Builder(4, 3, 5)
    graph, error = checked(b.model(b.quant(layer_norm(b, b.quant("x", 0.0437, 8), 4, -3), 0.03, 8)))
    assert kinds(graph) == ["Requantize", "LayerNorm", "Requantize"]
    assert error < 0.01


def test_tokens_need_no_rearrangement() -> None:
    b = Builder(5, 8)
    y = b.quant(b.op("Gelu", b.quant(normalized(b, b.quant("x", 0.0437, 8), 8), 0.03, 8)), 0.02, 8)
    y = b.quant(b.op("MatMul", y, b.weight(np.random.default_rng(0).normal(size=(8, 3)))), 0.1, 8)
    graph, _ = checked(b.model(b.op("ReduceMean", y, b.const([1], np.int64), keepdims=0)))
    assert [k for k in kinds(graph)[:-1] if k == "Rearrange"] == []
    assert graph.input_type.shape == (8, 1, 5)


# Attention


def linear(b: Builder, x: str, ins: int, outs: int, rng: np.random.Generator) -> str:
    weight = b.quant(b.const(rng.normal(size=(ins, outs)) * 0.3), 0.0625, 4, narrow=1)
    return b.op("Add", b.op("MatMul", x, weight), b.const(np.round(rng.normal(size=outs) * 8) / 8))


def attention(b: Builder, x: str, tokens: int, size: int, heads: int, scale: float, rng: np.random.Generator) -> str:
    d = size // heads
    q, k, v = (b.quant(linear(b, x, size, size, rng), scale, 8) for _ in range(3))
    perms = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    q, k, v = (
        b.op("Transpose", b.op("Reshape", t, b.const([1, tokens, heads, d], np.int64)), perm=perm)
        for t, perm in zip((q, k, v), perms, strict=True)
    )
    scores = b.op("Div", b.op("MatMul", q, k), b.const(math.sqrt(d)))
    p = b.quant(b.op("Softmax", scores, axis=-1), 1 / 256, 8, signed=0)
    y = b.op("Transpose", b.op("MatMul", p, v), perm=[0, 2, 1, 3])
    y = b.quant(b.op("Reshape", y, b.const([1, tokens, size], np.int64)), scale, 8)
    return b.quant(linear(b, y, size, size, rng), scale, 8)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("scale", (0.0625, 0.0437))
def test_a_transformer_block(heads: int, scale: float) -> None:
    rng, tokens, size = np.random.default_rng(0), 6, 8
    b = Builder(tokens, size)
    x = b.quant("x", scale, 8)
    y = attention(b, b.quant(normalized(b, x, size), scale, 8), tokens, size, heads, scale, rng)
    x = b.quant(b.op("Add", x, y), scale, 8)
    y = b.quant(linear(b, b.quant(normalized(b, x, size), scale, 8), size, 16, rng), scale, 8)
    y = b.quant(linear(b, b.quant(b.op("Gelu", y), scale, 8), 16, size, rng), scale, 8)
    x = b.quant(b.op("Add", x, y), scale, 8)
    y = b.op("MatMul", b.op("Gather", x, b.const(0, np.int64), axis=1), b.weight(rng.normal(size=(size, 3))))
    graph, _ = checked(b.model(y), 1.0)
    assert {"AttentionScores", "Shiftmax", "AttentionValues", "LayerNorm", "ShiftGELU", "SelectTokens"} <= set(kinds(graph))
    assert kinds(graph).count("Rearrange") == 1  # the selected token as a vector
    assert len(graph.meta["approximations"]) == 4


@pytest.mark.parametrize("scale", (0.0625, 0.0437))
def test_embedding_class_token_position_slice_and_mean(scale: float) -> None:
    rng, size = np.random.default_rng(0), 8
    b = Builder(3, 4, 6)
    kernel = b.quant(b.const(rng.normal(size=(size, 3, 2, 2)) * 0.3), 0.0625, 4, narrow=1)
    x = b.op("Conv", b.quant("x", scale, 8), kernel, kernel_shape=[2, 2], strides=[2, 2])
    x = b.op("Transpose", b.op("Reshape", x, b.const([1, size, 6], np.int64)), perm=[0, 2, 1])
    x = b.op("Concat", b.quant(x, scale, 8), b.quant(b.const(rng.normal(size=(1, 1, size))), scale, 8), axis=1)
    x = b.quant(b.op("Add", x, b.quant(b.const(rng.normal(size=(1, 7, size))), scale, 8)), 2 * scale, 8)
    x = b.quant(normalized(b, x, size), scale, 8)
    x = b.op("Slice", x, *(b.const([v], np.int64) for v in (0, 6, 1)))
    x = b.quant(b.op("ReduceMean", x, b.const([1], np.int64), keepdims=0), scale, 8)
    graph, _ = checked(b.model(b.op("MatMul", x, b.weight(rng.normal(size=(size, 3))))), 1.0)
    assert {"AppendTokens", "AddPosition", "SelectTokens", "GlobalAveragePool"} <= set(kinds(graph))


REFUSED: dict[str, tuple[Write, str]] = {
    "float Gelu": (lambda b, x: b.op("Gelu", "x"), "no quantizer has made integers"),
    "offset": (lambda b, x: b.op("Gelu", b.op("Add", x, b.const(0.3))), "no codes of one scale"),
    "LogSoftmax": (lambda b, x: b.op("LogSoftmax", x, axis=-1), "LogSoftmax between layers"),
    "two axes": (
        lambda b, x: b.op("LayerNormalization", x, b.const(np.ones((5, 8))), b.const(np.zeros((5, 8))), axis=1),
        "over the axes from 1",
    ),
    "class token first": (lambda b, x: b.op("Concat", b.const(np.zeros((1, 1, 8))), x, axis=1), "in front of others"),
    "float class token": (lambda b, x: b.op("Concat", x, b.const(np.full((1, 1, 8), 0.1)), axis=1), "no integers of 16 bits"),
    "tokens apart": (lambda b, x: b.op("Gather", x, b.const([0, 2], np.int64), axis=1), "follow each other"),
    "steps": (lambda b, x: b.op("Slice", x, *(b.const([v], np.int64) for v in (0, 4, 1, 2))), "with steps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    write, message = REFUSED[case]
    b = Builder(5, 8)
    y = b.quant(write(b, b.quant("x", 0.0437, 8)), 0.05, 8)
    with pytest.raises(EdgeqError, match=message):
        import_qonnx(b.model(y))


def test_a_function_that_is_not_gelu_is_not_taken_for_it() -> None:
    b = Builder(6)
    x = b.quant("x", 0.05, 8)
    y = b.op("Mul", x, b.op("Add", b.op("Erf", x), b.const(1.0)))
    with pytest.raises(EdgeqError, match="Erf is not supported"):
        import_qonnx(b.model(b.quant(y, 0.05, 8)))


def test_orders_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape: Any = tuple(int(d) for d in rng.choice([1, 2, 3, 4, 6], size=rng.integers(1, 5)))
        tensor = np.arange(int(np.prod(shape))).reshape(1, *shape)
        order, seen, x = None, shape, tensor
        for _ in range(4):
            perm = tuple(int(p) for p in rng.permutation(len(seen)))
            order, x = views.transposed(order, seen, perm), x.transpose(0, *(p + 1 for p in perm))
            seen = x.shape[1:]
            merged = (seen[0] * seen[1], *seen[2:]) if len(seen) > 1 else seen
            assert views.fits(order, merged)
            x, seen = x.reshape(1, *merged), merged
            assert np.array_equal(views.to_source(tensor, order, seen), x)
            assert np.array_equal(views.to_tensor(x, order, shape), tensor)


def test_export_tells_and_verify_compares(tmp_path: Path) -> None:
    from edgeq import flow
    from edgeq.ui import Ui

    b = Builder(5, 8)
    y = b.quant(normalized(b, b.quant("x", 0.0437, 8), 8), 0.03, 8)
    y = b.op("MatMul", y, b.weight(np.random.default_rng(0).normal(size=(8, 3))))
    (tmp_path / "source.onnx").write_bytes(b.model(y).SerializeToString())
    record = flow.export(
        str(tmp_path / "source.onnx"), tmp_path / "out", weights=None, input_shape=None, input_type=None, samples=8, seed=0,
        data=None, force=False, ui=Ui(True),
    )  # fmt: skip
    (entry,) = record["approximations"]
    assert entry["operator"] == "LayerNorm"
    assert 0 < entry["rms"] < 0.003
    assert 0 < record["network_error"]["rms"] < 0.1
    assert (tmp_path / "out" / flow.FLOAT_FILE).is_file()
    result = flow.verify(tmp_path / "out", samples=None, seed=0, data=None, ui=Ui(True))
    assert all(engine["mismatches"] == 0 for engine in result["engines"].values())


# A module


class Block(nn.Module):
    """A transformer's block, its activations quantized by Brevitas."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size // heads
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.query, self.key, self.value, self.out = (quant_linear(size, size) for _ in range(4))
        self.up, self.down, self.gelu = quant_linear(size, 2 * size), quant_linear(2 * size, size), nn.GELU()
        self.acts = nn.ModuleList(qnn.QuantIdentity(bit_width=8) for _ in range(9))
        self.stream = qnn.QuantIdentity(bit_width=8)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, size = x.shape
        a, stream = self.acts, self.stream
        y = a[0](self.norms[0](x))
        layers = zip((a[1], a[2], a[3]), (self.query, self.key, self.value), strict=True)
        q, k, v = (act(layer(y)).reshape(n, tokens, self.heads, self.size).transpose(1, 2) for act, layer in layers)
        p = a[4]((q @ k.transpose(-2, -1) * self.size**-0.5).softmax(-1))
        y = self.out(a[5]((p @ v).transpose(1, 2).reshape(n, tokens, size)))
        x = stream(x + stream(y))
        y = self.down(a[8](self.gelu(a[7](self.up(a[6](self.norms[1](x)))))))
        return stream(x + stream(y))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (qnn.QuantIdentity(bit_width=8) for _ in range(2))
        self.patches = qnn.QuantConv2d(3, 8, 2, 2, bias=True, weight_bit_width=4)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8) / 2)
        self.embed, self.block, self.norm = qnn.QuantIdentity(bit_width=8), Block(8, 2), nn.LayerNorm(8)
        self.head = quant_linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(self.first(x)).flatten(2).transpose(1, 2)
        token = self.embed(self.token).expand(len(x), -1, -1)
        x = torch.cat([self.embed(x), token], 1) + self.embed(self.position)
        return self.head(self.last(self.norm(self.block(self.block.stream(x))[:, -1])))


def quant_linear(ins: int, outs: int) -> nn.Module:
    return qnn.QuantLinear(ins, outs, bias=True, weight_bit_width=4)


def test_a_vision_transformer_of_brevitas(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Transformer()
    for _ in range(3):
        module(torch.randn(8, 3, 4, 4))
    module.eval()
    export_module(module, (1, 3, 4, 4), tmp_path / "model.onnx")
    graph, exact = import_model(load_model(tmp_path / "model.onnx"))
    codes, floats = given_inputs(graph, np.random.default_rng(0).normal(size=(12, 3, 4, 4)))
    found = verify_qonnx(graph, QonnxEngine(exact), codes, floats).result()
    assert found["mismatches"] == 0, found
    found = verify_module(graph, module, codes, floats).result()
    assert found["mismatches"] == 0, found
    assert 0 < found["not_compared"] < found["values"]
    assert sorted(entry["operator"] for entry in graph.meta["approximations"]) == [*["LayerNorm"] * 3, "ShiftGELU", "Shiftmax"]
