"""What a person sees while a command runs: a line a finished stage, a spinner meanwhile. stdout is left to results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text


class Ui:
    """messages: where progress and remarks go (stderr). quiet: print nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.messages = Console(stderr=True, quiet=quiet, highlight=False)

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """A stage of the work: a spinner while it runs, a line with its time when it is done."""
        start = time.perf_counter()
        with self.messages.status(Text(title)):
            yield
        self._done(title, start)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """A stage of `total` items: a bar while it runs; call what it gives after each item."""
        start = time.perf_counter()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.messages, transient=True, disable=not self.messages.is_terminal) as bar:
            task = bar.add_task(title, total=total)
            yield lambda: bar.advance(task)
        self._done(title, start)

    def say(self, message: str) -> None:
        self.messages.print(Text(message))

    def _done(self, title: str, start: float) -> None:
        self.messages.print(Text(f"  {title}  {time.perf_counter() - start:.1f} s", style="dim"))
