"""A trainable fixed-point quantizer: the word length is given, the binary point is learned (QFX, arXiv 2401.17544).

The forward pass is the cast of `edgeq.fixed_point`, bit for bit. A real parameter holds the integer bits I and is rounded in the
forward pass. Backward, with u = x * 2^(W - I): a value inside of the word passes its gradient to x, and (y - x) * ln 2 of it to
I; a value outside passes end * ln 2 of it to I alone, where end is the end of the range that it passed. (TQT, arXiv 1903.08066,
derives the same for a threshold 2^I; ours takes it for every overflow mode.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN, OPERATOR, FixedPoint

MAX_INTEGER = 64
"""I is kept in [-64, 64]: powers of two that float32 holds with room for the word."""
START_VALUES = 1 << 16
"""Values at most, evenly taken, that a binary point is first found from."""
START_STEPS = 8
"""Binary points that are tried, from that which holds every value downwards."""
PLAIN = {"AP_TRN": "FLOOR", "AP_TRN_ZERO": "DOWN", "AP_RND_ZERO": "HALF_DOWN", "AP_RND_INF": "HALF_UP", "AP_RND_CONV": "ROUND"}
"""The rounding modes of QONNX's Quant that are modes of ap_fixed."""
QONNX_DOMAIN, QONNX_VERSION = "qonnx.custom_op.general", 2


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, integer: Tensor, kind: FixedPoint) -> Tensor:
        scale = 2.0 ** -point_of(kind, integer)
        y = kind.codes(x * (1 / scale), torch).mul_(scale)
        ctx.save_for_backward(x, y)
        ctx.range = [end * scale for end in (kind.lo - 1, kind.lo, kind.hi, kind.hi + 1)]
        return y

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y = ctx.saved_tensors
        below, least, most, above = ctx.range
        inside = torch.ops.aten.hardtanh_backward(grad[0], x, below, above)  # no mask of bools: that takes ten times as long
        slopes = inside.mul(y - x).sum() + (grad[0] - inside).mul_(x.clamp(least, most)).sum()
        return inside, slopes * math.log(2), None


