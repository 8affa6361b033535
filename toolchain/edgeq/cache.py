"""Built things, kept by their content in $EDGEQ_CACHE or ~/.cache/edgeq."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

_DONE = ".done"


def root() -> Path:
    """The cache folder; it may not exist yet."""
    return Path(os.environ.get("EDGEQ_CACHE") or Path.home() / ".cache" / "edgeq").resolve()


def key(parts: Iterable[str | bytes]) -> str:
    """SHA-256 over the parts, each with its length, so that no two lists of parts share one."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


def cached(kind: str, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `kind/name` of the cache; `build(folder)` fills it unless it is there already.

    Other processes that want the same folder wait. A build that fails leaves nothing.
    """
    folder = root() / kind / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                build(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / _DONE).touch()
    return folder
