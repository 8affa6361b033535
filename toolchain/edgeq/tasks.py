"""Many items as tasks: in this process, on the processes of a local Dask cluster, or on the workers of a scheduler.

Results come in the order of the items, so they do not depend on where and when each was computed. Dask pickles what it sends:
whoever can reach a scheduler can run code on its workers and on its clients, so its address is trusted. The cluster that `run`
starts listens on the loopback device only and demands TLS with a key that never leaves its processes.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from edgeq.cache import cached, key
from edgeq.errors import EdgeqError
from edgeq.ui import Ui

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:[0-9]{1,5}")
CLUSTER_SECONDS = 6.0
"""Work that is shorter than this is done before a local cluster has paid for its start (2 to 3 seconds, and imports)."""
TRIAL_SECONDS = 1.0
"""So long a job of unknown length runs here before its length is estimated."""
CONNECT_SECONDS = 20.0
PATIENCE_SECONDS = 60.0
"""A cluster may be without any worker for so long."""
POLL_SECONDS = 1.0
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, "MKL_NUM_THREADS": 1,
    "MALLOC_TRIM_THRESHOLD_": 1 << 30, "MALLOC_MMAP_THRESHOLD_": 1 << 25,
}  # fmt: skip
"""Of a local worker. Dask's own settings give each large array back to the system at once: half of the time went there."""
AHEAD = 4
"""Items at the scheduler, a worker."""
MAX_FOLDER_BYTES = 1 << 28
OTHERS = "others"
PACKAGES = ("edgeq", "numpy", "onnxruntime", "dask", "distributed")
"""Of one version everywhere, and Python x.y; the scheduler too unpickles what it hands on."""

T = TypeVar("T")
R = TypeVar("R")
_worker = False


@dataclass(frozen=True)
class Folder:
    """What tasks read of a folder: the files and folders `names` in it, those that there are.

    others: files from elsewhere, which a task finds with `found`.
    """

    path: Path
    names: tuple[str, ...]
    others: tuple[Path, ...] = ()

    def contents(self) -> dict[str, bytes]:
        """Path in the folder -> bytes. Raises EdgeqError above MAX_FOLDER_BYTES."""
        found: dict[str, bytes] = {}
        for path in itertools.chain.from_iterable([top, *sorted(top.rglob("*"))] for top in map(self.path.joinpath, self.names)):
            if path.is_file():
                found[path.relative_to(self.path).as_posix()] = path.read_bytes()
        found |= {f"{OTHERS}/{path.name}": path.read_bytes() for path in self.others}
        size = sum(map(len, found.values()))
        if size > MAX_FOLDER_BYTES:
            what = f"{size:,} bytes would go to every worker; the limit is {MAX_FOLDER_BYTES:,}"
            raise EdgeqError(what, where=str(self.path), fix="run without --scheduler")
        return found


def found(folder: Path, other: Path) -> Path:
    """Where a task whose folder is `folder` reads one of the files from elsewhere: `other` itself on the machine that has it."""
    sent = folder / OTHERS / other.name
    return sent if sent.is_file() else other


def run(
    function: Callable[..., R], items: Sequence[T], *, ui: Ui, title: str, scheduler: str | None = None,
    workers: int | None = None, folders: Sequence[Folder] | None = None, seconds: float | None = None,
) -> list[R]:  # fmt: skip
    """[function(item) for item in items], in parallel, with a progress bar.

    function: of a module, pure, and its items and results can be pickled; it may run twice for an item whose worker was lost.
    folders: one an item; the function is then called as function(item, path) with the folder's path where it runs. Workers of a
    scheduler need no common file system: they get its contents, once each, and keep them in their cache by content.
    scheduler: tcp://host:port or tls://host:port of a Dask scheduler; its workers must have this edgeq, Python and numpy.
    workers: processes of a local cluster, at once. Without it there is one a core, but only where that pays: not for one item or
    on one core, nor where the items take less than CLUSTER_SECONDS in all, by `seconds` an item or by a trial of the first ones.

    Raises what the function raised for the first item that failed, as itself, and EdgeqError where a scheduler cannot be reached,
    where its workers do not fit, and where one item loses worker after worker.
    """
    if scheduler and workers:
        raise EdgeqError("a cluster has its own workers", where="--workers", fix="leave one of --scheduler and --workers out")
    if scheduler and not ADDRESS.fullmatch(scheduler):
        raise EdgeqError(f"{scheduler!r} is no address of a Dask scheduler", where="--scheduler", fix="tcp://HOST:PORT")
    if workers is not None and workers < 1:
        raise EdgeqError(f"{workers} workers were asked for", where="--workers", fix="1 or more")
    count = min(workers or cores(), len(items))
    with ui.progress(title, len(items)) as advance:
        results: list[R] = []
        if not scheduler and (count < 2 or not workers):
            pace, began = seconds, time.perf_counter()
            for i, item in enumerate(items):
                left = len(items) - i
                if count > 1 and left > 1 and pace is not None and pace * left > CLUSTER_SECONDS:
                    break
                start = time.perf_counter()
                results.append(function(item, folders[i].path) if folders else function(item))
                now = time.perf_counter()
                advance()
                if seconds is None and now > began + TRIAL_SECONDS and (i or now > start + CLUSTER_SECONDS):
                    pace = min(pace or math.inf, now - start)  # not the first one's, which also loads and imports
        done = len(results)
        if done < len(items):
            with _client(scheduler, min(count, len(items) - done), ui) as client:
                job = _Job(client, function, items, folders, ship=scheduler is not None, ui=ui)
                results += job.run(done, advance)
    return results


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def threads() -> int:
    """Threads for a library that a task calls: 1 in a worker, whose neighbours have the other cores, else 0 for one a core."""
    return 1 if _worker else 0


