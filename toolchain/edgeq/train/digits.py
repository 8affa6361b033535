"""The network of `edgeq demo`: a binary CNN for the 8x8 digits that scikit-learn brings along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from brevitas.core.restrict_val import RestrictValueType
from brevitas.core.scaling import ScalingImplType
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
from brevitas.quant import SignedBinaryActPerTensorConst, SignedBinaryWeightPerTensorConst, Uint8ActPerTensorFixedPoint
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

EPOCHS = 60
BATCH = 64
HELD_OUT = 0.25
THREADS = 1  # splitting sums over threads changes their last bits, and layers this small gain nothing from it
RATE = 0.05
LOGIT_SCALE = 1 / 16  # the last layer gives integers; the loss sees them at this scale


class _Pixels(Uint8ActPerTensorFixedPoint):
    """Four bits, scale 1/16: the bundled pixels are multiples of 1/16 in [0, 1], of which 1 becomes 15/16."""

    bit_width = 4
    scaling_impl_type = ScalingImplType.CONST
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO
    min_val = 0.0
    max_val = 1.0


class _Weight(SignedBinaryWeightPerTensorConst):
    scaling_const = 1.0  # the default of 0.1 is inexact in float


def model() -> nn.Module:
    """The untrained network: float [N, 1, 8, 8] in [0, 1] -> [N, 10], integers in [-192, 192] with step 2.

    Every scale is a power of two, so float arithmetic before each BatchNorm is exact.
    """
    return nn.Sequential(
        QuantIdentity(act_quant=_Pixels),
        *_conv(1, 24, padding=1),
        *_conv(24, 32, padding=1),
        nn.MaxPool2d(2),
        *_conv(32, 48, padding=0),
        nn.Flatten(),
        QuantLinear(192, 10, bias=False, weight_quant=_Weight),
    )


def _conv(inputs: int, outputs: int, padding: int) -> list[nn.Module]:
    return [
        QuantConv2d(inputs, outputs, 3, padding=padding, bias=False, weight_quant=_Weight),
        nn.BatchNorm2d(outputs),
        QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
    ]


@dataclass(frozen=True)
class Digits:
    """images: float32 [N, 1, 8, 8], multiples of 1/16 in [0, 1].  labels: int64 [N]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def split(seed: int) -> Digits:
    """The bundled digits, a quarter of each class held out; the same seed gives the same split."""
    pack = load_digits()
    images = (pack.images / 16).astype(np.float32)[:, None]
    labels = pack.target.astype(np.int64)
    a, b, c, d = train_test_split(images, labels, test_size=HELD_OUT, stratify=labels, random_state=seed)
    return Digits(train_images=a, test_images=b, train_labels=c, test_labels=d)


def train(seed: int, epochs: int = EPOCHS, progress: Callable[[int, int], None] | None = None) -> tuple[nn.Module, float]:
    """Train from scratch on the training part of `split(seed)`: the module in evaluation mode and its held-out accuracy.

    The same seed gives the same weights on the same machine. The caller's random state is left as it was.
    progress: called with (epochs done, epochs in all).
    """
    data = split(seed)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(THREADS)
        try:
            net = model()
            _fit(net, torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels), epochs, progress)
        finally:
            torch.set_num_threads(threads)
    net.eval()
    return net, accuracy(net, data.test_images, data.test_labels)


def accuracy(net: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose first largest output is the label."""
    with torch.no_grad():
        return float((net(torch.from_numpy(images)).numpy().argmax(axis=1) == labels).mean())


def _fit(net: nn.Module, images: Tensor, labels: Tensor, epochs: int, progress: Callable[[int, int], None] | None) -> None:
    batches = -(-len(images) // BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=epochs * batches)
    net.train()
    for epoch in range(epochs):
        for index in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(net(_shifted(images[index])) * LOGIT_SCALE, labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if progress:
            progress(epoch + 1, epochs)


def _shifted(images: Tensor) -> Tensor:
    """Half of the images moved by at most one pixel along each axis, the rest as they are."""
    n = len(images)
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    moved = torch.rand(n, 1) < 0.5
    rows, columns = (torch.where(moved, torch.randint(0, 3, (n, 1)), 1) + torch.arange(8) for _ in range(2))
    return padded[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


@dataclass(frozen=True)
class DigitsRun:
    """A trained network and what it is tested on.

    weights_path: its state dict, for `torch.load(..., weights_only=True)`.  accuracy: on the held-out images.
    test_images: float32 [N, 1, 8, 8].  test_labels: int64 [N].
    """

    module: nn.Module
    weights_path: Path
    accuracy: float
    test_images: np.ndarray
    test_labels: np.ndarray


def prepare(folder: Path, seed: int, progress: Callable[[int, int], None] | None = None, epochs: int = EPOCHS) -> DigitsRun:
    """Train as `train` does, and write the state dict to `folder`/digits.pt."""
    net, score = train(seed, epochs, progress)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "digits.pt"
    torch.save(net.state_dict(), weights)
    data = split(seed)
    return DigitsRun(net, weights, score, data.test_images, data.test_labels)
