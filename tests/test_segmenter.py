"""Integer-only transformers: layers against operators, gradients, FixedOperator, a Segmenter through every engine, CamVid."""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import parity
import pytest
import torch
from onnx import helper
from PIL import Image
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx_models import Builder, engines, kinds
from torch import Tensor, nn
from torch.nn import functional

from edgeq.beats import fitted
from edgeq.board import board
from edgeq.engines import verilator
from edgeq.engines.hls import HlsEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN, INTEGER, FixedPoint
from edgeq.folding import Target, plan
from edgeq.frontend import builder
from edgeq.frontend.brevitas import export_module
from edgeq.frontend.qonnx import given_inputs, import_qonnx
from edgeq.graph import Graph
from edgeq.lower import hls, rtl
from edgeq.lower import onnx as lower_onnx
from edgeq.operators import build, carried, run
from edgeq.ops import registry
from edgeq.passes import hardware_passes
from edgeq.train import (
    FixedAct,
    FixedConv2d,
    Recipe,
    binary_points,
    calibrate,
    fit,
    freeze_statistics,
    load_packed,
    quantizers,
    save_packed,
)
from edgeq.train.camvid import COLOURS, VOID, augmented, class_weights, confusion, mean_iou
from edgeq.train.fixed_layers import quantizer_of
from edgeq.train.integer import (
    ATTENTIONS,
    GELU_BITS,
    FixedAttention,
    FixedLayerNorm,
    FixedNearMax,
    FixedPosition,
    FixedScores,
    FixedSelect,
    FixedShiftGELU,
    FixedShiftmax,
    FixedSqrt,
    FixedTokens,
    FixedValues,
    scale_of,
)
from edgeq.train.loop import seeded
from edgeq.train.models import Labels, Segmenter, integer


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def calibrated(layer: nn.Module, *xs: Tensor) -> nn.Module:
    calibrate(layer, *xs)
    return layer.eval()


# Layers: evaluation is the operator, training is near it


def test_shiftmax_is_near_softmax_and_training_is_near_shiftmax() -> None:
    with seeded(0):
        x = torch.randn(2, 3, 5, 40) * 3
    layer = calibrated(FixedShiftmax(), x)
    y = layer(x)
    assert torch.equal(y * 2**15, (y * 2**15).round())
    assert (y.sum(-1) - 1).abs().max() < 0.01
    assert (y - x.softmax(-1)).abs().max() < 0.06  # of the line between powers of two
    assert (layer.train()(x) - y).abs().max() < 0.02  # of the reciprocal, which is cut


def test_shiftmax_keeps_room_for_its_row() -> None:
    """Sums of W exponentials stay below 2^31: a finer argument leaves fewer bits of exponent."""
    for width in (3, 16, 197, 311, 4096):
        for bits in (-3, 0, 4, 7, 9):
            layer = FixedShiftmax(FixedPoint(8, 8 - bits)).eval()
            op = layer.operator(width)
            assert op.slope * 2.0**-op.point == 2.0**-bits
            assert width << (op.point + op.shift) <= 1 << 27
            y = layer(torch.linspace(-4, 4, width).reshape(1, 1, 1, -1) * 2.0**-bits)
            assert (y.sum() - 1).abs() < 0.05 + width * 2**-15
    with pytest.raises(EdgeqError, match="14 bits after the point, in rows of 4096"):
        FixedShiftmax(FixedPoint(16, 2)).operator(4096)


def test_shiftmax_has_softmax_s_gradient() -> None:
    layer = FixedShiftmax(FixedPoint(16, 4)).train()
    x = (torch.randn(1, 2, 3, 9, generator=torch.Generator().manual_seed(0)) * 2).requires_grad_()
    weight = torch.randn(1, 2, 3, 9, generator=torch.Generator().manual_seed(1))
    y = layer(x)
    (y * weight).sum().backward()
    p = y.detach()
    expected = p * (weight - (p * weight).sum(-1, keepdim=True))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)


