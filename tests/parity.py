"""Every operator on every engine, exact equality: what a case is, how it is drawn, and how an engine is compared.

A new operator is tested by being in the registry: its `sample()` is all that is asked of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from bundle import stretch

from edgeq.engines.hls import EXACT_BITS
from edgeq.engines.ort import OrtEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import VerilatorEngine, lint
from edgeq.fold import Fold
from edgeq.graph import Draw, Graph, IntType, Node, Op
from edgeq.lower import onnx as lower_onnx
from edgeq.lower import rtl as lower_rtl
from edgeq.lower.rtl import Design
from edgeq.ops import registry
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold

EXAMPLES = int(os.environ.get("EDGEQ_PARITY_EXAMPLES", "1"))
"""Random instances of an operator that are built in hardware; ONNX Runtime always gets ONNX_EXAMPLES."""
FOLDS = 4
"""Ways to build one instance that are simulated: the slowest, the fastest and others at random."""
ONNX_EXAMPLES = 100
FRAMES = 8
STALLS = (None, 1, 2)
"""Seeds of the random pauses on both sides of a simulated design; None: no pause."""
KINDS = list(registry().values())


@dataclass(frozen=True)
class Case:
    """One operator in a graph with one input, legal frames for it, and what the reference makes of them.

    graph: as the integer ONNX file holds it.  built: as hardware builds it, `post` fused into the layer.
    """

    op: Op
    types: tuple[IntType, ...]
    graph: Graph
    built: Graph
    x: np.ndarray
    y: np.ndarray

    @property
    def varied(self) -> bool:
        """A comparison whose output is constant proves nothing."""
        return bool(np.ptp(self.y) > 0)


def seeded(*seed: int) -> Draw:
    """draw(lo, hi) from a seed."""
    rng = np.random.default_rng(seed)
    return lambda lo, hi: int(rng.integers(lo, hi, endpoint=True))


def draw_case(kind: type[Op], draw: Draw, fused: bool = False) -> Case:
    """A random case of the operator. fused: with a random `post` where the layer absorbs one."""
    op, types = kind.sample(draw)
    post = draw_post(op, types[0], draw) if kind.absorbs_post and fused else None
    return case_of(op, types, draw(0, 1 << 30), post)


def varied_case(kind: type[Op], *seed: int) -> Case:
    """The first case of this seed whose output is not constant."""
    draw = seeded(crc32(kind.kind().encode()), *seed)
    for _ in range(100):
        case = draw_case(kind, draw, fused=seed[-1] % 2 == 1)
        if case.varied:
            return case
    raise AssertionError(f"{kind.kind()}.sample() draws constant outputs only")


def narrow_case(kind: type[Op], seed: int) -> Case:
    """As varied_case, with an output that the C simulation can hand over: hls4ml's bridge passes doubles of 53 bits."""
    cases = (varied_case(kind, k, seed) for k in range(100))
    return next(case for case in cases if case.built.types()["y"].width < EXACT_BITS)


def sliced_case(kind: type[Op], seed: int) -> Case | None:
    """As varied_case, with folds whose beats are parts of a pixel; None where the operator has none."""
    cases = (varied_case(kind, k, seed) for k in range(30))
    return next((case for case in cases if case.built.nodes[-1].op.narrow_folds(*case.types)), None)


def case_of(op: Op, types: tuple[IntType, ...], seed: int = 0, post: Op | None = None) -> Case:
    """The case of one operator on types; post: also fused into the layer."""
    graph, inputs = _branches(types) if len(types) > 1 else (Graph("x", types[0]), ("x",))
    fused = with_post(op, post) if post else op
    built = replace(graph, nodes=[*graph.nodes, Node("op", fused, inputs, "y")], output="y")
    graph.nodes.append(Node("op", op, inputs, "a" if post else "y"))
    if post:
        graph.nodes.append(Node("post", post, ("a",), "y"))
    graph.output = "y"
    x = graph.input_type.random(np.random.default_rng(seed), FRAMES)
    return Case(op, types, graph, built, x, ReferenceEngine(graph).run(x))


def _branches(types: tuple[IntType, ...]) -> tuple[Graph, tuple[str, ...]]:
    """A graph with one input and a tensor of each type, made from it by selecting channels, rearranging and requantizing.

    Types that differ in more than their channels are made from a vector.
    """
    alike = len({t.shape[1:] for t in types}) == 1
    shapes = [t.shape if alike else (t.size,) for t in types]
    shape = max(shapes, key=lambda s: s[0])
    graph = Graph("x", IntType(shape, -256, 255))
    for i, (t, flat) in enumerate(zip(types, shapes, strict=True)):
        source, tensor = graph.input_type, "x"
        if flat != shape:
            eye = np.eye(flat[0], shape[0], dtype=np.int64)[::-1]
            select: Op = Conv2d(eye[:, :, None, None]) if len(shape) == 3 else Dense(eye)
            graph.nodes.append(Node(f"select{i}", select, (tensor,), f"s{i}"))
            (source, tensor) = select.infer(source), f"s{i}"
        if t.shape != flat:
            graph.nodes.append(Node(f"shape{i}", Rearrange(flat, (0,), t.shape), (tensor,), f"r{i}"))
            source, tensor = replace(source, shape=t.shape), f"r{i}"
        graph.nodes.append(Node(f"stretch{i}", stretch(source, t, falling=i == 1), (tensor,), f"x{i}"))
    return graph, tuple(f"x{i}" for i in range(len(types)))


