"""What was found about an export or a build, kept in its folder: verify.json, sim.json, prove.json."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeq.errors import EdgeqError


def command(verb: str, *arguments: str, **options: Any) -> str:
    """A command of edgeq as it is typed. Options that are None or False are left out; of a path its name alone stays, for a
    report is not to tell where on a machine it was made."""
    words = ["edgeq", verb, *arguments]
    for name, value in options.items():
        if value is None or value is False:
            continue
        words.append(f"{'-' if len(name) == 1 else '--'}{name.replace('_', '-')}")
        if value is not True:
            words.append(value.name if isinstance(value, Path) else str(value))
    return shlex.join(words)


def number(value: float | None) -> str | None:
    """As a person types it."""
    return None if value is None else f"{value:.12g}"


def write_text(path: Path, text: str) -> None:
    """The file, whole or as it was before."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write(folder: Path, kind: str, found: Mapping[str, Any]) -> None:
    """Keeps the result of `edgeq KIND` in the folder."""
    write_text(folder / f"{kind}.json", json.dumps(found, indent=2) + "\n")


def read(folder: Path, kind: str) -> dict[str, Any] | None:
    """What was kept, or None. Raises EdgeqError where the file is not JSON."""
    path = folder / f"{kind}.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise EdgeqError(f"not JSON ({error})", where=str(path), fix=f"run `edgeq {kind}` again, or remove the file") from None