def test_near_max_weighs_by_what_it_chooses() -> None:
    """Where nothing is given the weights of a row add up to about 1, in the first data; the state keeps it."""
    with seeded(0):
        x = torch.randn(2, 2, 6, 30)
    layer = calibrated(FixedNearMax(), x)
    y = layer(x)
    assert 0.7 < y.sum(-1).mean() < 1.5 and set(y.unique().tolist()) == {0.0, layer.out}
    assert (y > 0).sum(-1).float().mean() > 4
    fresh = FixedNearMax()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh.eval()(x), y)
    assert calibrated(layer, x * 8).out > fresh.out


def test_near_max_keeps_a_quarter() -> None:
    with seeded(0):
        x = torch.randn(2, 2, 6, 30) * 2
    layer = calibrated(FixedNearMax(out=0.25), x)
    y, cast = layer(x), layer.inner(x)
    p = cast.softmax(-1)
    close = (p / p.amax(-1, keepdim=True) - 0.25).abs() < 1e-3
    assert torch.equal(((p >= p.amax(-1, keepdim=True) / 4) * 0.25)[~close], y[~close])
    assert torch.equal(layer.train()(x), y)
    x.requires_grad_()
    layer(x)[..., 0].sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


@pytest.mark.parametrize("points", [-9, 0, 4, 12])
def test_shift_gelu_in_training_is_the_operator(points: int) -> None:
    """Bit for bit: training looks its results up; the derivative is that of x * sigmoid(1.702 x), 0 above the limit."""
    layer = FixedShiftGELU(FixedPoint(8, 8 - points), FixedPoint(20, 10 - points), limit=2.0**-points * 100)
    x = (torch.arange(-128, 128) * 2.0**-points).reshape(1, -1).requires_grad_()
    y = layer.train()(x)
    op = layer.operator()
    expected = run(op, [x.detach().numpy()], [2.0**-points], 2.0 ** (-points - GELU_BITS))
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    gelu = x.clamp(max=2.0**-points * 100) * torch.sigmoid(1.702 * x.clamp(max=2.0**-points * 100))
    assert ((y - gelu).abs() <= 0.06 + 2.0**-GELU_BITS * x.abs()).all()
    y.sum().backward()
    reference = x.detach().clone().requires_grad_()
    (reference * torch.sigmoid(1.702 * reference)).sum().backward()
    assert x.grad is not None and reference.grad is not None and layer.limit.grad is not None
    inside = x <= layer.limit
    torch.testing.assert_close(x.grad[inside], reference.grad[inside])
    assert x.grad[~inside].abs().max() == 0
    assert layer.limit.grad == (~inside).sum()


def test_shift_gelu_finds_its_limit() -> None:
    with seeded(0):
        x = torch.randn(1, 4000)
    layer = FixedShiftGELU()
    calibrate(layer, x)
    assert layer.limit.item() == pytest.approx(float(x.quantile(0.999)), abs=1e-4)
    assert layer.operator().hi == min(round(layer.limit.item() * 2.0 ** quantizer_of(layer.inner).point), 127)
    given = FixedShiftGELU(limit=1.5)
    calibrate(given, x)
    assert given.limit.item() == 1.5


def test_layer_norm() -> None:
    with seeded(0):
        x = torch.randn(3, 24, 2, 5) * 5 + 2
        layer = FixedLayerNorm(24, out=FixedPoint(12))
        layer.weight.data.uniform_(0.5, 2)
        layer.bias.data.normal_()
    calibrated(layer, x)
    y = layer(x)
    expected = functional.layer_norm(x.movedim(1, 3), (24,), layer.weight, layer.bias).movedim(3, 1)
    assert (y - expected).abs().max() < 0.03
    assert (layer.train()(x) - y).abs().max() < 0.01
    zeros = torch.full((1, 24, 1, 1), 3.0)
    torch.testing.assert_close(layer.eval()(zeros)[0, :, 0, 0], layer.bias, atol=5e-3, rtol=0)