def with_post(layer: Any, post: Op) -> Op:
    """The layer with an operator fused into it."""
    return replace(layer, post=post)


def draw_post(op: Op, x: IntType, draw: Draw) -> Op:
    """A threshold at sums that occur, in either direction, or a requantize."""
    accumulator = op.infer(x)
    if draw(0, 2) == 2 and accumulator.width <= 30:
        return Requantize.sample_for(draw, accumulator)
    rng = np.random.default_rng(draw(0, 1 << 30))
    y = np.moveaxis(op.reference(x.random(rng, 8)), 1, 0)
    rows = y.reshape(len(y), -1) if draw(0, 1) else y.reshape(1, -1)
    thresholds = np.sort(rng.choice(rows, size=draw(1, 4), axis=1), axis=1)
    base, step = (-1, 2) if thresholds.shape[1] == 1 else (draw(-2, 0), 1)
    return Threshold(thresholds, rng.integers(0, 2, len(rows)), base, step)


def mismatches(expected: np.ndarray, y: np.ndarray) -> int:
    """Values that differ between the reference's frames and an engine's."""
    assert y.shape == expected.shape and y.dtype == np.int64
    return int(np.count_nonzero(y != expected))


def some_folds(case: Case, seed: int, narrow: bool = False) -> list[Fold]:
    """At most FOLDS ways to build the operator, slowest first, both ends included.  narrow: those of `Op.narrow_folds`."""
    slowest, *between = (case.op.narrow_folds if narrow else case.op.folds)(*case.types)
    if len(between) < FOLDS:
        return [slowest, *between]
    chosen = np.random.default_rng(seed).choice(len(between) - 1, FOLDS - 2, replace=False)
    return [slowest, *(between[i] for i in sorted(chosen)), between[-1]]


def folds_of(case: Case, fold: Fold) -> dict[str, Fold]:
    """The operator under test built as `fold` says, its helpers as fast as they go."""
    types = case.built.types()
    return {n.name: fold if n.name == "op" else n.op.folds(*(types[i] for i in n.inputs))[-1] for n in case.built.nodes}


def simulation(graph: Graph, folder: Path, lut6: bool = False) -> VerilatorEngine:
    """The engine of the design of `graph` that lies in `folder`."""
    return VerilatorEngine(folder, graph.input_type, graph.types()[graph.output], lut6=lut6)


def check_verilog(graph: Graph, folds: dict[str, Fold], x: np.ndarray, y: np.ndarray, folder: Path) -> int:
    """Lint, equality without and with random stalls on both sides, and the schedule; returns the cycles a frame."""
    made = lower_rtl.lower(graph, folds, folder)
    assert lint(folder) == ""
    engine = simulation(graph, folder)
    for stalls in reversed(STALLS):
        assert mismatches(y, engine.run(x, stalls=stalls)) == 0, f"{folds}: values differ with stalls {stalls}"
    assert off_schedule(made, engine) == 0, f"{folds}: beats do not come when the schedule says"
    return engine.cycles_per_frame


def off_schedule(made: Design, engine: VerilatorEngine) -> int:
    """Beats of the engine's last run, one without stalls, that came in another cycle than the exact schedule says."""
    frames = len(engine.output_cycles) // engine.output.pixels
    planned = made.network.simulate(made.depths, frames)
    seen = engine.input_cycles >= 0  # the outputs may not need the last inputs
    wrong_in = np.count_nonzero((engine.input_cycles != planned.inputs)[seen])
    return int(wrong_in + np.count_nonzero(engine.output_cycles != planned.outputs))


def check_synthesized_verilog(graph: Graph, x: np.ndarray, y: np.ndarray, folder: Path) -> None:
    """Equality with the popcounts and trees that are synthesized, where the design in `folder` has any."""
    if any("EQ_LUT6" in path.read_text() for path in folder.glob("*.sv")):
        assert mismatches(y, simulation(graph, folder, lut6=True).run(x, stalls=1)) == 0, "values differ with EQ_LUT6"


def declared_cycles(graph: Graph, folds: dict[str, Fold]) -> int:
    """The cycles a frame of the slowest operator, as it declares them."""
    types = graph.types()
    return max(n.op.cycles(folds[n.name], *(types[i] for i in n.inputs)) for n in graph.nodes)


def onnx_mismatches(case: Case, folder: Path) -> int:
    """Values that differ in a plain onnxruntime session; the file must also come back as the graph that it was."""
    path, again = folder / "model.int.onnx", folder / "again.int.onnx"
    lower_onnx.save(case.graph, path)
    loaded = lower_onnx.load(path)
    lower_onnx.save(loaded, again)
    assert path.read_bytes() == again.read_bytes(), "the integer ONNX file changes when it is loaded and saved"
    assert np.array_equal(ReferenceEngine(loaded).run(case.x), case.y), "a loaded graph means something else"
    return mismatches(case.y, OrtEngine(path, threads=1).run(case.x))
