"""Segmenter on CamVid: train it in float, and make that network integer-only, with and without training. Results as JSON."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model import fixed, float_model
from torch import nn
from torch.nn import functional

from edgeq.train import Epoch, Recipe, binary_points, fit, freeze_statistics, save_packed
from edgeq.train.camvid import CLASSES, VOID, augmented, class_weights, confusion, load, mean_iou
from edgeq.train.integer import ATTENTIONS
from edgeq.train.loop import plain, seeded
from edgeq.train.models import Labels, Segmenter

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


def float_network(file: Path) -> Segmenter:
    net = float_model()
    net.load_state_dict(torch.load(file, weights_only=True))
    return net.eval()


@main.command("float")
@click.argument("data", type=FILE)
@click.argument("target", type=FILE)
@click.option("--epochs", default=90, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--rate", default=0.001, show_default=True, help="AdamW's first learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--start", type=FILE, help="The state to begin with, of another run.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def train_float(
    data: Path,
    target: Path,
    epochs: int,
    batch: int,
    rate: float,
    seed: int,
    threads: int,
    start: Path | None,
    json_file: Path | None,
) -> None:
    """Train the float network on DATA and write its state to TARGET."""
    with seeded(seed):
        net = (float_network(start) if start else float_model()).to(memory_format=torch.channels_last)
    recipe = Recipe(epochs, batch, rate, 1.0, seed, threads=threads, decay=DECAY, warmup=WARMUP)
    seconds = learn(net, data, recipe)
    torch.save(net.state_dict(), target)
    show({"epochs": epochs, "rate": rate, "seconds": seconds, **measured(net, data)}, json_file)


@main.command()
@click.argument("data", type=FILE)
@click.argument("float_file", metavar="FLOAT", type=FILE)
@click.option("--attention", type=click.Choice(ATTENTIONS), default=ATTENTIONS[0], show_default=True)
@click.option("--images", default=5, show_default=True, help="How many training images are tried, one at a time.")
@click.option("--threads", default=1, show_default=True)
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def oneshot(data: Path, float_file: Path, attention: str, images: int, threads: int, json_file: Path | None) -> None:
    """Make FLOAT integer-only with the points found from one image, without training."""
    torch.set_num_threads(threads)
    source, (shots, _) = float_network(float_file), load(data, "train")
    runs = []
    for i in range(images):
        index = i * len(shots) // images
        runs.append({"image": index, **measured(fixed(source, plain(shots[index : index + 1], False), attention), data)})
        click.echo(f"calibrated on training image {index}: mean IoU {runs[-1]['mean_iou']:.2%}")
    result = {"attention": attention, "float": measured(source, data)["mean_iou"], "runs": runs}
    show(result | {"mean_iou": float(np.mean([run["mean_iou"] for run in runs]))}, json_file)


@main.command()
@click.argument("data", type=FILE)
@click.argument("float_file", metavar="FLOAT", type=FILE)
@click.argument("target", type=FILE)
@click.option("--attention", type=click.Choice(ATTENTIONS), default=ATTENTIONS[0], show_default=True)
@click.option("--images", default=4, show_default=True, help="Training images that it is calibrated on.")
@click.option("--epochs", default=3, show_default=True, help="Of training; 0: none.")
@click.option("--batch", default=8, show_default=True)
@click.option("--rate", default=0.0002, show_default=True, help="AdamW's first learning rate.")
@click.option("--seed", default=1, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--test", type=FILE, help="Also write the test images (`x`) and labels (`y`), for `edgeq verify --data`.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def tune(
    data: Path,
    float_file: Path,
    target: Path,
    attention: str,
    images: int,
    epochs: int,
    batch: int,
    rate: float,
    seed: int,
    threads: int,
    test: Path | None,
    json_file: Path | None,
) -> None:
    """Make FLOAT integer-only, fine-tune it, and write packed weights to TARGET."""
    torch.set_num_threads(threads)
    train_images, _ = load(data, "train")
    net = fixed(float_network(float_file), plain(train_images[:: len(train_images) // images][:images], False), attention)
    result: dict[str, Any] = {"attention": attention, "epochs": epochs, "rate": rate, "start": binary_points(net)}
    result["calibrated"] = measured(net, data)["mean_iou"]
    click.echo(f"mean IoU {result['calibrated']:.2%} after calibration on {images} images")
    freeze_statistics(net)
    if epochs:
        recipe = Recipe(epochs, batch, rate, 1.0, seed, threads=threads, decay=DECAY, warmup=WARMUP)
        result["seconds"] = learn(net, data, recipe)
    save_packed(Labels(net), target)
    show(result | {"learned": binary_points(net), **measured(net, data)}, json_file)
    if test:
        x, y = load(data, "test")
        np.savez_compressed(test, x=plain(x, False).numpy(), y=y.numpy())


@main.command()
@click.argument("results", nargs=-1, type=FILE)
def table(results: tuple[Path, ...]) -> None:
    """Print the RESULTS of the other commands as a Markdown table: mean IoU, and each class's."""
    runs = {file.stem: json.loads(file.read_text()) for file in results}
    click.echo(f"| network | mean IoU | calibrated | {' | '.join(CLASSES)} |\n|---|---|---|{'---|' * len(CLASSES)}")
    for name, run in runs.items():
        ious = run.get("iou") or run["runs"][0]["iou"]
        calibrated = f"{run['calibrated']:.2%}" if "calibrated" in run else ""
        cells = " | ".join(f"{ious[c]:.0%}" for c in CLASSES)
        click.echo(f"| {name} | {run['mean_iou']:.2%} | {calibrated} | {cells} |")


if __name__ == "__main__":
    main()
