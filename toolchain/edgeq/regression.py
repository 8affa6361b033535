"""Whole data sets through the engines: chunks of frames as tasks, and what they find merged exactly.

How many frames a chunk has depends on the network and the number of frames, never on the workers, and so does what is found: the
first difference is that of the first frame, a chunk's random stalls are seeded by its number, and batches of float engines begin
at the same frames.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgeq import tasks
from edgeq.engines.board import BoardEngine
from edgeq.engines.hls import HlsEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.serial_board import SerialBoardEngine
from edgeq.engines.verilator import SILENCE, VerilatorEngine
from edgeq.frontend.ends import apply_tail
from edgeq.frontend.execute import batch_of
from edgeq.frontend.load import load_model
from edgeq.graph import Graph
from edgeq.lower import onnx as lower_onnx
from edgeq.lower.ecp5 import FOLDER as SERIAL
from edgeq.ui import Ui
from edgeq.verify import BATCH, Engines, Part, compare, merged

VERIFY_FRAMES = 128
"""Of a chunk, or the least number above it that has whole batches."""
CHUNK_CYCLES = {"hls": (1 << 16, 1 << 19), "rtl": (1 << 16, 1 << 19), "board": (1 << 11, 1 << 14)}
"""Of a chunk at least and at most, by the cycle model: more than the start of a simulator costs, a few seconds of simulation."""
CHUNKS = 16
"""As many are aimed at, between these."""
SIM_FRAMES = (4, 2048)
READS = {"hls": ("hls",), "rtl": ("rtl",), "board": ("rtl", "driver", "vivado/rtl", f"{SERIAL}/rtl")}
"""What each engine needs of a build."""


@dataclass(frozen=True)
class Frames:
    """codes: [N, *input shape]; floats: what the source reads as these; labels: [N], or [N, H, W] of pixels; start: the number of
    the first frame."""

    codes: np.ndarray
    floats: np.ndarray | None = None
    labels: np.ndarray | None = None
    start: int = 0

    def chunks(self, graph: Graph, size: int) -> Iterator[Frames]:
        """Chunks of `size` frames, with codes of the smallest integer type that holds them."""
        kind = np.result_type(*map(np.min_scalar_type, (graph.input_type.lo, graph.input_type.hi)))
        for i in range(0, len(self.codes), size):
            floats, labels = (None if a is None else a[i : i + size] for a in (self.floats, self.labels))
            yield Frames(self.codes[i : i + size].astype(kind), floats, labels, self.start + i)


@dataclass(frozen=True)
class Export:
    """Files of an export's folder, and the module that it was made from, if there is one. job: no two runs share one."""

    integer: str
    qonnx: str
    module: str | None
    weights: Path | None
    job: str

    def others(self) -> tuple[Path, ...]:
        """The module's files, where they are files of this machine."""
        source = Path((self.module or "").rpartition(":")[0])
        return tuple(p for p in (source, self.weights) if p is not None and p.is_file())


