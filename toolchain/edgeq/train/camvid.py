"""CamVid, street scenes of 11 classes: the data, augmentation of images with their labels, and the mean IoU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
VOID = len(CLASSES)
"""The label of a pixel without one."""
SCALES, ASPECT = (0.5, 1.0), 0.15
"""The share of a side that a crop takes, and by how much its axes differ."""
COLOUR = 0.4
"""Contrast and brightness change by up to this much."""


def load(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 3, H, W] and labels int64 [N, H, W] of "train", "val" or "test"."""
    with np.load(path, allow_pickle=False) as pack:
        images, labels = pack[f"{split}_image"], pack[f"{split}_label"]
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), torch.from_numpy(labels.astype(np.int64))


def augmented(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A random crop of each image in the size of the image, mirrored or not, in other colours; its labels with it."""
    n = len(images)
    scale = torch.empty(n, 1).uniform_(*SCALES) * torch.empty(n, 2).uniform_(1 - ASPECT, 1 + ASPECT)
    scale.clamp_(max=1.0)
    move = (1 - scale) * torch.empty(n, 2).uniform_(-1, 1)
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale[:, 0] * mirror, scale[:, 1], move
    grid = functional.affine_grid(theta, [n, 1, *images.shape[2:]], align_corners=False)
    x = functional.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    y = functional.grid_sample(labels[:, None].float(), grid, "nearest", "border", align_corners=False)
    gain = torch.empty(n, 3, 1, 1).uniform_(-COLOUR / 3, COLOUR / 3) + torch.empty(n, 1, 1, 1).uniform_(1 - COLOUR, 1 + COLOUR)
    shift = 128 * torch.empty(n, 1, 1, 1).uniform_(-COLOUR, COLOUR)
    return (x * gain + shift).clamp_(0, 255).round_().byte(), y[:, 0].long()


def class_weights(labels: Tensor) -> Tensor:
    """1 / ln(1.05 + share) of each class (ENet, arXiv 1606.02147, with 1.02), with mean 1 over the pixels."""
    counts = torch.bincount(labels.flatten(), minlength=VOID + 1)[:VOID].float()
    share = counts / counts.sum()
    weights = 1 / torch.log(1.05 + share)
    return weights / (weights * share).sum()


def confusion(net: nn.Module, images: Tensor, labels: Tensor, batch: int = 16) -> Tensor:
    """Pixels of class i taken for class j: int64 [classes, classes]. `net` gives logits [N, classes, H, W]."""
    net.eval()
    counts = torch.zeros(VOID * VOID, dtype=torch.int64)
    with torch.no_grad():
        for start in range(0, len(images), batch):
            found = net(images[start : start + batch].float() / 256).argmax(1)
            truth = labels[start : start + batch]
            known = truth < VOID
            counts += torch.bincount(truth[known] * VOID + found[known], minlength=VOID * VOID)
    return counts.view(VOID, VOID)


def mean_iou(counts: Tensor) -> float:
    """The mean of intersection by union over the classes."""
    hits = counts.diagonal()
    return float((hits / (counts.sum(0) + counts.sum(1) - hits).clamp(min=1)).mean())
