"""BUILD/report.html: what is in report.json, and what `verify`, `sim` and `prove` found, for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeq import __version__, records
from edgeq.hardware import RESOURCES
from edgeq.pages import number, percent, render, short, trusted
from edgeq.pages.network import Row, layout

REPORT_FILE = "report.json"
PAGE_FILE = "report.html"
TREES = "trees"
"""The folder of a build with the drawings of its spanning trees."""
LABELS = {"lut": "LUT", "ff": "FF", "bram36": "BRAM36", "uram": "URAM", "dsp": "DSP"}
NAME_LENGTH = 37
"""Characters of a name that a box of the picture has room for."""
NO_RUN: dict[str, Any] = {"missing": "", "note": "", "cycles_per_frame": None, "latency_cycles": None, "first_difference": None}
"""What a row of the verification table has of these before a run says otherwise."""
KINDS = (
    ("simulated", "counted in a simulation of the Verilog"),
    ("model", "by our cycle model and our resource formulas"),
    ("estimated", "LUT, FF, BRAM and DSP without place and route: Yosys' counts where the row says yosys, else our formulas"),
    ("place and route", "from nextpnr, with its timing"),
    ("measured", "on data, in software"),
)


def write(build: Path) -> None:
    """Makes the page of a build anew from what is in its folder."""
    records.write_text(build / PAGE_FILE, page(build))


def page(build: Path) -> str:
    """The page of a build as HTML."""
    report = json.loads((build / REPORT_FILE).read_text())
    verified, simulated, proved = (records.read(build, kind) for kind in ("verify", "sim", "prove"))
    operators, fifos = _rows(report)
    types = {name: tensor(t) for name, t in report["graph"]["tensors"].items()}
    placed = report.get("place_and_route")
    versions = report["made"]["versions"] | (placed["versions"] if placed else {})
    beat = report["input"]["pixels_per_beat"]
    ends = report["graph"]["input"], report["graph"]["output"]
    rows = [
        {"op": "input", "label": "a pixel a beat" if beat == 1 else f"{beat} pixels a beat", "number": 0, "slowest": False},
        *operators,
        {"op": "output", "label": "", "number": 0, "slowest": False},
    ]
    shown = [name for name in RESOURCES if report["budget"][name] or report["total"][name]]
    checks = [*_verified(verified), *_simulated(simulated, report)]
    return render(
        "build.html.j2",
        version=__version__,
        title=report["made"]["source"],
        report=report,
        figures=_figures(report, checks),
        slowest=_slowest(report, operators),
        operators=operators,
        fifos=fifos,
        fifo_total={name: sum(f[name] for f in fifos) for name in shown},
        types=types,
        rows=rows,
        pieces=layout([Row((), ends[0]), *(Row(tuple(r["inputs"]), r["output"]) for r in operators), Row((ends[1],), None)]),
        resources=shown,
        labels=LABELS,
        most={name: max(row[name] for row in operators) for name in ("cycles", *shown)},
        budget=[_use(name, report) for name in shown if report["budget"][name]],
        placed=placed,
        max_utilization=report["made"]["max_utilization"],
        trees=[row for row in operators if "form" in row.get("notes", {})],
        drawings=list(_drawings(build, operators)),
        checks=checks,
        accuracy=verified and verified.get("accuracy"),
        provable=any("form" in row.get("notes", {}) for row in operators),
        proofs=proved and proved["layers"],
        commands=[*report["made"]["commands"], *_commands(verified, simulated, proved)],
        facts=[*_identity(build), *((f"SHA-256 of {k}", v) for k, v in report["made"]["sha256"].items()), *versions.items()],
        kinds=KINDS,
    )


def _rows(report: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the operators and those of the FIFOs, with what the page says about each besides."""
    operators = [row for row in report["operators"] if row["op"] != "Fifo"]
    peak = max(row["cycles"] for row in operators)
    for at, row in enumerate(operators, 1):
        row |= {
            "number": at,
            "anchor": f"op{at}",
            "slowest": row["cycles"] == peak,
            "busy": row["cycles"] / peak,
            "label": shortened(row["source_node"] or row["name"], NAME_LENGTH),
            "title": f"{row['name']} {row['source_node']}: {row['fold']}, {row['cycles']:,} cycles, {row['lut']:,} LUT",
        }
    fifos = [row for row in report["operators"] if row["op"] == "Fifo"]
    makers = {row["output"]: f"{row['number']} {row['op']}" for row in operators} | {report["graph"]["input"]: "input"}
    readers = {row["name"]: row for row in operators}
    for fifo in fifos:
        reader = readers[fifo["reader"]]
        fifo |= {"row": reader["number"], "source": makers[fifo["tensor"]], "target": f"{reader['number']} {reader['op']}"}
    return operators, fifos


def tensor(t: Mapping[str, Any]) -> dict[str, str]:
    """A tensor of report.json in a few characters, and in words."""
    space = "\N{NO-BREAK SPACE}"
    shape, bits = "×".join(map(str, t["shape"])), f"{t['bits']}{space}bit"
    binary = (t["lo"], t["hi"], t["step"]) == (-1, 1, 2)
    values = f"{{−1,{space}+1}}" if binary else f"[{number(t['lo'])},{space}{number(t['hi'])}]"
    step = f" in steps of {t['step']}" if t["step"] > 1 else ""
    return {"text": f"{shape} {values} {bits}", "title": f"shape {shape}, values {values}{step}, {bits} a value"}


