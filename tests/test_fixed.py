"""Trainable fixed point: the cast against hls4ml's own ap_fixed headers, gradients, codings, exact export, refusals."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from brevitas.export import export_qonnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx_models import Builder, engines, kinds, verify_qonnx
from torch import Tensor, nn

from edgeq.digits import digit_count
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN, OPERATOR, OVERFLOWS, ROUNDINGS, FixedPoint
from edgeq.frontend.brevitas import export_module, quiet
from edgeq.frontend.exact import Quantizer
from edgeq.frontend.qonnx import given_inputs, import_qonnx, random_inputs
from edgeq.graph import Graph
from edgeq.lower import onnx as lower_onnx
from edgeq.train import (
    DenseShift,
    FixedAct,
    FixedAdd,
    FixedAvgPool2d,
    FixedBatchNorm,
    FixedConv2d,
    FixedLinear,
    FixedPReLU,
    Formats,
    KHot,
    Recipe,
    Ternary,
    binary_points,
    calibrate,
    convert,
    fit,
    load_packed,
    parameter_groups,
    quantizers,
)
from edgeq.train.fixed import FixedQuant
from edgeq.train.loop import seeded
from edgeq.train.settle import settle
from edgeq.verify import verify_module

(PACKAGE,) = find_spec("hls4ml").submodule_search_locations  # importing it takes seconds
HEADERS = Path(PACKAGE) / "templates/vivado/ap_types"
FORMATS = [(signed, rounding, overflow) for signed, rounding, overflow in itertools.product((True, False), ROUNDINGS, OVERFLOWS)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# The cast against ap_fixed


def cpp(kind: FixedPoint) -> str:
    return f"ap_{'' if kind.signed else 'u'}fixed<{kind.bits}, {kind.integer}, {kind.rounding}, {kind.overflow}>"


def ap_fixed(folder: Path, bodies: list[str], inputs: list[list[np.ndarray]]) -> list[np.ndarray]:
    """What C++ with the headers that hls4ml ships makes of float64 values: y of each body, a function of a[0], a[1], ..."""
    functions = [f"static double f{i}(const double *a) {{ {body} return y.to_double(); }}" for i, body in enumerate(bodies)]
    source = f"""#include <cstdio>
