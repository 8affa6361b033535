"""A binary layer with constant weights as SystemVerilog: one patch a cycle, along a spanning tree or directly.

The unit of arithmetic is y = 2*Z + (K mod 2) with Z = 2*H + l: along a tree edge only H changes by more than an inversion.
Constants are folded into the counters of `compressor`. A padded tap is read as the code 0 (-1), which every sum of the layer
includes; each output then gets back what its padded taps took, one of few constants a channel, looked up by border class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from edgeq.compressor import FREE_INPUTS, Plan, plan
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


class _Bit(NamedTuple):
    """A one-bit signal: the pipeline stage that defines it, and when it is ready, in LUT levels since the input."""

    name: str
    stage: int
    time: int
    inverted: bool = False

    def __invert__(self) -> _Bit:
        return self._replace(inverted=not self.inverted)


ZERO = "1'b0"
_Word = list[_Bit | int]
"""Lowest bit first; an int is the constant 0 or 1."""


@dataclass(frozen=True)
class _Cell:
    """A line of SystemVerilog in a pipeline stage. Each {} of the text is a signal, or a concatenation of signals.

    declares: the signals that it drives: `name`, or `[high:0] name`. absorbs: inversions are in its truth table already.
    """

    stage: int
    text: str
    words: tuple[_Word, ...]
    declares: tuple[str, ...] = ()
    absorbs: bool = False


@dataclass(frozen=True)
class _Function:
    """A function of at most six signals: values, bool [2^inputs], before any inversion; input i is bit i of the index."""

    inputs: tuple[_Bit, ...]
    values: np.ndarray

    def reduced(self) -> _Function:
        """Without the inputs that it does not depend on."""
        inputs, values = self.inputs, self.values
        for i in reversed(range(len(inputs))):
            halves = values.reshape(-1, 2, 1 << i)
            if np.array_equal(halves[:, 0], halves[:, 1]):
                inputs, values = (*inputs[:i], *inputs[i + 1 :]), halves[:, 0].ravel()
        return _Function(inputs, values)

    def plus(self, bit: _Bit | int) -> _Function:
        """This function xor a bit."""
        if isinstance(bit, int):
            return _Function(self.inputs, self.values ^ bool(bit))
        return _Function((*self.inputs, bit), np.concatenate([self.values, ~self.values]))

    def init(self) -> int:
        """The LUT's contents, with the inversions of its inputs."""
        return _init(self.values.tobytes(), sum(1 << i for i, b in enumerate(self.inputs) if b.inverted))


@cache
def _init(values: bytes, flip: int) -> int:
    return sum(bool(values[i ^ flip]) << i for i in range(len(values)))


def _sum_bit(parts: Sequence[Sequence[_Bit]], constant: int, bit: int) -> _Function:
    """One bit of a constant plus the ones among the signals parts[j] of weight 2^j."""
    support, values = _sum_values(tuple(map(len, parts)), constant, bit)
    inputs = [b for part in parts for b in part]
    return _Function(tuple(inputs[i] for i in support), values)


@cache
def _sum_values(heights: tuple[int, ...], constant: int, bit: int) -> tuple[tuple[int, ...], np.ndarray]:
    weight = np.repeat(1 << np.arange(len(heights)), heights)
    ones = np.arange(1 << len(weight))[:, None] >> np.arange(len(weight)) & 1
    function = _Function(
        tuple(_Bit(str(i), 0, 0) for i in range(len(weight))), (ones @ weight + constant >> bit & 1).astype(bool)
    ).reduced()
    return tuple(int(b.name) for b in function.inputs), function.values


@dataclass
class _Operands:
    """A plan carried out up to the final adder: the first operand, and the function of each column that is the second."""

    cells: list[_Cell]
    luts: int
    first: _Word
    second: list[_Function]
    time: int


