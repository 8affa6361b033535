"""Accuracy against LUTs over weights of the spanning-tree loss: one network, trained anew for each weight.

The network is `sfc` of examples/mnist. LUTs and registers are those of the whole network with every layer unrolled, a frame a
cycle, by our resource model, which plans the cells that the generator emits.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, show
from plot import Axes, document
from torch import nn

from edgeq.frontend.brevitas import export_module
from edgeq.frontend.qonnx import import_qonnx
from edgeq.hardware import Cost
from edgeq.passes import hardware_passes
from edgeq.train import Epoch, Recipe, TreeLoss, accuracy, binary_weight, fit
from edgeq.train.loop import seeded
from edgeq.train.mnist import Mnist, inputs, load

EXAMPLE = Path(__file__).parents[1] / "examples" / "mnist"
sys.path.insert(0, str(EXAMPLE))
from model import LOGIT_SCALE, sfc  # noqa: E402

FILE = click.Path(path_type=Path, dir_okay=False)
WEIGHTS = "0,0.0005,0.001,0.002,0.004,0.008"
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 340, 60, 40, 30, 50
"""Pixels of the picture and of the room around its axes."""


def unrolled(net: nn.Module) -> Cost:
    """The network with every operator at its fastest."""
    with tempfile.TemporaryDirectory() as scratch:
        export_module(net, (1, 1, 28, 28), Path(scratch, "net.onnx"))
        graph = hardware_passes(import_qonnx(Path(scratch, "net.onnx")))
    types = graph.types()
    cost = Cost()
    for node in graph.nodes:
        xs = [types[name] for name in node.inputs]
        folds = node.op.input_folds(*xs) if graph.input in node.inputs else node.op.folds(*xs)
        assert node.op.cycles(folds[-1], *xs) == 1
        cost += node.op.cost(folds[-1], *xs)
    return cost


def trained(data: Mnist, widths: tuple[int, ...], weight: float, warmup: int, recipe: Recipe) -> tuple[nn.Module, TreeLoss]:
    with seeded(recipe.seed):
        net = sfc(widths)
    loss = TreeLoss(net, weight, warmup)

    def say(epoch: Epoch) -> None:
        click.echo(f"weight {weight:g}: epoch {epoch.number}/{recipe.epochs}, {epoch.seconds:.0f} s", err=True)

    fit(net, data.train_images, data.train_labels, recipe, inputs=inputs, tree=loss if weight else None, report=say)
    return net, loss


@click.command()
@click.argument("data", type=FILE)
@click.option("--weights", default=WEIGHTS, show_default=True, help="Weights of the loss.")
@click.option("--widths", default="256,256", show_default=True, help="Channels a patch, then of each dense layer.")
@click.option("--epochs", default=6, show_default=True)
@click.option("--warmup", default=2, show_default=True, help="Epochs over which a weight grows.")
@click.option("--seed", default=0, show_default=True)
@click.option("--svg", type=FILE, help="Write the curve as a picture.")
@click.option(
    "--layers", type=click.Path(path_type=Path, file_okay=False), help="Folder for the layers' weights, an npz a weight."
)
@json_option
def main(
    data: Path, weights: str, widths: str, epochs: int, warmup: int, seed: int, svg: Path | None,
    layers: Path | None, json_file: Path | None,
) -> None:  # fmt: skip
    """Train on DATA, an npz file as in examples/mnist/README.md."""
    pack = load(data)
    recipe = Recipe(epochs, 256, logit_scale=LOGIT_SCALE["sfc"], seed=seed, bfloat16=True)
    rows: list[dict[str, Any]] = []
    for weight in (float(text) for text in weights.split(",")):
        net, loss = trained(pack, tuple(int(text) for text in widths.split(",")), weight, warmup, recipe)
        if layers:
            layers.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(layers / f"layers_{weight:g}.npz", **signs(net))
        trees, cost = loss.trees(), unrolled(net)
        rows.append(
            {
                "weight": f"{weight:g}",
                "held-out %": round(100 * accuracy(net, pack.held_images, pack.held_labels, inputs), 2),
                "test %": round(100 * accuracy(net, pack.test_images, pack.test_labels, inputs), 2),
                "distance": sum(tree.distance for tree in trees),
                "terms left %": round(100 * sum(tree.additions for tree in trees) / sum(tree.direct for tree in trees), 2),
                "LUT": round(cost.lut),
                "FF": round(cost.ff),
            }
        )
    # The data by its name: a committed result holds no path of the machine.
    arguments = [data.name if argument == str(data) else argument for argument in sys.argv[1:]]
    command = " ".join(["benchmarks/tree_loss_curve.py", *arguments])
    show("Accuracy against LUTs (estimated)", rows, json_file, command=command, seed=seed)
    if svg:
        svg.write_text(picture(rows))


def signs(net: nn.Module) -> dict[str, np.ndarray]:
    """The weights of the binary layers, int8 [Cout, ...]."""
    found = {name.replace(".", "_"): binary_weight(part) for name, part in net.named_modules()}
    return {f"layer_{name}": w.detach().numpy().astype(np.int8) for name, w in found.items() if w is not None}


def picture(rows: list[dict[str, Any]]) -> str:
    """Test accuracy over thousands of LUTs as SVG: a point a weight, with the weight beside it."""
    rows = sorted(rows, key=lambda row: row["LUT"])
    x, y = np.array([row["LUT"] / 1000 for row in rows]), np.array([row["test %"] for row in rows])
    x_ticks = np.arange(0, x.max() + 10, max(10, 10 * round(x.max() / 60)))
    y_ticks = np.arange(np.floor(y.min()), np.ceil(y.max()) + 0.1, 0.5 if np.ptp(y) < 4 else 1.0)
    axes = Axes(
        LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM, {v: f"{v:g}" for v in x_ticks}, {v: f"{v:g}" for v in y_ticks}
    )
    lines = [
        f'<text x="{LEFT}" y="20">MNIST test accuracy (%) against LUTs, by weight of the spanning-tree loss</text>',
        f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">thousands of LUTs (estimated by our model)</text>',
        *axes.grid(),
        axes.line(x, y, "#36c"),
    ]
    for row, a, b in zip(rows, *axes.at(x, y), strict=True):
        lines.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="#36c"/>')
        lines.append(f'<text x="{a + 6:.1f}" y="{b + 16:.1f}">{row["weight"]}</text>')
    return document(WIDTH, HEIGHT, lines)


if __name__ == "__main__":
    main()