#include <ap_fixed.h>
{chr(10).join(functions)}
static double (*const all[])(const double *) = {{{", ".join(f"f{i}" for i in range(len(bodies)))}}};
int main() {{
    long n[3];  // function, values, operands
    double a[8];
    while (fread(n, sizeof(long), 3, stdin) == 3)
        for (long i = 0; i < n[1]; i++) {{
            if (fread(a, sizeof(double), n[2], stdin) != (size_t)n[2]) return 1;
            const double y = all[n[0]](a);
            fwrite(&y, sizeof(double), 1, stdout);
        }}
}}
"""
    (folder / "cast.cpp").write_text(source)
    subprocess.run(
        ["g++", "-O0", "-std=c++14", "-w", f"-I{HEADERS}", "-o", folder / "cast", folder / "cast.cpp"], check=True, timeout=240
    )
    sent = b""
    for i, operands in enumerate(inputs):
        sent += np.array([i, len(operands[0]), len(operands)]).tobytes() + np.stack(operands, axis=1).astype(np.float64).tobytes()
    made = subprocess.run([folder / "cast"], input=sent, capture_output=True, check=True, timeout=60).stdout
    return np.split(np.frombuffer(made), np.cumsum([len(operands[0]) for operands in inputs])[:-1])


def cast(kind: FixedPoint, x: Any, xp: Any) -> Any:
    scale = 2.0 ** (int(kind.integer or 0) - kind.bits)
    return kind.codes(x / scale, xp) * scale


def hard_values(kind: FixedPoint, rng: np.random.Generator) -> np.ndarray:
    """float32: ties and quarters over four words, the floats next to ties, and values of every size."""
    reach = 4 << kind.bits
    ties = rng.integers(-reach, reach, 300) / 2
    near = np.nextafter(ties[:100].astype(np.float32), np.float32(0))
    sizes = rng.normal(size=100) * 2.0 ** rng.integers(-30, 60, 100)
    edges = np.array([kind.lo - 0.5, kind.lo, kind.hi, kind.hi + 0.5, 2.0**kind.bits, 0.5, -0.5, 0.0, 1e-9, -1e-9])
    u = np.concatenate([np.arange(-64, 65) / 8, ties, ties / 2, near, sizes, edges, np.nextafter(np.float32([0.5, -0.5]), 0)])
    return np.ldexp(u.astype(np.float32), int(kind.integer or 0) - kind.bits).astype(np.float32)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[FixedPoint, np.ndarray, np.ndarray]]:
    """(format, x, ap_fixed's cast) for every mode, with widths and points at random."""
    draw, rng = random.Random(0), np.random.default_rng(0)
    widths = draw.sample(range(2, 25), 4)  # every other width takes g++ a second more
    formats = []
    for signed, rounding, overflow in FORMATS:
        bits = draw.choice(widths)
        formats.append(FixedPoint(bits, draw.randint(-4, bits + 4), signed, rounding, overflow))
    values = [hard_values(kind, rng) for kind in formats]
    bodies = [f"{cpp(kind)} y = a[0];" for kind in formats]
    found = ap_fixed(tmp_path_factory.mktemp("cast"), bodies, [[x] for x in values])
    return list(zip(formats, values, found, strict=True))


def test_the_cast_is_ap_fixed_bit_for_bit(oracle: list[tuple[FixedPoint, np.ndarray, np.ndarray]]) -> None:
    assert len(oracle) == 56
    for kind, x, expected in oracle:
        np.testing.assert_array_equal(cast(kind, x, np), expected, str(kind))
        np.testing.assert_array_equal(cast(kind, torch.from_numpy(x), torch).numpy(), expected, str(kind))
        quant = FixedQuant(kind, parameter=True)
        np.testing.assert_array_equal(quant(torch.from_numpy(x))[0].detach().numpy(), expected, str(kind))
        assert quant(torch.from_numpy(x))[1] == 2.0**-quant.point


def test_the_values_tell_every_pair_of_modes_apart(oracle: list[tuple[FixedPoint, np.ndarray, np.ndarray]]) -> None:
    """Every other rounding and overflow casts a signed format's values otherwise; else the test above proves little."""
    for kind, x, expected in oracle:
        for rounding, overflow in itertools.product(ROUNDINGS, OVERFLOWS) if kind.signed and kind.bits > 2 else ():
            if (rounding, overflow) != (kind.rounding, kind.overflow):
                other = FixedPoint(kind.bits, kind.integer, True, rounding, overflow)
                assert not np.array_equal(cast(other, x, np), expected), (str(kind), str(other))


@given(
    u=st.integers(-400, 400), bits=st.integers(2, 6), signed=st.booleans(), rounding=st.sampled_from(sorted(ROUNDINGS)),
    narrow=st.booleans(),
)  # fmt: skip
def test_the_importer_means_the_same(u: int, bits: int, signed: bool, rounding: str, narrow: bool) -> None:
    kind = FixedPoint(bits, None, signed, rounding, "AP_SAT_SYM" if narrow else "AP_SAT")
    q = Quantizer((Fraction(1),), 0, kind.lo, kind.hi, ROUNDINGS[rounding])
    assert int(kind.codes(np.float32(u / 8), np)) == q.code(Fraction(u, 8))


def test_layers_are_ap_fixed_arithmetic(tmp_path: Path) -> None:
    """BatchNorm, PReLU, residual addition and pooling in evaluation against ap_fixed expressions, products past 24 bits too."""
    rng = np.random.default_rng(1)
    x_kind, y_kind = FixedPoint(16, 9), FixedPoint(11, 2)
    slope, offset = FixedPoint(12, 4, rounding="AP_RND"), FixedPoint(14, 6)
    outs = [FixedPoint(9, 4, rounding="AP_RND", overflow="AP_WRAP"), FixedPoint(16, 9, rounding="AP_TRN"), FixedPoint(8, 5),
            FixedPoint(10, 6, rounding="AP_RND_MIN_INF", overflow="AP_SAT_ZERO")]  # fmt: skip
    x, y = (np.float32(rng.integers(k.lo, k.hi, 400) * 2.0 ** ((k.integer or 0) - k.bits)) for k in (x_kind, y_kind))
    norm, relu = FixedBatchNorm(400, slope=slope, offset=offset, out=outs[0]), FixedPReLU(400, slope=slope, out=outs[1])
    norm.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    nn.init.normal_(relu.weight)
    a, b = (v.detach().numpy() for v in norm._line(norm.running_mean, norm.running_var))
    s = relu.slope_quant(relu.weight)[0].detach().numpy()
    assert {norm.slope_quant.point, relu.slope_quant.point} == {8}
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)
    with torch.no_grad():
        found = [
            norm.eval()(xs[None])[0],
            relu.eval()(xs[None])[0],
            FixedAdd(outs[2]).eval()(xs, ys),
            FixedAvgPool2d(2, out=outs[3]).eval()(xs.reshape(1, 1, 20, 20)).reshape(-1),
        ]
    read = f"{cpp(x_kind)} x = a[0]; "
    windows = x.reshape(10, 2, 10, 2).transpose(0, 2, 1, 3).reshape(100, 4)
    expected = ap_fixed(
        tmp_path,
        [
            f"{read}{cpp(slope)} w = a[1]; {cpp(offset)} b = a[2]; {cpp(outs[0])} y = x * w + b;",
            f"{read}{cpp(slope)} w = a[1]; {cpp(outs[1])} y = x; if (x < 0) y = x * w;",
            f"{read}{cpp(y_kind)} z = a[1]; {cpp(outs[2])} y = x + z;",
            f"ap_fixed<24, 13> s = 0; for (int i = 0; i < 4; i++) {{ {cpp(x_kind)} v = a[i]; s += v; }}{cpp(outs[3])} y = s / 4;",
        ],
        [[x, a, b], [x, s], [x, y], list(windows.T)],
    )
    for name, wanted, got in zip(("norm", "prelu", "add", "pool"), expected, found, strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted, name)
        assert len(np.unique(wanted)) > 20


