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

from edgeq import flow
from edgeq.board import board
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.folding import Target
from edgeq.frontend import views
from edgeq.frontend.approximate import measure
from edgeq.frontend.brevitas import export_module
from edgeq.frontend.ends import apply_tail
from edgeq.frontend.execute import QonnxEngine
from edgeq.frontend.load import load_model
from edgeq.frontend.qonnx import given_inputs, import_model, import_qonnx
from edgeq.graph import Graph
from edgeq.ui import Ui
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


def layer_norm(b: Builder, x: str, size: int, axis: int | tuple[int, ...] = -1, squared: str = "Pow", root: str = "Div") -> str:
    axes = b.const(np.atleast_1d(axis), np.int64)
    d = b.op("Sub", x, b.op("ReduceMean", x, axes))
    square = b.op("Pow", d, b.const(2.0)) if squared == "Pow" else b.op("Mul", d, d)
    lifted = b.op("Add", b.op("ReduceMean", square, axes), b.const(1e-5))
    if root == "Div":
        y = b.op("Div", d, b.op("Sqrt", lifted))
    elif root == "Reciprocal":
        y = b.op("Mul", d, b.op("Reciprocal", b.op("Sqrt", lifted)))
    else:
        y = b.op("Mul", d, b.op("Pow", lifted, b.const(-0.5)))
    shape = (size, *(1,) * (-np.max(axis) - 1))
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


def unbound(b: Builder, x: str, tokens: int, heads: int, d: int) -> list[str]:
    """As timm: [3, N, heads, T, d], its parts gathered."""
    x = b.op("Transpose", b.op("Reshape", x, b.const([1, tokens, 3, heads, d], np.int64)), perm=[2, 0, 3, 1, 4])
    return [b.op("Gather", x, b.const(i, np.int64), axis=0) for i in range(3)]


def split(b: Builder, x: str, tokens: int, heads: int, d: int) -> list[str]:
    """The same, split and squeezed."""
    x = b.op("Transpose", b.op("Reshape", x, b.const([1, tokens, 3, heads, d], np.int64)), perm=[2, 0, 3, 1, 4])
    first = b.op("Split", x, b.const([1, 1, 1], np.int64), axis=0)
    b.nodes[-1].output.extend([f"{first}_1", f"{first}_2"])
    return [b.op("Squeeze", part, b.const([0], np.int64)) for part in b.nodes[-1].output[:3]]


def chunked(b: Builder, x: str, tokens: int, heads: int, d: int) -> list[str]:
    """Features in three, then heads."""
    first = b.op("Split", x, axis=-1, num_outputs=3)
    b.nodes[-1].output.extend([f"{first}_1", f"{first}_2"])
    parts = (b.op("Reshape", part, b.const([1, tokens, heads, d], np.int64)) for part in b.nodes[-1].output[:3])
    return [b.op("Transpose", part, perm=[0, 2, 1, 3]) for part in list(parts)]


def sequence_first(b: Builder, x: str, tokens: int, heads: int, d: int) -> list[str]:
    """As nn.MultiheadAttention: [T, N, 3*d], of which the batch of one is left out with the heads."""
    x = b.op("Transpose", x, perm=[1, 0, 2])
    x = b.op("Unsqueeze", b.op("Reshape", x, b.const([tokens, 1, 3, heads * d], np.int64)), b.const([0], np.int64))
    x = b.op("Squeeze", b.op("Transpose", x, perm=[3, 1, 2, 0, 4]), b.const([3], np.int64))
    parts = [b.op("Gather", x, b.const(i, np.int64), axis=0) for i in range(3)]
    parts = [b.op("Reshape", part, b.const([tokens, heads, d], np.int64)) for part in parts]
    return [b.op("Transpose", part, perm=[1, 0, 2]) for part in parts]