def test_square_root() -> None:
    x = torch.tensor([[0.0, 0.25, 1.0, 2.0, 9.0, 100.0]])
    for integer_bits in (7, 8):  # points 9 and 8: the root's is 5 and 4
        layer = FixedSqrt(FixedPoint(16, integer_bits, signed=False), FixedPoint(12, 6)).eval()
        unit = 2.0 ** -((16 - integer_bits + 1) // 2)
        y = layer(x)
        assert torch.equal(y, (x.sqrt() / unit).floor() * unit)
        assert torch.equal(layer.train()(x), y)
    with pytest.raises(EdgeqError, match="at most 16 bits"):
        FixedShiftGELU(FixedPoint(17))
    with pytest.raises(EdgeqError, match="unsigned"):
        FixedSqrt(FixedPoint(16))


def test_tokens_position_and_selection() -> None:
    with seeded(0):
        x = torch.randn(2, 4, 2, 3)
        cast = calibrated(FixedAct(), x)
        position, tokens = FixedPosition(4, 6, inner=cast, out=FixedPoint(10)), FixedTokens(4, 2, inner=cast)
        position.position.data.normal_(std=3)
        tokens.tokens.data.normal_()
    calibrate(position, cast(x))
    unit = scale_of(cast)
    for layer in (position, tokens, FixedSelect(cast, 1, 4, 2)):
        exact = layer.eval()(cast(x))
        assert torch.equal(layer.train()(cast(x)), exact)
    assert tokens(cast(x)).shape == (2, 4, 1, 8)
    assert torch.equal(FixedSelect(cast, 1, 4, 2)(x), x.flatten(2)[..., 1:5].reshape(2, 4, 2, 2))
    sums = x + position.position.reshape(1, 4, 2, 3)
    assert (position(cast(x)) - sums).abs().max() < 4 * unit
    loss = position(x).sum() + tokens(x).sum()
    loss.backward()
    assert position.position.grad is not None and tokens.tokens.grad is not None
    assert torch.equal(tokens.tokens.grad, torch.full((4, 2), 2.0))


def test_scores_and_values_are_exact_sums() -> None:
    with seeded(0):
        q, k, v = torch.randn(3, 2, 6, 1, 5).unbind()
        few = torch.randn(2, 6, 1, 3)
        p = torch.rand(2, 3, 5, 5).round(decimals=1)
    scores, masks, values = FixedScores(3), FixedScores(2, pairs=False), FixedValues(3, FixedShiftmax())
    p = (p * 2**15).round() / 2**15
    for layer, xs in ((scores, (q, k)), (masks, (q, few)), (values, (p, v))):
        calibrated(layer, *xs)
        assert torch.equal(layer(*xs), layer.train()(*xs))
    y = scores.eval()(q, k)
    assert (y - q.reshape(2, 3, 2, 5).mT @ k.reshape(2, 3, 2, 5)).abs().max() < 0.2
    assert masks.eval()(q, few).shape == (2, 6, 1, 5)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_attention_learns(attention: str) -> None:
    """Every parameter but the keys' bias, which softmax does not see, has a gradient; training is near evaluation."""
    with seeded(0):
        layer, x = FixedAttention(8, 2, 6, attention=attention), torch.randn(4, 8, 1, 6)
        for part in (layer.query, layer.key):
            part.weight.data *= 3
    calibrated(layer, x)
    y = layer(x)
    with seeded(0):
        weight = torch.randn(y.shape)
    z = layer.train()(x)
    assert (z - y).abs().max() < 0.05 * y.abs().max()
    (z * weight).sum().backward()
    for name, parameter in layer.named_parameters():
        if name.endswith(("weight", "value.bias", "projection.bias", "query.bias")):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_an_unknown_attention_is_refused() -> None:
    with pytest.raises(EdgeqError, match="'softmax'"):
        FixedAttention(8, 2, 6, attention="softmax")
    with pytest.raises(EdgeqError, match="in patches of 8"):
        Segmenter(3, (16, 20))


# Segmenter


def tiny() -> tuple[Segmenter, Tensor]:
    """A Segmenter of two blocks whose outputs vary, and images."""
    with seeded(0):
        net = Segmenter(4, (16, 24), stem=(6,), channels=8, heads=2, encoder=1, decoder=1).eval()
        for parameter in (net.position, net.class_tokens):
            nn.init.normal_(parameter)
        for bn in net.bns:
            bn.running_var.fill_(0.1)
        return net, torch.rand(8, 3, 16, 24)


def test_the_integer_segmenter_is_near_the_float_one() -> None:
    source, images = tiny()
    net = integer(source, images[:1])
    with torch.no_grad():
        a, b = source.masks(images), net.masks(images)
        assert (a.argmax(1) == b.argmax(1)).float().mean() > 0.9
        assert torch.equal(net(images).argmax(1, keepdim=True).float(), Labels(net)(images))
        assert torch.equal(source(images), a.repeat_interleave(4, 2).repeat_interleave(4, 3))
        freeze_statistics(net)
        near = net.train().masks(images)
        assert (near - b).abs().mean() < 0.1 * b.std()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_engine_equals_pytorch(attention: str, tmp_path: Path) -> None:
    source, images = tiny()
    net = Labels(integer(source, images, attention=attention)).eval()
    export_module(net, (1, 3, 16, 24), tmp_path / "q.onnx")
    graph = import_qonnx(tmp_path / "q.onnx")
    chosen = {"shiftmax": "Shiftmax", "near_max": "NearMax", "positive": "Threshold"}[attention]
    assert [kinds(graph).count(kind) for kind in ("LayerNorm", "AttentionScores", "AttentionValues", chosen)] == [7, 3, 2, 2]
    assert [kinds(graph).count(kind) for kind in ("ShiftGELU", "SelectTokens", "AppendTokens", "AddPosition")] == [2, 3, 1, 1]
    lower_onnx.save(graph, tmp_path / "int.onnx")
    codes, floats = given_inputs(graph, images.numpy())
    found = engines(graph, tmp_path / "int.onnx", tmp_path / "q.onnx", net, codes, floats)
    assert set(found) == {"reference", "onnxruntime", "qonnx", "pytorch"}
    for engine, result in found.items():
        assert (result["mismatches"], result["near_ties"]) == (0, 0), (engine, result)
    expected = ReferenceEngine(graph).run(codes)
    assert len(np.unique(expected)) > 2
    with torch.no_grad():
        np.testing.assert_array_equal(net(images).numpy(), expected)


FPS = 15_000
"""Of the whole images: operators of a few lanes each, whose simulation is compiled soonest."""
ULTRA96 = board("ultra96")


@pytest.fixture(scope="module")
def whole() -> tuple[Graph, np.ndarray, np.ndarray]:
    """A Segmenter of three blocks as hardware has it, six images, and the labels of all their pixels by PyTorch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    size = (32, 48)
    with seeded(0):
        source = Segmenter(5, size, stem=(6, 8), channels=16, heads=2, encoder=2, decoder=1).eval()
        for parameter in (source.position, source.class_tokens):
            nn.init.normal_(parameter)
        for bn in source.bns:
            bn.running_var.fill_(0.1)
        images = torch.rand(6, 3, *size)
    net = Labels(integer(source, images)).eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        export_module(net, (1, 3, *size), Path(folder) / "q.onnx")
        graph = import_qonnx(Path(folder) / "q.onnx")
        y = net(images).numpy().astype(np.int64)
    codes, _ = given_inputs(graph, images.numpy())
    torch.set_num_threads(threads)
    return hardware_passes(graph), codes, y


@pytest.mark.parametrize("narrow", [False, True], ids=["whole pixels", "narrow"])
def test_verilog_labels_whole_images_as_pytorch(
    narrow: bool, whole: tuple[Graph, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each beat in its cycle, too. The design is large, the images are few: compilation counts, not the speed that it gives."""
    monkeypatch.setattr(verilator, "UNITY_BYTES", 1 << 30)
    monkeypatch.setattr(verilator, "QUICK", verilator.ONCE)
    graph, codes, y = whole
    found = plan(graph, ULTRA96, Target(fps=FPS, narrow=narrow))
    assert any(fold.narrow for fold in found.folds.values()) is narrow
    wired, folds = fitted(found.graph, found.folds)
    most = Fraction(int(ULTRA96.clock_mhz * 1e6 // FPS))
    made = rtl.lower(wired, folds, tmp_path, period=most if narrow else None)
    engine = parity.simulation(wired, tmp_path)
    for stalls in (1, None):
        assert parity.mismatches(y, engine.run(codes, stalls=stalls)) == 0
    assert parity.off_schedule(made, engine) == 0
    assert engine.cycles_per_frame <= most


def test_hls_labels_whole_images_as_pytorch(whole: tuple[Graph, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    graph, codes, y = whole
    assert len(codes) >= 5 and len(np.unique(y)) == 5
    found = plan(graph, ULTRA96, Target(fps=FPS, narrow=True))
    hls.lower(found.graph, found.folds, ULTRA96, tmp_path)
    assert parity.mismatches(y, HlsEngine(tmp_path).run(codes)) == 0


def test_it_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    """Half of each image is one class, half another: a few steps find them."""
    source, images = tiny()
    labels = torch.zeros(8, 16, 24, dtype=torch.int64)
    labels[:, :8] = 1
    labels[:, 15] = VOID
    net = integer(source, images[:1])
    loss = lambda y, t: functional.cross_entropy(y, t, ignore_index=VOID)  # noqa: E731
    losses = []
    before = binary_points(net)
    recipe = Recipe(12, 4, rate=0.005, logit_scale=1.0, decay=0.01, warmup=0.1)
    fit(net, images, labels, recipe, loss=loss, report=lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < losses[0] / 2
    assert binary_points(net).keys() == before.keys()
    save_packed(net, tmp_path / "w.npz")
    other = integer(source, images[1:3])
    load_packed(other, tmp_path / "w.npz")
    with torch.no_grad():
        assert torch.equal(other(images), net(images))


def test_points_have_one_owner() -> None:
    """A cast that another layer made is that layer's: each quantizer is once in the state."""
    net = integer(tiny()[0], torch.rand(1, 3, 16, 24))
    names = [name for name in net.state_dict() if name.endswith(".integer")]
    assert len(names) == len({id(part) for _, part in quantizers(net)})
    assert not any(name.startswith("encoder.0.norm1.inner") for name in names)
    fresh = copy.deepcopy(net)
    assert fresh.encoder[0].norm1.inner is fresh.position.out


def test_wide_words_of_many_channels_are_requantized_by_their_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of level by level, which takes minutes for 64 channels of 16 bits: the same integers."""
    with seeded(0):
        net = nn.Sequential(FixedAct(), FixedConv2d(3, 5, 1, bias=FixedPoint(12)), FixedAct(FixedPoint(12))).eval()
        x = torch.randn(6, 3, 2, 4)
    calibrate(net, x)
    export_module(net, (1, 3, 2, 4), tmp_path / "q.onnx")
    listed = import_qonnx(tmp_path / "q.onnx")
    monkeypatch.setattr(builder, "MAX_LISTED_CHANNELS", 1 << 10)
    formed = import_qonnx(tmp_path / "q.onnx")
    codes, _ = given_inputs(listed, x.numpy())
    y = ReferenceEngine(listed).run(codes)
    np.testing.assert_array_equal(ReferenceEngine(formed).run(codes), y)
    np.testing.assert_array_equal(y * float(Fraction(listed.meta["tail"]["scale"][0])), net(x).detach().numpy())


# CamVid


def test_labels_move_with_their_images() -> None:
    with seeded(0):
        labels = torch.randint(0, 11, (6, 5, 7)).repeat_interleave(8, 1).repeat_interleave(8, 2)
        images = (labels[:, None] * 23).byte().expand(-1, 3, -1, -1).contiguous()
        x, y = augmented(images, labels)
    assert x.shape == images.shape and y.shape == labels.shape
    assert not torch.equal(y, labels)
    flat = x.float().mean(1)
    for image, label in zip(flat, y, strict=True):  # colours change, but not their order
        means = [float(image[label == c].median()) for c in label.unique()]
        assert means == sorted(means)


def test_mean_iou_and_class_weights() -> None:
    counts = torch.tensor([[3, 1], [2, 4]])
    assert mean_iou(counts) == pytest.approx((3 / 6 + 4 / 7) / 2)
    labels = torch.tensor([[0] * 90 + [1] * 9 + [VOID] * 5])
    weights = class_weights(labels)
    assert weights[1] > weights[0] and len(weights) == VOID

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return functional.one_hot(torch.ones(len(x), 2, 4, dtype=torch.int64), VOID).permute(0, 3, 1, 2).float()

    truth = torch.tensor([[[0, 1, 1, VOID], [1, 1, 2, VOID]]])
    found = confusion(Constant(), torch.zeros(1, 3, 2, 4, dtype=torch.uint8), truth)
    assert found[:3, 1].tolist() == [1, 4, 1] and found.sum() == 6


def test_masks_are_drawn(tmp_path: Path) -> None:
    """A row of images, labels, float masks, integer masks: 4 of 120 x 160, and the legend."""
    example = Path(__file__).parents[1] / "examples" / "camvid"
    images, labels = np.full((3, 120, 160, 3), 77, np.uint8), np.full((3, 120, 160), VOID, np.uint8)
    np.savez(tmp_path / "data.npz", test_image=images, test_label=labels)
    with seeded(0):
        torch.save(Segmenter(VOID, (120, 160)).state_dict(), tmp_path / "float.pt")
    files = [tmp_path / "data.npz", example / "shiftmax.npz", "--float", tmp_path / "float.pt", "--picture", tmp_path / "y.png"]
    subprocess.run([sys.executable, example / "train.py", "masks", *files, "--images", "2"], check=True)
    drawn = np.asarray(Image.open(tmp_path / "y.png"))
    assert drawn.shape == (4 * 124 + 32, 2 * 164, 3)
    assert np.all(drawn[:120, :160] == 77) and np.all(drawn[124:244, :160] == COLOURS[VOID])
    for top in (248, 372):
        assert {tuple(colour) for colour in drawn[top : top + 120, 164:324].reshape(-1, 3).tolist()} <= set(COLOURS[:VOID])


# FixedOperator


def node(b: Builder, kind: str, xs: list[str], arrays: list[Any] = (), scale: Any = 0.5, out: Any = 0.25, **values: int) -> str:  # type: ignore[assignment]
    inputs = [*xs, *(b.const(scale) for _ in xs), *(b.const(a, None) for a in arrays), b.const(out)]
    return b.op(INTEGER, *inputs, domain=DOMAIN, operator=kind, **values)


def imported(b: Builder, y: str, folder: Path) -> Graph:
    model = b.model(y)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return import_qonnx(folder / "m.onnx")


def test_an_operator_is_imported_as_it_is(tmp_path: Path) -> None:
    b = Builder(4, 1, 3)
    graph = imported(b, node(b, "AppendTokens", [b.quant("x", 0.5, 4)], [np.arange(8).reshape(4, 2)]), tmp_path)
    (made,) = graph.nodes
    assert made.op.arrays()["tokens"].tolist() == np.arange(8).reshape(4, 2).tolist()
    assert graph.meta["tail"]["scale"] == [str(Fraction(1, 4))]


def test_what_is_no_operator_on_codes_is_refused(tmp_path: Path) -> None:
    def refused(match: str, make: Callable[[Builder, str], str]) -> None:
        b = Builder(4, 1, 3)
        with pytest.raises(EdgeqError, match=match):
            imported(b, make(b, b.quant("x", 0.5, 4)), tmp_path)

    tokens = np.zeros((4, 1), np.int64)
    refused("'Conv2d' is unknown", lambda b, x: node(b, "Conv2d", [x]))
    refused("'' is unknown", lambda b, x: node(b, "", [x]))
    refused("lacks the field 'shift'", lambda b, x: node(b, "LayerNorm", [x]))
    refused("no integer field 'size'", lambda b, x: node(b, "LayerNorm", [x], shift=18, size=3))
    refused("a shift of 31", lambda b, x: node(b, "LayerNorm", [x], shift=31))
    refused("the field shift", lambda b, x: node(b, "LayerNorm", [x], shift=1 << 31))
    refused("LayerNorm has 1 arrays", lambda b, x: node(b, "LayerNorm", [x], [tokens], shift=18))
    refused("AppendTokens has 0 arrays", lambda b, x: node(b, "AppendTokens", [x]))
    refused("no int64", lambda b, x: node(b, "AppendTokens", [x], [tokens.astype(np.float32)]))
    refused("no int64", lambda b, x: node(b, "AppendTokens", [x], [tokens + (1 << 62)]))
    refused("no int64", lambda b, x: node(b, "AppendTokens", [x], [tokens - (1 << 62)]))
    refused("tokens of shape \\(1, 4\\)", lambda b, x: node(b, "AppendTokens", [x], [tokens.T]))
    refused("no codes of scale 2\\^0", lambda b, x: node(b, "LayerNorm", [x], scale=1.0, shift=18))
    refused("no codes of scale 0.3", lambda b, x: node(b, "LayerNorm", [x], scale=0.3, shift=18))
    refused("the scale is -0.5", lambda b, x: node(b, "LayerNorm", [x], out=-0.5, shift=18))
    refused("2 scales", lambda b, x: node(b, "LayerNorm", [x], scale=[0.5, 0.5], shift=18))
    refused("no codes", lambda b, x: node(b, "LayerNorm", [b.op("Relu", x)], shift=18))
    refused("which no quantizer has made integers", lambda b, x: node(b, "LayerNorm", ["x"], shift=18))
    refused("AttentionScores has 3 inputs", lambda b, x: node(b, "AttentionScores", [x], heads=2))
    refused("4 channels", lambda b, x: node(b, "AttentionScores", [x, x], heads=3))
    refused("has the domain", lambda b, x: b.op(INTEGER, x, b.const(0.5), b.const(0.5), operator="ISqrt"))


def test_every_field_of_an_operator_is_carried() -> None:
    """Each that is carried is built again from what a node holds: integers by name, arrays in order."""
    rng = np.random.default_rng(0)
    for kind in carried():
        op, types = registry()[kind].sample(lambda lo, hi: int(rng.integers(lo, hi, endpoint=True)))
        values, arrays = op.attributes(), list(op.arrays().values())
        again = build(kind, values, arrays)
        xs = [x.random(rng, 2) for x in types]
        np.testing.assert_array_equal(again.reference(*xs), op.reference(*xs))


def test_plain_qonnx_runs_it_and_nothing_beside_it() -> None:
    b = Builder(2, 1, 2)
    y = node(b, "AttentionScores", ["x", "x"], heads=1, out=0.25)
    model = b.model(y)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, [1, 1, 2, 2]))
    wrapped = ModelWrapper(model)
    x = np.float32([[[[1, 2]], [[-0.5, 3]]]])
    assert execute_onnx(wrapped, {"x": x})[y].tolist() == [[[[1.25, 0.5], [0.5, 13.0]]]]
    for wrong in (0.25, np.nan, 1e8):
        with pytest.raises((EdgeqError, ValueError), match="no multiple of"):
            execute_onnx(wrapped, {"x": x * 0 + np.float32(wrong)})
    with pytest.raises(EdgeqError, match="no float32"):
        run(build("AttentionScores", {"heads": 1}, []), [np.full((1, 4, 1, 1), 30000.0)] * 2, [1.0, 1.0], 1.0)
