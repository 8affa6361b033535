"""RTL regression of one network by 4 worker processes, by 2 and by 1 (no Dask), in turns; then by 4 of which one is killed.

BUILD is a folder that `edgeq synth` wrote; the frames are random. Results must be equal but for their rates. Run it on a machine
that does nothing else, or read its load beside the figures.
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import click
import psutil
from common import json_option, show

from edgeq import flow
from edgeq.ui import Ui

WORKERS = (1, 2, 4)
KILLED = 4


def regression(folder: Path, frames: int, workers: int) -> tuple[dict[str, Any], float]:
    """(what was found, without the rate; seconds for all, the start of the processes included)."""
    began = time.perf_counter()
    found = flow.sim(
        folder, samples=frames, seed=0, engine="rtl", stalls=None, trace=None, workers=workers, ui=Ui(quiet=True)
    )  # fmt: skip
    seconds = time.perf_counter() - began
    del found["engines"]["rtl"]["frames_per_second"]
    return found, seconds


def kill_one(after: float, killed: list[int]) -> None:
    """Kills a worker process of this one with SIGKILL, some seconds from now."""
    time.sleep(after)
    workers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
    if workers:
        killed.append(workers[0].pid)
        os.kill(workers[0].pid, signal.SIGKILL)


@click.command(help=__doc__)
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--frames", default=20000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@json_option
def main(build: Path, frames: int, rounds: int, json_file: Path | None) -> None:
    regression(build, 100, 1)  # compiles
    expected, _ = regression(build, frames, 1)
    assert expected["engines"]["rtl"]["mismatches"] == 0
    load: list[float] = []
    seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for _ in range(rounds):
        load.append(os.getloadavg()[0])
        for workers, spent in seconds.items():
            found, took = regression(build, frames, workers)
            assert found == expected, workers
            spent.append(took)
            click.echo(f"{workers} workers: {took:.1f} s, load {os.getloadavg()[0]:.1f}", err=True)
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(statistics.median(seconds[KILLED]) / 2, killed))
    killer.start()
    found, took = regression(build, frames, KILLED)
    killer.join()
    assert killed, "the run was over before a worker could be killed"
    assert found == expected
    one = statistics.median(seconds[1])
    rows = [
        {"workers": str(workers), "seconds": statistics.median(spent), "frames/s": frames / statistics.median(spent),
         "speed-up": round(one / statistics.median(spent), 2), "fastest": min(spent), "slowest": max(spent), "same result": "yes"}
        for workers, spent in seconds.items()
    ]  # fmt: skip
    rows.append(
        {"workers": f"{KILLED}, one killed", "seconds": took, "frames/s": frames / took, "speed-up": round(one / took, 2),
         "fastest": took, "slowest": took, "same result": "yes"}
    )  # fmt: skip
    show(
        f"RTL regression of {build.name}, {frames:,} random frames", rows, json_file, cores=os.cpu_count() or 1,
        cycles_per_frame=expected["engines"]["rtl"]["cycles_per_frame"], load_between_rounds=[round(x, 1) for x in load],
        seconds_of_each_run={str(workers): [round(s, 1) for s in spent] for workers, spent in seconds.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
