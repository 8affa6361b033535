"""The stages: export, verify, synth, sim. Each reads a folder and writes another, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import version
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

from edgeq import fold_file, records, regression
from edgeq.beats import fitted
from edgeq.board import Board, board
from edgeq.bottleneck import bottleneck
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fold import MAX_LUT_LEVELS
from edgeq.folding import Target, built, plan
from edgeq.frontend import approximate, qonnx
from edgeq.graph import Graph
from edgeq.lower import onnx as lower_onnx
from edgeq.pages import build as build_page
from edgeq.pages.build import REPORT_FILE, TREES
from edgeq.passes import hardware_passes
from edgeq.ui import Ui

QONNX_FILE = "model.qonnx.onnx"
FLOAT_FILE = "model.float.onnx"
"""The source as it was given, where the QONNX file has integer operators in place of its float functions."""
INTEGER_FILE = "model.int.onnx"
VECTORS_FILE = "vectors.npz"
EXPORT_FILE = "export.json"
FOLD_FILE = "fold.toml"
EXPLORE_FILE = "explore.json"
MARKS = (EXPORT_FILE, REPORT_FILE, EXPLORE_FILE)
"""Of these, each folder that edgeq writes holds one."""
MAX_DATA_BYTES = 1 << 32


@contextmanager
def fresh_directory(path: Path, force: bool) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well; on an error nothing is left."""
    path = path.resolve()
    if path.exists() and not force:
        raise EdgeqError("the output directory exists", where=str(path), fix="choose another, or add --force to replace it")
    if path.exists() and not any((path / name).exists() for name in MARKS) and any_entry(path):
        raise EdgeqError("the output directory holds something that edgeq did not write", where=str(path), fix="choose another")
    absent = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise EdgeqError(f"the output directory cannot be made: {error.strerror}", where=str(path)) from None
    try:
        made = work / "new"
        made.mkdir()
        yield made
        replaced = path.exists()
        if replaced:
            path.rename(work / "old")
        try:
            made.rename(path)
        except OSError:
            if replaced:
                (work / "old").rename(path)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not path.exists():
            for parent in absent:
                parent.rmdir()


def any_entry(path: Path) -> bool:
    """True where `path` is a file or a folder that is not empty."""
    return not path.is_dir() or next(path.iterdir(), None) is not None


@dataclass(frozen=True)
class Data:
    """Frames that a user gives: x float32 [N, *source shape]; y labels [N], of pixels [N, H, W], or None."""

    x: np.ndarray
    y: np.ndarray | None


def load_data(path: Path, frames: int | None) -> Data:
    """The first `frames` of an npz file, None for all, with the array `x` (or one array only) and, if there are labels, `y`."""
    if not path.is_file():
        raise EdgeqError("there is no such file", where=str(path))
    if path.stat().st_size > MAX_DATA_BYTES:
        raise EdgeqError(f"the file is larger than {MAX_DATA_BYTES:,} bytes", where=str(path))
    try:
        with np.load(path, allow_pickle=False) as pack:
            name = "x" if "x" in pack.files else pack.files[0]
            x, y = pack[name][:frames], (pack["y"][:frames] if "y" in pack.files else None)
    except Exception as error:
        raise EdgeqError(
            f"not an npz file of arrays ({error})", where=str(path), fix="np.savez(FILE, x=images, y=labels)"
        ) from None
    if not np.issubdtype(x.dtype, np.number) or not np.all(np.isfinite(x)):
        raise EdgeqError(f"the array {name!r} has {x.dtype} or values that are not finite", where=str(path))
    return Data(x.astype(np.float32), y)


