"""An ECP5 board: carry chains of each family, the serial bridge against its driver, and place and route to a bitstream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_board
from click.testing import CliRunner
from test_cli import edgeq, quantized_dense, write
from test_mst import correlated, signs

from edgeq.board import board
from edgeq.cli import cli
from edgeq.engines import nextpnr, yosys
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.serial_board import SerialBoardEngine, SimulatedPort
from edgeq.engines.verilator import Tools, VerilatorEngine
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node
from edgeq.lower import ecp5, rtl
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.threshold import Threshold
from edgeq.unrolled import Compare, unrolled_sv

ULX3S = board("ulx3s")
FRAMES = 12


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `edgeq synth` writes of a convolution for the board, with golden vectors."""
    folder = tmp_path_factory.mktemp("ulx3s")
    graph, folds = test_board.image()
    rtl.lower(graph, folds, folder / "rtl")
    ecp5.lower(graph, folds, ULX3S, folder)
    codes = graph.input_type.random(np.random.default_rng(0), FRAMES)
    np.savez(folder / "driver" / "vectors.npz", codes=codes, outputs=ReferenceEngine(graph).run(codes))
    return folder


@pytest.fixture(scope="module")
def engine(build: Path) -> SerialBoardEngine:
    return SerialBoardEngine(build)


@pytest.fixture
def port(engine: SerialBoardEngine) -> Iterator[SimulatedPort]:
    made = engine.port()
    yield made
    made.close()


@pytest.fixture
def network(engine: SerialBoardEngine, port: SimulatedPort) -> Any:
    return engine.driver().SerialNetwork(port, engine.build / "driver", packet_bytes=1 << 10)


def vectors(network: Any) -> tuple[np.ndarray, np.ndarray]:
    with np.load(network.folder / "vectors.npz") as pack:
        return pack["codes"], pack["outputs"]


def test_the_driver_through_the_serial_port(network: Any) -> None:
    """Several packets; registers, counters and the self-test as on any other board."""
    codes, outputs = vectors(network)
    assert network.batch < len(codes)
    assert np.array_equal(network.run(codes), outputs)
    counters = network.counters()
    assert (counters["frames_in"], counters["frames_out"], counters["short"], counters["long"]) == (FRAMES, FRAMES, 0, 0)
    tested = network.self_test()
    assert (tested["mismatches"], tested["values"]) == (0, outputs.size)


@pytest.mark.parametrize(("change", "message"), [(-8, "too short"), (8, "too long")])
def test_a_short_or_long_packet_is_an_error_and_the_next_one_is_right(network: Any, change: int, message: str) -> None:
    codes, outputs = vectors(network)
    frames = network.input.pack(codes[:1])
    wrong = np.resize(frames, (1, frames.size + change))
    with pytest.raises(Exception, match=message):
        network.transfer(wrong)
    assert np.array_equal(network.run(codes), outputs)


@pytest.mark.parametrize("kind", ["changed", "lost", "broken", "code"])
def test_a_byte_that_the_line_changes_is_an_error(
    engine: SerialBoardEngine, network: Any, port: SimulatedPort, kind: str
) -> None:
    """In the middle of a packet; after the driver's reset all is right again."""
    codes, outputs = vectors(network)
    plain = port.write

    def spoiled(data: bytes) -> None:
        if len(data) < 50:  # no packet
            return plain(data)
        port.write = plain  # type: ignore[method-assign]
        if kind == "broken":
            plain(data[:40])
            port.write_broken(data[40] | 1)
            return plain(data[41:])
        return plain(
            {"changed": data[:40] + bytes([data[40] ^ 4]) + data[41:], "lost": data[:40] + data[41:], "code": b"\x77"}[kind]
        )

    port.write = spoiled  # type: ignore[method-assign]
    network._link._timeout = 0.5
    with pytest.raises(Exception, match=r"bad code|line error|no answer"):
        network.run(codes[:2])
    assert port.write == plain and np.array_equal(network.run(codes), outputs)


