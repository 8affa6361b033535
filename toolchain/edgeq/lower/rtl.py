"""The Verilog of a network: one instance an operator, the streams between them, and what these instances need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from edgeq.fold import Fold, streams
from edgeq.graph import Graph, IntType
from edgeq.hardware import Cost, RtlInstance, memory_cost, memory_room
from edgeq.schedule import Edge, Network

TOP = "eq_top"
FILE_LIST = "files.f"
FORK, FIFO = "eq_fork", "eq_fifo"


@dataclass(frozen=True)
class Fifo:
    """A buffer between two operators. depth: words of `width` bits. tensor: what passes it, to input `port` of node `reader`.

    needed: words without which the network would be slower, given the other FIFOs.  frame: words of a frame.
    """

    name: str
    depth: int
    width: int
    tensor: str
    reader: str
    port: int
    needed: int
    frame: int

    @property
    def cost(self) -> Cost:
        """By our model: the memory, and its pointers and credits."""
        return memory_cost(self.width, self.depth) + Cost(lut=30, ff=30)


@dataclass(frozen=True)
class Design:
    """instances: by node, with the file names that were written.  labels: their names in eq_top, by node.
    fifos: those between operators.  network: their schedule."""

    instances: dict[str, RtlInstance]
    labels: dict[str, str]
    fifos: tuple[Fifo, ...]
    network: Network

    @property
    def depths(self) -> dict[Edge, int]:
        """Words of each FIFO."""
        return {(fifo.reader, fifo.port): fifo.depth for fifo in self.fifos}


def lower(graph: Graph, folds: dict[str, Fold], out: Path, depths: Mapping[Edge, int] | None = None) -> Design:
    """Writes eq_top.sv, the library files, generated modules and memory images that it needs, and their list files.f.

    Top: clk_i, rst_ni (synchronous, active low, at least 16 cycles), streams in_* and out_*, as every operator; a beat of in_*
    holds as many pixels as the fold of its reader says. A tensor with
    several readers is forked. depths: words of the FIFOs, by the input that each stands in front of, 0 for none; None: where the
    exact schedule needs one to keep the rate of the slowest operator, with as many words as its memory holds anyway. Where a
    reader's beats are not the writer's, `edgeq.beats.fitted` comes first. No name of the model gets into the Verilog.
    """
    types = graph.check()
    out.mkdir(parents=True, exist_ok=True)
    instances = {}
    labels = {node.name: f"u{index}_{_snake(node.op.kind())}" for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        xs = [types[name] for name in node.inputs]
        instances[node.name] = _place(node.op.rtl(folds[node.name], *xs), labels[node.name])
    network = Network(graph, folds)
    top = _Top(
        graph, streams(graph, folds), instances, labels, network.least_depths() if depths is None else depths, depths is None
    )
    used = {stem for instance in instances.values() for stem in instance.uses} | set(top.uses)
    names = [f"{stem}.sv" for stem in sorted(library(used))]
    for name in names:
        (out / name).write_bytes(files("edgeq.hls").joinpath("rtl", name).read_bytes())
    generated = {name: text for instance in instances.values() for name, text in instance.sources.items()}
    for name, text in sorted(generated.items()):
        (out / name).write_text(text)
        names.append(name)
    for instance in instances.values():
        for name, text in instance.memories.items():
            (out / name).write_text(text)
    (out / f"{TOP}.sv").write_text(top.text())
    (out / FILE_LIST).write_text("".join(f"{name}\n" for name in [*names, f"{TOP}.sv"]))
    return Design(instances, labels, tuple(top.fifos), network)


def fifo(name: str, tensor: str, t: IntType, edge: Edge, needed: int, room: bool = True) -> Fifo:
    """A FIFO for a stream of type t in front of an input. room: give it the words that its memory holds anyway."""
    depth = memory_room(_bits(t), needed) if room else needed
    return Fifo(name, depth, _bits(t), tensor, *edge, needed, t.pixels)


def library(stems: set[str]) -> set[str]:
    """The library modules and all that they instantiate."""
    found: set[str] = set()
    left = set(stems)
    while left:
        stem = left.pop()
        found.add(stem)
        left |= _instantiated(stem) - found
    return found


@lru_cache
def _instantiated(stem: str) -> frozenset[str]:
    text = files("edgeq.hls").joinpath("rtl", f"{stem}.sv").read_text()
    return frozenset(re.findall(r"^\s*(eq_\w+) (?:#\(|u_)", text, re.MULTILINE))


def _place(instance: RtlInstance, label: str) -> RtlInstance:
    """The instance with memory images and pictures of its own names and with all library modules that it needs."""
    renamed = {name: f"{label}_{name}" for name in instance.memories}
    params = {key: renamed.get(value, value) if isinstance(value, str) else value for key, value in instance.params.items()}
    memories = {renamed[name]: text for name, text in instance.memories.items()}
    pictures = {f"{label}_{name}": text for name, text in instance.pictures.items()}
    uses = tuple(sorted(library(set(instance.uses))))
    return replace(instance, params=params, memories=memories, uses=uses, pictures=pictures)


class _Top:
    """Builds eq_top.sv: `text()`, the `fifos` in it and the library modules that it `uses` itself. Stream k carries tensor k."""

    def __init__(
        self,
        graph: Graph,
        types: dict[str, IntType],
        instances: dict[str, RtlInstance],
        labels: dict[str, str],
        depths: Mapping[Edge, int],
        room: bool,
    ) -> None:
        """depths: words that the FIFOs need.  room: give them what their memories hold."""
        self.fifos: list[Fifo] = []
        self.uses: set[str] = set()
        self._lines: list[str] = []
        self._types = types
        self._ends = (types[graph.input], types[graph.output])
        readers: dict[str, list[Edge]] = {name: [] for name in types}
        for node in graph.nodes:
            for port, name in enumerate(node.inputs):
                readers[name].append((node.name, port))
        readers[graph.output].append(("", 0))  # the output port

        names = {name: f"s{index}" for index, name in enumerate(types)}
        taps: dict[Edge, str] = {}
        for name, t in types.items():
            self._declare(names[name], t)
            for reader, stream in zip(readers[name], self._fork(names[name], t, len(readers[name])), strict=True):
                taps[reader] = stream
                if needed := depths.get(reader, 0):
                    taps[reader] = self._fifo(fifo(f"u_fifo_{stream}", name, t, reader, needed, room), stream, t)
        source, sink = names[graph.input], taps["", 0]
        self._lines += [f"  assign {source}_valid = in_valid_i;", f"  assign {source}_data = in_data_i;"]
        self._lines += [f"  assign in_ready_o = {source}_ready;"]
        self._lines += [f"  assign out_valid_o = {sink}_valid;", f"  assign out_data_o = {sink}_data;"]
        self._lines += [f"  assign {sink}_ready = out_ready_i;"]
        for node in graph.nodes:
            inputs = [taps[node.name, port] for port in range(len(node.inputs))]
            ports = _ports("in", inputs[0]) if len(inputs) == 1 else []
            for port, stream in enumerate(inputs if len(inputs) > 1 else []):
                ports += _ports(f"in{port}", stream)
            ports += _ports("out", names[node.output])
            instance = instances[node.name]
            self._instance(instance.module, labels[node.name], instance.params, ports)

    def text(self) -> str:
        widths = [_bits(t) - 1 for t in self._ends]
        return _TOP.format(*widths) + "\n".join(self._lines) + "\n\nendmodule\n"

    def _declare(self, stream: str, t: IntType) -> None:
        self._lines += [f"  logic {stream}_valid, {stream}_ready;", f"  logic [{_bits(t) - 1}:0] {stream}_data;"]

    def _fork(self, stream: str, t: IntType, readers: int) -> list[str]:
        """A stream for each reader."""
        if readers == 1:
            return [stream]
        taps = [f"{stream}_{i}" for i in range(readers)]
        for tap in taps:
            self._declare(tap, t)
            self._lines.append(f"  assign {tap}_data = {stream}_fork;")
        bundles = {field: "{" + ", ".join(f"{tap}_{field}" for tap in reversed(taps)) + "}" for field in ("valid", "ready")}
        self._lines.append(f"  logic [{_bits(t) - 1}:0] {stream}_fork;")
        ports = [*_ports("in", stream), ("out_valid_o", bundles["valid"]), ("out_ready_i", bundles["ready"])]
        ports.append(("out_data_o", f"{stream}_fork"))
        self._instance(FORK, f"u_fork_{stream}", {"Width": _bits(t), "Readers": readers}, ports)
        self.uses.add(FORK)
        return taps

    def _fifo(self, fifo: Fifo, stream: str, t: IntType) -> str:
        """The stream behind the FIFO."""
        behind = f"{stream}_fifo"
        self._declare(behind, t)
        self._instance(FIFO, fifo.name, {"Width": fifo.width, "Depth": fifo.depth}, _ports("in", stream) + _ports("out", behind))
        self.uses.add(FIFO)
        self.fifos.append(fifo)
        return behind

    def _instance(self, module: str, name: str, params: Mapping[str, int | str], ports: list[tuple[str, str]]) -> None:
        settings = ",\n".join(f"    .{key}({_literal(value)})" for key, value in params.items())
        wires = ",\n".join(["    .clk_i", "    .rst_ni", *(f"    .{port}({wire})" for port, wire in ports)])
        head = f"{module} #(\n{settings}\n  )" if params else module
        self._lines.append(f"  {head} {name} (\n{wires}\n  );")


_TOP = """\
// Written by edgeq: one instance an operator, in the order of the network.
module eq_top (
  /// Clock.
  input  logic clk_i,
  /// Synchronous reset, active low, for at least 16 cycles.
  input  logic rst_ni,
  /// Input stream: a pixel a beat, or several in raster order, the first lowest; each with all its channels, channel 0 lowest.
  input  logic in_valid_i,
  /// Input stream.
  output logic in_ready_o,
  /// Input stream.
  input  logic [{}:0] in_data_i,
  /// Output stream: a pixel a beat.
  output logic out_valid_o,
  /// Output stream.
  input  logic out_ready_i,
  /// Output stream.
  output logic [{}:0] out_data_o
);

"""


def _bits(t: IntType) -> int:
    """Bits of a beat."""
    return t.channels * t.width


def _ports(side: str, stream: str) -> list[tuple[str, str]]:
    """The ports in*_ or out_* of a module on a stream."""
    forward, back = ("i", "o") if side != "out" else ("o", "i")
    directions = (("valid", forward), ("ready", back), ("data", forward))
    return [(f"{side}_{field}_{direction}", f"{stream}_{field}") for field, direction in directions]


def _literal(value: int | str) -> str:
    """A parameter's value; integers beyond 31 bits in hexadecimal with their size."""
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if -(1 << 31) <= value < 1 << 31 else f"{value.bit_length()}'h{value:x}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