@pytest.mark.parametrize("written", [unbound, split, chunked, sequence_first])
@pytest.mark.parametrize("scale", (0.0625, 0.0437))
def test_queries_keys_and_values_of_one_layer(written: Callable[..., list[str]], scale: float) -> None:
    rng, tokens, heads, d = np.random.default_rng(0), 5, 2, 4
    b = Builder(tokens, heads * d)
    x = b.quant(linear(b, b.quant("x", scale, 8), heads * d, 3 * heads * d, rng), scale, 8)
    q, k, v = written(b, x, tokens, heads, d)
    moved = written is sequence_first
    k = b.op("Transpose", k, perm=[0, 2, 1] if moved else [0, 1, 3, 2])
    p = b.quant(b.op("Softmax", b.op("MatMul", b.op("Mul", q, b.const(d**-0.5)), k), axis=-1), 1 / 256, 8, signed=0)
    y = b.op("Transpose", b.op("MatMul", p, v), perm=[1, 0, 2] if moved else [0, 2, 1, 3])
    y = b.quant(b.op("Reshape", y, b.const([tokens, heads * d] if moved else [1, tokens, heads * d], np.int64)), scale, 8)
    if moved:
        weight, bias = rng.normal(size=(heads * d, 3)) * 0.3, np.round(rng.normal(size=3) * 8) / 8
        y = b.op("Gemm", y, b.quant(b.const(weight), 0.0625, 4, narrow=1), b.const(bias))
        y = b.op("Transpose", b.op("Reshape", y, b.const([tokens, 1, 3], np.int64)), perm=[1, 0, 2])
    else:
        y = linear(b, y, heads * d, 3, rng)
    graph, error = checked(b.model(y), 1.0)
    assert kinds(graph).count("SelectChannels") == 3
    assert kinds(graph)[:-1].count("Rearrange") == 0
    assert error < 0.05


@pytest.mark.parametrize("scale", (0.0625, 0.0437))
def test_operators_on_a_moved_batch(scale: float) -> None:
    """[T, N, D]; rows of tokens, by -1, and back."""
    rng, tokens, size = np.random.default_rng(0), 5, 8
    b = Builder(tokens, size)
    x = b.op("Transpose", b.quant("x", scale, 8), perm=[1, 0, 2])
    x = b.op("Add", x, b.quant(b.const(rng.normal(size=(tokens, 1, size))), scale, 8))
    x = b.quant(normalized(b, b.quant(x, 2 * scale, 8), size), scale, 8)
    x = b.op("Mul", b.quant(b.op("Gelu", x), scale, 8), b.const(np.linspace(0.5, 1, size)))
    x = b.op("Relu", b.op("Reshape", b.quant(x, scale, 8), b.const([-1, size], np.int64)))
    x = b.op("Gather", b.op("Reshape", x, b.const([1, tokens, size], np.int64)), b.const(-1, np.int64), axis=1)
    graph, error = checked(b.model(b.op("MatMul", x, b.weight(rng.normal(size=(size, 3))))), 1.0)
    assert {"AddPosition", "LayerNorm", "ShiftGELU", "SelectTokens"} <= set(kinds(graph))
    assert error < 0.2


