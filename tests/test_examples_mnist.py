"""The networks of examples/mnist as they are committed: exported, and the same integers from every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq import flow
from edgeq.board import board
from edgeq.errors import EdgeqError
from edgeq.fold import Fold, input_beat
from edgeq.folding import Target, choose
from edgeq.graph import Graph
from edgeq.lower import onnx as lower_onnx
from edgeq.passes import hardware_passes
from edgeq.train.mnist import HELD_OUT, inputs, load
from edgeq.ui import Ui

EXAMPLE = Path(__file__).parents[1] / "examples" / "mnist"
IMAGES = EXAMPLE / "images.npz"
QUIET = Ui(True)


def exported(name: str, folder: Path) -> Path:
    flow.export(
        f"{EXAMPLE / 'model.py'}:{name}", folder, weights=EXAMPLE / f"{name}.npz", input_shape=(1, 1, 28, 28), input_type=None,
        samples=20, seed=0, data=None, force=False, ui=QUIET,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: exported(name, tmp_path_factory.mktemp(name) / "export") for name in ("sfc", "cnn")}


@pytest.mark.parametrize("name", ["sfc", "cnn"])
def test_the_trained_network_is_exact_on_random_frames_and_on_images(name: str, exports: dict[str, Path]) -> None:
    random = flow.verify(exports[name], samples=20, seed=1, data=None, ui=QUIET)["engines"]
    images = flow.verify(exports[name], samples=40, seed=0, data=IMAGES, ui=QUIET)
    for engines in (random, images["engines"]):
        assert set(engines) == {"reference", "onnxruntime", "qonnx", "pytorch"}
        assert all(e["mismatches"] == e["near_ties"] == 0 < e["values"] for e in engines.values())
    assert min(images["accuracy"].values()) >= 0.9


def chosen(folder: Path) -> tuple[Graph, dict[str, Fold], int]:
    """The graph as hardware builds it, its folds, and the cycles of the slowest operator."""
    graph = hardware_passes(lower_onnx.load(folder / flow.INTEGER_FILE))
    folds = choose(graph, board("ultra96"), Target(max_utilization=0.9))
    types = graph.types()
    return graph, folds, max(n.op.cycles(folds[n.name], *(types[i] for i in n.inputs)) for n in graph.nodes)


def test_a_frame_a_cycle_fits_the_board(exports: dict[str, Path]) -> None:
    graph, folds, cycles = chosen(exports["sfc"])
    assert (cycles, input_beat(graph, folds)) == (1, 784)


def test_the_convolutions_keep_up_with_14_pixels_a_beat(exports: dict[str, Path]) -> None:
    graph, folds, cycles = chosen(exports["cnn"])
    assert (cycles <= 100, input_beat(graph, folds)) == (True, 14)


# The data


def mnist_file(folder: Path, names: str) -> Path:
    rng = np.random.default_rng(0)
    parts = {"train": HELD_OUT + 3, "test": 4}
    arrays = {}
    for part, count in parts.items():
        image, label = (f"{part}_image", f"{part}_label") if names == "ours" else (f"x_{part}", f"y_{part}")
        arrays |= {image: rng.integers(0, 256, (count, 28, 28), np.uint8), label: rng.integers(0, 10, count, np.uint8)}
    np.savez(folder / "m.npz", **arrays)
    return folder / "m.npz"


@pytest.mark.parametrize("names", ["ours", "keras"])
def test_images_are_held_out_the_same_way_each_time(names: str, tmp_path: Path) -> None:
    first, second = (load(mnist_file(tmp_path, names)) for _ in range(2))
    assert [len(x) for x in (first.train_images, first.held_images, first.test_images)] == [3, HELD_OUT, 4]
    assert np.array_equal(first.held_images, second.held_images)
    assert not {row.tobytes() for row in first.train_images.numpy()} & {row.tobytes() for row in first.held_images.numpy()}
    x = inputs(first.test_images, False)
    assert (x.shape, float(x.min()) >= 0, float(x.max()) <= 1) == ((4, 1, 28, 28), True, True)
    assert np.array_equal((x[:, 0] >= 0.5).numpy(), first.test_images.numpy() >= 128)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", train_image=np.zeros((3, 28, 28)), train_label=np.zeros(3))
    with pytest.raises(EdgeqError, match="float64"):
        load(tmp_path / "m.npz")
    with pytest.raises(EdgeqError, match="no train images"):
        load(EXAMPLE / "model.py")
