"""Training: gradients and values of binary layers, the spanning-tree loss against direct counts, exact export, packed files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from brevitas.quant import Int8WeightPerTensorFloat, SignedBinaryWeightPerTensorConst
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgeq import flow
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.frontend import brevitas
from edgeq.frontend.qonnx import apply_tail, import_qonnx, input_codes
from edgeq.lower import onnx as lower_onnx
from edgeq.mst import spanning_tree
from edgeq.ops.binary_dense import BinaryDense
from edgeq.train import (
    BinaryAct,
    BinaryConv2d,
    BinaryLinear,
    FixedLinear,
    FixedPoint,
    KHot,
    Recipe,
    Ternary,
    TreeLoss,
    accuracy,
    fit,
    load_packed,
    save_packed,
    set_progress,
)
from edgeq.train.binary import BIPER_OMEGA, ESTIMATORS, clip_latent, latent_layers, signs
from edgeq.train.loop import Epoch, seeded
from edgeq.ui import Ui

POINTS = torch.tensor([-2.0, -1.6, -1.5, -1.2, -1.0, -0.5, -0.11, -0.1, -0.01, 0.0, 0.01, 0.1, 0.3, 1.0, 1.01, 1.5, 1.51])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Layers this small gain nothing from two, and a busy machine makes them wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(estimator: str, seed: int = 0) -> nn.Module:
    """A network with a plain, a grouped, a depthwise and a dense layer for inputs of -1 and +1, [N, 4, 6, 6]."""
    act = "reste" if estimator == "reste" else "ste"
    layers: list[nn.Module] = [BinaryAct()]
    with seeded(seed):
        for inputs, outputs, groups in ((4, 8, 1), (8, 8, 2), (8, 8, 8)):
            conv = BinaryConv2d(inputs, outputs, 3, padding=1, groups=groups, estimator=estimator)
            layers += [conv, nn.BatchNorm2d(outputs), BinaryAct(estimator=act)]
        net = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), BinaryLinear(72, 10, estimator=estimator))
        for norm in (m for m in net if isinstance(m, nn.BatchNorm2d)):  # statistics of their own, slopes of both signs
            norm.running_mean.normal_(0, 3)
            norm.running_var.uniform_(10, 40)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias, std=0.25)
    return net.eval()


def pairs(seed: int = 0, n: int = 40) -> Tensor:
    return signs(torch.randn(n, 4, 6, 6, generator=torch.Generator().manual_seed(seed)))


def gradient(estimator: str, x: Tensor, progress: float = 0.0) -> Tensor:
    module = ESTIMATORS[estimator]()
    module.set_progress(progress)
    x = x.clone().double().requires_grad_()
    module(x).sum().backward()
    assert x.grad is not None
    return x.grad


def reste(x: float, o: float) -> float:
    return 0.0 if abs(x) > 1.5 else max(abs(x), 0.1) ** ((1 - o) / o) * (1 / o if abs(x) > 0.1 else 1)


FORMULAS: dict[str, Callable[[float], float]] = {
    "ste": lambda x: float(abs(x) <= 1),
    "reste": lambda x: reste(x, 1.0),
    "biper": lambda x: BIPER_OMEGA * math.cos(BIPER_OMEGA * x),
}


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_the_gradient_is_the_formula(estimator: str) -> None:
    points = POINTS.double()
    expected = torch.tensor([FORMULAS[estimator](float(x)) for x in points], dtype=torch.float64)
    assert torch.allclose(gradient(estimator, points), expected, rtol=1e-12)


def test_restes_power_grows_with_progress_from_1_to_3() -> None:
    net = small("reste")
    points = POINTS.double()
    for progress, o in ((0.0, 1.0), (0.5, 2.0), (1.0, 3.0)):
        expected = torch.tensor([reste(float(x), o) for x in points], dtype=torch.float64)
        assert torch.allclose(gradient("reste", points, progress), expected, rtol=1e-12)
        set_progress(net, progress)
        assert {m.power for m in net.modules() if isinstance(m, ESTIMATORS["reste"])} == {o}
    around = gradient("reste", torch.tensor([0.1, 0.1 + 1e-9], dtype=torch.float64), 1.0)
    assert float(around[0]) == pytest.approx(
        3 * float(around[1])
    )  # the jump is the formula's: a secant inside, a tangent outside


def test_forward_values_are_signs_and_the_sign_of_0_is_plus_1() -> None:
    for name, make in ESTIMATORS.items():
        y = make()(POINTS)
        inner = torch.sin(BIPER_OMEGA * POINTS) if name == "biper" else POINTS
        assert torch.equal(y, torch.where(inner >= 0, 1.0, -1.0)) and y[POINTS == 0] == 1


def test_a_layer_multiplies_by_its_signs_alone() -> None:
    for estimator in ESTIMATORS:
        layer = BinaryLinear(30, 5, estimator=estimator)
        weight = layer.quant_weight()
        assert set(weight.value.unique().tolist()) == {-1.0, 1.0} and float(weight.scale) == 1 and int(weight.bit_width) == 1
        x = signs(torch.randn(7, 30))
        assert torch.equal(layer(x), x @ weight.value.T) and layer.bias is None


def test_clipping_keeps_latent_weights_where_their_gradient_is() -> None:
    for estimator, limit in (("ste", 1.0), ("reste", 1.5), ("biper", 9.0)):
        layer = BinaryLinear(4, 2, estimator=estimator)
        nn.init.constant_(layer.weight, 9)
        clip_latent(nn.Sequential(layer))
        assert layer.weight.unique().item() == limit


def test_wrong_estimators_are_refused() -> None:
    with pytest.raises(EdgeqError, match=r"no estimator is called 'sign'"):
        BinaryLinear(4, 2, estimator="sign")
    with pytest.raises(EdgeqError, match="for weights"):
        BinaryAct(estimator="biper")


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_the_export_equals_the_module_exactly(estimator: str, tmp_path: Path) -> None:
    net = small(estimator)
    with torch.no_grad():  # far from where training starts: BiPer's signs are not those of its latent weights there
        for layer, _ in latent_layers(net):
            layer.weight.uniform_(-1, 1)
    brevitas.export_module(net, (1, 4, 6, 6), tmp_path / "net.onnx")
    graph = import_qonnx(tmp_path / "net.onnx")
    with torch.no_grad():
        expected = net(pairs()).numpy()
    found = apply_tail(graph, ReferenceEngine(graph).run(input_codes(graph, pairs().numpy())))
    assert np.array_equal(found, expected) and len(np.unique(expected)) > 10
    kinds = [n.op.kind() for n in graph.nodes]
    assert kinds.count("BinaryConv2d") == 3 and kinds.count("BinaryDense") == 1, kinds


def test_the_loss_is_a_direct_count() -> None:
    """Three channels of 4: 0 and 1 differ in one place, 2 is the complement of 1 but for one place."""
    layer = BinaryLinear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.3, 0.3, 0.3, 0.3], [0.3, 0.3, 0.3, -0.3], [0.3, -0.3, -0.3, 0.3]]))
    loss = TreeLoss(nn.Sequential(layer), 0.5)
    (tree,) = loss.rebuild()
    assert (tree.channels, tree.terms, tree.groups, tree.distance) == (3, 4, 1, 2) and tree.name == "0"
    assert tree.additions == 6 and tree.share == 6 / 12
    value = loss()
    assert value.item() == pytest.approx(0.5 * 2 / math.sqrt(12))
    value.backward()
    # -s * the other end's bit, over each edge of a channel: 0-1, and 1-2 with s = -1
    edges = torch.tensor([[-1.0, -1, -1, 1], [0, -2, -2, 0], [1, 1, 1, -1]])
    assert layer.weight.grad is not None
    assert torch.allclose(layer.weight.grad, 0.5 * edges / (2 * math.sqrt(12)))


def test_the_warm_up_is_linear_in_epochs() -> None:
    loss = TreeLoss(BinaryLinear(16, 8), 2.0, warmup=4)
    with pytest.raises(EdgeqError, match="no trees yet"):
        loss()
    values = []
    for _ in range(6):
        loss.rebuild()
        values.append(loss().item())
    assert values == pytest.approx([values[-1] * min(1, k / 4) for k in range(1, 7)])


def foreign() -> nn.Module:
    """What others write: Brevitas' own quantizers, a sign parametrization, layers that are not binary."""

    class Sign(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return signs(w) + w.clamp(-1, 1) - w.clamp(-1, 1).detach()

    parametrized = nn.Conv2d(4, 6, 3)
    parametrize.register_parametrization(parametrized, "weight", Sign())
    return nn.ModuleDict(
        {
            "brevitas": QuantConv2d(4, 6, 3, bias=False, weight_quant=SignedBinaryWeightPerTensorConst),
            "ours": BinaryLinear(20, 6),
            "sign": parametrized,
            "int8": QuantLinear(9, 6, bias=False, weight_quant=Int8WeightPerTensorFloat),
            "real": nn.Linear(9, 6),
            "norm": nn.BatchNorm2d(6),
        }
    )


def test_the_loss_finds_and_shortens_the_layers_of_a_foreign_module() -> None:
    with seeded(0):
        net = foreign()
    loss = TreeLoss(net, 1.0)
    before = loss.rebuild()
    assert [t.name for t in before] == ["brevitas", "ours", "sign"]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(15):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    for old, new in zip(before, loss.trees(), strict=True):
        assert new.distance < 0.7 * old.distance, new


def test_a_predicate_names_layers_whose_forward_takes_the_sign() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latent = nn.Parameter(torch.linspace(-0.4, 0.5, 40).reshape(4, 10))

    net = nn.Sequential(Hidden(), nn.Linear(10, 4))
    with pytest.raises(EdgeqError, match="no binary layer was found in the Sequential"):
        TreeLoss(net, 1.0)
    loss = TreeLoss(net, 1.0, binary=lambda m: m.latent if isinstance(m, Hidden) else None)
    (tree,) = loss.rebuild()
    assert tree.name == "0" and tree.distance == spanning_tree(np.where(net[0].latent.detach() >= 0, 1, -1), 0).additions - 10
    loss().backward()
    assert net[0].latent.grad is not None and net[0].latent.grad.abs().sum() > 0


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_a_few_steps_shorten_the_trees_of_grouped_layers_and_leave_depthwise_ones(estimator: str) -> None:
    net = small(estimator)
    loss = TreeLoss(net, 1.0)
    before, weights = loss.rebuild(), net[7].weight.detach().clone()
    plain, grouped, depthwise, _ = before
    assert (plain.groups, grouped.groups, depthwise.groups) == (1, 2, 8)
    w = net[4].quant_weight().value.detach().numpy().reshape(2, 4, 36).astype(int)
    assert grouped.terms == 36 and grouped.distance == sum(spanning_tree(g, 0).additions - 36 for g in w)
    assert depthwise.distance == 0 and depthwise.share == 1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    plain_now, grouped_now, _, dense_now = loss.trees()
    assert plain_now.distance < plain.distance and grouped_now.distance < grouped.distance
    assert dense_now.distance < before[3].distance and torch.equal(net[7].weight, weights)


def digits() -> tuple[Tensor, Tensor]:
    """Ten classes of noisy patterns, bytes."""
    made = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 10, (400,), generator=made)
    patterns = torch.rand(10, 4, 6, 6, generator=made)
    noisy = patterns[labels] + 0.3 * torch.randn(400, 4, 6, 6, generator=made)
    return (noisy.clamp(0, 1) * 255).to(torch.uint8), labels


