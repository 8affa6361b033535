"""Integer operators, emitted while a QONNX graph is walked, with the record of what real number each tensor stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.frontend import views
from edgeq.frontend.exact import (
    ONE_SIDED,
    SIGN,
    Lane,
    Quantizer,
    common_divisor,
    integer_operator,
    is_power_of_two,
    merge,
    shift_form,
    spread,
)
from edgeq.frontend.symbols import Shape, Sym, lanes_after
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.ops._mac import MAX_ACTIVATION_BITS
from edgeq.ops.add import MAX_MULTIPLIER_BITS, Add
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.select_tokens import SelectTokens
from edgeq.ops.threshold import Threshold

INPUT = "x"
IDENTITY_SPAN = 1 << 16
MAX_LISTED_LEVELS, MAX_LISTED_CHANNELS = 1 << 17, 1 << 20
"""A quantizer of more levels, or levels times channels, is not proved equal level by level where its form shows it."""


class Builder:
    """The integer graph under construction. Every method that emits takes the QONNX node's output as `source`."""

    def __init__(self) -> None:
        self.graph = Graph(
            INPUT, IntType((1,), 0, 0), meta={"real": {}, "nodes": {}, "quantizers": [], "messages": [], "approximations": []}
        )
        self.types: dict[str, IntType] = {}
        self.source: dict[str, Any] = {}
        """The model's input: name, shape without the batch."""
        self.where = ""
        """The QONNX node that is being read: for error messages and for the record."""

    def input(self, kind: IntType, record: dict[str, Any]) -> None:
        """Declare the graph's one input."""
        if INPUT in self.types:
            raise EdgeqError(
                "the model's input is read by two different quantizers", where=self.where,
                fix="give the input's own type: --input uint8/255, int16/1024, ...",
            )  # fmt: skip
        self.graph.input_type = self.types[INPUT] = kind
        self.graph.meta["input"] = record

    def emit(self, op: Op, *inputs: str) -> tuple[str, IntType]:
        """Append a node; its tensor's name and type."""
        try:
            kind = op.infer(*(self.types[name] for name in inputs))
        except EdgeqError as error:
            raise EdgeqError(error.what, where=self.where, fix=error.fix) from None
        name = f"{op.kind().lower()}_{len(self.graph.nodes)}"
        output = f"{name}_y"
        self.graph.nodes.append(Node(name, op, inputs, output))
        self.graph.meta["nodes"][name] = self.where
        self.types[output] = kind
        return output, kind

    def record(self, sym: Sym, source: str, error: Sequence[float] | None = None, quantizer: dict[str, Any] | None = None) -> Sym:
        """Note that `source` in the QONNX file is `sym`; engines are fed its value there, so errors start again.

        error: the float32 error bound of an engine's value, a channel; by default that of the chain.
        """
        if sym.is_input:
            raise AssertionError("only a tensor of the integer graph is recorded")
        reach = sym.reach or 0
        lanes = sym.tightened().lanes
        self.graph.meta["real"][source] = {
            "tensor": sym.tensor,
            "scale": texts(lane.a for lane in lanes),
            "offset": texts(lane.b for lane in lanes),
            "low": optional_texts(lane.low for lane in lanes),
            "high": optional_texts(lane.high for lane in lanes),
            "error": list(merge(error if error is not None else [lane.error(reach) for lane in lanes])),
            "quantizer": quantizer,
            "order": sym.order,
            "moved": sym.batch != 0,
        }
        return replace(sym, lanes=merge(replace(x, error0=0.0, error1=0.0).rounded(reach) for x in lanes))

    # Shapes

    def reshaped(self, sym: Sym, shape: Shape) -> Sym:
        """The same elements in order, seen in another shape."""
        return replace(sym if views.fits(sym.order, shape) else self.in_order(sym), shape=shape)

    def transposed(self, sym: Sym, perm: Shape) -> Sym:
        """Axes permuted; perm leaves the batch out."""
        order = views.transposed(sym.order, sym.shape, perm)
        return replace(sym, order=order, shape=tuple(sym.shape[p] for p in perm))

    def in_order(self, sym: Sym) -> Sym:
        """With a waiting transpose made."""
        if sym.order is None:
            return sym
        shape = sym.shape if len(sym.shape) in (1, 3) else (prod(sym.shape),)
        return replace(self._rearranged(sym, *sym.order, shape), shape=sym.shape)

    def in_layout(self, sym: Sym) -> Sym:
        """As a tensor (C, H, W) or (F,) of its own: the input of an operator."""
        if len(sym.shape) not in (1, 3):
            raise EdgeqError(
                f"a tensor of shape {(1, *sym.shape)} cannot be computed with", where=self.where,
                fix="images [N, C, H, W] or vectors [N, F]",
            )  # fmt: skip
        if sym.order is None and sym.shape == sym.type.shape:
            return sym
        if sym.order is None and not sym.is_input and len(sym.shape) == len(sym.type.shape) and sym.shape[0] == sym.type.channels:
            tensor, kind = self.emit(SelectTokens(0, sym.type.pixels, sym.shape[1]), sym.tensor)  # a pixel after the other
            return replace(sym, tensor=tensor, type=kind)
        return self._rearranged(sym, *(sym.order or (sym.type.shape, tuple(range(len(sym.type.shape))))), sym.shape)

    def alike(self, x: Sym, y: Sym) -> tuple[Sym, Sym]:
        """Both of one shape, as tensors whose elements lie alike."""
        if (x.order, x.type.shape) == (y.order, y.type.shape):
            return x, y
        if x.order == y.order:  # as the pixels of an image, and in a row
            view = x.order[0] if x.order else x.shape
            if all(views.common(view, (s.type.channels, s.type.pixels)) for s in (x, y)) and x.type.channels == y.type.channels:
                return self.in_row(x), self.in_row(y)
        return self.in_layout(x), self.in_layout(y)

    def in_row(self, sym: Sym) -> Sym:
        """(C, H, W) as (C, 1, H*W)."""
        if len(sym.type.shape) == 3 and sym.type.shape[1] > 1:
            tensor, kind = self.emit(SelectTokens(0, sym.type.pixels), sym.tensor)
            return replace(sym, tensor=tensor, type=kind)
        return sym

    def as_tensor(self, sym: Sym, shape: Shape, order: views.Order) -> Sym:
        """With a tensor of this shape, of which it is the order; where its elements lie so already, nothing is emitted."""
        if sym.order == order and sym.type.channels == shape[0]:
            return sym
        view, perm = order or (sym.shape, tuple(range(len(sym.shape))))
        back = tuple(int(p) for p in np.argsort(perm))
        moved = self.transposed(self.reshaped(sym, tuple(view[p] for p in perm)), back)
        made = self.in_layout(self.reshaped(moved, shape))
        return replace(made, order=order, shape=sym.shape)

    def _rearranged(self, sym: Sym, view: Shape, perm: Shape, shape: Shape) -> Sym:
        """The tensor itself in another order."""
        try:
            lanes = lanes_after(sym.lanes, sym.type.shape, view, perm, shape)
        except EdgeqError as error:
            raise EdgeqError(error.what, where=self.where, fix=error.fix) from None
        if sym.is_input:
            kind = replace(sym.type, shape=shape)
            return replace(sym, type=kind, lanes=lanes, shape=shape, order=None, steps=(*sym.steps, (view, perm, shape)))
        tensor, kind = self.emit(Rearrange(view, perm, shape), sym.tensor)
        return replace(sym, tensor=tensor, type=kind, lanes=lanes, shape=shape, order=None)

    # Scales

    def scaled(self, sym: Sym) -> Sym:
        """With one scale for all channels, no offset and no clip: what a sum of products needs. Exact, or EdgeqError.

        Per-channel scales become integer multipliers of their greatest common divisor, an offset and the bounds of a
        clip integers of that unit, in a Requantize without a shift.
        """
        sym = sym.tightened()
        if not sym.clips and len(sym.scales) == 1 and sym.offsets == (0,):
            return sym
        bounds = [y for lane in sym.lanes for y in (lane.low, lane.high) if y is not None]
        unit = abs(sym.scales[0])
        if len(sym.scales) > 1 or not unit or any((y / unit).denominator != 1 for y in (*sym.offsets, *bounds)):
            unit = common_divisor((*sym.scales, *sym.offsets, *bounds))
        terms = [(int(lane.a / unit), int(lane.b / unit)) for lane in sym.lanes]
        fix = "put a quantizer (Brevitas: QuantIdentity or QuantReLU) in front of this layer"
        ranges = [sorted(m * v + b for v in (sym.type.lo, sym.type.hi)) for m, b in terms]
        lo, hi = min(r[0] for r in ranges), max(r[1] for r in ranges)
        if max(abs(m) for m, _ in terms) >= 1 << (MAX_MULTIPLIER_BITS - 1) or max(-lo, hi) >= 1 << 60:
            raise EdgeqError(
                f"values of scale {shown(sym.scales)} and offset {shown(sym.offsets)} have no integer form of "
                f"{MAX_MULTIPLIER_BITS} bits", where=self.where, fix=fix,
            )  # fmt: skip
        clips = {(lane.low, lane.high) for lane in sym.lanes}
        if len(clips) > 1:
            raise EdgeqError("channels are clipped at different values", where=self.where, fix=fix)
        low, high = clips.pop()
        lo, hi = lo if low is None else int(low / unit), hi if high is None else int(high / unit)
        made = self._multiplied(sym, [m for m, _ in terms], [b for _, b in terms], lo, hi)
        return made.with_lanes([Lane(unit, error0=max(lane.error(sym.reach or 0) for lane in sym.lanes))])

    def multiplied(self, sym: Sym, factor: int) -> Sym:
        """factor times the integer, of the same value."""
        made = self._multiplied(sym, [factor], [0], sym.type.lo * factor, sym.type.hi * factor)
        return made.with_lanes([replace(lane, a=lane.a / factor, error1=lane.error1 / factor) for lane in sym.lanes])

    def _multiplied(self, sym: Sym, multiplier: list[int], offset: list[int], lo: int, hi: int) -> Sym:
        """The integer clip(multiplier * v + offset, lo, hi); a flipped bit stays one bit."""
        m, b = np.array(multiplier, np.int64), np.array(offset, np.int64)
        op: Op = Requantize(m, b, 0, "floor", lo, hi)
        if sym.type.bipolar and not b.any() and np.all(np.abs(m) == 1) and lo <= -1 and hi >= 1:
            flips = (m == -1).astype(np.int64)
            op = Threshold(-flips[:, None], flips, base=-1, step=2)
        tensor, kind = self.emit(op, sym.tensor)
        return replace(sym, tensor=tensor, type=kind)

    def narrow(self, sym: Sym) -> Sym:
        """Checked to be at most 16 bits wide: an activation."""
        if sym.type.width > MAX_ACTIVATION_BITS:
            raise EdgeqError(
                f"the activations {sym.type} need {sym.type.width} bits", where=self.where,
                fix=f"put a quantizer of at most {MAX_ACTIVATION_BITS} bits in front of this layer",
            )  # fmt: skip
        return sym

    def rising(self, sym: Sym) -> Sym:
        """With no falling channel, so that a maximum of the integer is a maximum of the value."""
        sym = self.in_layout(sym)
        if all(lane.a >= 0 for lane in sym.lanes):
            return sym
        most = max(-sym.type.lo, sym.type.hi)
        flipped = self._multiplied(sym, [-1 if lane.a < 0 else 1 for lane in sym.lanes], [0] * len(sym.lanes), -most, most)
        return flipped.with_lanes([replace(lane, a=abs(lane.a)) for lane in sym.lanes])

    def added(self, x: Sym, y: Sym, sign: int) -> Sym:
        """x + sign*y, exactly: equal scales, or integer multipliers of at most 16 bits."""
        if x.shape != y.shape:
            raise EdgeqError(f"tensors of shapes {x.shape} and {y.shape} are added", where=self.where, fix="equal shapes")
        x, y = self.alike(x.tightened(), y.tightened())
        x, y = (self.scaled(s) if s.clips else s for s in (x, y))
        count = max(len(x.lanes), len(y.lanes))
        pairs = list(zip(spread(x.lanes, count), (lane.scaled(Fraction(sign)) for lane in spread(y.lanes, count)), strict=True))
        if x.tensor == y.tensor:
            lanes = [Lane(p.a + q.a, p.b + q.b, None, None, p.error0 + q.error0, p.error1 + q.error1) for p, q in pairs]
            return x.with_lanes([lane.rounded(x.reach) for lane in lanes])
        units = [common_divisor((p.a, q.a)) for p, q in pairs]
        a, b = ([int(p[i].a / u) for p, u in zip(pairs, units, strict=True)] for i in (0, 1))
        if max(map(abs, a + b)) >= 1 << (MAX_MULTIPLIER_BITS - 1):
            raise EdgeqError(
                f"tensors of scales {shown(x.scales)} and {shown(y.scales)} are added, which no integers of "
                f"{MAX_MULTIPLIER_BITS} bits relate", where=self.where,
                fix="share one quantizer between both branches (Brevitas: one QuantIdentity for both)",
            )  # fmt: skip
        op = Add(*(np.array(merge(m), np.int64) for m in (a, b)))
        tensor, kind = self.emit(op, x.tensor, y.tensor)
        errors = [[p.error(s.reach or 0) for p in (pair[i] for pair in pairs)] for i, s in enumerate((x, y))]
        sums = [Lane(u, p.b + q.b, None, None, e + f) for u, (p, q), e, f in zip(units, pairs, *errors, strict=True)]
        return replace(x, tensor=tensor, type=kind, lanes=merge(s.rounded(max(abs(kind.lo), abs(kind.hi))) for s in sums))

    # Quantizers

    def quantized(self, sym: Sym, q: Quantizer, source: str) -> Sym:
        """sym through the quantizer q; the result's real value is scale * integer."""
        if sym.is_input and len(sym.shape) != 2:  # that of tokens lies as it should
            sym = self.in_layout(sym) if len(sym.lanes) > 1 or len(q.scale) > 1 else self.in_order(sym)
        lanes = q.lanes(sym.lanes)
        result = tuple(Lane(s) for s in q.scale)
        if sym.is_input:
            return self._quantized_input(sym, q, lanes, result, source)
        made = replace(self.coded(sym, q), lanes=result)
        self.graph.meta["quantizers"].append(source)
        errors = [q.float_error(lane, sym.reach or 0) for lane in lanes]
        return self.record(made, source, [0.0], quantizer_record(lanes, q, errors) | {"of": sym.tensor})

    def coded(self, sym: Sym, q: Quantizer) -> Sym:
        """The integers that q makes of sym; its lanes stay those of sym. A mode that treats signs alike may take two halves."""
        lanes = q.lanes(sym.lanes)
        if lanes == (Lane(Fraction(1)),) and q.mode != SIGN and not q.zero and q.lo <= sym.type.lo and sym.type.hi <= q.hi:
            return sym  # codes of this quantizer already
        if q.mode in ONE_SIDED and q.lo >= 0 and not q.zero:  # what lies below zero is clipped
            q = replace(q, mode=ONE_SIDED[q.mode])
        op = self._operator(lanes, q, sym.type)
        if op is None and q.mode in ONE_SIDED and not q.zero:
            sides = (q.hi, lanes), (-q.lo, tuple(lane.scaled(Fraction(-1)) for lane in lanes))
            halves = [self._operator(side, replace(q, mode=ONE_SIDED[q.mode], lo=0, hi=hi), sym.type) for hi, side in sides]
            if all(halves):
                tensors = [self.emit(half, sym.tensor)[0] for half in halves if half]
                tensor, kind = self.emit(Add(np.array([1]), np.array([-1])), *tensors)
                return replace(sym, tensor=tensor, type=kind)
        if op is None:
            raise EdgeqError(
                f"no multiplier and shift is equal to the chain of scale {shown(sym.scales)} and offset {shown(sym.offsets)} "
                f"before this quantizer of {q.hi - q.lo + 1} levels", where=self.where, fix="at most 8 bits, or 2^k scales",
            )  # fmt: skip
        if self._is_identity(op, sym.type):
            return sym
        tensor, kind = self.emit(op, sym.tensor)
        return replace(sym, tensor=tensor, type=kind)

    @staticmethod
    def _operator(lanes: tuple[Lane, ...], q: Quantizer, x: IntType) -> Op | None:
        """`integer_operator`; of very many levels first, or only, what is equal by its form."""
        listed = q.hi - q.lo < MAX_LISTED_LEVELS
        few = listed and (q.hi - q.lo) * len(lanes) < MAX_LISTED_CHANNELS
        found = None if few else Builder._by_form(lanes, q)
        return integer_operator(lanes, q, x) if found is None and listed else found

    @staticmethod
    def _by_form(lanes: tuple[Lane, ...], q: Quantizer) -> Op | None:
        """Of a chain of powers of two and one clip."""
        form = shift_form(lanes, q)
        clips = {(lane.low, lane.high) for lane in lanes}
        bounds = [y for pair in clips for y in pair if y is not None]
        if form is None or q.zero or len(clips) > 1 or any(y.denominator > 1 for y in bounds):
            return None
        low, high = clips.pop()
        lo, hi = max(q.lo, q.lo if low is None else int(low)), min(q.hi, q.hi if high is None else int(high))
        multiplier, offset, shift, rounding = form
        return Requantize(multiplier.astype(np.int64), offset.astype(np.int64), shift, rounding, lo - q.zero, hi - q.zero)

    def _is_identity(self, op: Op, x: IntType) -> bool:
        """True where op gives every value of x back, as the same type."""
        channels = max(len(v) for v in op.arrays().values())
        kind = IntType((channels,), x.lo, x.hi, x.step)
        if x.hi - x.lo >= IDENTITY_SPAN or op.infer(kind) != kind:
            return False
        points = np.repeat(np.arange(x.lo, x.hi + 1, x.step)[:, None], channels, axis=1)
        return bool(np.array_equal(op.reference(points), points))

    def _quantized_input(self, sym: Sym, q: Quantizer, lanes: tuple[Lane, ...], result: tuple[Lane, ...], source: str) -> Sym:
        """The first quantizer: its code is the graph's input."""
        errors = [q.float_error(lane, float("inf") if lane.a else 0.0) for lane in lanes]
        lo, hi = (-1, 1) if q.mode == SIGN else q.reachable(lanes)
        kind = IntType(sym.type.shape, lo - q.zero, hi - q.zero, 2 if q.mode == SIGN else 1)
        made = replace(sym, tensor=INPUT, type=kind, lanes=result, steps=())
        description = quantizer_record(lanes, q, errors)
        record = self.source | {"kind": "quantizer", "steps": [[list(part) for part in step] for step in sym.steps]}
        known = self.graph.meta.get("input")
        if not (
            known and record.items() <= known.items() and self.graph.meta["real"][known["quantizer"]]["quantizer"] == description
        ):
            self.input(kind, record | {"quantizer": source})
        self.graph.meta["quantizers"].append(source)
        return self.record(made, source, [0.0], description)


