"""Comparison of every engine with the numpy reference, by rules 5 and 6 of docs/design.md.

Integer engines are compared whole and exactly. Float engines (qonnx, PyTorch) are compared operator by operator: at each
tensor that stands for integers the engine's value is compared with the reference's, and then replaced by it, so that
every operator works on the reference's integers. Where float32 holds every value exactly (power-of-two scales), equality
is asked for. Elsewhere an accumulator may be off by the derived float32 error bound, and a quantizer's code may differ
where the exact value lies within that bound of a rounding boundary: a near tie, counted with its distance in codes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.engines.ort import OrtEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.frontend import views
from edgeq.frontend.ends import apply_tail, input_floats, read_lanes
from edgeq.frontend.exact import SIGN, boundaries
from edgeq.frontend.execute import QonnxEngine
from edgeq.frontend.load import load_model
from edgeq.graph import Graph
from edgeq.lower import onnx as lower_onnx

if TYPE_CHECKING:
    from torch import nn

BATCH = 64
"""Frames of one call of an integer engine; a first difference is looked for among so many."""


@dataclass
class Tally:
    """What the comparison of one engine has found so far. first: the first difference, with the number of its frame."""

    mismatches: int = 0
    near_ties: int = 0
    max_tie_distance: float = 0.0
    values: int = 0
    frames: int = 0
    seconds: float = 0.0
    """That the engine itself took."""
    beyond: int = 0
    """Values that are not compared: the engine computes a float function before them, the graph its approximation."""
    first: dict[str, Any] | None = None

    def add(self, wrong: np.ndarray, ties: int, distance: float, describe: Callable[[tuple[int, ...]], dict[str, Any]]) -> None:
        """wrong: bool, one a compared value; describe(index) of the first one is kept."""
        self.mismatches += int(wrong.sum())
        self.near_ties += ties
        self.max_tie_distance = max(self.max_tie_distance, distance)
        self.values += wrong.size
        if wrong.any() and self.first is None:
            self.first = describe(tuple(int(i) for i in np.argwhere(wrong)[0]))

    def merge(self, later: Tally) -> None:
        """Adds what was found on later frames."""
        for name in ("mismatches", "near_ties", "values", "frames", "seconds", "beyond"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.max_tie_distance = max(self.max_tie_distance, later.max_tie_distance)
        self.first = self.first or later.first

    def result(self) -> dict[str, Any]:
        """As verify.json has it."""
        found: dict[str, Any] = {
            "mismatches": self.mismatches, "near_ties": self.near_ties, "max_tie_distance": self.max_tie_distance,
            "values": self.values, "frames": self.frames,
            "frames_per_second": round(self.frames / max(self.seconds, 1e-9), 1),
        }  # fmt: skip
        found |= {"not_compared": self.beyond} if self.beyond else {}
        return found | ({"first_difference": self.first} if self.first else {})


@dataclass
class Part:
    """What all engines gave for some frames.

    lo, hi: of the reference's outputs; labelled: labels that there are; right: those that an engine found; facts: what else there
    is to say of an engine; seconds: that all this took.
    """

    tallies: dict[str, Tally]
    lo: int
    hi: int
    labelled: int = 0
    right: dict[str, int] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0

    def merge(self, later: Part) -> None:
        """Adds what was found on later frames; of the facts, counters are added, and the others are those of the first frames."""
        for name, tally in later.tallies.items():
            self.tallies[name].merge(tally)
        for name, facts in later.facts.items():
            for counter, count in facts.get("counters", {}).items():
                self.facts[name]["counters"][counter] += count
        self.lo, self.hi = min(self.lo, later.lo), max(self.hi, later.hi)
        self.labelled += later.labelled
        self.right = {name: count + later.right[name] for name, count in self.right.items()}

    def accuracy(self) -> dict[str, float]:
        """Share of the labels that each engine found."""
        return {name: count / max(self.labelled, 1) for name, count in self.right.items()}

    def judge(self, outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
        """Count the labels, and those that each engine's outputs, behind the tail, are right of. Negative labels are none."""
        self.labelled = int(np.count_nonzero(labels >= 0))
        self.right = {name: classified(y, labels) for name, y in outputs.items()}


