"""An ECP5 board: carry chains of each family, the serial bridge against its driver, and place and route to a bitstream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_board
from test_mst import correlated, signs

from edgeq.board import board
from edgeq.engines import yosys
from edgeq.engines.nextpnr import COUNTED
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.serial_board import SerialBoardEngine, SimulatedPort
from edgeq.engines.verilator import Tools
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node
from edgeq.lower import ecp5, rtl
from edgeq.ops.binary_dense import BinaryDense
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


def small() -> tuple[Graph, dict[str, Fold]]:
    weight = signs(7, 4, 16)
    node = Node("op", BinaryDense(weight), ("x",), "y")
    return Graph("x", IntType((16,), -1, 1, 2), [node], "y"), {"op": Fold("unrolled", family="ecp5")}


def test_place_and_route_makes_a_bitstream(tmp_path: Path) -> None:
    """A real one: nextpnr meets the clock, the part's identity is in it, and twice the same input gives the same bytes."""
    graph, folds = small()
    found = []
    for name in ("first", "second"):
        rtl.lower(graph, folds, tmp_path / name / "rtl")
        found.append(ecp5.bitstream(graph, folds, ULX3S, tmp_path / name))
    first, second = (tmp_path / name / "ecp5" / "edgeq.bit" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes() and found[0] == found[1]
    assert bytes.fromhex("41113043") in first.read_bytes()  # IDCODE of the LFE5U-85 (FPGA-TN-02039)
    result = found[0]
    assert result["kind"] == "place and route" and result["fmax_mhz"] >= result["clock_mhz"] == 75
    assert set(result["used"]) == set(COUNTED.values()) and 0 < result["used"]["lut4"] < result["available"]["lut4"] == 83640


def test_a_clock_that_is_not_met_is_lowered_to_one_that_is(tmp_path: Path) -> None:
    graph, folds = small()
    rtl.lower(graph, folds, tmp_path / "rtl")
    result = ecp5.bitstream(graph, folds, replace(ULX3S, clock_mhz=375), tmp_path)
    assert 75 <= result["clock_mhz"] <= result["fmax_mhz"] < 375 and len(result["attempts"]) == 2
