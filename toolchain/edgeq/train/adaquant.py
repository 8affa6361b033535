"""Post-training optimization layer by layer: AdaQuant, sequential variant (Hubara et al., arXiv 2006.10518), without labels.

A unit is a layer and what reads it alone, up to the first cast: convolution, BatchNorm, ReLU. (The paper folds BatchNorm first;
ours is a layer of its own, and learned with the weights before it.) Front to back, each unit sees what the fixed-point network
before it makes of the images, and is to give what the float network gives at its end, by least squared error:

1. statistics and binary points anew (`renormalize`), kept where that is better;
2. Adam, straight through the casts, on latent weights, bias, BatchNorm's slope and offset, and binary points.

The error of all images decides what is kept, so no unit ends worse than it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgeq.errors import EdgeqError
from edgeq.train.convert import SUFFIX, trace
from edgeq.train.fixed import FixedQuant, calibrate, quantizers
from edgeq.train.fixed_layers import FixedBatchNorm, FixedConv2d, FixedLinear, FixedPReLU
from edgeq.train.loop import seeded

CHECKS = 4
"""How often in a unit's steps the error of all images is taken."""


@dataclass(frozen=True)
class AdaQuant:
    """How to optimize.

    steps: of Adam for each unit, each on one minibatch.  batch: images of one.  rate: Adam's for weights, in units of their root
    mean squared rounding error.  shift: its rate for bias, slope and offset, in units of the root mean square of the unit's
    output.  points: its rate for binary points, 0 to leave them.  All fall to 0 as a cosine.  seed: of the minibatches' order.
    threads: of torch; with another number the last bits differ.
    """

    steps: int = 100
    batch: int = 32
    rate: float = 0.3
    shift: float = 0.01
    points: float = 0.0
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class LayerError:
    """A unit's mean squared error from the float network, before and after, for the same inputs.  name: of its last layer."""

    name: str
    before: float
    after: float


def renormalize(fixed: fx.GraphModule, model: nn.Module, x: Tensor) -> None:
    """Correct every BatchNorm's running statistics in `fixed`, which `convert` made of `model`, and set all points anew.

    Front to back, each channel of a BatchNorm gets the mean and variance on `x` that it has in the float network, whatever
    quantized layers before it give ("BatchNorm tuning" of the paper, which takes the images' own statistics: their sampling
    error would replace that of the training set's). x and points: as of `calibrate`. Raises EdgeqError where the two do not
    belong together.
    """
    _renormalize(fixed, _float_statistics(fixed, trace(model), x), x)


@dataclass(frozen=True)
class _Statistics:
    """Of a float BatchNorm, float64 [C]: running ones, and those of its input."""

    running: tuple[Tensor, Tensor]
    input: tuple[Tensor, Tensor]


def _float_statistics(fixed: fx.GraphModule, source: fx.GraphModule, x: Tensor) -> dict[nn.Module, _Statistics]:
    """{each BatchNorm of `fixed`: the statistics of that it was}, of one forward pass of the float network."""
    nodes = {node.name: node for node in source.graph.nodes}
    found: dict[nn.Module, _Statistics] = {}
    hooks = []
    for node in filter(_replaced, fixed.graph.nodes):
        if (name := _source(node)) not in nodes:
            raise EdgeqError(f"the float module has no layer {name!r}", where="adaquant", fix="the module given to convert")
        norm = fixed.get_submodule(node.target)
        if isinstance(norm, FixedBatchNorm):

            def keep(part: nn.Module, args: tuple[Tensor], norm: nn.Module = norm) -> None:
                found[norm] = _Statistics((part.running_mean.double(), part.running_var.double()), _moments(args[0]))

            hooks.append(source.get_submodule(nodes[name].target).register_forward_pre_hook(keep))
    with torch.no_grad():
        source(x)
    for hook in hooks:
        hook.remove()
    return found


