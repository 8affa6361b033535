"""The exact schedule of a network: the cycle of every beat, its rate, and the least FIFOs that keep that rate.

Control never depends on data and every step is taken as soon as it can, so a network is a timed event graph: a step starts at
the maximum of (the start of an earlier step + a constant), a max-plus recurrence. A FIFO of D words is the arc "word n may come
a cycle after word n - D has left". Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity (1992), chapters 2 and 3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold, input_stream
from edgeq.graph import Graph
from edgeq.hardware import EMIT, LUT_RAM_DEPTH, READ, READ_SECOND, TAKE, TAKE_SECOND, Stage

Edge = tuple[str, int]
"""A node and which of its inputs: where a FIFO may stand."""

NEVER = -(1 << 60)
"""The cycle of what had happened before all time."""
NO_LIMIT = 1 << 60
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
    """

    def __init__(self, graph: Graph, folds: Mapping[str, Fold]) -> None:
        types = graph.types()
        self._graph = graph
        self._beats = input_stream(graph, folds).pixels
        self.stages = {n.name: n.op.schedule(folds[n.name], *(types[name] for name in n.inputs)) for n in graph.nodes}
        self.edges: list[Edge] = [(node.name, port) for node in graph.nodes for port in range(len(node.inputs))]
        self.joins = {edge for node in graph.nodes if len(node.inputs) > 1 for edge in self.edges if edge[0] == node.name}

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

    def least_depths(self) -> dict[Edge, int]:
        """A FIFO depth for every edge, 0 for none, with which the network has the rate of unlimited FIFOs.

        Each is the least that keeps the rate, given the others. Edges of operators with one input are freed of theirs first.
        """
        depths: dict[Edge, int | None] = dict.fromkeys(self.edges)
        period = self.cycles(depths)
        for group in ([e for e in self.edges if e not in self.joins], [e for e in self.edges if e in self.joins]):
            if self._keeps(period, without := depths | dict.fromkeys(group, 0)):
                depths = without
                continue
            for edge in group:
                if self._keeps(period, without := depths | {edge: 0}):
                    depths = without
        found = {edge: depth or 0 for edge, depth in depths.items()} | self._events(depths).held(period)
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
        ready = [0] * len(self.names)
        gone = self._nothing_gone()
        inputs: list[int] = []
        outputs: list[int] = []
        for _ in range(frames):
            starts = self._frame(ready, gone, 1)
            inputs += gone[0][-self.beats[0] :]
            outputs += starts[-1]
            ready = self._ends(starts, 1)
            gone = [words[-self.kept(c) :] for c, words in enumerate(gone)]
        return Schedule(inputs, outputs, len(starts[-1]))

    def rate(self) -> tuple[Fraction, list[list[int]]]:
        """Cycles a frame in the long run, and the starts of a frame: the largest mean of a circuit of the event graph.

        Each circuit that is found is slower than the period tried; the last period is kept up by a schedule, which proves it.
        """
        period = Fraction(max(stage.busy for stage in self.stages))
        while True:
            found, starts = self.solve(period)
            if found == period:
                return period, starts
            period = found

    def solve(self, period: Fraction) -> tuple[Fraction, list[list[int]]]:
        """(period, the earliest starts of a schedule with this period), or (the larger mean of a circuit, starts of no meaning).

        A frame is evaluated again and again, its past being the frame before repeated, until nothing moves.
        """
        unit, step = period.denominator, period.numerator
        ready, gone = [0] * len(self.names), self._nothing_gone()
        rounds: list[list[list[int]]] = []
        while True:
            starts = self._frame(ready, gone, unit)
            if rounds and starts == rounds[-1]:
                return period, starts
            rounds.append(starts)
            if len(rounds) > 2 and (found := self._circuit(rounds, period)):
                return found, starts
            ready = [max(0, end - step) for end in self._ends(starts, unit)]
            gone = [
                self._repeated(words[-n:], self.kept(c), step) for c, (words, n) in enumerate(zip(gone, self.beats, strict=True))
            ]

    @staticmethod
    def _repeated(frame: list[int], count: int, step: int) -> list[int]:
        """The last `count` words of all frames before, each of which was `frame`, `step` apart."""
        n = len(frame)
        return [frame[word % n] + (word // n) * step for word in range(-count, 0)]

    def held(self, period: Fraction) -> dict[Edge, int]:
        """Depths with which the unlimited FIFOs allow the earliest schedule of this period: word n comes after n - depth left."""
        _, starts = self.solve(period)
        unit, step = period.denominator, period.numerator
        found = {}
        for edge, (first, channel) in self.unlimited.items():
            (reader,), (port,) = self.readers[channel], self.ports[channel]
            stage = self.stages[reader]
            came = np.array(starts[first])
            left = np.array(starts[reader])[_places(stage.walk, stage.marks(port)[1])] + (stage.cycles - 1) * unit
            frames = int(left[-1] - came[0]) // step + 2
            all_left = (left + np.arange(-frames, frames)[:, None] * step).ravel()
            gone = np.searchsorted(all_left, came - unit, side="right") - frames * len(left)
            found[edge] = max(1, int((np.arange(1, len(came) + 1) - gone).max()))
        return found

    def kept(self, channel: int) -> int:
        """Words of a channel's past that matter."""
        return max(1, self.depths[channel] or 0)

    def _nothing_gone(self) -> list[list[int]]:
        return [[NEVER] * self.kept(channel) for channel in range(len(self.beats))]

    def _ends(self, starts: list[list[int]], unit: int) -> list[int]:
        return [steps[-1] + stage.cycles * unit for steps, stage in zip(starts, self.stages, strict=True)]

    def _frame(self, ready: list[int], gone: list[list[int]], unit: int) -> list[list[int]]:
        """The starts of a frame, every step as soon as it can.

        ready: the cycle from which each process is free.  gone: when the last `kept` words of each channel left it;
        those of this frame are appended.  Raises EdgeqError where no process can go on.
        """
        frame = _Frame(self, ready, gone, unit)
        # Each runs as far as it can, in the order of the network. Readers of one fork take turns, a word each.
        turns = [next((self.readers[c] for c in inputs if len(self.readers[c]) > 1), [p]) for p, inputs in enumerate(self.inputs)]
        while True in frame.pending:
            for readers in turns:
                while any(frame.pending[p] for p in readers):
                    for p in readers:
                        if frame.pending[p]:
                            frame.advance(p)
        for name, stage, starts in zip(self.names, self.stages, frame.starts, strict=True):
            if len(starts) < len(stage.walk):
                raise EdgeqError("the network stops: its FIFOs are too small", where=name, fix="larger FIFOs")
        return frame.starts

    def _circuit(self, rounds: list[list[list[int]]], period: Fraction) -> Fraction | None:
        """The mean of a circuit that takes longer than `period` a frame, if the last rounds show one.

        What moved in the last round was moved by something that moved, in this round or the one before. Followed back through
        the rounds, a step that is met twice closes a circuit: a path from itself, in fewer frames than periods.
        """
        at = len(rounds) - 1
        p, k = next(
            (p, k)
            for p, (new, old) in enumerate(zip(rounds[at], rounds[at - 1], strict=True))
            if new != old
            for k in range(len(new))
            if new[k] > old[k]
        )
        frames = 0
        met: dict[tuple[int, int], tuple[int, int]] = {}
        while at > 0:
            unit, step = period.denominator, period.numerator
            p, k, back = next(
                (q, j, shift)
                for q, j, weight, shift in self._causes(p, k)
                if rounds[at - (shift > 0)][q][j] + weight * unit - shift * step == rounds[at][p][k]
            )
            if back:
                at, frames = at - 1, frames + back
                if (p, k) in met:
                    later, before = met[p, k]
                    gain = rounds[later][p][k] - rounds[at][p][k]
                    return period + Fraction(gain, unit * (frames - before))
                met[p, k] = at, frames
        return None

    def _causes(self, p: int, k: int) -> Iterator[tuple[int, int, int, int]]:
        """What step k of process p waits for: (process, step, cycles from its start to this one's, frames back)."""
        stage = self.stages[p]
        yield (p, k - 1, stage.cycles, 0) if k else (p, len(stage.walk) - 1, stage.cycles, 1)
        if stage.depth is not None:
            word = _before(stage.walk, EMIT)[k] - stage.depth
            yield from self._takers(self.outputs[p], word, stage.back - 1)
        for port, channel in enumerate(self.inputs[p]):
            read, take = stage.marks(port)
            if not stage.walk[k] & read:
                continue
            word = _before(stage.walk, take)[k]
            writer = self.writers[channel]
            if writer is not None:
                source = self.stages[writer]
                yield writer, _places(source.walk, EMIT)[word], source.cycles + source.latency, 0
            if len(self.readers[channel]) > 1:
                yield from self._takers(channel, word - 1, 0)

    def _takers(self, channel: int, word: int, more: int) -> Iterator[tuple[int, int, int, int]]:
        """The steps that take a word; its frame is before this one where it is negative."""
        frames, word = divmod(word, self.beats[channel])
        for reader, port in zip(self.readers[channel], self.ports[channel], strict=True):
            stage = self.stages[reader]
            yield reader, _places(stage.walk, stage.marks(port)[1])[word], stage.cycles + more, -frames


class _Frame:
    """A frame that is being evaluated: `advance` the processes that are `pending` until none is."""

    def __init__(self, events: _Events, ready: list[int], gone: list[list[int]], unit: int) -> None:
        self.starts: list[list[int]] = [[] for _ in events.names]
        self.pending = [True] * len(events.names)
        self._events, self._ready, self._gone, self._unit = events, ready, gone, unit
        self._forks = {c for c, readers in enumerate(events.readers) if len(readers) > 1}
        # By channel: when each word of this frame came, when its readers saw it, and when each of them took it.
        self._came: list[list[int]] = [[0] * n if w is None else [] for n, w in zip(events.beats, events.writers, strict=True)]
        self._shown = [[] if c in self._forks else words for c, words in enumerate(self._came)]
        self._taken: list[list[list[int]]] = [
            [[] for _ in readers] if c in self._forks else [gone[c]] for c, readers in enumerate(events.readers)
        ]
        # By process: of the inputs that it takes together, and of the second one where it takes that apart.
        self._words = [[self._shown[c] for c in inputs] for inputs in events.inputs]
        self._mine = [
            [self._taken[c][slot] for c, slot in zip(inputs, slots, strict=True)]
            for inputs, slots in zip(events.inputs, events.slots, strict=True)
        ]
        self._second: list[tuple[list[int], list[int]]] = [
            (words.pop(), mine.pop()) if stage.apart else ([], [])
            for stage, words, mine in zip(events.stages, self._words, self._mine, strict=True)
        ]
        self._took, self._took_second, self._gave = ([0] * len(events.names) for _ in range(3))
        for fork in self._forks:
            self._settle(fork)

    def advance(self, p: int) -> None:
        """Takes the steps of a process for which everything is there."""
        self.pending[p] = False
        events, unit, begun, word, out = self._events, self._unit, self.starts[p], self._took[p], self._gave[p]
        stage, target, words, mine = events.stages[p], events.outputs[p], self._words[p], self._mine[p]
        second_words, second_mine = self._second[p]
        second, second_there = self._took_second[p], len(second_words)
        cycles, back = stage.cycles * unit, stage.back * unit
        delay, last = cycles + stage.latency * unit, cycles - unit
        credits, given = self._gone[target], self._came[target]
        waits = stage.depth is not None
        room, there = len(credits) if waits else NO_LIMIT, min(map(len, words))
        free = begun[-1] + cycles if begun else self._ready[p]
        for does in stage.walk[len(begun) :]:
            if out >= room or (does & READ and word >= there) or (does & READ_SECOND and second >= second_there):
                break
            if waits and (credit := credits[out] + back) > free:
                free = credit
            if does & READ:
                for each in words:
                    if each[word] > free:
                        free = each[word]
            if does & READ_SECOND and second_words[second] > free:
                free = second_words[second]
            begun.append(free)
            if does & TAKE:
                word += 1
                for ends in mine:
                    ends.append(free + last)
            if does & TAKE_SECOND:
                second += 1
                second_mine.append(free + last)
            if does & EMIT:
                out += 1
                given.append(free + delay)
            free += cycles
        if out > self._gave[p]:
            self._gave[p] = out
            self._wake(target)
        if word > self._took[p] or second > self._took_second[p]:
            self._took[p], self._took_second[p] = word, second
            for channel in events.inputs[p]:
                if channel in self._forks:
                    self._wake(channel)
                if (writer := events.writers[channel]) is not None:
                    self.pending[writer] = True

    def _wake(self, channel: int) -> None:
        if channel in self._forks:
            self._settle(channel)
        for reader in self._events.readers[channel]:
            self.pending[reader] = True

    def _settle(self, fork: int) -> None:
        """A fork is rid of a word when all readers have taken it, and shows the next one a cycle later."""
        left, past, shown, came = self._gone[fork], self._events.kept(fork), self._shown[fork], self._came[fork]
        for word in range(len(left) - past, min(map(len, self._taken[fork]))):
            left.append(max(ends[word] for ends in self._taken[fork]))
        for word in range(len(shown), min(len(came), len(left) - past + 1)):
            shown.append(max(came[word], left[past + word - 1] + self._unit))


@lru_cache(maxsize=1024)
def _places(walk: bytes, what: int) -> list[int]:
    """The steps that do it."""
    return [k for k, does in enumerate(walk) if does & what]


@lru_cache(maxsize=1024)
def _before(walk: bytes, what: int) -> list[int]:
    """How many steps before each one do it."""
    return list(accumulate((int(does & what > 0) for does in walk), initial=0))
