"""A Dask cluster of separate programs, as a person starts one: `dask scheduler` and `dask worker`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

TESTS = Path(__file__).parent


@contextmanager
def program(folder: Path, arguments: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`dask ARGUMENTS`, run in `folder` with a cache beside it, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.environ | {"EDGEQ_CACHE": str(folder.parent / "cache"), "PYTHONPATH": str(TESTS)} | environment
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen([sys.executable, "-m", "dask", *arguments], cwd=folder, stdout=log, stderr=log, env=here)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(20)


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """A scheduler on this machine; gives its address."""
    record = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(record)]
    with program(folder, ["scheduler", *options]):
        until = time.monotonic() + 60
        while not record.exists() or not record.read_text():
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        yield json.loads(record.read_text())["address"]


@contextmanager
def worker(address: str, folder: Path, threads: int = 1, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of one process."""
    options = ["--host", "127.0.0.1", "--nthreads", str(threads), "--no-dashboard", "--no-nanny"]
    with program(folder, ["worker", address, *options], **environment) as started:
        yield started


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """A scheduler and its workers; gives the address."""
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(folder / "scheduler"))
        for n in range(workers):
            stack.enter_context(worker(address, folder / f"worker{n}"))
        yield address
