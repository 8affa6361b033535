"""GELU and its like in fixed point: the tables against mpmath, training, both exporters, import, conversion, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import onnx
import pytest
import torch
from brevitas.export import export_qonnx
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx_models import Builder, engines, kinds
from torch import Tensor, nn
from torch.nn import functional

from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN, LOOKUP, FixedPoint
from edgeq.frontend.brevitas import export_module, quiet
from edgeq.frontend.qonnx import given_inputs, import_qonnx, random_inputs
from edgeq.functions import FUNCTIONS, code_table
from edgeq.graph import Graph
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.lookup import Lookup
from edgeq.passes import hardware_passes
from edgeq.train import (
    FixedAct,
    FixedConv2d,
    FixedFunction,
    FixedGELU,
    FixedLinear,
    Formats,
    binary_points,
    calibrate,
    convert,
    quantizers,
)
from edgeq.train.fixed_functions import TORCH
from edgeq.train.loop import seeded
from edgeq.train.settle import settle

mp = mpmath.mp.clone()
mp.dps = 60
EXACT: dict[str, Callable[[Any], Any]] = {
    "gelu": lambda x: x * (1 + mp.erf(x / mp.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))) / 2,
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "tanh": mp.tanh,
}
TABLES = [
    (FixedPoint(8, 4), FixedPoint(8, 3)),
    (FixedPoint(12, 3, rounding="AP_TRN"), FixedPoint(16, 3, rounding="AP_TRN")),
    (FixedPoint(10, 4, signed=False), FixedPoint(7, 1, rounding="AP_RND_ZERO", overflow="AP_SAT_SYM")),
    (FixedPoint(5, 8), FixedPoint(6, 0, rounding="AP_RND")),
    (FixedPoint(6, -1, overflow="AP_SAT_SYM"), FixedPoint(9, 0, signed=False, rounding="AP_RND_INF")),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Tables


def rounded(u: Fraction, mode: str) -> int:
    """u to an integer, in one of the modes that TABLES has."""
    below = u.__floor__()
    if mode == "AP_TRN" or u - below < Fraction(1, 2):
        return below
    up = {"AP_RND": True, "AP_RND_INF": u > 0, "AP_RND_ZERO": u < 0, "AP_RND_CONV": below % 2 == 1}[mode]
    return below + (u - below > Fraction(1, 2) or up)


@pytest.mark.parametrize(("inner", "out"), TABLES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_tables_are_the_cast_of_the_exact_value(name: str, inner: FixedPoint, out: FixedPoint) -> None:
    """Every code, with 60 digits and rounding of fractions."""
    expected = []
    for code in range(inner.lo, inner.hi + 1):
        x = mp.ldexp(mp.mpf(code), int(inner.integer or 0) - inner.bits)
        u = mp.ldexp(EXACT[name](x), out.bits - int(out.integer or 0))
        exact = Fraction(int(mp.floor(mp.ldexp(u, 150))), 1 << 150)
        expected.append(min(max(rounded(exact, out.rounding), out.lo), out.hi))
    table = code_table(name, inner, out)
    assert table.tolist() == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_training_has_the_same_functions(name: str) -> None:
    x = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    expected = [FUNCTIONS[name](v) for v in x.tolist()]
    np.testing.assert_allclose(TORCH[name](x).numpy(), expected, rtol=1e-9, atol=1e-15)


def test_far_arguments_saturate() -> None:
    wide = FixedPoint(12, 40)
    for name, least, most in (("gelu", 0, 2047), ("silu", 0, 2047), ("sigmoid", 0, 256), ("tanh", -256, 256)):
        table = code_table(name, wide, FixedPoint(12, 4))
        assert (table[0], table[-1]) == (least, most), name


# Training


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_the_function_s_and_pass_the_casts(name: str) -> None:
    layer = FixedFunction(name, FixedPoint(8, 3), FixedPoint(8, 3)).train()
    x = torch.tensor([0.31, -0.77, 1.9, 50.0], requires_grad=True)
    layer(x).backward(torch.ones(4))
    cast = layer.inner(x.detach()).detach().requires_grad_()
    TORCH[name](cast).sum().backward()
    assert x.grad is not None and cast.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), cast.grad.numpy() * [1, 1, 1, 0])  # the last one leaves the word
    assert all(q.integer.grad is not None for _, q in quantizers(layer))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_evaluation_is_the_table(name: str) -> None:
    inner, out = FixedPoint(7, 3), FixedPoint(9, 3, rounding="AP_TRN")
    layer = FixedFunction(name, inner, out).eval()
    x = torch.arange(inner.lo, inner.hi + 1) / 16.0
    y = layer(x)
    assert y.dtype == torch.float32
    assert (y * 64).tolist() == code_table(name, inner, out).tolist()
    np.testing.assert_allclose(layer.train()(x).detach().numpy(), y.detach().numpy(), atol=1 / 64)


def test_points_are_found_and_learned() -> None:
    layer = FixedGELU(FixedPoint(8), FixedPoint(8))
    with pytest.raises(EdgeqError, match="not known yet"):
        layer.eval()(torch.ones(3))
    with pytest.raises(EdgeqError, match="not known yet"):
        settle(layer)
    x = torch.linspace(-3, 3, 500)
    calibrate(layer, x)
    assert [kind.integer is not None for kind in layer.formats] == [True, True]
    assert (layer(x) - functional.gelu(x)).abs().max() < 0.05
    before, table = binary_points(layer), layer.table
    with torch.no_grad():
        for _, q in quantizers(layer):
            q.integer += 1
    assert binary_points(layer) != before
    assert not np.array_equal(layer.table, table)
    assert (layer(x) - functional.gelu(x)).abs().max() < 0.1


# Export and import


def network() -> nn.Module:
    """A small net with every function, inner casts that wrap too, and one that the model ends in."""
    with seeded(0):
        net = nn.Sequential(
            FixedAct(FixedPoint(8, 2)), FixedConv2d(2, 6, 3, padding=1), FixedGELU(FixedPoint(10), FixedPoint(8)),
            nn.MaxPool2d(2), FixedConv2d(6, 4, 1), FixedGELU(FixedPoint(6), FixedPoint(5), approximate="tanh"),
            FixedConv2d(4, 4, 1, bias=FixedPoint(8)), FixedFunction("silu", FixedPoint(12), FixedPoint(8, overflow="AP_SAT_SYM")),
            FixedConv2d(4, 4, 1), FixedFunction("sigmoid", FixedPoint(7, 1, overflow="AP_WRAP"), FixedPoint(6, signed=False)),
            nn.Flatten(), FixedLinear(36, 5), FixedFunction("tanh", FixedPoint(9, rounding="AP_RND"), FixedPoint(7)),
        )  # fmt: skip
        for part in net:
            if isinstance(part, (FixedConv2d, FixedLinear)):
                part.weight.data *= 4  # so that the outputs vary
        calibrate(net, torch.randn(8, 2, 6, 6))
    return net.eval()


def test_every_engine_equals_pytorch_and_both_exporters_say_the_same(tmp_path: Path) -> None:
    net = network()
    export_module(net, (1, 2, 6, 6), tmp_path / "q.onnx")
    graph = import_qonnx(tmp_path / "q.onnx")
    assert kinds(graph).count("Lookup") == 5
    lower_onnx.save(graph, tmp_path / "int.onnx")
    codes, floats = given_inputs(graph, np.random.default_rng(0).normal(size=(40, 2, 6, 6)))
    found = engines(graph, tmp_path / "int.onnx", tmp_path / "q.onnx", net, codes, floats)
    assert set(found) == {"reference", "onnxruntime", "qonnx", "pytorch"}
    for engine, result in found.items():
        assert (result["mismatches"], result["near_ties"]) == (0, 0), (engine, result)
    expected = ReferenceEngine(graph).run(codes)
    with torch.no_grad():
        y = net(torch.from_numpy(floats.astype(np.float32).reshape(-1, 2, 6, 6))).numpy()
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(y, expected * np.float32(Fraction(graph.meta["tail"]["scale"][0])))
    np.testing.assert_array_equal(ReferenceEngine(hardware_passes(graph)).run(codes), expected)
    fresh = copy.deepcopy(net)
    settle(fresh)
    with torch.no_grad(), quiet():
        export_qonnx(fresh, torch.zeros(1, 2, 6, 6), str(tmp_path / "d.onnx"), dynamo=True, opset_version=20)
    other = import_qonnx(tmp_path / "d.onnx")
    assert kinds(other) == kinds(graph)
    np.testing.assert_array_equal(ReferenceEngine(other).run(codes), expected)


def test_a_changed_entry_is_found(tmp_path: Path) -> None:
    """The file's table is what is imported: nobody computes it again."""
    net = nn.Sequential(FixedAct(FixedPoint(6, 3)), FixedGELU(FixedPoint(6, 3), FixedPoint(6, 3))).eval()
    export_module(net, (1, 4), tmp_path / "q.onnx")
    model = onnx.load(tmp_path / "q.onnx")
    (node,) = (n for n in model.graph.node if n.op_type == LOOKUP)
    assert node.domain == DOMAIN
    tables = {t.name: t for t in model.graph.initializer} | {
        n.output[0]: n.attribute[0].t for n in model.graph.node if n.attribute
    }
    stored = tables[node.input[2]]
    table = onnx.numpy_helper.to_array(stored).copy()
    np.testing.assert_array_equal(table, code_table("gelu", FixedPoint(6, 3), FixedPoint(6, 3)))
    table[7] += 1
    stored.CopyFrom(onnx.numpy_helper.from_array(table, stored.name))
    graph = import_qonnx(model)
    lower_onnx.save(graph, tmp_path / "int.onnx")
    onnx.save(model, tmp_path / "q.onnx")
    codes = np.arange(-32, 32).reshape(-1, 4)
    result = engines(graph, tmp_path / "int.onnx", tmp_path / "q.onnx", net, codes, codes / 8)
    assert {name: r["mismatches"] > 0 for name, r in result.items()} == {
        "reference": False, "onnxruntime": False, "qonnx": False, "pytorch": True,
    }  # fmt: skip


