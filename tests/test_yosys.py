"""The Yosys engine: what it counts, what it keeps, what it refuses, what it proves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from edgeq.engines import yosys
from edgeq.errors import EdgeqError
from edgeq.hardware import Cost, memory_cost, memory_image
from edgeq.unrolled import unrolled_sv

DELAY = """\
module delay #(parameter int unsigned Width = 1) (
  input logic clk_i, input logic [Width-1:0] d_i, e_i, output logic [Width-1:0] free_o, held_o
);
  logic [Width-1:0] a, b, c;
  (* shreg_extract = "no" *) logic [Width-1:0] x, y, z;
  always_ff @(posedge clk_i) begin
    {a, b, c, free_o} <= {d_i, a, b, c};
    {x, y, z, held_o} <= {e_i, x, y, z};
  end
endmodule
"""
ROM = """\
module rom #(parameter File = "") (input logic clk_i, input logic [9:0] a_i, output logic [17:0] d_o);
  (* rom_style = "block" *) logic [17:0] mem [1024];
  initial $readmemh(File, mem);
  always_ff @(posedge clk_i) d_o <= mem[a_i];
endmodule
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "cache"))


def source(folder: Path, name: str, text: str) -> list[Path]:
    path = folder / f"{name}.sv"
    path.write_text(text)
    return [path]


def test_parameters_shift_registers_and_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = source(tmp_path, "delay", DELAY)
    with ThreadPoolExecutor(2) as pool:  # one builds, the other waits for it
        costs = list(pool.map(lambda _: yosys.estimate(files, "delay", {"Width": 3}), range(2)))
    assert costs == [Cost(lut=3, ff=12)] * 2  # one SRL16 a bit, and four registers a bit
    monkeypatch.setattr(yosys, "run", lambda *_, **__: pytest.fail("the result was not kept"))
    assert yosys.estimate(files, "delay", {"Width": 3}) == costs[0]
    with pytest.raises(pytest.fail.Exception):
        yosys.estimate(files, "delay", {"Width": 4})
    files[0].write_text(DELAY.replace("held_o}", "held_o }"))
    with pytest.raises(pytest.fail.Exception):
        yosys.estimate(files, "delay", {"Width": 3})


def test_a_memory_image_is_found_and_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = source(tmp_path, "rom", ROM)
    words = np.random.default_rng(0).integers(0, 1 << 18, 1024)
    (tmp_path / "image.mem").write_text("".join(f"{w:05x}\n" for w in words))
    assert yosys.estimate(files, "rom", {"File": "image.mem"}, cwd=tmp_path).bram36 == 0.5
    (tmp_path / "image.mem").write_text("".join(f"{w ^ 1:05x}\n" for w in words))
    monkeypatch.setattr(yosys, "run", lambda *_, **__: pytest.fail("the old image was used"))
    with pytest.raises(pytest.fail.Exception):
        yosys.estimate(files, "rom", {"File": "image.mem"}, cwd=tmp_path)


def test_errors_name_the_module_and_leave_nothing(tmp_path: Path) -> None:
    files = source(tmp_path, "bad", "module bad (input logic a_i; endmodule\n")
    with pytest.raises(EdgeqError, match="syntax error") as caught:
        yosys.estimate(files, "bad", {})
    assert caught.value.where == "bad"
    with pytest.raises(EdgeqError, match="more than"):
        yosys.estimate(source(tmp_path, "delay", DELAY), "delay", {"Width": 3}, seconds=0)
    assert not list((tmp_path / "cache").rglob("stat.json"))


def test_a_cell_without_a_count_is_an_error() -> None:
    assert yosys.cost_of({"LUT6": 2, "RAM32M16": 1, "FDRE": 3, "RAMB18E2": 1, "RAMB36E2": 2, "DSP48E2": 1}, "m") == Cost(
        10, 3, 2.5, 0, 1
    )
    with pytest.raises(EdgeqError, match=r"\$mul"):
        yosys.cost_of({"LUT6": 1, "$mul": 1}, "m")


def test_yosys_counts_what_the_generator_counts(tmp_path: Path) -> None:
    """So that the LUT of a layer too large for Yosys are known too."""
    rng = np.random.default_rng(0)
    unrolled = unrolled_sv("layer", 2 * rng.integers(0, 2, (6, 40)) - 1)
    cost = yosys.estimate(source(tmp_path, "layer", unrolled.text), "layer", {})
    assert abs(cost.lut - unrolled.luts) <= 1  # one inverter of the common lowest bit
    assert cost.ff == unrolled.ffs


@pytest.mark.parametrize(("width", "depth", "block"), [(90, 2, 0), (90, 4, 0), (60, 36, 0), (60, 36, 1), (100, 4, 1)])
def test_yosys_counts_small_roms_as_the_model_does(tmp_path: Path, width: int, depth: int, block: int) -> None:
    """Of few words many bits are alike; within a tenth, as random bits may be alike or simpler by chance."""
    words = np.random.default_rng(1).integers(0, 2, (depth, width)).astype(np.uint8)
    (tmp_path / "rom.hex").write_text(memory_image(words))
    rom = Path(str(files("edgeq.hls").joinpath("rtl/eq_rom.sv")))
    found = yosys.estimate([rom], "eq_rom", {"Width": width, "Depth": depth, "File": "rom.hex", "Block": block}, cwd=tmp_path)
    expected = memory_cost(width, depth, rom=True, block=bool(block))
    assert found.bram36 == expected.bram36
    for counted, most in ((found.lut, expected.lut), (found.ff, expected.ff)):
        assert 0.9 * most - 16 <= counted <= most


@pytest.mark.parametrize("late", [False, True])
def test_equivalence_compares_meaning_and_latency(tmp_path: Path, late: bool) -> None:
    text = """\
module sum (input logic clk_i, input logic [3:0] a_i, b_i, output logic [4:0] s_o);
  logic [4:0] s;
`ifdef EQ_LUT6
  assign s = a_i + b_i;
`else
  assign s = {1'b0, a_i ^ b_i} + {a_i & b_i, 1'b0};
`endif
  logic [4:0] s_q;
  always_ff @(posedge clk_i) s_q <= s;
  assign s_o = %s;
endmodule
"""
    files = source(tmp_path, "sum", text % "s_q")
    assert yosys.equivalent(files, "sum", latency=1)
    wrong = "s_q & 5'h1e" if not late else "s"
    files = source(tmp_path, "sum", "`ifdef EQ_LUT6\n" + text % wrong + "`else\n" + text % "s_q" + "`endif\n")
    assert not yosys.equivalent(files, "sum", latency=1)