def _renormalize(module: nn.Module, statistics: dict[nn.Module, _Statistics], *x: Tensor) -> None:
    def correct(norm: nn.Module, args: tuple[Tensor]) -> None:
        before, (mean, var) = statistics[norm], _moments(args[0])
        (running_mean, running_var), (float_mean, float_var) = before.running, before.input
        ratio = torch.where((var > 0) & (float_var > 0), var / float_var, 1.0)  # a constant has no scale to correct
        norm.running_mean.copy_(mean - (float_mean - running_mean) * ratio.sqrt())
        norm.running_var.copy_(((running_var + norm.eps) * ratio - norm.eps).clip(0))

    hooks = [part.register_forward_pre_hook(correct) for part in module.modules() if part in statistics]
    try:
        calibrate(module, *x)
    finally:
        for hook in hooks:
            hook.remove()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel."""
    var, mean = torch.var_mean(x.double(), [0, *range(2, x.ndim)], correction=0)
    return mean, var


def adaquant(fixed: fx.GraphModule, model: nn.Module, x: Tensor, settings: AdaQuant | None = None) -> list[LayerError]:
    """Optimize `fixed`, which `convert` made of `model`, in place: the errors of its units, front to back.

    x: a few hundred inputs, as the models take them. The caller's random state is left as it was, `model` too. Raises EdgeqError
    where the two do not belong together.
    """
    settings = settings or AdaQuant()
    batches = list(x.split(settings.batch))
    with seeded(settings.seed, settings.threads):
        units = _units(fixed)
        traced = trace(model)
        statistics = _float_statistics(fixed, traced, x)
        source = _Walk(traced, batches, keep=[_source(chain[-1]) for chain in units.values()])
        walk, errors = _Walk(fixed.eval(), batches), []
        for node in walk.nodes:
            if node in units:
                name = _source(units[node][-1])
                unit = _Unit(fixed.get_submodule(part.target) for part in units[node]).eval()
                inputs = [[walk.values[part][i] for part in node.args] for i in range(len(batches))]
                errors.append(LayerError(name, *_optimize(unit, inputs, source.until(name), statistics, settings)))
            walk.step(node)
    return errors


class _Unit(nn.Module):
    """Layers one after the other, the first of one or more inputs."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, *x: Tensor) -> Tensor:
        first, *rest = self.parts
        y = first(*x)
        for part in rest:
            y = part(y)
        return y


def _source(node: fx.Node) -> str:
    """The name, in the float module, of the layer that became this one."""
    return str(node.target).removesuffix(SUFFIX)


def _units(fixed: fx.GraphModule) -> dict[fx.Node, list[fx.Node]]:
    """{the first node of a unit: its nodes}."""
    units: dict[fx.Node, list[fx.Node]] = {}
    taken = set()
    for node in fixed.graph.nodes:
        if _replaced(node) and node not in taken:
            chain = units[node] = [node]
            while not _casts(fixed.get_submodule(chain[-1].target)) and len(chain[-1].users) == 1:
                (reader,) = chain[-1].users
                if not _replaced(reader) or len(reader.args) > 1:
                    break
                chain.append(reader)
            taken.update(chain)
    return units


def _replaced(node: fx.Node) -> bool:
    return node.op == "call_module" and str(node.target).endswith(SUFFIX)


def _casts(layer: nn.Module) -> bool:
    return any(not quant.parameter for _, quant in quantizers(layer))


class _Walk:
    """A traced module computed node after node, each for all minibatches.

    values: {node: its value for each minibatch}, while they are still to be read.  keep: names of nodes whose values `until`
    will be asked for, copied in time: what reads them may overwrite them.
    """

    def __init__(self, traced: fx.GraphModule, batches: list[Tensor], keep: Iterable[str] = ()) -> None:
        self.nodes = list(traced.graph.nodes)
        self.batches, self.interpreter = batches, fx.Interpreter(traced)
        self.values: dict[fx.Node, list[Any]] = {}
        self.kept: dict[str, list[Tensor]] = {name: [] for name in keep}
        self.last_read = {used: node for node in self.nodes for used in node.all_input_nodes}
        self.done = 0

    def until(self, name: str) -> list[Tensor]:
        """The values of a node to be kept, computed by now."""
        while not self.kept[name]:
            self.step(self.nodes[self.done])
        return self.kept.pop(name)

    def step(self, node: fx.Node) -> None:
        """Compute the next node."""
        with torch.no_grad():
            self.values[node] = [self._value(node, i) for i in range(len(self.batches))]
        if node.name in self.kept:
            self.kept[node.name] = [value.clone() for value in self.values[node]]
        for used in node.all_input_nodes:
            if self.last_read[used] is node:
                del self.values[used]
        self.done += 1

    def _value(self, node: fx.Node, i: int) -> Any:
        if node.op == "placeholder":
            return self.batches[i]
        args, kwargs = (fx.node.map_arg(a, lambda used: self.values[used][i]) for a in (node.args, node.kwargs))
        return getattr(self.interpreter, node.op)(node.target, args, kwargs)


