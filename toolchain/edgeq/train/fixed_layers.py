"""Fixed-point layers: Brevitas layers, and others, whose every tensor is cast to a fixed-point format with a learned point.

Each takes its formats (`FixedPoint`, and for weights `KHot`, `DenseShift`, `Ternary` and `StatsQ`) and plain tensors, so it
stands beside Brevitas' own layers and exports as they do. What comes after a convolution or a dense layer is a layer of its own:
BatchNorm is a multiply-add with fixed-point slope and offset, and so on. In training sums are float32; in evaluation the
elementwise layers work in float64, so that they give exactly the cast of the exact result. Sums of products are exact below 2^24
units of their last bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from brevitas.inject import ExtendedInjector
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
from brevitas.proxy import ActQuantProxyFromInjector, BiasQuantProxyFromInjector, WeightQuantProxyFromInjector
from torch import Tensor, nn
from torch.nn import functional

from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.train.fixed import FixedQuant
from edgeq.train.statsq import StatsQ, StatsQuant

WEIGHT, BIAS, FEATURES = FixedPoint(8), FixedPoint(16), FixedPoint(8)
SLOPE = FixedPoint(12)


class _ActProxy(ActQuantProxyFromInjector):
    """Brevitas' proxy, but its quantizer writes its own ONNX node: Brevitas' Quant knows no other overflow."""

    @property
    def export_mode(self) -> bool:
        return False

    @export_mode.setter
    def export_mode(self, value: bool) -> None:
        self.export_handler = None


class _Weight(ExtendedInjector):
    proxy_class = WeightQuantProxyFromInjector
    tensor_quant = FixedQuant
    parameter = True
    float_to_int_impl_type = "round"  # exported are weights that are codes already, see settle


class _Bias(_Weight):
    proxy_class = BiasQuantProxyFromInjector
    requires_input_scale = False


class _Act(ExtendedInjector):
    proxy_class = _ActProxy
    tensor_quant = FixedQuant
    parameter = False


def _formats(rows: int, weight: FixedPoint, bias: FixedPoint | None) -> dict[str, Any]:
    """The keyword arguments of a Brevitas layer with weights and a bias of these formats.  rows: output channels."""
    found: dict[str, Any] = {"weight_quant": _Weight, "bias": bias is not None}
    if isinstance(weight, StatsQ):
        found |= {"weight_tensor_quant": StatsQuant, "weight_rows": rows}
    kinds = {"weight": weight} | ({"bias": bias} if bias else {})
    for name, kind in kinds.items():
        found |= {f"{name}_kind": kind, f"{name}_signed": kind.signed, f"{name}_narrow_range": kind.narrow}
    return found | ({"bias_quant": _Bias} if bias else {})


class _Settling:
    """A Brevitas layer that can replace latent weights and bias by their codes, for an export that quantizes them again."""

    weight: Tensor
    bias: Tensor | None
    weight_quant: Any
    bias_quant: Any

    def settle(self) -> None:
        self.weight.copy_(self.weight_quant.tensor_quant(self.weight)[0])
        if self.bias is not None:
            self.bias.copy_(self.bias_quant.tensor_quant(self.bias)[0])


class FixedConv2d(_Settling, QuantConv2d):
    """A convolution of fixed-point weights, and bias where its format is given: [N, in, H, W] -> [N, out, Ho, Wo].

    weight: at most 8 bits for hardware.  stride, padding, dilation, groups as in nn.Conv2d; padding is 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        weight: FixedPoint = WEIGHT,
        bias: FixedPoint | None = None,
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
            **_formats(out_channels, weight, bias),
        )


class FixedLinear(_Settling, QuantLinear):
    """A dense layer of fixed-point weights, and bias where its format is given: [N, in] -> [N, out]."""

    def __init__(
        self, in_features: int, out_features: int, *, weight: FixedPoint = WEIGHT, bias: FixedPoint | None = None
    ) -> None:
        super().__init__(in_features, out_features, **_formats(out_features, weight, bias))


class FixedAct(QuantIdentity):
    """The cast of an activation of any shape. Unsigned and saturating it is a ReLU."""

    def __init__(self, kind: FixedPoint = FEATURES) -> None:
        super().__init__(act_quant=_Act, kind=kind, signed=kind.signed, narrow_range=kind.narrow)

    def forward(self, input: Tensor) -> Tensor:
        """float32 also of a float64 input: it holds every word."""
        y: Tensor = super().forward(input)
        return y.float()


def quantizer_of(act: FixedAct) -> FixedQuant:
    """Its quantizer, which knows format and point."""
    found = act.act_quant.fused_activation_quant_proxy.tensor_quant
    assert isinstance(found, FixedQuant)
    return found


class FixedReLU(FixedAct):
    """max(x, 0), cast to the unsigned format like `kind`: any shape."""

    def __init__(self, kind: FixedPoint = FEATURES) -> None:
        super().__init__(replace(kind, signed=False))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(functional.relu(input))


