"""Binary layers: weights and activations of -1 and +1 in Brevitas layers, with a choice of gradient estimators.

Each layer is the Brevitas layer of the same shape with a quantizer of ours, whose scale is exactly 1: Brevitas' tooling
sees an ordinary one-bit layer, and it exports as a plain BipolarQuant. sign(0) is +1. What an estimator replaces is the
gradient of the sign, which is 0 almost everywhere:

| name  | forward         | gradient                                                                   | source           |
|-------|-----------------|----------------------------------------------------------------------------|------------------|
| ste   | sign(x)         | 1 for abs(x) <= 1, else 0                                                  | straight-through |
| reste | sign(x)         | abs(x)^((1-o)/o) / o for 0.1 < abs(x) <= 1.5, 0.1^((1-o)/o) below, 0 above | arXiv 2308.06689 |
| biper | sign(sin(20 x)) | 20 cos(20 x)                                                               | arXiv 2404.01278 |

ReSTE's o grows from 1 to 3 over training: call `set_progress`; below 0.1 its slope is the secant of abs(x)^(1/o). BiPer is
taken for weights only (the sign of a sine of an activation is no threshold) and in one stage, where the paper has two. The range
in which latent weights start and, for ste and reste, are kept (`clip_latent`) is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
from brevitas.quant import SignedBinaryActPerTensorConst, SignedBinaryWeightPerTensorConst
from torch import Tensor, nn

from edgeq.errors import EdgeqError

RESTE_INNER = 0.1
RESTE_OUTER = 1.5
RESTE_POWER = 3.0  # the last o
BIPER_OMEGA = 20.0


def signs(x: Tensor) -> Tensor:
    """-1 or +1 of each value, in x's type; +1 for 0. Its gradient is 0."""
    return (x >= 0).to(x.dtype).mul_(2).sub_(1)


class _Ste(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs() <= 1)
        return signs(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return grad[0] * inside


class _Reste(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, power: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.power = power
        return signs(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        size, o = x.abs(), ctx.power
        exponent = (1 - o) / o
        slope = torch.where(size > RESTE_INNER, size.clamp_min(RESTE_INNER).pow(exponent) / o, RESTE_INNER**exponent)
        return grad[0] * slope * (size <= RESTE_OUTER), None


class _Biper(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return signs(torch.sin(BIPER_OMEGA * x))

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad[0] * BIPER_OMEGA * torch.cos(BIPER_OMEGA * x)


class Estimator(nn.Module):
    """x -> -1 or +1 of the same shape, and a gradient.

    limit: the largest latent magnitude that is kept by `clip_latent`.  start: a latent weight begins in [-start, start].
    """

    limit = math.inf
    start = 0.5

    def set_progress(self, progress: float) -> None:
        """How much of the training is done, 0 to 1; only ReSTE changes with it."""


class Ste(Estimator):
    limit = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return _Ste.apply(x)


class Reste(Estimator):
    limit = RESTE_OUTER

    def __init__(self) -> None:
        super().__init__()
        self.power = 1.0

    def set_progress(self, progress: float) -> None:
        self.power = 1 + (RESTE_POWER - 1) * min(max(progress, 0.0), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return _Reste.apply(x, self.power)


class Biper(Estimator):
    start = math.pi / (2 * BIPER_OMEGA)  # up to the first peaks of sin(omega x)

    def forward(self, x: Tensor) -> Tensor:
        return _Biper.apply(x)


ESTIMATORS: dict[str, type[Estimator]] = {"ste": Ste, "reste": Reste, "biper": Biper}


class SignQuant(nn.Module):
    """A Brevitas tensor quantizer: the estimator's -1 and +1, scale 1, zero point 0, 1 bit."""

    scale: Tensor
    zero_point: Tensor
    bit_width: Tensor

    def __init__(self, estimator: str) -> None:
        super().__init__()
        self.estimator = ESTIMATORS[estimator]()
        for name, value in (("scale", 1.0), ("zero_point", 0.0), ("bit_width", 1.0)):
            self.register_buffer(name, torch.tensor(value), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.estimator(x), self.scale, self.zero_point, self.bit_width


class _Weight(SignedBinaryWeightPerTensorConst):
    tensor_quant = SignQuant
    scaling_const = 1.0


class _Act(SignedBinaryActPerTensorConst):
    tensor_quant = SignQuant


class _Settling:
    """A Brevitas layer that can replace its latent weights by their -1 and +1, which the estimator keeps."""

    weight: Tensor
    weight_quant: Any

    def settle(self) -> None:
        self.weight.copy_(self.weight_quant.tensor_quant.estimator(self.weight))


class BinaryConv2d(_Settling, QuantConv2d):
    """A convolution without bias, weights -1 and +1: [N, in, H, W] -> [N, out, Ho, Wo].

    Zero padding pads with 0. estimator: "ste", "reste" or "biper"; stride, padding, dilation, groups as in nn.Conv2d.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        estimator: str = "ste",
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=False,
            weight_quant=_Weight,
            weight_estimator=_known(estimator),
        )
        _start(self)


class BinaryLinear(_Settling, QuantLinear):
    """A dense layer without bias, weights -1 and +1: [N, in] -> [N, out].  estimator: "ste", "reste" or "biper"."""

    def __init__(self, in_features: int, out_features: int, *, estimator: str = "ste") -> None:
        super().__init__(in_features, out_features, bias=False, weight_quant=_Weight, weight_estimator=_known(estimator))
        _start(self)


class BinaryAct(QuantIdentity):
    """The sign of an activation, -1 or +1, any shape.  estimator: "ste" or "reste"."""

    def __init__(self, *, estimator: str = "ste") -> None:
        if _known(estimator) == "biper":
            raise EdgeqError("BiPer is for weights", where="BinaryAct", fix='estimator="ste" or "reste"')
        super().__init__(act_quant=_Act, estimator=estimator)


def set_progress(module: nn.Module, progress: float) -> None:
    """Tell every estimator in `module` how much of the training is done, 0 to 1: ReSTE's o becomes 1 + 2 * progress."""
    for part in module.modules():
        if isinstance(part, Estimator):
            part.set_progress(progress)


def clip_latent(module: nn.Module) -> None:
    """Keep the latent weights of our layers where their estimator has a gradient: [-1, 1] for ste, [-1.5, 1.5] for reste."""
    with torch.no_grad():
        for layer, estimator in latent_layers(module):
            if estimator.limit < math.inf:
                layer.weight.clamp_(-estimator.limit, estimator.limit)


def latent_layers(module: nn.Module) -> Iterator[tuple[nn.Module, Estimator]]:
    """Our layers in `module` that have binary weights, each with its estimator."""
    for part in module.modules():
        if isinstance(part, BinaryConv2d | BinaryLinear):
            yield part, part.weight_quant.tensor_quant.estimator


def _start(layer: nn.Module) -> None:
    start = layer.weight_quant.tensor_quant.estimator.start
    nn.init.uniform_(layer.weight, -start, start)


def _known(estimator: str) -> str:
    if estimator not in ESTIMATORS:
        raise EdgeqError(f"no estimator is called {estimator!r}", fix=", ".join(ESTIMATORS))
    return estimator
