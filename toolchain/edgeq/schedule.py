"""The exact schedule of a network: the cycle of every beat, its rate, and the least FIFOs that keep that rate.

Control never depends on data and every step is taken as soon as it can, so a network is a timed event graph: a step starts at
the maximum of (the start of an earlier step + a constant), a max-plus recurrence. A FIFO of D words is the arc "word n may come
a cycle after word n - D has left". Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity (1992), chapters 2 and 3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold, input_stream
from edgeq.graph import Graph
from edgeq.hardware import EMIT, LUT_RAM_DEPTH, Stage
from edgeq.timing import NONE, State, Structure, evaluate

Edge = tuple[str, int]
"""A node and which of its inputs: where a FIFO may stand."""

NEVER = -(1 << 60)
"""The cycle of what had happened before all time."""
MAX_STEPS = 1 << 20
"""Of a frame, up to which each FIFO's depth is searched, which takes some ten frames each."""
SKID = 4
"""Words behind the block RAM of a large eq_fifo."""


@dataclass(frozen=True)
class Schedule:
    """What the network does from the first cycle after reset, its input always valid and its output always ready.

    inputs, outputs: the cycle of each beat, of all frames that were asked for, from 0.  per_frame: beats of the output a frame.
    """

    inputs: list[int]
    outputs: list[int]
    per_frame: int

    @property
    def latency(self) -> int:
        """The cycle of the first output beat, as the harness counts."""
        return self.outputs[0]

    @property
    def frame_latency(self) -> int:
        """Cycles until the first frame is out."""
        return self.outputs[self.per_frame - 1] + 1

    @property
    def last_frame(self) -> int:
        """Cycles between the last beats of the last two frames."""
        return self.outputs[-1] - self.outputs[-1 - self.per_frame]


