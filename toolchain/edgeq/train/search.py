"""`edgeq search`: the word lengths of a float network, found from what each costs in accuracy and in hardware.

1. The network is converted with 8 bits everywhere (the base), and calibrated.
2. A tensor's sensitivity to a format is what the loss grows by where it alone has the format. The loss is the mean KL divergence,
   in nats, of the network's class probabilities from the float network's, on the measuring images. It is 0 for the float
   network and grows with the square of small errors, so what independent roundings add nearly adds up; the cross entropy against
   labels has a linear part, by which a worse network may look better.
3. The cost of each operator in each format is that of the integer operator that the importer would make (`edgeq.retype`).
4. An integer program picks the formats (`edgeq.width_program`).
5. What it picked is converted, measured on the rest of the images, exported and folded as `edgeq synth` would.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgeq.board import Board
from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.folding import SOLVER_MARGIN, Target, cheapest, choose, ladders
from edgeq.frontend import brevitas, qonnx
from edgeq.graph import Graph
from edgeq.hardware import RESOURCES, Cost
from edgeq.ops._cost import scaled
from edgeq.passes import hardware_passes
from edgeq.retype import Format, Network
from edgeq.train.codings import KHot
from edgeq.train.convert import Formats, convert
from edgeq.train.fixed import FixedQuant, quantizers
from edgeq.train.loop import seeded
from edgeq.ui import Ui
from edgeq.width_program import Program, Solution

K_HOT_BITS = 8
BATCH = 100
TRIES = 4
"""Times that a budget is tightened, where the network as built takes more than the program expected."""
SLACK = 1.02
"""By which the program may first pass a uniform network's cost: points are calibrated again, so expectations are off a little."""

Solve = Callable[[Cost], Solution | None]


@dataclass(frozen=True)
class Candidates:
    """Formats to choose from. weights, features: word lengths.  k: nonzero digits of K-hot weights of 8 bits."""

    weights: tuple[int, ...] = (3, 4, 5, 6, 8)
    features: tuple[int, ...] = (4, 5, 6, 8)
    k: tuple[int, ...] = (1, 2, 3)

    @property
    def weight_kinds(self) -> tuple[FixedPoint, ...]:
        return (*(KHot(K_HOT_BITS, k=k) for k in self.k), *(FixedPoint(bits) for bits in self.weights))


@dataclass(frozen=True)
class Images:
    """Of one data set: what binary points are set from, what sensitivities are measured on, and what the result is tested on."""

    calibrate: Tensor
    measure: Tensor
    test: Tensor
    labels: Tensor


def split(x: np.ndarray, y: np.ndarray | None, calibrate: int, measure: int) -> Images:
    """x: float32 [N, ...], as the network takes them; y: labels [N]. Raises EdgeqError where too few are left for the test."""
    if y is None or len(x) <= calibrate + measure:
        what = (
            f"{len(x):,} images{' without labels' if y is None else ''}, of which {calibrate:,} calibrate and {measure:,} measure"
        )
        raise EdgeqError(what, where="--data", fix="np.savez(FILE, x=images, y=labels), with images left for the test")
    images, end = torch.from_numpy(x), calibrate + measure
    return Images(images[:calibrate], images[calibrate:end], images[end:], torch.from_numpy(y[end:].astype(np.int64)))


@dataclass(frozen=True)
class Aim:
    """What the hardware has to keep, and what is looked for.

    fps: frames a second; None: as fast as the base fits.  max_utilization: share of each resource.  luts, max_dsp: bounds beside
    it.  max_loss: the cheapest network that is expected to lose no more, beyond the base; None: the one that loses least.
    """

    board: Board
    fps: float | None = None
    max_utilization: float = 0.7
    luts: int | None = None
    max_dsp: int | None = None
    max_loss: float | None = None

    @property
    def limit(self) -> Cost:
        share = Cost(*(self.max_utilization * amount for amount in self.board.budget.astuple()))
        lut = share.lut if self.luts is None else min(share.lut, self.luts)
        return replace(share, lut=lut, dsp=share.dsp if self.max_dsp is None else min(share.dsp, self.max_dsp))


