"""What the operators' `rtl()`, `cycles()` and `folds()` share: codes, windows, folded layers and the fused operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from edgeq.cache import key
from edgeq.delta import MAX_LANES, lanes_of, program
from edgeq.digits import DigitCode
from edgeq.drawing import tree_svg
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import IntType, Op, range_width
from edgeq.hardware import LUT_RAM_DEPTH, RtlInstance, memory_image, to_bits
from edgeq.mst import spanning_tree
from edgeq.shift_add import MAX_DIGITS, Inputs, Rescale, ShiftAdd, Sums, Tail, digits, shift_add_sv
from edgeq.unrolled import Compare, Unrolled, border_masks, estimated_luts, unrolled_sv

if TYPE_CHECKING:
    from edgeq.ops._mac import Mac

MAX_SIMD = 64
"""Terms of a folded layer at a time: what a popcount or an adder tree adds between two registers."""
UNSIGNED, SIGNED, BIPOLAR, DIGITS = range(4)
"""Codes of eq_decode.sv, and of weights in eq_dot.sv."""
NOTED = ("form", "depth", "distance", "additions", "direct_additions", "luts", "carries", "latency", "compare")
"""What of an unrolled layer goes to the report."""
ADDED = ("additions", "direct_additions", "subexpressions", "luts", "carries", "latency")
"""The same of an unrolled integer layer."""
WEIGHT_FILE, POST_FILE = "weights.hex", "post.hex"
CODE_FILE, SLOT_FILE, BORDER_FILE = "code.hex", "slots.hex", "border.hex"
TREE_PES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Channels at a time of a folded layer along its tree. They are finished one by one, so more than these gain nothing."""


def code(t: IntType) -> int:
    """How hardware stores the tensor: the `Kind` of eq_decode.sv."""
    return BIPOLAR if t.bipolar else SIGNED if t.signed else UNSIGNED


def value_bits(t: IntType) -> int:
    """Bits of any value of the tensor in two's complement."""
    return t.width if t.signed else t.width + 1


def signed_bits(lo: int, hi: int) -> int:
    """Bits of [lo, hi] in two's complement."""
    return range_width(min(lo, -1), max(hi, 0))


def one_input(x: IntType) -> dict[str, int]:
    return {"InBits": x.width, "InKind": code(x)}


def two_inputs(x0: IntType, x1: IntType) -> dict[str, int]:
    return {"In0Bits": x0.width, "In0Kind": code(x0), "In1Bits": x1.width, "In1Kind": code(x1)}


def output(y: IntType) -> dict[str, int]:
    return {"OutBits": y.width, "OutKind": code(y)}