class Codes(torch.autograd.Function):
    """Constants as words of a format with a unit, float or of float32; the gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: FixedPoint, unit: float | Tensor) -> Tensor:
        return codes_of(x, kind, unit).float() * unit

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[0], None, None


def codes_of(x: Tensor, kind: FixedPoint, unit: float | Tensor) -> Tensor:
    """The codes of constants, float64: no quotient is rounded onto a boundary."""
    found: Tensor = kind.codes(x.detach().double() / unit, torch)
    return found


@dataclass(frozen=True)
class OnnxNode:
    """A function of tensors as one node. name: with its domain.  constants: its inputs after them.  compute: what it does.

    shape: of the result; None: that of the first tensor.
    """

    name: str
    constants: tuple[Tensor, ...]
    attributes: dict[str, Any]
    compute: Callable[..., Tensor]
    shape: tuple[int, ...] | None = None

    def __call__(self, *xs: Tensor) -> Tensor:
        """Of xs; while a model is exported, a node of it."""
        if torch.jit.is_tracing() or not torch.onnx.is_in_onnx_export():
            return _Traced.apply(self, *xs)
        version = QONNX_VERSION if self.name.startswith(QONNX_DOMAIN) else 1
        shape = xs[0].shape if self.shape is None else self.shape
        return torch.onnx.ops.symbolic(
            self.name, (*xs, *self.constants), self.attributes, dtype=xs[0].dtype, shape=shape, version=version
        )


class _Traced(torch.autograd.Function):
    """What TorchScript makes the node of."""

    @staticmethod
    def symbolic(g: Any, node: OnnxNode, *xs: Any) -> Any:
        suffixed = {key + ("_s" if isinstance(v, str) else "_i"): v for key, v in node.attributes.items()}
        made = g.op(node.name, *xs, *(g.op("Constant", value_t=v) for v in node.constants), **suffixed)
        made.setType(xs[0].type() if node.shape is None else xs[0].type().with_sizes(list(node.shape)))
        return made

    @staticmethod
    def forward(ctx: Any, node: OnnxNode, *xs: Tensor) -> Tensor:
        return node.compute(*xs)


def cast_node(kind: FixedPoint, scale: float) -> OnnxNode:
    """The cast: Quant where that means the same, else FixedQuant."""

    def compute(x: Tensor) -> Tensor:
        return kind.codes(x / scale, torch) * scale

    if kind.rounding in PLAIN and kind.overflow in ("AP_SAT", "AP_SAT_SYM"):
        attributes = {"signed": int(kind.signed), "narrow": int(kind.narrow), "rounding_mode": PLAIN[kind.rounding]}
        name, constants = f"{QONNX_DOMAIN}::Quant", [scale, 0.0, float(kind.bits)]
    else:
        attributes = {"bits": kind.bits, "signed": int(kind.signed), "rounding": kind.rounding, "overflow": kind.overflow}
        name, constants = f"{DOMAIN}::{OPERATOR}", [scale]
    return OnnxNode(name, tuple(torch.tensor(v) for v in constants), attributes, compute)


def point_of(kind: FixedPoint, integer: Tensor) -> int:
    """The binary point W - round(I), clamped."""
    return kind.bits - max(-MAX_INTEGER, min(MAX_INTEGER, round(integer.item())))


class FixedQuant(nn.Module):
    """A Brevitas tensor quantizer: x of any shape -> (cast x, scale, zero point 0, bit width).

    kind: the format; its `integer` is where I starts, None: what loses least of the first tensor that is not all zero.
    parameter: of a layer's own parameter, which is at hand at any time; an activation's I is found in training or by `calibrate`,
    and using it earlier raises EdgeqError.  integer: the parameter I.  ready: true once I is set.
    """

    zero_point: Tensor
    bit_width: Tensor
    ready: Tensor

    def __init__(self, kind: FixedPoint, parameter: bool) -> None:
        super().__init__()
        self.kind, self.parameter = kind, parameter
        self.calibrating = False
        self.settled: float | None = None
        self.integer = nn.Parameter(torch.tensor(float(kind.integer or 0)))
        self.register_buffer("ready", torch.tensor(kind.integer is not None))
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(kind.bits)), persistent=False)

    @property
    def point(self) -> int:
        """The binary point: fraction bits, W - I."""
        return point_of(self.kind, self.integer) if self.settled is None else -round(math.log2(self.settled))

    def unit(self, x: Tensor) -> Tensor:
        """The value of a last bit, for x of any shape."""
        return torch.tensor(2.0**-self.point)

    @property
    def known(self) -> bool:
        """True where the point is found already."""
        return self.settled is not None or bool(self.ready)

    def forget(self) -> None:
        """Find the point anew, unless it is given, from the next tensor."""
        self.ready.fill_(self.kind.integer is not None)

    def settle(self) -> None:
        """Keep the scale as a number, for an export: an exporter that traces parameters could not read it."""
        if not self.ready and not self.parameter:
            raise self._unknown()
        self.settled = 2.0**-self.point

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.settled:
            scale = self.settled
            y = cast_node(self.kind, scale)(x)
        else:
            if not self.ready:
                if self.parameter or self.training or self.calibrating:
                    self.start(x.detach())
                elif x.any():
                    raise self._unknown()
            scale = 2.0**-self.point
            y = _Cast.apply(x, self.integer, self.kind)
        return y, torch.tensor(scale), self.zero_point, self.bit_width

    def _unknown(self) -> EdgeqError:
        fix = "train it for a batch, or edgeq.train.calibrate(model, images)"
        return EdgeqError("an activation's binary point is not known yet", where=f"FixedQuant {self.kind}", fix=fix)

    def start(self, x: Tensor) -> None:
        """Set I to what gives the least squared error on x; zeros alone say nothing, and set nothing."""
        most = float(x.abs().max())
        if most == 0 or x.ndim == 0:  # a scalar is Brevitas asking for the scale
            return
        values = x.flatten()[:: -(-x.numel() // START_VALUES)].double()
        top = math.ceil(math.log2(most)) + 1 + self.kind.signed
        trials = [max(-MAX_INTEGER, min(MAX_INTEGER, top - i)) for i in range(START_STEPS)]

        def error(integer: int) -> float:
            scale = 2.0 ** (integer - self.kind.bits)
            return float((self.kind.codes(values / scale, torch) * scale - values).square().sum())

        with torch.no_grad():
            self.integer.fill_(float(min(trials, key=error)))
            self.ready.fill_(True)

    def extra_repr(self) -> str:
        return str(self.kind)


def quantizers(module: nn.Module) -> Iterator[tuple[str, FixedQuant]]:
    """Every fixed-point quantizer in `module`, with its name."""
    for name, part in module.named_modules():
        if isinstance(part, FixedQuant):
            yield name, part


def parameter_groups(module: nn.Module, rate: float, point_rate: float = 10.0) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: binary points learn `point_rate` times as fast as the rest, and never decay.

    A point is rounded to an integer, so what moves a weight from code to code hardly moves it.
    """
    points = [part.integer for _, part in quantizers(module)]
    known = {id(point) for point in points}
    groups = [
        {"params": [p for p in module.parameters() if id(p) not in known], "lr": rate},
        {"params": points, "lr": rate * point_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def binary_points(module: nn.Module) -> dict[str, str]:
    """The format of every fixed-point quantizer in `module` as it is now: {name: "8 bits, 5 after the point"}."""
    return {name: f"{part.kind.bits} bits, {part.point} after the point" for name, part in quantizers(module)}


def calibrate(module: nn.Module, *x: Tensor) -> None:
    """Set the binary point of every quantizer in `module` from one forward pass in evaluation mode, front to back.

    x: a few inputs, as the module takes them. Formats that come with `integer` keep it. Each quantizer sees what those
    before it leave. The module keeps its mode.
    """
    training = module.training
    with _calibrating(module), torch.no_grad():
        module.eval()(*x)
    module.train(training)


@contextmanager
def _calibrating(module: nn.Module) -> Iterator[None]:
    found = [part for _, part in quantizers(module)]
    for part in found:
        part.calibrating = True
    for part in module.modules():
        if hasattr(part, "forget"):
            part.forget()
    try:
        yield
    finally:
        for part in found:
            part.calibrating = False
