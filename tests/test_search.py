"""`edgeq search`: the program against brute force, budgets that are kept, formats that come back, the command."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeq.board import board
from edgeq.cli import cli, print_search
from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.fold import Fold
from edgeq.folding import Choice
from edgeq.hardware import Cost
from edgeq.ops.add import Add
from edgeq.passes import hardware_passes
from edgeq.retype import Way
from edgeq.train import DenseShift, Formats, KHot, Recipe, StatsQ, Ternary, convert, fit, formats, quantizers
from edgeq.train.digits import split as digits
from edgeq.train.loop import seeded
from edgeq.train.search import Aim, Candidates, Search, reachable, search, split
from edgeq.ui import Ui
from edgeq.width_program import Program

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.fc = nn.Linear(96, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)) + x)
        return self.fc(torch.flatten(x, 1))
"""
FEW = Candidates(weights=(3, 8), features=(3, 8), k=(1,))
PIXELS = FixedPoint(8, integer=1, signed=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A residual network for scikit-learn's digits, and a folder with its source, its weights and images."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "net.py").write_text(SOURCE)
    names: dict[str, Any] = {}
    exec(SOURCE, names)
    data = digits(0)
    with seeded(0):
        net: nn.Module = names["Net"]()
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    fit(net, images, labels, Recipe(8, batch=64, rate=0.02, logit_scale=1.0))
    torch.save(net.state_dict(), folder / "net.pt")
    np.savez(folder / "data.npz", x=data.test_images, y=data.test_labels)
    return net, folder


def images(folder: Path) -> Any:
    with np.load(folder / "data.npz") as pack:
        return split(pack["x"], pack["y"], 100, 150)


@pytest.fixture(scope="module")
def searched(trained: tuple[nn.Module, Path]) -> Search:
    net, folder = trained
    return Search(net, images(folder), Aim(board("ultra96"), fps=100000), FEW, PIXELS, Ui(quiet=True))


# The program


def instance(seed: int) -> tuple[Program, dict[str, list[float]], dict[str, list[Way]]]:
    """Tensors of two or three formats; operators that depend on up to two of them, or on none."""
    draw = random.Random(seed)
    losses = {f"t{i}": [draw.choice([0.0, draw.random()]) for _ in range(draw.randint(2, 3))] for i in range(3)}
    ways = {}
    for i in range(4):
        names = draw.sample(sorted(losses), draw.randint(0, 2))
        each = []
        for numbers in itertools.product(*(range(len(losses[name])) for name in names)):
            for _ in range(draw.randint(1, 2)):
                cost = Cost(lut=draw.randint(1, 9), dsp=draw.randint(0, 4))
                each.append(Way(tuple(zip(names, numbers, strict=True)), Choice(Fold(), 1, cost)))
        ways[f"n{i}"] = each
    return Program(losses, ways, Cost(lut=40, dsp=10)), losses, ways


def brute(losses: dict[str, list[float]], ways: dict[str, list[Way]], limit: Cost) -> list[tuple[float, float, float]]:
    """(loss, sum of shares, LUTs) of everything within the limit."""
    found = []
    for numbers in itertools.product(*(range(len(each)) for each in losses.values())):
        pick = dict(zip(losses, numbers, strict=True))
        legal = [[w.choice.cost for w in each if dict(w.formats).items() <= pick.items()] for each in ways.values()]
        loss = sum(losses[name][number] for name, number in pick.items())
        for costs in itertools.product(*legal):
            lut, dsp = sum(c.lut for c in costs), sum(c.dsp for c in costs)
            if lut <= limit.lut and dsp <= limit.dsp:
                found.append((loss, lut / 40 + dsp / 10, lut))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_the_program_is_brute_force(seed: int) -> None:
    program, losses, ways = instance(seed)
    for lut, dsp in ((30, 10), (15, 4), (12, 16), (8, 1)):
        limit = Cost(lut=lut + 0.5, dsp=dsp + 0.5)
        every = brute(losses, ways, limit)
        best, bound = program.most_accurate(limit), 0.8
        assert (best is None) == (not every)
        if best is not None:
            least = min(loss for loss, _, _ in every)
            assert best.loss == pytest.approx(least, abs=1e-4)
            share = best.cost.lut / 40 + best.cost.dsp / 10
            assert share == pytest.approx(min(share for loss, share, _ in every if loss <= best.loss + 1e-9), rel=2e-4)
        within = [each for each in every if each[0] <= bound]
        cheap, few = program.cheapest(limit, bound), program.cheapest(limit, bound, "lut")
        assert (cheap is None) == (few is None) == (not within)
        if cheap is not None and few is not None:
            assert cheap.loss <= bound + 1e-4 and few.loss <= bound + 1e-4
            assert cheap.cost.lut / 40 + cheap.cost.dsp / 10 == pytest.approx(min(share for _, share, _ in within), rel=2e-4)
            assert few.cost.lut == min(lut for _, _, lut in within)


# Operators in other formats


@pytest.mark.parametrize("seed", range(2))
def test_operators_are_those_of_an_export_in_these_formats(seed: int, searched: Search) -> None:
    """With the points that were found on the base; a tensor's range may be taken wider than it is, as where sums are clipped."""
    draw = random.Random(seed)
    pick = {site.name: draw.randrange(len(searched.quants[site.name])) for site in searched.sites}
    layers: dict[str, Formats] = {}
    for site in searched.sites:
        quant = searched.quants[site.name][pick[site.name]]
        kind = replace(quant.kind, integer=quant.kind.bits - quant.point)
        layers[site.layer] = replace(layers.get(site.layer, Formats()), **{site.field: kind})
    graph = hardware_passes(searched.exported(searched.convert(layers=layers)))
    types, network = graph.types(), searched.network
    assert len(graph.nodes) == len(network.graph.nodes) == 6
    for node, base in zip(graph.nodes, network.graph.nodes, strict=True):
        made = network.operator(base, pick)
        assert made is not None
        op, xs = made
        for a, b in ((node.op, op), (getattr(node.op, "post", None), getattr(op, "post", None))):
            if a is not None:
                assert type(a) is type(b) and a.attributes() == b.attributes()
                assert a.arrays().keys() == b.arrays().keys()
                assert all(np.array_equal(v, b.arrays()[k]) for k, v in a.arrays().items()), node.name
        for x, tensor in zip(xs, node.inputs, strict=True):
            exact = types[tensor]
            assert x.shape == exact.shape and x.lo <= exact.lo and exact.hi <= x.hi and x.width <= exact.width + 1


@given(
    a=st.lists(st.integers(-40, 40), min_size=2, max_size=2), b=st.lists(st.integers(-40, 40), min_size=2, max_size=2),
    exponents=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)  # fmt: skip
def test_a_rescaled_addition_means_the_same(a: list[int], b: list[int], exponents: tuple[int, int]) -> None:
    op = Add(np.array(a), np.array(b))
    made, e = op.rescaled(*exponents)
    assert isinstance(made, Add)
    xs = np.random.default_rng(0).integers(-50, 50, (2, 7, 2))
    expected = op.reference(*(x << s for x, s in zip(xs, exponents, strict=True)))
    np.testing.assert_array_equal(made.reference(*xs) << e, expected)
    assert not np.any([a, b]) or np.any(np.concatenate([made.a, made.b]) & 1)


# Searches


def test_the_network_that_is_built_keeps_the_budget(searched: Search) -> None:
    whole, _ = searched.within(searched.aim.limit, searched.program.most_accurate)
    limit = replace(searched.aim.limit, lut=whole["built"]["lut"] - 300, dsp=whole["built"]["dsp"] // 3)
    small, layers = searched.within(limit, searched.program.most_accurate)
    assert small["built"]["lut"] <= limit.lut and small["built"]["dsp"] <= limit.dsp
    assert small["cycles_per_frame"] <= searched.most == 3000
    assert small["expected_loss"] > whole["expected_loss"] and small["loss"] > whole["loss"]
    assert {kind for each in layers.values() for kind in (each.weight, each.features)} != {FixedPoint(8)}
    losses = [small["layers"][site.layer][site.field]["loss"] for site in searched.sites]
    assert small["expected_loss"] == pytest.approx(searched.base_loss + sum(losses))
    loss = small["expected_loss"] - searched.base_loss
    cheap = searched.program.cheapest(reachable(limit), loss, "lut")
    assert cheap is not None and cheap.loss <= loss + 1e-4 and cheap.cost.lut <= small["expected"]["lut"]


def test_sensitivities_are_those_of_whole_networks(searched: Search) -> None:
    """One tensor in another format, the network converted anew: the points of what comes before are the same."""
    for site in searched.sites[:3]:
        number = 1
        kind = searched.quants[site.name][number].kind
        net = searched.convert(layers={site.layer: Formats(**{site.field: kind})})
        for path, quant in quantizers(net):
            assert path == site.path or quant.kind == searched.base.get_submodule(path).kind
            if path != site.path:
                quant.integer.data.copy_(searched.base.get_submodule(path).integer)
        loss = searched.measured(net)["loss"] - searched.base_loss
        assert max(0.0, loss) == pytest.approx(searched.losses[site.name][number], abs=1e-9), site


def test_what_cannot_be_had_is_refused(trained: tuple[nn.Module, Path]) -> None:
    net, folder = trained
    few, some = Candidates(weights=(8,), features=(8,), k=()), images(folder)

    def refused(match: str, where: str, **wanted: Any) -> None:
        with pytest.raises(EdgeqError, match=match) as caught:
            search(net, some, Aim(board("ultra96"), **wanted), few, input=PIXELS, ui=Ui(quiet=True))
        assert where in caught.value.where

    refused("lut of the 900", "Conv", fps=1e5, luts=900)
    refused("fast enough", "Conv", fps=1e9)
    with pytest.raises(EdgeqError, match="5 bits are not tried"):
        search(net, some, Aim(board("ultra96")), few, input=PIXELS, against=[5, 8], ui=Ui(quiet=True))
    with pytest.raises(EdgeqError, match="without labels"):
        split(np.zeros((9, 1), np.float32), None, 1, 1)
    with pytest.raises(EdgeqError, match="2 images"):
        split(np.zeros((2, 1), np.float32), np.zeros(2), 1, 1)


def test_the_command_and_its_file(trained: tuple[nn.Module, Path], capsys: pytest.CaptureFixture[str]) -> None:
    net, folder = trained
    options = "--input ap_ufixed<8,1> --board ultra96 --fps 100000 --weights-bits 3,8 --features-bits 3,8 --k 1"
    images_ = ["--data", folder / "data.npz", "--calibrate", 100, "--measure", 150]
    arguments = [f"{folder}/net.py:Net", "--weights", folder / "net.pt", *images_, *options.split(), "--max-dsp", 5]
    done = CliRunner().invoke(cli, ["search", *map(str, arguments), "-o", str(folder / "f.toml"), "--against", "8", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    result = json.loads(done.stdout)
    network, (three, eight), (against,) = result["network"], result["uniform"], result["against"]
    assert network["built"]["dsp"] <= 5 < eight["built"]["dsp"] and result["images"] == {
        "calibrate": 100,
        "measure": 150,
        "test": 200,
    }
    assert (three["bits"], eight["bits"], against["bits"]) == (3, 8, 8)
    for name in ("same_cost", "same_loss"):
        assert all(against[name]["built"][r] <= eight["built"][r] for r in ("lut", "ff", "bram36", "dsp")), name
    assert against["same_cost"]["expected_loss"] <= eight["expected_loss"] + 1e-6
    assert against["same_loss"]["expected_loss"] <= eight["loss"] + 1e-4
    layers = formats.read(folder / "f.toml")
    assert {name: {f: row["format"] for f, row in each.items()} for name, each in network["layers"].items()} == {
        name: {field: str(getattr(layers[name], field)) for field in each} for name, each in network["layers"].items()
    }
    some = images(folder)
    with torch.no_grad(), seeded(0):
        made = convert(net, some.calibrate, layers=layers, input=PIXELS)
        right = (made(some.test).argmax(1) == some.labels).double().mean()
    assert float(right) == network["accuracy"]
    print_search(result)
    table = capsys.readouterr().out
    assert all(text in table for text in ("conv2", "ap_ufixed<", "no larger than 8 bits", f"{network['accuracy']:.2%}"))


def test_formats_come_back(tmp_path: Path, trained: tuple[nn.Module, Path]) -> None:
    kinds = [
        FixedPoint(6), FixedPoint(8, -2, False, "AP_RND", "AP_WRAP"), KHot(8, k=3), KHot(5, 1, k=1), DenseShift(4), Ternary(),
        Ternary(integer=2), StatsQ(1), StatsQ(4, scale_bits=1),
    ]  # fmt: skip
    assert [formats.parse(str(kind)) for kind in kinds] == kinds
    assert formats.parse(" ap_ufixed<8, 0> ") == FixedPoint(8, 0, False) and formats.parse("KHot<8,?>") == KHot(8)
    for text in ("ap_fixed<8>", "ap_fixed<8,?", "KHot<8,?,2>", "ap_fixed<8,?,k=2>", "Ternary<2,?,k=2>", "Words<8,?>",
                 "StatsQ<4,1>", "StatsQ<8,?>", "StatsQ<4,?,k=2>", "ap_fixed<99,?>", "ap_fixed<8,?,AP_UP>"):  # fmt: skip
        with pytest.raises(EdgeqError):
            formats.parse(text)
    layers = {"conv1": Formats(weight=KHot(8, k=2)), "relu": Formats(features=FixedPoint(5, signed=False)), "fc": Formats()}
    formats.write(layers, tmp_path / "f.toml", "a head")
    assert formats.read(tmp_path / "f.toml") == layers
    net, folder = trained
    x: Tensor = images(folder).calibrate
    one, other = (convert(net, x, layers=each, input=PIXELS) for each in (layers, formats.read(tmp_path / "f.toml")))
    with torch.no_grad():
        assert torch.equal(one(x), other(x)) and str(one) == str(other)
    for text, match in (
        ("[conv1", "not TOML"), ("conv1 = 3", "not a table"), ("[a]\nwidth = 'ap_fixed<8,?>'", "unknown: width"),
        ("[a]\nweight = 8", "no format"),
    ):  # fmt: skip
        (tmp_path / "wrong.toml").write_text(text)
        with pytest.raises(EdgeqError, match=match):
            formats.read(tmp_path / "wrong.toml")
    with pytest.raises(EdgeqError, match="no such file"):
        formats.read(tmp_path / "none.toml")