def export(
    source: str, out: Path, *, weights: Path | None, input_shape: tuple[int, ...] | None, input_type: str | None,
    samples: int, seed: int, data: Path | None, force: bool, ui: Ui,
) -> dict[str, Any]:  # fmt: skip
    """QONNX file or Brevitas module -> DIR with the QONNX file, the integer ONNX file, golden vectors, export.json."""
    with fresh_directory(out, force) as made:
        record: dict[str, Any] = {"source": source, "input_type": input_type, "seed": seed}
        if ":" in source and not Path(source).exists():
            from edgeq.frontend import brevitas

            with ui.stage("exporting the module to QONNX"):
                if input_shape is None:
                    raise EdgeqError("a module needs the shape of its input", where=source, fix="add --input-shape 1,3,32,32")
                module = brevitas.load_module(source, weights)
                brevitas.export_module(module, input_shape, made / QONNX_FILE)
            record |= {"module": source, "weights": str(weights.resolve()) if weights else None, "input_shape": list(input_shape)}
            model = qonnx.load_model(made / QONNX_FILE)
        else:
            if weights or input_shape:
                raise EdgeqError(
                    "--weights and --input-shape belong to a module", where=source, fix="give package.module:function"
                )
            model = qonnx.load_model(Path(source))
        with ui.stage("importing QONNX as integers"):
            graph, exact = qonnx.import_model(model, input_type)
            if exact is not model:
                (made / FLOAT_FILE).write_bytes(model.SerializeToString(deterministic=True))
            if exact is not model or not (made / QONNX_FILE).exists():
                (made / QONNX_FILE).write_bytes(exact.SerializeToString(deterministic=True))
        for message in graph.meta.get("messages", []):
            ui.say(message)
        with ui.stage("writing integer ONNX and golden vectors"):
            frames = frames_of(graph, samples, seed, data)
            codes, floats = frames.codes, frames.floats
            assert floats is not None
            approximations = approximate.measure(graph, codes)
            lower_onnx.save(graph, made / INTEGER_FILE)
            outputs = ReferenceEngine(graph).run(codes)
            np.savez_compressed(made / VECTORS_FILE, codes=codes, floats=floats, outputs=outputs)
        if approximations:
            with ui.stage("comparing with the float functions that were approximated"):
                record["approximations"] = approximations
                record["network_error"] = approximate.network_error(graph, model, floats, outputs)
        types = graph.types()
        record |= {
            "input": {"name": graph.input, "type": str(graph.input_type)},
            "output": {"name": graph.output, "type": str(types[graph.output])},
            "operators": [{"name": n.name, "op": n.op.kind(), "type": str(types[n.output])} for n in graph.nodes],
            "frames": len(codes),
            "sha256": {name: digest(made / name) for name in (QONNX_FILE, INTEGER_FILE)},
            "versions": versions("onnx", "onnxruntime", "qonnx", "numpy"),
            "command": records.command(
                "export", Path(source).name, weights=weights, input=input_type, data=data,
                input_shape=",".join(map(str, input_shape)) if input_shape else None, samples=samples, seed=seed, o="EXPORT",
            ),
        }  # fmt: skip
        write_json(made / EXPORT_FILE, record)
    return record


