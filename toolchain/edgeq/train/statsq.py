"""StatsQ weights and confidence-guided annealing (OFQ, arXiv 2302.02210): a row's scale is a statistic, and not learned.

`StatsQ(b)` has the 2^b odd codes of [-(2^b - 1), 2^b - 1]: of 2 bits -3, -1, 1, 3, of 1 bit -1, 1. The unit of a row, an output
channel, is s / 2^b with s = 2 * mean(abs(w)) over the row. A latent weight beyond the last code is cut to it; the gradient passes
everywhere, as in the published code. Ours: the unit is rounded to `scale_bits` significant bits, so that float32 sums stay exact
and hardware multiplies by few bits (4: within 1/17 of the statistic; 1: a power of two, within a third); it is at least 2^-20,
that of a row of zeros; a boundary itself belongs to the code nearer to zero, and 0 to +1.

The unit follows the weights in training. In evaluation it is kept as it was last, like a running mean, so that weights made codes
have the same codes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.train.codings import Coding
from edgeq.train.fixed import Codes

MAX_STATS_BITS = 7
"""Codes of 8 bits with their sign."""
LEAST_UNIT = 2.0**-20


@dataclass(frozen=True)
class StatsQ(Coding):
    """2^bits odd codes, for weights.  bits: 1 to 7.  scale_bits: significant bits of a row's unit, 1 to 8."""

    scale_bits: int = 4

    def __post_init__(self) -> None:
        self.check_modes()
        if not 1 <= self.bits <= MAX_STATS_BITS or not 1 <= self.scale_bits <= 8 or self.integer is not None:
            what = f"StatsQ weights of {self.bits} bits, a scale of {self.scale_bits}, {self.integer} integer bits"
            raise EdgeqError(what, where="StatsQ", fix=f"1 to {MAX_STATS_BITS} bits, a scale of 1 to 8, no integer bits")

    def __str__(self) -> str:
        return f"{super().__str__()[:-1]},scale_bits={self.scale_bits}>"

    @property
    def lo(self) -> int:
        return -self.hi

    @property
    def hi(self) -> int:
        return (1 << self.bits) - 1

    def magnitudes(self) -> np.ndarray:
        return np.arange(1.0, 1 << self.bits, 2.0)

    def units(self, weight: Tensor) -> Tensor:
        """The unit of each row, float32: [rows, ...] -> [rows]."""
        mantissa, exponent = torch.frexp(weight.detach().double().abs().flatten(1).mean(1) * 2.0 ** (1 - self.bits))
        steps = 1 << self.scale_bits
        return ((mantissa * steps).round() / steps * 2.0**exponent).clamp(min=LEAST_UNIT).float()

    def distances(self, u: Tensor) -> Tensor:
        """How far values, in units, lie from the nearest boundary, in steps between codes (2 units): at most 1/2."""
        last = (1 << (self.bits - 1)) - 1
        steps = u / 2
        return (steps - steps.round().clamp(-last, last)).abs().clamp(max=0.5)


class StatsQuant(nn.Module):
    """A Brevitas tensor quantizer: weights [rows, ...] -> (their words, the units, zero point 0, bit width)."""

    scale: Tensor
    zero_point: Tensor
    bit_width: Tensor

    def __init__(self, kind: StatsQ, rows: int) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("scale", torch.zeros(rows))
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(kind.bits + 1)), persistent=False)

    def unit(self, weight: Tensor) -> Tensor:
        """The unit of each row, in a shape that broadcasts over the weights."""
        return self.scale.view(-1, *(1,) * (weight.ndim - 1))

    def forget(self) -> None:
        """Take the units anew from the next weights."""
        self.scale.zero_()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.training or not self.scale.all():
            self.scale.copy_(self.kind.units(x))
        unit = self.unit(x).clone()
        return Codes.apply(x, self.kind, unit), unit, self.zero_point, self.bit_width

    def extra_repr(self) -> str:
        return str(self.kind)


@dataclass(frozen=True)
class Annealing:
    """Confidence-guided annealing: a step of the optimizer moves only weights near a boundary, where they may oscillate.

    A StatsQ weight is frozen where it lies farther than `reach` from every boundary, in steps between codes: its gradient is
    zero, and decay and momentum do not move it. Which are is decided with each step, of the units at that time, as in the
    published code, where `reach` is constant (0.005 or 0.007 in a training of its own behind the quantized one). Ours: it
    falls from `first` (1/2: none is frozen) to `last` as a geometric sequence over the training; first = last is theirs.
    """

    first: float = 0.5
    last: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.last <= self.first <= 0.5:
            raise EdgeqError(f"annealing from {self.first} to {self.last}", where="Annealing", fix="0 < last <= first <= 0.5")

    def reach(self, progress: float) -> float:
        """progress: how much of the training is done, 0 to 1."""
        return self.first * (self.last / self.first) ** progress

    def frozen(self, module: nn.Module, progress: float) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """The StatsQ weights in `module`, each with a mask of what is frozen."""
        reach = self.reach(progress)
        for part in module.modules():
            quantizer = getattr(getattr(part, "weight_quant", None), "tensor_quant", None)
            if isinstance(quantizer, StatsQuant):
                weight = part.weight
                assert isinstance(weight, nn.Parameter)
                yield weight, quantizer.kind.distances(weight.detach() / quantizer.unit(weight)) > reach

    @contextmanager
    def holding(self, module: nn.Module, progress: float) -> Iterator[None]:
        """A step of an optimizer goes here, between backward and the next forward pass in training."""
        held = [(weight, mask, weight.detach().clone()) for weight, mask in self.frozen(module, progress)]
        for weight, mask, _ in held:
            if weight.grad is not None:
                weight.grad.masked_fill_(mask, 0)
        yield
        with torch.no_grad():
            for weight, mask, before in held:
                weight.copy_(torch.where(mask, before, weight))
