"""Segmenter on CamVid: train it in float, and make that network integer-only, with and without training. Results as JSON."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from model import float_model
from torch import nn
from torch.nn import functional

from edgeq.train import Epoch, Recipe, fit
from edgeq.train.camvid import CLASSES, VOID, augmented, class_weights, confusion, load, mean_iou
from edgeq.train.loop import seeded

FILE = click.Path(path_type=Path, dir_okay=False)
DECAY, WARMUP = 0.05, 0.1


@click.group()
def main() -> None:
    """DATA is an npz file as the README describes; FLOAT the float network's state."""


def learn(net: nn.Module, data: Path, recipe: Recipe) -> int:
    """Train; the seconds that it took."""
    images, labels = load(data, "train")
    start = time.perf_counter()

    def report(epoch: Epoch) -> None:
        if epoch.number % 5 == 0 or epoch.number == recipe.epochs:
            click.echo(f"epoch {epoch.number}/{recipe.epochs}, {epoch.seconds:.0f} s: loss {epoch.loss:.4f}")

    loss = partial(functional.cross_entropy, weight=class_weights(labels), ignore_index=VOID)
    fit(net, images, labels, recipe, pairs=augmented, loss=loss, report=report)
    return round(time.perf_counter() - start)


def measured(net: nn.Module, data: Path) -> dict[str, Any]:
    """The mean IoU on the test images, and each class's."""
    counts = confusion(net, *load(data, "test"))
    hits = counts.diagonal()
    ious = hits / (counts.sum(0) + counts.sum(1) - hits).clamp(min=1)
    return {"mean_iou": mean_iou(counts), "iou": dict(zip(CLASSES, (round(v, 4) for v in ious.tolist()), strict=True))}


def show(result: dict[str, Any], json_file: Path | None) -> None:
    click.echo(f"mean IoU {result['mean_iou']:.2%} on the test images")
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


@main.command("float")
@click.argument("data", type=FILE)
@click.argument("target", type=FILE)
@click.option("--epochs", default=100, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--rate", default=0.001, show_default=True, help="AdamW's first learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def train_float(
    data: Path, target: Path, epochs: int, batch: int, rate: float, seed: int, threads: int, json_file: Path | None
) -> None:
    """Train the float network on DATA and write its state to TARGET."""
    with seeded(seed):
        net = float_model().to(memory_format=torch.channels_last)
    recipe = Recipe(epochs, batch, rate, 1.0, seed, threads=threads, decay=DECAY, warmup=WARMUP)
    seconds = learn(net, data, recipe)
    torch.save(net.state_dict(), target)
    show({"epochs": epochs, "rate": rate, "seconds": seconds, **measured(net, data)}, json_file)


if __name__ == "__main__":
    main()
