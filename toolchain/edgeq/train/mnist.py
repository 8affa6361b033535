"""MNIST for one-bit networks: the data, split with images held out for choices, and how an image becomes an input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeq.errors import EdgeqError

HELD_OUT = 5000
"""Training images that are not trained on: every choice is made on these, none on the test images."""
SPLIT_SEED = 0
SHIFT = 1
"""Pixels by which a training image may move along each axis."""
NAMES = {
    "train": (("train_image", "train_label"), ("x_train", "y_train")),
    "test": (("test_image", "test_label"), ("x_test", "y_test")),
}


@dataclass(frozen=True)
class Mnist:
    """Images uint8 [N, 28, 28], labels int64 [N]: to train on, held out for choices, and to test on once."""

    train_images: Tensor
    train_labels: Tensor
    held_images: Tensor
    held_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load(path: Path) -> Mnist:
    """Read an npz file with `train_image`, `train_label`, `test_image`, `test_label` (or Keras' `x_train`, `y_train`, ...).

    The same HELD_OUT images are held out each time. Raises EdgeqError where the file is not such a file.
    """
    images, labels = _part(path, "train")
    order = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(len(images)))
    held, kept = order[:HELD_OUT], order[HELD_OUT:]
    return Mnist(images[kept], labels[kept], images[held], labels[held], *_part(path, "test"))


def _part(path: Path, part: str) -> tuple[Tensor, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as pack:
            images, labels = next((pack[x], pack[y]) for x, y in NAMES[part] if x in pack and y in pack)
    except (OSError, ValueError, StopIteration) as error:
        fix = " and ".join(NAMES[part][0]) + ", or Keras' names"
        raise EdgeqError(f"the file has no {part} images and labels", where=str(path), fix=fix) from error
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise EdgeqError(f"{part} images are {images.dtype} {images.shape}", where=str(path), fix="uint8 [N, 28, 28], labels [N]")
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def inputs(images: Tensor, training: bool) -> Tensor:
    """uint8 [N, 28, 28] -> float32 [N, 1, 28, 28] in [0, 1]; in training each image is moved by up to SHIFT pixels."""
    if training:
        n = len(images)
        padded = nn.functional.pad(images, (SHIFT,) * 4)
        rows, columns = (torch.randint(0, 2 * SHIFT + 1, (n, 1)) + torch.arange(28) for _ in range(2))
        images = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return images[:, None].to(torch.float32) / 255
