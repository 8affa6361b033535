"""Train the digits network: digits.pt (a state dict) and test.npz (the held-out images `x` and labels `y`) in a folder."""

from pathlib import Path

import click
import numpy as np

from edgeq.train.digits import EPOCHS, prepare


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of the split, the weights and the order of images.")
def main(folder: Path, seed: int) -> None:
    """Train from SEED and write FOLDER/digits.pt and FOLDER/test.npz."""
    with click.progressbar(length=EPOCHS, label="training") as bar:
        run = prepare(folder, seed, lambda done, _: bar.update(1))
    np.savez_compressed(folder / "test.npz", x=run.test_images, y=run.test_labels)
    click.echo(f"held-out accuracy {run.accuracy:.2%} on {len(run.test_labels)} images")


if __name__ == "__main__":
    main()