class Network:
    """A graph with its folds as an event graph; FIFO depths are given to each question.

    stages: of each node.  edges: where a FIFO may stand, in the order of the nodes.  joins: those of nodes with several inputs.
    buffers: those of nodes that are there for their FIFO.
    """

    def __init__(self, graph: Graph, folds: Mapping[str, Fold]) -> None:
        types = graph.types()
        self._graph = graph
        self._beats = input_stream(graph, folds).pixels
        self.stages = {n.name: n.op.schedule(folds[n.name], *(types[name] for name in n.inputs)) for n in graph.nodes}
        self.edges: list[Edge] = [(node.name, port) for node in graph.nodes for port in range(len(node.inputs))]
        self.joins = [edge for node in graph.nodes if len(node.inputs) > 1 for edge in self.edges if edge[0] == node.name]
        self.buffers = [(node.name, 0) for node in graph.nodes if node.op.buffers(folds[node.name])]

    def simulate(self, depths: Mapping[Edge, int], frames: int) -> Schedule:
        """The first `frames` frames. Raises EdgeqError where the network stops for want of buffers."""
        return self._events(depths).simulate(frames)

    def cycles(self, depths: Mapping[Edge, int | None]) -> Fraction:
        """Cycles a frame in the long run; a fraction where frames differ. Raises EdgeqError where the network stops.

        depths: 0, or none given, is no FIFO; None is one that never fills.
        """
        return self._events(depths).rate()[0]

    def least_cycles(self) -> Fraction:
        """cycles() with FIFOs that never fill."""
        return self.cycles(dict.fromkeys(self.edges))

    def least_depths(self, period: Fraction | None = None) -> dict[Edge, int]:
        """A FIFO depth for every edge, 0 for none, with which the network has the rate of unlimited FIFOs.

        Each is the least that keeps the rate, given the others. Edges of operators with one input are freed of theirs first,
        those of buffers last. In a network of more than MAX_STEPS steps a frame, those left are as large as the earliest schedule
        needs. period: cycles a frame that are enough.
        """
        depths: dict[Edge, int | None] = dict.fromkeys(self.edges)
        period = max(self.cycles(depths), period or Fraction(0))
        single = [e for e in self.edges if e not in self.joins and e not in self.buffers]
        for group in (single, list(self.joins), list(self.buffers)):
            if self._keeps(period, without := depths | dict.fromkeys(group, 0)):
                depths = without
                continue
            for edge in group:
                if self._keeps(period, without := depths | {edge: 0}):
                    depths = without
        found = {edge: depth or 0 for edge, depth in depths.items()} | self._events(depths).held(period)
        if sum(len(stage.walk) for stages in self.stages.values() for stage in stages) > MAX_STEPS:
            return found
        while True:  # a FIFO less may be a wait less for others
            before = dict(found)
            for edge in self.edges:
                found[edge] = self._least(edge, found, period)
            if found == before:
                return found

    def _least(self, edge: Edge, depths: dict[Edge, int], period: Fraction) -> int:
        """The least depth of one FIFO, the others as given, that keeps the rate; its own depth does."""

        def enough(depth: int) -> bool:
            return self._keeps(period, depths | {edge: depth})

        least, most = 1, depths[edge]
        if most == 0 or enough(0):
            return 0
        if most == 1 or not enough(most - 1):
            return most
        if least <= LUT_RAM_DEPTH < most:  # a larger FIFO is another module
            least, most = (least, LUT_RAM_DEPTH) if enough(LUT_RAM_DEPTH) else (LUT_RAM_DEPTH + 1, most)
        return bisect_left(range(most), True, least, key=enough)

    def _keeps(self, period: Fraction, depths: Mapping[Edge, int | None]) -> bool:
        """True where a frame every `period` cycles can be kept up."""
        try:
            found, _ = self._events(depths).solve(period)
        except EdgeqError:
            return False
        return found == period

    def _events(self, depths: Mapping[Edge, int | None]) -> _Events:
        events = _Events()
        streams = {self._graph.input: events.source(self._beats)}
        for node in self._graph.nodes:
            inputs = []
            for port, name in enumerate(node.inputs):
                stream, depth = streams[name], depths.get((node.name, port), 0)
                first = len(events.names)
                for stage in fifo_stages(events.beats[stream], depth):
                    stream = events.add(f"the FIFO of {node.name}", stage, [stream])
                if depth is None:
                    events.unlimited[node.name, port] = first, stream
                inputs.append(stream)
            for stage in self.stages[node.name]:
                if stage.port is None:
                    inputs = [events.add(node.name, stage, inputs)]
                else:
                    inputs[stage.port] = events.add(node.name, stage, [inputs[stage.port]])
            (streams[node.output],) = inputs
        events.add("the output", Stage.each(events.beats[streams[self._graph.output]], None), [streams[self._graph.output]])
        return events


def fifo_stages(beats: int, depth: int | None) -> tuple[Stage, ...]:
    """eq_fifo.sv; 0: none; None: never full, and as slow as a large one."""
    if depth == 0:
        return ()
    if depth is not None and depth <= LUT_RAM_DEPTH:
        return (Stage.each(beats, depth),)
    return Stage.each(beats, depth), Stage.each(beats, SKID, latency=1)


def cycles_alone(stages: Iterable[Stage]) -> Fraction:
    """Cycles a frame of one operator of one input, which is always valid, its output always ready."""
    events = _Events()
    streams: list[int] = []
    for stage in stages:
        streams = [events.add("it", stage, streams or [events.source(stage.taken())])]
    events.add("its output", Stage.each(events.beats[streams[0]], None), streams)
    return events.rate()[0]