@dataclass(frozen=True)
class Post:
    """A fused operator for eq_post.sv. config: its `Post` parameter.  bits: uint8 [C or 1, bits of a channel's parameters]."""

    config: int
    bits: np.ndarray

    @staticmethod
    def of(kind: int, y: IntType, *fields: int, bits: np.ndarray) -> Post:
        """fields: those of eq_post.sv from the third on."""
        values = (kind, int(y.bipolar), *fields)
        return Post(sum((value & ((1 << 64) - 1)) << (64 * i) for i, value in enumerate(values)) | 1 << 511, bits)

    def image(self, channels: int, pe: int) -> str:
        """A word for every `pe` channels."""
        rows = np.broadcast_to(self.bits, (channels, self.bits.shape[1]))
        return memory_image(rows.reshape(channels // pe, -1))


@runtime_checkable
class Fusible(Protocol):
    """An operator that eq_post.sv can build. rtl_latency: its cycles there."""

    rtl_latency: int

    def rtl_compare(self, channels: int) -> Compare | None:
        """The comparison that it is in hardware, 1 for the code 1 of y; None where it is more than one bit."""

    def rtl_rescale(self, channels: int, y: IntType) -> Rescale | None:
        """The constant multiplication, rounding and clip that it is, onto y; None where it is none."""

    def rtl_post(self, x: IntType, bits: int, digits: bool) -> Post:
        """Its parameters for values of type x in `bits` bits, two's complement; digits: as `Fold.digits`."""

    def multiplies(self) -> bool:
        """True where it takes a multiplier that digits could replace."""


def lanes(fold: Fold, channels: int) -> int:
    """Channels a cycle of an operator that takes some of a pixel at a time, or all."""
    return fold.pe if fold.mode == "folded" else channels


def beat_parts(fold: Fold, channels: int) -> int:
    """Cycles a beat of such an operator."""
    return 1 if fold.narrow else channels // lanes(fold, channels)


def narrow(fold: Fold) -> dict[str, int]:
    """The parameter of the modules that can be narrow."""
    return {"Narrow": 1} if fold.narrow else {}


def lane_folds(channels: int, digits: Sequence[bool] = (False,)) -> list[Fold]:
    """All numbers of channels a cycle, slowest first, each with and without `Fold.digits` where both are given."""
    some = [Fold("folded", pe, 1) for pe in range(1, channels) if channels % pe == 0]
    return [replace(fold, digits=by) for fold in (*some, Fold()) for by in digits]


def narrow_lane_folds(channels: int, digits: Sequence[bool] = (False,)) -> list[Fold]:
    """The same in narrow beats."""
    sizes = [pe for pe in range(1, channels) if channels % pe == 0]
    return [Fold("folded", pe, pe, digits=by, narrow=True) for pe in sizes for by in digits]


def credits(parts: int, latency: int) -> int:
    """FifoDepth of eq_pointwise.sv and eq_add.sv. parts: cycles a beat.  latency: from a part to its result, at most."""
    return (latency + 1) // parts + 2 if parts > 1 else 6


def pointwise(op: Fusible, fold: Fold, x: IntType, y: IntType) -> RtlInstance:
    """A fusible operator on its own."""
    pe = lanes(fold, x.channels)
    bits = value_bits(x)
    post = op.rtl_post(x, bits, fold.digits)
    return RtlInstance(
        "eq_pointwise",
        {
            "Channels": x.channels,
            "Pe": pe,
            **narrow(fold),
            "InBits": x.width,
            "InKind": code(x),
            "ValueBits": bits,
            "OutBits": y.width,
            "Post": post.config,
            "File": POST_FILE,
        },
        uses=("eq_pointwise",),
        memories={POST_FILE: post.image(x.channels, pe)},
    )


@dataclass(frozen=True)
class Window:
    """The geometry of eq_window.sv on an image x."""

    x: IntType
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, ...]
    dilation: tuple[int, int] = (1, 1)

    def params(self) -> dict[str, int]:
        """Its parameters but the bits of a pixel."""
        sizes = (*self.x.shape[1:], *self.kernel, *self.stride, *self.dilation, *self.pads)
        return dict(zip(("H", "W", "Kh", "Kw", "Sh", "Sw", "Dh", "Dw", "PadT", "PadL", "PadB", "PadR"), sizes, strict=True))

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns with the padding."""
        top, left, bottom, right = self.pads
        return self.x.shape[1] + top + bottom, self.x.shape[2] + left + right

    @property
    def positions(self) -> int:
        """Cycles a frame of the window alone: one for each position of the padded image."""
        return prod(self.padded)

    def masks(self) -> np.ndarray | None:
        """The different masks of its patches, bool [n, Kh*Kw]; None where all taps are pixels."""
        found = border_masks((self.x.shape[1], self.x.shape[2]), self.kernel, self.stride, self.pads, self.dilation)
        return None if found is None or bool(found.all()) else found

    def ends(self) -> np.ndarray:
        """The positions at which a patch is complete, in order."""
        rows, columns = (
            np.arange((kernel - 1) * dilation, size, stride)
            for kernel, dilation, size, stride in zip(self.kernel, self.dilation, self.padded, self.stride, strict=True)
        )
        return (rows[:, None] * self.padded[1] + columns).ravel()


FIFO_LEVELS = 1
"""LUT levels of what an eq_outfifo gives: its LUT RAM."""
PATCH_FIFO = 32
"""Patches between the window and a folded unit: PatchDepth of eq_conv2d.sv."""


def is_binary(x: IntType, rows: np.ndarray) -> bool:
    """{-1, +1} by {-1, +1}."""
    return x.bipolar and bool(np.all(np.abs(rows) == 1))


def layer_folds(outputs: int, terms: int, groups: int = 1) -> list[Fold]:
    """Every rate at which a layer can run, each with as few channels and as many terms at a time as it allows."""
    best = {(outputs // fold.pe) * (terms // fold.simd): fold for fold in legal_layer_folds(outputs, terms, groups)}
    return [best[steps] for steps in sorted(best, reverse=True)]


def legal_layer_folds(outputs: int, terms: int, groups: int = 1) -> list[Fold]:
    """Every shape that the folded units can have, with few terms at a time first; then the unrolled layer."""
    per_group = outputs // groups
    channels = [pe for pe in _divisors(outputs) if per_group % pe == 0 or pe % per_group == 0]
    widths = [simd for simd in _divisors(terms) if simd <= MAX_SIMD]
    folded = [Fold("folded", pe, simd) for simd in widths for pe in channels if (pe, simd) != (outputs, terms)]
    return [*folded, Fold("unrolled", outputs, terms)]


def tree_folds(x: IntType, rows: np.ndarray, groups: int = 1) -> list[Fold]:
    """The ways to fold a binary layer along its spanning tree; none where a group has one channel, or a patch too many terms."""
    lanes = lanes_of(groups * rows.shape[1])
    if not is_binary(x, rows) or len(rows) == groups or lanes > MAX_LANES:
        return []
    return [Fold("tree", pe, lanes) for pe in TREE_PES if pe <= len(rows)]


def folds(x: IntType, rows: np.ndarray, groups: int = 1, taps: int = 1) -> list[Fold]:
    """All ways to build a layer, slowest first. rows: weights [Cout, K] in the order of a patch."""
    found = {steps(fold, rows, groups, taps): fold for fold in tree_folds(x, rows, groups)[::-1]}
    useful = [fold for cycles, fold in found.items() if all(cycles < other for other, f in found.items() if f.pe < fold.pe)]
    every = useful + with_block_ram(_buildable(layer_folds(len(rows), rows.shape[1], groups), x, rows), rows)
    return sorted(every, key=lambda fold: -steps(fold, rows, groups, taps))


def narrow_layer_folds(x: IntType, rows: np.ndarray) -> list[Fold]:
    """The ways to build a dense layer, of one or of every pixel, whose beats are some of its terms and channels."""
    if is_binary(x, rows):
        return []
    folded = [fold for fold in layer_folds(*rows.shape) if fold.mode == "folded"]
    return [replace(fold, narrow=True) for fold in with_block_ram(folded, rows)]


def legal_folds(x: IntType, rows: np.ndarray, groups: int = 1) -> list[Fold]:
    """Of `Op.legal_folds`. rows: weights [Cout, K] in the order of a patch."""
    every = _buildable(legal_layer_folds(len(rows), rows.shape[1], groups), x, rows)
    return [*tree_folds(x, rows, groups), *with_block_ram(every, rows)]


def _buildable(folds: list[Fold], x: IntType, rows: np.ndarray) -> list[Fold]:
    """Without the unrolled form of an integer layer whose weights have too many digits; one of a single product stays."""
    if len(folds) == 1 or is_binary(x, rows) or digits(rows) <= MAX_DIGITS:
        return folds
    return [fold for fold in folds if fold.mode != "unrolled"]


def with_block_ram(folds: list[Fold], rows: np.ndarray) -> list[Fold]:
    """The folds, and after each whose weights are few words in LUTs, the same with these in block RAM."""
    found = []
    for fold in folds:
        few = fold.mode == "folded" and 1 < steps(fold, rows) <= LUT_RAM_DEPTH
        found += [fold, replace(fold, block=True)] if few else [fold]
    return found


def with_digits(op: Mac, x: IntType, folds: list[Fold]) -> list[Fold]:
    """The folds of a layer, and after each that multiplies the same by digits, where a constant's code is short enough."""
    post = op.post is not None and fusible(op.post).multiplies()
    own = not bool(np.all(np.abs(op.weight) == 1))
    if not (post or own):
        return folds
    unrolled = x.bipolar and not own  # of integers it is shifts and additions anyway
    found = []
    for fold in folds:
        products = unrolled and post if fold.mode == "unrolled" else post or own
        found += [fold, replace(fold, digits=True)] if products else [fold]
    return found


def plain_fold(fold: Fold, rows: np.ndarray, groups: int = 1) -> Fold:
    """A fold along a tree, for an engine that has no such form: as many products a cycle, or the next more, without the tree."""
    if fold.mode != "tree":
        return fold
    every = layer_folds(len(rows), rows.shape[1], groups)
    return next((f for f in every if f.pe * f.simd >= fold.pe * fold.simd), every[-1])


def steps(fold: Fold, rows: np.ndarray, groups: int = 1, taps: int = 1) -> int:
    """Cycles a patch."""
    if fold.mode == "tree":
        return program(rows, fold.pe, groups, taps).cycles
    return (rows.shape[0] // fold.pe) * (rows.shape[1] // fold.simd) if fold.mode == "folded" else 1


def layer(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, window: Window | None, groups: int = 1
) -> RtlInstance:
    """A convolution (with a window) or dense layer. rows: weights [Cout, K] in the order of a patch.

    Unrolled layers are generated: binary ones by edgeq.unrolled, integer ones by edgeq.shift_add.
    """
    binary = is_binary(x, rows)
    if fold.mode == "tree":
        return _tree(op, fold, x, accumulator, rows, window, groups)
    if fold.mode == "unrolled":
        return (_unrolled if binary else _shift_add)(op, fold, x, accumulator, rows, window, groups)
    pe, simd = fold.pe, fold.simd
    window = None if fold.narrow else window
    module = ("eq_binary_" if binary else "eq_") + ("conv2d" if window else "dense")
    params: dict[str, int | str] = {**window.params(), "Groups": groups} if window else {}
    params |= {"Channels": x.channels, "Outputs": len(rows), "Pe": pe, "Simd": simd, **narrow(fold)}
    lo, hi = int(rows.min()), int(rows.max())
    weights_kind, weight_bits = (SIGNED if lo < 0 else UNSIGNED), range_width(lo, hi)
    if np.all(np.abs(rows) == 1):
        weights_kind, weight_bits, rows = BIPOLAR, 1, rows > 0
    digits = layer_digits(fold, rows)
    if digits:
        weights_kind, weight_bits = DIGITS, digits.width
        params |= {"Digits": digits.count, "MaxShift": digits.max_shift}
    if not binary:
        params |= {"XBits": x.width, "XKind": code(x), "WBits": weight_bits, "WKind": weights_kind}
    blocks = rows.reshape(len(rows) // pe, pe, rows.shape[1] // simd, simd).transpose(0, 2, 1, 3).reshape(-1, pe * simd)
    tail, memories = _tail(op, accumulator, pe, fold.digits)
    return RtlInstance(
        module,
        params | tail | {"WeightFile": WEIGHT_FILE, **({"WeightBlock": 1} if fold.block else {})},
        uses=(module,),
        memories={WEIGHT_FILE: memory_image(digits.bits(blocks) if digits else to_bits(blocks, weight_bits)), **memories},
    )


def layer_digits(fold: Fold, rows: np.ndarray) -> DigitCode | None:
    """The code of a layer's weights as digits; None where they come otherwise."""
    return DigitCode.of(rows) if fold.digits and fold.mode == "folded" and not np.all(np.abs(rows) == 1) else None


_LATENCIES: dict[str, int] = {}
"""Of the generated modules, by name: a name stands for their whole content."""


def unrolled_latency(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, window: Window | None, groups: int
) -> tuple[int, int]:
    """Cycles of an unrolled layer's generated module, which is generated unless it was before; the same and those of eq_post."""
    if is_binary(x, rows):
        tree, compare, arguments = _unrolled_tree(op, fold, rows, window, groups)
        latency = _LATENCIES[tree] if tree in _LATENCIES else _build(tree, arguments).latency
        return latency, latency + (fusible(op.post).rtl_latency if op.post and not compare else 0)
    name, settings = _sums(op, fold, x, accumulator, rows, window, groups)
    latency = _LATENCIES[name] if name in _LATENCIES else _build_sums(name, settings).latency
    return latency, latency + (fusible(op.post).rtl_latency if op.post and isinstance(settings["tail"], Sums) else 0)


def _build(tree: str, arguments: tuple[Any, ...]) -> Unrolled:
    unrolled = unrolled_sv(tree, *arguments)
    _LATENCIES[tree] = unrolled.latency
    return unrolled


def _unrolled_tree(
    op: Mac, fold: Fold, rows: np.ndarray, window: Window | None, groups: int
) -> tuple[str, Compare | None, tuple[Any, ...]]:
    """The name of the tree's module, the comparison built into it, and what `unrolled_sv` takes for it."""
    masks = window.masks() if window else None
    taps = prod(window.kernel) if window else 1
    compare = fusible(op.post).rtl_compare(len(rows)) if op.post else None
    choices = (rows.shape, fold.form, fold.max_lut_levels, fold.max_depth, window, groups, fold.family)
    content: list[str | bytes] = [rows.astype(np.int8).tobytes(), str(choices)]
    if compare:
        content += [compare.thresholds.tobytes(), compare.negative.tobytes()]
    arguments = (rows, fold.form, taps, groups, masks, compare, fold.max_lut_levels, fold.max_depth, fold.family)
    return f"eq_tree_{key(content)[:12]}", compare, arguments


def _unrolled(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, window: Window | None, groups: int
) -> RtlInstance:
    """A binary layer whose weights are logic: a patch a cycle."""
    tree, compare, arguments = _unrolled_tree(op, fold, rows, window, groups)
    unrolled = _build(tree, arguments)
    y, bits = op.finish(accumulator), unrolled.acc_width
    post = None
    if not compare:
        none = Post.of(0, y, bits=np.zeros((1, 0)))
        post = fusible(op.post).rtl_post(accumulator, bits, fold.digits) if op.post else none
    made = _stream(
        tree, unrolled.text, unrolled.latency, x, y, window,
        masked=window is not None and window.masks() is not None, post=post, bits=bits, content=str(accumulator),
    )  # fmt: skip
    notes = {name: getattr(unrolled, name) for name in NOTED}
    direct = round(estimated_luts(rows, "direct", groups, compare is not None, None))
    return replace(
        made,
        notes={"tree": tree, **notes, "direct_luts": direct},
        pictures=_pictures(rows, groups, 0 if compare else None, fold.max_depth) if unrolled.form != "direct" else {},
    )


def _stream(
    inner: str,
    text: str,
    latency: int,
    x: IntType,
    y: IntType,
    window: Window | None,
    masked: bool,
    post: Post | None,
    bits: int,
    content: str,
    direct: bool = False,
) -> RtlInstance:
    """A generated module `inner` of text `text` between two streams: a patch a cycle.

    post: eq_post for its sums acc_o of `bits` bits; None: it gives y_o itself. content: what else tells modules apart. direct: a
    vector comes to it without a register, as the stream brings it.
    """
    taps = prod(window.kernel) if window else 1
    settings = ",\n".join(f"    .{name}({value})" for name, value in window.params().items()) if window else ""
    inputs, channels = x.channels * x.width, y.channels
    body = (_WINDOW if window else _DIRECT_VECTOR if direct else _VECTOR).format(settings=settings, channels=inputs)
    memories = {}
    if post is None:
        parameters, words, result, tail, config = "", "", "y_o(y)", _DIRECT, 0
    else:
        config = post.config
        memories = {POST_FILE: post.image(channels, channels)} if post.bits.shape[1] else {}
        parameters, words, result = _POST_FILE, f"  logic [{channels}*{bits}-1:0] accs;\n", "acc_o(accs)"
        tail = _POST.format(outputs=channels, acc_bits=bits, out_bits=y.width, post=f"512'h{config:x}")
    module = f"eq_unrolled_{key([inner, str(config), content])[:12]}"
    wrapper = _UNROLLED.format(
        module=module,
        inputs=inputs,
        outputs=channels,
        taps=taps,
        terms=taps * inputs,
        depth=latency + 8,
        out_bits=y.width,
        parameters=parameters,
        words=words,
        result=result,
        valid=_DELAY.format(latency=latency) if latency else _NO_DELAY,
        tail=tail,
        body=body,
        inner=inner,
        mask="    .mask_i(mask),\n" if masked else "",
    )
    return RtlInstance(
        module,
        {"PostFile": POST_FILE} if memories else {},
        uses=("eq_outfifo", *(["eq_post"] if post else []), *(["eq_window"] if window else [])),
        sources={f"{module}.sv": wrapper, f"{inner}.sv": text},
        memories=memories,
    )


def terms_of(
    x: IntType, rows: np.ndarray, window: Window | None, groups: int
) -> tuple[np.ndarray, np.ndarray, Inputs, tuple[tuple[int, ...], ...]]:
    """Weights [Cout, words], constants [Cout], the input words and their groups, as `shift_add_sv` takes them.

    The value of a bipolar word is 2b - 1, of a padded one 0: 2b less its tap's mask bit, whose words follow those of x.
    """
    channels, terms = rows.shape
    taps = prod(window.kernel) if window else 1
    size, per_tap = channels // groups, terms // taps
    weight, constant = np.zeros((channels, terms * groups), np.int64), np.zeros(channels, np.int64)
    blocks = []
    for g in range(groups):
        at = (np.arange(taps)[:, None] * groups * per_tap + g * per_tap + np.arange(per_tap)).ravel()
        weight[g * size : (g + 1) * size, at] = rows[g * size : (g + 1) * size]
        blocks.append(tuple(at.tolist()))
    padded = window is not None and window.masks() is not None
    lo, hi = (min(x.lo, 0), max(x.hi, 0)) if padded else (x.lo, x.hi)
    count, ports = terms * groups, [("x_i", k * x.width) for k in range(terms * groups)]
    low, high = np.full(count, lo), np.full(count, hi)
    if x.bipolar:
        weight, low, high = 2 * weight, np.zeros(count, np.int64), np.ones(count, np.int64)
        if padded:
            weight = np.hstack([weight, -rows.reshape(channels, taps, per_tap).sum(axis=2)])
            ports += [("mask_i", t) for t in range(taps)]
            low, high = (np.concatenate([v, np.full(taps, v[0])]) for v in (low, high))
            blocks.append(tuple(range(count, count + taps)))
        else:
            constant = -rows.sum(axis=1)
    return weight, constant, Inputs(tuple(ports), low, high), tuple(blocks)


def _sums(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, window: Window | None, groups: int
) -> tuple[str, dict[str, Any]]:
    """The name of an integer layer's module, and what `shift_add_sv` takes for it."""
    weight, constant, inputs, blocks = terms_of(x, rows, window, groups)
    ports = {"x_i": rows.shape[1] * groups * x.width}
    if len(inputs.port) > rows.shape[1] * groups:
        ports["mask_i"] = len(inputs.port) - rows.shape[1] * groups
    settings: dict[str, Any] = {
        "weight": weight,
        "constant": constant,
        "inputs": inputs,
        "blocks": blocks,
        "tail": tail_of(op, accumulator),
        "ports": ports,
        "share": fold.share and fold.mst,
        "max_lut_levels": fold.max_lut_levels,
        "family": fold.family,
        "arrival": 0 if window else FIFO_LEVELS,
    }
    tail = settings["tail"]
    arrays = [weight, constant, *(v for v in vars(tail).values() if isinstance(v, np.ndarray))]
    plain = [v for v in vars(tail).values() if not isinstance(v, np.ndarray)]
    choices = (type(tail).__name__, plain, x, groups, window, settings["share"], fold.max_lut_levels, fold.family)
    return f"eq_sums_{key([str(choices), *(a.tobytes() for a in arrays)])[:12]}", settings


def tail_of(op: Mac, accumulator: IntType) -> Tail:
    """What the module of an unrolled integer layer makes of its sums; eq_post does the rest."""
    found: Tail | None = None
    if op.post:
        post = fusible(op.post)
        found = post.rtl_compare(accumulator.channels) or post.rtl_rescale(accumulator.channels, op.finish(accumulator))
    return found or Sums(max(2, signed_bits(accumulator.lo, accumulator.hi)), registered=op.post is not None)


def _build_sums(name: str, settings: dict[str, Any]) -> ShiftAdd:
    made = shift_add_sv(name, **settings)
    _LATENCIES[name] = made.latency
    return made


def _shift_add(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, window: Window | None, groups: int
) -> RtlInstance:
    """An integer layer whose weights are logic: a patch a cycle, no multiplier."""
    if (count := digits(rows)) > MAX_DIGITS:
        raise EdgeqError(f"weights of {count:,} digits are too many to unroll", fix=f'mode "folded", or at most {MAX_DIGITS:,}')
    name, settings = _sums(op, fold, x, accumulator, rows, window, groups)
    made = _build_sums(name, settings)
    y, tail, post, bits = op.finish(accumulator), settings["tail"], None, 0
    if isinstance(tail, Sums):
        bits = tail.bits
        post = fusible(op.post).rtl_post(accumulator, bits, fold.digits) if op.post else Post.of(0, y, bits=np.zeros((1, 0)))
    masked = "mask_i" in settings["ports"]
    found = _stream(
        name, made.text, made.latency, x, y, window, masked=masked, post=post, bits=bits, content=str(accumulator), direct=True
    )
    return replace(found, notes={name: getattr(made, name) for name in ADDED})


def _pictures(rows: np.ndarray, groups: int, complement_cost: int | None = 0, max_depth: int | None = None) -> dict[str, str]:
    """A drawing of the tree of each group that has one."""
    trees = [spanning_tree(w, complement_cost, max_depth) for w in np.split(rows, groups)]
    return {f"group{g}.svg": tree_svg(tree, f"Group {g}") for g, tree in enumerate(trees) if len(tree.parent) > 1}


_UNROLLED = """\
// Layer with its weights as logic and its fused operator: {inner} between two streams. Other weights need another module.
// Latency: the window's and at most {depth} cycles; a patch a cycle.
module {module} {parameters}(
  /// Clock.
  input  logic clk_i,
  /// Synchronous reset, active low.
  input  logic rst_ni,
  /// Input stream.
  input  logic in_valid_i,
  /// Input stream.
  output logic in_ready_o,
  /// Input stream.
  input  logic [{inputs}-1:0] in_data_i,
  /// Output stream.
  output logic out_valid_o,
  /// Output stream.
  input  logic out_ready_i,
  /// Output stream.
  output logic [{outputs}*{out_bits}-1:0] out_data_o
);

  logic credit, take, patch_valid, y_valid;
  logic [{terms}-1:0] patch;
  logic [{taps}-1:0] mask;
{words}  logic [{outputs}*{out_bits}-1:0] y;
  logic made_valid;
  logic unused;
  assign unused = ^mask;

{body}
  {inner} u_tree (
    .clk_i,
{mask}    .x_i(patch),
    .{result}
  );

{valid}
{tail}
  eq_outfifo #(
    .Width({outputs} * {out_bits}),
    .Depth({depth})
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(y_valid),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
"""

_DELAY = """\
  logic [{latency}-1:0] valid_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {latency}'({{valid_q, patch_valid}});
  end
  assign made_valid = valid_q[{latency}-1];
"""

_NO_DELAY = """\
  assign made_valid = patch_valid;
"""

_POST_FILE = """\
#(
  /// Image of the parameters of the fused operator.
  parameter PostFile = ""
) """

_POST = """\
  eq_post #(
    .Lanes({outputs}),
    .InBits({acc_bits}),
    .OutBits({out_bits}),
    .Post({post}),
    .File(PostFile)
  ) u_post (
    .clk_i,
    .rst_ni,
    .next_index_i(1'b0),
    .valid_i(made_valid),
    .x_i(accs),
    .valid_o(y_valid),
    .y_o(y)
  );
"""

_DIRECT = """\
  assign y_valid = made_valid;
"""

_WINDOW = """\
  eq_window #(
    .PixBits({channels}),
{settings}
  ) u_window (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .credit_i(credit),
    .take_o(take),
    .valid_o(patch_valid),
    .patch_o(patch),
    .mask_o(mask)
  );
"""

_DIRECT_VECTOR = """\
  assign in_ready_o = credit;
  assign take = in_valid_i && credit;
  assign mask = '1;
  assign patch_valid = take;
  assign patch = in_data_i;
"""

_VECTOR = """\
  assign in_ready_o = credit;
  assign take = in_valid_i && credit;
  assign mask = '1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) patch_valid <= 1'b0;
    else patch_valid <= take;
  end
  always_ff @(posedge clk_i) patch <= in_data_i;
"""


def _tree(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, window: Window | None, groups: int
) -> RtlInstance:
    """A folded binary layer along its spanning tree: eq_mvu_tree behind a window, with the wires to its banks."""
    taps = prod(window.kernel) if window else 1
    made = program(rows, fold.pe, groups, taps)
    plan, slots = made.layout, made.slots.size
    tail, _ = _tail(op, accumulator, 1, fold.digits)
    bits, y = int(tail["AccBits"]), op.finish(accumulator)
    masks = window.masks() if window else None
    memories = {CODE_FILE: made.code(), SLOT_FILE: made.slot_words(bits)}
    settings: dict[str, int | str] = {
        "Outputs": len(rows),
        "Lanes": plan.lanes,
        "Words": plan.words,
        "Pe": fold.pe,
        "Steps": slots // fold.pe,
        "Cycles": made.cycles,
        "CountBits": max(int(made.terms(c).sum()) for c in range(len(rows))).bit_length(),
        "AccBits": bits,
        "OutBits": y.width,
        "Post": f"512'h{tail['Post']:x}",
    }
    if masks is not None:
        per_tap = rows.reshape(len(rows), taps, -1).sum(axis=2)
        constants = made.by_slot(per_tap @ ~masks.T).T.reshape(-1, 1)  # padding is read as -1: [class * slot, 1]
        settings |= {"Classes": len(masks), "BorderBits": max(1, signed_bits(int(constants.min()), int(constants.max())))}
        memories[BORDER_FILE] = memory_image(to_bits(constants, int(settings["BorderBits"])))
    if op.post is not None:
        bits_of_post = fusible(op.post).rtl_post(accumulator, bits, fold.digits).bits
        memories[POST_FILE] = memory_image(made.by_slot(np.broadcast_to(bits_of_post, (len(rows), bits_of_post.shape[1]))))
    names = {CODE_FILE: "CodeFile", SLOT_FILE: "SlotFile", BORDER_FILE: "BorderFile", POST_FILE: "PostFile"}
    text = _TREE.format(
        module="{module}",
        files=",\n".join(f'  /// Memory image, as eq_mvu_tree.\n  parameter {names[file]} = ""' for file in memories),
        inputs=x.channels,
        out_bits=len(rows) * y.width,
        terms=taps * x.channels,
        taps=taps,
        front=_tree_front(x, window, masks),
        settings=",\n".join(f"    .{k}({v})" for k, v in (settings | {names[f]: names[f] for f in memories}).items()),
        banked=", ".join(f"patch[{k}]" if k >= 0 else "1'b0" for k in made.wires().ravel()[::-1]),
        banks=plan.words * plan.lanes,
        classes=max(1, (len(masks) - 1).bit_length()) if masks is not None else 1,
        channels=", ".join(f"slots[{k * y.width} +: {y.width}]" for k in np.argsort(made.order)[::-1]),
    )
    module = f"eq_folded_{key([text])[:12]}"
    return RtlInstance(
        module,
        {names[file]: file for file in memories},
        uses=("eq_mvu_tree", *(["eq_window", "eq_outfifo"] if window else [])),
        sources={f"{module}.sv": text.replace("{module}", module)},
        memories=memories,
        notes={
            "additions": int(sum(made.terms(c).sum() for c in range(len(rows)))),
            "direct_additions": rows.size,
            "patch_cycles": made.cycles,
            "direct_patch_cycles": -(-len(rows) // fold.pe) * plan.words,
            "weight_bits": made.cycles * made.code_width + slots * made.slot_width(bits),
            "direct_weight_bits": rows.size,
        },
        pictures=_pictures(rows, groups),
    )


def _tree_front(x: IntType, window: Window | None, masks: np.ndarray | None) -> str:
    """What is between the input stream and the banks: nothing, or a window and a FIFO of patches."""
    if window is None:
        return _TREE_VECTOR
    settings = ",\n".join(f"    .{name}({value})" for name, value in window.params().items())
    taps = prod(window.kernel)
    width = taps * x.channels
    class_bits = max(1, (len(masks) - 1).bit_length()) if masks is not None else 1
    kinds = [] if masks is None else [f"mask == {taps}'b{''.join(str(int(bit)) for bit in mask[::-1])}" for mask in masks]
    kind = " : ".join(f"{test} ? {class_bits}'d{i}" for i, test in enumerate(kinds[:-1]))
    kind += f" : {class_bits}'d{len(kinds) - 1}" if kind else "1'b0"
    front = _WINDOW.format(settings=settings, channels=x.channels).replace("patch_valid", "push").replace("(patch)", "(pixels)")
    return _TREE_WINDOW.format(front=front, taps=taps, terms=width, class_bits=class_bits, kind=kind, depth=PATCH_FIFO)


_TREE = """\
// Folded binary layer along its spanning tree: eq_mvu_tree with the wires from a patch to its banks and from its slots to the
// channels. Other weights need another module.
module {module} #(
{files}
) (
  /// Clock.
  input  logic clk_i,
  /// Synchronous reset, active low.
  input  logic rst_ni,
  /// Input stream.
  input  logic in_valid_i,
  /// Input stream.
  output logic in_ready_o,
  /// Input stream.
  input  logic [{inputs}-1:0] in_data_i,
  /// Output stream.
  output logic out_valid_o,
  /// Output stream.
  input  logic out_ready_i,
  /// Output stream.
  output logic [{out_bits}-1:0] out_data_o
);

  logic patch_valid, patch_ready;
  logic [{terms}-1:0] patch;
  logic [{classes}-1:0] kind;
  logic [{banks}-1:0] banked;
  logic [{out_bits}-1:0] slots;

{front}
  assign banked = {{{banked}}};
  assign out_data_o = {{{channels}}};

  eq_mvu_tree #(
{settings}
  ) u_mvu (
    .clk_i,
    .rst_ni,
    .in_valid_i(patch_valid),
    .in_ready_o(patch_ready),
    .in_data_i(banked),
    .in_class_i(kind),
    .out_valid_o,
    .out_ready_i,
    .out_data_o(slots)
  );

endmodule
"""

_TREE_VECTOR = """\
  assign patch_valid = in_valid_i;
  assign in_ready_o = patch_ready;
  assign patch = in_data_i;
  assign kind = 1'b0;
"""

_TREE_WINDOW = """\
  logic credit, take, push;
  logic [{terms}-1:0] pixels;
  logic [{taps}-1:0] mask;
  logic [{class_bits}-1:0] kind_in;
  logic unused;
  assign unused = ^mask;
  assign kind_in = {kind};

{front}
  eq_outfifo #(
    .Width({terms} + {class_bits}),
    .Depth({depth})
  ) u_patches (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(push),
    .data_i({{kind_in, pixels}}),
    .out_valid_o(patch_valid),
    .out_ready_i(patch_ready),
    .out_data_o({{kind, patch}})
  );
"""


def _tail(op: Mac, accumulator: IntType, pe: int, digits: bool) -> tuple[dict[str, int | str], dict[str, str]]:
    """The parameters of a layer's accumulators and fused operator, and its memory image."""
    bits = max(2, signed_bits(accumulator.lo, accumulator.hi))
    y = op.finish(accumulator)
    params: dict[str, int | str] = {"AccBits": bits, "OutBits": y.width}
    if op.post is None:
        return params | {"Post": Post.of(0, y, bits=np.zeros((1, 0))).config}, {}
    post = fusible(op.post).rtl_post(accumulator, bits, digits)
    return params | {"Post": post.config, "PostFile": POST_FILE}, {POST_FILE: post.image(accumulator.channels, pe)}


def fusible(op: Op) -> Fusible:
    if not isinstance(op, Fusible):
        raise EdgeqError(f"{op.kind()} cannot be built into a layer")
    return op


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]