def centred(images: Tensor, training: bool) -> Tensor:
    moved = torch.randint(-8, 9, (len(images), 1, 1, 1)) if training else 0
    return (images.float() + moved) / 128 - 1


def trained(tree: float, seed: int = 0) -> tuple[nn.Module, list[Epoch]]:
    net, epochs = small("biper"), []
    images, labels = digits()
    loss = TreeLoss(net, tree, warmup=2) if tree else None
    fit(net, images, labels, Recipe(10, batch=25, seed=seed), inputs=centred, tree=loss, report=epochs.append)
    return net, epochs


def state(net: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in net.state_dict().items()}


def test_training_learns_repeats_itself_and_trades_for_shorter_trees(tmp_path: Path) -> None:
    torch.manual_seed(99)  # the caller's random state has no part in it, and is left as it was
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    net, epochs = trained(0.02)
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads
    again, other, free = trained(0.02)[0], trained(0.02, seed=1)[0], trained(0.0)[0]
    assert state(again) == state(net) != state(other) and not net.training
    assert [e.number for e in epochs] == list(range(1, 11)) and epochs[-1].loss < epochs[0].loss and epochs[0].tree_loss > 0
    assert accuracy(net, *digits(), centred) > 0.5 and accuracy(free, *digits(), centred) > 0.5
    short, long = (sum(t.distance for t in TreeLoss(n, 1.0).trees()) for n in (net, free))
    assert short < 0.8 * long
    assert sum(t.distance for t in epochs[0].trees) > short


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_a_packed_file_gives_the_same_network(estimator: str, tmp_path: Path) -> None:
    net, other = small(estimator), small(estimator, seed=1)
    save_packed(net, tmp_path / "a.npz")
    load_packed(other, tmp_path / "a.npz")
    with torch.no_grad():
        assert torch.equal(net(pairs()), other(pairs())) and not torch.equal(net(pairs()), small(estimator, 1)(pairs()))
    save_packed(other, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["1.weight.bits"].shape == (36,) and file["1.weight.shape"].tolist() == [8, 4, 3, 3]
        assert "1.weight" not in file and file["2.weight"].dtype == np.float32
    twin = small("ste")  # the bits say nothing about the estimator they were trained with
    load_packed(twin, tmp_path / "a.npz")
    with torch.no_grad():
        assert torch.equal(net(pairs()), twin(pairs()))


def test_fixed_point_weights_are_packed_as_codes(tmp_path: Path) -> None:
    def made() -> nn.Module:
        return nn.Sequential(
            FixedLinear(9, 6, weight=KHot(8, k=2), bias=FixedPoint(16)),
            FixedLinear(6, 6, weight=FixedPoint(11)),
            FixedLinear(6, 4, weight=Ternary()),
        )

    x = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    with seeded(0):
        net, other = made(), made()
    with torch.no_grad():
        net[1].weight.mul_(3.7)
        expected = net.eval()(x)
        assert not torch.equal(other.eval()(x), expected)
        save_packed(net, tmp_path / "a.npz")
        load_packed(other, tmp_path / "a.npz")
        assert torch.equal(other(x), expected)
    save_packed(other, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert [file[f"{i}.weight.codes"].dtype for i in range(3)] == [np.int8, np.int16, np.int8]
        assert np.bitwise_count(file["0.weight.codes"] ^ (3 * file["0.weight.codes"].astype(int))).max() == 2
        assert "0.weight" not in file


def test_brevitas_own_layers_pack_too(tmp_path: Path) -> None:
    nets = [nn.Sequential(QuantLinear(9, 6, bias=False, weight_quant=SignedBinaryWeightPerTensorConst)) for _ in range(2)]
    save_packed(nets[0], tmp_path / "a.npz")
    load_packed(nets[1], tmp_path / "a.npz")
    assert torch.equal(nets[0][0].quant_weight().value, nets[1][0].quant_weight().value)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_packed(BinaryLinear(9, 6), path)
    for module, message in (
        (BinaryLinear(6, 9), r"weight is \(6, 9\) in the file"),
        (nn.Linear(9, 6), "the file has no weight"),
        (nn.Flatten(), "the module has no weight.bits"),
    ):
        with pytest.raises(EdgeqError, match=message):
            load_packed(module, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EdgeqError, match="cannot be read"):
        load_packed(BinaryLinear(9, 6), path)
    np.savez(path, **{"weight.bits": np.zeros(6, np.uint8), "weight.shape": np.array([6, 9])})
    with pytest.raises(EdgeqError, match="6 bytes of uint8 for 54 bits"):
        load_packed(BinaryLinear(9, 6), path)


SOURCE = """
from torch import nn
from edgeq.train import BinaryAct, BinaryLinear

def model():
    return nn.Sequential(BinaryAct(), BinaryLinear(12, 5, estimator="biper"))
"""


def test_packed_weights_are_weights_of_an_export(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SOURCE)
    with seeded(4):
        net = nn.Sequential(BinaryAct(), BinaryLinear(12, 5, estimator="biper"))
    weights, folder, ui = tmp_path / "net.npz", tmp_path / "out", Ui(quiet=True)
    save_packed(net, weights)
    flow.export(
        f"{tmp_path}/net.py:model", folder, weights=weights, input_shape=(1, 12), input_type=None,
        samples=50, seed=0, data=None, force=False, ui=ui,
    )  # fmt: skip
    engines = flow.verify(folder, samples=None, seed=0, data=None, ui=ui)["engines"]
    assert {"pytorch", "qonnx", "onnxruntime"} <= set(engines) and not any(e["mismatches"] for e in engines.values()), engines
    (dense,) = (node.op for node in lower_onnx.load(folder / flow.INTEGER_FILE).nodes if isinstance(node.op, BinaryDense))
    assert np.array_equal(dense.weight, net[1].quant_weight().value.detach().numpy())


def test_the_committed_cifar10_network_is_the_one_of_its_results() -> None:
    example = Path(__file__).resolve().parents[1] / "examples" / "cifar10"
    assert (example / "cifar10.npz").stat().st_size < 1_000_000
    net = brevitas.load_module(f"{example}/model.py:model", example / "cifar10.npz")
    run = json.loads((example / "results.json").read_text())[-1]
    fields = ("name", "channels", "terms", "groups", "distance", "additions")
    found = [tuple(getattr(tree, field) for field in fields) for tree in TreeLoss(net, 1.0).trees()]
    assert found == [tuple(layer[field] for field in fields) for layer in run["layers"]]
    slopes = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    assert slopes.min() > 0  # so that every threshold moves in front of its max pool