def shortened(text: str, length: int) -> str:
    """The text, its middle left out where it has more characters."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"


def _figures(report: Mapping[str, Any], checks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What stands at the top: each a name, a value with its unit, a note and the kinds of its numbers."""
    run = [row for row in checks if not row["missing"]]
    values, wrong = (sum(row[key] for row in run) for key in ("values", "mismatches"))
    counted = next((row for row in run if row["latency_cycles"]), None)
    used = max((n for n in RESOURCES if report["budget"][n]), key=lambda n: report["total"][n] / report["budget"][n])
    cycles, clock = report["cycles_per_frame"], report["clock_mhz"]
    note = "of the slowest operator"
    delay = counted["latency_cycles"] if counted else report["latency_cycles"]
    latency = [f"{delay / clock:.3g}", "µs", f"{delay:,} cycles"]
    if counted:
        found = counted["cycles_per_frame"]
        note = "the simulation counts the same" if found == cycles else f"the simulation counts {found:,}"
    exact = ["\N{EN DASH}", "", "not verified yet"]
    if run:
        exact = [f"{wrong:,}", f"of {short(values)}", f"in {len(run)} engine runs"]
    use = f"{number(report['total'][used])} of {number(report['budget'][used])}"
    clocked = ["model", *(["place and route"] if "place_and_route" in report else [])]
    rows: list[tuple[str, list[str], list[str]]] = [
        ("Frames a second", [short(report["frames_per_second"]), "", f"at {clock:g} MHz, if its streams keep up"], clocked),
        ("Cycles a frame", [f"{cycles:,}", "", note], ["model"]),
        ("Latency of a frame", latency, ["simulated" if counted else "model"]),
        ("Largest use of the board", [percent(report["total"][used], report["budget"][used]), LABELS[used], use], ["estimated"]),
        ("Values that differ", exact, []),
    ]
    verdict = "bad" if wrong else "good" if run else ""
    return [
        {"name": name, "value": value, "unit": unit, "note": note, "kinds": kinds, "verdict": verdict if "differ" in name else ""}
        for name, (value, unit, note), kinds in rows
    ]


def _slowest(report: Mapping[str, Any], operators: list[dict[str, Any]]) -> dict[str, Any]:
    found = report["bottleneck"]
    row = next(row for row in operators if row["name"] == found["name"])
    others = [r["cycles"] for r in operators if r is not row]
    ties = others.count(row["cycles"])
    if ties:
        following = f"{ties} other operator{'s take' if ties > 1 else ' takes'} just as long."
    elif others:
        after = next(r for r in operators if r is not row and r["cycles"] == max(others))
        following = f"The next is {after['op']} {after['name']} with {after['cycles']:,}."
    else:
        following = ""
    if report["cycles_per_frame"] > row["cycles"]:
        following += f" Waiting for one another, all take {report['cycles_per_frame']:,}."
    return {"name": row["name"], "op": row["op"], "cycles": row["cycles"], "next": following, "advice": found["advice"]}


def _use(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """One bar of the board: 1,000 units are all that it has."""
    most, at, parts = report["budget"][name], 0.0, []
    for row in report["operators"]:
        width = 1000 * row[name] / most
        if width:
            title = f"{row['name']}: {number(row[name])} {LABELS[name]}, {percent(row[name], most)}"
            parts.append({"x": f"{at:.2f}", "width": f"{width:.2f}", "title": title})
        at += width
    return {"label": LABELS[name], "used": report["total"][name], "most": most, "parts": parts}


def _drawings(build: Path, operators: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for path in sorted((build / TREES).glob("*.svg")):
        index = int(path.name[1:].split("_")[0])
        row = operators[index]
        yield {"title": f"Tree of {row['number']} {row['op']} ({path.name})", "svg": trusted(path.read_text())}


def _verified(found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if not found:
        return [NO_RUN | {"engine": "onnxruntime, qonnx", "missing": "edgeq verify EXPORT --build BUILD"}]
    return [NO_RUN | {"engine": name} | result for name, result in found["engines"].items() if name != "reference"]


def _simulated(found: Mapping[str, Any] | None, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    runs = found["runs"] if found else []
    rows = [NO_RUN | {"note": "with random stalls" if run["stalls"] is not None else ""} | run for run in runs]
    wanted = ("hls", "rtl", "board") if report["made"]["board_design"] else ("hls", "rtl")
    done = {run["engine"] for run in runs}
    missing = [{"engine": name, "missing": f"edgeq sim BUILD --engine {name}"} for name in wanted if name not in done]
    return rows + [NO_RUN | row for row in missing]


def _identity(build: Path) -> list[tuple[str, str]]:
    """The hash of the board design, which its register map gives on the chip."""
    path = build / "driver" / "interface.json"
    return [("identity of the board design", json.loads(path.read_text())["hash"])] if path.exists() else []


def _commands(*found: Mapping[str, Any] | None) -> list[str]:
    """The commands of these records, once each."""
    runs = [run for record in found if record for run in record.get("runs", [record])]
    return list(dict.fromkeys(run["command"] for run in runs))
