"""Gradient estimators and the spanning-tree loss on CIFAR-10: accuracy, tree distance, bit operations left."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from common import json_option, show

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "cifar10"
RESULTS = EXAMPLE / "results.json"
ESTIMATORS = ("ste", "reste", "biper")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Train anew on this npz file instead.")
@click.option("--estimator", "estimators", type=click.Choice(ESTIMATORS), multiple=True, default=ESTIMATORS, show_default=True)
@click.option("--tree", "weights", type=float, multiple=True, default=(0.0, 0.002), show_default=True, help="Weight of the loss.")
@click.option("--epochs", default=6, show_default=True)
@click.option("--width", default=32, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), help="Write the runs, as in the example's results.json.")
@json_option
def main(
    data: Path | None,
    estimators: tuple[str, ...],
    weights: tuple[float, ...],
    epochs: int,
    width: int,
    results: Path | None,
    json_file: Path | None,
) -> None:
    """Show the committed runs of examples/cifar10/train.py, or those that --data trains now (a few minutes each)."""
    if data:
        runs = [_train(data, estimator, weight, epochs, width) for weight in weights for estimator in estimators]
    else:
        runs = json.loads(RESULTS.read_text())
    if results:
        results.write_text(json.dumps(runs, indent=2) + "\n")
    notes = {
        "distance": "of all spanning trees, to be compared with the number of weights",
        "terms": "summed for a frame along the trees (bytes in the first layer, signs in the others); direct: without trees",
        "kind": "measured, one seed each",
    }
    show("CIFAR-10, binary networks (examples/cifar10)", [_row(run) for run in runs], json_file, **notes)


def _train(data: Path, estimator: str, weight: float, epochs: int, width: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "run.json")
        options = {"estimator": estimator, "tree": weight, "epochs": epochs, "width": width, "json": out}
        arguments = [str(EXAMPLE / "train.py"), str(data), str(Path(scratch, "weights.npz"))]
        subprocess.run([sys.executable, *arguments, *(f"--{name}={value}" for name, value in options.items())], check=True)
        return json.loads(out.read_text())


def _row(run: dict[str, Any]) -> dict[str, Any]:
    layers = run["layers"]
    direct = sum(layer["positions"] * layer["channels"] * layer["terms"] for layer in layers)
    left = sum(layer["positions"] * layer["additions"] for layer in layers)
    return {
        "width": run["width"],
        "epochs": run["stop"] or run["epochs"],
        "estimator": run["estimator"],
        "tree loss": f"{run['tree']:g}",
        "accuracy": f"{run['accuracy']:.2%}",
        "distance": sum(layer["distance"] for layer in layers),
        "weights": sum(layer["channels"] * layer["terms"] for layer in layers),
        "terms": left,
        "direct": direct,
        "saved": f"{1 - left / direct:.1%}",
    }


if __name__ == "__main__":
    main()