class _Netlist:
    """Cells in pipeline stages. Which stage reads what decides the registers."""

    def __init__(self) -> None:
        self.cells: list[_Cell] = []
        self.tables: list[str] = []
        self.luts = 0

    def adder(self, tag: str, counted: Plan, bits: Sequence[_Bit], word: _Word | None, start: int) -> _Word:
        """The sum of a plan's bits and constant, and of `word` where there is one; started as late as `start` allows."""
        early = _compress(tag, counted, [b._replace(time=0) for b in bits], word)
        late = max(0, start - early.time)
        done = _compress(tag, counted, [b._replace(time=max(b.time, late)) for b in bits], word)
        self.cells += done.cells
        self.luts += done.luts
        return self.carry(tag, done.first, done.second, max(done.time, start))

    def carry(self, tag: str, first: _Word, second: list[_Function], time: int) -> _Word:
        """The final adder: a carry chain, with the second operand's functions in the LUT before it."""
        if all(not f.inputs and not f.values[0] for f in second):
            return first
        width = len(first)
        time = _fit(max([time, *(b.time for b in first if isinstance(b, _Bit))]), ADDER_LEVELS)
        stage = time // STAGE_LEVELS
        propagate: _Word = []
        generate: _Word = []  # either operand: it matters only where they are equal
        for j, (bit, function) in enumerate(zip(first, second, strict=True)):
            generate.append(bit if function.inputs or isinstance(bit, int) else int(function.values[0]))
            self.luts += isinstance(generate[-1], _Bit) and generate[-1].inverted
            differ = function.plus(bit)
            if not differ.inputs:
                propagate.append(int(differ.values[0]))
            elif len(differ.inputs) == 1 and differ.init() == 2:
                propagate.append(differ.inputs[0]._replace(inverted=False))
            else:
                propagate.append(_Bit(f"p{tag}_{j}", stage, time))
                self.luts += 1
                self.cells.append(_lut(f"p{tag}_{j}", stage, differ))
        spare = -width % 8
        declares = [f"[{width - 1}:0] h{tag}", f"[{width + spare - 1}:0] co_unused_{tag}"]
        if spare:
            declares.append(f"[{spare - 1}:0] o_unused_{tag}")
        for k in range(0, width, 8):
            padding: _Word = [0] * (k + 8 - width)
            sums = f"h{tag}[{min(k + 8, width) - 1}:{k}]"
            text = (
                f"CARRY8 c{tag}_{k} (.CO(co_unused_{tag}[{k + 7}:{k}]), "
                f".O({f'{{{{o_unused_{tag}, {sums}}}}}' if padding else sums}), "
                f".CI({f'co_unused_{tag}[{k - 1}]' if k else ZERO}), .CI_TOP(1'b0), .DI({{}}), .S({{}}));"
            )
            words = tuple([*word[k : k + 8], *padding] for word in (generate, propagate))
            self.cells.append(_Cell(stage, text, words, tuple(declares)))
            declares = []
        return list(_bits(f"h{tag}", width, stage, time + ADDER_LEVELS))

    def lives(self) -> dict[str, tuple[int, int]]:
        """For each signal the stage that defines it and the last one that reads it."""
        found: dict[str, tuple[int, int]] = {}
        for cell in self.cells:
            for bit in (b for word in cell.words for b in word if isinstance(b, _Bit)):
                found[bit.name] = (bit.stage, max(found.get(bit.name, (0, 0))[1], cell.stage))
        return found


def _compress(tag: str, counted: Plan, bits: Sequence[_Bit], word: _Word | None) -> _Operands:
    """The counters of a plan. Without a word, the final adder's first operand takes one bit of each column."""
    width = len(counted.columns)
    columns: list[list[_Bit]] = [list(bits), *([] for _ in range(width + 2))]
    done = _Operands([], 0, word or [0] * width, [], 0)
    spans: list[tuple[int, int, list[list[_Bit]], int]] = []  # lowest column, columns, bits of each, constant
    for j, column in enumerate(counted.columns):
        for counter in column.counters:
            taken = [_earliest(columns[j], counter.low), _earliest(columns[j + 1], counter.high)]
            time = max(b.time for part in taken for b in part)
            stage = time // STAGE_LEVELS
            name = f"n{tag}_{len(done.cells)}"
            for k in range(counter.outputs):
                done.cells.append(_lut(f"{name}_{k}", stage, _sum_bit(taken, counter.plus, k)))
                done.luts += 1
                columns[j + k].append(_Bit(f"{name}_{k}", stage, time + 1))
        left = sorted(columns[j], key=lambda b: (b.time, not b.inverted))
        done.time = max([done.time, *(b.time for b in left)])
        if word is None and left:
            done.first[j] = left.pop()
        if column.span:
            spans.append((j, column.span, [], 0))
        if spans and j < spans[-1][0] + spans[-1][1]:
            low, span, parts, constant = spans[-1]
            spans[-1] = (low, span, [*parts, left], constant + (column.constant << (j - low)))
        else:
            spans.append((j, 1, [[]], column.constant))
    for _, span, parts, constant in spans:
        done.second += [_sum_bit(parts, constant, k) for k in range(span)]
    return done


