"""Functions of one number between two casts: GELU, SiLU, sigmoid, tanh.

The first cast, of at most 12 bits, makes the function a table of codes (`edgeq.functions`), which is what evaluation computes and
what an export carries. In training the function is the real one, and so is its gradient; the casts pass theirs on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN, LOOKUP, FixedPoint
from edgeq.functions import check_function, code_table
from edgeq.train.fixed import OnnxNode
from edgeq.train.fixed_layers import FEATURES, FixedAct, quantizer_of

TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu, "gelu_tanh": partial(functional.gelu, approximate="tanh"), "silu": functional.silu,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh,
}  # fmt: skip
"""Those of `edgeq.functions`, for training."""


class FixedFunction(nn.Module):
    """out(f(inner(x))) of any shape.

    name: of `edgeq.functions.FUNCTIONS`.  inner: the format of f's argument, at most 12 bits.  out: that of its value.
    Raises EdgeqError for another name or a longer `inner`.
    """

    def __init__(self, name: str, inner: FixedPoint = FEATURES, out: FixedPoint = FEATURES) -> None:
        super().__init__()
        check_function(name, inner)
        self.name = name
        self.inner, self.out = FixedAct(inner), FixedAct(out)
        self.settled: OnnxNode | None = None

    @property
    def formats(self) -> tuple[FixedPoint, FixedPoint]:
        """inner and out with their binary points as they are now."""
        found = [quantizer_of(act) for act in (self.inner, self.out)]
        inner, out = (replace(q.kind, integer=q.kind.bits - q.point) for q in found)
        return inner, out

    @property
    def table(self) -> np.ndarray:
        """The code of the result for each code of `inner`, int64."""
        return code_table(self.name, *self.formats)

    def settle(self) -> None:
        """Keep the table as a constant, for an export."""
        if not quantizer_of(self.out).ready:
            fix = "train it for a batch, or edgeq.train.calibrate(model, images)"
            raise EdgeqError("the binary point of its result is not known yet", where=f"FixedFunction {self.name}", fix=fix)
        inner, out = self.formats
        scales = [torch.tensor(_step(kind)) for kind in (inner, out)]
        table = torch.from_numpy(self.table.copy())
        self.settled = OnnxNode(f"{DOMAIN}::{LOOKUP}", (scales[0], table, scales[1]), {"lo": inner.lo}, self._looked_up)

    def _looked_up(self, x: Tensor) -> Tensor:
        """The result for x that is cast already."""
        inner, out = self.formats
        codes = (x / _step(inner)).long()
        table = torch.from_numpy(np.float32(code_table(self.name, inner, out) * _step(out)))
        return table[codes - inner.lo]

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if self.settled and torch.onnx.is_in_onnx_export():
            return self.settled(x)
        if self.training or not quantizer_of(self.out).ready:
            return self.out(TORCH[self.name](x))
        return self.out(self._looked_up(x))  # a cast that changes nothing: engines that compare casts see it

    def extra_repr(self) -> str:
        return self.name


class FixedGELU(FixedFunction):
    """The GELU; approximate: "none", or "tanh" for the form with a tanh, as of nn.GELU."""

    def __init__(self, inner: FixedPoint = FEATURES, out: FixedPoint = FEATURES, approximate: str = "none") -> None:
        super().__init__({"none": "gelu"}.get(approximate, f"gelu_{approximate}"), inner, out)


def _step(kind: FixedPoint) -> float:
    """The value of a last bit."""
    assert kind.integer is not None
    return 2.0 ** (kind.integer - kind.bits)
