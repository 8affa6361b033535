"""What integer and binary convolutions share: geometry, reference and ONNX form."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgeq.delta import program
from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample, _schedule
from edgeq.ops._mac import Mac, exact_matmul, integer_sum
from edgeq.ops._window import output_size, patches

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class Convolution(Mac):
    """weight: [Cout, Cin/groups, Kh, Kw]; pads: (top, left, bottom, right), with the value 0."""

    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def kernel(self) -> tuple[int, int]:
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    def accumulator_type(self, x: IntType) -> IntType:
        """The type before the fused operator."""
        if self.weight.ndim != 4:
            raise EdgeqError(f"weights of a convolution have shape {self.weight.shape}", fix="[Cout, Cin/groups, Kh, Kw]")
        ho, wo = output_size(x, self.kernel, self.stride, self.pads, self.dilation)
        if self.groups < 1 or self.channels_out % self.groups or self.weight.shape[1] * self.groups != x.shape[0]:
            raise EdgeqError(f"{x.shape[0]} channels do not match weights {self.weight.shape} in {self.groups} groups")
        return self.accumulator(x, (self.channels_out, ho, wo), padded=any(self.pads))

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        w, groups = _sample.Window(draw), _sample.choice(draw, [1, draw(1, 3)])
        per_group = 1 if groups > 1 and _sample.rare(draw, 2) else draw(1, 4)  # 1: depthwise
        x, weight = cls.sample_operands(draw, (groups * per_group, *w.size), (groups * draw(1, 4), per_group, *w.kernel))
        return cls(weight, stride=w.stride, pads=w.pads, dilation=w.dilation, groups=groups), (x,)

    def hardware_rows(self) -> np.ndarray:
        """The weights in the order of a hardware patch, tap by tap: [Cout, Kh*Kw*Cin/groups]."""
        return self.weight.transpose(0, 2, 3, 1).reshape(self.channels_out, -1)

    def infer(self, *xs: IntType) -> IntType:
        return self.finish(self.accumulator_type(xs[0]))

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        frames = [self._frame(x[None]) for x in xs[0]]
        return self.apply_post(np.concatenate(frames))

    def _frame(self, x: np.ndarray) -> np.ndarray:
        view = patches(x, self.kernel, self.stride, self.pads, self.dilation, fill=0)
        n, c, ho, wo, kh, kw = view.shape
        g, cg = self.groups, c // self.groups
        columns = view.reshape(n, g, cg, ho, wo, kh, kw).transpose(0, 1, 2, 5, 6, 3, 4).reshape(n, g, cg * kh * kw, ho * wo)
        rows = self.weight.reshape(g, self.channels_out // g, -1)
        return exact_matmul(rows[None], columns).reshape(n, self.channels_out, ho, wo)

    def to_onnx(self, body: Body, *xs: str) -> str:
        self.refuse_post_in_onnx()
        (x,) = xs
        if self.groups == 1 and not any(self.pads) and self.kernel == body.type(x).shape[1:]:
            # One patch: a product of matrices, whose weights onnxruntime packs once, at load.
            rows = body.op("Reshape", body.param("weight"), body.const(np.array([self.channels_out, self.terms])))
            y = integer_sum(body, x, "MatMulInteger", body.op("Transpose", rows, perm=[1, 0]), view=[0, self.terms])
            return body.cast(body.op("Reshape", y, body.const(np.array([0, self.channels_out, 1, 1]))), body.out.storage)
        y = integer_sum(
            body, x, "ConvInteger", body.param("weight"), kernel_shape=list(self.kernel), strides=list(self.stride),
            pads=list(self.pads), dilations=list(self.dilation), group=self.groups,
        )  # fmt: skip
        return body.cast(y, body.out.storage)

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        return _rtl.layer(self, fold, x, self.accumulator_type(x), self.hardware_rows(), self.window(x), self.groups)

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        return _schedule.layer(self, fold, x, self.accumulator_type(x), self.hardware_rows(), self.window(x), self.groups)

    def folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.with_digits(self, xs[0], _rtl.folds(xs[0], self.hardware_rows(), self.groups, prod(self.kernel)))

    def legal_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.with_digits(self, xs[0], _rtl.legal_folds(xs[0], self.hardware_rows(), self.groups))

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        if self.kernel != (1, 1) or self.stride != (1, 1) or any(self.pads) or self.groups > 1:
            return []  # it keeps lines of whole pixels
        return _rtl.with_digits(self, xs[0], _rtl.narrow_layer_folds(xs[0], self.hardware_rows()))

    def cycles(self, fold: Fold, *xs: IntType) -> int:
        if fold.narrow:
            return super().cycles(fold, *xs)
        rows, taps = self.hardware_rows(), prod(self.kernel)
        read = program(rows, fold.pe, self.groups, taps).layout.words if fold.mode == "tree" else 0
        return _schedule.convolution_cycles(self.window(xs[0]), _rtl.steps(fold, rows, self.groups, taps), read)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        return _cost.layer(self, fold, x, self.accumulator_type(x), self.hardware_rows(), self.window(x), self.groups)

    def window(self, x: IntType) -> _rtl.Window:
        """The geometry in hardware."""
        return _rtl.Window(x, self.kernel, self.stride, self.pads, self.dilation)