def looked_up(b: Builder, x: str, table: Any = range(-4, 12), scale: float = 0.5, out: float = 0.25, lo: int = -8) -> str:
    return b.op(LOOKUP, x, b.const(scale), b.const(table, None), b.const(out), domain=DOMAIN, lo=lo)


def imported(b: Builder, y: str, folder: Path) -> tuple[Graph, onnx.ModelProto]:
    model = b.model(y)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return import_qonnx(folder / "m.onnx"), model


def test_only_codes_of_the_table_are_looked_up(tmp_path: Path) -> None:
    graph, _ = imported(b := Builder(4), looked_up(b, b.quant("x", 0.5, 4)), tmp_path)
    (node,) = graph.nodes
    assert isinstance(node.op, Lookup) and (node.op.lo, graph.input_type.lo) == (-8, -8)
    codes, _ = random_inputs(graph, 20, 0)
    np.testing.assert_array_equal(ReferenceEngine(graph).run(codes), codes + 4)

    def refused(match: str, make: Callable[[Builder, str], str]) -> None:
        b = Builder(4)
        with pytest.raises(EdgeqError, match=match):
            imported(b, make(b, b.quant("x", 0.5, 4)), tmp_path)

    refused("no codes of scale 2\\^-2", lambda b, x: looked_up(b, x, scale=0.25))
    refused("no codes of scale 2\\^0", lambda b, x: looked_up(b, x, scale=1.0))
    refused("offset", lambda b, x: looked_up(b, b.op("Add", x, b.const(0.5))))
    refused("no codes", lambda b, x: looked_up(b, b.op("Relu", x)))
    refused("leave the table", lambda b, x: looked_up(b, x, lo=-7))
    refused("leave the table", lambda b, x: looked_up(b, x, table=range(15)))
    refused("power of two", lambda b, x: looked_up(b, x, out=0.3))
    refused("no vector of integers", lambda b, x: looked_up(b, x, table=np.ones(16, np.float32)))
    refused("no vector of integers", lambda b, x: looked_up(b, x, table=np.ones((1, 16), np.int64)))
    refused("4,097 entries", lambda b, x: looked_up(b, x, table=range(4097)))
    refused("0 entries", lambda b, x: looked_up(b, x, table=np.zeros(0, np.int64)))
    refused("codes from 0 to 65536", lambda b, x: looked_up(b, x, table=[0] * 15 + [1 << 16]))
    refused("from -9223372036854775808 up", lambda b, x: looked_up(b, x, lo=-(1 << 63)))
    refused("which no quantizer has made integers", lambda b, x: looked_up(b, "x"))
    refused("must be an activation", lambda b, x: looked_up(b, b.const([0.5])))
    refused("has the domain", lambda b, x: b.op(LOOKUP, x, b.const(0.5), b.const(range(16), None), b.const(0.5)))