def merged(parts: Iterable[Part], name: str) -> Part:
    """The parts of one data set, in order, as one.

    name: of the output. Raises EdgeqError where the reference's output is constant: such a comparison proves nothing.
    """
    first, *others = parts
    for part in others:
        first.merge(part)
    if first.lo == first.hi:
        frames = next(iter(first.tallies.values())).frames
        raise EdgeqError(
            f"the reference's output is constant over {frames} frames, so a comparison proves nothing", where=name,
            fix="more samples, or real data with --data",
        )  # fmt: skip
    return first


def compare(expected: np.ndarray, found: np.ndarray, name: str, start: int = 0) -> Tally:
    """Exact comparison of an integer engine's output [N, ...] with the reference's, for frames `start` and on."""
    if expected.shape != found.shape:
        raise EdgeqError(f"the output has shape {found.shape}, the reference {expected.shape}", where=name)
    tally = Tally(frames=len(expected))

    def describe(at: tuple[int, ...]) -> dict[str, Any]:
        element = [start + at[0], *at[1:]]
        return {"operator": name, "element": element, "expected": int(expected[at]), "found": int(found[at])}

    tally.add(expected != found, 0, 0.0, describe)
    return tally


def classified(outputs: np.ndarray, labels: np.ndarray) -> int:
    """How many labels were found: [N], the largest output of each frame; [N, H, W], the class of each pixel.

    outputs: floats behind the tail, [N, ...]; of pixels [N, C, H, W], the largest channel, or with one channel the class itself.
    """
    if labels.ndim == 1:
        found = outputs.reshape(len(outputs), -1).argmax(axis=1)
    else:
        found = outputs[:, 0] if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    if found.shape != labels.shape:
        what = f"labels of shape {labels.shape} for outputs of shape {outputs.shape}"
        raise EdgeqError(what, where="y", fix="one label a frame, or for an image one a pixel")
    return int(np.count_nonzero((found == labels) & (labels >= 0)))


class Engines:
    """Every engine that applies to an export, ready to run: reference, onnxruntime, qonnx and, with a module, pytorch.

    threads: of onnxruntime's sessions, 0 for one a core.
    """

    def __init__(
        self, graph: Graph, integer_path: Path, qonnx_path: Path, module: nn.Module | None = None, threads: int = 0
    ) -> None:
        self.graph, self.module = graph, module
        self.reference, self.ort = ReferenceEngine(graph), OrtEngine(integer_path, threads, BATCH)
        self.qonnx = QonnxEngine(load_model(qonnx_path), threads)

    def check(self, codes: np.ndarray, floats: np.ndarray, labels: np.ndarray | None = None, start: int = 0) -> Part:
        """All engines on frames `start` and on.

        codes: int64 [N, *input shape]; floats: what the source reads as these codes; labels: for the accuracy, as
        `classified` has them. The same frames in other parts give the same in all as long as the parts have whole batches
        (`batch`), but for the last.
        """
        graph = self.graph
        given = floats
        if graph.meta["input"]["kind"] == "integer":
            floats = input_floats(graph, codes)  # the values of the grid itself, whatever data they were rounded from
        expected, reference_seconds = timed(lambda: self.reference.run(codes))
        found, ort_seconds = timed(lambda: self.ort.run(codes))
        tallies = {
            name: compare(expected, y, graph.output, start) for name, y in (("reference", expected), ("onnxruntime", found))
        }
        tallies["reference"].seconds, tallies["onnxruntime"].seconds = reference_seconds, ort_seconds
        if first := tallies["onnxruntime"].first:
            batch = (first["element"][0] - start) // BATCH * BATCH
            first = first_difference(graph, codes[batch : batch + BATCH])
            first["element"][0] += start + batch
            tallies["onnxruntime"].first = first
        tallies["qonnx"] = verify_qonnx(graph, self.qonnx, codes, floats, start)
        if self.module is not None:
            tallies["pytorch"] = verify_module(graph, self.module, codes, floats, start)
        part = Part(tallies, int(expected.min()), int(expected.max()))
        if labels is not None:
            part.judge({"onnxruntime": apply_tail(graph, found), "qonnx": self.qonnx.run(given)}, labels)
        return part


