"""What the benchmarks share: rates measured in turns, and one way to print them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

json_option = click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows to FILE as JSON.")


def mean_rates(engines: Mapping[str, tuple[Callable[[], object], int]], seconds: float, rounds: int = 10) -> dict[str, float]:
    """Frames a second of each engine, over all of its share of `seconds`.

    engines: name -> (one call, frames a call). They take turns, so that what else the machine does hits all of them alike; a
    best call would favour the engine of the shorter calls. The first call of each warms up and does not count.
    """
    for call, _ in engines.values():
        call()
    calls = dict.fromkeys(engines, 0)
    spent = dict.fromkeys(engines, 0.0)
    for _ in range(rounds):
        for name, (call, _) in engines.items():
            start = now = time.perf_counter()
            while now < start + seconds / rounds / len(engines):
                call()
                calls[name] += 1
                now = time.perf_counter()
            spent[name] += now - start
    return {name: calls[name] * frames / spent[name] for name, (_, frames) in engines.items()}


def show(title: str, rows: Sequence[dict[str, Any]], json_file: Path | None, **notes: Any) -> None:
    """The rows as a table, one column a key, and as {"title", **notes, "rows"} in `json_file`."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    console = Console()
    console.print(table)
    for name, value in notes.items():
        console.print(f"{name.replace('_', ' ')}: {_text(value)}")
    if json_file:
        json_file.write_text(json.dumps({"title": title, **notes, "rows": rows}, indent=2) + "\n")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1 else f"{value:.2g}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
