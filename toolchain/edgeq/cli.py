"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeq import __version__
from edgeq.errors import EdgeqError
from edgeq.fold import MAX_LUT_LEVELS, MAX_UTILIZATION
from edgeq.hardware import RESOURCES
from edgeq.ui import Ui

DIRECTORY = click.Path(path_type=Path)
EXIT_USER, EXIT_BUG = 1, 3
PAGE = "as a page, with a drawing of the network: {}"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, everything else on stderr.")
force_option = click.option("--force", is_flag=True, help="Replace the output directory if it exists.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of random input.")
samples_option = click.option(
    "--samples", type=int, help="Fresh random frames instead of the exported vectors; with --data, its first ones."
)
data_option = click.option(
    "--data", type=DIRECTORY, help="npz file with frames `x` and, if there are, labels `y`, of frames or of pixels; -1 is none."
)
scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Run on the workers of this Dask scheduler, tcp://HOST:PORT or tls://HOST:PORT."
)
workers_option = click.option(
    "--workers", type=click.IntRange(1), help="Processes on this machine.  [default: one a core, where the work is long enough]"
)


class Shape(click.ParamType):
    """1,3,32,32 as a tuple."""

    name = "N,C,H,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return tuple(int(v) for v in value.split(",")) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a shape such as 1,3,32,32", param, ctx)


class Numbers(click.ParamType):
    """3,4,5 as a tuple; empty for none."""

    name = "N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return tuple(sorted({int(v) for v in value.split(",") if v})) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 4,5,8", param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeq")
def cli() -> None:
    """Quantized neural networks on FPGAs and edge devices: the same integers everywhere."""


@cli.command()
@click.argument("source")
@click.option("-o", "--out", type=DIRECTORY, required=True, help="Folder to write.")
@click.option("--weights", type=DIRECTORY, help="state_dict file of a module (loaded with weights_only).")
@click.option("--input-shape", type=Shape(), help="Shape of a module's input, with the batch of 1.")
@click.option(
    "--input", "input_type", help="Exact type of the graph's input: uint8/255, int16/1024 (default: the first quantizer's)."
)
@click.option("--samples", default=100, show_default=True, help="Golden vectors to write.")
@data_option
@seed_option
@force_option
@json_option
def export(source: str, out: Path, as_json: bool, **options: Any) -> None:
    """Turn SOURCE into an integer-only ONNX graph.

    SOURCE is a QONNX file, or package.module:function or file.py:function that returns a Brevitas module.
    """
    from edgeq import flow

    record = flow.export(source, out, ui=Ui(as_json), **options)
    if as_json:
        click.echo(json.dumps(record))
        return
    table = Table("operator", "op", "output", title=f"{out / flow.INTEGER_FILE}: integers from {record['input']['type']}")
    for row in record["operators"]:
        table.add_row(*(Text(row[k]) for k in ("name", "op", "type")))
    stdout().print(table)
    print_approximations(record)


@cli.command()
@click.argument("folder", type=DIRECTORY)
@samples_option
@data_option
@seed_option
@click.option("--build", type=DIRECTORY, help="A build of this export, whose report.html gets the result too.")
@workers_option
@scheduler_option
@json_option
def verify(folder: Path, as_json: bool, **options: Any) -> None:
    """Compare every engine that applies on the export in FOLDER: PyTorch, QONNX, reference, ONNX Runtime."""
    from edgeq import flow

    finish(flow.verify(folder, ui=Ui(as_json), **options), as_json)


