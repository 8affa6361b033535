"""A plain float module made fixed point: every layer replaced, every tensor cast, the first binary points from a few images.

Rules, on the graph that torch.fx traces:
1. Conv2d, Linear, BatchNorm, ReLU, PReLU, LeakyReLU, average pools and additions become the layers of `fixed_layers`, and GELU,
   SiLU, Sigmoid and Tanh those of `fixed_functions`; so do the functions and methods of the same meaning. Max pools, reshapes
   and dropout stay. Anything else is refused.
2. The input is cast first.
3. A result is cast by the layer that makes it, unless it is the output, or all that read it are casts themselves or BatchNorm:
   those take an accumulator as it is, so a value is rounded once. Layers that stay are looked through.
4. A ReLU is an unsigned cast.
5. A GELU and its like casts what it reads itself, also an accumulator, to the format `inner`: a table has few entries.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.functions import MAX_TABLE_BITS
from edgeq.train.fixed import calibrate
from edgeq.train.fixed_functions import FixedFunction
from edgeq.train.fixed_layers import (
    BIAS,
    FEATURES,
    SLOPE,
    WEIGHT,
    FixedAct,
    FixedAdd,
    FixedAvgPool2d,
    FixedBatchNorm,
    FixedConv2d,
    FixedLinear,
    FixedPReLU,
    FixedReLU,
)

SUFFIX = "_fixed"
"""A layer that replaces the node X of the float module's trace is the submodule X_fixed."""


@dataclass(frozen=True)
class Formats:
    """The formats of a layer: weights (of a PReLU its slopes), bias, result, and slope and offset of a BatchNorm.

    inner: what a GELU and its like reads, at most 12 bits; None: signed and else as `features`, of at most 12 bits.
    """

    weight: FixedPoint = WEIGHT
    bias: FixedPoint = BIAS
    features: FixedPoint = FEATURES
    slope: FixedPoint = SLOPE
    offset: FixedPoint = BIAS
    inner: FixedPoint | None = None


class _Add(nn.Module):
    """Stands for an addition."""


def convert(
    model: nn.Module,
    x: Tensor,
    formats: Formats | None = None,
    layers: Mapping[str, Formats] | None = None,
    input: FixedPoint = FEATURES,
) -> fx.GraphModule:
    """`model` in fixed point, with the same weights, in evaluation mode; `model` stays as it is.

    x: a few inputs, from which the binary points are set.  formats: of all layers.  layers: of single ones, by their name in
    `model`, or in the traced graph for functions (`model.fc` is "fc", an addition "add_1").  input: of the model's input.
    Raises EdgeqError for a model that torch.fx cannot trace, a layer without a fixed-point form, or a name that is none.
    """
    traced = trace(model)
    _Conversion(traced, formats or Formats(), dict(layers or {})).run(input)
    calibrate(traced, x)
    return traced


def trace(model: nn.Module) -> fx.GraphModule:
    """A copy of `model` in evaluation mode, traced. Raises EdgeqError where torch.fx cannot."""
    try:
        return fx.symbolic_trace(copy.deepcopy(model).eval())
    except Exception as error:
        fix = "no control flow that depends on data"
        raise EdgeqError(f"torch.fx cannot trace the module: {error}", where=type(model).__name__, fix=fix) from error