@cache
def fingerprint() -> str:
    """Of this edgeq's own files: two copies of one version number may differ."""
    roots = [Path(str(files(package))) for package in ("edgeq", "edgeq.hls", "edgeq.boards")]
    found = {f"{n}/{p.relative_to(root)}": p for n, root in enumerate(roots) for p in root.rglob("*") if p.is_file()}
    names = sorted(name for name in found if "__pycache__" not in name)
    return key(part for name in names for part in (name, found[name].read_bytes()))


@contextmanager
def _client(scheduler: str | None, count: int, ui: Ui) -> Iterator[Client]:
    """A client of the scheduler, after a check of its workers, or of a fresh local cluster of `count` processes."""
    import dask
    from distributed import Client, LocalCluster, Security

    settings = {
        "distributed.admin.large-graph-warning-threshold": "1GiB",
        "distributed.comm.timeouts.connect": CONNECT_SECONDS,
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    }
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False))
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except Exception as error:  # sockets, TLS and dask's own: all say that there is no such cluster
                fix = "start one: `dask scheduler`, then `dask worker ADDRESS` on each machine (docs/workers.md)"
                raise EdgeqError(f"no cluster answers: {error}", where=scheduler, fix=fix) from None
            _check_versions(client, scheduler)
        else:
            ui.say(f"  starting {count} processes")
            cluster = LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", protocol="tls", memory_limit=None,
                security=Security.temporary(), dashboard_address=None, silence_logs=logging.CRITICAL,
            )  # fmt: skip
            client = stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))
        yield client


