"""The network of the demo: reproducible training, an exact export, and the examples built on them."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgeq.engines.reference import ReferenceEngine
from edgeq.frontend import brevitas
from edgeq.frontend.qonnx import apply_tail, import_qonnx, input_codes
from edgeq.train import digits

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
EPOCHS = 3


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, float]:
    return digits.train(1, EPOCHS)


def weights(net: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


def test_the_split_is_seeded_disjoint_and_stratified() -> None:
    data, again, other = digits.split(1), digits.split(1), digits.split(2)
    assert np.array_equal(data.test_images, again.test_images) and not np.array_equal(data.test_images, other.test_images)
    assert data.train_images.shape == (1347, 1, 8, 8) and data.test_images.shape == (450, 1, 8, 8)
    assert data.train_images.dtype == np.float32 and np.all(data.train_images * 16 % 1 == 0) and data.train_images.max() == 1
    seen = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in seen for image in data.test_images)
    shares = [np.bincount(labels, minlength=10) / len(labels) for labels in (data.train_labels, data.test_labels)]
    assert np.abs(shares[0] - shares[1]).max() < 0.003


def test_training_gives_the_same_weights_for_the_same_seed(trained: tuple[nn.Module, float]) -> None:
    net, accuracy = trained
    torch.manual_seed(99)  # the caller's random state has no part in it, and is left as it was
    state, threads, done = torch.random.get_rng_state(), torch.get_num_threads(), []
    again, again_accuracy = digits.train(1, EPOCHS, lambda epoch, epochs: done.append((epoch, epochs)))
    assert weights(again) == weights(net) and again_accuracy == accuracy
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(state, torch.random.get_rng_state()) and torch.get_num_threads() == threads
    assert weights(digits.train(2, 1)[0]) != weights(net)


def test_a_few_epochs_already_learn(trained: tuple[nn.Module, float]) -> None:
    assert trained[1] > 0.8


def test_the_export_equals_the_module_exactly(trained: tuple[nn.Module, float], tmp_path: Path) -> None:
    net = trained[0]
    brevitas.export_module(net, (1, 1, 8, 8), tmp_path / "digits.onnx")
    graph = import_qonnx(tmp_path / "digits.onnx")
    images = digits.split(1).test_images
    with torch.no_grad():
        expected = net(torch.from_numpy(images)).numpy()
    found = apply_tail(graph, ReferenceEngine(graph).run(input_codes(graph, images)))
    assert np.array_equal(found, expected) and len(np.unique(expected)) > 20
    convs = [n.op for n in graph.nodes if n.op.kind() == "BinaryConv2d"]
    assert [any(op.pads) for op in convs] == [True, False]  # type: ignore[attr-defined]


def test_prepare_writes_weights_that_the_example_loads(tmp_path: Path) -> None:
    run = digits.prepare(tmp_path / "new", seed=3, epochs=1)
    loaded = brevitas.load_module(f"{EXAMPLES}/digits/model.py:model", run.weights_path)
    assert not loaded.training and weights(loaded) == weights(run.module)
    assert digits.accuracy(loaded, run.test_images, run.test_labels) == run.accuracy


def test_the_cnv_example_is_seeded_and_its_signs_vary() -> None:
    nets = [brevitas.load_module(f"{EXAMPLES}/cnv/model.py:model") for _ in range(2)]
    assert weights(nets[0]) == weights(nets[1])
    with torch.no_grad():
        y = nets[0](torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert all(not torch.equal(a, b) for a, b in pairwise(y))
    slopes = torch.cat([m.weight for m in nets[0].modules() if isinstance(m, nn.BatchNorm2d)])
    assert 0.3 < float((slopes < 0).float().mean()) < 0.7


def test_the_mnist_example_packs_both_layouts(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("pack", EXAMPLES / "mnist_tfc" / "pack.py")
    assert spec and spec.loader
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    for names in (("test_image", "test_label"), ("x_test", "y_test")):
        np.savez(tmp_path / "in.npz", **dict(zip(names, (images, np.array([3, 7])), strict=True)))
        done = CliRunner().invoke(pack.main, [str(tmp_path / "in.npz"), str(tmp_path / "out.npz")])
        assert done.exit_code == 0, done.output
        with np.load(tmp_path / "out.npz") as made:
            assert made["x"].shape == (2, 1, 28, 28) and made["x"].dtype == np.float32 and made["y"].tolist() == [3, 7]
            assert np.array_equal(np.round(made["x"][:, 0] * 255), images)
    np.savez(tmp_path / "in.npz", other=images)
    assert CliRunner().invoke(pack.main, [str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]).exit_code == 1
