"""The unrolled jet tagger (16-64-32-32-5, 6-bit weights and activations, 16-bit input) by edgeq and by da4ml.

LUT, registers and LUT levels by the same Yosys, or with --no-yosys LUT as each generator counts its own; cycles of latency;
processor seconds from the network to Verilog; samples a second of the Verilog in one harness, compiled by the same Verilator with
the same flags. Both designs take a sample a cycle, without DSP. da4ml (0.6) rounds half up only, so both compute that; edgeq also
as the model says, half to even.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, show
from da4ml.codegen import RTLModel
from da4ml.trace import FixedVariableArrayInput, comb_trace

from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import FILE_LIST, TOP, VerilatorEngine
from edgeq.engines.yosys import estimate, lut_levels
from edgeq.fold import Fold
from edgeq.frontend import qonnx
from edgeq.graph import Graph
from edgeq.hardware import Cost
from edgeq.lower import rtl
from edgeq.ops._mac import Mac
from edgeq.ops.requantize import Requantize
from edgeq.passes import hardware_passes

YOSYS_SECONDS = 4 * 3600
NAME = "da4ml_net"
WRAPPER = """\
module {top} (
  input  logic clk_i, rst_ni,
  input  logic in_valid_i,
  output logic in_ready_o,
  input  logic [{inputs}-1:0] in_data_i,
  output logic out_valid_o,
  input  logic out_ready_i,
  output logic [{outputs}*{bits}-1:0] out_data_o
);
  logic [{outputs}*{wide}-1:0] y;
  logic [{latency}-1:0] valid_q;
  logic unused;
  assign unused = out_ready_i;
  assign in_ready_o = 1'b1;
  assign out_valid_o = valid_q[{latency}-1];
  always_ff @(posedge clk_i) valid_q <= rst_ni ? {latency}'({{valid_q, in_valid_i}}) : '0;
  {name}_wrapper u_net (.clk(clk_i), .model_inp(in_data_i), .model_out(y));
  for (genvar c = 0; c < {outputs}; c++) begin : gen_channel
    assign out_data_o[c*{bits} +: {bits}] = {bits}'(signed'(y[c*{wide} +: {wide}]));
  end
endmodule
"""
"""da4ml's pipeline, which cannot stall, as a stream: for the harness alone, not counted."""


@dataclass
class Measured:
    """One design. y: its outputs, int64 [N, outputs]."""

    name: str
    cost: Cost
    levels: int | None
    latency: int
    to_verilog: float
    y: np.ndarray
    expected: np.ndarray
    engine: VerilatorEngine
    rates: list[float]

    def row(self) -> dict[str, Any]:
        return {
            "design": self.name, "LUT": int(self.cost.lut), "FF": int(self.cost.ff), "DSP": int(self.cost.dsp),
            "LUT levels": self.levels if self.levels is not None else "", "latency": self.latency,
            "to Verilog s": self.to_verilog,
            "simulated samples/s": sum(self.rates) / len(self.rates),
            "differing": f"{np.count_nonzero(self.y != self.expected):,}/{self.expected.size:,}",
        }  # fmt: skip


def half_up(graph: Graph) -> Graph:
    """The same network with ties rounded up: floor of the sum and a half."""

    def rounded(op: Any) -> Any:
        if not isinstance(op, Requantize) or op.rounding == "floor" or op.shift == 0:
            return op
        return replace(op, rounding="floor", offset=op.offset + (1 << op.shift - 1))

    return replace(graph, nodes=[replace(node, op=rounded(node.op)) for node in graph.nodes])


def seconds_of(make: Callable[[], Any]) -> tuple[Any, float]:
    """A result, and the processor time of this process that it took."""
    before = os.times()
    made = make()
    after = os.times()
    return made, after.user + after.system - before.user - before.system


def edgeq(graph: Graph, name: str, levels: int, x: np.ndarray, folder: Path, yosys: bool) -> Measured:
    """Fully unrolled."""

    def make() -> tuple[Graph, rtl.Design]:
        built = hardware_passes(graph)
        types = built.types()
        folds = {n.name: replace(n.op.folds(types[n.inputs[0]])[-1], max_lut_levels=levels) for n in built.nodes}
        assert {fold.mode for fold in folds.values()} <= {"unrolled", Fold().mode}
        return built, rtl.lower(built, folds, folder)

    (built, design), took = seconds_of(make)
    files = [folder / line for line in (folder / FILE_LIST).read_text().split()]
    engine = VerilatorEngine(folder, built.input_type, built.types()[built.output])
    y = engine.run(x)
    latency = int(engine.output_cycles[0] - engine.input_cycles[0])
    cost, most = Cost(lut=sum(instance.notes.get("luts", 0) for instance in design.instances.values())), None
    if yosys:
        cost, most = (how(files, TOP, {}, cwd=folder, seconds=YOSYS_SECONDS) for how in (estimate, lut_levels))
    return Measured(name, cost, most, latency, took, y, ReferenceEngine(graph).run(x), engine, [])