class _Conversion:
    """One traced module on its way."""

    def __init__(self, traced: fx.GraphModule, formats: Formats, layers: dict[str, Formats]) -> None:
        self.traced, self.formats, self.layers = traced, formats, layers
        self.modules: dict[str, nn.Module] = dict(traced.named_modules())
        self.roles = {node: self._role(node) for node in traced.graph.nodes}

    def run(self, input: FixedPoint) -> None:
        nodes = list(self.traced.graph.nodes)
        names = {name for node in nodes for name in (node.name, node.target)}
        if unknown := sorted(set(self.layers) - names):
            raise EdgeqError(f"the model has no layer {unknown[0]!r}", where="convert")
        self._check_used_once(nodes)
        made = {node: self._made(node, role) for node, role in self.roles.items() if role is not None}
        for node in nodes:
            if node.op == "placeholder":
                self._insert_cast(node, input)
            elif node in made:
                self._replace(node, made[node])
        self.traced.graph.lint()
        self.traced.delete_all_unused_submodules()
        self.traced.recompile()

    def _check_used_once(self, nodes: list[fx.Node]) -> None:
        seen = set()
        for node in nodes:
            if node.op == "call_module" and any(True for _ in self.modules[node.target].parameters()):
                if node.target in seen:
                    fix = "a layer of its own for each use"
                    raise EdgeqError("a layer with parameters is used twice", where=node.target, fix=fix)
                seen.add(node.target)

    def _role(self, node: fx.Node) -> nn.Module | None:
        """What the node is, as a module, None where it stays as it is; raises EdgeqError where it is nothing known."""
        if node.op in ("placeholder", "output"):
            return None
        if node.op == "call_module":
            module = self.modules[node.target]
            if isinstance(module, STAYING):
                return None
            if type(module) in LAYERS:
                return module
        elif node.op in ("call_function", "call_method"):
            if node.target in STAYING_CALLS:
                return None
            if node.target in ADDITIONS and all(isinstance(a, fx.Node) for a in node.args) and len(node.args) == 2:
                return _Add()
            if node.target in CALLS:
                return CALLS[node.target](*node.args[1:], **node.kwargs)
        what = type(self.modules[node.target]).__name__ if node.op == "call_module" else str(node.target)
        known = ", ".join(sorted(kind.__name__.lstrip("_") for kind in (*LAYERS, *STAYING)))
        raise EdgeqError(f"{what} has no fixed-point form", where=node.name, fix=f"one of {known}")

    def _formats(self, node: fx.Node) -> Formats:
        return self.layers.get(node.name, self.layers.get(str(node.target), self.formats))

    def _made(self, node: fx.Node, role: nn.Module) -> nn.Module:
        """The layer, and its cast where rule 3 asks for one."""
        formats = self._formats(node)
        takers = [self.roles[reader] if reader.op != "output" else None for reader in self._readers(node)]
        out = None if all(taker is None or isinstance(taker, TAKERS) for taker in takers) else formats.features
        try:
            return LAYERS[type(role)](role, formats, out)
        except EdgeqError as error:
            raise EdgeqError(error.what, where=node.name, fix=error.fix) from None

    def _readers(self, node: fx.Node) -> Iterator[fx.Node]:
        """The layers, and the output, that read it."""
        for reader in node.users:
            if reader.op == "output" or self.roles[reader] is not None:
                yield reader
            else:
                yield from self._readers(reader)

    def _insert_cast(self, node: fx.Node, kind: FixedPoint) -> None:
        name = f"{node.name}_cast"
        self.traced.add_submodule(name, FixedAct(kind))
        with self.traced.graph.inserting_after(node):
            cast = self.traced.graph.call_module(name, (node,))
        node.replace_all_uses_with(cast, delete_user_cb=lambda user: user is not cast)

    def _replace(self, node: fx.Node, made: nn.Module) -> None:
        name = node.name + SUFFIX
        self.traced.add_submodule(name, made)
        operands = node.args if isinstance(made, FixedAdd) else node.args[:1]
        with self.traced.graph.inserting_after(node):
            new = self.traced.graph.call_module(name, operands)
        node.replace_all_uses_with(new)
        self.traced.graph.erase_node(node)


# Layers


def _loaded(made: nn.Module, source: nn.Module) -> nn.Module:
    """`made` with the parameters and buffers of `source`."""
    with torch.no_grad():
        for name, value in (*source.named_parameters(), *source.named_buffers()):
            getattr(made, name).copy_(value)
    return made


def _cast_after(made: nn.Module, out: FixedPoint | None) -> nn.Module:
    return nn.Sequential(made, FixedAct(out)) if out else made


def _conv(source: nn.Conv2d, formats: Formats, out: FixedPoint | None) -> nn.Module:
    if source.padding_mode != "zeros":
        raise EdgeqError(f"a convolution with {source.padding_mode} padding", fix="zero padding")
    bias = None if source.bias is None else formats.bias
    made = FixedConv2d(
        source.in_channels, source.out_channels, source.kernel_size, weight=formats.weight, bias=bias,
        stride=source.stride, padding=source.padding, dilation=source.dilation, groups=source.groups,
    )  # fmt: skip
    return _cast_after(_loaded(made, source), out)


def _linear(source: nn.Linear, formats: Formats, out: FixedPoint | None) -> nn.Module:
    bias = None if source.bias is None else formats.bias
    made = FixedLinear(source.in_features, source.out_features, weight=formats.weight, bias=bias)
    return _cast_after(_loaded(made, source), out)


