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
from model import fixed, float_model, untrained
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional

from edgeq.train import Annealing, Epoch, Recipe, binary_points, fit, freeze_statistics, load_packed, save_packed
from edgeq.train.camvid import CLASSES, COLOURS, VOID, augmented, class_weights, confusion, load, mean_iou
from edgeq.train.integer import ATTENTIONS
from edgeq.train.loop import plain, seeded
from edgeq.train.models import Labels, Segmenter

FILE = click.Path(path_type=Path, dir_okay=False)
DECAY, WARMUP = 0.05, 0.1
WEIGHTS = ("fixed", "statsq")
GAP, LINE, LEGEND_COLUMNS = 4, 16, 6
"""Of the picture: pixels between two images and of a line of the legend."""


@click.group()
def main() -> None:
    """DATA is an npz file as the README describes; FLOAT the float network's state."""


def learn(net: nn.Module, data: Path, recipe: Recipe, annealing: Annealing | None = None) -> int:
    """Train; the seconds that it took."""
    images, labels = load(data, "train")
    start = time.perf_counter()

    def report(epoch: Epoch) -> None:
        if epoch.number % 5 == 0 or epoch.number == recipe.epochs:
            click.echo(f"epoch {epoch.number}/{recipe.epochs}, {epoch.seconds:.0f} s: loss {epoch.loss:.4f}")

    loss = partial(functional.cross_entropy, weight=class_weights(labels), ignore_index=VOID)
    fit(net, images, labels, recipe, pairs=augmented, loss=loss, annealing=annealing, report=report)
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
@click.option(
    "--weights", type=click.Choice(WEIGHTS), default=WEIGHTS[0], show_default=True, help="Of the encoder's dense layers."
)
@click.option("--bits", default=4, show_default=True, help="Of StatsQ weights.")
@click.option("--anneal/--no-anneal", default=True, show_default=True, help="StatsQ weights by confidence-guided annealing.")
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
    weights: str,
    bits: int,
    anneal: bool,
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
    shots = plain(train_images[:: len(train_images) // images][:images], False)
    stats_bits = bits if weights == "statsq" else None
    net = fixed(float_network(float_file), shots, attention, stats_bits)
    annealing = Annealing() if stats_bits and anneal else None
    result: dict[str, Any] = {"attention": attention, "stats_bits": stats_bits, "annealing": annealing is not None}
    result |= {"epochs": epochs, "rate": rate, "start": binary_points(net)}
    result["calibrated"] = measured(net, data)["mean_iou"]
    click.echo(f"mean IoU {result['calibrated']:.2%} after calibration on {images} images")
    freeze_statistics(net)
    if epochs:
        recipe = Recipe(epochs, batch, rate, 1.0, seed, threads=threads, decay=DECAY, warmup=WARMUP)
        result["seconds"] = learn(net, data, recipe, annealing)
    save_packed(Labels(net), target)
    show(result | {"learned": binary_points(net), **measured(net, data)}, json_file)
    if test:
        x, y = load(data, "test")
        np.savez_compressed(test, x=plain(x, False).numpy(), y=np.where(y == VOID, -1, y))


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


@main.command()
@click.argument("data", type=FILE)
@click.argument("weights", type=FILE)
@click.option("--float", "float_file", type=FILE, required=True, help="The state of the float network.")
@click.option("--picture", type=FILE, required=True, help="The PNG file to write.")
@click.option("--images", default=4, show_default=True, help="Test images, evenly spaced.")
def masks(data: Path, weights: Path, float_file: Path, picture: Path, images: int) -> None:
    """Draw test images, their labels, the classes by the float network and by the integers of WEIGHTS, below each other."""
    stored, labels = load(data, "test")
    index = [(2 * i + 1) * len(stored) // (2 * images) for i in range(images)]
    integers = untrained()
    load_packed(integers, weights)
    with torch.no_grad():
        found = [net(plain(stored[index], False))[:, 0].long() for net in (Labels(float_network(float_file)), integers.eval())]
    colours = torch.tensor(COLOURS, dtype=torch.uint8)
    rows = [stored[index].movedim(1, 3), *(colours[classes] for classes in (labels[index], *found))]
    drawing(rows).save(picture, optimize=True)
    same = (found[0] == found[1]).double().mean()
    click.echo(f"test images {', '.join(map(str, index))}: both networks give {same:.2%} of the pixels the same class")


def drawing(rows: list[Tensor]) -> Image.Image:
    """Rows of images, uint8 [N, H, W, 3], and below them the colours of the classes."""
    grid = torch.cat([functional.pad(row, (0, 0, 0, GAP, 0, GAP), value=255).movedim(0, 1).flatten(1, 2) for row in rows])
    height, width = grid.shape[:2]
    names = (*CLASSES, "no label")
    made = Image.new("RGB", (width, height + LINE * -(-len(names) // LEGEND_COLUMNS)), "white")
    made.paste(Image.fromarray(grid.numpy()))
    draw = ImageDraw.Draw(made)
    for i, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        x, y = i % LEGEND_COLUMNS * width // LEGEND_COLUMNS, height + i // LEGEND_COLUMNS * LINE
        draw.rectangle((x, y, x + LINE - GAP, y + LINE - GAP), fill=colour)
        draw.text((x + LINE, y), name, fill="black")
    return made


if __name__ == "__main__":
    main()
