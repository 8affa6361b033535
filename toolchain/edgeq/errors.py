"""The one error a user sees: what is wrong, where, and how to fix it."""

from __future__ import annotations


class EdgeqError(Exception):
    """The input cannot be handled exactly. Exit code 1 of the command line.

    what: what is wrong, with the value received; where: the node, file or option; fix: what would work.
    """

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return "\n".join(parts)