# Gradients and starts


def test_gradients_follow_the_formula() -> None:
    x = torch.tensor([0.3, -0.6, 1.1, 5.0, -9.0], requires_grad=True)
    quant = FixedQuant(FixedPoint(4, 2), parameter=True)  # codes -8 .. 7 of 1/4
    y = quant(x)[0]
    assert y.tolist() == [0.25, -0.5, 1.0, 1.75, -2.0]
    y.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]))
    assert x.grad is not None and quant.integer.grad is not None
    assert x.grad.tolist() == [1.0, 10.0, 100.0, 0.0, 0.0]
    inside = (0.25 - 0.3) + 10 * (-0.5 + 0.6) + 100 * (1.0 - 1.1)
    assert quant.integer.grad.item() == pytest.approx((inside + 1000 * 1.75 - 10000 * 2.0) * log(2), rel=1e-5)


@pytest.mark.parametrize("overflow", ["AP_SAT", "AP_WRAP"])
@pytest.mark.parametrize("start", [-3, 6])
def test_the_binary_point_is_learned(start: int, overflow: str) -> None:
    """From far too small or large a range to the point of least error, by gradient descent on the error alone."""
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    best = FixedQuant(FixedPoint(6, overflow=overflow), parameter=True)
    quant = FixedQuant(FixedPoint(6, start, overflow=overflow), parameter=True)
    best(x)
    optimizer = torch.optim.Adam([quant.integer], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (quant(x)[0] - x).square().mean().backward()
        optimizer.step()
    assert abs(quant.point - best.point) <= 1
    assert quant.point != FixedQuant(FixedPoint(6, start), True).point


@pytest.mark.parametrize("kind", [FixedPoint(6), FixedPoint(5, signed=False), KHot(8, k=1), DenseShift(4), Ternary()])
def test_the_first_point_has_the_least_error(kind: FixedPoint) -> None:
    x = torch.randn(500, generator=torch.Generator().manual_seed(3)) * 0.07
    quant = FixedQuant(kind, parameter=True)
    error = (quant(x)[0] - x).square().sum()
    for integer in range(-12, 6):
        quant.integer.data.fill_(integer)
        assert (quant(x)[0] - x).square().sum() >= error


def test_zeros_and_unseen_activations_set_no_point() -> None:
    act = FixedAct(FixedPoint(6))
    assert act.train()(torch.zeros(3)).tolist() == [0, 0, 0]
    with pytest.raises(EdgeqError, match="not known yet"):
        act.eval()(torch.ones(3))
    calibrate(act, torch.tensor([0.7, -0.2]))
    assert not act.training
    assert act(torch.tensor([0.7])).item() == pytest.approx(0.7, abs=1 / 64)
    copy = FixedAct(FixedPoint(6))
    copy.load_state_dict(act.state_dict())
    assert binary_points(copy.eval()) == binary_points(act)


# Codings


def signed_sums(bits: int, k: int) -> set[int]:
    """Every sum of at most k terms 0, +-2^e that lies in the symmetric word."""
    powers = [0] + [s << e for e in range(bits) for s in (1, -1)]
    top = (1 << (bits - 1)) - 1
    return {total for terms in itertools.product(powers, repeat=k) if abs(total := sum(terms)) <= top}


@pytest.mark.parametrize(("bits", "k"), [(2, 1), (5, 1), (8, 1), (6, 2), (8, 2), (6, 3)])
def test_k_hot_words_are_the_nearest_sums_of_k_powers(bits: int, k: int) -> None:
    words = sorted(signed_sums(bits, k))
    u = np.arange(-(5 << bits), 5 << bits) / 8
    distance = np.abs(u[:, None] - np.array(words))
    made = KHot(bits, k=k).codes(u, np)
    assert set(made.astype(int)) == set(words)
    np.testing.assert_array_equal(np.abs(made - u), distance.min(axis=1))
    np.testing.assert_array_equal(made, -KHot(bits, k=k).codes(-u, np))
    assert digit_count(made).max() == k or bits == 2


def test_digits_of_every_word_are_the_fewest() -> None:
    for k in range(1, 5):
        assert {v for v in range(-127, 128) if digit_count(np.array(v)) <= k} == signed_sums(8, k)


def test_shift_and_ternary_words() -> None:
    u = np.linspace(-40, 40, 1001)
    made = DenseShift(5).codes(u, np)
    assert set(made) == {s * 2.0**e for s in (1, -1) for e in range(4)}  # no zero
    assert DenseShift(5).codes(np.array([0.0]), np) == 1
    w = torch.randn(999, generator=torch.Generator().manual_seed(0))
    expected = (w / w.abs().median()).round().clip(-1, 1)  # BitNet b1.58 Reloaded
    assert torch.equal(Ternary().codes(w, torch), expected)
    for wrong in ({"bits": 3}, {"signed": False}, {"overflow": "AP_WRAP"}):
        with pytest.raises(EdgeqError):
            Ternary(**wrong)
    with pytest.raises(EdgeqError, match="nonzero digits"):
        KHot(8, k=0)


# Import of FixedQuant


def fixed(b: Builder, x: str, kind: FixedPoint, scale: float) -> str:
    attributes = {"bits": kind.bits, "signed": int(kind.signed), "rounding": kind.rounding, "overflow": kind.overflow}
    return b.op(OPERATOR, x, b.const(scale), domain=DOMAIN, **attributes)


def imported(b: Builder, output: str, folder: Path) -> tuple[Graph, Path]:
    model = b.model(output)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return import_qonnx(folder / "m.onnx"), folder / "m.onnx"


@pytest.mark.parametrize(("signed", "rounding", "overflow"), FORMATS)
def test_every_mode_is_imported_exactly(signed: bool, rounding: str, overflow: str, tmp_path: Path) -> None:
    """All 2^9 inputs, channels of either slope and an offset, to few and to many levels, against qonnx."""
    b = Builder(4)
    x = b.op("Add", b.op("Mul", b.quant("x", 0.25, 9), b.const([0.75, -1.5, 0.0, 2.0])), b.const(0.375))
    few = fixed(b, x, FixedPoint(4, None, signed, rounding, overflow), 0.5)
    many = fixed(b, x, FixedPoint(9 if signed else 8, None, signed, rounding, overflow), 0.125)
    graph, path = imported(b, b.op("Relu", b.op("Concat", few, many, axis=1)), tmp_path)
    grid = np.repeat(np.arange(-256, 256, dtype=np.float32)[:, None] / 4, 4, axis=1)
    codes, floats = given_inputs(graph, grid)
    result = verify_qonnx(graph, path, codes, floats)
    assert (result["mismatches"], result["near_ties"]) == (0, 0), result


def test_sums_wider_than_every_listed_level_are_wrapped(tmp_path: Path) -> None:
    """Accumulators of 25 bits onto a word of 15: the cast is taken by its form, not level by level."""
    b = Builder(64)
    weight = b.weight(np.random.default_rng(0).normal(size=(5, 64)) * 30, 8, 1.0)
    x = b.op("Gemm", b.quant("x", 1.0, 12), weight, transB=1)
    graph, path = imported(b, b.op("Relu", fixed(b, x, FixedPoint(15, overflow="AP_WRAP", rounding="AP_RND"), 2.0)), tmp_path)
    codes, floats = random_inputs(graph, 200, 0)
    assert verify_qonnx(graph, path, codes, floats)["mismatches"] == 0
    assert kinds(graph)[1:] == ["Requantize", "Requantize", "Requantize", "Add", "Requantize"]


def test_a_cast_that_never_overflows_needs_no_wrap(tmp_path: Path) -> None:
    b = Builder(4)
    x = b.op("Mul", b.quant("x", 1.0, 4), b.const(0.5))
    graph, _ = imported(b, fixed(b, x, FixedPoint(4, overflow="AP_WRAP", rounding="AP_TRN"), 1.0), tmp_path)
    assert kinds(graph) == ["Threshold"]


def test_plain_qonnx_runs_the_file(tmp_path: Path) -> None:
    b = Builder(6)
    y = fixed(b, "x", FixedPoint(5, rounding="AP_RND"), 0.5)
    model = b.model(y)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, [1, 6]))
    x = np.float32([[0.25, -0.25, 0.75, -0.75, 99, 0.1]])
    found = execute_onnx(ModelWrapper(model), {"x": x})[y]
    assert found.tolist() == [[0.5, 0.0, 1.0, -0.5, 7.5, 0.0]]