def test_plain_qonnx_runs_the_table_and_nothing_beside_it() -> None:
    b = Builder(3)
    y = looked_up(b, "x")
    model = b.model(y)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, [1, 3]))
    wrapped = ModelWrapper(model)
    assert execute_onnx(wrapped, {"x": np.float32([[-4, 0.5, 3.5]])})[y].tolist() == [[-1.0, 1.25, 2.75]]
    for wrong in (0.25, 4.0, -4.5, np.nan):
        with pytest.raises(ValueError, match="no multiple of"):
            execute_onnx(wrapped, {"x": np.float32([[0, 0, wrong]])})


# Conversion and refusals


class Functions(nn.Module):
    """Every function as a module, and all other names of each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 6)
        self.gelu, self.silu, self.sigmoid, self.tanh = nn.GELU(), nn.SiLU(inplace=True), nn.Sigmoid(), nn.Tanh()
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tanh(self.silu(self.gelu(self.norm(self.conv(x)))))
        x = torch.tanh(functional.gelu(x, approximate="tanh")).sigmoid()
        x = functional.silu(self.sigmoid(x)) + functional.gelu(x)
        return self.fc(self.mean(x).flatten(1))


def test_functions_are_converted(tmp_path: Path) -> None:
    with seeded(0):
        net, x = Functions().eval(), torch.randn(16, 2, 6, 6)
    formats = Formats(features=FixedPoint(14, rounding="AP_RND"))
    made = convert(net, x, formats, {"tanh": Formats(inner=FixedPoint(5), features=FixedPoint(6, signed=False))})
    found = {name.removesuffix("_fixed"): part for name, part in made.named_modules() if isinstance(part, FixedFunction)}
    assert [part.name for part in found.values()] == [
        "gelu", "silu", "tanh", "gelu_tanh", "tanh", "sigmoid", "sigmoid", "silu", "gelu",
    ]  # fmt: skip
    kept = {tuple((k.bits, k.signed, k.rounding) for k in part.formats) for name, part in found.items() if name != "tanh"}
    assert kept == {((12, True, "AP_RND"), (14, True, "AP_RND"))}
    assert [k.bits for k in found["tanh"].formats] == [5, 6]
    casts = [name.split(".")[0] for name, _ in quantizers(made) if "act_quant" in name]
    assert casts.count("norm_fixed") == 0, "an accumulator is rounded once, by the function's own cast"
    exact = convert(net, x, formats)
    with torch.no_grad():
        assert (exact(x) - net(x)).abs().max() < 0.02
    export_module(made, (1, 2, 6, 6), tmp_path / "q.onnx")
    graph = import_qonnx(tmp_path / "q.onnx")
    lower_onnx.save(graph, tmp_path / "int.onnx")
    for result in engines(graph, tmp_path / "int.onnx", tmp_path / "q.onnx", made, *given_inputs(graph, x.numpy())).values():
        assert (result["mismatches"], result["near_ties"]) == (0, 0), result


def test_what_has_no_table_is_refused() -> None:
    for match, make in (
        ("'relu' is unknown", lambda: FixedFunction("relu")),
        ("'gelu_erf' is unknown", lambda: FixedGELU(approximate="erf")),
        ("13 bits", lambda: FixedGELU(FixedPoint(13))),
        ("needs both binary points", lambda: code_table("gelu", FixedPoint(8), FixedPoint(8, 1))),
        ("13 bits", lambda: convert(nn.GELU(), torch.ones(1, 2), Formats(inner=FixedPoint(13)))),
    ):
        with pytest.raises(EdgeqError, match=match):
            make()
