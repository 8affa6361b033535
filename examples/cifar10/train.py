"""Train the network of model.py on CIFAR-10 with one estimator, with or without the spanning-tree loss."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model import WIDTH, model
from torch import Tensor, nn

from edgeq.train import Epoch, LayerTree, Recipe, TreeLoss, accuracy, fit, save_packed
from edgeq.train.binary import ESTIMATORS
from edgeq.train.cifar10 import augmented, load
from edgeq.train.loop import seeded

LOGIT_SCALE = 1 / 64
MIN_SLOPE = 1e-3
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("data", type=FILE)
@click.argument("target", type=FILE)
@click.option("--estimator", type=click.Choice(list(ESTIMATORS)), default="ste", show_default=True)
@click.option("--tree", default=0.0, show_default=True, help="Weight of the spanning-tree loss.")
@click.option("--warmup", default=2, show_default=True, help="Epochs over which that weight grows.")
@click.option("--epochs", default=6, show_default=True)
@click.option("--stop", type=int, help="End after so many epochs, wherever the schedule is.")
@click.option("--rate", default=0.01, show_default=True, help="Adam's first learning rate.")
@click.option("--width", default=WIDTH, show_default=True, help="Channels of the first layers.")
@click.option("--seed", default=0, show_default=True)
@click.option("--test", type=FILE, help="Also write the test images (`x`) and labels (`y`), for `edgeq verify --data`.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def main(
    data: Path,
    target: Path,
    estimator: str,
    tree: float,
    warmup: int,
    epochs: int,
    stop: int | None,
    rate: float,
    width: int,
    seed: int,
    test: Path | None,
    json_file: Path | None,
) -> None:
    """Train on DATA, an npz file as in README.md, and write packed weights to TARGET."""
    images, labels, test_images, test_labels = load(data)
    with seeded(seed):
        net = model(estimator, width)
    recipe = Recipe(epochs, rate=rate, logit_scale=LOGIT_SCALE, seed=seed, bfloat16=True, stop=stop)
    every = TreeLoss(net, tree, warmup)
    start = time.perf_counter()

    def report(epoch: Epoch) -> None:
        click.echo(f"epoch {epoch.number}/{epochs}, {epoch.seconds:.0f} s: loss {epoch.loss:.4f} + {epoch.tree_loss:.4f}")

    fit(net, images, labels, recipe, inputs=augmented, tree=every if tree else None, report=report, checkpoint=target)
    raise_slopes(net)
    save_packed(net, target)
    result = {
        "estimator": estimator,
        "tree": tree,
        "warmup": warmup,
        "width": width,
        **asdict(recipe),
        "seconds": round(time.perf_counter() - start),
        "accuracy": accuracy(net, test_images, test_labels),
        "layers": layers(net, every.trees()),
    }
    click.echo(f"{result['accuracy']:.2%} of {len(test_labels)} test images")
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    if test:
        np.savez_compressed(test, x=(test_images.numpy() / 256).astype(np.float32), y=test_labels.numpy())


def raise_slopes(net: nn.Module) -> None:
    """No BatchNorm slope below MIN_SLOPE: a threshold that falls could not move in front of a max pool, where words are one bit.

    In training few slopes fall below 0, and not far.
    """
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.clamp_(min=MIN_SLOPE)


def layers(net: nn.Module, trees: list[LayerTree]) -> list[dict[str, Any]]:
    """Each layer's trees, and its `positions`: how often a frame needs all of its channels."""
    net = copy.deepcopy(net)
    positions: dict[str, int] = {}
    for tree in trees:
        net.get_submodule(tree.name).register_forward_hook(partial(_count, positions, tree.name))
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    return [asdict(tree) | {"additions": tree.additions, "positions": positions[tree.name]} for tree in trees]


def _count(positions: dict[str, int], name: str, _layer: nn.Module, _x: tuple[Tensor, ...], y: Tensor) -> None:
    positions[name] = y[0, 0].numel()


if __name__ == "__main__":
    main()