def da4ml(graph: Graph, name: str, cutoff: float, x: np.ndarray, folder: Path, yosys: bool) -> Measured:
    """Traced with the weights, offsets and shifts of the integer graph. cutoff: additions between two registers."""
    size, types = graph.input_type.channels, graph.types()

    def make() -> tuple[RTLModel, Any]:
        given = FixedVariableArrayInput((size,))
        v = given.quantize(*(np.full(size, n) for n in (1, graph.input_type.width - 1, 0)))
        for node in graph.nodes:
            op = node.op
            if isinstance(op, Mac):
                v = v @ op.weight.T.astype(float)
            elif isinstance(op, Requantize) and op.rounding == "floor" and op.lo == 0 and op.hi & (op.hi + 1) == 0:
                scaled = (v * op.multiplier.astype(float) + op.offset.astype(float)) * 2.0**-op.shift
                widths = (np.full(len(v), n) for n in (0, op.hi.bit_length(), 0))
                v = scaled.relu().quantize(*widths, "SAT", "TRN")
            else:
                raise click.ClickException(f"{node.name}, a {op.kind()}, has no form in da4ml here")
        traced = comb_trace(given, v)
        model = RTLModel(traced, NAME, folder, flavor="verilog", latency_cutoff=cutoff)
        model.write()
        return model, traced

    (model, traced), took = seconds_of(make)
    expected = ReferenceEngine(graph).run(x)
    if np.any(traced.predict(x.astype(float)) != expected):
        raise click.ClickException("da4ml's trace computes other integers")
    sources = [f for f in sorted(folder.rglob("*.v")) if f.name != "lookup_table.v"]
    latency = len(model._pipe.solutions) + 1  # a register before each stage, and one behind the last
    out = types[graph.output]
    bits = max(int(np.ceil(np.log2(max(-q.min, q.max + q.step)))) + (q.min < 0) for q in model._pipe.out_qint)
    text = WRAPPER.format(
        top=TOP, inputs=size * graph.input_type.width, outputs=out.channels, bits=out.width, wide=bits, latency=latency, name=NAME
    )
    (folder / f"{TOP}.sv").write_text(text)
    (folder / FILE_LIST).write_text("".join(f"{f.relative_to(folder)}\n" for f in sources) + f"{TOP}.sv\n")
    engine = VerilatorEngine(folder, graph.input_type, out)
    y = engine.run(x)
    bare = [f for f in sources if f.name != f"{NAME}_wrapper.v"]
    cost, most = Cost(lut=traced.cost), None
    if yosys:
        cost, most = (how(bare, NAME, {}, seconds=YOSYS_SECONDS) for how in (estimate, lut_levels))
    return Measured(name, cost, most, latency, took, y, expected, engine, [])


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--input", "spec", default="int16/1024", show_default=True, help="Type of the model's input.")
@click.option("--levels", default=9, show_default=True, help="LUT levels between edgeq's registers.")
@click.option("--cutoffs", default="3", show_default=True, help="Additions between da4ml's registers, one design each.")
@click.option(
    "--peer/--no-peer", default=True, show_default=True, help="Build da4ml's too: Yosys reads each for 10 minutes, twice."
)
@click.option("--yosys/--no-yosys", default=True, show_default=True, help="Count LUTs, or take each generator's own count.")
@click.option("--samples", default=20000, show_default=True, help="Samples that each simulation computes.")
@click.option("--repeat", default=5, show_default=True, type=click.IntRange(1), help="Simulations of each, taking turns.")
@click.option("--seed", default=0, show_default=True, help="Of the samples.")
@json_option
def main(
    model: Path, spec: str, levels: int, cutoffs: str, peer: bool, yosys: bool, samples: int, repeat: int, seed: int,
    json_file: Path | None,
) -> None:  # fmt: skip
    """Build MODEL, the QONNX file of a dense network, by both, and compare every output with the reference."""
    graph = qonnx.import_qonnx(model, spec)
    up = half_up(graph)
    x = graph.input_type.random(np.random.default_rng(seed), samples)
    products = sum(
        np.count_nonzero(n.op.weight.astype(int) & np.abs(n.op.weight) - 1) for n in graph.nodes if isinstance(n.op, Mac)
    )
    with tempfile.TemporaryDirectory() as scratch:
        made = [edgeq(up, "edgeq", levels, x, Path(scratch, "up"), yosys)]
        made.append(edgeq(graph, "edgeq, half to even", levels, x, Path(scratch, "even"), yosys))
        if peer:
            made += [da4ml(up, f"da4ml, cutoff {c}", float(c), x, Path(scratch, f"da4ml{c}"), yosys) for c in cutoffs.split(",")]
        for _ in range(repeat):
            for design in made:
                design.engine.run(x)
                design.rates.append(design.engine.frames_per_second)
        show(
            f"{model.stem}, unrolled: edgeq and da4ml 0.6",
            [design.row() for design in made],
            json_file,
            samples=samples,
            seed=seed,
            kind="LUT, FF, DSP and levels estimated (Yosys synth_xilinx xcup), latency and samples/s simulated, seconds measured",
            seconds="of processor time, once, from empty caches",
            hls4ml=f"would instantiate {products:,} constant multiplications by neither 0 nor a power of two",
        )
    if any(np.any(design.y != design.expected) for design in made):
        raise click.ClickException("the outputs differ")


if __name__ == "__main__":
    main()