def quantizer_record(lanes: tuple[Lane, ...], q: Quantizer, errors: list[float]) -> dict[str, Any]:
    """What rule 6 needs at a quantizer's output: code = round(clip(a*v + b, low, high)) clipped to lo .. hi.

    error: how far, in codes, a float32 engine's unrounded code can be off.
    """
    return {
        "a": texts(lane.a for lane in lanes), "b": texts(lane.b for lane in lanes),
        "low": optional_texts(lane.low for lane in lanes), "high": optional_texts(lane.high for lane in lanes),
        "mode": q.mode, "zero": q.zero, "lo": q.lo, "hi": q.hi, "error": list(merge(errors)),
    }  # fmt: skip


def texts(values: Any) -> list[str]:
    """Exact fractions as JSON, one where all are equal."""
    return [str(v) for v in merge(values)]


def optional_texts(values: Any) -> list[str | None]:
    return [None if v is None else str(v) for v in merge(values)]


def shown(values: tuple[Fraction, ...]) -> str:
    """Scales for a message: a few, as decimals; powers of two as such."""

    def one(v: Fraction) -> str:
        power = v.numerator.bit_length() - v.denominator.bit_length()
        return f"2^{power}" if v > 0 and is_power_of_two(v) else f"{float(v):.9g}"

    few = [one(v) for v in values[:4]]
    return few[0] if len(values) == 1 else f"[{', '.join(few)}{', ...' if len(values) > 4 else ''}]"