class _Wide(nn.Module):
    """A layer of exact real arithmetic and a cast of the result; out: its format, None to leave the result as it is."""

    def __init__(self, out: FixedPoint | None) -> None:
        super().__init__()
        self.out = FixedAct(out) if out else nn.Identity()

    def wide(self, *xs: Tensor) -> tuple[Tensor, ...]:
        """The operands in float64 in evaluation; in float32 in training, where a bit is worth less than time, and in export."""
        return xs if self.training or torch.onnx.is_in_onnx_export() else tuple(x.double() for x in xs)

    def narrow(self, y: Tensor) -> Tensor:
        """The cast; without one what `wide` gives, since the next cast has to see every bit: float64 in evaluation."""
        return self.out(y)  # type: ignore[no-any-return]


class FixedAdd(_Wide):
    """x + y of any two binary points, cast: tensors of one shape. The points may lie 14 bits apart."""

    def __init__(self, out: FixedPoint | None = FEATURES) -> None:
        super().__init__(out)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = self.wide(x, y)
        return self.narrow(x + y)


class FixedAvgPool2d(_Wide):
    """The mean of each window, cast: [N, C, H, W] -> [N, C, Ho, Wo]. The divisor is the window's size at the border too.

    kernel: None for one mean over the whole image, [N, C, 1, 1].
    """

    def __init__(
        self,
        kernel: int | tuple[int, int] | None = None,
        *,
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        out: FixedPoint | None = FEATURES,
    ) -> None:
        super().__init__(out)
        self.pool = nn.AvgPool2d(kernel, stride, padding) if kernel else nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        (x,) = self.wide(x)
        return self.narrow(self.pool(x))


class FixedPReLU(_Wide):
    """x where it is positive, else slope * x, cast: [N, C, ...] of the same shape.

    channels: slopes, one a channel, or 1.  slope: their format.
    """

    def __init__(
        self, channels: int = 1, *, slope: FixedPoint = FEATURES, out: FixedPoint | None = FEATURES, start: float = 0.25
    ) -> None:
        super().__init__(out)
        self.weight = nn.Parameter(torch.full((channels,), start))
        self.slope_quant = FixedQuant(slope, parameter=True)

    def settle(self) -> None:
        self.weight.copy_(self.slope_quant(self.weight)[0])

    def forward(self, x: Tensor) -> Tensor:
        slope = self.weight if torch.onnx.is_in_onnx_export() else self.slope_quant(self.weight)[0]
        x, slope = self.wide(x, slope)
        return self.narrow(functional.prelu(x, slope))


class FixedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm as a fixed-point multiply-add, x * slope[c] + offset[c], cast: [N, C, H, W] or [N, C] of the same shape.

    slope and offset: the formats of gamma / sqrt(var + eps) and of beta - mean * slope, with one binary point each; batch
    statistics in training until `frozen` is set, running ones else.  out: the format of the result, None to leave it to the
    next layer. Parameters and buffers have the names of nn.BatchNorm2d.
    """

    def __init__(
        self,
        channels: int,
        *,
        slope: FixedPoint = SLOPE,
        offset: FixedPoint = BIAS,
        out: FixedPoint | None = FEATURES,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(channels, eps, momentum)
        self.slope_quant, self.offset_quant = (FixedQuant(kind, parameter=True) for kind in (slope, offset))
        self.result = _Wide(out)
        self.settled: tuple[Tensor, Tensor] | None = None
        self.frozen = False

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise EdgeqError(f"an input of shape {tuple(input.shape)}", where="FixedBatchNorm", fix="[N, C, H, W] or [N, C]")

    def settle(self) -> None:
        """Keep slope and offset as constants, for an export that would compute them again."""
        self.settled = self._line(self.running_mean, self.running_var)

    def _line(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        slope = self.slope_quant(self.weight / (var + self.eps).sqrt())[0]
        return slope, self.offset_quant(self.bias - mean * slope)[0]

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        mean, var = self._statistics(x) if self.training and not self.frozen else (self.running_mean, self.running_var)
        slope, offset = (v.reshape(1, -1, *(1,) * (x.ndim - 2)) for v in self.settled or self._line(mean, var))
        x, slope, offset = self.result.wide(x, slope, offset)
        return self.result.narrow(x * slope + offset)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of a batch, which the running ones follow."""
        axes = [0, *range(2, x.ndim)]
        count = x.numel() // x.shape[1]
        var, mean = torch.var_mean(x, axes, correction=0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / max(count - 1, 1), self.momentum)
        return mean, var


def freeze_statistics(module: nn.Module, frozen: bool = True) -> None:
    """Let every FixedBatchNorm in `module` use its running statistics in training too, for fine-tuning: half the time."""
    for part in module.modules():
        if isinstance(part, FixedBatchNorm):
            part.frozen = frozen
