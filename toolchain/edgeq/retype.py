"""A network in other formats than it was exported in: what each operator would be, and the ways to build it with their costs.

Only binary points and word lengths change, so the integers of a tensor stand for 2^e times as much: an operator on them is the
same, but for weights (other codes), quantizers (made anew by the importer's rules, exactly) and sums of two scales.
Approximations: a tensor's range is that of its word, cut where the exported range shows that it is not reached; an operator that
gives its own meaning to the integers of its input, such as a table, stays as it was exported.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np

from edgeq.blas import one_thread
from edgeq.board import Board
from edgeq.errors import EdgeqError
from edgeq.fixed_point import ROUNDINGS, FixedPoint
from edgeq.fold import Fold
from edgeq.folding import Choice, ladder
from edgeq.frontend.exact import Lane, Quantizer, integer_operator
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.passes import hardware_passes


@dataclass(frozen=True)
class Format:
    """A format that a tensor may take. exponent: a unit of its integers is 2^exponent units of the exported ones.

    codes: of weights, int64 in the shape of the operator's.
    """

    kind: FixedPoint
    exponent: int
    codes: np.ndarray | None = None


@dataclass(frozen=True)
class Way:
    """A way to build an operator. formats: (tensor, number of its format) for each tensor that it depends on."""

    formats: tuple[tuple[str, int], ...]
    choice: Choice


@dataclass(frozen=True)
class _Cast:
    """A quantizer of the exported graph. tensor: whose format it makes; lanes: its chain, in its codes."""

    tensor: str
    lanes: tuple[Lane, ...]


Pick = Mapping[str, int]
"""The number of the format of each tensor."""


class Network:
    """An imported graph whose weights and quantized tensors may take other formats.

    weights: for each operator with weights, in the graph's order, the name that its format goes by, and the codes exported.
    features: that name for each quantizer of activations, in order.  formats: what they may be; of a name that is missing there,
    the format stays.  base: the kinds as exported. Raises EdgeqError where the graph is not that of these codes.
    """

    def __init__(
        self, source: Graph, weights: Sequence[tuple[str, np.ndarray]], features: Sequence[str],
        formats: Mapping[str, Sequence[Format]], base: Mapping[str, FixedPoint],
    ) -> None:  # fmt: skip
        layers = [node for node in source.nodes if hasattr(node.op, "weight")]
        quantizers = source.meta["quantizers"]
        pairs = list(zip(layers, weights, strict=False))
        if (len(layers), len(quantizers)) != (len(weights), len(features)) or not all(
            np.array_equal(node.op.weight, codes)  # type: ignore[attr-defined]
            for node, (_, codes) in pairs
        ):
            what = f"{len(weights)} layers and {len(features)} quantizers became {len(layers)} and {len(quantizers)}, or others"
            raise EdgeqError(what, where="search", fix="a network that `edgeq.train.convert` made")
        self.formats, self.base = formats, base
        self.graph = hardware_passes(source)
        self.types = source.types() | self.graph.types()
        # the passes move operators and rename tensors, but they keep the objects
        self.casts = self._casts(source, features)
        self.weights = {id(node.op.weight): name for node, (name, _) in pairs if name in formats}  # type: ignore[attr-defined]
        self._memo: dict[tuple[Any, ...], Any] = {}
        self.makers = {node.output: node for node in self.graph.nodes}
        self.roots: dict[str, tuple[str, ...]] = {self.graph.input: ()}
        for node in self.graph.nodes:
            cast = self._cast(node)
            self.roots[node.output] = (cast.tensor,) if cast else self._read(node)

    def _casts(self, source: Graph, features: Sequence[str]) -> dict[int, _Cast]:
        makers = {(node.inputs, node.output): node for node in source.nodes}
        found = {}
        for tensor, name in zip(source.meta["quantizers"], features, strict=True):
            record = source.meta["real"].get(tensor)
            chain = record and record["quantizer"]
            node = makers.get(((chain.get("of"),), record["tensor"])) if chain else None
            if node and name in self.formats:
                lines = zip(*(_spread(chain[key], len(chain["a"])) for key in ("a", "b", "low", "high")), strict=True)
                lanes = [Lane(*(None if v is None else Fraction(v) for v in line)) for line in lines]  # type: ignore[arg-type]
                found[id(node.op)] = _Cast(name, tuple(lanes))
        return found

    def _cast(self, node: Node) -> _Cast | None:
        return self.casts.get(id(getattr(node.op, "post", None))) or self.casts.get(id(node.op))

    def _weight(self, node: Node) -> str | None:
        return self.weights.get(id(getattr(node.op, "weight", None)))

    def _read(self, node: Node) -> tuple[str, ...]:
        """The tensors whose formats decide what the operator reads: its weights and inputs."""
        names = [self._weight(node), *(name for tensor in node.inputs for name in self.roots[tensor])]
        return tuple(dict.fromkeys(name for name in names if name))

    def depends(self, node: Node) -> tuple[str, ...]:
        """The tensors whose formats decide how the operator is built."""
        return tuple(dict.fromkeys((*self._read(node), *self.roots[node.output])))

    def operator(self, node: Node, pick: Pick) -> tuple[Op, tuple[IntType, ...]] | None:
        """The operator and what it reads, in these formats; None where the importer would find no integers for its quantizer."""
        xs, exponents = zip(*(self._tensor(name, pick) for name in node.inputs), strict=True)
        scaled, exponent = self._scaled(node, pick, exponents)
        op: Any = scaled
        cast = self._cast(node)
        if cast is None:
            return op, xs
        if getattr(op, "post", None) is None:
            made = self._quantizer(cast, pick, xs[0], exponents[0])
            return (made, xs) if made else None
        accumulator = dataclasses.replace(op, post=None).infer(*xs)
        made = self._quantizer(cast, pick, accumulator, exponent)
        return (dataclasses.replace(op, post=made), xs) if made else None

    def _scaled(self, node: Node, pick: Pick, exponents: Sequence[int]) -> tuple[Op, int]:
        scaled, exponent = node.op.rescaled(*exponents)
        if not (name := self._weight(node)):
            return scaled, exponent
        op: Any = scaled
        chosen = self.formats[name][pick[name]]
        return dataclasses.replace(op, weight=chosen.codes), exponent + chosen.exponent

    def _tensor(self, name: str, pick: Pick) -> tuple[IntType, int]:
        """The type of a tensor, and its exponent."""
        roots = self.roots[name]
        key = (name, *(pick[root] for root in roots))
        if key not in self._memo:
            self._memo[key] = self._typed(name, pick)
        found: tuple[IntType, int] = self._memo[key]
        return found

    def _typed(self, name: str, pick: Pick) -> tuple[IntType, int]:
        node, known = self.makers.get(name), self.types[name]
        if node is None:
            return known, 0
        if cast := self._cast(node):
            chosen, base = self.formats[cast.tensor][pick[cast.tensor]], self.base[cast.tensor]
            unit = Fraction(2) ** -chosen.exponent
            lo = chosen.kind.lo if known.lo == base.lo else max(chosen.kind.lo, floor(known.lo * unit))
            hi = chosen.kind.hi if known.hi == base.hi else min(chosen.kind.hi, ceil(known.hi * unit))
            return IntType(known.shape, lo, hi), chosen.exponent
        xs, exponents = zip(*(self._tensor(x, pick) for x in node.inputs), strict=True)
        op, exponent = self._scaled(node, pick, exponents)
        return op.infer(*xs), exponent

    def _quantizer(self, cast: _Cast, pick: Pick, x: IntType, exponent: int) -> Op | None:
        """The quantizer on integers of this range and exponent."""
        chosen = self.formats[cast.tensor][pick[cast.tensor]]
        key = (id(cast), pick[cast.tensor], x.lo, x.hi, exponent)
        if key not in self._memo:
            before, after = Fraction(2) ** exponent, Fraction(2) ** -chosen.exponent
            scaled = (lane.scaled(after) for lane in cast.lanes)
            lanes = tuple(dataclasses.replace(lane, a=lane.a * before).tightened(x.lo, x.hi) for lane in scaled)
            q = Quantizer((Fraction(1),), 0, chosen.kind.lo, chosen.kind.hi, ROUNDINGS[chosen.kind.rounding])
            self._memo[key] = integer_operator(lanes, q, x)
        made: Op | None = self._memo[key]
        return made

    # Ways

    def picks(self, node: Node) -> Iterator[dict[str, int]]:
        """Every combination of formats that the operator can meet."""
        names = self.depends(node)
        for numbers in itertools.product(*(range(len(self.formats[name])) for name in names)):
            yield dict(zip(names, numbers, strict=True))

    def ways(self, node: Node, most: int, board: Board) -> list[Way]:
        """The ways to build an operator in at most so many cycles a frame, in all formats.

        Of its folds those are tried everywhere that some combination, with one tensor's format changed from the last one of
        each, has use for: of a layer's hundreds few ever pay.
        """
        names = self.depends(node)
        last = {name: len(self.formats[name]) - 1 for name in names}
        star = [last, *(last | {name: n} for name in names for n in range(last[name]))]
        folds: dict[Fold, None] = {}
        for pick in star:
            folds |= dict.fromkeys(choice.fold for choice in self._built(node, pick, most, board, None))
        found = []
        for pick in self.picks(node):
            found += [Way(tuple(pick.items()), choice) for choice in self._built(node, pick, most, board, [*folds])]
        return found

    def _built(self, node: Node, pick: Pick, most: int, board: Board, folds: Sequence[Fold] | None) -> list[Choice]:
        """With each of the folds (None: all), if it is fast enough and none of the others takes less of everything."""
        made = self.operator(node, pick)
        if made is None:
            return []
        op, xs = made
        if folds is None:
            alone = self.graph.consumers()[self.graph.input] == [node]
            folds = op.input_folds(*xs) if alone else op.folds(*xs)
        fast = [(fold, cycles) for fold in folds if (cycles := op.cycles(fold, *xs)) <= most]
        with one_thread():  # as of equal rates, for a higher one is worth nothing: of equal costs the slowest
            costs = {op.cost(fold, *xs): fold for fold, _ in sorted(fast, key=lambda one: one[1])}
        kept = ladder([Choice(fold, 0, cost) for cost, fold in costs.items()], board) if costs else []
        return [dataclasses.replace(choice, cycles=op.cycles(choice.fold, *xs)) for choice in kept]


def _spread(items: Sequence[Any], count: int) -> Sequence[Any]:
    return items if len(items) == count else [items[0]] * count
