"""The code of a folded binary layer that follows its spanning tree: which terms of which channels are summed in which cycle.

A channel is plus or minus its parent and twice the sum over the terms in which their weights differ (edgeq.mst). What a folded
layer gains is the cycles of all other terms. Words of neighbouring terms are hardly ever free of differences, so each of the
`lanes` terms summed in a cycle has an address of its own: the terms of a patch lie in `lanes` banks of LUT RAM
(hls/rtl/eq_gather.sv), and a channel takes as many cycles as its fullest bank has of its terms. Two choices make this even:

1. which bank a term lies in: one term after the other, the most used first, goes to the bank that is least full in the channels
   that use it (a fixed wiring, so it costs nothing);
2. which `pe` channels make a step, which lasts as long as its longest: those of like length whose parents are done. Lanes that
   the first step leaves over compute channels in full, which takes no longer than the root itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.hardware import memory_image, to_bits
from edgeq.mst import spanning_tree

BANK_WORDS = 31
"""Terms of a bank: half of a 64-word LUT RAM, the other half being filled, and a word that stays 0."""
BANKS_PER_RAM = 7
"""A RAM64M8 has eight LUT, one of which holds the write address."""
MAX_LANES = 160
"""Terms of a channel in a cycle: what a popcount adds between two registers."""
BALANCE = 1.0
"""How strongly a full bank repels terms; from 0.5 to 1.5 it hardly matters."""


def lanes_of(positions: int) -> int:
    """The banks that hold a patch of so many terms: whole RAM64M8."""
    return -(-positions // (BANK_WORDS * BANKS_PER_RAM)) * BANKS_PER_RAM


@dataclass(frozen=True, eq=False)
class Layout:
    """A layer's tree and banks.

    parent: int64 [C], -1 for a root.  complement: bool [C].  used: bool [C, P], the terms of the patch summed for a channel;
    full: those of a root.  positive: bool [C, P], the weights.  bank, word: int64 [P], where a term lies.
    height: int64 [C], edges down to the farthest descendant.  cycles, full_cycles: int64 [C], those of `used` and `full`.
    """

    parent: np.ndarray
    complement: np.ndarray
    used: np.ndarray
    full: np.ndarray
    positive: np.ndarray
    bank: np.ndarray
    word: np.ndarray
    height: np.ndarray
    cycles: np.ndarray
    full_cycles: np.ndarray

    @cached_property
    def lanes(self) -> int:
        return lanes_of(self.used.shape[1])

    @cached_property
    def words(self) -> int:
        """Words of a bank that hold terms."""
        return int(self.word.max()) + 1


def layout(rows: np.ndarray, groups: int = 1, taps: int = 1) -> Layout:
    """The layout of weights [C, K] of -1 and +1 whose terms are tap by tap, as in a patch; kept by content.

    With groups, a patch has groups * K terms, tap by tap too, and each group of channels has a tree of its own.
    """
    channels, terms = rows.shape
    return _layout(rows.astype(np.int8).tobytes(), channels, terms, groups, taps)


@lru_cache(maxsize=64)
def _layout(data: bytes, channels: int, terms: int, groups: int, taps: int) -> Layout:
    rows = np.frombuffer(data, np.int8).reshape(channels, terms)
    size, per_tap = channels // groups, terms // taps
    parent, complement, height = np.full(channels, -1), np.zeros(channels, bool), np.zeros(channels, np.int64)
    used, full, positive = (np.zeros((channels, groups * terms), bool) for _ in range(3))
    for g, first in enumerate(range(0, channels, size)):
        at = (np.arange(taps)[:, None] * groups * per_tap + g * per_tap + np.arange(per_tap)).ravel()
        own = slice(first, first + size)
        tree = spanning_tree(rows[own], complement_cost=0)
        parent[own], complement[own] = np.where(tree.parent < 0, -1, tree.parent + first), tree.complement
        for c in tree.order[::-1]:
            used[first + c, at[tree.terms[c]]] = True
            if (above := tree.parent[c]) >= 0:
                height[first + above] = max(height[first + above], height[first + c] + 1)
        full[own, at] = True
        positive[own, at] = rows[own] > 0
    bank, word = _banks(used)
    load = np.zeros((channels, lanes_of(groups * terms)), np.int64), np.zeros((channels, lanes_of(groups * terms)), np.int64)
    for total, mask in zip(load, (used, full), strict=True):
        np.add.at(total.T, bank, mask.T)
    return Layout(parent, complement, used, full, positive, bank, word, height, load[0].max(axis=1), load[1].max(axis=1))


def _banks(used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bank of each term and its word there, so that the terms of a channel are spread over the banks."""
    channels, positions = used.shape
    lanes = lanes_of(positions)
    free = np.full(lanes, -(-positions // lanes))
    pull = np.ones((channels, lanes))
    bank, word = np.zeros(positions, np.int64), np.zeros(positions, np.int64)
    for k in np.argsort(-used.sum(axis=0), kind="stable"):
        by = used[:, k]
        rows = pull[by]
        strain = (rows / rows.sum(axis=1, keepdims=True)).sum(axis=0)
        chosen = int(np.where(free > 0, strain, np.inf).argmin())
        bank[k], word[k] = chosen, -(-positions // lanes) - free[chosen]
        free[chosen] -= 1
        pull[by, chosen] *= np.exp(BALANCE)
    return bank, word


@dataclass(frozen=True, eq=False)
class Program:
    """A schedule of a layout on pe channels at a time.

    slots: int64 [steps, pe], the channel of each, -1 for none.  lengths: int64 [steps], cycles.
    roots: bool [C], the channels computed in full.
    """

    layout: Layout
    slots: np.ndarray
    lengths: np.ndarray
    roots: np.ndarray

    @property
    def cycles(self) -> int:
        """Cycles a patch."""
        return int(self.lengths.sum())

    @property
    def pe(self) -> int:
        return self.slots.shape[1]

    @property
    def order(self) -> np.ndarray:
        """The channels as they come out."""
        flat = self.slots.ravel()
        return flat[flat >= 0]

    @property
    def entry_bits(self) -> int:
        """Bits of the code a lane: a word's address and a weight."""
        return self.layout.words.bit_length() + 1

    @property
    def code_width(self) -> int:
        return self.pe * self.layout.lanes * self.entry_bits + 1

    def slot_width(self, acc_bits: int) -> int:
        return acc_bits + _index_bits(self.slots.size) + 3

    def terms(self, channel: int) -> np.ndarray:
        """bool [P]: the terms summed for the channel."""
        plan = self.layout
        return plan.full[channel] if self.roots[channel] else plan.used[channel]

    def code(self) -> str:
        """The image of eq_mvu_tree's code."""
        plan, null = self.layout, self.layout.words | 1 << (self.entry_bits - 1)
        entries = np.full((self.cycles, self.pe, plan.lanes), null, np.int64)
        ends = np.cumsum(self.lengths)
        for row, end, length in zip(self.slots, ends, self.lengths, strict=True):
            for p, c in enumerate(row):
                if c < 0:
                    continue
                at = np.flatnonzero(self.terms(c))
                at = at[np.argsort(plan.bank[at], kind="stable")]
                banks = plan.bank[at]
                rank = np.arange(len(at)) - np.searchsorted(banks, banks)
                entries[end - length + rank, p, banks] = plan.word[at] | plan.positive[c, at].astype(np.int64) << (
                    self.entry_bits - 1
                )
        last = np.zeros((self.cycles, 1), np.uint8)
        last[ends - 1] = 1
        return memory_image(np.hstack([to_bits(entries.reshape(self.cycles, -1), self.entry_bits), last]))

    def slot_words(self, acc_bits: int) -> str:
        """The image of its slots. A count q of n summed terms is the sum 2*q - n."""
        plan, flat = self.layout, self.slots.ravel()
        where = np.zeros(len(plan.parent), np.int64)
        where[flat[flat >= 0]] = np.flatnonzero(flat >= 0)
        c = np.maximum(flat, 0)
        root, negate = self.roots[c], plan.complement[c] & ~self.roots[c]
        n = np.array([self.terms(i).sum() for i in c])
        bias = np.where(root, -n, negate - 2 * n)  # -v is ~v + 1
        parent = np.where(root, 0, where[plan.parent[c]])
        fields = (
            (bias, acc_bits),
            (parent, _index_bits(len(flat))),
            (negate, 1),
            (root, 1),
            (flat >= 0, 1),
        )
        return memory_image(np.hstack([to_bits(np.asarray(v, np.int64)[:, None], width) for v, width in fields]))

    def by_slot(self, values: np.ndarray) -> np.ndarray:
        """Values [C, ...] in the order of the slots, those of channel 0 where there is none."""
        return values[np.maximum(self.slots.ravel(), 0)]

    def wires(self) -> np.ndarray:
        """int64 [words, lanes]: the term of the patch there, -1 for none."""
        plan = self.layout
        found = np.full((plan.words, plan.lanes), -1)
        found[plan.word, plan.bank] = np.arange(len(plan.bank))
        return found


def _index_bits(n: int) -> int:
    return max(1, (n - 1).bit_length())


def program(rows: np.ndarray, pe: int, groups: int = 1, taps: int = 1) -> Program:
    """The program of weights [C, K] as `layout` takes them, on pe channels at a time; kept by content.

    Raises EdgeqError where a patch has more terms than MAX_LANES banks hold.
    """
    channels, terms = rows.shape
    if lanes_of(groups * terms) > MAX_LANES:
        raise EdgeqError(
            f"a patch of {groups * terms:,} terms does not fit {MAX_LANES} banks of {BANK_WORDS}", fix='Fold("folded", ...)'
        )
    return _program(rows.astype(np.int8).tobytes(), channels, terms, pe, groups, taps)


@lru_cache(maxsize=512)
def _program(data: bytes, channels: int, terms: int, pe: int, groups: int, taps: int) -> Program:
    plan = _layout(data, channels, terms, groups, taps)
    roots = plan.parent < 0
    children: list[list[int]] = [[] for _ in range(channels)]
    for c, p in enumerate(plan.parent):
        if p >= 0:
            children[p].append(c)
    ready = [int(c) for c in np.flatnonzero(roots)]
    steps: list[list[int]] = []
    lengths: list[int] = []
    left = channels
    while left:
        ends = -(-left // pe)  # steps at the least
        ready.sort(key=lambda c: (plan.height[c] < ends - 1, -plan.cycles[c], c))
        step, ready = ready[:pe], ready[pe:]
        length = int(max(plan.cycles[c] for c in step))
        if not steps:
            extra = _extra_roots(plan, pe - len(step), length)
            roots = roots | extra
            step += [int(c) for c in np.flatnonzero(extra)]
        step += [-1] * (pe - len(step))
        # A sum is there two cycles after its slot: in a step no longer than its slots, the first must not need the last before.
        late = steps[-1][-1] if steps and length <= pe else -1
        first = next((i for i, c in enumerate(step) if c < 0 or plan.parent[c] != late), None) if late >= 0 else 0
        if first is not None:
            step = step[first:] + step[:first]
        steps.append(step)
        lengths.append(max(length, pe + (first is None)))
        left -= sum(c >= 0 for c in step)
        done = [child for c in step if c >= 0 for child in children[c]]
        ready += [c for c in done if not roots[c]]
    lengths[-1] += max(0, plan.words - sum(lengths))  # the next patch is being read meanwhile
    return Program(plan, np.array(steps), np.array(lengths), roots)


def _extra_roots(plan: Layout, count: int, length: int) -> np.ndarray:
    """bool [C]: up to `count` channels that are computed in full within `length` cycles, the dearest ones."""
    chosen = np.zeros(len(plan.parent), bool)
    fits = (plan.parent >= 0) & (plan.full_cycles <= length)
    by_cost = np.lexsort((-plan.height, -plan.cycles))
    chosen[by_cost[fits[by_cost]][:count]] = True
    return chosen
