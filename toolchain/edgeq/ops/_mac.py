"""What the layers that multiply and accumulate share: exact ranges, exact sums, the fused threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.ops import _sample

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

MAX_WEIGHT_BITS = 8
MAX_ACTIVATION_BITS = 16


@dataclass(frozen=True, eq=False)
class Mac(Op):
    """y[o] = sum over k of x[k] * weight[o, k], then `post` where a threshold or requantize is fused.

    weight: int64, output channels first.
    """

    weight: np.ndarray
    post: Op | None = None

    absorbs_post = True

    @property
    def channels_out(self) -> int:
        return int(self.weight.shape[0])

    @property
    def terms(self) -> int:
        """K: the products summed for one output."""
        return int(np.prod(self.weight.shape[1:]))

    @classmethod
    def sample_operands(cls, draw: Draw, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[IntType, np.ndarray]:
        """A random legal input type and weights of these shapes."""
        return _sample.int_type(draw, x, MAX_ACTIVATION_BITS), _sample.weights(draw, w)

    def check_operands(self, x: IntType) -> None:
        """Raises EdgeqError unless weights and activations are narrow enough."""
        lo, hi = int(self.weight.min()), int(self.weight.max())
        if lo < -(1 << (MAX_WEIGHT_BITS - 1)) or hi >= 1 << MAX_WEIGHT_BITS or (lo < 0 and hi >= 1 << (MAX_WEIGHT_BITS - 1)):
            raise EdgeqError(f"weights reach from {lo} to {hi}", fix=f"quantize weights to at most {MAX_WEIGHT_BITS} bits")
        if x.width > MAX_ACTIVATION_BITS:
            raise EdgeqError(
                f"the activations {x} need {x.width} bits", fix=f"quantize them to at most {MAX_ACTIVATION_BITS} bits"
            )
        if int(np.abs(self.weight).reshape(self.channels_out, -1).sum(axis=1).max()) * 255 >= 1 << 31:
            raise EdgeqError(f"sums of {self.terms} terms of a byte pass 32 bits", fix="fewer inputs, or smaller weights")

    def check_bipolar(self, x: IntType) -> None:
        """Raises EdgeqError unless weights and activations are -1 and +1 only."""
        if not np.all(np.abs(self.weight) == 1):
            raise EdgeqError(f"a {self.kind()} has weights other than -1 and +1")
        if not x.bipolar:
            raise EdgeqError(f"a {self.kind()} reads {x}", fix="its input must be {-1, +1}")

    def accumulator(self, x: IntType, shape: tuple[int, ...], padded: bool) -> IntType:
        """The exact range of the sums; padded terms may be 0."""
        w = self.weight.reshape(self.channels_out, -1)
        ends = np.stack([w * x.lo, w * x.hi])
        least, most = ends.min(axis=0), ends.max(axis=0)
        if padded:
            least, most = np.minimum(least, 0), np.maximum(most, 0)
        binary = x.bipolar and bool(np.all(np.abs(w) == 1))
        return IntType(shape, int(least.sum(axis=1).min()), int(most.sum(axis=1).max()), 2 if binary and not padded else 1)

    def finish(self, accumulator: IntType) -> IntType:
        """The type after the fused operator, if there is one."""
        return self.post.infer(accumulator) if self.post else accumulator

    def apply_post(self, y: np.ndarray) -> np.ndarray:
        return self.post.reference(y) if self.post else y

    def refuse_post_in_onnx(self) -> None:
        if self.post:
            raise EdgeqError("a fused layer has no ONNX form", fix="lower the graph before fusing")


def exact_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b on int64, through float64 (and so BLAS) where no partial sum can pass 2^53."""
    bound = float(np.abs(a).max(initial=0)) * float(np.abs(b).max(initial=0)) * a.shape[-1]
    if bound < 2.0**53:
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    return a @ b


def integer_sum(body: Body, x: str, emit: str, weight: str, view: list[int] | None = None, **attributes: object) -> str:
    """`emit` (ConvInteger or MatMulInteger) of x by weight as int32 or int64, u8 by u8 with zero points.

    u8 x u8 is the one form that is exact on every CPU and fast on most (docs/design.md). Activations wider than a byte are
    split into two bytes: x = 256*high + low. view: x is reshaped to it first.
    """
    w, w_zero = body.as_u8(weight)
    parts = []
    for name, scale in body.bytes(x):
        u8, zero = body.as_u8(name)
        if view:
            u8 = body.op("Reshape", u8, body.const(np.array(view)))
        y = body.op(emit, u8, w, body.const(np.uint8(zero)), body.const(np.uint8(w_zero)), dtype=np.int32, **attributes)
        if scale != 1:
            y = body.op("Mul", body.cast(y, body.wide), body.const(np.array(scale, body.wide)))
        parts.append(body.cast(y, body.wide))
    return parts[0] if len(parts) == 1 else body.op("Add", *parts)
