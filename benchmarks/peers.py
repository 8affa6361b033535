"""edgeq against NNgen on one CNN: the same weights, the same integers, the same frames, one run.

Cycles a frame, resources by the same Yosys flow, time to Verilog, time to a simulator, and the speed of that simulator.
NNgen runs layer after layer, keeps weights and activations in DRAM behind AXI and computes one frame at a time; edgeq builds
every layer, keeps weights and activations on the chip and streams frame after frame.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, show
from peers_cnn import Cnn, random_cnn
from peers_nngen import MEMORY, TOP, NngenCnn, Parallel

from edgeq import axi
from edgeq.board import board
from edgeq.engines.verilator import RUNTIME, Tools, VerilatorEngine
from edgeq.engines.yosys import estimate
from edgeq.fold import MAX_UTILIZATION
from edgeq.folding import Target, choose
from edgeq.graph import Graph
from edgeq.hardware import RESOURCES, Cost
from edgeq.lower import rtl
from edgeq.lower.board import SHELL
from edgeq.lower.rtl import library
from edgeq.passes import hardware_passes
from edgeq.report import report

BOARD = "ultra96"
CHANNELS, SIZE, OUTPUTS = (3, 16, 32, 64), 32, 10
LARGEST = Parallel(4, 4, 128)
"""The most parallel NNgen design that fits BOARD's share: twice as many channels would take 288 DSP for the products alone."""
SAME = "edgeq, no more LUT, BRAM, DSP"
"""Than the design above it. It always has more registers: flattening collects a frame in them."""
YOSYS_SECONDS = 4 * 3600


def processor_seconds() -> float:
    """Of this process and those that it has waited for: what else the machine does hardly changes it."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass
class Measured:
    """One design. y: the outputs of all frames, int64 [N, outputs]."""

    name: str
    parallel: str
    cycles: int
    latency: int
    cost: Cost
    to_verilog: float
    to_simulator: float
    y: np.ndarray
    run: Callable[[], object]
    frames_per_second: float = 0.0

    def row(self, expected: np.ndarray) -> dict[str, Any]:
        return {
            "design": self.name, "parallel": self.parallel, "cycles a frame": self.cycles, "latency": self.latency,
            "LUT": int(self.cost.lut), "FF": int(self.cost.ff), "BRAM36": self.cost.bram36, "DSP": int(self.cost.dsp),
            "to Verilog s": self.to_verilog, "to simulator s": self.to_simulator, "simulated frames/s": self.frames_per_second,
            "differing": f"{np.count_nonzero(self.y != expected):,}/{expected.size:,}",
        }  # fmt: skip


@contextmanager
def empty_cache(folder: Path) -> Iterator[None]:
    """A cache in `folder` that holds Verilator's compiled runtime alone, so that compiling is measured and not looked up."""
    before = os.environ.get("EDGEQ_CACHE")
    os.environ["EDGEQ_CACHE"] = str(folder)
    try:
        Tools().runtime(*RUNTIME)
        yield
    finally:
        os.environ.pop("EDGEQ_CACHE")
        if before is not None:
            os.environ["EDGEQ_CACHE"] = before


def nngen(cnn: Cnn, name: str, parallel: Parallel, x: np.ndarray, folder: Path) -> Measured:
    """x: int64 [N, size, size, channels]."""
    made = NngenCnn(cnn, parallel, folder)
    start = processor_seconds()
    source = made.verilog()
    written = processor_seconds()
    made.test_bench(x)
    with empty_cache(folder.parent / "cache"):
        begin = processor_seconds()
        made.simulator()
        compiled = processor_seconds()
    y = made.run()
    cost = estimate([source], TOP, {}, family=board(BOARD).family, cwd=folder, seconds=YOSYS_SECONDS)
    cycles = max(made.cycles)
    return Measured(name, str(parallel), cycles, cycles, cost, written - start, compiled - begin, y, made.run)