def test_what_cannot_be_exact_is_refused(tmp_path: Path) -> None:
    def refused(match: str, make: Any) -> None:
        b = Builder(2, 4, 4)
        with pytest.raises(EdgeqError, match=match):
            imported(b, make(b, b.quant("x", 0.25, 8)), tmp_path)

    kind = FixedPoint(5)
    refused("not monotone", lambda b, x: fixed(b, "x", FixedPoint(5, overflow="AP_WRAP"), 0.5))
    refused("power of two", lambda b, x: fixed(b, x, kind, 0.3))
    refused("unknown", lambda b, x: b.op(OPERATOR, x, b.const(0.5), domain=DOMAIN, rounding="AP_UP"))
    refused("17 bits", lambda b, x: fixed(b, x, FixedPoint(17), 0.5))
    refused("has the domain", lambda b, x: b.op(OPERATOR, x, b.const(0.5)))
    refused("no multiple of a power of two", lambda b, x: b.op("PRelu", x, b.const(0.3)))
    refused("border", lambda b, x: b.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    for make in (lambda: FixedPoint(0), lambda: FixedPoint(25), lambda: FixedPoint(4, rounding="RND"), lambda: FixedPoint(1)):
        with pytest.raises(EdgeqError):
            make()


@pytest.mark.parametrize("slope", [0.25, -0.75, 1.5, [0.5, 0.0]])
def test_prelu_and_leaky_relu(slope: Any, tmp_path: Path) -> None:
    b = Builder(2, 16, 16)
    y = b.op("PRelu", b.quant("x", 0.5, 8), b.const(np.reshape(slope, (-1, 1, 1))))
    if slope == 0.25:
        y = b.op("LeakyRelu", y, alpha=0.125)
    graph, path = imported(b, b.quant(y, 0.25, 7), tmp_path)
    codes, floats = random_inputs(graph, 40, 0)
    result = verify_qonnx(graph, path, codes, floats)
    assert (result["mismatches"], result["near_ties"]) == (0, 0)


# Whole networks


class Net(nn.Module):
    """A residual network of random formats: every layer, the shortcut computed first."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        self.input = FixedAct(FixedPoint(8, 1))
        self.stem = FixedConv2d(3, 6, 3, padding=1, weight=self.weight(), bias=self.choice(None, FixedPoint(12)))
        self.norm, self.relu = FixedBatchNorm(6, out=None, momentum=0.9), FixedAct(self.kind(signed=False))
        self.shortcut = nn.Sequential(FixedConv2d(6, 6, 1, weight=self.weight()), FixedAct(self.kind()))
        self.conv = FixedConv2d(6, 6, 3, padding=1, groups=self.choice(1, 2, 6), weight=self.weight())
        self.norm2, self.add = FixedBatchNorm(6, out=self.kind(), momentum=0.9), FixedAdd(self.kind())
        self.prelu = FixedPReLU(self.choice(1, 6), slope=FixedPoint(6), out=self.kind())
        self.pool = FixedAvgPool2d(self.choice(2, 3), stride=2, padding=1, out=self.kind())
        self.mean, self.dense = FixedAvgPool2d(out=self.kind()), FixedLinear(6, 5, weight=self.weight(), bias=FixedPoint(16))

    def choice(self, *options: Any) -> Any:
        return self.draw.choice(options)

    def kind(self, signed: bool = True) -> FixedPoint:
        return FixedPoint(self.choice(3, 5, 8), None, signed, self.choice(*ROUNDINGS), self.choice(*OVERFLOWS))

    def weight(self) -> FixedPoint:
        plain = FixedPoint(self.choice(3, 6, 8), None, True, self.choice(*ROUNDINGS), self.choice(*OVERFLOWS))
        return self.choice(plain, KHot(8, k=self.choice(1, 2, 3)), DenseShift(5), Ternary())

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(self.input(x))))
        shortcut = self.shortcut(x)
        x = self.add(self.norm2(self.conv(x)), shortcut)
        return self.dense(self.mean(self.pool(self.prelu(x))).flatten(1))


def trained(seed: int) -> Net:
    """A step or two, so that statistics and points are no round numbers."""
    with seeded(seed):
        net = Net(seed)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(2):
            y = net.train()(torch.randn(8, 3, 6, 6) * 0.4)
            optimizer.zero_grad()
            nn.functional.cross_entropy(y, torch.arange(8) % 5).backward()
            assert all(p.grad is not None for p in net.parameters())
            optimizer.step()
    return net.eval()


@pytest.mark.parametrize("seed", range(4))
def test_networks_are_exported_exactly(seed: int, tmp_path: Path) -> None:
    net = trained(seed)
    export_module(net, (1, 3, 6, 6), tmp_path / "q.onnx")
    graph = import_qonnx(tmp_path / "q.onnx")
    lower_onnx.save(graph, tmp_path / "int.onnx")
    codes, floats = given_inputs(graph, np.random.default_rng(seed).normal(size=(12, 3, 6, 6)) * 0.4)
    found = engines(graph, tmp_path / "int.onnx", tmp_path / "q.onnx", net, codes, floats)
    assert set(found) == {"reference", "onnxruntime", "qonnx", "pytorch"}
    for engine, result in found.items():
        assert (result["mismatches"], result["near_ties"]) == (0, 0), (engine, result)
    assert found["pytorch"]["values"] > 5000


def test_both_exporters_say_the_same(tmp_path: Path) -> None:
    """The second try of export_module, torch.export, on every kind of node."""
    kinds_ = [FixedPoint(6, 1), FixedPoint(5, 2, overflow="AP_WRAP"), FixedPoint(4, 2, rounding="AP_RND")]
    with seeded(0):
        net = nn.Sequential(
            FixedAct(kinds_[0]), FixedLinear(8, 6, weight=KHot(5), bias=FixedPoint(8)), FixedBatchNorm(6, out=kinds_[1]),
            FixedPReLU(6, out=kinds_[2]), FixedLinear(6, 4, weight=Ternary()),
        ).eval()  # fmt: skip
    export_module(net, (1, 8), tmp_path / "script.onnx")
    settle(net)
    with torch.no_grad(), quiet():
        export_qonnx(net, torch.zeros(1, 8), str(tmp_path / "export.onnx"), dynamo=True, opset_version=20)
    script, export = (import_qonnx(tmp_path / name) for name in ("script.onnx", "export.onnx"))
    codes, _ = random_inputs(script, 200, 0)
    expected = ReferenceEngine(script).run(codes)
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(ReferenceEngine(export).run(codes), expected)


def test_training_and_files_keep_points(tmp_path: Path) -> None:
    """The training loop moves points, faster than weights; a packed file gives the same outputs."""
    net = trained(2)
    before = binary_points(net)
    x = torch.randn(64, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.4
    fit(net, x, torch.arange(64) % 5, Recipe(epochs=3, batch=16, rate=0.02), checkpoint=tmp_path / "net.npz")
    moved = [name for name, point in binary_points(net).items() if point != before[name]]
    assert 0 < len(moved) < len(before)
    points = parameter_groups(net, 0.5)[1]
    assert (points["lr"], points["weight_decay"], len(points["params"])) == (5.0, 0.0, len(before))
    fresh = Net(2).eval()
    load_packed(fresh, tmp_path / "net.npz")
    assert torch.equal(fresh(x), net(x))
    assert binary_points(fresh) == binary_points(net)


def test_a_changed_point_is_found(tmp_path: Path) -> None:
    net = trained(0)
    export_module(net, (1, 3, 6, 6), tmp_path / "q.onnx")
    graph = import_qonnx(tmp_path / "q.onnx")
    codes, floats = random_inputs(graph, 4, 0)
    for name, quant in quantizers(net):
        before = quant.integer.item()
        quant.integer.data.add_(1)
        if "weight" in name or "act" in name:  # the last bit of slopes and biases may lie below the next cast's
            assert verify_module(graph, net, codes, floats).mismatches > 0, name
        quant.integer.data.fill_(before)
    assert verify_module(graph, net, codes, floats).mismatches == 0


# Conversion


class Residual(nn.Module):
    """A float network with what convert knows: reused activations, functions and methods, a shortcut of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.conv1, self.norm1 = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.short, self.norm2 = nn.Conv2d(8, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.prelu, self.leaky = nn.Conv2d(8, 8, 1), nn.PReLU(8), nn.LeakyReLU(0.01)
        self.drop, self.mean, self.fc = nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.relu(self.norm(self.conv(x))), 2)
        y = self.norm1(self.conv1(x))
        y += self.norm2(self.short(x))
        y = self.prelu(self.conv2(self.relu(y)))
        y = self.leaky(nn.functional.avg_pool2d(y, 2))
        return self.fc(self.drop(self.mean(y)).flatten(1))


@pytest.fixture(scope="module")
def floating() -> tuple[nn.Module, Tensor]:
    with seeded(0):
        net, x = Residual(), torch.randn(24, 3, 12, 12)
        for _ in range(20):
            net.train()(x)
    return net.eval(), x


def test_conversion_keeps_the_function(floating: tuple[nn.Module, Tensor]) -> None:
    """More bits, less error; the float module stays as it is; every tensor that layers pass on is cast, and once."""
    net, x = floating
    with torch.no_grad():
        y = net(x)
        errors = []
        for bits in (4, 6, 8, 12):
            formats = Formats(weight=FixedPoint(min(bits, 8)), features=FixedPoint(bits))
            made = convert(net, x[:8], formats)(x)
            errors.append(((made - y).square().mean() / y.var()).sqrt().item())
        assert torch.equal(net(x), y)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02 < 0.1 < errors[0]
    casts = [name for name, _ in quantizers(convert(net, x[:8])) if "act_quant" in name]
    assert [name.split(".")[0] for name in casts] == [
        "x_cast", "relu_fixed", "norm1_fixed", "norm2_fixed", "relu_1_fixed", "conv2_fixed", "prelu_fixed", "avg_pool2d_fixed",
        "leaky_fixed", "mean_fixed",
    ]  # fmt: skip


def test_a_converted_network_is_exported_exactly(floating: tuple[nn.Module, Tensor], tmp_path: Path) -> None:
    net, x = floating
    khot = Formats(weight=KHot(8, k=2), features=FixedPoint(6, rounding="AP_RND"))
    made = convert(net, x[:8], khot, {"fc": Formats(), "add": Formats(features=FixedPoint(10)), "norm": Formats()})
    assert {q.kind for name, q in quantizers(made) if "weight" in name} == {KHot(8, k=2), FixedPoint(8)}
    export_module(made, (1, 3, 12, 12), tmp_path / "q.onnx")
    graph = import_qonnx(tmp_path / "q.onnx")
    lower_onnx.save(graph, tmp_path / "int.onnx")
    for result in engines(graph, tmp_path / "int.onnx", tmp_path / "q.onnx", made, *given_inputs(graph, x[:6].numpy())).values():
        assert (result["mismatches"], result["near_ties"]) == (0, 0), result


def test_what_cannot_be_converted_is_refused(floating: tuple[nn.Module, Tensor]) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    class Branching(Twice):
        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if x.sum() > 0 else x

    net, x = floating
    reflect = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
    for match, module in (
        ("Softplus has no fixed-point form", nn.Sequential(nn.Conv2d(3, 3, 1), nn.Softplus())),
        ("used twice", Twice()),
        ("cannot trace", Branching()),
        ("reflect padding", nn.Sequential(reflect)),
        ("window's size", nn.Sequential(nn.AvgPool2d(3, padding=1, count_include_pad=False))),
        ("to 2", nn.Sequential(nn.AdaptiveAvgPool2d(2))),
        ("running statistics", nn.Sequential(nn.BatchNorm2d(3, affine=False))),
    ):
        with pytest.raises(EdgeqError, match=match):
            convert(module, x)
    with pytest.raises(EdgeqError, match="no layer 'con'"):
        convert(net, x, layers={"con": Formats()})


def test_what_no_cast_ends_keeps_every_bit_for_the_next_one() -> None:
    """1/2 + 2^-26 is above a half, but its float32 is one, which rounds to the even 0."""
    norm = FixedBatchNorm(1, slope=FixedPoint(12, -8), offset=FixedPoint(16, 1), out=None, eps=0.0).eval()
    with torch.no_grad():
        norm.weight.fill_(2.0**-10)
        norm.bias.fill_(0.5)
    y = FixedAct(FixedPoint(8, 8)).eval()(norm(torch.full((1, 1, 1, 1), 2.0**-16)))
    assert y.dtype == torch.float32 and y.item() == 1