def test_a_batch_of_several_frames_stays_first() -> None:
    for write, message in (
        (lambda b, x: b.op("Transpose", x, perm=[1, 0, 2]), "moves the batch"),
        (lambda b, x: b.op("Reshape", x, b.const([-1, 8], np.int64)), "does not keep the batch of 3"),
    ):
        b = Builder(5, 8)
        y = b.quant(write(b, b.quant("x", 0.0437, 8)), 0.05, 8)  # type: ignore[no-untyped-call]
        with pytest.raises(EdgeqError, match=message):
            import_qonnx(b.model(y, batch=3))


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("scale", (0.0625, 0.0437))
def test_embedding_class_token_position_slice_and_mean(scale: float, front: bool) -> None:
    rng, size = np.random.default_rng(0), 8
    b = Builder(3, 4, 6)
    kernel = b.quant(b.const(rng.normal(size=(size, 3, 2, 2)) * 0.3), 0.0625, 4, narrow=1)
    x = b.op("Conv", b.quant("x", scale, 8), kernel, kernel_shape=[2, 2], strides=[2, 2])
    x = b.op("Transpose", b.op("Reshape", x, b.const([1, size, 6], np.int64)), perm=[0, 2, 1])
    parts = [b.quant(x, scale, 8), b.quant(b.const(rng.normal(size=(1, 1, size))), scale, 8)]
    x = b.op("Concat", *(parts[::-1] if front else parts), axis=1)
    x = b.quant(b.op("Add", x, b.quant(b.const(rng.normal(size=(1, 7, size))), scale, 8)), 2 * scale, 8)
    x = b.quant(normalized(b, x, size), scale, 8)
    x = b.op("Slice", x, *(b.const([v], np.int64) for v in ((1, 7, 1) if front else (0, 6, 1))))
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
    "two sequences": (lambda b, x: b.op("Concat", x, x, axis=1), "two activations joined"),
    "written over two axes": (lambda b, x: layer_norm(b, x, 8, axis=(-2, -1)), r"over the axes \[-2, -1\]"),
    "q, k and v a head": (
        lambda b, x: b.op("Gather", b.op("Reshape", x, b.const([1, 5, 2, 2, 2], np.int64)), b.const(0, np.int64), axis=3),
        "lie apart",
    ),
    "sizes": (lambda b, x: b.op("Split", x, b.const([3, 3], np.int64), axis=2), r"Split of 8 into \[3, 3\]"),
    "moved sum": (lambda b, x: b.op("Add", x, b.op("Transpose", x, perm=[1, 0, 2])), "are added"),
    "batch of a constant": (
        lambda b, x: b.op("Add", b.op("Transpose", x, perm=[1, 0, 2]), b.const(np.ones((5, 8)))),
        r"not broadcast over \[5, 1, 8\]",
    ),
    "batch as features": (
        lambda b, x: b.op("MatMul", b.op("Transpose", x, perm=[2, 1, 0]), b.weight(np.ones((5, 2)))),
        "does not match weights",
    ),
    "softmax over the batch": (lambda b, x: b.op("Softmax", b.op("Transpose", x, perm=[1, 0, 2]), axis=1), "over the batch"),
    "float class token": (lambda b, x: b.op("Concat", x, b.const(np.full((1, 1, 8), 0.1)), axis=1), "no integers of 16 bits"),
    "no such token": (lambda b, x: b.op("Gather", x, b.const(5, np.int64), axis=1), "of 5 that follow"),
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
            part_of_it(rng, tensor, order, seen, x)


def part_of_it(rng: np.random.Generator, tensor: np.ndarray, order: views.Order, seen: Any, x: np.ndarray) -> None:
    """What `cut` says of some elements of x along an axis."""
    axis = int(rng.integers(len(seen)))
    count = int(rng.integers(1, seen[axis] + 1))
    start = int(rng.integers(0, seen[axis] - count + 1))
    shape = tensor.shape[1:]
    if (found := views.cut(order, seen, shape, axis, count)) is None:
        return
    flat = tensor.reshape(1, shape[0], -1)
    at = 1 if found[0] else 2
    inner = flat.shape[at] // seen[axis]
    part = flat.take(range(start * inner, (start + count) * inner), axis=at)
    wanted = x.take(range(start, start + count), axis=1 + axis)
    assert np.array_equal(views.to_source(part, found[1], wanted.shape[1:]), wanted)


