"""Formats as text, and a file of a network's formats: what `edgeq search` writes and `convert` takes back.

```toml
["conv1"]
weight = "KHot<8,?,k=2>"
features = "ap_ufixed<6,?,AP_RND_CONV,AP_SAT>"
```
A layer's key is its name in the traced graph; of weight, bias, features, slope and offset those that are left out are `Formats`'
own. A format is written as `str` gives it, with ? where the binary point is to be found from data; rounding and overflow may be
left out.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.records import write_text
from edgeq.train.codings import DenseShift, KHot, Ternary
from edgeq.train.convert import Formats
from edgeq.train.statsq import StatsQ

MAX_BYTES = 1 << 24
CODINGS: dict[str, type[FixedPoint]] = {kind.__name__: kind for kind in (KHot, DenseShift, Ternary, StatsQ)}
OPTIONS = {"KHot": "k", "StatsQ": "scale_bits"}
"""Fields of codings that are written as `name=number`."""
_FORM = re.compile(r"(\w+)<\s*(\d{1,3})\s*,\s*(\?|-?\d{1,3})\s*((?:,\s*[\w=]+\s*)*)>")


def parse(text: str) -> FixedPoint:
    """The format that is written so. Raises EdgeqError."""
    found = _FORM.fullmatch(text.strip())
    fix = "such as ap_fixed<8,?>, ap_ufixed<8,0,AP_RND,AP_SAT> or KHot<8,?,k=2>"
    if not found:
        raise EdgeqError(f"{text!r} is no format", fix=fix)
    name, bits, integer, rest = found.groups()
    words = [word.strip() for word in rest.split(",")[1:]]
    options: dict[str, Any] = {"bits": int(bits), "integer": None if integer == "?" else int(integer)}
    if name in ("ap_fixed", "ap_ufixed") and len(words) <= 2:
        options |= {"signed": name == "ap_fixed"} | dict(zip(("rounding", "overflow"), words, strict=False))
        return FixedPoint(**options)
    key = OPTIONS.get(name, "")
    values = [word.removeprefix(f"{key}=") for word in words if key and word.startswith(f"{key}=")]
    if name not in CODINGS or len(words) != len(values) or len(values) > 1 or not all(v.isdecimal() for v in values):
        raise EdgeqError(f"{text!r} is no format", fix=fix)
    if values:
        options[key] = int(values[0])
    return CODINGS[name](**options)


def write(layers: Mapping[str, Formats], path: Path, head: str = "") -> None:
    """Writes the formats of layers, where they are not `Formats`' own. head: a comment, one line."""
    text = [f"# {head}\n\n"] if head else []
    for name, formats in layers.items():
        kinds = {field.name: getattr(formats, field.name) for field in fields(Formats)}
        text += [f"[{json.dumps(name)}]\n"]
        text += [f'{key} = "{kind}"\n' for key, kind in kinds.items() if kind != getattr(Formats(), key)]
        text.append("\n")
    write_text(path, "".join(text))


def read(path: Path) -> dict[str, Formats]:
    """The formats in a file, for the argument `layers` of `convert`. Raises EdgeqError that names the layer."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise EdgeqError("there is no such file of a fair size", where=str(path), fix="take what `edgeq search -o FILE` writes")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EdgeqError(f"this is not TOML ({error})", where=str(path)) from None
    known = [field.name for field in fields(Formats)]
    found = {}
    for name, table in tables.items():
        where = f"{path}: [{name}]"
        if not isinstance(table, dict) or (unknown := sorted(set(table) - set(known))):
            what = f"unknown: {', '.join(unknown)}" if isinstance(table, dict) else f"not a table: {table!r}"
            raise EdgeqError(what, where=where, fix=f"known: {', '.join(known)}")
        try:
            found[name] = Formats(**{key: parse(str(value)) for key, value in table.items()})
        except EdgeqError as error:
            raise EdgeqError(error.what, where=where, fix=error.fix) from None
    return found