def _lut(target: str, stage: int, function: _Function) -> _Cell:
    n = len(function.inputs)
    text = f"LUT{n} #({1 << n}'h{function.init():x}) u_{target} ({target}{', {}' * n});"
    return _Cell(stage, text, tuple([b] for b in function.inputs), (target,), absorbs=True)


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
    layer = _Layer(weight.astype(np.int64), layer_trees(weight, groups, mst), taps, masks)
    netlist, outputs = _build(layer)
    latency = max(b.stage for word in outputs for b in word if isinstance(b, _Bit)) + 1
    netlist.cells += [
        _Cell(latency, f"assign acc_o[{c * layer.width} +: {layer.width}] = {{}};", (word,)) for c, word in enumerate(outputs)
    ]
    structure, ffs = _structural(netlist, latency, masks is not None)
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
    """The compressor form: cells, and the word of each output."""
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
    return [low_out, *netlist.adder(tag, counted, bits, list(high), ready)]


def _output(netlist: _Netlist, channel: int, word: _Word, border: _Border | None) -> _Word:
    """The sum as it leaves: with what padded taps took given back."""
    if border is None or not border.back[channel].any():
        return word
    width, back = len(word), border.back[channel]
    time = max(b.time for b in (*word, *border.code) if isinstance(b, _Bit))
    if len(border.code) <= FREE_INPUTS:
        second = [_Function(tuple(border.code), (back >> j & 1).astype(bool)).reduced() for j in range(width)]
    else:
        stage = _fit(time, ADDER_LEVELS) // STAGE_LEVELS
        table = sum((int(v) & ((1 << width) - 1)) << (i * width) for i, v in enumerate(back))
        size = width * len(back)
        netlist.tables.append(f"  localparam logic [{size - 1}:0] Back{channel} = {size}'h{table:x};")
        look_up = f"assign e{channel} = Back{channel}[{{}} * {width} +: {width}];"
        netlist.cells.append(_Cell(stage, look_up, (list(border.code),), (f"[{width - 1}:0] e{channel}",)))
        netlist.luts += width * (1 << max(0, len(border.code) - 6))
        second = [_Function((b,), np.array([False, True])) for b in _bits(f"e{channel}", width, stage, time)]
    return netlist.carry(f"{channel}b", word, second, time)


