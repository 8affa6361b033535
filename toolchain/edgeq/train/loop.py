"""Training a classifier, of images or pixels: one loop for all examples, the same weights for the same seed on a machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.train.binary import clip_latent, set_progress
from edgeq.train.fixed import parameter_groups
from edgeq.train.packed import save_packed
from edgeq.train.statsq import Annealing
from edgeq.train.tree import LayerTree, TreeLoss

Inputs = Callable[[Tensor, bool], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Pairs = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    epochs: length of the schedule.  stop: end after so many of them.  rate: Adam's, falling to 0 as a cosine; binary points
    learn 10 times as fast.  logit_scale: of the network's outputs before the softmax (binary layers give sums of up to K).
    seed: of order and augmentation, not of the weights that the network comes with.  bfloat16: forward and backward in
    bfloat16 where torch's autocast takes it, twice as fast on a CPU that has it; sums of -1 and +1 are exact in it up to 256,
    and the even ones up to 512.  threads: of torch; with another number the last bits differ.  decay: of all but binary points
    with each step, times the rate (AdamW).  warmup: the share of the steps in which the rate grows from 0.
    """

    epochs: int
    batch: int = 128
    rate: float = 0.01
    logit_scale: float = 1 / 16
    seed: int = 0
    bfloat16: bool = False
    stop: int | None = None
    threads: int = 1
    decay: float = 0.0
    warmup: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """One epoch's end. loss: mean of the task's loss.  tree_loss: mean, with its weight.  trees: of the epoch's beginning."""

    number: int
    seconds: float
    loss: float
    tree_loss: float
    trees: list[LayerTree]


def plain(images: Tensor, training: bool) -> Tensor:
    """Images as they are stored, as float32; bytes become multiples of 1/256 in [0, 255/256]."""
    return images.to(torch.float32) / 256 if images.dtype == torch.uint8 else images.to(torch.float32)


def fit(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    inputs: Inputs = plain,
    pairs: Pairs | None = None,
    loss: Loss = nn.functional.cross_entropy,
    tree: TreeLoss | None = None,
    annealing: Annealing | None = None,
    report: Callable[[Epoch], None] | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Train `net` in place on `loss` and `tree`, and leave it in evaluation mode.

    images: [N, ...] as stored (bytes keep a data set small).  labels: int64 [N], or [N, H, W] of pixels.  pairs: augmentation of
    a batch of images with its labels.  inputs: (a batch of images, training?) -> what the network takes: augmentation and
    scaling.  loss: of (outputs, labels).  annealing: of StatsQ weights.  report: called after each epoch.  checkpoint: a packed
    file written after each epoch. The caller's random state is left as it was. Raises
    EdgeqError where there are fewer images than a batch; those that fill no batch wait for another epoch's order.
    """
    batches = len(images) // recipe.batch
    if not batches:
        raise EdgeqError(f"{len(images)} images make no batch of {recipe.batch}", where="fit", fix="a smaller batch")
    steps = recipe.epochs * batches
    optimizer = torch.optim.AdamW(parameter_groups(net, recipe.rate), weight_decay=recipe.decay)
    rise = recipe.warmup * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (rise + 1)) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    with seeded(recipe.seed, recipe.threads):
        for number in range(recipe.epochs if recipe.stop is None else min(recipe.stop, recipe.epochs)):
            net.train()
            start = time.perf_counter()
            trees = tree.rebuild() if tree else []
            sums = torch.zeros(2)
            order = torch.randperm(len(images))[: batches * recipe.batch]
            for step, index in enumerate(order.split(recipe.batch)):
                progress = (number * batches + step) / steps
                set_progress(net, progress)
                x, target = images[index], labels[index]
                x, target = pairs(x, target) if pairs else (x, target)
                x = inputs(x, True)
                with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                    y = net(x)
                task = loss(y.float() * recipe.logit_scale, target)
                extra = tree() if tree else torch.zeros(())
                optimizer.zero_grad()
                (task + extra).backward()
                with annealing.holding(net, progress) if annealing else nullcontext():
                    optimizer.step()
                schedule.step()
                clip_latent(net)
                sums += torch.stack((task.detach(), extra.detach()))
            net.eval()
            if checkpoint:
                save_packed(net, checkpoint)
            if report:
                mean = (sums / batches).tolist()
                report(Epoch(number + 1, time.perf_counter() - start, mean[0], mean[1], trees))


def accuracy(net: nn.Module, images: Tensor, labels: Tensor, inputs: Inputs = plain, batch: int = 500) -> float:
    """The share of images whose first largest output is the label; the network is left in evaluation mode."""
    net.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(images), batch):
            y = net(inputs(images[start : start + batch], False))
            right += int((y.argmax(1) == labels[start : start + batch]).sum())
    return right / len(images)


@contextmanager
def seeded(seed: int, count: int = 1) -> Iterator[None]:
    """Torch with this seed and `count` threads; afterwards its random state and threads are what they were."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