def _norm(source: nn.BatchNorm2d, formats: Formats, out: FixedPoint | None) -> nn.Module:
    if source.running_mean is None or source.weight is None:
        raise EdgeqError("a BatchNorm without running statistics or parameters", fix="affine=True, track_running_stats=True")
    momentum = 0.1 if source.momentum is None else source.momentum
    made = FixedBatchNorm(
        source.num_features, slope=formats.slope, offset=formats.offset, out=out, eps=source.eps, momentum=momentum
    )
    return _loaded(made, source)


def _pool(source: nn.AvgPool2d, formats: Formats, out: FixedPoint | None) -> nn.Module:
    padded = source.padding not in (0, (0, 0))
    if source.ceil_mode or source.divisor_override or (padded and not source.count_include_pad):
        raise EdgeqError("an average pool that does not divide by its window's size", fix="count_include_pad, no ceil_mode")
    return FixedAvgPool2d(source.kernel_size, stride=source.stride, padding=source.padding, out=out)


def _mean(source: nn.AdaptiveAvgPool2d, formats: Formats, out: FixedPoint | None) -> nn.Module:
    if source.output_size not in (1, (1, 1)):
        raise EdgeqError(f"an adaptive average pool to {source.output_size}", fix="to one pixel, or an AvgPool2d")
    return FixedAvgPool2d(out=out)


def _prelu(source: nn.PReLU, formats: Formats, out: FixedPoint | None) -> nn.Module:
    return _loaded(FixedPReLU(source.num_parameters, slope=formats.weight, out=formats.features), source)


def _leaky(source: nn.LeakyReLU, formats: Formats, out: FixedPoint | None) -> nn.Module:
    return FixedPReLU(slope=formats.weight, out=formats.features, start=source.negative_slope)


def _function(name: str, formats: Formats) -> nn.Module:
    features = formats.features
    inner = formats.inner or replace(features, bits=min(features.bits, MAX_TABLE_BITS), signed=True)
    return FixedFunction(name, inner, features)


Maker = Callable[[Any, Formats, FixedPoint | None], nn.Module]
LAYERS: dict[type[nn.Module], Maker] = {
    nn.Conv2d: _conv, nn.Linear: _linear, nn.BatchNorm1d: _norm, nn.BatchNorm2d: _norm, nn.AvgPool2d: _pool,
    nn.AdaptiveAvgPool2d: _mean, nn.PReLU: _prelu, nn.LeakyReLU: _leaky,
    nn.ReLU: lambda source, formats, out: FixedReLU(formats.features),
    nn.GELU: lambda source, formats, out: _function("gelu" if source.approximate == "none" else "gelu_tanh", formats),
    nn.SiLU: lambda source, formats, out: _function("silu", formats),
    nn.Sigmoid: lambda source, formats, out: _function("sigmoid", formats),
    nn.Tanh: lambda source, formats, out: _function("tanh", formats),
    _Add: lambda source, formats, out: FixedAdd(out),
}  # fmt: skip
TAKERS = (nn.ReLU, nn.BatchNorm1d, nn.BatchNorm2d, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)
"""What takes an accumulator as it is. Not a PReLU: its multipliers have 16 bits, an accumulator may have more."""
STAYING = (nn.MaxPool2d, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity)
STAYING_CALLS = {
    functional.max_pool2d, functional.dropout, torch.flatten, torch.max_pool2d, operator.getitem, getattr, "flatten", "view",
    "reshape", "size",
}  # fmt: skip
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}


def _mean_call(dim: Any = None, keepdim: bool = False) -> nn.Module:
    if not keepdim or sorted(d % 4 for d in (dim if isinstance(dim, (tuple, list)) else (0,))) != [2, 3]:
        raise EdgeqError(f"a mean over {dim} with keepdim={keepdim}", where="mean", fix="nn.AdaptiveAvgPool2d(1)")
    return nn.AdaptiveAvgPool2d(1)


CALLS: dict[Any, Callable[..., nn.Module]] = {
    **dict.fromkeys((functional.relu, torch.relu, "relu", "relu_"), lambda inplace=False: nn.ReLU()),
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.leaky_relu: nn.LeakyReLU,
    functional.gelu: nn.GELU,
    functional.silu: nn.SiLU,
    **dict.fromkeys((functional.sigmoid, torch.sigmoid, "sigmoid", "sigmoid_"), nn.Sigmoid),
    **dict.fromkeys((functional.tanh, torch.tanh, "tanh", "tanh_"), nn.Tanh),
    torch.mean: _mean_call,
    "mean": _mean_call,
}