def test_the_driver_of_another_build_is_refused(engine: SerialBoardEngine, port: SimulatedPort, tmp_path: Path) -> None:
    text = (engine.build / "driver" / "interface.json").read_text()
    (tmp_path / "interface.json").write_text(re.sub(r'"hash": "(.)', lambda m: f'"hash": "{int(m[1], 16) ^ 1:x}', text))
    with pytest.raises(Exception, match=r"hash is .* not"):
        engine.driver().SerialNetwork(port, tmp_path)


def test_the_engine_runs_frames(engine: SerialBoardEngine) -> None:
    with np.load(engine.build / "driver" / "vectors.npz") as pack:
        assert np.array_equal(engine.run(pack["codes"]), pack["outputs"])
    assert engine.counters["frames_out"] == FRAMES
    with pytest.raises(EdgeqError, match="does not stall"):
        engine.run(np.zeros((1, 3, 7, 5), np.int64), stalls=1)


def test_the_design_is_clean_verilog(engine: SerialBoardEngine) -> None:
    assert Tools().lint(engine._sources, "eq_board", engine.build / "rtl") == ""


def test_the_same_input_gives_the_same_files(build: Path) -> None:
    graph, folds = test_board.image()
    before = {path: path.read_bytes() for path in sorted(build.rglob("*")) if path.is_file()}
    assert ecp5.lower(graph, folds, ULX3S, build) == 75
    assert {path: path.read_bytes() for path in sorted(build.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(("most", "made"), [(75, 75), (62.5, 62.5), (61, 25 * 17 / 7), (101, 100), (33.4, 33.3333)])
def test_the_pll_makes_the_fastest_clock_in_its_range(most: float, made: float) -> None:
    found = ecp5.pll(25, most)
    assert found.mhz == pytest.approx(made, abs=1e-3) and 25 / found.reference * found.feedback == found.mhz
    assert 400 <= found.mhz * found.output <= 800 and 25 / found.reference >= 3.125
    with pytest.raises(EdgeqError):
        ecp5.pll(25, 1)


def test_serial_rates_are_within_the_error_that_a_byte_bears() -> None:
    for mhz in np.arange(25, 150, 3.125):
        baud, cycles = ecp5.serial_rate(float(mhz))
        assert abs(mhz * 1e6 / cycles / baud - 1) <= ecp5.BAUD_ERROR and baud >= 500_000


COMPARE = Compare(np.arange(-4, 8, 4), np.arange(3) % 2 == 1)


@pytest.mark.parametrize("family", ["xc7", "ecp5"])
@pytest.mark.parametrize("weight", [signs(3, 3, 24), correlated(5, 3, 20, group=3)], ids=["random", "correlated"])
@pytest.mark.parametrize("compare", [None, COMPARE], ids=["sums", "compare"])
def test_every_family_computes_the_same(tmp_path: Path, family: str, weight: np.ndarray, compare: Compare | None) -> None:
    """The netlist of each family against that of UltraScale+, by SAT, register by register."""
    options: dict[str, Any] = {"compare": compare, "max_lut_levels": 3}
    first, second = unrolled_sv("layer", weight, **options), unrolled_sv("layer", weight, **options, family=family)
    assert (first.latency, first.luts) == (second.latency, second.luts)
    bodies = [u.text.split("`ifdef EQ_LUT6\n")[1].split("`else")[0] for u in (first, second)]
    head = first.text.split("`ifdef EQ_LUT6\n")[0]
    path = tmp_path / "layer.sv"
    path.write_text(f"{head}`ifdef EQ_LUT6\n{bodies[0]}`else\n{bodies[1]}`endif\nendmodule\n")
    assert yosys.equivalent([path], "layer", latency=first.latency)
    wanted = {"xc7": "CARRY4", "ecp5": "assign"}
    assert wanted[family] in bodies[1] and "CARRY8" not in bodies[1]


def test_a_7_series_chain_has_one_fabric_input_at_its_start(tmp_path: Path) -> None:
    """CYINIT is a constant, CI a carry: a signal that enters is a position of its own, since AX cannot be CYINIT and DI."""
    text = unrolled_sv("layer", signs(3, 8, 64), family="xc7").text
    assert set(re.findall(r"\.CYINIT\((.*?)\)", text)) <= {"1'b0", "1'b1"}
    assert all(re.fullmatch(r"1'b0|co\d+\[[37]\]", ci) for ci in re.findall(r"\.CI\((.*?)\)", text))


def test_yosys_counts_lut4_block_ram_and_multipliers(tmp_path: Path) -> None:
    """An EBR is half a BRAM36; the registers of an unrolled layer are those that the generator counts."""
    unrolled = unrolled_sv("layer", signs(3, 3, 24), family="ecp5")
    (tmp_path / "layer.sv").write_text(unrolled.text)
    cost = yosys.estimate([tmp_path / "layer.sv"], "layer", {}, family="ecp5")
    assert unrolled.luts < cost.lut < 5 * unrolled.luts and cost.ff == unrolled.ffs
    (tmp_path / "block.sv").write_text(BLOCK)
    block = yosys.estimate([tmp_path / "block.sv"], "block", {}, family="ecp5")
    assert (block.bram36, block.dsp) == (0.5, 1)


BLOCK = """module block (input logic clk_i, input logic [9:0] at_i, input logic [17:0] a_i, b_i, output logic [17:0] q_o,
  output logic [35:0] p_o);
  (* ram_style = "block" *) logic [17:0] mem [1024];
  always_ff @(posedge clk_i) begin
    mem[at_i] <= a_i;
    q_o <= mem[b_i[9:0]];
  end
  assign p_o = a_i * b_i;
endmodule
"""


def test_a_7_series_network_is_simulated_with_its_own_primitives(tmp_path: Path) -> None:
    """LUT RAM of a layer along its tree, CARRY4 of an unrolled one, as build.tcl has them read: values equal the reference's."""
    sign = Threshold(np.zeros((24, 1), np.int64), np.zeros(24, np.int64), -1, 2)
    first = Node("first", BinaryDense(signs(1, 24, 120), sign), ("x",), "v")
    graph = Graph("x", IntType((120,), -1, 1, 2), [first, Node("second", BinaryDense(signs(2, 10, 24)), ("v",), "y")], "y")
    tree = next(fold for fold in first.op.folds(graph.input_type) if fold.mode == "tree")
    rtl.lower(graph, {"first": replace(tree, family="xc7"), "second": Fold("unrolled", family="xc7")}, tmp_path)
    sources = {path: path.read_text() for path in tmp_path.glob("*.sv")}
    assert any("RAM64M u_ram" in text for text in sources.values()) and any("CARRY4" in text for text in sources.values())
    for path, text in sources.items():
        path.write_text("`define EQ_XC7\n" + text)
    engine = VerilatorEngine(tmp_path, graph.input_type, graph.types()["y"], lut6=True)
    x = graph.input_type.random(np.random.default_rng(0), 200)
    assert np.array_equal(engine.run(x, stalls=1), ReferenceEngine(graph).run(x))


COUNTER = """module counter (input logic clk_i, output logic [7:0] led_o);
  always_ff @(posedge clk_i) led_o <= led_o + 1'b1;
endmodule
"""


def test_place_and_route_gives_the_same_bytes_again(tmp_path: Path) -> None:
    """On the family's smallest part, which is quick; the part's identity is in the bitstream."""
    assert ULX3S.ecp5
    found = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "counter.sv").write_text(COUNTER)
        sites = {"clk_i": "G2"} | {f"led_o[{i}]": site for i, site in enumerate(["B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"])}
        (folder / "counter.lpf").write_text("".join(f'LOCATE COMP "{port}" SITE "{site}" ;\n' for port, site in sites.items()))
        part = replace(ULX3S.ecp5, device="12k")
        args = ([folder / "counter.sv"], "counter", folder, folder, "counter.lpf", "counter.bit", part, 50.0, 1)
        found.append((nextpnr.place_and_route(*args), (folder / "counter.bit").read_bytes()))
    assert found[0] == found[1]
    placed, data = found[0]
    assert bytes.fromhex("21111043") in data  # IDCODE of the LFE5U-12 (FPGA-TN-02039)
    assert placed.fmax_mhz > 50 and placed.used["ff"] == 8 and set(placed.used) == set(nextpnr.COUNTED.values())


def test_a_model_becomes_a_bitstream(tmp_path: Path) -> None:
    """From the command line: the file, what the report says of it, and the same design behind its driver, simulated."""
    write(tmp_path / "m.onnx", quantized_dense())
    assert edgeq("export", "m.onnx", "-o", "e", "--samples", 5, cwd=tmp_path).returncode == 0
    done = edgeq("synth", "e", "--board", "ulx3s", "--bitstream", "--estimate", "model", "-o", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "b" / "report.json").read_text())
    placed = result["place_and_route"]
    assert bytes.fromhex("41113043") in (tmp_path / "b" / placed["bitstream"]).read_bytes()  # IDCODE of the LFE5U-85
    assert placed["kind"] == "place and route" and placed["fmax_mhz"] >= placed["clock_mhz"] == result["clock_mhz"]
    assert 0 < placed["used"]["lut4"] < placed["available"]["lut4"] == 83640 and placed["used"]["ebr"] == 1
    assert f"allows {placed['fmax_mhz']:.2f} MHz" in " ".join(done.stdout.split())
    assert "After place and route" in (tmp_path / "b" / "report.html").read_text()
    done = edgeq("sim", "b", "--engine", "board", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["engines"]["board"]
    assert (found["mismatches"], found["values"], found["frames"]) == (0, 20, 5)


def test_a_clock_that_is_not_met_is_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the fastest of the PLL that the attempt before met, in the top, in the driver and in the report; or it is refused."""
    graph, folds = test_board.image()
    rtl.lower(graph, folds, tmp_path / "rtl")
    placed = nextpnr.Placed(70.0, {}, {}, {})
    monkeypatch.setattr(nextpnr, "place_and_route", lambda *args: (args[3] / args[5]).write_bytes(b"") or placed)
    result = ecp5.bitstream(graph, folds, ULX3S, tmp_path)
    assert result["attempts"] == ["75 MHz asked, 70.00 reached", "70 MHz asked, 70.00 reached"] and result["clock_mhz"] == 70
    assert 'PIN_CLKOP = "70"' in (tmp_path / "ecp5" / "rtl" / "eq_board.sv").read_text()
    assert json.loads((tmp_path / "driver" / "interface.json").read_text())["clock_mhz"] == 70
    monkeypatch.setattr(nextpnr, "place_and_route", lambda *args: replace(placed, fmax_mhz=0.9 * args[7]))
    with pytest.raises(EdgeqError, match=r"met no clock: 75 MHz asked, 67.50 reached; .* asked"):
        ecp5.bitstream(graph, folds, ULX3S, tmp_path)


def test_what_nextpnr_refuses_is_an_error(tmp_path: Path) -> None:
    """No pins, and more than the part has."""
    (tmp_path / "counter.sv").write_text(COUNTER)
    (tmp_path / "none.lpf").write_text("")
    assert ULX3S.ecp5
    with pytest.raises(EdgeqError, match="nextpnr_ecp5 failed: ERROR"):
        nextpnr.place_and_route(
            [tmp_path / "counter.sv"], "counter", tmp_path, tmp_path, "none.lpf", "counter.bit", ULX3S.ecp5, 50.0, 1
        )


def test_a_board_without_open_tools_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["synth", str(tmp_path), "--board", "ultra96", "--bitstream", "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, EdgeqError) and "--board ulx3s" in str(done.exception)