def edgeq(cnn: Cnn, name: str, limit: Cost, x: np.ndarray, folder: Path) -> Measured:
    """The fastest design within these resources, by our model.  x: int64 [N, size, size, channels]."""
    whole = board(BOARD)
    shell = shell_cost(cnn.graph(), whole.family, folder.parent)
    room = Cost(*(max(0, most - used) for most, used in zip(limit.astuple(), shell.astuple(), strict=True)))
    target = replace(whole, budget=room)
    start = processor_seconds()
    graph = hardware_passes(cnn.graph())
    folds = choose(graph, target, Target(max_utilization=1))
    design = rtl.lower(graph, folds, folder)
    written = processor_seconds()
    frames = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    with empty_cache(folder.parent / "cache"):
        begin = processor_seconds()
        engine = VerilatorEngine(folder, graph.input_type, graph.types()[graph.output])
        compiled = processor_seconds()
    y = engine.run(frames)
    total = report(graph, folds, target, design, folder, "yosys")["total"]
    cost = Cost(**{key: total[key] for key in RESOURCES}) + shell
    parallel = ", ".join(str(fold) for node in graph.nodes if (fold := folds[node.name]).mode == "folded")
    return Measured(
        name, parallel, engine.cycles_per_frame, engine.latency_cycles, cost, written - start, compiled - begin, y,
        lambda: engine.run(frames),
    )  # fmt: skip


def shell_cost(graph: Graph, family: str, folder: Path) -> Cost:
    """The registers and the stream packing that make an AXI peripheral of the network; the AXI DMA is not in it."""
    package = folder / f"{axi.PACKAGE}.sv"
    package.write_text(axi.package_sv())
    sources = [Path(str(files("edgeq.hls").joinpath("rtl", f"{stem}.sv"))) for stem in sorted(library({SHELL}))]
    ends = {"In": graph.input_type, "Out": graph.types()[graph.output]}
    beats = {f"{end}{key}": n for end, t in ends.items() for key, n in (("Bits", t.channels * t.width), ("Beats", t.pixels))}
    return estimate([package, *sources], SHELL, {"Width": axi.BUS_BITS, **beats}, family=family, cwd=folder)


@click.command()
@click.option("--frames", default=8, show_default=True, type=click.IntRange(3), help="Frames that every design computes.")
@click.option(
    "--repeat", default=3, show_default=True, type=click.IntRange(1), help="Simulations of these frames, for their speed."
)
@click.option("--seed", default=0, show_default=True, help="Of weights and frames.")
@click.option("--largest/--no-largest", default=True, help="NNgen's largest design too, which Yosys reads for most of an hour.")
@json_option
def main(frames: int, repeat: int, seed: int, largest: bool, json_file: Path | None) -> None:
    """Build the CNN by NNgen and by edgeq, simulate both, compare every output with numpy."""
    cnn = random_cnn(SIZE, CHANNELS, OUTPUTS, seed)
    x = cnn.frames(frames, seed)
    expected = cnn.run(x)
    target = board(BOARD)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        share = Cost(*(MAX_UTILIZATION * amount for amount in target.budget.astuple()))
        small = nngen(cnn, "NNgen, default", Parallel(), x, folder / "small")
        as_small = edgeq(cnn, SAME, replace(small.cost, ff=share.ff), x, folder / "as_small")
        whole = edgeq(cnn, f"edgeq, {MAX_UTILIZATION:.0%} of the board", share, x, folder / "whole")
        measured = [small, as_small, whole]
        if largest:
            large = nngen(cnn, "NNgen, largest that fits", LARGEST, x, folder / "large")
            if any(used > most for used, most in zip(large.cost.astuple(), share.astuple(), strict=True)):
                raise click.ClickException(f"{LARGEST} takes {large.cost}, more than {share}: choose another LARGEST")
            measured[2:2] = [large, edgeq(cnn, SAME, replace(large.cost, ff=share.ff), x, folder / "as_large")]
        for design in measured:
            start = processor_seconds()
            for _ in range(repeat):
                design.run()
            design.frames_per_second = repeat * frames / (processor_seconds() - start)
    show(
        f"{SIZE} x {SIZE} CNN of {cnn.products:,} int8 products a frame, {target.title}: NNgen 1.3.4 and edgeq",
        [design.row(expected) for design in measured],
        json_file,
        frames=frames,
        seed=seed,
        kind="cycles and frames/s simulated (Verilator), resources estimated (Yosys synth_xilinx xcup), seconds measured",
        seconds="of processor time, in the rates too; `to simulator` is Verilator and g++ -O1",
        nngen_memory=MEMORY,
    )
    if any(np.any(design.y != expected) for design in measured):
        raise click.ClickException("the outputs differ")


if __name__ == "__main__":
    main()
