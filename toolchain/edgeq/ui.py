"""What a person sees while a command runs: a line a finished stage, a spinner meanwhile. stdout is left to results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
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
        self.messages.print(Text(f"  {title}  {time.perf_counter() - start:.1f} s", style="dim"))

    def say(self, message: str) -> None:
        self.messages.print(Text(message))
