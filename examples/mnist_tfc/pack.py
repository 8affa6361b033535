"""MNIST's test images as an npz file for `edgeq verify --data`: x float32 [N, 1, 28, 28] in [0, 1], y the labels."""

from pathlib import Path

import click
import numpy as np

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
def main(source: Path, target: Path) -> None:
    """Read SOURCE, an npz file with `test_image` uint8 [N, 28, 28] and `test_label` (or Keras' `x_test` and `y_test`)."""
    with np.load(source, allow_pickle=False) as pack:
        names = [pair for pair in (("test_image", "test_label"), ("x_test", "y_test")) if set(pair) <= set(pack.files)]
        if not names:
            raise click.ClickException(f"{source} holds {', '.join(pack.files)}, neither test_image nor x_test")
        images, labels = (pack[name] for name in names[0])
    np.savez_compressed(target, x=(images[:, None] / 255).astype(np.float32), y=labels)


if __name__ == "__main__":
    main()
