"""CIFAR-10: the data, and how an image becomes an input."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BORDER = 4
"""Pixels by which a training image may move along each axis."""


def load(path: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images, labels, test images, labels: uint8 [N, 3, 32, 32], int64 [N]."""
    with np.load(path, allow_pickle=False) as pack:
        parts = [part for split in ("train", "test") for part in _split(pack, split)]
    return parts[0], parts[1], parts[2], parts[3]


def _split(pack: np.lib.npyio.NpzFile, split: str) -> tuple[Tensor, Tensor]:
    if f"{split}_image" in pack:
        images = pack[f"{split}_image"]
    else:
        jpeg, offset = pack[f"{split}_jpeg"].tobytes(), pack[f"{split}_offset"]
        images = np.stack([np.asarray(Image.open(io.BytesIO(jpeg[a:b]))) for a, b in pairwise(offset)])
    stored = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return stored.contiguous(memory_format=torch.channels_last), torch.from_numpy(pack[f"{split}_label"].astype(np.int64))


def augmented(images: Tensor, training: bool) -> Tensor:
    """Bytes -> multiples of 1/256; in training each image is moved by up to BORDER pixels, and half of them are mirrored."""
    if training:
        n, _, height, width = images.shape
        rows = torch.arange(height) + torch.randint(0, 2 * BORDER + 1, (n, 1))
        columns = torch.arange(width) + torch.randint(0, 2 * BORDER + 1, (n, 1))
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
        padded = torch.nn.functional.pad(images, (BORDER,) * 4).permute(0, 2, 3, 1)
        images = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return images.float() / 256
