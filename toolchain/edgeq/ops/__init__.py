"""The operators, one file each. A new file with an `Op` subclass is registered by being here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from edgeq.graph import Op


def registry() -> dict[str, type[Op]]:
    """Every operator by its kind, in alphabetical order."""
    found: dict[str, type[Op]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("_"):  # what several operators share
            continue
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for _, cls in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(cls, Op) and not inspect.isabstract(cls) and cls.__module__ == loaded.__name__:
                found[cls.kind()] = cls
    return dict(sorted(found.items()))
