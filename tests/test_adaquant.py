"""Layer-wise post-training optimization: every layer and the network improve, the same way each time, and stay exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from qonnx_models import engines
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.frontend.brevitas import export_module
from edgeq.frontend.qonnx import given_inputs, import_qonnx
from edgeq.lower import onnx as lower_onnx
from edgeq.train import (
    AdaQuant,
    DenseShift,
    Formats,
    KHot,
    Recipe,
    Ternary,
    adaquant,
    convert,
    fit,
    renormalize,
)
from edgeq.train.digits import split
from edgeq.train.loop import seeded

PIXELS = FixedPoint(5, integer=1, signed=False)
SETTINGS = AdaQuant(steps=30)


class Net(nn.Module):
    """Residual, with results that are overwritten in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.short = nn.Conv2d(8, 8, 1)
        self.conv3, self.prelu = nn.Conv2d(8, 12, 3, stride=2), nn.PReLU(12)
        self.fc = nn.Linear(108, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        y, s = self.conv2(x), self.short(x)
        y = self.bn2(y)
        y += s
        return self.fc(self.prelu(self.conv3(self.relu(y))).flatten(1))


UNITS = ["relu", "bn2", "short", "relu_1", "conv3", "prelu", "fc"]
WITH_WEIGHTS = ["relu", "bn2", "short", "conv3", "fc"]


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A float network, 256 images to optimize on, images and labels held out."""
    data = split(0)
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    held, truth = torch.from_numpy(data.test_images), torch.from_numpy(data.test_labels)
    with seeded(0):
        net = Net()
    fit(net, images, labels, Recipe(epochs=5, batch=64, logit_scale=1.0))
    return net, images[:256], held, truth


def loss(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(net(images), labels))


def square(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().square().mean())


@pytest.mark.parametrize("weight", [FixedPoint(3), Ternary(), KHot(4, k=1), DenseShift(3)], ids=str)
def test_every_layer_and_the_network_improve(digits: tuple[nn.Module, Tensor, Tensor, Tensor], weight: FixedPoint) -> None:
    net, x, held, truth = digits
    made = convert(net, x, Formats(weight=weight, features=FixedPoint(3)), input=PIXELS)
    before = loss(made, held, truth)
    errors = adaquant(made, net, x, SETTINGS)
    assert [e.name for e in errors] == UNITS
    assert all(error.after <= error.before for error in errors)
    assert sum(error.after < error.before for error in errors if error.name in WITH_WEIGHTS) >= len(WITH_WEIGHTS) - 1
    assert loss(made, held, truth) < before
    with torch.no_grad():
        first = made.relu_fixed(made.bn1_fixed(made.conv1_fixed(made.x_cast(x))))
        assert errors[0].after == pytest.approx(square(first, net.bn1(net.conv1(x)).relu()), rel=1e-5)
        assert errors[-1].after == pytest.approx(square(made(x), net(x)), rel=1e-5)


def test_the_same_again_and_nothing_else_changed(digits: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    net, x, _, _ = digits
    given = {name: value.clone() for name, value in net.state_dict().items()}
    states = []
    for seed in (0, 0, 1):
        made = convert(net, x[:64], Formats(weight=FixedPoint(3)), input=PIXELS)
        state = torch.random.get_rng_state()
        adaquant(made, net, x[:64], AdaQuant(steps=4, batch=16, seed=seed, points=0.1))
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(p.grad is None for p in made.parameters())
        states.append(made.state_dict())
    same, other = ([torch.equal(states[0][name], states[i][name]) for name in states[0]] for i in (1, 2))
    assert all(same) and not all(other)
    assert all(torch.equal(value, given[name]) for name, value in net.state_dict().items())


def test_what_is_optimized_is_exported_exactly(digits: tuple[nn.Module, Tensor, Tensor, Tensor], tmp_path: Path) -> None:
    net, x, held, _ = digits
    layers = {"conv2": Formats(weight=Ternary()), "conv3": Formats(weight=DenseShift(4), features=FixedPoint(5))}
    made = convert(net, x, Formats(weight=KHot(6, k=2), features=FixedPoint(6)), layers, input=PIXELS)
    adaquant(made, net, x[:64], AdaQuant(steps=8, batch=16, points=0.1))
    export_module(made, (1, 1, 8, 8), tmp_path / "q.onnx")
    graph = import_qonnx(tmp_path / "q.onnx")
    lower_onnx.save(graph, tmp_path / "int.onnx")
    found = engines(graph, tmp_path / "int.onnx", tmp_path / "q.onnx", made, *given_inputs(graph, held[:8].numpy()))
    for engine, result in found.items():
        assert (result["mismatches"], result["near_ties"]) == (0, 0), (engine, result)


@pytest.fixture
def normed() -> tuple[nn.Module, Tensor]:
    """A float network whose running statistics are exactly those of x."""
    with seeded(0):
        x, norms = torch.randn(40, 3, 6, 6), [nn.BatchNorm2d(channels, momentum=1.0) for channels in (4, 5)]
        net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norms[0], nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False), norms[1])
        net.eval()
        for norm in norms:  # one after the other: each sees what the finished one before it gives
            norm.train()
            net(x)
            norm.eval()
    return net, x


def test_statistics_are_those_of_the_quantized_network(normed: tuple[nn.Module, Tensor]) -> None:
    """Against torch's own BatchNorm in training; the second layer sees what the first gives with its new statistics."""
    net, x = normed
    made = convert(net, x, Formats(weight=FixedPoint(3), features=FixedPoint(3)))
    renormalize(made, net, x)
    with torch.no_grad():
        first = made._0_fixed(made.input_1_cast(x))
        second = made._3_fixed(made._2_fixed(made._1_fixed(first)))
    for values, norm in ((first, made._1_fixed), (second, made._4_fixed)):
        oracle = nn.BatchNorm2d(values.shape[1], momentum=1.0)
        oracle(values)
        np.testing.assert_allclose(norm.running_mean, oracle.running_mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(norm.running_var, oracle.running_var, rtol=1e-3)


def test_few_images_keep_what_the_training_set_said(normed: tuple[nn.Module, Tensor]) -> None:
    """Running statistics other than the images': each channel's mean and deviation are the float network's, twice as once."""
    net, x = normed
    for norm in (net[1], net[4]):
        norm.running_mean.add_(0.3)
        norm.running_var.mul_(1.7)
    made = convert(net, x, Formats(weight=FixedPoint(3), features=FixedPoint(12)))
    with torch.no_grad():
        for _ in range(2):
            renormalize(made, net, x)
            y, expected = made(x), net(x)
            np.testing.assert_allclose(y.mean((0, 2, 3)), expected.mean((0, 2, 3)), atol=5e-3)
            np.testing.assert_allclose(y.std((0, 2, 3)), expected.std((0, 2, 3)), atol=5e-3)


def test_another_module_is_refused(digits: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    net, x, _, _ = digits
    made = convert(net, x[:8], input=PIXELS)
    with pytest.raises(EdgeqError, match="no layer 'conv1'"):
        adaquant(made, nn.Sequential(nn.Conv2d(1, 8, 3)), x[:8])
