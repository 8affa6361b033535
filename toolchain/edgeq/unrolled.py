"""A binary layer with constant weights as SystemVerilog: one patch a cycle, channels computed from one another.

The unit of arithmetic is y = 2*Z + (K mod 2): along a tree edge Z = Zp + 2q - d, where q counts the agreeing ones of d terms.
A padded tap is read as the code 0 (-1), which every sum of the layer includes; each output then gets back what its padded taps
took, one of few constants a channel, told apart by border class.

Where only comparisons y >= t leave the module, words hold s*Z + o modulo 2^W, with a sign and an offset for each channel that
cost no logic: only ones are ever added, and a complement edge turns the sign round. Then y >= t is the highest bit of the word
plus a constant: W bits hold the range of Z - t for every channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgeq.cells import FAMILIES, Family
from edgeq.compressor import plan
from edgeq.errors import EdgeqError
from edgeq.fold import MAX_LUT_LEVELS
from edgeq.graph import range_width
from edgeq.mst import SpanningTree, accumulator_width, direct, spanning_tree
from edgeq.netlist import Bit, Netlist, Word
from edgeq.ops._window import patches
from edgeq.share import Row, plain, shared

FORMS = ("direct", "tree", "shared")
"""Every channel by itself; along the spanning tree; one of the two with common partial sums computed once."""
LEAST_SAVED = 2
"""Bits that a common partial sum must save to be made; 1 to 5 differ by 3 %."""
SMALL = 1 << 12
"""Weights of a layer up to which it may be smallest without a tree."""
EARLY = 5
"""Inputs a channel from which on it takes fewer registers to hold counted terms than to hold the inputs."""
SAMPLED = 32
"""Channels whose plans an estimate is made of."""
MARGIN = 4
"""LUT levels before its parent's word by which a channel wants common partial sums: its counters take about as many."""


@dataclass(frozen=True)
class Unrolled:
    """A generated module.

    text: SystemVerilog. latency: cycles from x_i to acc_o or y_o. acc_width: bits of one sum. form: of FORMS. additions: terms
    summed for all channels; direct_additions: the same without a tree. depth, distance: of the trees. compare: the output is
    y_o, one bit a channel. luts, ffs, carries (CARRY8): by the generator's own count.
    """

    text: str
    latency: int
    acc_width: int
    form: str
    additions: int
    direct_additions: int
    depth: int
    distance: int
    compare: bool
    luts: int
    ffs: int
    carries: int


def border_masks(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...], dilation: tuple[int, int]
) -> np.ndarray | None:
    """The different masks that the windows of an H x W image have: bool [n, Kh*Kw], True on real pixels; None without padding."""
    if not any(pads):
        return None
    view = patches(np.ones((1, 1, *size), np.int8), kernel, stride, pads, dilation, fill=0)
    return np.unique(view.reshape(-1, kernel[0] * kernel[1]).astype(bool), axis=0)


@dataclass(frozen=True)
class Compare:
    """y_o[c] = (y[c] >= thresholds[c]) ^ negative[c].  thresholds: int64 [C]; negative: bool [C]."""

    thresholds: np.ndarray
    negative: np.ndarray