@dataclass(frozen=True)
class Site:
    """A tensor whose format is searched for. layer: for `convert`; field: of Formats, weight or features; path: its quantizer."""

    layer: str
    field: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.layer}.{self.field}"


def search(
    model: nn.Module, images: Images, aim: Aim, candidates: Candidates = Candidates(), *, input: FixedPoint,
    against: Sequence[int] = (), threads: int = 1, ui: Ui,
) -> tuple[dict[str, Any], dict[str, Formats]]:  # fmt: skip
    """What was found, as `edgeq search --json` prints it, and the formats for `convert(model, images.calibrate, layers=...)`.

    against: uniform word lengths, to each of which the search is compared at its cost and at its loss. Raises EdgeqError
    where the rate or the budget cannot be kept in any of the formats.
    """
    lengths = {*candidates.weights} & {*candidates.features}
    if unknown := sorted(set(against) - lengths):
        what = f"{unknown[0]} bits are not tried for weights and features alike"
        raise EdgeqError(what, where="--against", fix=f"one of {', '.join(map(str, sorted(lengths)))}, or more lengths to try")
    with seeded(0, threads):
        found = Search(model.eval(), images, aim, candidates, input, ui)
        return found.run(against)


class Search:
    """One search on its way."""

    def __init__(
        self, model: nn.Module, images: Images, aim: Aim, candidates: Candidates, input: FixedPoint, ui: Ui
    ) -> None:  # fmt: skip
        self.model, self.images, self.aim, self.ui, self.candidates = model, images, aim, ui, candidates
        self.convert = partial(convert, model, images.calibrate, input=input)
        with ui.stage("converting to 8 bits"):
            self.base = self.convert()
            self.seen = _seen(self.base, images.calibrate)
            self.sites = list(_sites(self.seen))
            self.quants = {site.name: self._quantizers(site) for site in self.sites}
            self.expected = {part: _logits(model, getattr(images, part)) for part in ("measure", "test")}
        self.base_loss, self.losses = self._sensitivities()
        with ui.stage("exporting the base"):
            source = self.exported(self.base)
            self.most = self._cycles(hardware_passes(source))
        self.program = self._program(source)

    def run(self, against: Sequence[int]) -> tuple[dict[str, Any], dict[str, Formats]]:
        aim, limit = self.aim, self.aim.limit
        with self.ui.stage("choosing formats"):
            if aim.max_loss is None:
                network, layers = self.within(limit, self.program.most_accurate)
            else:
                network, layers = self.within(limit, partial(self.program.cheapest, max_loss=aim.max_loss))
        uniform = []
        for bits in sorted({*self.candidates.weights} & {*self.candidates.features}):
            with self.ui.stage(f"measuring {bits} bits everywhere"):
                uniform.append(self._uniform(bits))
        comparisons = []
        for bits in against:
            with self.ui.stage(f"searching against {bits} bits everywhere"):
                comparisons.append(self._against(next(row for row in uniform if row["bits"] == bits)))
        accuracy = _accuracy(self.expected["test"], self.images.labels)
        return {
            "board": aim.board.name,
            "clock_mhz": aim.board.clock_mhz,
            "most_cycles_per_frame": self.most,
            "limit": dict(zip(RESOURCES, limit.astuple(), strict=True)),
            "images": {part: len(getattr(self.images, part)) for part in ("calibrate", "measure", "test")},
            "float": {"accuracy": accuracy},
            "base_loss": self.base_loss,
            "losses": {
                name: {str(quant.kind): loss for quant, loss in zip(self.quants[name], each, strict=True)}
                for name, each in self.losses.items()
            },
            "network": network,
            "uniform": uniform,
            "against": comparisons,
        }, layers  # fmt: skip

    # Sensitivities

    def _quantizers(self, site: Site) -> list[FixedQuant]:
        """The site's candidates, with binary points from what the base has there."""
        base = self.base.get_submodule(site.path)
        if site.field == "weight":
            kinds = self.candidates.weight_kinds
        else:
            kinds = tuple(replace(base.kind, bits=bits) for bits in self.candidates.features)
        made = []
        for kind in kinds:
            quant = FixedQuant(kind, parameter=site.field == "weight").eval()
            quant.start(self.seen[site.path])
            if not quant.ready:
                raise EdgeqError("only zeros were seen", where=site.name, fix="other images to calibrate with, or more")
            made.append(quant)
        return made

    def _sensitivities(self) -> tuple[float, dict[str, list[float]]]:
        """The base's loss, and by how much each format of each site raises it, never below 0: what is less is chance."""
        sums = {site.name: np.zeros(len(self.quants[site.name])) for site in self.sites}
        total, batches = 0.0, self.images.measure.split(BATCH)
        replay = _Replay(self.base)
        with self.ui.progress("measuring sensitivities", len(batches) * len(self.sites)) as advance, torch.no_grad():
            for x, wanted in zip(batches, self.expected["measure"].split(BATCH), strict=True):
                total += _divergence(wanted, replay.start(x))
                for site in self.sites:
                    for i, quant in enumerate(self.quants[site.name]):
                        with _swapped(self.base, site.path, quant):
                            sums[site.name][i] += _divergence(wanted, replay.again(site.path.split(".")[0]))
                    advance()
        count = len(self.images.measure)
        return total / count, {name: [max(0.0, float(v - total) / count) for v in each] for name, each in sums.items()}

    # Costs

    def exported(self, net: nn.Module) -> Graph:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.qonnx.onnx"
            brevitas.export_module(net, (1, *self.images.measure.shape[1:]), path)
            return qonnx.import_qonnx(qonnx.load_model(path))

    def _cycles(self, graph: Graph) -> int:
        """Cycles that an operator may take a frame."""
        board = self.aim.board
        if self.aim.fps is not None:
            return int(board.clock_mhz * 1e6 // self.aim.fps)
        folds, types = choose(graph, board, Target(max_utilization=self.aim.max_utilization)), graph.types()
        return max(node.op.cycles(folds[node.name], *(types[x] for x in node.inputs)) for node in graph.nodes)

    def _program(self, source: Graph) -> Program:
        named = {site.path: site.name for site in self.sites}
        points = {site.name: self.base.get_submodule(site.path).point for site in self.sites}
        formats = {
            site.name: [
                Format(q.kind, points[site.name] - q.point, _codes(q, self.seen[site.path]) if site.field == "weight" else None)
                for q in self.quants[site.name]
            ]
            for site in self.sites
        }
        weights = [
            (named[path], _codes(self.base.get_submodule(path), seen))
            for path, seen in self.seen.items()
            if _field(path) == "weight"
        ]
        features = [named.get(path, path) for path in self.seen if _field(path) == "features"]
        base = {site.name: self.base.get_submodule(site.path).kind for site in self.sites}
        network = self.network = Network(source, weights, features, formats, base)
        ways = {}
        with self.ui.progress("costing every operator in every format", len(network.graph.nodes)) as advance:
            for node in network.graph.nodes:
                ways[network.graph.source_of(node.name)] = network.ways(node, self.most, self.aim.board)
                advance()
        return Program(self.losses, ways, self.aim.board.budget)

    def _built(self, net: nn.Module, limit: Cost) -> tuple[Cost, int] | None:
        """The cost of a network and its cycles a frame, folded as `edgeq synth` would at the rate; None beyond the limit."""
        graph, board = hardware_passes(self.exported(net)), self.aim.board
        known = ladders(graph, board)
        if any(min(c.cycles for c in choices) > self.most for choices in known.values()):
            return None
        folds = cheapest(known, self.most, board.budget, limit)
        if folds is None:
            return None
        built = [next(c for c in known[name] if c.fold == fold) for name, fold in folds.items()]
        return sum((c.cost for c in built), Cost()), max(c.cycles for c in built)

    # Networks

    def _layers(self, solution: Solution) -> dict[str, Formats]:
        layers: dict[str, Formats] = {}
        for site in self.sites:
            kind = self.quants[site.name][solution.formats[site.name]].kind
            layers[site.layer] = replace(layers.get(site.layer, Formats()), **{site.field: replace(kind, integer=None)})
        return layers

    def measured(self, net: nn.Module) -> dict[str, float]:
        loss = _divergence(self.expected["measure"], _logits(net, self.images.measure)) / len(self.images.measure)
        return {"loss": loss, "accuracy": _accuracy(_logits(net, self.images.test), self.images.labels)}

    def within(self, limit: Cost, solve: Solve, slack: float = 1.0) -> tuple[dict[str, Any], dict[str, Formats]]:
        """The solution within a limit that also keeps it when it is built, and its formats.

        slack: the program may at first pass the limit by this factor. Raises EdgeqError where there is none.
        """
        most = reachable(limit)
        tight = scaled(most, slack)
        for _ in range(TRIES):
            solution = solve(tight)
            if solution is None:
                raise self._unfit(limit)
            layers = self._layers(solution)
            net = self.convert(layers=layers)
            if (built := self._built(net, most)) is not None:
                return self._row(solution, net, *built), layers
            tight = self._tighter(tight, most, net)
        raise self._unfit(limit)

    def _tighter(self, tight: Cost, limit: Cost, net: nn.Module) -> Cost:
        """The limit less what the network as built takes beyond it."""
        needed = self._built(net, Cost(*(float("inf"),) * len(RESOURCES)))
        over = Cost() if needed is None else needed[0]
        ratios = [min(1.0, most / used) if used else 1.0 for used, most in zip(over.astuple(), limit.astuple(), strict=True)]
        return Cost(*((0.999 if ratio < 1 else 1) * ratio * most for ratio, most in zip(ratios, tight.astuple(), strict=True)))

    def _unfit(self, limit: Cost) -> EdgeqError:
        most, needed = self.aim.max_loss, self.program.cheapest(Cost(*(float("inf"),) * len(RESOURCES)), float("inf"))
        assert needed is not None
        if most is not None and (best := self.program.most_accurate(limit)) is not None:
            return EdgeqError(
                f"the least loss within the budget is {best.loss:.3g}",
                where=f"--max-loss {most:g}",
                fix="allow as much, or a larger budget",
            )
        pairs = zip(RESOURCES, needed.cost.astuple(), limit.astuple(), strict=True)
        name, used, have = max(pairs, key=lambda pair: pair[1] / pair[2] if pair[2] else float(pair[1] > 0))
        largest = max(needed.built, key=lambda node: getattr(needed.built[node].cost, name))
        return EdgeqError(
            f"the cheapest of these formats take {used:,.0f} {name} of the {have:,.0f} that they may, at {self.most:,} cycles a "
            f"frame; this operator alone {getattr(needed.built[largest].cost, name):,.0f}",
            where=largest, fix="fewer frames a second, a larger budget, or fewer bits to choose from",
        )  # fmt: skip

    def _row(self, solution: Solution, net: nn.Module, cost: Cost, cycles: int) -> dict[str, Any]:
        layers: dict[str, dict[str, Any]] = {}
        for site in self.sites:
            number = solution.formats[site.name]
            kind, loss = self.quants[site.name][number].kind, self.losses[site.name][number]
            layers.setdefault(site.layer, {})[site.field] = {"format": str(replace(kind, integer=None)), "loss": loss}
        operators = {name: {"fold": str(c.fold), "cycles": c.cycles, **c.cost.asdict()} for name, c in solution.built.items()}
        return {
            "layers": layers, "operators": operators, "expected_loss": self.base_loss + solution.loss,
            "expected": solution.cost.asdict(), "built": cost.asdict(), "cycles_per_frame": cycles, **self.measured(net),
        }  # fmt: skip

    def _uniform(self, bits: int) -> dict[str, Any]:
        """A network of one word length: "bits", "expected_loss", "loss", "accuracy", and "built", None beyond the board."""
        net = self.convert(Formats(weight=FixedPoint(bits), features=FixedPoint(bits)))
        plain = {name: [q.kind.bits == bits and type(q.kind) is FixedPoint for q in each] for name, each in self.quants.items()}
        expected = self.base_loss + sum(self.losses[name][each.index(True)] for name, each in plain.items())
        built = self._built(net, self.aim.board.budget)
        found = {"built": built[0].asdict(), "cycles_per_frame": built[1]} if built else {"built": None}
        return {"bits": bits, "expected_loss": expected, **self.measured(net), **found}

    def _against(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The search at the cost of a uniform network, resource by resource, and at its measured loss with the fewest LUTs.

        None where nothing else is as small.
        """
        bits = row["bits"]
        if row["built"] is None:
            raise EdgeqError(
                f"there is no network of {bits} bits everywhere on this board", where=f"--against {bits}", fix="other bits"
            )
        limit = Cost(**row["built"])
        loss = max(0.0, row["loss"] - self.base_loss)  # measured: what is expected may be twice as much
        found: dict[str, Any] = {"bits": bits, "same_cost": None, "same_loss": None}
        aims: dict[str, Solve] = {
            "same_cost": self.program.most_accurate,
            "same_loss": partial(self.program.cheapest, max_loss=loss, resource="lut"),
        }
        for name, solve in aims.items():
            with suppress(EdgeqError):  # nothing but the uniform network itself is as small
                found[name], _ = self.within(limit, solve, SLACK)
        return found


class _Replay(fx.Interpreter):
    """A traced module run once on a batch, then again and again from a changed submodule on."""

    def start(self, x: Tensor) -> Tensor:
        self.kept: dict[fx.Node, Any] = {}
        self.env = self.kept
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                self.kept[node] = x
            elif node.op != "output":
                self.kept[node] = self.run_node(node)
        return self._output()

    def again(self, target: str) -> Tensor:
        """The output where the submodule is another than at the start."""
        self.env = dict(self.kept)
        changed: set[fx.Node] = set()
        for node in self.module.graph.nodes:
            if node.op != "output" and (node.target == target or changed.intersection(node.all_input_nodes)):
                self.env[node] = self.run_node(node)
                changed.add(node)
        return self._output()

    def _output(self) -> Tensor:
        (node,) = (node for node in self.module.graph.nodes if node.op == "output")
        y: Tensor = self.env[node.args[0]]
        return y


def _seen(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What each quantizer of weights and of activations sees, by its path, in the order in which they run."""
    seen: dict[str, Tensor] = {}

    def keep(path: str) -> Any:
        return lambda _module, args: seen.setdefault(path, args[0].detach()) if args[0].ndim else None

    hooks = [quant.register_forward_pre_hook(keep(path)) for path, quant in quantizers(net) if _field(path)]
    try:
        with torch.no_grad():
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _field(path: str) -> str:
    """Of Formats, the field that decides a quantizer of a converted network; "" for the others."""
    return "weight" if ".weight_quant." in path else "features" if ".act_quant." in path else ""


def _sites(paths: Mapping[str, Tensor]) -> Iterator[Site]:
    for path in paths:
        layer, made, _ = path.partition("_fixed.")
        if made:  # the input's cast is given
            yield Site(layer, _field(path), path)


def reachable(limit: Cost) -> Cost:
    """A limit for the programs, which keep a margin below theirs, by which `limit` itself may be reached."""
    lut, ff = (v * (1 + 2 * SOLVER_MARGIN) for v in (limit.lut, limit.ff))
    return Cost(lut, ff, floor(2 * limit.bram36) / 2 + 0.25, floor(limit.uram) + 0.5, floor(limit.dsp) + 0.5)


def _codes(quant: FixedQuant, values: Tensor) -> np.ndarray:
    with torch.no_grad():
        return (quant(values)[0].double() * 2.0**quant.point).round().numpy().astype(np.int64)


@contextmanager
def _swapped(net: nn.Module, path: str, quant: nn.Module) -> Iterator[None]:
    parent, _, leaf = path.rpartition(".")
    owner = net.get_submodule(parent)
    before = getattr(owner, leaf)
    setattr(owner, leaf, quant)
    try:
        yield
    finally:
        setattr(owner, leaf, before)


def _logits(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([net(part).flatten(1) for part in x.split(BATCH)])


def _divergence(expected: Tensor, found: Tensor) -> float:
    """The sum over images of KL(softmax(expected) || softmax(found)), in nats."""
    p, q = (torch.log_softmax(y.double(), 1) for y in (expected, found.flatten(1)))
    return float((p.exp() * (p - q)).sum())


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())