def verify(
    folder: Path, *, samples: int | None, seed: int, data: Path | None, ui: Ui, build: Path | None = None,
    scheduler: str | None = None, workers: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Every engine that applies, compared; {"engines": {name: {...}}}, kept in verify.json; with labels also "accuracy".

    build: of this export, whose page gets the result too.  scheduler, workers: as in edgeq.tasks.run.
    """
    record = read_record(folder)
    if build and read_report(build)["made"]["sha256"] != record["sha256"]:
        raise EdgeqError("this build is of another export", where=str(build), fix="run `edgeq synth` on this one")
    graph = lower_onnx.load(folder / INTEGER_FILE)
    frames = given_frames(folder, graph, samples, seed, data)
    result = regression.verify(
        folder, (INTEGER_FILE, QONNX_FILE), record, graph, frames, scheduler=scheduler, workers=workers, ui=ui
    )
    typed = records.command("verify", "EXPORT", data=data, samples=samples, seed=None if samples is None or data else seed)
    kept = {"command": typed, "sha256": record["sha256"]} | result
    records.write(folder, "verify", kept)
    if build:
        records.write(build, "verify", kept)
        build_page.write(build)
    return result


def synth(
    folder: Path,
    board: Board,
    out: Path,
    *,
    target: Target,
    estimate: str,
    force: bool,
    ui: Ui,
    folds_from: Path | None = None,
    bitstream: bool = False,
) -> dict[str, Any]:
    """DIR -> BUILD with the HLS project, the Verilog, the board design, the report and what `sim` needs; returns the report.

    folds_from: a fold file, whose folds are taken as they are; the others are chosen for the target. bitstream: by open tools.
    """
    if bitstream and not board.ecp5:
        raise EdgeqError(
            f"no open tools make a bitstream for {board.title}",
            where="--bitstream",
            fix="without it, and then `vivado -mode batch -source build.tcl` in BUILD/vivado; or --board ulx3s",
        )
    from edgeq.lower import board as lower_board
    from edgeq.lower import ecp5 as lower_ecp5
    from edgeq.lower import hls as lower_hls  # hls4ml takes seconds to import
    from edgeq.lower import rtl as lower_rtl
    from edgeq.report import report

    record = read_record(folder)
    with fresh_directory(out, force) as made:
        source = lower_onnx.load(folder / INTEGER_FILE)
        with ui.stage("preparing the graph for hardware"):
            graph = hardware_passes(source)
        with ui.stage("choosing how parallel each operator is"):
            if folds_from:
                target = replace(target, fixed=fold_file.read(folds_from, built(graph, target), target))
            chosen = plan(graph, board, target)
            graph, target, folds = chosen.graph, chosen.target, chosen.folds
            fold_file.write(graph, folds, chosen.known, made / FOLD_FILE)
        with ui.stage("writing Verilog"):
            wired, wired_folds = fitted(graph, folds)
            period = Fraction(int(board.clock_mhz * 1e6 // target.fps)) if target.narrow and target.fps else None
            design = lower_rtl.lower(wired, wired_folds, made / "rtl", period=period)
            for instance in design.instances.values():
                for name, text in instance.pictures.items():
                    (made / TREES).mkdir(exist_ok=True)
                    (made / TREES / name).write_text(text)
        with ui.stage("writing the HLS project"):
            lower_hls.lower(graph, folds, board, made / "hls")
        if board.vivado:
            with ui.stage("writing the board design and its driver"):
                lower_board.lower(graph, folds, board, made)
        if board.ecp5:
            with ui.stage("writing the board design and its driver"):
                lower_ecp5.lower(graph, folds, board, made)
        with ui.stage("estimating resources"):
            result = report(wired, wired_folds, board, design, made / "rtl", estimate)
            if board.vivado:
                cost, by = lower_board.shell_cost(graph, folds, board, made, estimate)
                result["shell"] = {**cost.asdict(), "source": by}
        refuse_over_budget(result, wired)
        refuse_below_rate(result, target.fps)
        if bitstream:
            with ui.stage("synthesis, place and route, bitstream"):
                placed = result["place_and_route"] = lower_ecp5.bitstream(graph, folds, board, made)
            result["clock_mhz"] = placed["clock_mhz"]
            result["frames_per_second"] = placed["clock_mhz"] * 1e6 / result["cycles_per_frame"]
            refuse_below_rate(result, target.fps)
        result["bottleneck"] = bottleneck(graph, folds, board, target, chosen.known)
        typed = records.command(
            "synth", "EXPORT", board=board.name, fps=records.number(target.fps), fold=folds_from, no_mst=not target.mst,
            no_share=not target.share, narrow=target.narrow, max_depth=target.max_depth,
            max_lut_levels=target.max_lut_levels if target.max_lut_levels != MAX_LUT_LEVELS else None,
            max_util=records.number(target.max_utilization), estimate=estimate if estimate != "auto" else None,
            bitstream=bitstream, o="BUILD",
        )  # fmt: skip
        result["made"] = {
            "source": Path(record["source"]).name,
            "commands": [record["command"], typed],
            "max_utilization": target.max_utilization,
            "board_design": (made / "driver").is_dir(),
            "sha256": record["sha256"],
            "versions": record["versions"] | versions("hls4ml", "pyosys"),
        }
        write_json(made / REPORT_FILE, result)
        verified = records.read(folder, "verify")
        if verified and verified["sha256"] == record["sha256"]:
            records.write(made, "verify", verified)
        build_page.write(made)
        for name in (INTEGER_FILE, VECTORS_FILE):
            shutil.copyfile(folder / name, made / name)
        if (made / "driver").is_dir():
            shutil.copyfile(folder / VECTORS_FILE, made / "driver" / VECTORS_FILE)
    return result


def explore(
    folder: Path, boards: list[Board], out: Path | None, *, budgets: Sequence[float], rates: Sequence[float],
    scheduler: str | None, workers: int | None, force: bool, ui: Ui,
) -> dict[str, Any]:  # fmt: skip
    """DIR -> what each target gives on each board; OUT, where asked for, gets it as explore.json and explore.html."""
    from edgeq import explore as sweep
    from edgeq.pages import explore as explore_page

    record = read_record(folder)
    with fresh_directory(out, force) if out else nullcontext() as made:
        found = sweep.explore(
            folder / INTEGER_FILE, boards, budgets=budgets, rates=rates, scheduler=scheduler, workers=workers, ui=ui
        )
        result = {"source": Path(record["source"]).name, "sha256": record["sha256"]} | found
        if made:
            write_json(made / EXPLORE_FILE, result)
            explore_page.write(made, result, boards)
    return result


def refuse_below_rate(result: dict[str, Any], fps: float | None) -> None:
    """Raises EdgeqError where the exact schedule, at the clock that there is, gives fewer frames a second than were asked for."""
    if fps and result["cycles_per_frame"] > result["clock_mhz"] * 1e6 // fps:  # as `choose` rounds
        raise EdgeqError(
            f"{result['cycles_per_frame']:,} cycles a frame at {result['clock_mhz']:g} MHz are "
            f"{result['frames_per_second']:,.0f} frames a second",
            where=f"--fps {fps:,.0f}",
            fix="ask for more, so that the folds have some to spare, or be content with less",
        )


def refuse_over_budget(result: dict[str, Any], graph: Graph) -> None:
    """Raises EdgeqError where the report says that the network does not fit its board."""
    shell = result.get("shell", {})
    over = [name for name, most in result["budget"].items() if result["total"][name] + shell.get(name, 0) > most]
    if over:
        largest = max(result["operators"], key=lambda row: row[over[0]])
        beside = f", and its shell {shell[over[0]]:,}" if over[0] in shell else ""
        raise EdgeqError(
            f"by the estimate the network needs {result['total'][over[0]]:,} {over[0]} of {result['budget'][over[0]]:,}{beside}; "
            f"this operator {largest[over[0]]:,}",
            where=graph.source_of(largest["name"]),
            fix="a smaller --max-util",
        )
    if result["carry8"]["used"] > result["carry8"]["budget"]:
        raise EdgeqError(
            f"unrolled binary layers need {result['carry8']['used']:,} CARRY8 of {result['carry8']['budget']:,}",
            where=result["board"],
            fix="a smaller --max-util",
        )


def sim(
    build: Path, *, samples: int | None, seed: int, engine: str, stalls: int | None, trace: Path | None, ui: Ui,
    data: Path | None = None, scheduler: str | None = None, workers: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """BUILD compiled and run; {"engines": {"hls": {...}, "rtl": {...}}}. engine: "hls", "rtl", "both" of these, or "board"."""
    options: dict[str, Any] = {"stalls": stalls, "trace": trace, "data": data, "scheduler": scheduler, "workers": workers}
    return regress([build], samples=samples, seed=seed, engine=engine, ui=ui, **options)["builds"][str(build)]


def regress(
    builds: Sequence[Path], *, samples: int | None, seed: int, data: Path | None, engine: str, stalls: int | None,
    trace: Path | None, scheduler: str | None, workers: int | None, ui: Ui,
) -> dict[str, Any]:  # fmt: skip
    """`sim` of several builds at once: {"builds": {folder: {"engines": ...}}}.

    stalls: seed of random pauses.  trace: waveform to write.  scheduler, workers: as in edgeq.tasks.run.
    """
    if (engine == "hls" and (trace or stalls is not None)) or (engine == "board" and trace):
        raise EdgeqError("stalls and traces belong to the Verilog", where=f"--engine {engine}", fix="--engine rtl")
    if trace and (scheduler or workers or len(builds) > 1):
        raise EdgeqError("a trace is that of one simulation", where="--trace", fix="one build, no --scheduler and no --workers")
    jobs = []
    for build in builds:
        report = read_report(build)
        graph = lower_onnx.load(build / INTEGER_FILE)
        if samples is None or data:
            given = given_frames(build, graph, samples, seed, data)
            frames = regression.Frames(given.codes, labels=given.labels)
        else:  # codes that no float gives too
            require_some(samples)
            frames = regression.Frames(graph.input_type.random(np.random.default_rng(seed), samples))
        beat, cycles, latency = report["input"]["pixels_per_beat"], report["cycles_per_frame"], report["frame_latency_cycles"]
        jobs.append(regression.Build(build, graph, frames, beat, cycles, latency))
    names = ("hls", "rtl") if engine == "both" else (engine,)
    found = regression.simulate(
        jobs, INTEGER_FILE, names, stalls=stalls, trace=trace, scheduler=scheduler, workers=workers, ui=ui
    )
    for build, result in zip(builds, found, strict=True):
        keep_runs(build, result["engines"], stalls, samples=samples, data=data, seed=None if samples is None or data else seed)
    return {"builds": {str(build): result for build, result in zip(builds, found, strict=True)}}


def keep_runs(build: Path, engines: dict[str, dict[str, Any]], stalls: int | None, **options: Any) -> None:
    """In the build's sim.json, in place of those of the same engine, with or without stalls; and on its page."""
    runs = (records.read(build, "sim") or {"runs": []})["runs"]
    for name, found in engines.items():
        stalled = stalls if name != "hls" else None
        typed = records.command("sim", "BUILD", engine=name, stalls=stalled, **options)
        runs = [run for run in runs if (run["engine"], run["stalls"] is None) != (name, stalled is None)]
        runs.append({"engine": name, "stalls": stalled, "command": typed} | found)
    records.write(build, "sim", {"runs": runs})
    build_page.write(build)


def prove(build: Path, *, ui: Ui) -> dict[str, Any]:
    """A proof for every unrolled binary layer of BUILD; {"layers": [{...}]}."""
    from edgeq import prove as proving

    report = read_report(build)
    if (made_for := board(report["board"])).family != "xcup":
        raise EdgeqError(
            f"the argument is about CARRY8, which {made_for.title} does not have",
            where=str(build),
            fix="a build of the same export for ultra96; tests show by SAT that the families' netlists are equal",
        )
    graph = hardware_passes(lower_onnx.load(build / INTEGER_FILE))

    def row(built: proving.Built) -> dict[str, Any]:
        start = time.perf_counter()
        with ui.stage(f"{built.name}: {len(built.layer.weight):,} channels of {built.layer.terms:,} terms"):
            proof = proving.prove(build / "rtl" / f"{built.module}.sv", built.module, built.layer, built.latency)
        return {"name": built.name, **proof.asdict(), "seconds": time.perf_counter() - start}

    with ThreadPoolExecutor(cpu_count()) as pool:  # Yosys reads one layer while another is proved
        rows = list(pool.map(row, proving.layers_of(graph, report["operators"], build / "rtl")))
    if not rows:
        raise EdgeqError("no binary layer is unrolled", where=str(build), fix="nothing to prove: `edgeq sim` covers the rest")
    records.write(build, "prove", {"command": records.command("prove", "BUILD"), "layers": rows})
    build_page.write(build)
    return {"layers": rows}


def given_frames(folder: Path, graph: Graph, samples: int | None, seed: int, data: Path | None) -> regression.Frames:
    """The exported vectors, or else the data file's frames (all, or the first `samples`), or `samples` random ones."""
    if samples is None and data is None:
        return regression.Frames(*read_vectors(folder, graph))
    return frames_of(graph, samples, seed, data)


def frames_of(graph: Graph, samples: int | None, seed: int, data: Path | None) -> regression.Frames:
    """The data file's first frames, None for all, or random legal codes and floats that stand for them."""
    if samples is not None:
        require_some(samples)
    if data:
        given = load_data(data, samples)
        return regression.Frames(*qonnx.given_inputs(graph, given.x), given.y)
    assert samples is not None
    return regression.Frames(*qonnx.random_inputs(graph, samples, seed))


def require_some(samples: int) -> None:
    if samples < 1:
        raise EdgeqError(f"{samples} samples were asked for", where="--samples", fix="1 or more")


def read_record(folder: Path) -> dict[str, Any]:
    """export.json of a folder that `edgeq export` wrote."""
    path = folder / EXPORT_FILE
    if not path.is_file():
        raise EdgeqError("this is not a folder that `edgeq export` wrote", where=str(folder), fix="run `edgeq export` first")
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise EdgeqError(f"not JSON ({error})", where=str(path), fix="run `edgeq export` again") from None
    if not isinstance(record, dict) or not {"source", "command", "sha256", "versions"} <= record.keys():
        raise EdgeqError("another version of edgeq wrote this folder", where=str(path), fix="run `edgeq export` again")
    return record


def read_vectors(folder: Path, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """(codes, floats) of the golden vectors. Raises EdgeqError unless their outputs are the graph's."""
    try:
        with np.load(folder / VECTORS_FILE, allow_pickle=False) as pack:
            codes, floats, outputs = pack["codes"], pack["floats"], pack["outputs"]
    except Exception as error:
        raise EdgeqError(f"the vectors cannot be read ({error})", where=str(folder / VECTORS_FILE), fix="export again") from None
    if not np.array_equal(ReferenceEngine(graph).run(codes), outputs):
        raise EdgeqError("the golden outputs are not this model's", where=str(folder / VECTORS_FILE), fix="export again")
    return codes, floats


def read_report(build: Path) -> dict[str, Any]:
    """report.json of a folder that `edgeq synth` wrote."""
    if not (build / REPORT_FILE).is_file():
        raise EdgeqError("this is not a folder that `edgeq synth` wrote", where=str(build), fix="run `edgeq synth` first")
    report: dict[str, Any] = json.loads((build / REPORT_FILE).read_text())
    if "made" not in report:
        raise EdgeqError("an older edgeq built this", where=str(build), fix="run `edgeq synth` again")
    return report


def versions(*packages: str) -> dict[str, str]:
    """Of edgeq and these packages."""
    return {name: version(name) for name in ("edgeq", *packages)}


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=False) + "\n")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
