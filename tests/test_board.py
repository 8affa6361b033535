"""The board design: frames in memory, the AXI shell, the driver against the simulated board, and what Vivado is given."""

from __future__ import annotations

import ast
import json
import tkinter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import board_scenarios
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgeq import axi
from edgeq.board import Board, boards
from edgeq.cells import FAMILIES
from edgeq.cli import cli
from edgeq.driver import BoardError, Network, Stream
from edgeq.engines import yosys
from edgeq.engines.board import BoardEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import Tools
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node
from edgeq.hardware import to_bits
from edgeq.lower import board as lower_board
from edgeq.lower import rtl
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.rearrange import Rearrange

ULTRA96 = next(b for b in boards() if b.name == "ultra96v2")
DOCS = Path(__file__).resolve().parents[1] / "docs" / "board.md"
FRAMES = 12


def image() -> tuple[Graph, dict[str, Fold]]:
    """Slots below a word, and frames that end within a word on both sides: 35 beats of 12 bits in, of 22 or so out."""
    weight = np.random.default_rng(1).integers(-8, 8, (2, 3, 3, 3))
    node = Node('"; system("touch owned")', Conv2d(weight, pads=(1, 1, 1, 1)), ("x",), "y")
    return Graph("x", IntType((3, 7, 5), -8, 7), [node], "y"), {node.name: Fold("folded", 2, 9)}


def vector() -> tuple[Graph, dict[str, Fold]]:
    """Slots of several words on both sides: two beats of 100 pixels of a bit in, one of 90 bits out; a frame in two cycles."""
    weight = np.random.default_rng(2).choice([-1, 1], (10, 200))
    flat = Node("flat", Rearrange((1, 20, 10), (0, 1, 2), (200,)), ("x",), "v")
    graph = Graph("x", IntType((1, 20, 10), -1, 1, 2), [flat, Node("op", BinaryDense(weight), ("v",), "y")], "y")
    return graph, {"flat": Fold(beat=100), "op": Fold("unrolled")}


def build(folder: Path, network: Callable[[], tuple[Graph, dict[str, Fold]]], board: Board = ULTRA96) -> Graph:
    """What `edgeq synth` writes of the network for the board; the golden vectors are FRAMES random frames."""
    graph, folds = network()
    folds = {name: replace(fold, family=board.family) for name, fold in folds.items()}
    rtl.lower(graph, folds, folder / "rtl")
    lower_board.lower(graph, folds, board, folder)
    codes = graph.input_type.random(np.random.default_rng(0), FRAMES)
    np.savez(folder / "driver" / "vectors.npz", codes=codes, outputs=ReferenceEngine(graph).run(codes))
    return graph


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> BoardEngine:
    """The simulated board of `image`."""
    folder = tmp_path_factory.mktemp("image")
    build(folder, image)
    return BoardEngine(folder)


