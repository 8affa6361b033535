"""Beats that are not a pixel: several at the network's input, and parts of one (`edgeq.beats.fitted`).

When they are chosen, and that the hardware computes the same integers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import parity
import pytest
from qonnx_models import Builder

from edgeq import flow
from edgeq.beats import fitted
from edgeq.board import Board, board
from edgeq.engines.hls import HlsEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import VerilatorEngine, lint
from edgeq.errors import EdgeqError
from edgeq.fold import Fold, input_beat, input_stream
from edgeq.folding import Target, TooBigError, choose, ladders, plan
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.lower import hls
from edgeq.lower import rtl as lower_rtl
from edgeq.ops.add import Add
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.width_converter import WidthConverter
from edgeq.ui import Ui

ULTRA96 = board("ultra96")
IMAGE = IntType((3, 4, 6), -8, 7)
BLOCKS = Rearrange((3, 2, 2, 3, 2), (0, 2, 4, 1, 3), (12, 2, 3))
"""Blocks of 2 x 2 pixels of IMAGE as channels: 24 pixels in, 6 out."""


def network(*ops: Op, kind: IntType = IMAGE) -> Graph:
    nodes = [Node(f"n{i}", op, (f"t{i - 1}" if i else "x",), f"t{i}") for i, op in enumerate(ops)]
    return Graph("x", kind, nodes, nodes[-1].output)


def convolution(channels: int = 12) -> Conv2d:
    return Conv2d(np.random.default_rng(0).integers(-3, 4, (4, channels, 3, 3)), pads=(1, 1, 1, 1))


def frames(graph: Graph, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    x = graph.input_type.random(np.random.default_rng(1), count)
    y = ReferenceEngine(graph).run(x)
    assert np.ptp(y)
    return x, y


def test_a_beat_is_no_wider_than_the_rest_of_the_network_is_fast() -> None:
    """The padded window of the convolution takes 4 * 5 cycles: two of 24 pixels a beat are the fewest that keep up."""
    graph = network(BLOCKS, convolution())
    folds = choose(graph, ULTRA96)
    assert (folds["n0"], input_beat(graph, folds)) == (Fold(beat=2), 2)
    assert input_stream(graph, folds) == IntType((6, 12, 1), -8, 7)
    assert "2 pixels a beat" in str(folds["n0"])


def test_a_flattened_image_comes_in_one_beat_where_the_rest_is_unrolled() -> None:
    graph = network(Rearrange((72,), (0,), (72,)))
    assert input_beat(graph, choose(graph, ULTRA96)) == 24


def test_only_an_operator_that_collects_a_frame_and_reads_the_input_alone_gets_wide_beats() -> None:
    first = network(convolution(3), Rearrange((4, 24), (1, 0), (96,)))
    assert input_beat(first, choose(first, ULTRA96)) == 1
    one = np.array([1])
    nodes = [
        Node("a", Rearrange((3, 24), (1, 0), (72,)), ("x",), "a"),
        Node("b", Rearrange((72,), (0,), (72,)), ("x",), "b"),
        Node("c", Add(one, one), ("a", "b"), "y"),
    ]
    shared = Graph("x", IMAGE, nodes, "y")
    assert input_beat(shared, choose(shared, ULTRA96)) == 1


@pytest.mark.parametrize("beat", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [IMAGE, IntType((3, 4, 6), -1, 1, 2)], ids=["4 bits", "1 bit"])
def test_verilog_equals_the_reference(beat: int, kind: IntType, tmp_path: Path) -> None:
    graph = network(BLOCKS, kind=kind)
    x, y = frames(graph)
    folds = {"n0": Fold(beat=beat)}
    assert folds["n0"] in BLOCKS.input_folds(kind)
    lower_rtl.lower(graph, folds, tmp_path)
    assert lint(tmp_path) == ""
    engine = VerilatorEngine(tmp_path, graph.input_type, graph.types()["t0"], beat=beat)
    for stalls in reversed(parity.STALLS):
        assert parity.mismatches(y, engine.run(x, stalls=stalls)) == 0
    assert engine.cycles_per_frame == BLOCKS.cycles(folds["n0"], kind) == 24 // beat


def test_a_frame_in_one_beat(tmp_path: Path) -> None:
    flat = Rearrange((3, 24), (1, 0), (72,))
    graph = network(flat)
    x, y = frames(graph)
    folds = choose(graph, ULTRA96)
    lower_rtl.lower(graph, folds, tmp_path)
    assert lint(tmp_path) == ""
    engine = VerilatorEngine(tmp_path, graph.input_type, graph.types()["t0"], beat=input_beat(graph, folds))
    assert parity.mismatches(y, engine.run(x, stalls=1)) == 0
    assert parity.mismatches(y, engine.run(x)) == 0 and engine.cycles_per_frame == 1


def test_a_mixed_up_beat_is_found(tmp_path: Path) -> None:
    """Right where a beat is one pixel."""
    graph = network(BLOCKS)
    x, y = frames(graph)
    for beat, differs in ((1, False), (2, True)):
        folder = tmp_path / str(beat)
        lower_rtl.lower(graph, {"n0": Fold(beat=beat)}, folder)
        path = folder / "eq_rearrange.sv"
        text, right = path.read_text(), "(from % InPixels) * InChannels + from / InPixels"
        assert text.count(right) == 1
        path.write_text(text.replace(right, "(from % InBeats) * Beat * InChannels + from / InBeats"))
        engine = VerilatorEngine(folder, graph.input_type, graph.types()["t0"], beat=beat)
        assert (parity.mismatches(y, engine.run(x)) > 0) is differs


def test_hls_equals_the_reference(tmp_path: Path) -> None:
    graph = network(BLOCKS, convolution())
    x, y = frames(graph)
    hls.lower(graph, choose(graph, ULTRA96), ULTRA96, tmp_path)
    assert 'pixels_per_beat": 2' in (tmp_path / "edgeq.json").read_text()
    assert parity.mismatches(y, HlsEngine(tmp_path).run(x)) == 0


def blocks_model() -> onnx.ModelProto:
    b = Builder(1, 8, 8)
    x = b.op("SpaceToDepth", b.sign("x"), blocksize=4)
    signs = np.sign(np.random.default_rng(0).normal(size=(4, 16, 3, 3)))
    return b.model(b.op("Conv", x, b.sign(b.const(signs)), pads=[1, 1, 1, 1]))


def test_the_stages_hand_the_beat_on(tmp_path: Path) -> None:
    source, quiet = tmp_path / "m.onnx", Ui(True)
    source.write_bytes(blocks_model().SerializeToString())
    flow.export(
        str(source), tmp_path / "e", weights=None, input_shape=None, input_type=None, samples=6, seed=0, data=None, force=False,
        ui=quiet,
    )  # fmt: skip
    report = flow.synth(tmp_path / "e", ULTRA96, tmp_path / "b", target=Target(), estimate="model", force=False, ui=quiet)
    assert report["input"] == {"shape": "1x8x8:1b", "pixels_per_beat": 4, "beats_per_frame": 16}
    found = flow.sim(tmp_path / "b", samples=None, seed=0, engine="rtl", stalls=None, trace=None, ui=quiet)["engines"]["rtl"]
    assert (found["mismatches"], found["cycles_per_frame"]) == (0, 16)


def test_a_beat_that_does_not_divide_the_frame_is_refused(tmp_path: Path) -> None:
    graph = network(BLOCKS)
    lower_rtl.lower(graph, {"n0": Fold(beat=5)}, tmp_path)
    with pytest.raises(EdgeqError, match="Verilator failed"):
        VerilatorEngine(tmp_path, graph.input_type, graph.types()["t0"], beat=5)


# Parts of a pixel


SIX = IntType((6, 2, 3), -128, 127)


def scaled(factor: int = 3) -> Requantize:
    return Requantize(np.arange(factor, factor + 6), np.arange(6), 3, "half_even", -128, 127)


def narrow(channels: int) -> Fold:
    return Fold("folded", channels, channels, narrow=True)


def converters(graph: Graph, folds: dict[str, Fold]) -> list[tuple[str, int, int]]:
    """What each reads, and its channels a beat in and out."""
    return [(n.inputs[0], folds[n.name].simd, folds[n.name].pe) for n in graph.nodes if isinstance(n.op, WidthConverter)]


def test_readers_of_the_same_beats_share_a_converter() -> None:
    """And a beat that is on the way between two that do not divide one another. Names that are taken are no trouble."""
    nodes = [
        *(Node(name, scaled(k), ("x",), name) for k, name in enumerate(("width_0", "wide_0", "c", "d"), 1)),
        *(Node(f"j{k}", Concat(), pair, f"j{k}") for k, pair in enumerate([("width_0", "wide_0"), ("c", "d"), ("j0", "j1")])),
    ]
    graph = Graph("x", SIX, nodes, "j2")
    whole = {f"j{k}": Fold() for k in range(3)}
    made, folds = fitted(graph, {"width_0": narrow(2), "wide_0": narrow(2), "c": narrow(3), "d": Fold(), **whole})
    made.check()
    reads = {node.name: node.inputs for node in made.nodes}
    assert reads["width_0"] == reads["wide_0"] != reads["c"] and reads["d"] == ("x",)
    given = [("x", 6, 2), ("x", 6, 3), ("width_0", 2, 6), ("wide_0", 2, 6), ("c", 3, 6)]
    assert sorted(converters(made, folds)) == sorted(given)
    x, y = frames(graph)
    assert np.array_equal(ReferenceEngine(made).run(x), y)
    assert made.types()[made.output] == graph.types()[graph.output]


def test_nothing_is_put_where_beats_agree() -> None:
    graph = network(scaled(1), scaled(2), kind=SIX)
    for folds in ({"n0": Fold(), "n1": Fold()}, {"n0": Fold("folded", 2), "n1": Fold()}):
        assert fitted(graph, folds) == (graph, folds)
    made, found = fitted(graph, {"n0": narrow(2), "n1": narrow(2)})
    assert converters(made, found) == [("x", 6, 2), ("t1", 2, 6)]


def test_beats_that_do_not_divide_one_another_meet_in_their_divisor(tmp_path: Path) -> None:
    """2 channels a beat to 3 by way of 1, which a third reader takes as it is."""
    nodes = [
        Node("a", scaled(1), ("x",), "a"),
        Node("b", scaled(2), ("a",), "b"),
        Node("c", scaled(3), ("a",), "c"),
        Node("y", Add(np.array([1]), np.array([-2])), ("b", "c"), "y"),
    ]
    graph = Graph("x", SIX, nodes, "y")
    made, folds = fitted(graph, {"a": narrow(2), "b": narrow(3), "c": narrow(1), "y": narrow(2)})
    (one,) = {node.output for node in made.nodes if node.inputs == ("a",)}
    steps = [("x", 6, 2), ("a", 2, 1), (one, 1, 3), ("b", 3, 1), ("c", 1, 2), ("y", 2, 6)]
    (last,) = {node.output for node in made.nodes if node.inputs == ("b",)}
    assert converters(made, folds) == [*steps[:4], (last, 1, 2), *steps[4:]]
    x, y = frames(graph)
    assert parity.check_verilog(made, folds, x, y, tmp_path) == 6 * 6


def test_an_input_of_several_pixels_a_beat_is_its_readers(tmp_path: Path) -> None:
    """Blocks take 2 pixels a beat and give whole ones, of which the next operator takes parts."""
    factors = np.arange(1, 13)
    graph = network(BLOCKS, Requantize(factors, factors * 5, 3, "half_even", -20, 20))
    made, folds = fitted(graph, {"n0": Fold(beat=2), "n1": narrow(4)})
    assert converters(made, folds) == [("t0", 12, 4), ("t1", 4, 12)]
    x, y = frames(graph)
    design = lower_rtl.lower(made, folds, tmp_path)
    assert lint(tmp_path) == ""
    engine = VerilatorEngine(tmp_path, graph.input_type, graph.types()["t1"], beat=input_beat(made, folds))
    for stalls in reversed(parity.STALLS):
        assert parity.mismatches(y, engine.run(x, stalls=stalls)) == 0
    assert parity.off_schedule(design, engine) == 0 and engine.cycles_per_frame == 6 * 3


def with_luts(lut: float) -> Board:
    return replace(ULTRA96, budget=replace(ULTRA96.budget, lut=lut))


def test_beats_are_narrow_only_where_whole_pixels_do_not_fit() -> None:
    """48 channels a beat take many times the LUTs of one."""
    kind, factors = IntType((48, 2, 2), -(1 << 15), (1 << 15) - 1), np.arange(3, 51)
    graph = network(*(Requantize(factors, factors, 5, "half_even", kind.lo, kind.hi) for _ in range(2)), kind=kind)

    def least(target: Target) -> float:
        """LUTs of the smallest that such a target builds, as a budget of which a part is used."""
        known = ladders(graph, ULTRA96, target)
        return sum(min(choice.cost.lut for choice in choices) for choices in known.values()) / target.max_utilization

    whole, parts = least(Target(narrow=False)), least(Target(narrow=True))
    assert 2 * parts < whole
    for lut, expected in ((ULTRA96.budget.lut, False), (1.01 * whole, False), (0.99 * whole, True), (1.01 * parts, True)):
        found = plan(graph, with_luts(lut), Target())
        assert found.target.narrow is expected
        assert {fold.narrow for fold in found.folds.values()} == {expected}
        assert all(fold in [choice.fold for choice in found.known[name]] for name, fold in found.folds.items())
    with pytest.raises(TooBigError):
        plan(graph, with_luts(0.99 * parts), Target())
    with pytest.raises(TooBigError):  # who asks for whole pixels gets no others
        plan(graph, with_luts(0.99 * whole), Target(narrow=False))
    with pytest.raises(EdgeqError, match="leave 0 cycles") as caught:  # no beat makes it faster
        plan(graph, ULTRA96, Target(fps=1e9))
    assert not isinstance(caught.value, TooBigError)