def _optimize(
    unit: _Unit,
    inputs: list[list[Tensor]],
    targets: list[Tensor],
    statistics: dict[nn.Module, _Statistics],
    settings: AdaQuant,
) -> tuple[float, float]:
    """The unit made better in place: its mean squared error before and after."""
    count = sum(target.numel() for target in targets)
    size = sum(float(target.double().square().sum()) for target in targets) / count or 1.0

    def error() -> float:
        with torch.no_grad():
            sums = [(unit(*x) - target).double().square().sum() for x, target in zip(inputs, targets, strict=True)]
        return float(torch.stack(sums).sum()) / count

    keeper = _Best(unit, error)
    before = keeper.error
    _renormalize(unit, statistics, *(torch.cat(column) for column in zip(*inputs, strict=True)))
    keeper.check()
    keeper.restore()
    groups = _groups(unit, size**0.5, settings)
    if groups and settings.steps:
        parameters = [p for group in groups for p in group["params"]]
        optimizer = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        followers, order = _followers(unit), list[int]()
        for step in range(1, settings.steps + 1):
            order = order or torch.randperm(len(inputs)).tolist()
            i = order.pop()
            loss = nn.functional.mse_loss(unit(*inputs[i]), targets[i]) / size
            for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = slope
            optimizer.step()
            schedule.step()
            for quant in followers:
                quant.ready.fill_(False)
            if step * CHECKS // settings.steps > (step - 1) * CHECKS // settings.steps:
                keeper.check()
        optimizer.zero_grad()
        keeper.restore()
    return before, keeper.error


class _Best:
    """The state of least error so far."""

    def __init__(self, module: nn.Module, measure: Callable[[], float]) -> None:
        self.module, self.measure = module, measure
        self.error = float("inf")
        self.check()

    def check(self) -> None:
        if (error := self.measure()) < self.error:
            self.error = error
            self.state = {name: value.clone() for name, value in self.module.state_dict().items()}

    def restore(self) -> None:
        self.module.load_state_dict(self.state)


def _weights(unit: nn.Module) -> Iterator[tuple[nn.Parameter, FixedQuant]]:
    """Latent weights and slopes of a PReLU, with their quantizers."""
    for part in unit.modules():
        if isinstance(part, (FixedConv2d, FixedLinear)):
            yield part.weight, part.weight_quant.tensor_quant
        elif isinstance(part, FixedPReLU):
            yield part.weight, part.slope_quant


def _followers(unit: nn.Module) -> list[FixedQuant]:
    """Quantizers of bias, slope and offset without a given point: long words, whose point follows the values."""
    own = {id(quant) for _, quant in _weights(unit)}
    return [quant for _, quant in quantizers(unit) if quant.parameter and quant.kind.integer is None and id(quant) not in own]


def _groups(unit: nn.Module, size: float, settings: AdaQuant) -> list[dict[str, Any]]:
    """Groups for Adam.  size: root mean square of the output."""
    weights = list(_weights(unit))
    followers = {id(quant) for quant in _followers(unit)}
    points = [quant.integer for _, quant in quantizers(unit) if id(quant) not in followers]
    known = {id(p) for p in (*(w for w, _ in weights), *(quant.integer for _, quant in quantizers(unit)))}
    groups = [
        *({"params": [weight], "lr": settings.rate * _spacing(weight, quant)} for weight, quant in weights),
        {"params": [p for p in unit.parameters() if id(p) not in known], "lr": settings.shift * size},
        {"params": points if settings.points else [], "lr": settings.points},
    ]
    return [group for group in groups if group["params"]]


def _spacing(weight: Tensor, quant: FixedQuant) -> float:
    """The root mean squared rounding error; weights that are codes have none: a quarter of the last bit, about what it is."""
    with torch.no_grad():
        error = float((quant(weight)[0] - weight).double().square().mean().sqrt())
    return max(error, float(quant.unit(weight).mean()) / 4)
