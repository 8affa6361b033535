"""CNV-1W1A for CIFAR-10 from its module to compared frames of its Verilog, from an empty cache; FINN's published figures too."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, show

from edgeq import flow
from edgeq.board import board
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import VerilatorEngine
from edgeq.folding import Target
from edgeq.lower import onnx as lower_onnx
from edgeq.ui import Ui

MODEL = f"{Path(__file__).parents[1] / 'examples' / 'cnv' / 'model.py'}:model"
PUBLISHED = (
    ("FINN's example folding: cycles a frame", 32_768, "github.com/Xilinx/finn, end-to-end example of CNV-W1A1"),
    ("FINN CNV-max on a ZC706: frames/s", 21_906, "arXiv 1612.07119"),
)


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What the call returns, its seconds, and the seconds of CPU that programs which it started took."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command()
@click.option("--frames", default=100, show_default=True, help="To simulate and compare.")
@click.option("--board", "board_name", default="ultra96", show_default=True)
@click.option("--max-util", default=0.7, show_default=True, help="Share of the board.")
@json_option
def main(frames: int, board_name: str, max_util: float, json_file: Path | None) -> None:
    """Build CNV, compile it, simulate it in one process and in two."""
    target = board(board_name)
    with tempfile.TemporaryDirectory(prefix="edgeq-cnv-") as scratch:
        os.environ["EDGEQ_CACHE"] = str(Path(scratch) / "cache")
        exported, build = Path(scratch) / "export", Path(scratch) / "build"
        flow.export(
            MODEL, exported, weights=None, input_shape=(1, 3, 32, 32), input_type=None, samples=frames, seed=0, data=None,
            force=False, ui=Ui(),
        )  # fmt: skip
        report, synth_seconds, _ = timed(
            lambda: flow.synth(
                exported, target, build, target=Target(max_utilization=max_util), estimate="auto", force=False, ui=Ui()
            )
        )
        graph = lower_onnx.load(build / flow.INTEGER_FILE)
        codes = np.load(build / flow.VECTORS_FILE)["codes"]
        expected = ReferenceEngine(graph).run(codes)

        def engine() -> VerilatorEngine:
            beat = report["input"]["pixels_per_beat"]
            return VerilatorEngine(build / "rtl", graph.input_type, graph.types()[graph.output], beat=beat)

        one, compile_seconds, _ = timed(engine)
        found, one_seconds, cpu_seconds = timed(lambda: one.run(codes))
        halves = np.array_split(codes, 2)
        with ThreadPoolExecutor(2) as pool:
            pair = [engine(), engine()]
            parts, two_seconds, _ = timed(
                lambda: list(pool.map(lambda half: half[0].run(half[1]), zip(pair, halves, strict=True)))
            )
    wrong = int(np.count_nonzero(found != expected)) + int(np.count_nonzero(np.concatenate(parts) != expected))
    total, budget = report["total"], report["budget"]
    rows: list[dict[str, Any]] = [
        {"figure": "cycles a frame", "value": report["cycles_per_frame"], "kind": "model"},
        {"figure": "cycles a frame", "value": one.cycles_per_frame, "kind": "simulated"},
        {"figure": "latency, cycles", "value": one.latency_cycles, "kind": "simulated"},
        {"figure": "frames/s of the core", "value": round(report["frames_per_second"]), "kind": "model"},
        *({"figure": f"{n} of {budget[n]:,}", "value": total[n], "kind": "estimated"} for n in ("lut", "ff", "bram36", "dsp")),
        {"figure": "differing values, one process and two", "value": wrong, "kind": f"of {2 * expected.size:,}"},
        {"figure": "synth, s", "value": synth_seconds, "kind": "measured"},
        {"figure": "compile, s", "value": compile_seconds, "kind": "measured"},
        {"figure": "simulated frames/s, one process", "value": frames / one_seconds, "kind": "measured"},
        {"figure": "simulated frames/s, two processes", "value": frames / two_seconds, "kind": "measured"},
        {"figure": "simulated frames a second of CPU", "value": frames / cpu_seconds, "kind": "measured"},
        *({"figure": figure, "value": value, "kind": f"published: {source}"} for figure, value, source in PUBLISHED),
    ]  # fmt: skip
    show(f"CNV-1W1A for {target.title}", rows, json_file, frames=frames, cores=os.cpu_count(), load=round(os.getloadavg()[0], 1))
    if wrong:
        raise click.ClickException("the simulation disagrees with the reference")


if __name__ == "__main__":
    main()
