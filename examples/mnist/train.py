"""Train a network of model.py on MNIST with the spanning-tree loss: a packed .npz of its weights."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
import model
from torch import Tensor

from edgeq.train import Epoch, Recipe, TreeLoss, accuracy, fit, load_packed, save_packed
from edgeq.train.binary import ESTIMATORS
from edgeq.train.loop import seeded
from edgeq.train.mnist import inputs, load

FILE = click.Path(path_type=Path, dir_okay=False)
NETWORKS = {"sfc": model.sfc, "cnn": model.cnn}


@click.command()
@click.argument("network", type=click.Choice(list(NETWORKS)))
@click.argument("data", type=FILE)
@click.argument("target", type=FILE)
@click.option("--estimator", type=click.Choice(list(ESTIMATORS)), default="biper", show_default=True, help="Of the weights.")
@click.option("--tree", default=0.003, show_default=True, help="Weight of the spanning-tree loss.")
@click.option("--warmup", default=3, show_default=True, help="Epochs over which that weight grows.")
@click.option("--epochs", default=30, show_default=True)
@click.option("--settle", default=0, show_default=True, help="Last epochs, in which training images are not moved.")
@click.option("--batch", default=256, show_default=True)
@click.option("--rate", default=0.01, show_default=True, help="Adam's first learning rate.")
@click.option("--seed", default=0, show_default=True, help="Of the first weights, the order and the shifts of images.")
@click.option("--test", is_flag=True, help="Also print the accuracy on the test images, on which nothing may be chosen.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def main(
    network: str,
    data: Path,
    target: Path,
    estimator: str,
    tree: float,
    warmup: int,
    epochs: int,
    settle: int,
    batch: int,
    rate: float,
    seed: int,
    test: bool,
    json_file: Path | None,
) -> None:
    """Train NETWORK on DATA, an npz file as in README.md, and write packed weights to TARGET."""
    pack = load(data)
    with seeded(seed):
        net = NETWORKS[network](estimator=estimator)
    recipe = Recipe(epochs, batch, rate, model.LOGIT_SCALE[network], seed, bfloat16=True)
    loss = TreeLoss(net, tree, warmup)
    start = time.perf_counter()
    done = 0

    def moved(images: Tensor, training: bool) -> Tensor:
        return inputs(images, training and done < epochs - settle)

    def report(epoch: Epoch) -> None:
        nonlocal done
        done = epoch.number
        held = accuracy(net, pack.held_images, pack.held_labels, inputs)
        shares = " ".join(f"{layer.share:.3f}" for layer in loss.trees())
        click.echo(
            f"epoch {epoch.number}/{epochs}, {epoch.seconds:.0f} s: loss {epoch.loss:.4f} + {epoch.tree_loss:.4f}, "
            f"held-out {held:.2%}, operations left {shares}"
        )

    fit(net, pack.train_images, pack.train_labels, recipe, inputs=moved, tree=loss, report=report)
    save_packed(net, target)
    load_packed(net, target)
    result = {
        "network": network,
        "estimator": estimator,
        "tree": tree,
        "warmup": warmup,
        "settle": settle,
        **asdict(recipe),
        "seconds": round(time.perf_counter() - start),
        "held_out_accuracy": accuracy(net, pack.held_images, pack.held_labels, inputs),
        **({"test_accuracy": accuracy(net, pack.test_images, pack.test_labels, inputs)} if test else {}),
        "layers": [asdict(layer) | {"share": layer.share} for layer in loss.trees()],
    }
    click.echo("  ".join(f"{name} {value:.2%}" for name, value in result.items() if name.endswith("accuracy")))
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
