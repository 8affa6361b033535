"""What an operator hands to the hardware lowerings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil

import numpy as np

from edgeq.graph import range_width

RESOURCES = ("lut", "ff", "bram36", "uram", "dsp")


@dataclass(frozen=True)
class Cost:
    """Resources of one operator. bram36 counts a RAMB18 as 0.5."""

    lut: float = 0
    ff: float = 0
    bram36: float = 0
    uram: float = 0
    dsp: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(self.astuple(), other.astuple(), strict=True)))

    def astuple(self) -> tuple[float, ...]:
        return (self.lut, self.ff, self.bram36, self.uram, self.dsp)

    def asdict(self) -> dict[str, float]:
        """The keys of report.json: whole numbers, halves of bram36 kept."""
        return {name: ceil(v) if name != "bram36" else ceil(2 * v) / 2 for name, v in zip(RESOURCES, self.astuple(), strict=True)}


LUT_RAM_DEPTH = 64
"""Words up to which the RTL library builds a memory of LUTs."""
STORE_LUT_DEPTH, STORE_LUT_BITS = 512, 9216
"""The same of eq_ring and eq_token_store, where it has no more bits: half a RAMB18."""
LINE_LUT_DEPTH = 128
"""The same of the lines of eq_window."""
RAMB36 = ((512, 72), (1024, 36), (2048, 18), (4096, 9), (8192, 4), (16384, 2), (32768, 1))
"""Shapes of a block RAM, depth by width (UG573)."""


def memory_cost(width: int, depth: int, rom: bool = False, block: bool = False, lut_depth: int = LUT_RAM_DEPTH) -> Cost:
    """A memory of the RTL library by our model: constants, LUT ROM or LUT RAM (14 bits of 32 words in 8 LUTs), or block RAM.

    block: block RAM also where it is shallow. lut_depth: words up to which it is LUTs. Of the bits of a ROM only those count that
    differ from each other.
    """
    if depth <= 1 and rom:
        return Cost()
    if depth <= lut_depth and not block:
        different = min(width, 1 << depth)
        return Cost(lut=different, ff=different) if rom else Cost(lut=ceil(depth / 32) * width * 8 / 14)
    whole = min(ceil(depth / rows) * ceil(width / bits) for rows, bits in RAMB36)
    halves = min(ceil(2 * depth / rows) * ceil(width / bits) / 2 for rows, bits in RAMB36[1:])  # a RAMB18 is 36 bits wide
    return Cost(bram36=min(whole, halves))


def store_cost(width: int, depth: int) -> Cost:
    """The memory of eq_ring and eq_token_store: of few bits, more words than elsewhere are LUT RAM."""
    return memory_cost(width, depth, lut_depth=STORE_LUT_DEPTH if width * depth <= STORE_LUT_BITS else LUT_RAM_DEPTH)


def memory_room(width: int, depth: int) -> int:
    """The most words that cost no more memory than `depth` words do."""
    if depth <= LUT_RAM_DEPTH:
        return ceil(depth / 32) * 32
    room = ceil(depth / 512) * 512
    while memory_cost(width, room + 512) == memory_cost(width, depth):
        room += 512
    return room


@dataclass(frozen=True)
class RtlInstance:
    """One module of the RTL library (or a generated one) with its parameters.

    Ports of every such module: clk_i, rst_ni; in_valid_i, in_ready_o, in_data_i (in0_*, in1_* where there are two
    inputs); out_valid_o, out_ready_i, out_data_o. A beat is one pixel with all its channels, channel c at bits
    [c*W +: W].
    module: module name. params: integers or strings (file names). sources: generated files, name -> text.
    memories: $readmemh images, name -> text; a parameter names the file.
    uses: library files (stems) that the module needs, itself included when it is one.
    notes: figures for the report, such as the additions that a spanning tree saved.
    pictures: SVG drawings for people, name -> text.
    """

    module: str
    params: Mapping[str, int | str]
    uses: tuple[str, ...]
    sources: dict[str, str] = field(default_factory=dict)
    memories: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int | str | bool] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)


READ, TAKE, EMIT, READ_SECOND, TAKE_SECOND = 1, 2, 4, 8, 16
"""What a step of a `Stage` does."""


@dataclass(frozen=True)
class Stage:
    """A part of an operator's control: the same steps every frame, one after the other, each as soon as it can.

    walk: what each step of a frame does. A step that READs waits for the next beat of every input and keeps it; one that TAKEs
    hands it back at its end; one that EMITs gives a beat to the FIFO behind the stage. Where a step READs or TAKEs the SECOND
    input, READ and TAKE are of the first alone.
    cycles: of a step.  latency: from the last cycle of a step to the cycle in which its beat is pushed into that FIFO.
    depth: its words; every step, with or without EMIT, waits for a free one (a credit). None: it never fills.
    back: cycles from the one in which a word leaves the FIFO to the one in which its credit can be used.
    A beat can be read a cycle after its push. What the values are has no part in it.
    port: None: it takes all that comes to it; else that input of the operator alone, and its beats come in that input's place.
    """

    walk: bytes
    depth: int | None
    latency: int = 0
    cycles: int = 1
    back: int = 1
    port: int | None = None

    @property
    def busy(self) -> int:
        """Cycles a frame, if nothing held it up."""
        return len(self.walk) * self.cycles

    @property
    def emitted(self) -> int:
        """Beats a frame."""
        return sum(step & EMIT > 0 for step in self.walk)

    def marks(self, port: int) -> tuple[int, int]:
        """What READ and TAKE of an input are in its walk."""
        return (READ_SECOND, TAKE_SECOND) if port == 1 and self.apart else (READ, TAKE)

    def taken(self, port: int = 0) -> int:
        """Beats a frame of an input."""
        take = self.marks(port)[1]
        return sum(step & take > 0 for step in self.walk)

    @cached_property
    def apart(self) -> bool:
        """True where its two inputs are not taken together."""
        return any(step & TAKE_SECOND for step in self.walk)

    @staticmethod
    def each(beats: int, depth: int | None, latency: int = 0, cycles: int = 1) -> Stage:
        """A beat out for every beat in."""
        return Stage(bytes([READ | TAKE | EMIT]) * beats, depth, latency, cycles)


@dataclass(frozen=True)
class HlsTable:
    """A constant array of the HLS project. values: int64, flat or not, in C order; each fits `bits` bits, two's complement
    where signed."""

    values: np.ndarray
    bits: int
    signed: bool

    @staticmethod
    def of(values: np.ndarray) -> HlsTable:
        """The narrowest table that holds the values."""
        lo, hi = int(values.min()), int(values.max())
        return HlsTable(values, range_width(lo, hi), lo < 0)


@dataclass(frozen=True)
class HlsCall:
    """One call `nnet::<function><input types, output type, config>(inputs, output, tables)`, of hls/nnet/<function>.h.

    config: integer members of the configuration struct.  types: its integer typedefs, name -> (bits, signed).
    kernel: its typedef `kernel`, where the function takes one of several.
    tables: the arrays, in the order of the function's parameters, written by hls4ml's own weight writer.
    post: the fused operator: its `<function>_element` becomes the typedef `post`, its tables follow the layer's own.
    native: hls4ml's own layer instead, where that is exact: its dictionary for ModelGraph.from_layer_list.
    """

    function: str = ""
    config: dict[str, int] = field(default_factory=dict)
    types: dict[str, tuple[int, bool]] = field(default_factory=dict)
    kernel: str = ""
    tables: dict[str, HlsTable] = field(default_factory=dict)
    post: HlsCall | None = None
    native: dict[str, object] | None = None


def to_bits(values: np.ndarray, width: int) -> np.ndarray:
    """values [..., n] as codes of `width` bits, two's complement where negative: uint8 [..., n*width], lowest bit first."""
    shifts = np.arange(width, dtype=np.int64)
    found = (values.astype(np.int64)[..., None] >> np.minimum(shifts, 63)) & 1
    return found.astype(np.uint8).reshape(*values.shape[:-1], values.shape[-1] * width)


def from_bits(bits: np.ndarray, width: int, signed: bool) -> np.ndarray:
    """The inverse of to_bits for width up to 63: uint8 [..., n*width] -> int64 [..., n]."""
    planes = bits.reshape(*bits.shape[:-1], -1, width).astype(np.int64)
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    if signed:
        weights[-1] = -weights[-1]
    return planes @ weights


def memory_image(bits: np.ndarray) -> str:
    """bits [words, n], lowest bit first, as the text of a $readmemh file."""
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8)))
    digits = -(-bits.shape[1] // 4)
    rows = np.packbits(padded, axis=1, bitorder="little")[:, ::-1]
    return "".join(f"{row.tobytes().hex()[-digits:]}\n" for row in rows)
