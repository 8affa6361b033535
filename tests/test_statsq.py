"""StatsQ weights and confidence-guided annealing: words against fractions, kept units, exact export, what is frozen."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from qonnx_models import engines
from test_segmenter import one_thread, tiny  # noqa: F401
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.frontend.brevitas import export_module
from edgeq.frontend.qonnx import given_inputs, import_qonnx
from edgeq.lower import onnx as lower_onnx
from edgeq.train import (
    Annealing,
    FixedAct,
    FixedConv2d,
    FixedLinear,
    FixedPoint,
    Formats,
    Recipe,
    StatsQ,
    adaquant,
    binary_points,
    calibrate,
    convert,
    fit,
    load_packed,
    save_packed,
)
from edgeq.train.loop import seeded
from edgeq.train.models import Labels, Words, integer
from edgeq.train.statsq import LEAST_UNIT, StatsQuant


def unit_of(row: list[float], kind: StatsQ) -> Fraction:
    """2 * mean(abs(w)) / 2^bits to `scale_bits` significant bits, half to even."""
    unit = 2 * sum(Fraction(abs(w)) for w in row) / len(row) / (1 << kind.bits)
    step = Fraction(1)
    while unit / step >= 1 << kind.scale_bits:
        step *= 2
    while unit / step < 1 << (kind.scale_bits - 1):
        step /= 2
    return round(unit / step) * step


@pytest.mark.parametrize("scale_bits", [1, 4, 8])
@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_words_are_the_nearest_odd_multiples_of_a_row_s_unit(bits: int, scale_bits: int) -> None:
    """Of weights on and next to every boundary too; what a row holds beyond the last code is cut."""
    kind = StatsQ(bits, scale_bits=scale_bits)
    with seeded(bits):
        w = torch.randn(6, 70) * torch.tensor([0.01, 0.1, 0.3, 1, 3, 50.0])[:, None]
    units = [unit_of(row, kind) for row in w.tolist()]
    quant = StatsQuant(kind, 6).eval()
    y, scale, zero, width = quant(w)
    assert scale.flatten().tolist() == units and (zero, width) == (0, bits + 1)
    edges = torch.arange(-(2**bits), 2**bits + 1)[None] * scale  # the units are kept: these rows have other means
    w = torch.cat([w, edges, edges.nextafter(torch.tensor(-99.0)), edges.nextafter(torch.tensor(99.0))], 1)
    y = quant(w)[0]
    assert torch.equal(quant(y)[0], y)
    for row, found, unit in zip(w.tolist(), y.tolist(), units, strict=True):
        for value, word in zip(row, found, strict=True):
            code = Fraction(word) / unit
            assert code.denominator == 1 and code % 2 == 1 and abs(code) < 1 << bits
            least = min(abs(Fraction(value) / unit - c) for c in range(1 - (1 << bits), 1 << bits, 2))
            assert abs(Fraction(value) / unit - code) == least
    codes = (y / scale).unique().tolist()
    assert codes == list(range(1 - (1 << bits), 1 << bits, 2))


def test_units_follow_the_weights_in_training_alone() -> None:
    quant = StatsQuant(StatsQ(2, scale_bits=1), 2)
    w = torch.tensor([[1.0, -1.0, 3.0, -3.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    y, scale, *_ = quant.train()(w)
    assert scale.tolist() == [[1.0], [LEAST_UNIT]]  # 2 * 2 / 4
    assert y[0].tolist() == [1.0, -1.0, 3.0, -3.0] and (y[1] == LEAST_UNIT).all()
    (y * torch.arange(8).view(2, 4)).sum().backward()
    assert w.grad is not None and torch.equal(w.grad, torch.arange(8.0).view(2, 4))
    assert quant.eval()(w * 4)[1].tolist() == scale.tolist()
    assert quant.train()(w * 4)[1].tolist() == [[4.0], [LEAST_UNIT]]
    quant.forget()
    assert quant.eval()(w)[1].tolist() == scale.tolist()
    assert not list(quant.parameters())
    for wrong in (
        {"bits": 0},
        {"bits": 8},
        {"bits": 2, "integer": 1},
        {"bits": 2, "scale_bits": 9},
        {"bits": 2, "signed": False},
    ):
        with pytest.raises(EdgeqError):
            StatsQ(**wrong)


def small(bits: int, scale_bits: int) -> tuple[nn.Module, Tensor]:
    """A convolution of two groups and a dense layer, calibrated."""
    kind = StatsQ(bits, scale_bits=scale_bits)
    with seeded(0):
        net = nn.Sequential(
            FixedAct(), FixedConv2d(4, 6, 3, groups=2, weight=kind, bias=FixedPoint(12)), FixedAct(FixedPoint(6)),
            nn.Flatten(), FixedLinear(24, 5, weight=kind, bias=FixedPoint(12)), FixedAct(FixedPoint(10)),
        )  # fmt: skip
        x = torch.randn(40, 4, 4, 4)
    calibrate(net, x[:8])
    return net.eval(), x


def exported(net: nn.Module, x: Tensor, folder: Path) -> dict[str, dict[str, int]]:
    export_module(net, (1, *x.shape[1:]), folder / "q.onnx")
    graph = import_qonnx(folder / "q.onnx")
    lower_onnx.save(graph, folder / "int.onnx")
    found = engines(graph, folder / "int.onnx", folder / "q.onnx", net, *given_inputs(graph, x.numpy()))
    assert set(found) == {"reference", "onnxruntime", "qonnx", "pytorch"}
    for engine, result in found.items():
        assert (result["mismatches"], result["near_ties"]) == (0, 0), (engine, result)
    return found


@pytest.mark.parametrize(("bits", "scale_bits"), [(1, 1), (2, 4), (4, 8), (7, 4)])
def test_networks_are_trained_packed_and_exported_exactly(bits: int, scale_bits: int, tmp_path: Path) -> None:
    net, x = small(bits, scale_bits)
    fit(net, x, torch.arange(40) % 5, Recipe(2, 10, 0.01, 1.0), annealing=Annealing(), checkpoint=tmp_path / "w.npz")
    exported(net, x, tmp_path)
    other = small(bits, scale_bits)[0]
    load_packed(other, tmp_path / "w.npz")
    with torch.no_grad():
        assert torch.equal(other(x), net(x))
    assert not any("weight" in name for name in binary_points(net))
    save_packed(other, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "w.npz").read_bytes()


@pytest.mark.parametrize("bits", [1, 4])
def test_a_segmenter_is_exported_exactly(bits: int, tmp_path: Path) -> None:
    """Its encoder's dense layers have StatsQ weights, no other layer."""
    source, images = tiny()
    net = integer(source, images, Words(encoder=StatsQ(bits)))
    kinds = {name: part.kind for name, part in net.named_modules() if isinstance(part, StatsQuant)}
    layers = ("attention.query", "attention.key", "attention.value", "attention.projection", "fc1", "fc2")
    assert set(kinds) == {f"encoder.0.{layer}.weight_quant.tensor_quant" for layer in layers}
    exported(Labels(net).eval(), images, tmp_path)


