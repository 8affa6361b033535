"""A binary layer with constant weights as SystemVerilog: one patch a cycle, along a spanning tree or directly.

The unit of arithmetic is y = 2*Z + (K mod 2) with Z = 2*H + l: along a tree edge only H changes by more than an inversion.
Constants are folded into the counters of `compressor`. A padded tap is read as the code 0 (-1), which every sum of the layer
includes; each output then gets back what its padded taps took, one of few constants a channel, looked up by border class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from edgeq.compressor import Plan, plan
from edgeq.errors import EdgeqError
from edgeq.mst import SpanningTree, accumulator_width, direct, spanning_tree
from edgeq.ops._window import patches

STAGE_LEVELS = 4
"""LUT levels between two registers; a carry adder counts as ADDER_LEVELS."""
ADDER_LEVELS = 2


@dataclass(frozen=True)
class Unrolled:
    """A generated module.

    text: SystemVerilog. latency: cycles from x_i to acc_o. acc_width: bits of one output. additions: terms summed for all
    channels; direct_additions: the same without a tree. luts, ffs: by the generator's own count.
    """

    text: str
    latency: int
    acc_width: int
    additions: int
    direct_additions: int
    luts: int
    ffs: int


def border_masks(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...], dilation: tuple[int, int]
) -> np.ndarray | None:
    """The different masks that the windows of an H x W image have: bool [n, Kh*Kw], True on real pixels; None without padding."""
    if not any(pads):
        return None
    view = patches(np.ones((1, 1, *size), np.int8), kernel, stride, pads, dilation, fill=0)
    return np.unique(view.reshape(-1, kernel[0] * kernel[1]).astype(bool), axis=0)


def layer_trees(weight: np.ndarray, groups: int, mst: bool) -> list[SpanningTree]:
    """One tree a group, or no trees.  weight: [Cout, K], the channels of a group together."""
    build = spanning_tree if mst else direct
    return [build(w) for w in np.split(weight, groups)]


@dataclass(frozen=True)
class _Bit:
    """A one-bit signal: the pipeline stage that defines it, and when it is ready, in LUT levels since the input."""

    name: str
    stage: int
    time: int
    inverted: bool = False

    def __invert__(self) -> _Bit:
        return replace(self, inverted=not self.inverted)


_Word = list[_Bit | int]
"""Lowest bit first; an int is the constant 0 or 1."""


@dataclass(frozen=True)
class _Assign:
    """target = text, in a pipeline stage; each {} of the text is a word."""

    target: str
    width: int
    stage: int
    text: str
    words: tuple[_Word, ...]


@dataclass
class _Operands:
    """A plan carried out up to the final adder. spans: lowest column, columns, bits a column, constant."""

    assigns: list[_Assign]
    first: _Word
    spans: list[tuple[int, int, list[list[_Bit]], int]]
    ones: list[int]
    time: int


class _Netlist:
    """Assignments in pipeline stages. Which stage reads what decides the registers."""

    def __init__(self) -> None:
        self.assigns: list[_Assign] = []
        self.functions: dict[str, str] = {}
        self.luts = 0

    def adder(self, tag: str, counted: Plan, bits: Sequence[_Bit], word: _Word | None, start: int, swap: bool = False) -> _Word:
        """The sum of a plan's bits and constant, and of `word` where there is one, ready as late as `start` allows.

        swap: the word is the second operand of the carry chain, where inverting it is free.
        """
        if not counted.luts:
            return word or []
        self.luts += counted.luts
        levels = self._compress(tag, counted, [replace(b, time=0) for b in bits], word).time
        late = max(0, start - levels)
        done = self._compress(tag, counted, [replace(b, time=max(b.time, late)) for b in bits], word)
        self.assigns += done.assigns
        first = word or done.first
        time = max([done.time, start, *(b.time for b in first if isinstance(b, _Bit))])
        stage = _fit(time, ADDER_LEVELS) // STAGE_LEVELS
        second: _Word = [0] * len(first)
        for column in done.ones:
            second[column] = 1
        for low, columns, parts, constant in done.spans:
            name = f"r{tag}_{low}"
            inputs: _Word = [b for part in parts for b in part]
            self.assigns.append(_Assign(name, columns, stage, self._add([len(p) for p in parts], constant, columns), (inputs,)))
            second[low : low + columns] = _bits(name, columns, stage, time)
        operands = (second, first) if swap else (first, second)
        self.assigns.append(_Assign(f"h{tag}", len(first), stage, "{} + {}", operands))
        return list(_bits(f"h{tag}", len(first), stage, _fit(time, ADDER_LEVELS) + ADDER_LEVELS))

    def _compress(self, tag: str, counted: Plan, bits: Sequence[_Bit], word: _Word | None) -> _Operands:
        width = len(counted.columns)
        columns: list[list[_Bit]] = [list(bits), *([] for _ in range(width + 2))]
        done = _Operands([], [0] * width, [], [], 0)
        for j, column in enumerate(counted.columns):
            for counter in column.counters:
                taken = [_earliest(columns[j], counter.low), _earliest(columns[j + 1], counter.high)]
                time = max(b.time for part in taken for b in part)
                stage = time // STAGE_LEVELS
                name = f"n{tag}_{len(done.assigns)}"
                call = self._add([len(part) for part in taken], counter.plus, counter.outputs)
                done.assigns.append(_Assign(name, counter.outputs, stage, call, ([b for part in taken for b in part],)))
                for k, bit in enumerate(_bits(name, counter.outputs, stage, time + 1)):
                    columns[j + k].append(bit)
            left = sorted(columns[j], key=lambda b: b.time)
            done.time = max([done.time, *(b.time for b in left)])
            if word is None and left:
                done.first[j] = left.pop()
            if column.span:
                done.spans.append((j, column.span, [], 0))
            if done.spans and j < done.spans[-1][0] + done.spans[-1][1]:
                low, span, parts, constant = done.spans[-1]
                done.spans[-1] = (low, span, [*parts, left], constant + (column.constant << (j - low)))
            elif column.constant:
                done.ones.append(j)
        return done

    def _add(self, heights: Sequence[int], constant: int, outputs: int) -> str:
        """A call of the function that adds up `heights[j]` bits of weight 2^j and a constant, modulo 2^outputs."""
        used = [h for j, h in enumerate(heights) if any(heights[j:])]
        name = f"add_{'_'.join(map(str, used))}_{constant}_{outputs}"
        self.functions.setdefault(name, _adder_function(name, used, constant, outputs))
        return name + "({})"

    def lives(self) -> dict[str, tuple[int, int]]:
        """For each signal the stage that defines it and the last one that reads it."""
        found: dict[str, tuple[int, int]] = {}
        for assign in self.assigns:
            for bit in (b for word in assign.words for b in word if isinstance(b, _Bit)):
                found[bit.name] = (bit.stage, max(found.get(bit.name, (0, 0))[1], assign.stage))
        return found


def _fit(time: int, levels: int) -> int:
    """The first moment from `time` on when so many levels fit before the next register."""
    return time if time % STAGE_LEVELS + levels <= STAGE_LEVELS else (time // STAGE_LEVELS + 1) * STAGE_LEVELS


def _bits(name: str, width: int, stage: int, time: int) -> list[_Bit]:
    return [_Bit(f"{name}[{k}]", stage, time) for k in range(width)]


def _earliest(column: list[_Bit], count: int) -> list[_Bit]:
    """Takes the bits out of the column that are ready first."""
    column.sort(key=lambda b: b.time)
    taken = column[:count]
    del column[:count]
    return taken


def _adder_function(name: str, heights: Sequence[int], constant: int, outputs: int) -> str:
    """SystemVerilog of full and half adders; synthesis turns each output into one LUT."""
    columns: list[list[str]] = [[] for _ in range(max(outputs, len(heights)) + 2)]
    inputs = 0
    for j, height in enumerate(heights):
        columns[j] = [f"b[{inputs + i}]" for i in range(height)]
        inputs += height
    for j in range(outputs):
        if constant >> j & 1:
            columns[j].append("1'b1")
    steps: list[str] = []

    def step(expression: str) -> str:
        steps.append(expression)
        return f"t[{len(steps) - 1}]"

    for j in range(outputs):
        while len(columns[j]) > 1:
            a, b, *c = (columns[j].pop(0) for _ in range(min(3, len(columns[j]))))
            half = step(f"{a} ^ {b}")
            columns[j].append(step(f"{half} ^ {c[0]}") if c else half)
            if j + 1 < outputs:
                columns[j + 1].append(step(f"({a} & {b}) | ({half} & {c[0]})" if c else f"{a} & {b}"))
    result = ", ".join(column[0] if column else "1'b0" for column in reversed(columns[:outputs]))
    lines = [f"  function automatic logic [{outputs - 1}:0] {name}(input logic [{inputs - 1}:0] b);"]
    if steps:
        lines.append(f"    logic [{len(steps) - 1}:0] t;")
    lines += [f"    t[{i}] = {expression};" for i, expression in enumerate(steps)]
    return "\n".join([*lines, f"    return {{{result}}};", "  endfunction"])


@dataclass(frozen=True)
class _Border:
    """code: signals that tell the masks apart. back: int [Cout, 2^len(code)], what each output gets back."""

    code: list[_Bit]
    back: np.ndarray


@dataclass(frozen=True)
class _Layer:
    """Everything that both bodies of a module are made of. taps: x is [taps][groups][K / taps]."""

    weight: np.ndarray
    trees: list[SpanningTree]
    taps: int
    masks: np.ndarray | None

    @property
    def terms(self) -> int:
        return int(self.weight.shape[1])

    @property
    def width(self) -> int:
        return accumulator_width(self.terms)

    @property
    def inputs(self) -> int:
        return self.terms * len(self.trees)

    def position(self, group: int, term: int) -> int:
        """The bit of x_i that a group's term is."""
        size = self.terms // self.taps
        return (term // size * len(self.trees) + group) * size + term % size


def unrolled_sv(
    name: str, weight: np.ndarray, mst: bool = True, taps: int = 1, groups: int = 1, masks: np.ndarray | None = None
) -> Unrolled:
    """A module with a patch in, and all sums of products out, every cycle.

    weight: [Cout, K] of -1 and +1, K = taps * Cin / groups terms in the order [tap][channel]. x_i: taps * Cin bits in the
    order [tap][channel of all groups], 1 for +1. masks: bool [n, taps], every mask that occurs (`border_masks`); then the
    module has mask_i, one bit a tap, and needs 0 in x_i where a tap is masked. acc_o: Cout sums of AccW bits, two's
    complement, channel c at [c*AccW +: AccW]. Fixed latency, no reset, no stall.

    Two bodies, of equal meaning and latency: behavioural, and compressor trees for synthesis (with EQ_LUT6 defined).
    """
    channels, terms = weight.shape
    if terms % taps or channels % groups or (masks is not None and masks.shape[1] != taps):
        raise EdgeqError(f"weights {weight.shape} do not match {taps} taps, {groups} groups", where=name)
    if masks is not None and bool(np.all(masks)):
        masks = None
    layer = _Layer(weight.astype(np.int64), layer_trees(weight, groups, mst), taps, masks)
    netlist, outputs = _build(layer)
    latency = max(b.stage for word in outputs for b in word if isinstance(b, _Bit)) + 1
    netlist.assigns += [
        _Assign(f"acc_o[{c * layer.width} +: {layer.width}]", 0, latency, "{}", (word,)) for c, word in enumerate(outputs)
    ]
    structure, ffs = _structural(netlist, latency)
    sizes = f"{channels} channels of {terms} terms" + (f" in {groups} groups" if groups > 1 else "")
    form = f"spanning tree of depth {max(t.depth for t in layer.trees)}" if mst else "every channel by itself"
    mask_port = [
        "  /// 1 where a tap of the patch is a real pixel, 0 where it is padding (and 0 in x_i)",
        f"  input  logic [{taps - 1}:0] mask_i,",
    ]
    text = [
        f"// Generated by edgeq. Binary layer of constant weights, {sizes}, {form}.",
        f"module {name} (",
        "  /// clock",
        "  input  logic clk_i,",
        "  /// patch, [tap][channel], 1 for +1",
        f"  input  logic [{layer.inputs - 1}:0] x_i,",
        *(mask_port if layer.masks is not None else []),
        f"  /// sums of the patch of {latency} cycles ago, {layer.width} bits each, two's complement",
        f"  output logic [{channels * layer.width - 1}:0] acc_o",
        ");",
        "`ifdef EQ_LUT6",
        *structure,
        "`else",
        *_behavioural(layer, latency),
        "`endif",
        f"endmodule : {name}",
        "",
    ]
    total = sum(t.additions for t in layer.trees)
    return Unrolled("\n".join(text), latency, layer.width, total, channels * terms, netlist.luts, ffs)


def _build(layer: _Layer) -> tuple[_Netlist, list[_Word]]:
    """The compressor form: assignments, and the word of each output."""
    netlist = _Netlist()
    outputs: list[_Word] = []
    border = _border(layer, netlist)
    odd = layer.terms & 1
    for group, tree in enumerate(layer.trees):
        words: dict[int, _Word] = {}  # Z of each channel
        first = len(outputs)
        for c in map(int, tree.order):
            tag = str(first + c)
            bits = [
                _Bit(f"x_i[{layer.position(group, int(i))}]", 0, 0, inverted=bool(layer.weight[first + c, i] < 0))
                for i in tree.terms[c]
            ]
            if tree.parent[c] < 0:
                counted = plan(layer.width - 1, len(bits), -((layer.terms + 1) // 2), False)
                words[c] = netlist.adder(tag, counted, bits, None, 0)
            else:
                words[c] = _child(netlist, tag, bits, words[int(tree.parent[c])], bool(tree.complement[c]), odd)
        for c in range(len(tree.parent)):
            outputs.append(_output(netlist, first + c, [odd, *words[c]], border))
    return netlist, outputs


def _child(netlist: _Netlist, tag: str, bits: list[_Bit], parent: _Word, complement: bool, odd: int) -> _Word:
    """Z of a channel from its parent's: Z = Zp + 2q - d, or Z = -Zp - odd + 2q - e along a complement edge."""
    low, *high = [~b if complement else b for b in parent if isinstance(b, _Bit)]
    constant = (1 - odd if complement else 0) - len(bits)  # -Zp = ~Zp + 1
    if constant & 1:  # l + constant = 2 * (l + (constant - 1) / 2) + (1 - l)
        bits, constant, low_out = [*bits, low], constant - 1, ~low
    else:
        low_out = low
    ready = max([b.time for b in high], default=0)
    counted = plan(len(high), len(bits), constant // 2, True) if high else Plan(0, ())
    return [low_out, *netlist.adder(tag, counted, bits, list(high), ready, swap=complement)]


def _output(netlist: _Netlist, channel: int, word: _Word, border: _Border | None) -> _Word:
    """The sum as it leaves: with what padded taps took given back."""
    if border is None or not border.back[channel].any():
        return word
    width = len(word)
    time = _fit(max(b.time for b in word if isinstance(b, _Bit)), ADDER_LEVELS)
    stage = time // STAGE_LEVELS
    table = sum((int(v) & ((1 << width) - 1)) << (i * width) for i, v in enumerate(border.back[channel]))
    literal = f"{width * border.back.shape[1]}'h{table:x}"
    netlist.assigns.append(_Assign(f"e{channel}", width, stage, f"T{channel}[{{}}*{width} +: {width}]", (list(border.code),)))
    return word


