"""The pieces of the Verilog library that no operator's parity test sees alone, under random stalls on both sides."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import VerilatorEngine, lint
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node
from edgeq.lower import rtl
from edgeq.ops._rtl import Window
from edgeq.ops._window import patches
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d

STALLS = (None, 1, 2)
TOP = """\
module eq_top (
  input  logic clk_i, rst_ni, in_valid_i, out_ready_i,
  output logic in_ready_o, out_valid_o,
  input  logic [%d:0] in_data_i,
  output logic [%d:0] out_data_o
);
%s
endmodule
"""


def design(folder: Path, in_bits: int, out_bits: int, body: str, *library: str) -> Path:
    """A folder with a top of this body and the library modules that it needs."""
    names = [f"{stem}.sv" for stem in sorted(rtl.library(set(library)))]
    for name in names:
        (folder / name).write_bytes(files("edgeq.hls").joinpath("rtl", name).read_bytes())
    (folder / "eq_top.sv").write_text(TOP % (in_bits - 1, out_bits - 1, body))
    (folder / rtl.FILE_LIST).write_text("\n".join([*names, "eq_top.sv"]))
    return folder


@pytest.mark.parametrize("depth", [1, 2, 5, 65, 100])
def test_a_fifo_keeps_the_order_and_the_rate(depth: int, tmp_path: Path) -> None:
    ports = ".clk_i, .rst_ni, .in_valid_i, .in_ready_o, .in_data_i, .out_valid_o, .out_ready_i, .out_data_o"
    design(tmp_path, 24, 24, f"  eq_fifo #(.Width(24), .Depth({depth})) u_fifo ({ports});", "eq_fifo")
    t = IntType((3, 10, 20), 0, 255)
    engine = VerilatorEngine(tmp_path, t, t)
    x = t.random(np.random.default_rng(depth), 4)
    for stalls in STALLS:
        assert np.array_equal(engine.run(x, stalls=stalls), x)
        if stalls is None:
            assert engine.cycles_per_frame == t.pixels * (1 if depth > 1 else 2)


@pytest.mark.parametrize(("depth", "cycles"), [(5, 200), (4, 250)])
def test_an_output_fifo_needs_two_words_more_than_the_pipeline(depth: int, cycles: int, tmp_path: Path) -> None:
    """Three stages: a word a cycle with 5 credits, four words in five cycles with 4; never a word lost."""
    body = f"""\
  logic take;
  logic [2:0] valid_q;
  logic [23:0] data_q [3];
  assign take = in_valid_i && in_ready_o;
  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {{valid_q[1:0], take}} : '0;
    data_q[0] <= in_data_i;
    data_q[1] <= data_q[0];
    data_q[2] <= data_q[1];
  end
  eq_outfifo #(.Width(24), .Depth({depth})) u_out (
    .clk_i, .rst_ni, .credit_o(in_ready_o), .take_i(take), .push_i(valid_q[2]), .data_i(data_q[2]),
    .out_valid_o, .out_ready_i, .out_data_o
  );"""
    design(tmp_path, 24, 24, body, "eq_outfifo")
    t = IntType((3, 10, 20), 0, 255)
    engine = VerilatorEngine(tmp_path, t, t)
    x = t.random(np.random.default_rng(depth), 4)
    for stalls in STALLS:
        assert np.array_equal(engine.run(x, stalls=stalls), x)
        if stalls is None:
            assert engine.cycles_per_frame == cycles


WINDOWS = {
    "plain": ((3, 3), (1, 1), (0, 0, 0, 0), (1, 1)),
    "one pixel": ((1, 1), (2, 3), (0, 0, 0, 0), (1, 1)),
    "asymmetric padding": ((3, 2), (1, 2), (2, 0, 1, 1), (1, 1)),
    "dilation": ((2, 3), (2, 1), (1, 2, 0, 1), (3, 2)),
    "rows only": ((4, 1), (3, 1), (0, 1, 3, 0), (1, 1)),
    "more padding than pixels": ((2, 2), (3, 3), (5, 0, 0, 7), (2, 2)),
}


@pytest.mark.parametrize("size", [(7, 6), (6, 1), (1, 9)])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_and_their_masks(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    kernel, stride, pads, dilation = WINDOWS[name]
    x_type = IntType((2, *size), 0, 255)
    window = Window(x_type, kernel, stride, pads, dilation)
    if any(p <= (k - 1) * d for p, k, d in zip(window.padded, kernel, dilation, strict=True)):
        with pytest.raises(EdgeqError, match="eq_window: a window"):
            simulate_window(window, (1, 1), tmp_path)
        return
    x = x_type.random(np.random.default_rng(0), 3)
    found = patches(x, kernel, stride, pads, dilation, fill=0)
    real = patches(np.ones_like(x[:, :1]), kernel, stride, pads, dilation, fill=0)
    _, _, ho, wo = found.shape[:4]
    expected = np.concatenate([v.transpose(0, 4, 5, 1, 2, 3).reshape(len(x), -1, ho, wo) for v in (found, real)], axis=1)
    engine = simulate_window(window, (ho, wo), tmp_path)
    for stalls in STALLS:
        assert np.array_equal(engine.run(x, stalls=stalls), expected)
        if stalls is None:
            assert engine.cycles_per_frame == window.positions


def simulate_window(window: Window, size: tuple[int, int], folder: Path) -> VerilatorEngine:
    """Patches, then the mask as a byte a tap."""
    channels, taps = window.x.channels, window.kernel[0] * window.kernel[1]
    settings = ", ".join(f".{key}({value})" for key, value in window.params().items())
    out = taps * channels + taps
    body = f"""\
  logic credit, take, valid;
  logic [{8 * taps * channels - 1}:0] patch;
  logic [{taps - 1}:0] mask;
  logic [{8 * taps - 1}:0] bytes;
  for (genvar i = 0; i < {taps}; i++) assign bytes[8*i +: 8] = {{7'b0, mask[i]}};
  eq_window #(.PixBits({8 * channels}), {settings}) u_window (
    .clk_i, .rst_ni, .in_valid_i, .in_ready_o, .in_data_i, .credit_i(credit), .take_o(take), .valid_o(valid),
    .patch_o(patch), .mask_o(mask)
  );
  eq_outfifo #(.Width({8 * out}), .Depth(4)) u_out (
    .clk_i, .rst_ni, .credit_o(credit), .take_i(take), .push_i(valid), .data_i({{bytes, patch}}),
    .out_valid_o, .out_ready_i, .out_data_o
  );"""
    design(folder, 8 * channels, 8 * out, body, "eq_window", "eq_outfifo")
    return VerilatorEngine(folder, window.x, IntType((out, *size), 0, 255))


def test_branches_that_meet_again_neither_lose_nor_deadlock(tmp_path: Path) -> None:
    """Three readers of one stream, one of them behind a convolution that needs most of a frame before its first output."""
    weight = np.zeros((2, 2, 5, 5), np.int64)
    weight[0, 0, 0, 0] = weight[1, 1, 4, 4] = 1
    t = IntType((2, 6, 9), -8, 7)
    nodes = [
        Node('"; system("', Conv2d(weight, pads=(2, 2, 2, 2)), ("x",), "late"),
        Node("join", Concat(), ("late", "x"), "two"),
        Node("again", Concat(), ("x", "two"), "y"),
    ]
    graph = Graph("x", t, nodes, "y")
    types = graph.types()
    folds = {n.name: n.op.folds(*(types[i] for i in n.inputs))[-2 if n.op.arity == 1 else 0] for n in nodes}
    made = rtl.lower(graph, folds, tmp_path)
    assert 0 < len(made.fifos) <= 4 and lint(tmp_path) == ""
    assert "system" not in (tmp_path / "eq_top.sv").read_text()
    x = t.random(np.random.default_rng(0), 5)
    engine = VerilatorEngine(tmp_path, t, types["y"])
    for stalls in STALLS:
        assert np.array_equal(engine.run(x, stalls=stalls), ReferenceEngine(graph).run(x))


def test_a_layer_that_reads_32_bits_of_weights_a_cycle_from_block_ram(tmp_path: Path) -> None:
    """More than 64 words of weights, and 16-bit activations by 8-bit weights in groups."""
    rng = np.random.default_rng(0)
    op = Conv2d(rng.integers(-128, 128, (16, 6, 3, 3)), pads=(1, 1, 1, 1), groups=2)
    graph = Graph("x", IntType((12, 5, 4), -32768, 32767), [Node("op", op, ("x",), "y")], "y")
    x = graph.input_type.random(rng, 4)
    rtl.lower(graph, {"op": Fold("folded", 2, 2)}, tmp_path)
    engine = VerilatorEngine(tmp_path, graph.input_type, graph.types()["y"])
    assert np.array_equal(engine.run(x, stalls=3), ReferenceEngine(graph).run(x))


def test_a_design_is_written_the_same_twice(tmp_path: Path) -> None:
    t = IntType((3, 4, 4), 0, 15)
    graph = Graph("x", t, [Node("op", Conv2d(np.arange(27).reshape(1, 3, 3, 3)), ("x",), "y")], "y")
    for name in ("a", "b"):
        rtl.lower(graph, {"op": Fold("folded", 1, 3)}, tmp_path / name)
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert first == second


def test_a_design_that_stops_is_told_from_a_wrong_one(tmp_path: Path) -> None:
    body = "  assign in_ready_o = 1'b1;\n  assign out_valid_o = 1'b0;\n  assign out_data_o = in_data_i;"
    t = IntType((1,), 0, 255)
    with pytest.raises(EdgeqError, match="deadlock"):
        VerilatorEngine(design(tmp_path, 8, 8, body), t, t).run(t.random(np.random.default_rng(0), 3))


def test_an_illegal_parameter_stops_the_elaboration(tmp_path: Path) -> None:
    body = """\
  eq_upsample #(.FactorH(0)) u_bad (
    .clk_i, .rst_ni, .in_valid_i, .in_ready_o, .in_data_i, .out_valid_o, .out_ready_i, .out_data_o
  );"""
    t = IntType((1, 1, 4), 0, 255)
    with pytest.raises(EdgeqError, match="factors must be 1 or more, got 0"):
        VerilatorEngine(design(tmp_path, 8, 8, body, "eq_upsample"), t, t)


PROOF = """
import sys
from pyosys import libyosys
folder, width, top = sys.argv[1], int(sys.argv[2]), sys.argv[3]
design = libyosys.Design()
for name, define in (("plain", ""), ("lut6", "-DEQ_LUT6")):
    design.run_pass(f"read_verilog -sv {define} -defer {folder}/eq_popcount.sv {folder}/eq_equal_count.sv")
    design.run_pass(f"hierarchy -top {top} -chparam Width {width}")
    design.run_pass("proc; flatten; opt_clean")
    design.run_pass(f"rename -top {name}")
    design.run_pass(f"design -stash {name}")
design.run_pass("design -copy-from plain -as plain plain; design -copy-from lut6 -as lut6 lut6")
design.run_pass("miter -equiv -make_assert -flatten plain lut6 miter; hierarchy -top miter")
design.run_pass("sat -verify -prove-asserts -show-inputs miter")
"""


@pytest.mark.parametrize(
    ("top", "width"),
    [*(("eq_popcount", n) for n in (1, 2, 3, 5, 6, 7, 9, 12, 16)), *(("eq_equal_count", n) for n in range(1, 10))],
)
def test_both_bodies_of_the_popcounts_are_proved_equal(top: str, width: int) -> None:
    """A miter and a SAT solver. Wider ones are made of these: a count of six, and counts of columns."""
    folder = files("edgeq.hls").joinpath("rtl")
    done = subprocess.run([sys.executable, "-c", PROOF, str(folder), str(width), top], capture_output=True, text=True)
    assert done.returncode == 0 and "SUCCESS" in done.stdout + done.stderr, (done.stdout + done.stderr)[-2000:]
