"""ResNet-8 on CIFAR-10: train it in float, and make that network fixed point, with and without training. Results as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model import ResNet8, fixed
from torch import nn

from edgeq.train import AdaQuant, Epoch, Recipe, accuracy, adaquant, binary_points, fit, freeze_statistics, save_packed
from edgeq.train.cifar10 import augmented, load
from edgeq.train.loop import seeded

FILE = click.Path(path_type=Path, dir_okay=False)
CALIBRATION = 256  # training images that a network is calibrated on
THREADS = 2


@click.group()
def main() -> None:
    """DATA is an npz file as in ../cifar10/README.md; FLOAT the float network's state."""


def learn(net: nn.Module, data: Path, recipe: Recipe) -> float:
    """Train; the accuracy on the test images."""
    images, labels, test_images, test_labels = load(data)

    def report(epoch: Epoch) -> None:
        click.echo(f"epoch {epoch.number}/{recipe.epochs}, {epoch.seconds:.0f} s: loss {epoch.loss:.4f}")

    fit(net, images, labels, recipe, inputs=augmented, report=report)
    return accuracy(net, test_images, test_labels, augmented)


def show(result: dict[str, Any], json_file: Path | None) -> None:
    click.echo(f"{result['accuracy']:.2%} of the test images")
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


@main.command("float")
@click.argument("data", type=FILE)
@click.argument("target", type=FILE)
@click.option("--epochs", default=20, show_default=True)
@click.option("--rate", default=0.005, show_default=True, help="Adam's first learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def train_float(data: Path, target: Path, epochs: int, rate: float, seed: int, json_file: Path | None) -> None:
    """Train the float network on DATA and write its state to TARGET."""
    with seeded(seed):
        net = ResNet8().to(memory_format=torch.channels_last)
    start = time.perf_counter()
    found = learn(net, data, Recipe(epochs, rate=rate, logit_scale=1.0, seed=seed, threads=THREADS))
    torch.save(net.state_dict(), target)
    show({"epochs": epochs, "rate": rate, "seconds": round(time.perf_counter() - start), "accuracy": found}, json_file)


@main.command()
@click.argument("data", type=FILE)
@click.argument("float_file", metavar="FLOAT", type=FILE)
@click.argument("target", type=FILE)
@click.option("--bits", default=8, show_default=True)
@click.option("--k", type=int, help="Nonzero digits of a weight and of a slope.")
@click.option(
    "--adaquant",
    "images",
    default=0,
    show_default=True,
    help="First fit each layer to FLOAT's on that many images, without labels.",
)
@click.option("--epochs", default=3, show_default=True, help="Of training with labels; 0: none.")
@click.option("--rate", default=0.001, show_default=True, help="Adam's first learning rate.")
@click.option("--seed", default=1, show_default=True)
@click.option("--test", type=FILE, help="Also write the test images (`x`) and labels (`y`), for `edgeq verify --data`.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def tune(
    data: Path,
    float_file: Path,
    target: Path,
    bits: int,
    k: int | None,
    images: int,
    epochs: int,
    rate: float,
    seed: int,
    test: Path | None,
    json_file: Path | None,
) -> None:
    """Make FLOAT fixed point, fine-tune it, and write packed weights to TARGET."""
    source = ResNet8()
    source.load_state_dict(torch.load(float_file, weights_only=True))
    train_images, _, test_images, test_labels = load(data)
    net = fixed(source, augmented(train_images[:CALIBRATION], False), bits, k).to(memory_format=torch.channels_last)
    result: dict[str, Any] = {"bits": bits, "k": k, "epochs": epochs, "rate": rate, "start": binary_points(net)}
    result["calibrated"] = accuracy(net, test_images, test_labels, augmented)
    click.echo(f"{result['calibrated']:.2%} after calibration")
    start = time.perf_counter()
    if images:
        adaquant(net, source, augmented(train_images[:images], False), AdaQuant(seed=seed, threads=THREADS))
        result["adaquant"] = {"images": images, "accuracy": accuracy(net, test_images, test_labels, augmented)}
        click.echo(f"{result['adaquant']['accuracy']:.2%} after AdaQuant")
    freeze_statistics(net)
    if epochs:
        learn(net, data, Recipe(epochs, rate=rate, logit_scale=1.0, seed=seed, threads=THREADS))
    save_packed(net, target)
    result |= {"seconds": round(time.perf_counter() - start), "learned": binary_points(net)}
    result["accuracy"] = accuracy(net, test_images, test_labels, augmented)
    show(result, json_file)
    if test:
        np.savez_compressed(test, x=augmented(test_images, False).numpy(), y=test_labels.numpy())


@main.command()
@click.argument("results", nargs=-1, type=FILE)
def table(results: tuple[Path, ...]) -> None:
    """Print the RESULTS of `tune` as a Markdown table, and the binary points: calibrated, and where another was learned, that."""
    runs = {file.stem: json.loads(file.read_text()) for file in results}
    click.echo("| network | calibrated | AdaQuant | trained | epochs | points that moved |\n|---|---|---|---|---|---|")
    for name, run in runs.items():
        moved = sum(run["start"][quant] != point for quant, point in run["learned"].items())
        fitted = f"{run['adaquant']['accuracy']:.2%}" if "adaquant" in run else ""
        trained = f"{run['accuracy']:.2%}" if run["epochs"] else ""
        click.echo(
            f"| {name} | {run['calibrated']:.2%} | {fitted} | {trained} | {run['epochs']} | {moved} of {len(run['start'])} |"
        )
    click.echo(f"\n| fraction bits of | {' | '.join(runs)} |\n|---{'|---' * len(runs)}|")
    for quant in next(iter(runs.values()))["start"]:
        points = [[run[when][quant].split()[2] for when in ("start", "learned")] for run in runs.values()]
        click.echo(f"| {short(quant)} | {' | '.join(a if a == b else f'{a} -> {b}' for a, b in points)} |")


def short(quant: str) -> str:
    """A quantizer's name without the modules that every one of its kind is in."""
    for part in (".tensor_quant", ".fused_activation_quant_proxy", ".act_quant", "_fixed", "_quant", ".result.out"):
        quant = quant.replace(part, "")
    return quant.replace(".", " ")


if __name__ == "__main__":
    main()