def verify(
    folder: Path, files: tuple[str, str], record: dict[str, Any], graph: Graph, frames: Frames, *, scheduler: str | None,
    workers: int | None, ui: Ui,
) -> dict[str, Any]:  # fmt: skip
    """{"engines": {name: result}}, with labels also "accuracy": every engine that applies to the export in `folder`.

    files: names of its integer ONNX and QONNX files.  record: export.json.
    """
    weights = Path(record["weights"]) if record.get("weights") else None
    export = Export(*files, record.get("module"), weights, secrets.token_hex(8))
    step = math.lcm(BATCH, batch_of(load_model(folder / export.qonnx)))
    items = [(export, chunk) for chunk in frames.chunks(graph, step * max(1, VERIFY_FRAMES // step))]
    sent = tasks.Folder(folder, files, export.others())
    title = (
        f"comparing {'reference, onnxruntime, QONNX' + (', PyTorch' if export.module else '')} on {len(frames.codes):,} frames"
    )
    parts = _timed(_check, items, [sent] * len(items), title, scheduler, workers, ui)
    return _summary(merged(parts, graph.output))


def _check(item: tuple[Export, Frames], folder: Path) -> Part:
    """The task of `verify`."""
    export, frames = item
    assert frames.floats is not None
    began = time.perf_counter()
    part = _export(export, folder).check(frames.codes.astype(np.int64), frames.floats, frames.labels, frames.start)
    part.seconds = time.perf_counter() - began
    return part


@lru_cache(maxsize=1)
def _export(export: Export, folder: Path) -> Engines:
    module = None
    if export.module:
        from edgeq.frontend import brevitas

        place, _, name = export.module.rpartition(":")
        source = f"{tasks.found(folder, Path(place))}:{name}" if place.endswith(".py") else export.module
        module = brevitas.load_module(source, tasks.found(folder, export.weights) if export.weights else None)
    integer = folder / export.integer
    return Engines(lower_onnx.load(integer), integer, folder / export.qonnx, module, tasks.threads())


@dataclass(frozen=True)
class Build:
    """A folder that `edgeq synth` wrote and frames for it; by its report: pixels a beat, cycles a frame, and until one is out."""

    folder: Path
    graph: Graph
    frames: Frames
    beat: int
    cycles: int
    latency: int


@dataclass(frozen=True)
class Run:
    """How a build is simulated. integer: its integer ONNX file; silence: as VerilatorEngine's; job: no two runs share one."""

    integer: str
    engines: tuple[str, ...]
    beat: int
    silence: int
    stalls: int | None
    trace: Path | None
    job: str


def simulate(
    builds: Sequence[Build], integer: str, engines: tuple[str, ...], *, stalls: int | None, trace: Path | None,
    scheduler: str | None, workers: int | None, ui: Ui,
) -> list[dict[str, Any]]:  # fmt: skip
    """For each build {"engines": {name: result}}, with labels also "accuracy".

    integer: the name of their integer ONNX file.  stalls: seed of random pauses.  trace: waveform to write; one run then.
    A chunk is simulated from reset. The simulators are compiled once a machine: here before the frames, elsewhere by the first
    worker that needs one, for which the others wait.
    """
    names = (integer, *dict.fromkeys(name for engine in engines for name in READS[engine]))
    runs, items, folders, counts = [], [], [], []
    for build in builds:
        size = len(build.frames.codes) if trace else chunk_frames(len(build.frames.codes), build.cycles, engines, build.latency)
        silence = max(SILENCE, 4 * build.latency)  # with stalls it takes longer
        runs.append(Run(integer, engines, build.beat, silence, stalls, trace, secrets.token_hex(8)))
        chunks = list(build.frames.chunks(build.graph, size))
        items += [(runs[-1], number, chunk) for number, chunk in enumerate(chunks)]
        folders += [tasks.Folder(build.folder, names)] * len(chunks)
        counts.append(len(chunks))
    if not scheduler:
        own = [tasks.Folder(build.folder, names) for build in builds]
        tasks.run(_compile, runs, folders=own, ui=ui, title=f"compiling {' and '.join(engines)}")
    title = f"{' and '.join(engines)}: running {sum(len(build.frames.codes) for build in builds):,} frames"
    found = iter(_timed(_simulate, items, folders, title, scheduler, workers, ui))
    return [_summary(merged(islice(found, n), b.graph.output)) for b, n in zip(builds, counts, strict=True)]


def chunk_frames(frames: int, cycles: int, engines: tuple[str, ...], latency: int = 0) -> int:
    """Frames of a chunk to simulate, of so many frames of so many cycles each; the latency is at most a fifth of a chunk."""
    least, most = (min(CHUNK_CYCLES[name][k] for name in engines) // max(cycles, 1) for k in (0, 1))
    size = min(max(least, -(-frames // CHUNKS)), most)
    return max(SIM_FRAMES[0], min(SIM_FRAMES[1], size), 4 * latency // max(cycles, 1))


def _compile(run: Run, folder: Path) -> None:
    for engine in run.engines:
        _simulator(run, engine, folder)


def _simulate(item: tuple[Run, int, Frames], folder: Path) -> Part:
    """The task of `simulate`: one chunk, of this number."""
    run, number, frames = item
    began = time.perf_counter()
    reference = _reference(run, folder)
    graph, codes = reference.graph, frames.codes.astype(np.int64)
    expected = reference.run(codes)
    part = Part({}, int(expected.min()), int(expected.max()))
    stalls = None if run.stalls is None else run.stalls + number
    outputs = {}
    for name in run.engines:
        engine = _simulator(run, name, folder)
        if isinstance(engine, VerilatorEngine):
            found = engine.run(codes, stalls, run.trace)
            if stalls is None:  # cycles under random stalls are chance
                part.facts[name] = {"latency_cycles": engine.latency_cycles, "cycles_per_frame": engine.cycles_per_frame}
        elif isinstance(engine, BoardEngine | SerialBoardEngine):
            found = engine.run(codes, stalls)
            part.facts[name] = {"counters": engine.counters}
        else:
            found = engine.run(codes)
        part.tallies[name] = compare(expected, found, graph.output, frames.start)
        part.tallies[name].seconds = len(codes) / max(engine.frames_per_second, 1e-9)
        outputs[name] = found
    if frames.labels is not None:
        part.judge({name: apply_tail(graph, found) for name, found in outputs.items()}, frames.labels)
    part.seconds = time.perf_counter() - began
    return part


@lru_cache(maxsize=4)
def _reference(run: Run, folder: Path) -> ReferenceEngine:
    return ReferenceEngine(lower_onnx.load(folder / run.integer))


@lru_cache(maxsize=8)
def _simulator(run: Run, engine: str, folder: Path) -> VerilatorEngine | HlsEngine | BoardEngine | SerialBoardEngine:
    if engine == "hls":
        return HlsEngine(folder / "hls")
    if engine == "board":
        return SerialBoardEngine(folder) if (folder / SERIAL).is_dir() else BoardEngine(folder)
    reference = _reference(run, folder)
    ends = reference.graph.input_type, reference.types[reference.graph.output]
    found = VerilatorEngine(folder / "rtl", *ends, trace=run.trace.suffix[1:] if run.trace else "", beat=run.beat)
    found.silence = run.silence
    return found


def _timed(
    task: Callable[[Any, Path], Part], items: Sequence[Any], folders: Sequence[tasks.Folder], title: str, scheduler: str | None,
    workers: int | None, ui: Ui,
) -> list[Part]:  # fmt: skip
    """The parts; where several ran at once, an engine's seconds are its share of the whole job's."""
    began = time.perf_counter()
    parts = tasks.run(task, items, folders=folders, ui=ui, title=title, scheduler=scheduler, workers=workers)
    share = min(1.0, (time.perf_counter() - began) / sum(part.seconds for part in parts))
    for tally in (tally for part in parts for tally in part.tallies.values()):
        tally.seconds *= share
    return parts


def _summary(part: Part) -> dict[str, Any]:
    engines = {name: tally.result() | part.facts.get(name, {}) for name, tally in part.tallies.items()}
    return {"engines": engines} | ({"accuracy": part.accuracy()} if part.right else {})