def _check_versions(client: Client, address: str) -> None:
    """Raises EdgeqError where the scheduler or a worker has another Python x.y or another version of one of PACKAGES."""
    here = {name: _version(name) for name in PACKAGES}
    python = ".".join(map(str, sys.version_info[:2]))
    found = client.get_versions(packages=list(PACKAGES))
    sides = {"the scheduler": found["scheduler"]} | {
        f"worker {name}": found["workers"][name] for name in sorted(found["workers"])
    }
    for side, versions in sides.items():
        there = versions["packages"]
        unlike = [(name, there[name], wanted) for name, wanted in here.items() if there[name] != wanted]
        if not there["python"].startswith(f"{python}."):
            unlike.append(("Python", there["python"], python))
        if unlike:
            name, got, wanted = unlike[0]
            what = f"{side} has {name} {got or '(none)'}, this machine {wanted}"
            raise EdgeqError(what, where=address, fix="install the same edgeq and packages on every machine")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class _Job:
    """One call of `run` on a cluster."""

    def __init__(
        self,
        client: Client,
        function: Callable[..., Any],
        items: Sequence[Any],
        folders: Sequence[Folder] | None,
        ship: bool,
        ui: Ui,
    ) -> None:
        self.client, self.function, self.items, self.folders, self.ship, self.ui = client, function, items, folders, ship, ui
        self.pending: dict[int, Future] = {}
        self.finished: SimpleQueue[int] = SimpleQueue()
        self.shipped: dict[Folder, tuple[str, Any]] = {}
        self.known: set[str] = set()
        self.seen = 0.0
        """When there was a worker last."""

    def run(self, first: int, advance: Callable[[], None]) -> list[Any]:
        """The results of the items from `first` on."""
        results: dict[int, Any] = {}
        failed: tuple[int, BaseException] | None = None
        following, checked = first, 0.0
        self.seen = time.monotonic()
        while True:
            if time.monotonic() >= checked + POLL_SECONDS:
                ahead, checked = AHEAD * self._workers(), time.monotonic()
            while following < len(self.items) and len(self.pending) < ahead and not failed:
                self._submit(following)
                following += 1
            if not self.pending:
                break
            try:
                i = self.finished.get(timeout=POLL_SECONDS)
                future = self.pending.pop(i)
            except (Empty, KeyError):  # nothing yet, or the end of a cancelled one
                continue
            if (error := self._error(i, future)) is None:
                try:
                    results[i] = future.result(timeout=CONNECT_SECONDS)
                    advance()
                except TimeoutError:  # its worker was lost with the result: it is computed again
                    self._watch(i, future)
            elif failed is None or i < failed[0]:
                failed = i, error
                for later in [j for j in self.pending if j > i]:
                    self.pending.pop(later).cancel()
        if failed:
            raise failed[1]
        return [results[i] for i in range(first, len(self.items))]

    def _submit(self, i: int) -> None:
        name, folder = self._folder(self.folders[i]) if self.folders else ("", None)
        arguments = (self.function, self.items[i], name, folder, fingerprint())
        self._watch(i, self.client.submit(_work, *arguments, pure=False))

    def _watch(self, i: int, future: Future) -> None:
        self.pending[i] = future
        future.add_done_callback(lambda _: self.finished.put(i))

    def _folder(self, folder: Folder) -> tuple[str, Any]:
        """(name by content, future of the contents), or ("", path) where the workers are on this machine.

        The contents are a task's result: scattered data would be lost with the workers that hold it.
        """
        if not self.ship:
            return "", folder.path.resolve()
        if folder not in self.shipped:
            contents = folder.contents()
            name = key(part for pair in sorted(contents.items()) for part in pair)
            self.shipped[folder] = name, self.client.submit(_same, contents, key=f"edgeq-{name}")
        return self.shipped[folder]

    def _error(self, i: int, future: Future) -> BaseException | None:
        """What ended the task, None where it has a result."""
        from distributed import KilledWorker

        if future.status in ("finished", "pending", "lost"):  # lost with its worker: to be computed again
            return None
        if future.status != "error":
            return EdgeqError("the connection to the scheduler was lost", fix="look into its log, and run the command again")
        error = future.exception()
        if isinstance(error, KilledWorker):
            what = f"item {i} lost {error.allowed_failures + 1} workers, one after the other"
            return EdgeqError(what, where=error.last_worker.address, fix="see whether they run out of memory; fewer --workers")
        return error

    def _workers(self) -> int:
        """Workers of the cluster, of one thread each. Says which were lost; raises EdgeqError where none is there for long."""
        try:
            found: dict[str, int] = self.client.nthreads()
        except Exception as error:
            raise EdgeqError(
                f"the scheduler does not answer: {error}", fix="look into its log, and run the command again"
            ) from None
        crowded = [worker for worker, threads in sorted(found.items()) if threads > 1]
        if crowded:  # torch, Yosys and what engines say of their last run are one a process
            fix = "dask worker ADDRESS --nworkers auto --nthreads 1"
            raise EdgeqError(f"worker {crowded[0]} runs {found[crowded[0]]} tasks in one process", where="--scheduler", fix=fix)
        for worker in sorted(self.known - set(found)):
            self.ui.say(f"  worker {worker} was lost: its work is done again")
        self.known = set(found)
        if found:
            self.seen = time.monotonic()
        elif time.monotonic() > self.seen + PATIENCE_SECONDS:
            raise EdgeqError(f"the cluster has had no worker for {PATIENCE_SECONDS:.0f} seconds", fix="start workers")
        return max(len(found), 1)


def _same(contents: dict[str, bytes]) -> dict[str, bytes]:
    return contents


def _work(function: Callable[..., Any], item: Any, name: str, folder: Path | dict[str, bytes] | None, wanted: str) -> Any:
    """One item on a worker."""
    global _worker
    _worker = True
    if fingerprint() != wanted:
        fix = "install the same edgeq on every machine, and leave it as it is while a command runs"
        raise EdgeqError("this worker's edgeq has other files than the client's, though the version is the same", fix=fix)
    if folder is None:
        return function(item)
    if isinstance(folder, dict):
        contents = folder
        folder = cached("folders", name, lambda made: _write(contents, made))
    return function(item, folder)


def _write(contents: dict[str, bytes], folder: Path) -> None:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
