"""Train ResNet-8 of model.py on CIFAR-10 in float, and write its state to TARGET."""

from __future__ import annotations

from pathlib import Path

import click
import torch
from model import ResNet8

from edgeq.train import Epoch, Recipe, accuracy, fit
from edgeq.train.cifar10 import augmented, load
from edgeq.train.loop import seeded

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("data", type=FILE)
@click.argument("target", type=FILE)
@click.option("--epochs", default=20, show_default=True)
@click.option("--rate", default=0.005, show_default=True, help="Adam's first learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(data: Path, target: Path, epochs: int, rate: float, seed: int, threads: int) -> None:
    """Train on DATA, an npz file as in ../cifar10/README.md."""
    images, labels, test_images, test_labels = load(data)
    with seeded(seed):
        net = ResNet8().to(memory_format=torch.channels_last)

    def report(epoch: Epoch) -> None:
        click.echo(
            f"epoch {epoch.number}/{epochs}, {epoch.seconds:.0f} s: loss {epoch.loss:.4f}, {accuracy(net, test_images[:1000], test_labels[:1000]):.2%}"
        )
        torch.save(net.state_dict(), target)

    recipe = Recipe(epochs, rate=rate, logit_scale=1.0, seed=seed, threads=threads)
    fit(net, images, labels, recipe, inputs=augmented, report=report)
    click.echo(f"{accuracy(net, test_images, test_labels):.2%} of {len(test_labels)} test images")


if __name__ == "__main__":
    main()