@cli.command()
@click.argument("folder", type=DIRECTORY)
@click.option("--board", "board_name", required=True, help="Board, see `edgeq boards`.")
@click.option("-o", "--out", type=DIRECTORY, required=True, help="Folder to write.")
@click.option(
    "--fps", type=click.FloatRange(0, min_open=True), help="Frames a second to reach, as cheaply as possible; else the fastest."
)
@click.option("--fold", "folds_from", type=DIRECTORY, metavar="FILE", help="Folds to build: BUILD/fold.toml, edited.")
@click.option("--mst/--no-mst", default=True, show_default=True, help="Unrolled binary layers along a minimum spanning tree.")
@click.option(
    "--share/--no-share",
    default=True,
    show_default=True,
    help="Share sums between its channels: fewer LUTs, but `prove` may leave large layers open.",
)
@click.option(
    "--narrow/--no-narrow",
    default=None,
    help="Beats of the streams carry some channels of a pixel, not all (default: where the network does not fit else).",
)
@click.option("--max-depth", type=click.IntRange(1), help="Of that tree: less latency, more LUTs.")
@click.option(
    "--max-lut-levels",
    type=click.IntRange(2),
    default=MAX_LUT_LEVELS,
    show_default=True,
    help="Between two registers of an unrolled binary layer.",
)
@click.option(
    "--max-util",
    "max_utilization",
    type=click.FloatRange(0.01, 1),
    default=MAX_UTILIZATION,
    show_default=True,
    help="Share of the board.",
)
@click.option("--max-dsp", type=click.IntRange(0), help="DSPs at most; 0: no multipliers, shifts and additions instead.")
@click.option(
    "--estimate",
    type=click.Choice(["auto", "yosys", "model"]),
    default="auto",
    show_default=True,
    help="Source of the LUT counts.",
)
@click.option("--bitstream", is_flag=True, help="Make it, with Yosys and nextpnr (needs edgeq[ecp5]): boards with an ECP5.")
@force_option
@json_option
def synth(
    folder: Path, board_name: str, out: Path, as_json: bool, folds_from: Path | None, estimate: str, force: bool,
    bitstream: bool, **wanted: Any,
) -> None:  # fmt: skip
    """Build the export in FOLDER for a board: HLS project, Verilog, Vivado project, driver, report.

    Each operator is made as parallel as --fps needs, or as --max-util allows.
    """
    from edgeq import flow
    from edgeq.board import board
    from edgeq.folding import Target

    result = flow.synth(
        folder, board(board_name), out, target=Target(**wanted), folds_from=folds_from, estimate=estimate, force=force,
        ui=Ui(as_json), bitstream=bitstream,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_report(result)
        click.echo(PAGE.format(out / flow.build_page.PAGE_FILE))


@cli.command()
@click.argument("folder", type=DIRECTORY)
@click.option(
    "--board", "board_names", multiple=True, required=True, help="Board, see `edgeq boards`; several times for several."
)
@click.option(
    "--max-util",
    "budgets",
    type=click.FloatRange(0.01, 1),
    multiple=True,
    help="Share of the board to try (default 0.02 to 0.9).",
)
@click.option("--fps", "rates", type=click.FloatRange(0, min_open=True), multiple=True, help="Rate to try, frames a second.")
@workers_option
@scheduler_option
@click.option("-o", "--out", type=DIRECTORY, help="Folder to write: explore.html, explore.json.")
@force_option
@json_option
def explore(folder: Path, board_names: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Sweep rate against budget for the export in FOLDER: what each target gives, and the command that builds it.

    By the exact schedule and our resource model, as `edgeq synth --estimate model` counts.
    """
    from edgeq import flow
    from edgeq.board import board

    result = flow.explore(folder, [board(name) for name in dict.fromkeys(board_names)], ui=Ui(as_json), **options)
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_points(result)


@cli.command()
@click.argument("source")
@click.option("--weights", type=DIRECTORY, help="state_dict file of the module (loaded with weights_only).")
@click.option("--data", type=DIRECTORY, required=True, help="npz file with images `x`, as the module takes them, and labels `y`.")
@click.option(
    "--input", "input_format", default="ap_fixed<8,?>", show_default=True, metavar="FORMAT", help="Of the input: ap_ufixed<8,0>."
)
@click.option("--board", "board_name", required=True, help="Board, see `edgeq boards`.")
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames a second to reach; else what 8 bits can.")
@click.option(
    "--max-util",
    "max_utilization",
    type=click.FloatRange(0.01, 1),
    default=MAX_UTILIZATION,
    show_default=True,
    help="Share of the board.",
)
@click.option("--luts", type=click.IntRange(1), help="LUTs at most.")
@click.option("--max-dsp", type=click.IntRange(0), help="DSPs at most.")
@click.option(
    "--max-loss",
    type=click.FloatRange(0),
    metavar="NATS",
    help="The cheapest network that loses so much more than 8 bits do; else the most accurate one.",
)
@click.option("--weights-bits", type=Numbers(), default="3,4,5,6,8", show_default=True, help="Word lengths of weights to try.")
@click.option("--features-bits", type=Numbers(), default="4,5,6,8", show_default=True, help="Word lengths of features to try.")
@click.option("--k", type=Numbers(), default="1,2,3", show_default=True, help="K of K-hot weights to try.")
@click.option("--calibrate", type=click.IntRange(1), default=200, show_default=True, help="Images that set binary points.")
@click.option("--measure", type=click.IntRange(1), default=500, show_default=True, help="Images to measure on; the rest test.")
@click.option("--against", type=Numbers(), default="", metavar="N,...", help="Uniform word lengths to search against.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of torch; with others, last bits differ.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write the formats to.")
@json_option
def search(
    source: str, weights: Path | None, data: Path, input_format: str, board_name: str, out: Path | None, calibrate: int,
    measure: int, against: tuple[int, ...], threads: int, as_json: bool, weights_bits: tuple[int, ...],
    features_bits: tuple[int, ...], k: tuple[int, ...], **wanted: Any,
) -> None:  # fmt: skip
    """Find the word length of every layer of the float module SOURCE: how much each costs in accuracy and in hardware.

    SOURCE is package.module:function or file.py:function that returns a plain torch module; its code is run.
    """
    from edgeq import flow
    from edgeq.board import board
    from edgeq.frontend import brevitas

    ui, target = Ui(as_json), board(board_name)
    model = brevitas.load_module(source, weights)
    from edgeq.train import formats
    from edgeq.train import search as searching

    given = flow.load_data(data, None)
    result, layers = searching.search(
        model, searching.split(given.x, given.y, calibrate, measure), searching.Aim(target, **wanted),
        searching.Candidates(weights_bits, features_bits, k), input=formats.parse(input_format), against=against,
        threads=threads, ui=ui,
    )  # fmt: skip
    if out:
        formats.write(layers, out, f"edgeq search for {target.name}: {result['network']['accuracy']:.2%}")
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_search(result)


@cli.command()
@click.argument("builds", type=DIRECTORY, nargs=-1, required=True, metavar="BUILD...")
@samples_option
@data_option
@seed_option
@workers_option
@scheduler_option
@click.option(
    "--engine",
    type=click.Choice(["rtl", "hls", "both", "board"]),
    default="both",
    show_default=True,
    help="board: the Verilog in its AXI shell, behind the driver (needs edgeq[board]).",
)
@click.option("--stalls", type=int, metavar="SEED", help="Stall both streams of the Verilog at random; no cycle counts then.")
@click.option("--trace", type=DIRECTORY, help="Write the waves of the Verilog: FILE.vcd or FILE.fst.")
@json_option
def sim(builds: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Compile and run the HLS C++ and the Verilog, or the whole board, in each BUILD and compare them exactly."""
    from edgeq import flow

    if len(builds) == 1:
        finish(flow.sim(builds[0], ui=Ui(as_json), **options), as_json)
    else:
        finish(flow.regress(builds, ui=Ui(as_json), **options), as_json)


@cli.command()
@click.argument("build", type=DIRECTORY)
@json_option
def prove(build: Path, as_json: bool) -> None:
    """Prove that each unrolled binary layer of BUILD, as its Verilog is synthesized, equals its weights for all inputs.

    The claim is about each layer's own module; window, FIFO and fused operator around it are what `edgeq sim` covers.
    """
    from edgeq import flow

    result = flow.prove(build, ui=Ui(as_json))
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_proofs(result)
    if not all(row["proved"] for row in result["layers"]):
        sys.exit(EXIT_BUG)


@cli.command()
@click.option("-o", "--out", type=DIRECTORY, default=Path("demo"), show_default=True, help="Folder to write.")
@click.option("--board", "board_name", default="ultra96", show_default=True)
@seed_option
@force_option
@json_option
def demo(out: Path, board_name: str, seed: int, force: bool, as_json: bool) -> None:
    """Train a small binary CNN on scikit-learn's digits, then export, verify, synth and sim it."""
    from edgeq import demo as demonstration
    from edgeq.board import board

    result = demonstration.run(out, board(board_name), seed=seed, force=force, ui=Ui(as_json))
    if not as_json:
        click.echo(f"\ntest accuracy {result['accuracy']:.2%} on {result['test_images']} images")
        print_report(result["report"])
        click.echo(PAGE.format(out / "build" / "report.html"))
    finish(result, as_json)


@cli.command()
@json_option
def boards(as_json: bool) -> None:
    """List the boards."""
    from edgeq.board import boards as known

    if as_json:
        click.echo(
            json.dumps([{"name": b.name, "aliases": b.aliases, "part": b.part, "budget": b.budget.asdict()} for b in known()])
        )
        return
    table = Table("name", "board", "part", "MHz", "LUT", "FF", "BRAM36", "URAM", "DSP")
    for b in known():
        table.add_row(
            " = ".join((b.name, *b.aliases)), b.title, b.part, *(f"{v:,.0f}" for v in (b.clock_mhz, *b.budget.astuple()))
        )
    stdout().print(table)


@cli.command()
@json_option
def ops(as_json: bool) -> None:
    """List the operators, as they describe themselves."""
    from edgeq.ops import registry

    rows = {kind: op.summary for kind, op in registry().items()}
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("operator", "support")
    for kind, summary in rows.items():
        table.add_row(kind, summary)
    stdout().print(table)


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check the tools that edgeq uses, and say what to do about each one that is missing."""
    from edgeq.doctor import examine

    tools = examine()
    if as_json:
        click.echo(json.dumps([vars(t) for t in tools]))
    else:
        table = Table("tool", "version", "needed for", "what to do")
        for t in tools:
            table.add_row(t.name, t.version or "missing", t.purpose, "" if t.version else t.remedy)
        stdout().print(table)
    if any(t.required and not t.version for t in tools):
        sys.exit(EXIT_USER)


def stdout() -> Console:
    """Results; wide enough for the tables where no terminal sets a width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def finish(result: dict[str, Any], as_json: bool) -> None:
    """Print engines compared, of one folder or of several; exit with our own fault where one differs."""
    several: dict[str, dict[str, Any]] = result.get("builds") or {"": result}
    if as_json:
        click.echo(json.dumps(result))
    for name, one in several.items() if not as_json else ():
        print_engines(one, name)
    if any(engine["mismatches"] for one in several.values() for engine in one["engines"].values()):
        sys.exit(EXIT_BUG)


def print_engines(result: dict[str, Any], title: str) -> None:
    columns = ("engine", "mismatches / values", "near ties", "frames", "frames/s", "latency", "cycles/frame")
    table = Table(*columns, title=Text(title) if title else None)
    for name, e in result["engines"].items():
        ties = f"{e['near_ties']} (at most {e['max_tie_distance']:.1e})" if e["near_ties"] else "0"
        cycles = [f"{e[key]:,}" if key in e else "" for key in ("latency_cycles", "cycles_per_frame")]
        table.add_row(
            name, f"{e['mismatches']:,} / {e['values']:,}", ties, f"{e['frames']:,}", f"{e['frames_per_second']:,.1f}", *cycles
        )
    console = stdout()
    console.print(table)
    for name, e in result["engines"].items():
        if e.get("first_difference"):
            console.print(Text(f"{name}: first difference {e['first_difference']}", style="bold red"))
    for name, e in result["engines"].items():
        if e.get("not_compared"):
            console.print(
                f"{name}: {e['not_compared']:,} values behind float functions that the graph approximates, not compared"
            )
    for name, accuracy in result.get("accuracy", {}).items() if isinstance(result.get("accuracy"), dict) else ():
        console.print(f"accuracy {name}: {accuracy:.2%}")


def print_approximations(record: dict[str, Any]) -> None:
    """Float functions that integer operators stand for, and what that changes."""
    rows = record.get("approximations", [])
    if not rows:
        return
    table = Table("float function", "integer operator", "RMS error", "largest", "of values up to", "over", title="approximations")
    for row in rows:
        errors = (f"{row[key]:.2g}" for key in ("rms", "largest", "reach"))
        table.add_row(Text(row["node"]), row["operator"], *errors, f"{row['over']}, {row['values']:,} values")
    if whole := record["network_error"]:
        errors = (f"{whole[key]:.2g}" for key in ("rms", "largest", "reach"))
        table.add_row("the network's outputs", "", *errors, f"{whole['over']}, {whole['values']:,} values")
    stdout().print(table)


def print_proofs(result: dict[str, Any]) -> None:
    table = Table("operator", "module", "channels x terms", "counters", "adders", "seconds", "for all inputs")
    for row in result["layers"]:
        verdict = "proved" if row["proved"] else "refuted" if row["refuted"] else "not proved"
        size = f"{row['channels']:,} x {row['terms']:,}"
        table.add_row(
            row["name"], row["module"], size, f"{row['counters']:,}", f"{row['adders']:,}", f"{row['seconds']:.1f}", verdict
        )
    console = stdout()
    console.print(table)
    console.print("claim: each module equals its weights, as synthesized (EQ_LUT6); not what is around it, see `edgeq sim`")
    for row in result["layers"]:
        if not row["proved"]:
            console.print(Text(f"{row['name']}: {row['reason']}", style="bold red"))
        if example := row.get("counterexample"):
            console.print(Text(f"{row['name']}: an input that shows it: {json.dumps(example)}", style="bold red"))


def print_points(result: dict[str, Any]) -> None:
    table = Table("", "board", "frames/s", "cycles", *(n.upper() for n in RESOURCES), "share", "slowest", "edgeq synth ...")
    for row in result["points"]:
        number = f"({row['point']})" if row["dominated"] else f"{row['point']}"
        amounts = (f"{row[n]:,g}" if n == "bram36" else f"{row[n]:,}" for n in RESOURCES)
        cells = [
            number, row["board"], f"{row['frames_per_second']:,.0f}", f"{row['cycles_per_frame']:,}", *amounts,
            f"{row['share']:.0%} {row['share_of'].upper()}", row["slowest"], _options(row),
        ]  # fmt: skip
        table.add_row(*map(Text, cells), style="dim" if row["dominated"] else None)
    console = stdout()
    console.print(table)
    console.print("(n): dominated, another point of the board is as fast within as little of it. Cycles and costs by our models.")
    for row in result["refused"]:
        console.print(Text(f"refused: {_options(row)}: {row['operator']}: {row['reason']}", style="yellow"))


def _options(row: dict[str, Any]) -> str:
    """Of a point's command, what is between its folders."""
    return row["command"].removeprefix("edgeq synth EXPORT ").removesuffix(" -o BUILD")


def print_search(result: dict[str, Any]) -> None:
    """The formats of each layer, the operators, and the network beside uniform ones."""
    console, network = stdout(), result["network"]
    table = Table("layer", "weights", "loss of it", "features", "loss of it")
    for name, row in network["layers"].items():
        cells: list[str] = []
        for tensor in ("weight", "features"):  # of the usual rounding and overflow nothing is said
            short = row[tensor]["format"].replace(",AP_RND_CONV,AP_SAT", "").replace(",?", "") if tensor in row else ""
            cells += [short, f"{row[tensor]['loss']:.2g}" if tensor in row else ""]
        table.add_row(Text(name), *map(Text, cells))
    console.print(table)
    table = Table("operator", "fold", "cycles", *(n.upper() for n in RESOURCES), title="as expected")
    for name, row in network["operators"].items():
        table.add_row(Text(name.partition(" ")[0]), Text(row["fold"]), f"{row['cycles']:,}", *_amounts(row))
    table.add_section()
    table.add_row("total", "", "", *_amounts(network["expected"]))
    console.print(table)
    table = Table("network", "accuracy", "loss", "expected", "cycles", *(n.upper() for n in RESOURCES))

    def add(name: str, row: dict[str, Any] | None) -> None:
        if row is None:
            table.add_row(name, "none")
            return
        built = [f"{row['cycles_per_frame']:,}", *_amounts(row["built"])] if row["built"] else ["too big"]
        table.add_row(name, f"{row['accuracy']:.2%}", f"{row['loss']:.4f}", f"{row['expected_loss']:.4f}", *built)

    table.add_row("float", f"{result['float']['accuracy']:.2%}", "0")
    add("searched", network)
    table.add_section()
    for row in result["uniform"]:
        add(f"{row['bits']} bits", row)
    for row in result["against"]:
        table.add_section()
        add(f"searched, no larger than {row['bits']} bits", row["same_cost"])
        add(f"searched, fewest LUTs at their loss ({row['bits']} bits)", row["same_loss"])
    console.print(table)
    images, limit = result["images"], result["limit"]
    console.print(
        f"accuracy: of {images['test']:,} images; loss: KL divergence from the float one, nats, of {images['measure']:,} others; "
        f"expected: losses of single tensors added up; resources by our model, of the network as built, without FIFOs between "
        f"operators, at {result['most_cycles_per_frame']:,} cycles a frame or less; limit "
        + ", ".join(f"{limit[n]:,.0f} {n.upper()}" for n in RESOURCES)
    )


def _amounts(row: dict[str, Any]) -> list[str]:
    return [f"{row[n]:,g}" if n == "bram36" else f"{row[n]:,}" for n in RESOURCES]


def print_report(result: dict[str, Any]) -> None:
    names = RESOURCES
    table = Table("operator", "op", "shape", "fold", "cycles", *(n.upper() for n in names), "source", "tree saves")
    for row in result["operators"]:
        notes = row.get("notes", {})
        what = "patch_cycles" if "direct_patch_cycles" in notes else "additions"
        now, direct = notes.get(what), notes.get(f"direct_{what}")
        saved = f"{1 - now / direct:.0%} of {what.split('_')[-1]}" if now and direct else ""
        cells = [
            row["name"],
            row["op"],
            row["shape"],
            row["fold"],
            f"{row['cycles']:,}",
            *(f"{row[n]:,g}" if n == "bram36" else f"{row[n]:,}" for n in names),
            row["source"],
        ]
        table.add_row(*map(Text, cells), saved)
    total, budget = result["total"], result["budget"]
    table.add_section()
    table.add_row(
        "total",
        "",
        "",
        "",
        f"{result['cycles_per_frame']:,}",
        *(f"{total[n]:,g}" if n == "bram36" else f"{total[n]:,}" for n in names),
        "",
        "",
    )
    if shell := result.get("shell"):
        amounts = (f"{shell[n]:,g}" if n == "bram36" else f"{shell[n]:,}" for n in names)
        table.add_row("AXI shell", "", "around it", "", "", *amounts, shell["source"], "")
    use = [f"{total[n] / budget[n]:.0%}" if budget[n] else "-" for n in names]
    table.add_row(f"use of {result['board']}", "", "", "", "", *use, "", "")
    console = stdout()
    console.print(table)
    print_trees(console, result)
    console.print(
        f"{result['cycles_per_frame']:,} cycles a frame: {result['frames_per_second']:,.0f} frames/s of the core at "
        f"{result['clock_mhz']:g} MHz, latency {result['latency_cycles']:,} (exact schedule; what feeds its "
        "streams is not in it; resources: yosys = Yosys counts, model = our formulas)"
    )
    if placed := result.get("place_and_route"):
        print_placed(console, placed)


def print_placed(console: Console, placed: dict[str, Any]) -> None:
    """What place and route found: facts, where the table above has estimates."""
    table = Table("place and route", "used", "of", "share")
    for name, used in placed["used"].items():
        most = placed["available"][name]
        table.add_row(name.upper(), f"{used:,}", f"{most:,}", f"{used / most:.1%}")
    console.print(table)
    console.print(
        f"{placed['bitstream']}: {placed['bytes']:,} bytes for {placed['clock_mhz']:g} MHz; the slowest path after routing "
        f"allows {placed['fmax_mhz']:.2f} MHz (seed {placed['seed']}; {'; '.join(placed['attempts'])})"
    )


TREE_COLUMNS = {
    "form": "form",
    "depth": "depth",
    "distance": "distance",
    "additions": "terms summed",
    "direct_additions": "of",
    "luts": "LUT",
    "direct_luts": "LUT direct (estimated)",
    "carries": "CARRY8",
    "latency": "latency",
}
"""Notes of an unrolled layer, and what their columns are called."""


def print_trees(console: Console, result: dict[str, Any]) -> None:
    """The unrolled binary layers, and what their spanning trees saved."""
    layers = [row for row in result["operators"] if "form" in row.get("notes", {})]
    if not layers:
        return
    table = Table("unrolled layer", *TREE_COLUMNS.values())
    for row in layers:
        values = [row["notes"][key] for key in TREE_COLUMNS]
        table.add_row(Text(row["name"]), *(v if isinstance(v, str) else f"{v:,}" for v in values))
    console.print(table)
    carry = result["carry8"]
    chains = f"CARRY8 of these layers: {carry['used']:,} of {carry['budget']:,}; " if carry["used"] else ""
    console.print(f"{chains}LUT6 by the generator's own count; drawings in trees/")


def main() -> None:
    """Entry point: 0 success, 1 the user's input, 2 usage, 3 our own fault."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(EXIT_USER)
    except EdgeqError as error:
        Console(stderr=True).print(Text(f"error: {error}", style="red"))
        sys.exit(EXIT_USER)
    except Exception:
        traceback.print_exc()
        Console(stderr=True).print(Text("this is a bug in edgeq, not in your input: please report the lines above", style="red"))
        sys.exit(EXIT_BUG)


if __name__ == "__main__":
    main()