@dataclass(frozen=True)
class _Program:
    """How a group's channels are computed. rows: what each channel adds to its parent (or a root is), then common parts."""

    tree: SpanningTree
    rows: list[Row]

    @property
    def inner(self) -> set[int]:
        """Channels that others are computed from."""
        return set(self.tree.parent.tolist()) - {-1}

    def luts(self, compare: bool) -> float:
        """By the plans alone, within a few percent of what is built; of many channels, by some of them."""
        channels, inner = len(self.tree.weight), self.inner
        some = sorted({c * channels // SAMPLED for c in range(SAMPLED)}) if channels > SAMPLED else range(channels)
        sums = sum(self._row_luts(c, c in inner, compare) for c in some) * channels / len(some)
        return sums + sum(self._row_luts(c, True, compare) for c in range(channels, len(self.rows)))

    def _row_luts(self, c: int, inner: bool, compare: bool) -> float:
        """Of a channel or a common part. inner: its sum is wanted, not only compared."""
        channels, terms = self.tree.weight.shape
        width = max(2, accumulator_width(terms) - 1)
        row = self.rows[c]
        heights = [0] * width
        heights[0] = len(row.terms)
        for part, _ in row.parts:
            for j in range(min(width, self.rows[part].count.bit_length())):
                heights[j] += 1
        if c >= channels:
            return plan(tuple(heights[: row.count.bit_length()]), 0).luts
        root = self.tree.parent[c] < 0
        if not root:
            heights = [0, *heights[:-1]]
        if compare and not inner:
            constant = (1 << width) // 3  # of average cost
            return plan(tuple(h + (not root) for h in heights), constant, False, True).luts
        constant = 0 if compare else -((row.count + 1) // 2) if root else -row.count
        return plan(tuple(heights), constant, not root).luts + 2 * compare


@dataclass(frozen=True)
class _Choice:
    """form: of FORMS. programs: one a group. luts: estimated."""

    form: str
    programs: list[_Program]
    luts: float


@dataclass(frozen=True)
class _Layer:
    """Everything that both bodies of a module are made of. taps: x is [taps][groups][K / taps]."""

    weight: np.ndarray
    programs: list[_Program]
    taps: int
    masks: np.ndarray | None
    compare: Compare | None

    @property
    def terms(self) -> int:
        return int(self.weight.shape[1])

    @property
    def odd(self) -> int:
        return self.terms & 1

    @property
    def width(self) -> int:
        return accumulator_width(self.terms)

    @property
    def inputs(self) -> int:
        return self.terms * len(self.programs)

    def position(self, group: int, term: int) -> int:
        """The bit of x_i that a group's term is."""
        size = self.terms // self.taps
        return (term // size * len(self.programs) + group) * size + term % size

    def lost(self) -> np.ndarray:
        """What reading padding as -1 takes from each sum, for each mask: int64 [Cout, masks]; one mask where all is real."""
        if self.masks is None:
            return np.zeros((len(self.weight), 1), np.int64)
        return self.weight.reshape(len(self.weight), self.taps, -1).sum(axis=2) @ ~self.masks.T

    def limits(self) -> np.ndarray:
        """y >= thresholds is Z >= this: int64 [Cout, masks], from the least Z (always) to one more than the largest (never)."""
        assert self.compare is not None
        limit = -((self.odd + self.lost() - self.compare.thresholds[:, None]) // 2)
        return np.clip(limit, self.range[0], self.range[1] + 1)

    @property
    def range(self) -> tuple[int, int]:
        """Of Z."""
        return -((self.terms + 1) // 2), self.terms // 2


def unrolled_sv(
    name: str,
    weight: np.ndarray,
    form: str | None = None,
    taps: int = 1,
    groups: int = 1,
    masks: np.ndarray | None = None,
    compare: Compare | None = None,
    max_lut_levels: int = MAX_LUT_LEVELS,
    max_depth: int | None = None,
    family: str = "xcup",
) -> Unrolled:
    """A module with a patch in, and all sums of products out, every cycle.

    weight: [Cout, K] of -1 and +1, K = taps * Cin / groups terms in the order [tap][channel]. form: of FORMS; None takes the one
    of fewest LUTs. x_i: taps * Cin bits in the order [tap][channel of all groups], 1 for +1. masks: bool [n, taps], every
    mask that occurs (`border_masks`); then the module has mask_i, one bit a tap, and needs 0 in x_i where a tap is masked.
    acc_o: Cout sums of AccW bits, two's complement, channel c at [c*AccW +: AccW]; with `compare` y_o instead, one bit a
    channel. Fixed latency, no reset, no stall. max_lut_levels: between two registers. max_depth: of the tree. family: of
    edgeq.cells.FAMILIES; it changes neither sums nor latency.

    Two bodies, of equal meaning and latency: behavioural, and LUTs with carry chains for synthesis (with EQ_LUT6 defined).
    """
    channels, terms = weight.shape
    if terms % taps or channels % groups or (masks is not None and masks.shape[1] != taps):
        raise EdgeqError(f"weights {weight.shape} do not match {taps} taps, {groups} groups", where=name)
    if form not in (None, *FORMS):
        raise EdgeqError(f"no form {form!r}", where=name, fix=", ".join(FORMS))
    chosen = _choose(weight.astype(np.int64), form, groups, compare is not None, max_depth)
    layer = _Layer(weight.astype(np.int64), chosen.programs, taps, masks, compare)
    return _module(name, layer, _Build(layer, max_lut_levels, FAMILIES[family]), chosen.form)


def estimated_luts(weight: np.ndarray, form: str | None, groups: int, compare: bool, max_depth: int | None) -> float:
    """LUTs of `unrolled_sv`, without masks, within a few percent; quick, also for large layers."""
    return _choose(weight.astype(np.int64), form, groups, compare, max_depth).luts


def _choose(weight: np.ndarray, form: str | None, groups: int, compare: bool, max_depth: int | None) -> _Choice:
    """The form of fewest LUTs by estimate; the last choices are kept."""
    return _chosen(weight.astype(np.int8).tobytes(), weight.shape, form, groups, compare, max_depth)


@lru_cache(maxsize=32)
def _chosen(
    weights: bytes, shape: tuple[int, int], form: str | None, groups: int, compare: bool, max_depth: int | None
) -> _Choice:
    each = np.split(np.frombuffer(weights, np.int8).reshape(shape).astype(np.int64), groups)
    choices: list[tuple[str, list[_Program]]] = []
    # To compare, inverting a word costs nothing.
    trees = [] if form == "direct" else [spanning_tree(w, 0 if compare else None, max_depth) for w in each]
    apart = [direct(w) for w in each] if form != "tree" and (shape[0] * shape[1] <= SMALL or form) else []
    for name, found in (("direct", apart), ("tree", trees)):
        deltas = [_deltas(tree) for tree in found]
        if found and form in (None, name):
            choices.append((name, [_Program(t, plain(d)) for t, d in zip(found, deltas, strict=True)]))
        if found and form in (None, "shared"):
            choices.append(("shared", [_Program(t, shared(d, LEAST_SAVED)) for t, d in zip(found, deltas, strict=True)]))
    rated = [_Choice(name, programs, sum(p.luts(compare) for p in programs)) for name, programs in choices]
    return min(rated, key=lambda c: c.luts)


def _deltas(tree: SpanningTree) -> np.ndarray:
    """What each channel sums, [C, K] of -1, 0 and +1."""
    rows = np.zeros_like(tree.weight)
    for c, terms in enumerate(tree.terms):
        rows[c, terms] = tree.weight[c, terms]
    return rows


def _module(name: str, layer: _Layer, built: _Build, form: str) -> Unrolled:
    channels, terms = layer.weight.shape
    trees = [p.tree for p in layer.programs]
    groups, depth = len(trees), max(t.depth for t in trees)
    body, luts, ffs = built.net.text(built.latency, built.ports(), layer.masks is not None)
    sizes = f"{channels} channels of {terms} terms" + (f" in {groups} groups" if groups > 1 else "")
    how = ("" if depth == 0 else f"spanning tree of depth {depth}, ") + f"form {form}"
    what = f"sums of the patch of {built.latency} cycles ago, {layer.width} bits each, two's complement"
    out, bits = ("y_o", channels) if layer.compare else ("acc_o", channels * layer.width)
    if layer.compare:
        what = f"comparisons of the sums of the patch of {built.latency} cycles ago with constants, a bit a channel"
    mask_port = [
        "  /// 1 where a tap of the patch is a real pixel, 0 where it is padding (and 0 in x_i)",
        f"  input  logic [{layer.taps - 1}:0] mask_i,",
    ]
    text = [
        f"// Generated by edgeq. Binary layer of constant weights, {sizes}, {how}.",
        f"module {name} (",
        "  /// clock",
        "  input  logic clk_i,",
        "  /// patch, [tap][channel], 1 for +1",
        f"  input  logic [{layer.inputs - 1}:0] x_i,",
        *(mask_port if layer.masks is not None else []),
        f"  /// {what}",
        f"  output logic [{bits - 1}:0] {out}",
        ");",
        "  /* verilator lint_off UNUSEDSIGNAL */",
        "`ifdef EQ_LUT6",
        *body,
        "`else",
        *_behavioural(layer, built.latency),
        "`endif",
        "  /* verilator lint_on UNUSEDSIGNAL */",
        f"endmodule : {name}",
        "",
    ]
    distance = sum(int(t.distance[t.parent >= 0].sum()) for t in trees)
    additions = sum(t.additions for t in trees)
    return Unrolled(
        "\n".join(text), built.latency, layer.width, form, additions, channels * terms, depth, distance,
        layer.compare is not None, luts, ffs, len(built.net.blocks) if built.net.family.block else 0,
    )  # fmt: skip


@dataclass
class _Known:
    """A channel's word: sign * Z + offset modulo 2^width."""

    word: Word
    sign: int
    offset: int


class _Build:
    """The netlist of a layer, and the word of each output."""

    def __init__(self, layer: _Layer, levels: int, family: Family) -> None:
        early = layer.terms * len(layer.programs) > EARLY * len(layer.weight)
        self.layer, self.net = layer, Netlist(levels, early, family)
        self.code, self.index = self._border()
        self.lost = layer.lost()
        self.limits = layer.limits() if layer.compare else np.zeros((0, 0), np.int64)
        self.width = layer.width - 1
        if layer.compare:
            low, high = layer.range
            real = self.limits[~self._constant()]
            self.width = max([2, *(range_width(low - int(t), high - int(t)) for t in np.unique(real))])
        self.outputs: list[Word] = []
        for group, program in enumerate(layer.programs):
            self._group(group, program)
        ends = [b.stage for word in self.outputs for b in word if isinstance(b, Bit)]
        self.latency = max(ends, default=0) + 1

    def ports(self) -> list[tuple[str, Word]]:
        """What is assigned to the output port."""
        if self.layer.compare:
            return [("y_o", [word[0] for word in self.outputs])]
        width = self.layer.width
        return [(f"acc_o[{c * width} +: {width}]", word) for c, word in enumerate(self.outputs)]

    def _constant(self) -> np.ndarray:
        """Channels whose comparison has one result: bool [Cout]."""
        low, high = self.layer.range
        return np.all(self.limits <= low, axis=1) | np.all(self.limits > high, axis=1)

    def _group(self, group: int, program: _Program) -> None:
        layer, tree = self.layer, program.tree
        first = len(self.outputs)
        channels = len(tree.parent)
        results: list[Word] = [[] for _ in range(channels)]
        known: dict[int, _Known] = {}
        wanted = ~self._constant()[first : first + channels] if layer.compare else np.ones(channels, bool)
        inner = np.zeros(channels, bool)
        for c in tree.order[::-1]:
            if (wanted[c] or inner[c]) and tree.parent[c] >= 0:
                inner[tree.parent[c]] = True
        self.bits = [Bit(f"x_i[{layer.position(group, i)}]", 0, 0) for i in range(layer.terms)]
        self.rows = program.rows
        self.parts: dict[int, Word] = {}
        for c in map(int, tree.order):
            row = program.rows[c]
            parent = known.get(int(tree.parent[c]))
            if layer.compare is None:
                known[c] = self._sum(row, parent, bool(tree.complement[c]))
                results[c] = self._restored(first + c, [layer.odd, *known[c].word])
                continue
            if inner[c] or wanted[c]:
                known[c], results[c] = self._compared(first + c, row, parent, bool(tree.complement[c]), inner[c], wanted[c])
            if not wanted[c]:
                results[c] = [int(self.limits[first + c, 0] <= layer.range[0]) ^ int(layer.compare.negative[first + c])]
        self.outputs += results

    def _columns(self, row: Row, sign: int, shift: int, width: int, need: int) -> tuple[list[list[Bit]], int]:
        """Bits by column, and a constant, whose sum is `sign` times how many of a row's terms are +1 (all terms less those that
        are, where -1), in units of 2^shift. need: when the sum of a common part is wanted."""
        columns: list[list[Bit]] = [[] for _ in range(width)]
        if shift < width:
            bits = self.bits
            columns[shift] = [
                bits[i] if w == sign else ~bits[i] for i, w in zip(row.terms.tolist(), row.signs.tolist(), strict=True)
            ]
        constant = 0
        for part, its_sign in row.parts:
            word = self._part(part, need)
            invert = its_sign != sign
            if invert:
                constant += self.rows[part].count - (1 << len(word)) + 1
            for j, bit in enumerate(word, start=shift):
                value = (~bit if isinstance(bit, Bit) else 1 - bit) if invert else bit
                if isinstance(value, int):
                    constant += value << j - shift
                elif j < width:
                    columns[j].append(value)
        return columns, constant << shift

    def _part(self, part: int, need: int) -> Word:
        """How many terms of a common part are +1; not earlier than `need` where that does not matter."""
        if part not in self.parts:
            row = self.rows[part]
            start = max(0, need - self.net.levels)
            columns, constant = self._columns(row, 1, 0, row.count.bit_length(), start)
            self.parts[part] = self._add(columns, constant, start=start)
        return self.parts[part]

    def _add(
        self, columns: list[list[Bit]], constant: int, word: Word | None = None, compare: bool = False, start: int = 0
    ) -> Word:
        """The sum of columns, a constant and a word, in fewest LUTs."""
        if word is not None and (compare or not all(isinstance(b, Bit) for b in word)):
            columns = [[*c, *([b] if isinstance(b, Bit) else [])] for c, b in zip(columns, word, strict=True)]
            constant += sum(b << j for j, b in enumerate(word) if isinstance(b, int))
            word = None
        if word is not None and not any(columns) and constant % (1 << len(columns)) == 0:
            return word
        found = plan(tuple(map(len, columns)), constant, word is not None, compare, self.net.levels > 2)
        start = max([start, *(b.time for b in word or () if isinstance(b, Bit))])
        if compare:
            start = max([b.time for c in columns for b in c], default=0)
        return self.net.add(found, columns, word, start)

    def _wanted(self, parent: _Known | None) -> int:
        """When the parts of a channel are: before its parent is there, by what its counters may take."""
        ready = max([b.time for b in parent.word if isinstance(b, Bit)], default=0) if parent else 0
        return max(0, ready - MARGIN)

    def _sum(self, row: Row, parent: _Known | None, complement: bool) -> _Known:
        """Z itself: of a root q - (K + 1) / 2, else Zp + 2q - d or -Zp - odd + 2q - e."""
        odd, count = self.layer.odd, row.count
        columns, constant = self._columns(row, 1, int(parent is not None), self.width, self._wanted(parent))
        if parent is None:
            return _Known(self._add(columns, constant - (count + 1) // 2), 1, 0)
        word = [~b if isinstance(b, Bit) else 1 - b for b in parent.word] if complement else parent.word
        return _Known(self._add(columns, constant - count + (1 - odd if complement else 0), word), 1, 0)

    def _compared(
        self, channel: int, row: Row, parent: _Known | None, complement: bool, inner: bool, wanted: bool
    ) -> tuple[_Known, Word]:
        """A word and the comparison; the word alone where that is not wanted, the comparison alone where nothing follows."""
        if parent is None:
            sign, offset, word = 1, (row.count + 1) // 2, None
        else:
            sign = -parent.sign if complement else parent.sign
            offset, word = parent.offset + row.count + (sign * self.layer.odd if complement else 0), parent.word
        columns, more = self._columns(row, sign, int(parent is not None), self.width, self._wanted(parent))
        offset -= more  # what the columns lack is left out of the word
        # s = 1: Z >= t is word - offset - t >= 0. s = -1: it is not (word - offset + t - 1 >= 0).
        values = sign * -self.limits[channel] - offset - (sign < 0)
        assert self.layer.compare is not None
        flip = (sign > 0) ^ bool(self.layer.compare.negative[channel])
        known = _Known([], sign, offset)
        if not inner:
            return known, self._highest(columns, word, values, flip)
        if wanted and len(np.unique(values)) == 1:
            heights = tuple(map(len, columns)) if word is not None else None
            constant = int(values[0])
            if heights and all(isinstance(b, Bit) for b in word or ()):
                ternary = self.net.levels > 2
                apart = plan(heights, 0, True, False, ternary).cost + plan((1,) * self.width, constant, False, True, ternary).cost
                if plan(heights, constant, True, False, ternary).cost <= apart:
                    known.word = self._add(columns, constant, word)
                    known.offset += constant
                    return known, _flipped(known.word[-1:], flip)
        known.word = self._add(columns, 0, word)
        if not wanted:
            return known, []
        empty: list[list[Bit]] = [[] for _ in range(self.width)]
        return known, self._highest(empty, known.word, values, flip)

    def _highest(self, columns: list[list[Bit]], word: Word | None, values: np.ndarray, flip: bool) -> Word:
        """The highest bit of a sum and one of these values, by mask."""
        constant, extra = self._by_mask(values, self.width)
        columns = [[*c, *e] for c, e in zip(columns, extra, strict=True)]
        return _flipped(self._add(columns, constant, word, compare=True), flip)

    def _by_mask(self, values: np.ndarray, width: int) -> tuple[int, list[list[Bit]]]:
        """A constant, and bits for what depends on the mask, in `width` columns."""
        constant = 0
        extra: list[list[Bit]] = []
        for j in range(width):
            bits = values >> j & 1
            if (bits == bits[0]).all():
                constant += int(bits[0]) << j
                extra.append([])
                continue
            table = np.zeros(1 << len(self.code), bool)
            table[self.index] = bits
            made = self.net.function(tuple(self.code), table)
            extra.append([made] if isinstance(made, Bit) else [])
        return constant, extra

    def _restored(self, channel: int, word: Word) -> Word:
        """The sum as it leaves: with what padded taps took given back."""
        if not self.lost[channel].any():
            return word
        constant, extra = self._by_mask(self.lost[channel], len(word))
        return self._add(extra, constant, word)

    def _border(self) -> tuple[list[Bit], np.ndarray]:
        """Signals that tell the masks apart, and the index that they form for each mask."""
        masks = self.layer.masks
        if masks is None:
            return [], np.zeros(1, np.int64)
        taps = _telling_taps(masks)
        code = [Bit(f"mask_i[{t}]", 0, 0) for t in taps]
        index = masks[:, taps] @ (1 << np.arange(len(taps)))
        if len(code) <= _CODE_BITS:
            return code, index
        numbers = np.arange(len(index))
        width = (len(index) - 1).bit_length()
        made = []
        for k in range(width):
            table = np.zeros(1 << len(code), bool)
            table[index] = numbers >> k & 1
            made.append(self.net.function(tuple(code), table))
        return [b for b in made if isinstance(b, Bit)], numbers


_CODE_BITS = 6
"""Taps beyond which the masks are numbered."""


def _flipped(word: Word, flip: bool) -> Word:
    return [(~b if isinstance(b, Bit) else 1 - b) if flip else b for b in word]


def _telling_taps(masks: np.ndarray) -> list[int]:
    """A small set of taps of which no two masks have the same bits."""
    taps = list(range(masks.shape[1]))
    for t in sorted(taps, key=lambda t: abs(2 * int(masks[:, t].sum()) - len(masks)), reverse=True):
        fewer = [u for u in taps if u != t]
        if len(np.unique(masks[:, fewer], axis=0)) == len(masks):
            taps = fewer
    return taps


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
    for group, tree in enumerate(p.tree for p in layer.programs):
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
    out = "acc_o"
    if layer.compare is not None:
        limits = np.clip(layer.compare.thresholds, -terms, terms + 1).tolist()
        above = [
            f"(int'({y}) >= {t})" if -terms < t <= terms else f"1'b{int(t <= -terms)}" for y, t in zip(sums, limits, strict=True)
        ]
        sums = [f"{bit} ^ 1'b{int(n)}" for bit, n in zip(above, layer.compare.negative, strict=True)]
        out, width = "y_o", 1
    total = len(sums) * width
    return [
        *text,
        f"  logic [{total - 1}:0] y_q [{latency}];",
        "  always_ff @(posedge clk_i) begin",
        f"    y_q[0] <= {{{', '.join(reversed(sums))}}};",
        f"    for (int i = 1; i < {latency}; i++) y_q[i] <= y_q[i-1];",
        "  end",
        f"  assign {out} = y_q[{latency - 1}];",
    ]
