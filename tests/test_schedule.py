"""The exact schedule: the cycle of every beat as simulated, the least FIFOs that keep the rate, no deadlock whatever stalls.

Every operator and random network is compared beat by beat in test_parity.py and test_networks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import parity
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_networks import random_folds, varied_network

from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import VerilatorEngine
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node
from edgeq.hardware import EMIT, READ, READ_SECOND, TAKE, TAKE_SECOND, Stage, memory_cost, memory_room
from edgeq.lower import rtl
from edgeq.ops._rtl import PATCH_FIFO, Window
from edgeq.ops._schedule import convolution_cycles, window
from edgeq.ops.attention_scores import AttentionScores
from edgeq.ops.attention_values import AttentionValues
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.requantize import Requantize
from edgeq.passes import hardware_passes
from edgeq.schedule import Edge, Network, cycles_alone

FRAMES = 6
PIXEL = Fold()


def join() -> tuple[Graph, dict[str, Fold]]:
    """A convolution that needs three rows and more before its first output, beside the image itself: they meet again."""
    weight = np.zeros((1, 1, 7, 7), np.int64)
    weight[0, 0, 0, 0], weight[0, 0, 6, 6] = 1, 2
    nodes = [Node("late", Conv2d(weight, pads=(3, 3, 3, 3)), ("x",), "late"), Node("join", Concat(), ("late", "x"), "y")]
    return Graph("x", IntType((1, 20, 20), -8, 7), nodes, "y"), {"late": Fold("unrolled", 1, 49), "join": PIXEL}


def chain() -> tuple[Graph, dict[str, Fold]]:
    """Two convolutions, the first the slowest; the second pauses between rows, which holds it up."""
    rng = np.random.default_rng(0)
    first, second = (Conv2d(rng.integers(-1, 2, (c, k, 3, 3)), pads=(1, 1, 1, 1)) for c, k in ((4, 1), (2, 4)))
    nodes = [Node("a", first, ("x",), "a"), Node("b", second, ("a",), "y")]
    return Graph("x", IntType((1, 5, 6), 0, 3), nodes, "y"), {"a": Fold("folded", 2, 9), "b": Fold("unrolled", 2, 36)}


def itself(simd: int = 2) -> tuple[Graph, dict[str, Fold]]:
    """The scores of an image with itself: its keys are stored before its first query is taken."""
    return Graph("x", IntType((4, 2, 3), -8, 7), [Node("scores", AttentionScores(2), ("x", "x"), "y")], "y"), {
        "scores": Fold("folded", 1, simd)
    }


def attention(pe: int, tokens: tuple[int, int]) -> tuple[Graph, dict[str, Fold]]:
    """The attention of an image to itself."""
    weights = Requantize(np.array([1]), np.array([0]), 5, "half_even", 0, 15)
    nodes = [
        Node("scores", AttentionScores(2), ("x", "x"), "s"),
        Node("weights", weights, ("s",), "p"),
        Node("values", AttentionValues(2), ("p", "x"), "y"),
    ]
    folds = {"scores": Fold("folded", 1, pe), "weights": PIXEL, "values": Fold("folded", pe, 1)}
    return Graph("x", IntType((4, *tokens), -8, 7), nodes, "y"), folds


NETWORKS = {"join": (join, ("join", 1), 65), "chain": (chain, ("b", 0), 6), "itself": (itself, ("scores", 0), 6)}
"""For each network, where it needs its only FIFO, and of how many words."""


def rate(network: Network, depths: Mapping[Edge, int]) -> Fraction | None:
    """Cycles a frame; None where it stops."""
    try:
        return network.cycles(depths)
    except EdgeqError:
        return None


def built(graph: Graph, folds: dict[str, Fold], folder: Path, depths: dict[Edge, int]) -> tuple[rtl.Design, VerilatorEngine]:
    made = rtl.lower(graph, folds, folder, depths)
    engine = parity.simulation(graph, folder)
    engine.silence = 10_000
    return made, engine


def frames_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    x = graph.input_type.random(np.random.default_rng(0), FRAMES)
    return x, ReferenceEngine(graph).run(x)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_word_less_is_slower_as_the_schedule_says(name: str, tmp_path: Path) -> None:
    make, edge, words = NETWORKS[name]
    graph, folds = make()
    x, y = frames_of(graph)
    depths = Network(graph, folds).least_depths()
    assert {e: d for e, d in depths.items() if d} == {edge: words}
    slowest = parity.declared_cycles(graph, folds)
    seen = []
    for less in (0, 1):
        made, engine = built(graph, folds, tmp_path / str(less), depths | {edge: words - less})
        assert made.depths == {edge: words - less}
        assert parity.mismatches(y, engine.run(x)) == 0
        assert parity.off_schedule(made, engine) == 0
        assert engine.cycles_per_frame == made.network.cycles(made.depths)
        seen.append(engine.cycles_per_frame)
    assert seen[0] == slowest < seen[1]


def test_one_word_less_in_a_random_network(tmp_path: Path) -> None:
    seed = 3
    graph, x, y = varied_network(seed)
    graph = hardware_passes(graph)
    folds = random_folds(graph, seed)
    depths = Network(graph, folds).least_depths()
    edge = max(depths, key=lambda e: depths[e])
    made, engine = built(graph, folds, tmp_path, depths | {edge: depths[edge] - 1})
    assert depths[edge] > 4 and len(made.fifos) > 1
    assert parity.mismatches(y, engine.run(x)) == 0
    assert parity.off_schedule(made, engine) == 0
    assert engine.cycles_per_frame > parity.declared_cycles(graph, folds)


def test_an_operator_that_reads_one_tensor_twice_needs_no_fifo(tmp_path: Path) -> None:
    graph = Graph("x", IntType((2, 3, 4), -8, 7), [Node("twice", Concat(), ("x", "x"), "y")], "y")
    x, y = frames_of(graph)
    made, engine = built(graph, {"twice": PIXEL}, tmp_path, Network(graph, {"twice": PIXEL}).least_depths())
    assert made.fifos == () and parity.mismatches(y, engine.run(x)) == parity.off_schedule(made, engine) == 0
    assert engine.cycles_per_frame == 12


@pytest.fixture(scope="module", params=NETWORKS)
def smallest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, VerilatorEngine]:
    """One of NETWORKS with its least FIFOs."""
    graph, folds = NETWORKS[request.param][0]()
    _, engine = built(graph, folds, tmp_path_factory.mktemp(request.param), Network(graph, folds).least_depths())
    return request.param, engine


def test_a_schedule_that_is_a_cycle_off_is_found(smallest: tuple[str, VerilatorEngine]) -> None:
    """In the latency of any stage."""
    name, engine = smallest
    graph, folds = NETWORKS[name][0]()
    engine.run(frames_of(graph)[0])
    network = Network(graph, folds)
    right = network.simulate(network.least_depths(), FRAMES)
    assert np.array_equal(right.outputs, engine.output_cycles)
    for name, stages in network.stages.items():
        for k, stage in enumerate(stages):
            network.stages[name] = (*stages[:k], replace(stage, latency=stage.latency + 1), *stages[k + 1 :])
            wrong = network.simulate(network.least_depths(), FRAMES)
            assert not np.array_equal(wrong.outputs, engine.output_cycles), (name, stage)
        network.stages[name] = stages


BURSTS = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.integers(1, 9), st.integers(1, 900))), min_size=1, max_size=12)


@settings(max_examples=60)
@given(bursts=BURSTS)
def test_no_pattern_of_stalls_stops_or_changes_the_least_network(
    smallest: tuple[str, VerilatorEngine], bursts: list[tuple[int, int]]
) -> None:
    """Pauses of the input (1), the output (2) or both (3) for up to two frames, in any order and over and over."""
    name, engine = smallest
    x, y = frames_of(NETWORKS[name][0]()[0])
    pauses = np.concatenate([np.full(count, what) for what, count in [*bursts, (0, 1)]])
    assert parity.mismatches(y, engine.run(x, pauses=pauses)) == 0


def test_a_network_that_can_stop_is_refused_and_does_stop(tmp_path: Path) -> None:
    graph, folds = join()
    x, _ = frames_of(graph)
    network, edge = Network(graph, folds), ("join", 1)
    live = next(words for words in range(1, 71) if rate(network, {edge: words}))
    with pytest.raises(EdgeqError, match="FIFOs are too small"):
        network.cycles({edge: live - 1})
    for words in (live - 1, live):
        _, engine = built(graph, folds, tmp_path / str(words), {edge: words})
        if words == live:
            assert engine.run(x, pauses=np.array([0, 0, 1, 0, 2])).shape == (FRAMES, 2, 20, 20)
            continue
        with pytest.raises(EdgeqError, match="deadlock"):
            engine.run(x)


@pytest.mark.parametrize("seed", range(40))
def test_each_fifo_is_the_least_that_keeps_the_rate(seed: int) -> None:
    graph = hardware_passes(varied_network(seed)[0])
    folds = random_folds(graph, seed)
    network = Network(graph, folds)
    depths, period = network.least_depths(), parity.declared_cycles(graph, folds)
    assert rate(network, depths) == network.least_cycles() == period
    for edge, words in depths.items():
        if words:
            slower = rate(network, depths | {edge: words - 1})
            assert slower is None or slower > period
    assert depths == Network(graph, folds).least_depths()
    long = network.simulate(depths, 24)
    assert long.last_frame <= period == rate(network, {edge: 4096 for edge in depths})


@pytest.mark.parametrize("seed", range(100, 116))
def test_the_rate_is_that_of_a_long_run_with_any_fifos(seed: int) -> None:
    graph = hardware_passes(varied_network(seed)[0])
    check_rate(Network(graph, random_folds(graph, seed)), seed, 3)


@pytest.mark.parametrize("seed", range(24))
def test_the_rate_of_an_attention_is_that_of_a_long_run_with_any_fifos(seed: int) -> None:
    check_rate(Network(*attention(1 + seed % 2, (1 + seed // 12, 2))), seed, 8)


def check_rate(network: Network, seed: int, deepest: int) -> None:
    """With FIFOs of up to `deepest` words at random."""
    rng = np.random.default_rng(seed)
    depths = {edge: int(rng.integers(0, deepest + 1)) for edge in network.edges}
    cycles = rate(network, depths)
    if cycles is None:
        with pytest.raises(EdgeqError, match="FIFOs are too small"):
            network.simulate(depths, 1)
        return
    frames = 20 * cycles.denominator
    planned = network.simulate(depths, 2 * frames)
    ends = planned.outputs[planned.per_frame - 1 :: planned.per_frame]
    assert ends[2 * frames - 1] - ends[frames - 1] == cycles * frames


def test_the_rules_for_convolutions_agree_with_their_schedule() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        kernel, dilation, stride, pads = (
            rng.integers(1, 6, 2),
            rng.integers(1, 3, 2),
            rng.integers(1, 5, 2),
            rng.integers(0, 4, 4),
        )
        least = np.maximum(1, (kernel - 1) * dilation + 1 - pads[:2] - pads[2:])
        x = IntType((1, *(int(v) for v in least + rng.integers(0, 14, 2))), 0, 1)
        geometry = Window(x, *(tuple(int(v) for v in part) for part in (kernel, stride, pads, dilation)))
        steps, patches = int(rng.integers(2, 40)), len(geometry.ends())
        read = int(rng.integers(0, steps + 1))
        reading = (Stage.each(patches, 2, cycles=read),) if read else ()
        stages = (window(geometry, PATCH_FIFO), *reading, Stage.each(patches, 40, cycles=steps))
        assert convolution_cycles(geometry, steps, read) == ceil(cycles_alone(stages)), (geometry, steps, read)


def test_a_rate_that_is_no_whole_number_of_cycles() -> None:
    """A loop of 5 cycles through a FIFO of 3 words, for a frame of one beat: 3 frames in 7 cycles."""
    assert cycles_alone([Stage.each(1, 3, latency=5)]) == Fraction(7, 3)
    assert cycles_alone([Stage.each(1, 7, latency=5)]) == 1


def test_an_operator_that_misstates_its_beats_is_told() -> None:
    graph, folds = chain()

    class Wrong(Conv2d):
        def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
            return (Stage(bytes([READ | TAKE | EMIT]) * 29, 6),)

    graph.nodes[1] = Node("b", Wrong(graph.nodes[1].op.weight, pads=(1, 1, 1, 1)), ("a",), "y")  # type: ignore[attr-defined]
    with pytest.raises(EdgeqError, match="takes 29 beats a frame of a stream of 30") as refused:
        Network(graph, folds).least_cycles()
    assert refused.value.where == "b"


@pytest.mark.parametrize(("first", "second"), [(5, 6), (6, 5)])
def test_an_operator_that_misstates_the_beats_of_one_input_is_told(first: int, second: int) -> None:
    class Wrong(Concat):
        def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
            return (Stage(bytes([READ | TAKE]) * first + bytes([READ_SECOND | TAKE_SECOND | EMIT]) * second, 6),)

    graph = Graph("x", IntType((4, 2, 3), -8, 7), [Node("c", Wrong(), ("x", "x"), "y")], "y")
    with pytest.raises(EdgeqError, match="takes 5 beats a frame of a stream of 6"):
        Network(graph, {"c": PIXEL}).least_cycles()


def test_the_stored_tokens_of_two_frames_are_taken_while_the_first_is_read() -> None:
    """A third waits until the last query of the first has read its last key."""
    graph, folds = itself(1)
    network = Network(graph, folds)
    inputs = network.simulate(network.least_depths() | {("scores", 0): 64}, 4).inputs
    assert inputs[:6] == [1, 3, 5, 7, 9, 11] and inputs[11] == 23
    assert inputs[12] == 12 + 72 + 1


def test_a_fifo_gets_the_words_that_its_memory_holds_anyway(tmp_path: Path) -> None:
    graph, folds = chain()
    (fifo,) = rtl.lower(graph, folds, tmp_path).fifos
    assert (fifo.needed, fifo.depth, fifo.frame) == (6, 32, 30)
    for width in (1, 9, 18, 40, 100):
        for depth in (1, 32, 33, 64, 65, 513, 1025, 5000):
            room = memory_room(width, depth)
            assert room >= depth and memory_cost(width, room) == memory_cost(width, depth)
            assert memory_cost(width, room + (32 if depth <= 64 else 512)) != memory_cost(width, depth) or room == 64