class _Events:
    """Processes (stages, each with a place to stand) and the channels between them, one behind each process or source.

    A channel's word n of a frame is emitted and taken in that frame of its writer and its readers. Times are cycles times
    `unit`, so that a period may be a fraction. `starts`: for each process the start of each step of a frame.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.beats: list[int] = []  # by channel
        self.unlimited: dict[Edge, tuple[int, int]] = {}  # first process and last channel of FIFOs that never fill
        self.stages: list[Stage] = []
        self.inputs: list[list[int]] = []
        self.slots: list[list[int]] = []  # which of the readers of each input it is
        self.outputs: list[int] = []
        self.writers: list[int | None] = []  # by channel
        self.readers: list[list[int]] = []
        self.ports: list[list[int]] = []  # which of its inputs the channel is to each of the readers
        self.depths: list[int | None] = []

    def source(self, beats: int) -> int:
        """A channel whose words are there as soon as they are asked for."""
        return self._channel(beats, None, None)

    def add(self, name: str, stage: Stage, inputs: list[int]) -> int:
        """A process; returns its channel."""
        slots = []
        for port, channel in enumerate(inputs):
            if (taken := stage.taken(port)) != self.beats[channel]:
                what = f"takes {taken:,} beats a frame of a stream of {self.beats[channel]:,}"
                raise EdgeqError(what, where=name, fix="correct its schedule()")
            slots.append(len(self.readers[channel]))
            self.readers[channel].append(len(self.names))
            self.ports[channel].append(port)
        self.slots.append(slots)
        self.outputs.append(self._channel(stage.emitted, stage.depth, len(self.names)))
        self.names.append(name)
        self.stages.append(stage)
        self.inputs.append(inputs)
        return self.outputs[-1]

    def _channel(self, beats: int, depth: int | None, writer: int | None) -> int:
        self.beats.append(beats)
        self.writers.append(writer)
        self.readers.append([])
        self.ports.append([])
        self.depths.append(depth)
        return len(self.beats) - 1

    def simulate(self, frames: int) -> Schedule:
        """The first frames, from idle."""
        ready = np.zeros(len(self.names), np.int64)
        gone = self._nothing_gone()
        inputs: list[int] = []
        outputs: list[int] = []
        last = self._walk_at[-2:]
        for _ in range(frames):
            starts, left = self._frame(ready, gone, 1)
            inputs += left[0].tolist()
            outputs += starts[last[0] : last[1]].tolist()
            ready = self._ends(starts, 1)
            gone = [np.concatenate([old, new])[-len(old) :] for old, new in zip(gone, left, strict=True)]
        return Schedule(inputs, outputs, int(last[1] - last[0]))

    def rate(self) -> tuple[Fraction, np.ndarray]:
        """Cycles a frame in the long run, and the starts of a frame: the largest mean of a circuit of the event graph.

        Each circuit that is found is slower than the period tried; the last period is kept up by a schedule, which proves it.
        """
        period = Fraction(max(stage.busy for stage in self.stages))
        while True:
            found, starts = self.solve(period)
            if found == period:
                return period, starts
            period = found

    def solve(self, period: Fraction) -> tuple[Fraction, np.ndarray]:
        """(period, the earliest starts of a schedule with this period), or (the larger mean of a circuit, starts of no meaning).

        A frame is evaluated again and again, its past being the frame before repeated, until nothing moves.
        """
        unit, step = period.denominator, period.numerator
        ready, gone = np.zeros(len(self.names), np.int64), self._nothing_gone()
        rounds: list[np.ndarray] = []
        while True:
            starts, left = self._frame(ready, gone, unit)
            if rounds and np.array_equal(starts, rounds[-1]):
                return period, starts
            rounds.append(starts)
            if len(rounds) > 2 and (found := self._circuit(rounds, period)):
                return found, starts
            ready = np.maximum(0, self._ends(starts, unit) - step)
            gone = [self._repeated(words, self.kept(c), step) for c, words in enumerate(left)]

    @staticmethod
    def _repeated(frame: np.ndarray, count: int, step: int) -> np.ndarray:
        """The last `count` words of all frames before, each of which was `frame`, `step` apart."""
        frames, words = np.divmod(np.arange(-count, 0), len(frame))
        return frame[words] + frames * step

    def held(self, period: Fraction) -> dict[Edge, int]:
        """Depths with which the unlimited FIFOs allow the earliest schedule of this period: word n comes after n - depth left."""
        _, starts = self.solve(period)
        unit, step = period.denominator, period.numerator
        found = {}
        for edge, (first, channel) in self.unlimited.items():
            (reader,), (port,) = self.readers[channel], self.ports[channel]
            stage = self.stages[reader]
            came = self._of(starts, first)
            left = self._of(starts, reader)[_places(stage.walk, stage.marks(port)[1])] + (stage.cycles - 1) * unit
            frames = int(left[-1] - came[0]) // step + 2
            all_left = (left + np.arange(-frames, frames)[:, None] * step).ravel()
            gone = np.searchsorted(all_left, came - unit, side="right") - frames * len(left)
            found[edge] = max(1, int((np.arange(1, len(came) + 1) - gone).max()))
        return found

    def kept(self, channel: int) -> int:
        """Words of a channel's past that matter."""
        return max(1, self.depths[channel] or 0)

    def _nothing_gone(self) -> list[np.ndarray]:
        return [np.full(self.kept(channel), NEVER) for channel in range(len(self.beats))]

    @cached_property
    def _walk_at(self) -> np.ndarray:
        """Where the steps of each process begin among those of all."""
        return _offsets([len(stage.walk) for stage in self.stages])

    def _of(self, starts: np.ndarray, process: int) -> np.ndarray:
        """The starts of one process."""
        return starts[self._walk_at[process] : self._walk_at[process + 1]]

    def _ends(self, starts: np.ndarray, unit: int) -> np.ndarray:
        return starts[self._walk_at[1:] - 1] + unit * np.array([stage.cycles for stage in self.stages])

    @cached_property
    def _structure(self) -> Structure:
        channels = range(len(self.beats))
        kept = [self.kept(c) for c in channels]
        many = [len(readers) > 1 for readers in self.readers]
        inputs = [(*each, NONE)[:2] for each in self.inputs]
        slots = [(*each, NONE)[:2] for each in self.slots]
        turns = [next((self.readers[c] for c in each if many[c]), [p]) for p, each in enumerate(self.inputs)]
        numbers = {
            "cycles": [stage.cycles for stage in self.stages],
            "latency": [stage.latency for stage in self.stages],
            "back": [stage.back for stage in self.stages],
            "bounded": [stage.depth is not None for stage in self.stages],
            "apart": [stage.apart for stage in self.stages],
            "first": [first for first, _ in inputs],
            "second": [second for _, second in inputs],
            "first_slot": [first for first, _ in slots],
            "second_slot": [second for _, second in slots],
            "output": self.outputs,
            "turns": [p for each in turns for p in each],
            "beats": self.beats,
            "kept": kept,
            "writer": [NONE if writer is None else writer for writer in self.writers],
            "readers": [reader for readers in self.readers for reader in readers],
        }
        taken = [self.beats[c] * many[c] for c in channels for _ in self.readers[c]]
        return Structure(
            walk=np.frombuffer(b"".join(stage.walk for stage in self.stages), np.uint8),
            walk_at=self._walk_at,
            beats_at=_offsets(self.beats),
            gone_at=_offsets([k + n for k, n in zip(kept, self.beats, strict=True)]),
            readers_at=_offsets([len(readers) for readers in self.readers]),
            taken_at=_offsets(taken),
            turns_at=_offsets([len(each) for each in turns]),
            **{name: np.array(values, np.int64) for name, values in numbers.items()},
        )

    def _frame(self, ready: np.ndarray, gone: list[np.ndarray], unit: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """The starts of a frame, every step as soon as it can, and when the words of each channel left it.

        ready: the cycle from which each process is free.  gone: when the last `kept` words of each channel left it.
        Raises EdgeqError where no process can go on.
        """
        net = self._structure
        processes, channels = len(self.names), len(self.beats)

        def zeros(count: int) -> np.ndarray:
            return np.zeros(count, np.int64)

        state = State(
            starts=zeros(net.walk_at[-1]), begun=zeros(processes), took=zeros(processes), took_second=zeros(processes),
            gave=zeros(processes), pending=np.ones(processes, np.bool_), came=zeros(net.beats_at[-1]),
            came_count=np.where(net.writer == NONE, net.beats, 0), shown=zeros(net.beats_at[-1]), shown_count=zeros(channels),
            taken=zeros(net.taken_at[-1]), taken_count=zeros(len(net.readers)), gone=zeros(net.gone_at[-1]),
            gone_count=net.kept.copy(),
        )  # fmt: skip
        for at, words in zip(net.gone_at, gone, strict=False):
            state.gone[at : at + len(words)] = words
        stuck = evaluate(net, state, ready, unit)
        if stuck != NONE:
            raise EdgeqError("the network stops: its FIFOs are too small", where=self.names[stuck], fix="larger FIFOs")
        ends = net.gone_at[1:]
        return state.starts, [state.gone[end - n : end] for end, n in zip(ends, self.beats, strict=True)]

    def _circuit(self, rounds: list[np.ndarray], period: Fraction) -> Fraction | None:
        """The mean of a circuit that takes longer than `period` a frame, if the last rounds show one.

        What moved in the last round was moved by something that moved, in this round or the one before. Followed back through
        the rounds, a step that is met twice closes a circuit: a path from itself, in fewer frames than periods.
        """
        at, begin = len(rounds) - 1, self._walk_at
        place = int(np.argmax(rounds[at] > rounds[at - 1]))
        p = int(np.searchsorted(begin, place, side="right")) - 1
        k = place - int(begin[p])
        frames = 0
        met: dict[tuple[int, int], tuple[int, int]] = {}
        unit, step = period.denominator, period.numerator
        while at > 0:
            p, k, back = next(
                (q, j, shift)
                for q, j, weight, shift in self._causes(p, k)
                if rounds[at - (shift > 0)][begin[q] + j] + weight * unit - shift * step == rounds[at][begin[p] + k]
            )
            if back:
                at, frames = at - 1, frames + back
                if (p, k) in met:
                    later, before = met[p, k]
                    gain = int(rounds[later][begin[p] + k] - rounds[at][begin[p] + k])
                    return period + Fraction(gain, unit * (frames - before))
                met[p, k] = at, frames
        return None

    def _causes(self, p: int, k: int) -> Iterator[tuple[int, int, int, int]]:
        """What step k of process p waits for: (process, step, cycles from its start to this one's, frames back)."""
        stage = self.stages[p]
        yield (p, k - 1, stage.cycles, 0) if k else (p, len(stage.walk) - 1, stage.cycles, 1)
        if stage.depth is not None:
            word = int(_before(stage.walk, EMIT)[k]) - stage.depth
            yield from self._takers(self.outputs[p], word, stage.back - 1)
        for port, channel in enumerate(self.inputs[p]):
            read, take = stage.marks(port)
            if not stage.walk[k] & read:
                continue
            word = int(_before(stage.walk, take)[k])
            writer = self.writers[channel]
            if writer is not None:
                source = self.stages[writer]
                yield writer, int(_places(source.walk, EMIT)[word]), source.cycles + source.latency, 0
            if len(self.readers[channel]) > 1:
                yield from self._takers(channel, word - 1, 0)

    def _takers(self, channel: int, word: int, more: int) -> Iterator[tuple[int, int, int, int]]:
        """The steps that take a word; its frame is before this one where it is negative."""
        frames, word = divmod(word, self.beats[channel])
        for reader, port in zip(self.readers[channel], self.ports[channel], strict=True):
            stage = self.stages[reader]
            yield reader, int(_places(stage.walk, stage.marks(port)[1])[word]), stage.cycles + more, -frames


@lru_cache(maxsize=1024)
def _places(walk: bytes, what: int) -> np.ndarray:
    """The steps that do it."""
    return np.flatnonzero(np.frombuffer(walk, np.uint8) & what)


@lru_cache(maxsize=1024)
def _before(walk: bytes, what: int) -> np.ndarray:
    """How many steps before each one do it."""
    does = np.frombuffer(walk, np.uint8) & what > 0
    return np.cumsum(does) - does


def _offsets(sizes: Sequence[int]) -> np.ndarray:
    """Where each begins when they lie one behind the other, and where the last ends."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