def timed(action: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    return action(), time.perf_counter() - start


def first_difference(graph: Graph, codes: np.ndarray) -> dict[str, Any]:
    """The first operator whose onnxruntime output differs from the reference's, its first element and both values."""
    expected = ReferenceEngine(graph).run_all(codes)
    with tempfile.TemporaryDirectory() as folder:
        for i, node in enumerate(graph.nodes):
            nodes = needed(graph, i)
            part = Graph(graph.input, graph.input_type, nodes, node.output)
            path = Path(folder) / "part.onnx"
            lower_onnx.save(part, path)
            found = OrtEngine(path).run(codes)
            differ = expected[node.output] != found
            if differ.any():
                at = tuple(int(k) for k in np.argwhere(differ)[0])
                wanted = int(expected[node.output][at])
                return {"operator": node.name, "element": list(at), "expected": wanted, "found": int(found[at])}
    raise AssertionError("the graph differs, none of its parts does")


def needed(graph: Graph, last: int) -> list[Any]:
    """The nodes that node number `last` is computed from, itself included."""
    reads = {graph.nodes[last].output}
    kept = []
    for node in reversed(graph.nodes[: last + 1]):
        if node.output in reads:
            reads.update(node.inputs)
            kept.append(node)
    return kept[::-1]


# Float engines


@dataclass
class Comparer:
    """One float engine against the reference's integers, batch by batch in the order of the frames."""

    graph: Graph
    codes: np.ndarray
    floats: np.ndarray
    offset: int = 0
    """The number of the first frame."""
    tally: Tally = field(default_factory=Tally)
    start: int = 0
    values: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0
    """Time spent on comparing, which is not the engine's."""

    def __post_init__(self) -> None:
        self.engine = ReferenceEngine(self.graph)
        self.makers = {node.output: node for node in self.graph.nodes}

    def begin(self, start: int, count: int) -> None:
        """Compute the reference for the frames that come next."""
        began = time.perf_counter()
        self.start = start
        self.values = self.engine.run_all(self.codes[start : start + count])
        self.seconds += time.perf_counter() - began

    def compare(
        self, source: str, record: dict[str, Any], y: np.ndarray, bias: np.ndarray | None = None, counted: bool = True
    ) -> np.ndarray:
        """Compare the engine's value y of a source tensor with the reference's; gives the float32 that stands for those.

        bias: the offset of a linear tensor, where the engine adds another one than the record's. counted: false where the engine
        has computed another function, so that its value is only replaced.
        """
        if not counted:
            kept, self.tally = self.tally, Tally()
            made = self.compare(source, record, y, bias)
            kept.beyond, self.tally = kept.beyond + self.tally.values, kept
            return made
        began = time.perf_counter()
        tensor = record["tensor"]
        frame, shape = self.values[tensor].shape[1:], y.shape
        if record.get("moved"):  # of one frame, whose batch is not the first dimension
            y = y[None]
        if y[:1].size != int(np.prod(frame)):
            fix = "compare a graph with the model that it was made from"
            raise EdgeqError(f"{tensor} has frames of shape {frame}, the engine's are {y.shape[1:]}", where=source, fix=fix)
        found = views.to_tensor(y, order := record.get("order"), frame)
        made = self._quantizer(source, record, found) if record["quantizer"] else self._linear(source, record, found, bias)
        made = views.to_source(made, order, y.shape[1:]).reshape(shape)
        self.seconds += time.perf_counter() - began
        return made

    def _quantizer(self, source: str, record: dict[str, Any], y: np.ndarray) -> np.ndarray:
        """A quantizer's float output against the codes."""
        values = self.values[record["tensor"]]
        v = self._padded(values, len(y))
        scale = per_channel([Fraction(s) for s in record["scale"]], v).astype(np.float32)
        wanted = v.astype(np.float32) * scale
        got = np.asarray(y, np.float32).reshape(v.shape)
        wrong = wanted != got
        ties, distance = 0, 0.0
        for index in np.argwhere(wrong):
            at = tuple(int(i) for i in index)
            near = self._tie(source, record, at, got[at])
            if near is not None:
                wrong[at] = False
                ties, distance = ties + 1, max(distance, near)

        def describe(at: tuple[int, ...]) -> dict[str, Any]:
            step = scale[min(at[1], scale.shape[1] - 1)] if scale.ndim > 1 else scale
            return self._described(source, record, at, int(v[at]), float(got[at] / np.ravel(step)[0]))

        self.tally.add(wrong[: len(values)], ties, distance, describe)
        return wanted.reshape(y.shape)

    def _tie(self, source: str, record: dict[str, Any], at: tuple[int, ...], got: np.float32) -> float | None:
        """The distance, in codes, of the exact value from the boundaries crossed; None where no near tie explains it."""
        q = record["quantizer"]
        lanes = read_lanes(q)
        channel = at[1] if len(lanes) > 1 else 0
        scale = record["scale"]
        code = float(got) / float(Fraction(scale[at[1] if len(scale) > 1 else 0]))
        if abs(code - round(code)) > 1e-3:
            return None
        before = self._before(record, at)
        u = lanes[channel].value(before)
        codes = [int(self.values[record["tensor"]][at]) + q["zero"], round(code) + q["zero"]]
        between = np.array([1] if q["mode"] == SIGN else range(min(codes) + 1, max(codes) + 1), dtype=object)
        twice, _ = boundaries(q["mode"], between)
        distance = max((abs(u - Fraction(int(t), 2)) for t in twice), default=Fraction(0))
        error = q["error"][at[1] if len(q["error"]) > 1 else 0]
        return float(distance) if distance <= error and q["lo"] <= codes[1] <= q["hi"] else None

    def _before(self, record: dict[str, Any], at: tuple[int, ...]) -> Fraction:
        """What the quantizer of `record` read at one element: an integer, or the model's own float."""
        if "of" not in record["quantizer"]:
            ends = self.graph.meta["input"]
            x = self.floats[self.start + at[0]].reshape(ends["shape"])
            for view, perm, shape in ends["steps"]:
                x = x.reshape(view).transpose(perm).reshape(shape)
            return Fraction(float(x.reshape(self.graph.input_type.shape)[at[1:]]))
        return Fraction(int(self.values[record["quantizer"]["of"]][at]))

    def _linear(self, source: str, record: dict[str, Any], y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        """A float tensor against clip(scale*v + offset)."""
        values = self.values[record["tensor"]]
        v = self._padded(values, len(y))
        lanes = read_lanes(record, "scale", "offset")
        a, b = (per_channel([getattr(lane, name) for lane in lanes], v).astype(np.float64) for name in "ab")
        error = per_channel(record["error"], v).astype(np.float64)
        if bias is not None:
            b = per_channel(list(bias.ravel().astype(np.float64)), v)
        low = per_channel([-np.inf if lane.low is None else float(lane.low) for lane in lanes], v).astype(np.float64)
        high = per_channel([np.inf if lane.high is None else float(lane.high) for lane in lanes], v).astype(np.float64)
        exact = np.clip(a * v + b, low, high)
        wanted = exact.astype(np.float32)
        got = np.asarray(y, np.float32).reshape(v.shape)
        off = np.abs(got.astype(np.float64) - exact)
        wrong = np.where(error > 0, off > error, got != wanted)
        ties = ~wrong & (error > 0) & (off >= np.abs(a) / 2) & (a != 0)
        distance = 0.5 if ties.any() else 0.0  # an integer lies half a code from its boundaries

        def describe(at: tuple[int, ...]) -> dict[str, Any]:
            slope, base = np.broadcast_to(a, v.shape)[at], np.broadcast_to(b, v.shape)[at]
            return self._described(source, record, at, int(v[at]), float((got[at] - base) / (slope or 1)))

        self.tally.add(wrong[: len(values)], int(ties[: len(values)].sum()), distance, describe)
        return wanted.reshape(y.shape)

    def result(self, began: float) -> Tally:
        """The tally, of an engine that began at this time."""
        self.tally.frames, self.tally.seconds = len(self.codes), time.perf_counter() - began - self.seconds
        return self.tally

    def _padded(self, v: np.ndarray, count: int) -> np.ndarray:
        """A model exported for a fixed batch repeats the last frame."""
        return v if len(v) == count else np.concatenate([v, np.repeat(v[-1:], count - len(v), axis=0)])

    def _described(self, source: str, record: dict[str, Any], at: tuple[int, ...], expected: int, found: float) -> dict[str, Any]:
        node = self.makers.get(record["tensor"])
        return {
            "operator": node.name if node else self.graph.input, "source": source,
            "element": [self.offset + self.start + at[0], *at[1:]], "expected": expected, "found": found,
        }  # fmt: skip


def per_channel(values: list[Any], v: np.ndarray) -> np.ndarray:
    """[C or 1] as an array that broadcasts over v [N, C, ...]."""
    return np.array(values, dtype=object).reshape(-1, *(1,) * (v.ndim - 2)) if len(values) > 1 else np.array(values, dtype=object)


def verify_qonnx(graph: Graph, engine: QonnxEngine, codes: np.ndarray, floats: np.ndarray, start: int = 0) -> Tally:
    """The QONNX file, node by node, against the reference's integers on frames `start` and on."""
    comparer = Comparer(graph, codes, floats, start)
    records, tail = graph.meta["real"], graph.meta["tail"]
    seen = set()
    began = time.perf_counter()

    def feed(name: str, y: np.ndarray) -> np.ndarray:
        if name in records:
            seen.add(name)
            y = comparer.compare(name, records[name], y).astype(y.dtype)
        elif name == tail["source"] and not tail["softmax"]:
            comparer.compare(name, tail, y)
        return y

    size = frames_at_once(graph, engine.batch)
    for at in range(0, len(codes), size):
        comparer.begin(at, size)
        engine.run(floats[at : at + size], feed)
    require_all(graph, seen)
    return comparer.result(began)


def frames_at_once(graph: Graph, most: int) -> int:
    """Frames that a float engine takes at once: one, where the source has moved its batch of one."""
    return 1 if any(record.get("moved") for record in graph.meta["real"].values()) else most


def require_all(graph: Graph, seen: set[str]) -> None:
    """A tensor that the source never made means that the file is not the graph's."""
    missing = [source for source in graph.meta["real"] if source not in seen]
    if missing:
        fix = "export again: the two files do not belong together"
        raise EdgeqError(f"the QONNX file makes no tensor {missing[0]!r}", fix=fix)


def verify_module(graph: Graph, module: nn.Module, codes: np.ndarray, floats: np.ndarray, start: int = 0) -> Tally:
    """A Brevitas module under PyTorch against the reference's integers on frames `start` and on.

    Activation quantizers are matched with the graph's in the order in which they run, layers with weights likewise. The module
    computes float functions as they are: what follows an approximation, up to the next of these, is not compared but replaced.
    """
    from edgeq.frontend.brevitas import BATCH, ModuleEngine

    engine = ModuleEngine(module)
    size = frames_at_once(graph, BATCH)
    comparer = Comparer(graph, codes, floats, start)
    real, tail = graph.meta["real"], graph.meta["tail"]
    quantizers = graph.meta["quantizers"]
    sources = {record["tensor"]: source for source, record in reversed(real.items())}
    layers = [sources[node.output] for node in graph.nodes if "weight" in node.op.arrays()]
    other = approximated(graph, {real[source]["tensor"] for source in (*quantizers, *layers) if source in real})
    calls = {"quantizers": 0, "layers": 0}

    def quantizer(index: int, y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        calls["quantizers"] += 1
        if index >= len(quantizers):
            raise _unmatched("activation quantizers", len(quantizers))
        source = quantizers[index]
        counted = source in real and real[source]["tensor"] not in other
        return comparer.compare(source, real[source], y, None, counted) if source in real else y

    def layer(index: int, y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        calls["layers"] += 1
        if index >= len(layers):
            raise _unmatched("layers with weights", len(layers))
        record = real[layers[index]]
        return comparer.compare(layers[index], record, y, np.zeros(1) if bias is None else bias, record["tensor"] not in other)

    batches, began = 0, time.perf_counter()
    for at in range(0, len(codes), size):
        comparer.begin(at, size)
        shape = (-1, *graph.meta["input"]["shape"])
        y = engine.run(floats[at : at + size].reshape(shape).astype(np.float32), quantizer, layer)
        batches += 1
        if not tail["softmax"]:
            comparer.compare(tail["source"], tail, y, None, tail["tensor"] not in other)
    for kind, wanted in (("quantizers", len(quantizers)), ("layers", len(layers))):
        if calls[kind] != wanted * batches:
            raise _unmatched(kind, wanted)
    return comparer.result(began)


def approximated(graph: Graph, replaced: set[str]) -> set[str]:
    """The tensors that a module computes with a float function where the graph has its approximation.

    replaced: those whose value a module is given back, so that what follows starts again.
    """
    starts = {entry["tensor"] for entry in graph.meta.get("approximations", [])}
    found: set[str] = set()
    for node in graph.nodes:
        if node.output in starts or any(name in found and name not in replaced for name in node.inputs):
            found.add(node.output)
    return found


def _unmatched(kind: str, wanted: int) -> EdgeqError:
    return EdgeqError(
        f"the module does not run {wanted} {kind} a call, as the exported graph has", where="pytorch",
        fix="use Brevitas layers for all weights, and verify the module that was exported",
    )  # fmt: skip