def test_export_tells_and_verify_compares(tmp_path: Path) -> None:
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
        self.qkv, self.out = quant_linear(size, 3 * size), quant_linear(size, size)
        self.up, self.down, self.gelu = quant_linear(size, 2 * size), quant_linear(2 * size, size), nn.GELU()
        self.acts = nn.ModuleList(qnn.QuantIdentity(bit_width=8) for _ in range(7))
        self.stream = qnn.QuantIdentity(bit_width=8)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, size = x.shape
        a, stream = self.acts, self.stream
        qkv = a[1](self.qkv(a[0](self.norms[0](x)))).reshape(n, tokens, 3, self.heads, self.size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        p = a[2]((q @ k.transpose(-2, -1) * self.size**-0.5).softmax(-1))
        y = self.out(a[3]((p @ v).transpose(1, 2).reshape(n, tokens, size)))
        x = stream(x + stream(y))
        y = self.down(a[6](self.gelu(a[5](self.up(a[4](self.norms[1](x)))))))
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
        x = torch.cat([token, self.embed(x)], 1) + self.embed(self.position)
        return self.head(self.last(self.norm(self.block(self.block.stream(x))[:, 0])))


def quant_linear(ins: int, outs: int) -> nn.Module:
    return qnn.QuantLinear(ins, outs, bias=True, weight_bit_width=4)


def settled(module: nn.Module, *shape: int) -> nn.Module:
    """In evaluation, with the scales that its quantizers find on random inputs."""
    for _ in range(3):
        module(torch.randn(8, *shape))
    return module.eval()


def test_a_vision_transformer_of_brevitas(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = settled(Transformer(), 3, 4, 4)
    export_module(module, (1, 3, 4, 4), tmp_path / "model.onnx")
    graph, exact = import_model(load_model(tmp_path / "model.onnx"))
    codes, floats = given_inputs(graph, np.random.default_rng(0).normal(size=(12, 3, 4, 4)))
    found = verify_qonnx(graph, QonnxEngine(exact), codes, floats).result()
    assert found["mismatches"] == 0, found
    found = verify_module(graph, module, codes, floats).result()
    assert found["mismatches"] == 0, found
    assert 0 < found["not_compared"] < found["values"]
    assert sorted(entry["operator"] for entry in graph.meta["approximations"]) == [*["LayerNorm"] * 3, "ShiftGELU", "Shiftmax"]


def test_a_vision_transformer_on_every_engine(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export_module(settled(Transformer(), 3, 4, 4), (1, 3, 4, 4), tmp_path / "model.onnx")
    quiet = Ui(True)
    exported = flow.export(
        str(tmp_path / "model.onnx"), tmp_path / "e", weights=None, input_shape=None, input_type=None, samples=8, seed=0,
        data=None, force=False, ui=quiet,
    )  # fmt: skip
    assert 0 < exported["network_error"]["rms"] < 0.1 * exported["network_error"]["reach"]
    verified = flow.verify(tmp_path / "e", samples=None, seed=0, data=None, ui=quiet)["engines"]
    assert verified.keys() == {"reference", "onnxruntime", "qonnx"}
    flow.synth(tmp_path / "e", board("ultra96"), tmp_path / "b", target=Target(), estimate="model", force=False, ui=quiet)
    built = flow.sim(tmp_path / "b", samples=None, seed=0, engine="both", stalls=1, trace=None, ui=quiet)["engines"]
    assert built.keys() == {"hls", "rtl"}
    assert {name: found["mismatches"] for name, found in (verified | built).items() if found["mismatches"]} == {}


class Sequence(nn.Module):
    """Brevitas' multi-head attention, with one layer for q, k and v."""

    def __init__(self) -> None:
        super().__init__()
        self.first = qnn.QuantIdentity(bit_width=8)
        self.attention = qnn.QuantMultiheadAttention(8, 2, packed_in_proj=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y: Tensor = self.attention(x, x, x)[0]
        return y


def test_multi_head_attention_of_brevitas(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = settled(Sequence(), 5, 8)
    export_module(module, (1, 5, 8), tmp_path / "model.onnx")
    graph, exact = import_model(load_model(tmp_path / "model.onnx"))
    codes, floats = given_inputs(graph, np.random.default_rng(0).normal(size=(12, 5, 8)))
    for found in (verify_qonnx(graph, QonnxEngine(exact), codes, floats), verify_module(graph, module, codes, floats)):
        assert found.mismatches == 0, found
        assert found.frames == 12