def test_a_converted_network_gets_better_without_training() -> None:
    with seeded(0):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 6)).eval()
        x = torch.randn(64, 3, 6, 6)
        net = convert(model, x, Formats(weight=StatsQ(3)))
        errors = adaquant(net, model, x)
    assert all(error.after <= error.before for error in errors) and errors[-1].after < errors[-1].before / 2


# Annealing


def frozen_share(net: nn.Module, progress: float) -> float:
    masks = [mask for _, mask in Annealing().frozen(net, progress)]
    return float(torch.cat([mask.flatten() for mask in masks]).float().mean())


def test_frozen_weights_stay_and_oscillating_ones_move() -> None:
    """Against decay and momentum; 2 bits: boundaries at -2, 0 and 2 units, between codes 2 units apart."""
    layer = FixedLinear(8, 1, weight=StatsQ(2, scale_bits=1))
    quant = layer.weight_quant.tensor_quant
    start = torch.tensor([[1.0, -1.0, 2.02, -1.99, 3.0, 0.01, -3.0, 4.0]])
    with torch.no_grad():
        layer.weight.copy_(start)
    optimizer = torch.optim.AdamW([layer.weight], lr=0.01, weight_decay=0.5)
    layer.weight.sum().backward()
    optimizer.step()  # there is momentum now, and all have moved
    with torch.no_grad():
        layer.weight.copy_(start)
    near = torch.tensor([[False, False, True, True, False, True, False, False]])
    for _ in range(3):
        optimizer.zero_grad()
        quant.train()(layer.weight)[0].sum().backward()
        assert quant.scale.item() == 1
        ((_, mask),) = Annealing(0.02, 0.02).frozen(layer, 0.5)
        before = layer.weight.detach().clone()
        with Annealing(0.02, 0.02).holding(layer, 0.5):
            optimizer.step()
        assert torch.equal(layer.weight == before, mask)
        assert layer.weight.grad is not None and torch.equal(layer.weight.grad == 0, mask)
    assert torch.equal(layer.weight == start, ~near)
    with Annealing().holding(layer, 0.0):  # at first none is held
        optimizer.step()
    assert (layer.weight != start).all()


def test_more_are_frozen_as_training_goes_on() -> None:
    with seeded(0):
        net = nn.Sequential(FixedLinear(40, 30, weight=StatsQ(4)), FixedLinear(30, 5, weight=FixedPoint(4))).eval()
    net(torch.zeros(1, 40))
    shares = [frozen_share(net, i / 8) for i in range(9)]
    assert shares[0] == 0 and shares[-1] > 0.97 and all(np.diff(shares) > 0)
    assert Annealing(0.007, 0.007).reach(0.3) == 0.007
    assert len(list(Annealing().frozen(net, 0.5))) == 1  # other formats are left alone
    with pytest.raises(EdgeqError, match="last <= first"):
        Annealing(0.1, 0.2)
