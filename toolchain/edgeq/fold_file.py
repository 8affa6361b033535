"""The fold file: the choice of every operator's parallelism as TOML that a person can edit and give back."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.folding import Choice, Target
from edgeq.graph import Graph

MAX_BYTES = 1 << 24
SHAPE = ("mode", "pe", "simd", "block", "digits", "beat", "narrow")
SETTINGS = ("mst", "share", "max_lut_levels", "max_depth")
_HEAD = """\
# How parallel each operator is built, written by `edgeq synth`. Change it and give it back: edgeq synth ... --fold THIS_FILE
# An operator that is not in the file is chosen by edgeq. Below each that was chosen: other ways to build it, by our model.
# mode "unrolled": weights as logic, a patch a cycle. "folded": pe output channels x simd terms a cycle. "tree": the same along
# the spanning tree of a binary layer. "pixel": a pixel a cycle, no choice. beat: pixels a beat of the network's input.
# block: the few words of weights of a folded layer lie in block RAM, not in LUTs. digits: shifters in place of multipliers.
# narrow: beats of the streams carry simd channels of an input and pe of the output, not all.
# mst, share, max_lut_levels, max_depth may be set as well, as the options of `edgeq synth`.
"""


def write(graph: Graph, folds: dict[str, Fold], known: dict[str, list[Choice]], path: Path) -> None:
    """Writes the folds of all operators. known: of `edgeq.folding.ladders`, those folds among them."""
    text = [_HEAD]
    for node in graph.nodes:
        fold = folds[node.name]
        built = next(choice for choice in known[node.name] if choice.fold == fold)
        text.append(f"[{_quoted(node.name)}] # {node.op.kind()}: {_amounts(built)}\n")
        text += [f"{key} = {json.dumps(value)}\n" for key, value in _values(fold).items()]
        text += [f"#   {choice.fold}: {_amounts(choice)}\n" for choice in known[node.name] if choice.fold != fold]
        text.append("\n")
    path.write_text("".join(text), encoding="utf-8")


def read(path: Path, graph: Graph, target: Target) -> dict[str, Fold]:
    """The folds in the file, checked against what each operator can be; settings that it leaves out are the target's.

    Raises EdgeqError where the file is no such TOML, names an operator that the network lacks, or a fold that it cannot have.
    """
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise EdgeqError("there is no such file of a fair size", where=str(path), fix="take BUILD/fold.toml of `edgeq synth`")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EdgeqError(f"this is not TOML ({error})", where=str(path)) from None
    nodes, types, readers = {node.name: node for node in graph.nodes}, graph.types(), graph.consumers()[graph.input]
    found = {}
    for name, table in tables.items():
        where = f"{path}: [{name}]"
        if name not in nodes:
            raise EdgeqError("the network has no such operator", where=where, fix=f"one of: {', '.join(nodes)}")
        node = nodes[name]
        xs = [types[tensor] for tensor in node.inputs]
        legal = [*node.op.legal_folds(*xs), *node.op.narrow_folds(*xs), *(node.op.input_folds(*xs) if [node] == readers else [])]
        found[name] = _fold(table, legal, target, where)
    return found


def _fold(table: Any, legal: list[Fold], target: Target, where: str) -> Fold:
    """The fold that a table of the file describes."""
    unknown = sorted(set(table) - {*SHAPE, *SETTINGS}) if isinstance(table, dict) else [str(table)]
    if unknown:
        raise EdgeqError(f"unknown: {', '.join(unknown)}", where=where, fix=f"known: {', '.join((*SHAPE, *SETTINGS))}")
    mode = table.get("mode")
    alike = [fold for fold in legal if fold.mode == mode]
    if not alike:
        raise EdgeqError(
            f"mode {mode!r} is none of this operator's", where=where, fix=f"one of: {', '.join(sorted({f.mode for f in legal}))}"
        )
    shape = {key: table.get(key, getattr(alike[0], key)) for key in SHAPE[1:]}
    wanted = [(key, value, type(value)) for key, value in shape.items()]  # true is not 1
    match = [fold for fold in alike if [(key, own := getattr(fold, key), type(own)) for key in shape] == wanted]
    if not match:
        parts = [f"{key}: {', '.join(map(str, sorted({getattr(f, key) for f in alike})))}" for key in shape]
        raise EdgeqError(
            f"the operator cannot be built as {', '.join(f'{k} {v}' for k, v in shape.items())}",
            where=where,
            fix=f"divisors, not all combinations: {'; '.join(parts)}",
        )
    settings = {key: table.get(key, getattr(target, key)) for key in SETTINGS}
    for key in ("mst", "share"):
        if not isinstance(settings[key], bool):
            raise EdgeqError(f"{key} is {settings[key]!r}", where=where, fix="true or false")
    for key, least in (("max_lut_levels", 2), ("max_depth", 1)):
        value = settings[key]
        if value is not getattr(target, key) and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise EdgeqError(f"{key} is {value!r}", where=where, fix=f"a whole number from {least} up")
    return replace(match[0], **settings)


def _values(fold: Fold) -> dict[str, Any]:
    """What the file says of a fold, and no more than it takes to get it back."""
    values: dict[str, Any] = {"mode": fold.mode}
    if fold.mode != "pixel":
        values |= {"pe": fold.pe, "simd": fold.simd}
    if fold.mode == "unrolled":
        values |= {key: value for key in SETTINGS if (value := getattr(fold, key)) is not None}
    values |= {key: True for key in ("block", "digits", "narrow") if getattr(fold, key)}
    if fold.beat > 1:
        values["beat"] = fold.beat
    return values


def _amounts(choice: Choice) -> str:
    cost = choice.cost.asdict()
    used = [f"{cost[name]:,} {unit}" for name, unit in (("lut", "LUT"), ("bram36", "BRAM36"), ("dsp", "DSP")) if cost[name]]
    return ", ".join([f"{choice.cycles:,} cycles a frame", *used])


def _quoted(name: str) -> str:
    """A TOML basic string: as JSON's, but that DEL has to be escaped and no character is written as two."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