@pytest.fixture(scope="module")
def played(small: BoardEngine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the scenarios of board_scenarios.py found, by their names: without and with pauses."""
    folder = tmp_path_factory.mktemp("played")
    with np.load(small.build / "driver" / "vectors.npz") as pack:
        np.save(folder / "x.npy", pack["codes"][:4])
        np.save(folder / "y.npy", pack["outputs"][:4])
    calm = small.play("board_scenarios:calm", folder)
    stalled = small.play("board_scenarios:stalled", folder, stalls=5)
    return {name: [part[name] for part in (calm, stalled) if name in part] for name in calm} | {"folder": folder}


@st.composite
def int_types(draw: st.DrawFn) -> IntType:
    shape = draw(st.sampled_from([(1,), (3,), (70,), (1, 3, 3), (3, 2, 5), (9, 1, 2), (64, 2, 1)]))
    if draw(st.integers(0, 4)) == 0:
        return IntType(shape, -1, 1, 2)
    lo = draw(st.sampled_from([0, 0, -1, -5, -128, -32768, -(1 << 31), -(1 << 40)]))
    return IntType(shape, lo, lo + draw(st.sampled_from([1, 2, 15, 16, 255, 256, 65535, (1 << 32) - 1, 1 << 41])))


@given(int_types(), st.integers(0, 3), st.booleans())
def test_frames_in_memory_are_slots_of_the_lowest_bit_first(t: IntType, count: int, whole: bool) -> None:
    """Against the definition: beat k of a frame at bit k * slot of it, read as one little-endian number."""
    pixels = t.pixels if whole else 1
    about = axi.stream(t, pixels)
    stream = Stream(about)
    x = t.random(np.random.default_rng(0), count)
    data = stream.pack(x)
    assert data.dtype == np.uint8 and data.shape == (count, about["frame_bytes"]) and about["frame_bytes"] * 8 % axi.BUS_BITS == 0
    slot, used = about["slot_bits"], pixels * t.channels * t.width
    assert used <= slot and (slot < 2 * used if slot <= axi.BUS_BITS else slot - used < axi.BUS_BITS)
    assert axi.BUS_BITS % slot == 0 or slot % axi.BUS_BITS == 0
    beats = np.moveaxis(x.reshape(count, t.channels, t.pixels), 1, 2).reshape(count, t.pixels // pixels, pixels * t.channels)
    for frame, codes in zip(data, (beats > 0) if t.bipolar else beats, strict=True):
        number = int.from_bytes(frame.tobytes(), "little")
        for beat in to_bits(codes, t.width):
            assert number & ((1 << slot) - 1) == int("".join(map(str, beat[::-1])), 2)
            number >>= slot
        assert number == 0
    assert np.array_equal(stream.unpack(data), x)
    for dtype in (np.int8, np.uint8, np.uint16, np.int32, np.uint64):
        if np.array_equal(x.astype(dtype), x):
            assert np.array_equal(stream.pack(x.astype(dtype)), data)


SHELLS = ((64, 5, 64, 90, 1), (8, 3, 3, 16, 5), (32, 24, 1024, 24, 7), (128, 64, 2, 129, 3), (64, 64, 1, 64, 1), (16, 1, 1, 1, 1))
"""Parameters of eq_axi_shell in their order."""


def test_the_shell_is_clean_for_verilator_and_yosys(tmp_path: Path) -> None:
    for network in (image, vector):
        folder = tmp_path / network.__name__
        build(folder, network)
        sources = lower_board.board_sources(folder)
        assert Tools().lint(sources, lower_board.BOARD_TOP, folder / "rtl") == ""
        assert not any("owned" in path.read_text() for path in (folder / "vivado").rglob("*.*"))
    shell = [path for path in sources if path.name != "eq_board.v"]
    names = ("Width", "InBits", "InBeats", "OutBits", "OutBeats")
    for values in SHELLS:
        assert Tools().lint(shell, "eq_axi_shell", folder, **dict(zip(names, values, strict=True))) == ""
    assert "Width must be a power of two, 8 or more, got 48" in Tools().lint(shell, "eq_axi_shell", folder, Width=48)
    cost = yosys.estimate(shell, "eq_axi_shell", {"InBits": 24, "InBeats": 1024, "OutBits": 90})
    assert 300 < cost.lut < 1000 and cost.ff < 1000 and cost.bram36 == 1  # 512 words of 64 bits


@pytest.mark.parametrize("stalls", [None, 1, 2])
def test_the_driver_on_the_simulated_board(small: BoardEngine, stalls: int | None) -> None:
    graph = image()[0]
    x = graph.input_type.random(np.random.default_rng(3), 2 * FRAMES)
    assert np.array_equal(small.run(x, stalls), ReferenceEngine(graph).run(x))
    counters = small.counters
    assert 105 * len(x) <= counters["busy"] < counters["cycles"]
    assert (counters["out_stalls"] > 0) == (stalls is not None)


def test_beats_wider_than_a_word(tmp_path: Path) -> None:
    graph = build(tmp_path, vector)
    engine = BoardEngine(tmp_path)
    x = graph.input_type.random(np.random.default_rng(3), FRAMES)
    for stalls in (None, 1):
        assert np.array_equal(engine.run(x, stalls), ReferenceEngine(graph).run(x))
        if stalls is None:  # 4 words a frame, one a cycle, from the first word to the last
            assert 4 * len(x) < engine.counters["busy"] < 4 * len(x) + 40


def test_frames_of_a_wrong_length_are_dropped_and_the_next_are_right(played: dict[str, Any]) -> None:
    size = axi.stream(image()[0].input_type)["frame_bytes"]
    for found in played["bad_frames"]:
        assert len(found) == 5 + len(board_scenarios.SHORT_CUTS)
        for name, (message, counters, status, right) in found.items():
            long = "long" in name or "more" in name
            assert ("too long" if long else "too short") in message and f"{size} bytes a frame" in message, name
            assert (counters["short"], counters["long"]) == ((0, 1) if long else (1, 0)), name
            halted = "packet" in name  # the frames before the bad one have gone in: only a reset helps
            assert bool(status & 2) == halted, name
            assert right, name
        assert found["a packet cut in its third frame"][1]["frames_in"] == 2
        assert found["a packet with a frame more"][1]["frames_in"] == 1


def test_packets_of_one_frame_need_no_reset_after_a_bad_one(played: dict[str, Any]) -> None:
    expected = {"frames_in": 4, "frames_out": 4, "short": 2, "long": 2}
    for found in played["without_a_reset"]:
        assert found["wrong"] == 0 and not found["status"] & 2
        assert {name: found["counters"][name] for name in expected} == expected


def test_a_reset_in_the_middle_leaves_nothing_behind(played: dict[str, Any]) -> None:
    assert played["resets"] == [[True] * 8] * 2
    (drained,) = played["reset_that_drains"]
    assert drained["status"] & 1 and not drained["after"] & 7 and drained["right"]
    assert drained["counters"]["frames_in"] == drained["counters"]["frames_out"] == 0


def test_the_register_map(played: dict[str, Any]) -> None:
    assert played["registers"] == [{"changed": [], "unused": [0], "cycles": True, "frames": 0x12345678}] * 2
    assert [r.offset for r in axi.REGISTERS] == list(range(0, 4 * len(axi.REGISTERS), 4))
    assert axi.register_table() in DOCS.read_text()


def test_another_design_on_the_chip_is_refused(played: dict[str, Any]) -> None:
    (messages,) = played["another_design"]
    for message, name in zip(messages, ("hash", "magic", "version", "in_bytes", "hash"), strict=True):
        assert f"not the one of {played['folder']}: {name} is" in message and "fix:" in message


def test_the_identity_is_the_content(tmp_path: Path) -> None:
    def other_weights() -> tuple[Graph, dict[str, Fold]]:
        graph, folds = vector()
        weight = graph.nodes[1].op.weight.copy()  # type: ignore[attr-defined]
        weight[3, 5] *= -1
        return replace(graph, nodes=[graph.nodes[0], Node("op", BinaryDense(weight), ("v",), "y")]), folds

    faster = replace(ULTRA96, clock_mhz=301)
    hashes = []
    for name, network, board in (
        ("a", vector, ULTRA96),
        ("b", vector, ULTRA96),
        ("c", other_weights, ULTRA96),
        ("d", vector, faster),
    ):
        build(tmp_path / name, network, board)
        hashes.append(json.loads((tmp_path / name / "driver" / "interface.json").read_text())["hash"])
        assert f"128'h{hashes[-1]}" in (tmp_path / name / "vivado" / "rtl" / "eq_board.v").read_text()
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3
    trees = [
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*") if p.suffix != ".npz"} for n in "ab"
    ]
    assert trees[0] == trees[1]


def test_the_self_test_counts_mismatches_and_cycles(played: dict[str, Any]) -> None:
    (found,) = played["self_test"]
    assert (found["frames"], found["mismatches"], found["values"]) == (FRAMES, 0, FRAMES * 70)
    assert found["cycles_per_frame"] < found["latency_cycles"] < 2 * found["cycles_per_frame"]
    assert found["frames_per_second"] == pytest.approx(300e6 / found["cycles_per_frame"])


def test_many_packets_are_as_one(played: dict[str, Any]) -> None:
    assert played["packets"] == [[True, 1, True, 3]]


def test_values_that_do_not_fit_are_refused(played: dict[str, Any]) -> None:
    (messages,) = played["values_that_do_not_fit"]
    assert len(messages) == 4 and "values of [-8, 7]" in messages[0]
    assert all("integers of shape [N, 3, 7, 5]" in message for message in messages[1:])


def test_a_driver_error_is_one_of_the_user(small: BoardEngine) -> None:
    with pytest.raises(EdgeqError, match=r"values of \[-8, 7\]"):
        small.run(np.full((1, 3, 7, 5), 8))


def test_a_build_without_a_board_design(tmp_path: Path) -> None:
    with pytest.raises(EdgeqError, match="no board design"):
        BoardEngine(tmp_path)


class Dead:
    """An overlay whose design does not answer: every register is 0, every channel is busy."""

    idle = error = False

    def __init__(self) -> None:
        self.edgeq = self.dma = self.sendchannel = self.recvchannel = self

    def read(self, offset: int) -> int:
        return 0


def test_no_design_at_all_is_refused(tmp_path: Path) -> None:
    build(tmp_path, vector)
    with pytest.raises(BoardError, match="magic is 0x0"):
        Network(Dead(), np.empty, tmp_path / "driver")


def test_the_driver_stands_alone_on_python_3_8(tmp_path: Path) -> None:
    build(tmp_path, vector)
    text = (tmp_path / "driver" / "edgeq_driver.py").read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names == {"__future__", "collections.abc", "json", "numpy", "pathlib", "pynq", "sys", "time", "typing"}


class Vivado:
    """Runs build.tcl in Python's Tcl with every command of Vivado recorded. board_files: whether there are some; slack: in ns."""

    def __init__(self, build: Path, board_files: bool, slack: float) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.said: list[str] = []
        self._board_files, self._slack = board_files, slack
        tcl = tkinter.Tcl()
        tcl.createcommand("unknown", self._command)
        tcl.createcommand("said", self.said.append)
        tcl.eval("rename puts tcl_puts; rename exec {}")
        tcl.eval("proc puts {args} {if {[llength $args] == 1} {said {*}$args} else {tcl_puts {*}$args}}")
        script = build / "vivado" / "build.tcl"
        self._out = build / "vivado" / "out"
        assert tcl.call("info", "complete", script.read_text())
        here = Path.cwd()
        try:
            tcl.call("source", str(script))
        finally:
            tcl.call("cd", str(here))

    def _command(self, *words: str) -> str:
        self.commands.append(words)
        if words[0] == "get_board_parts":
            return "vendor.com:board:part0:1.2 vendor.com:board:part0:1.10" if self._board_files else ""
        if words[:2] == ("get_property", "SLACK"):
            return str(self._slack)
        if words[0] == "generate_target":
            handoff = self._out / ".gen" / "sources_1" / "bd" / "system" / "hw_handoff"
            handoff.mkdir(parents=True)
            (handoff / "system.hwh").write_text("hardware handoff")
        return "{" + " ".join(words) + "}"

    def called(self, name: str) -> list[tuple[str, ...]]:
        return [words[1:] for words in self.commands if words[0] == name]


VIVADO_COMMANDS = {
    "add_files", "apply_bd_automation", "assign_bd_address", "close_project", "connect_bd_intf_net", "connect_bd_net",
    "create_bd_cell", "create_bd_design", "create_project", "current_fileset", "current_project", "generate_target",
    "get_bd_intf_pins", "get_bd_pins", "get_board_parts", "get_files", "get_property", "get_timing_paths",
    "ipx::associate_bus_interfaces", "ipx::check_integrity", "ipx::create_xgui_files", "ipx::current_core",
    "ipx::package_project", "ipx::save_core", "ipx::update_checksums", "make_bd_intf_pins_external", "make_wrapper",
    "opt_design", "phys_opt_design", "place_design", "read_verilog", "read_xdc", "report_timing_summary", "report_utilization",
    "route_design", "save_bd_design", "set_property", "synth_design", "update_compile_order", "update_ip_catalog",
    "validate_bd_design", "write_bitstream",
}  # fmt: skip


@pytest.mark.parametrize("board_files", [False, True])
@pytest.mark.parametrize("name", [b.name for b in boards() if b.vivado])
def test_the_tcl_of_each_board(name: str, board_files: bool, tmp_path: Path) -> None:
    """It parses and runs to its end with commands that Vivado has, on files that are there; each pin has one driver."""
    board = next(b for b in boards() if b.name == name)
    build(tmp_path, vector, board)
    vivado = Vivado(tmp_path, board_files, 0.1)
    assert {words[0] for words in vivado.commands} <= VIVADO_COMMANDS
    packaging, building = vivado.called("create_project")
    assert packaging[-2:] == building[-2:] == ("-part", board.part) and "-in_memory" in building
    parts = [words[1] for words in vivado.called("set_property") if words[0] == "board_part"]
    assert parts == (["vendor.com:board:part0:1.10"] if board_files else [])
    added = [path for words in vivado.called("add_files") for path in words[1].split()]
    assert added and all(Path(path).is_file() for path in added)
    copied = {Path(path).name: Path(path).read_text() for path in added if path.endswith("v")}
    for path in lower_board.board_sources(tmp_path):
        defined = "".join(f"`define {macro}\n" for macro in FAMILIES[board.family].macros)
        assert copied.pop(path.name) == defined + path.read_text()
    assert not copied
    cells = {words[-1] for words in vivado.called("create_bd_cell")}
    assert cells == {"edgeq", "dma", "ps", "resets", "control", "data"}
    pins = [words[0] for command in ("get_bd_pins", "get_bd_intf_pins") for words in vivado.called(command)]
    assert {pin.split("/")[0] for pin in pins} == cells
    sinks = [words[1] for words in vivado.called("connect_bd_net")]
    assert len(set(sinks)) == len(sinks) == 1 + 2 + 7 + 4
    clock = next(words for words in vivado.called("set_property") if "-dict" in words and "FREQMHZ" in words[1])
    assert f"FREQMHZ {board.clock_mhz:g}" in clock[1]
    assert vivado.commands[-1] == ("write_bitstream", "-force", str(tmp_path / "vivado" / "out" / "edgeq.bit"))
    assert (tmp_path / "vivado" / "out" / "edgeq.hwh").read_text() == "hardware handoff"
    assert vivado.said[-1].startswith("edgeq: edgeq.bit and edgeq.hwh are in")


def test_no_bitstream_where_the_timing_is_not_met(tmp_path: Path) -> None:
    build(tmp_path, vector)
    with pytest.raises(tkinter.TclError, match="timing is not met at 300 MHz"):
        Vivado(tmp_path, True, -0.01)
    assert not (tmp_path / "vivado" / "out" / "edgeq.hwh").exists()


def test_a_name_that_would_need_quotes_stays_out(tmp_path: Path) -> None:
    with pytest.raises(EdgeqError, match="cannot stand in Tcl"):
        build(tmp_path, vector, replace(ULTRA96, part="x]; exec touch owned; ["))


def test_boards_are_whole() -> None:
    names = {b.name for b in boards()}
    assert {"ultra96v1", "ultra96v2", "zcu104", "kv260", "pynqz2", "ulx3s"} <= names
    for b in boards():
        assert b.clock_mhz > 0 and b.budget.lut and b.budget.ff
        assert b.vivado is None or b.vivado.processor in ("zynqmp", "zynq7")
    assert CliRunner().invoke(cli, ["boards"]).exit_code == 0