def _border(layer: _Layer, netlist: _Netlist) -> _Border | None:
    """How masks are told apart, and sum over masked taps of the weights: what reading padding as -1 took, for each mask."""
    if layer.masks is None:
        return None
    taps = _telling_taps(layer.masks)
    code = [_Bit(f"mask_i[{t}]", 0, 0) for t in taps]
    index = layer.masks[:, taps] @ (1 << np.arange(len(taps)))
    if len(code) >= FREE_INPUTS:  # too many for a LUT beside the adder's own operand: number the masks
        width = max(1, (len(index) - 1).bit_length())
        for k in range(width):
            hits = [f"(seen == {len(taps)}'h{v:x})" for i, v in enumerate(index) if i >> k & 1]
            netlist.tables.append(f"  assign border[{k}] = {' | '.join(hits)};")
        head = [f"  logic [{len(taps) - 1}:0] seen;", f"  logic [{width - 1}:0] border;"]
        head.append(f"  assign seen = {{{', '.join(b.name for b in reversed(code))}}};")
        netlist.tables[:0] = head
        netlist.luts += len(index) * (1 + len(taps) // 6)
        code, index = list(_bits("border", width, 0, 3)), np.arange(len(index))
    lost = layer.weight.reshape(len(layer.weight), layer.taps, -1).sum(axis=2) @ ~layer.masks.T
    back = np.zeros((len(layer.weight), 1 << len(code)), np.int64)
    back[:, index] = lost
    return _Border(code, back)


def _telling_taps(masks: np.ndarray) -> list[int]:
    """A small set of taps of which no two masks have the same bits."""
    taps = list(range(masks.shape[1]))
    for t in sorted(taps, key=lambda t: abs(2 * int(masks[:, t].sum()) - len(masks)), reverse=True):
        fewer = [u for u in taps if u != t]
        if len(np.unique(masks[:, fewer], axis=0)) == len(masks):
            taps = fewer
    return taps


def _structural(netlist: _Netlist, latency: int, masked: bool) -> tuple[list[str], int]:
    """The text of a netlist, and its registers in bits."""
    lives = netlist.lives()
    slot: dict[str, dict[int, int]] = {name: {} for name in lives}
    stages: list[list[str]] = [[] for _ in range(latency + 1)]
    for stage in range(1, latency + 1):
        stages[stage] = [name for name, (made, last) in lives.items() if made < stage <= last]
        for i, name in enumerate(stages[stage]):
            slot[name][stage] = i

    def read(bit: _Bit | int, stage: int, absorbed: bool = False) -> str:
        if isinstance(bit, int):
            return f"1'b{bit}"
        there = bit.name if lives[bit.name][0] == stage else f"s{stage}_{slot[bit.name][stage]}_q"
        return "~" + there if bit.inverted and not absorbed else there

    def lines(items: list[str]) -> str:
        return ",\n      ".join(", ".join(items[i : i + 16]) for i in range(0, len(items), 16))

    text = list(netlist.tables)
    if masked:  # not every tap is needed to tell the masks apart
        text += ["  logic unused_mask;", "  assign unused_mask = ^mask_i;"]
    for stage, names in enumerate(stages):
        if stage:
            registers = [f"s{stage}_{i}_q" for i in range(len(names))]
            held = [read(_Bit(name, lives[name][0], 0), stage - 1) for name in names]
            text.append(f'  (* shreg_extract = "no" *) logic {lines(registers)};')
            text.append("  always_ff @(posedge clk_i) begin")
            text += [f"    {register} <= {value};" for register, value in zip(registers, held, strict=True)]
            text.append("  end")
        cells = [c for c in netlist.cells if c.stage == stage]
        text += [f"  logic {name};" for c in cells for name in c.declares if name.startswith("[")]
        if scalars := [name for c in cells for name in c.declares if not name.startswith("[")]:
            text.append(f"  logic {lines(scalars)};")
        for cell in cells:
            words = [[read(b, stage, cell.absorbs) for b in reversed(word)] for word in cell.words]
            text.append("  " + cell.text.format(*(w[0] if len(w) == 1 else f"{{{lines(w)}}}" for w in words)))
    return text, sum(map(len, stages))


def _behavioural(layer: _Layer, latency: int) -> list[str]:
    """The delta program as written, and a delay."""
    terms, width = layer.terms, layer.width
    size = terms // layer.taps
    text = []
    real = ""
    if layer.masks is not None:
        repeated = ", ".join(f"{{{size}{{mask_i[{t}]}}}}" for t in reversed(range(layer.taps)))
        text += [f"  logic [{terms - 1}:0] real_term;", f"  assign real_term = {{{repeated}}};"]
        real = " & real_term"
    sums: list[str] = []
    for group, tree in enumerate(layer.trees):
        first = len(sums)
        parts = [f"x_i[{layer.position(group, t * size)} +: {size}]" for t in reversed(range(layer.taps))]
        text += [f"  logic [{terms - 1}:0] x{group};", f"  assign x{group} = {{{', '.join(parts)}}};"]
        for c in map(int, tree.order):
            y, p, used = first + c, int(tree.parent[c]), tree.terms[c]
            plus = sum(1 << int(i) for i in range(terms) if tree.weight[c, i] > 0)
            chosen = sum(1 << int(i) for i in used)
            both = f"{terms}'h{chosen:x}{real}"
            count = f"$countones(~(x{group} ^ {terms}'h{plus:x}) & {both})"
            least = f"$countones({both})" if real else str(len(used))
            parent = "" if p < 0 else f"{'-' if tree.complement[c] else ''} int'(y{first + p}) + 2 * "
            text += [
                f"  logic signed [{width - 1}:0] y{y};",
                f"  assign y{y} = {width}'({parent}(2 * {count} - {least}));",
            ]
        sums += [f"y{first + c}" for c in range(len(tree.parent))]
    total = len(sums) * width
    return [
        *text,
        f"  logic [{total - 1}:0] y_q [{latency}];",
        "  always_ff @(posedge clk_i) begin",
        f"    y_q[0] <= {{{', '.join(reversed(sums))}}};",
        f"    for (int i = 1; i < {latency}; i++) y_q[i] <= y_q[i-1];",
        "  end",
        f"  assign acc_o = y_q[{latency - 1}];",
    ]
