"""What a tensor of the QONNX graph is while it is imported: a constant, a quantized constant, or a chain on an integer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.frontend.exact import Lane, common_divisor, is_power_of_two, merge
from edgeq.frontend.views import Order, Shape, to_tensor
from edgeq.graph import IntType

MAX_WEIGHT = 255


@dataclass(frozen=True)
class Const:
    """A constant tensor. fuzz: float32 roundings that a source engine makes to compute it, 0 if it is stored."""

    array: np.ndarray
    fuzz: float = 0.0

    @property
    def shape(self) -> Shape:
        return self.array.shape

    def real(self) -> np.ndarray:
        """The exact values, an object array of Fractions."""
        return fractions(self.array)


@dataclass(frozen=True)
class QConst:
    """A quantized constant: values int64, scale an object array of Fractions that broadcasts over it, of the same rank."""

    values: np.ndarray
    scale: np.ndarray

    @property
    def fuzz(self) -> float:
        """As of Const: the product of integer and scale is rounded once, but for powers of two."""
        return 0.0 if all(is_power_of_two(s) for s in self.scale.ravel()) else 1.0

    @property
    def shape(self) -> Shape:
        return self.values.shape

    @property
    def array(self) -> np.ndarray:
        """As float32, the way a source engine computes it."""
        return self.values.astype(np.float32) * self.scale.astype(np.float32)

    def real(self) -> np.ndarray:
        return self.values.astype(object) * self.scale


@dataclass(frozen=True)
class Sym:
    """The chain `lanes` on the integer tensor `tensor`, seen in another shape.

    tensor: name in the integer graph, "" for the model's float input before its first quantizer. shape: without the
    batch. order: how its elements lie in the tensor (`views.py`). lanes: one per channel of the tensor, or one.
    pads: zeros around it that wait for a convolution. batch: where it stands among the source's dimensions; None where an
    exporter has left a batch of one out.
    """

    tensor: str
    type: IntType
    lanes: tuple[Lane, ...]
    shape: Shape
    order: Order = None
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    batch: int | None = 0
    cut: str = ""
    """The name of a Softmax that was left out behind this."""
    steps: tuple[tuple[Shape, Shape, Shape], ...] = field(default=())
    """Of the float input only: the rearrangements (view, perm, shape) that were made so far."""

    @property
    def is_input(self) -> bool:
        return not self.tensor

    @property
    def reach(self) -> int | None:
        """The largest |v|, unknown for the float input."""
        return None if self.is_input else max(abs(self.type.lo), abs(self.type.hi))

    def with_lanes(self, lanes: list[Lane] | tuple[Lane, ...]) -> Sym:
        return replace(self, lanes=merge(lanes))

    def tightened(self) -> Sym:
        """Without clips that never act."""
        return self if self.is_input else self.with_lanes([lane.tightened(self.type.lo, self.type.hi) for lane in self.lanes])

    @property
    def clips(self) -> bool:
        return any(lane.low is not None or lane.high is not None for lane in self.lanes)

    @property
    def scales(self) -> tuple[Fraction, ...]:
        return merge(lane.a for lane in self.lanes)

    @property
    def offsets(self) -> tuple[Fraction, ...]:
        return merge(lane.b for lane in self.lanes)


Value = Const | QConst | Sym


def fractions(array: np.ndarray) -> np.ndarray:
    """Exact values as Fractions, an object array of the same shape."""
    out = np.empty(array.shape, dtype=object)
    flat = array.ravel().tolist()  # Python floats and ints: exact
    out.ravel()[:] = [Fraction(v) for v in flat] if flat else []
    return out


def lanes_after(lanes: tuple[Lane, ...], old: Shape, view: Shape, perm: Shape, new: Shape) -> tuple[Lane, ...]:
    """The lanes of a tensor of shape `old` after x.reshape(view).transpose(perm).reshape(new)."""
    if len(lanes) == 1:
        return lanes
    index = np.broadcast_to(np.arange(old[0]).reshape(-1, *(1,) * (len(old) - 1)), old)
    moved = index.reshape(view).transpose(perm).reshape(new[0], -1)
    if np.any(moved != moved[:, :1]):
        raise EdgeqError(
            "a channel of the rearranged tensor mixes channels of different scale or offset", fix="quantize per tensor before it"
        )
    return merge(lanes[i] for i in moved[:, 0])


def spread_over(values: np.ndarray, sym: Sym) -> np.ndarray:
    """A constant operand, broadcast against (1, *shape of sym) as ONNX does, in the shape of sym's tensor."""
    full = (1, *sym.shape)
    dims = (1,) * (len(full) - values.ndim) + values.shape
    if len(dims) > len(full) or any(d not in (1, f) for d, f in zip(dims, full, strict=True)):
        raise EdgeqError(f"a constant of shape {values.shape} does not broadcast over {full}", fix="one value, or one a channel")
    return to_tensor(np.broadcast_to(values.reshape(dims), full), sym.order, sym.type.shape)[0]


def per_channel(values: np.ndarray, sym: Sym) -> list[Fraction]:
    """A constant operand as one Fraction a channel of sym's tensor, or one for all; values: exact, as for `spread_over`."""
    flat = values.ravel()
    if values.size == 1 and values.ndim <= 1 + len(sym.shape):
        return [flat[0]]
    known = {value: k for k, value in enumerate(flat.tolist())}
    number = np.array([known[value] for value in flat.tolist()]).reshape(values.shape)
    rows = spread_over(number, sym).reshape(sym.type.channels, -1)
    if np.any(rows != rows[:, :1]):
        raise EdgeqError(f"a constant of shape {values.shape} varies over pixels", fix="one value, or one a channel")
    return [flat[k] for k in rows[:, 0]]


def integer_weights(value: Const | QConst) -> tuple[np.ndarray, np.ndarray]:
    """(int64 weights, scales) of a constant: as quantized, or found again in folded floats.

    Folded floats are accepted where all are integer multiples, within 8 bits, of one number: +-a, or a power of two.
    """
    if isinstance(value, QConst):
        return value.values, value.scale
    array = value.array
    if not np.issubdtype(array.dtype, np.number) or not np.all(np.isfinite(array)):
        raise EdgeqError("the weights hold values that are not finite numbers", fix="train again, or repair the file")
    step = common_divisor(fractions(np.unique(np.abs(array))))
    if float(np.abs(array).max(initial=0)) / step > MAX_WEIGHT:
        raise EdgeqError(
            "the weights are floats that no quantizer made",
            fix="put a Quant or BipolarQuant on the weights (Brevitas: a weight_quant), or fold them to +-a or to "
            "multiples of a power of two within 8 bits",
        )
    values = np.rint(array.astype(np.float64) / float(step)).astype(np.int64)
    return values, np.full((1,) * array.ndim, step, dtype=object)
