"""Tasks on processes: the order, the first error, lost workers, and clusters that do not fit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import dask
import numpy as np
import pytest
from clusters import cluster, scheduler, worker

from edgeq import tasks
from edgeq.errors import EdgeqError
from edgeq.ui import Ui

UI = Ui(quiet=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers that share no folder with this process."""
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as started:
        yield started


def late_first(item: int) -> tuple[int, int]:
    """The earlier the item, the later it is done."""
    time.sleep(0.02 * (12 - item))
    return item, os.getpid()


def fails(item: int) -> int:
    """Items 5 and 6 fail, and 6 long before 5."""
    time.sleep(0.5 if item == 5 else 0.01)
    if item in (5, 6):
        raise EdgeqError(f"item {item} is bad", where="here", fix="another one")
    return item


def dies_once(item: tuple[int, Path]) -> np.ndarray:
    """The process that takes item 7 first is killed, with the results that it still holds."""
    number, marker = item
    if number == 7 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return np.random.default_rng(number).integers(0, 1000, 20)


def dies(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def reads(item: str, folder: Path) -> tuple[str, str, bool]:
    return (folder / "deep" / item).read_text(), str(folder), (folder / "private").exists()


def process(item: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 4])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    found = tasks.run(late_first, range(12), ui=UI, title="order", workers=workers)
    assert [item for item, _ in found] == list(range(12))
    assert len({pid for _, pid in found}) == workers and (workers == 1) == (os.getpid() in {pid for _, pid in found})


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_items_error_is_the_one_that_is_raised(workers: int) -> None:
    with pytest.raises(EdgeqError) as caught:
        tasks.run(fails, range(9), ui=UI, title="error", workers=workers)
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("item 5 is bad", "here", "another one")


def test_a_killed_worker_loses_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "marker"
    found = tasks.run(dies_once, [(i, marker) for i in range(60)], ui=Ui(), title="killed", workers=2)
    assert marker.exists() and "was lost" in capsys.readouterr().err
    assert np.array_equal(found, [dies_once((i, marker)) for i in range(60)])


def test_an_item_that_kills_every_worker_is_given_up() -> None:
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), pytest.raises(EdgeqError, match="item 1 lost 2 workers"):
        tasks.run(dies, range(4), ui=UI, title="dies", workers=2)


def test_short_work_starts_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "cores", lambda: 2)
    assert tasks.run(process, range(50), ui=UI, title="short") == [os.getpid()] * 50
    assert tasks.run(process, range(50), ui=UI, title="short", seconds=0.01) == [os.getpid()] * 50
    assert tasks.run(process, [0], ui=UI, title="one", seconds=100, workers=4) == [os.getpid()]
    monkeypatch.setattr(tasks, "TRIAL_SECONDS", 0.1)
    monkeypatch.setattr(tasks, "CLUSTER_SECONDS", 0.5)
    here = [pid == os.getpid() for _, pid in tasks.run(late_first, range(12), ui=UI, title="tried")]
    assert here[0] and not here[-1] and here == sorted(here, reverse=True)


def test_dask_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, edgeq.cli, edgeq.flow, edgeq.tasks; sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_cluster_gets_the_contents_of_folders(address: str, tmp_path: Path) -> None:
    folders = []
    for n in range(2):
        made = tmp_path / str(n)
        (made / "deep").mkdir(parents=True)
        for name in ("a", "b"):
            (made / "deep" / name).write_text(f"{n}{name}")
        (made / "private").write_text("not named, so not sent")
        folders += [tasks.Folder(made, ("deep", "absent"))] * 2
    found = tasks.run(reads, ["a", "b"] * 2, ui=UI, title="folders", scheduler=address, folders=folders)
    assert [text for text, _, _ in found] == ["0a", "0b", "1a", "1b"]
    assert all("cache" in place and not private for _, place, private in found)
    local = tasks.run(reads, ["a", "b"] * 2, ui=UI, title="folders", workers=2, folders=folders)
    assert [(text, place) for text, place, _ in local] == [(f"{n}{x}", str(tmp_path / str(n))) for n in (0, 1) for x in "ab"]


def test_a_folder_that_is_too_large_is_refused(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(101))
    monkeypatch.setattr(tasks, "MAX_FOLDER_BYTES", 100)
    with pytest.raises(EdgeqError, match="101 bytes"):
        folders = [tasks.Folder(tmp_path, ("a",))] * 2
        tasks.run(reads, ["a"] * 2, ui=UI, title="folders", scheduler=address, folders=folders)


def test_a_worker_of_an_outside_cluster_that_is_killed(tmp_path: Path) -> None:
    with cluster(tmp_path, 2) as started:
        items = [(i, tmp_path / "marker") for i in range(30)]
        found = tasks.run(dies_once, items, ui=UI, title="killed", scheduler=started)
    assert (tmp_path / "marker").exists()
    assert np.array_equal(found, [dies_once(item) for item in items])


def test_workers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "version" / "edgeq-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeq\nVersion: 9.9\n")
    with scheduler(tmp_path / "s") as started:
        with (
            worker(started, tmp_path / "w1", PYTHONPATH=str(tmp_path / "version")),
            pytest.raises(EdgeqError, match=r"edgeq 9\.9"),
        ):
            tasks.run(process, [1, 2], ui=UI, title="versions", scheduler=started)
        package = tmp_path / "files" / "edgeq"
        shutil.copytree(str(files("edgeq")), package)
        for name in ("hls", "boards"):
            shutil.copytree(str(files(f"edgeq.{name}")), package / name)
        with (package / "graph.py").open("a") as file:
            file.write("# changed\n")
        with worker(started, tmp_path / "w2", PYTHONPATH=str(tmp_path / "files")), pytest.raises(EdgeqError, match="other files"):
            tasks.run(abs, [1, 2], ui=UI, title="versions", scheduler=started)
        with worker(started, tmp_path / "w3", threads=2), pytest.raises(EdgeqError, match="2 tasks in one process"):
            tasks.run(process, [1, 2], ui=UI, title="threads", scheduler=started)


@pytest.mark.parametrize("wrong", ["localhost:8786", "http://a:1", "tcp://a", "tcp://a:b", "inproc://a:1", "tcp://a:1/x"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(EdgeqError, match="no address"):
        tasks.run(process, [1, 2], ui=UI, title="address", scheduler=wrong)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_a_scheduler_that_does_not_answer(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CONNECT_SECONDS", 0.5)
    with pytest.raises(EdgeqError, match="no cluster answers"):
        tasks.run(process, [1, 2], ui=UI, title="address", scheduler=f"{kind}://127.0.0.1:9")


def test_options_that_exclude_each_other(address: str) -> None:
    with pytest.raises(EdgeqError, match="its own workers"):
        tasks.run(process, [1], ui=UI, title="both", scheduler=address, workers=2)
    with pytest.raises(EdgeqError, match="0 workers"):
        tasks.run(process, [1], ui=UI, title="none", workers=0)
