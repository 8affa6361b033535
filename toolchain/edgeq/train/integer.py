"""Trainable layers of the integer-only transformer: Shiftmax, ShiftGELU, LayerNorm, attention, tokens (I-ViT, arXiv 2207.01405).

Each casts what it reads to a fixed-point format with a learned point, so that it computes on codes; an operator of the integer
graph (`edgeq.ops`) says what comes out. In evaluation its `reference` is run, and an export carries the operator itself, as a
node `FixedOperator` (`edgeq.custom_op`): there is one meaning. In training a float form computes nearly the same, faster, and the
gradient is that of the function it stands for. Tokens are pixels, [N, C, 1, T]; an attention map is [N, heads, Tq, Tk].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN, INTEGER, MAX_BITS, FixedPoint
from edgeq.graph import IntType, Op
from edgeq.operators import NAME, run
from edgeq.ops.add_position import AddPosition
from edgeq.ops.append_tokens import AppendTokens
from edgeq.ops.attention_scores import AttentionScores
from edgeq.ops.attention_values import AttentionValues
from edgeq.ops.isqrt import ISqrt
from edgeq.ops.layer_norm import LayerNorm
from edgeq.ops.near_max import NearMax
from edgeq.ops.select_tokens import SelectTokens
from edgeq.ops.shift_gelu import ShiftGELU
from edgeq.ops.shiftmax import Shiftmax
from edgeq.ops.threshold import Threshold
from edgeq.train.fixed import Codes, FixedQuant, OnnxNode, codes_of
from edgeq.train.fixed_layers import FEATURES, WEIGHT, FixedAct, FixedConv2d, quantizer_of

RESIDUAL = FixedPoint(16)
"""The stream between the blocks of a transformer."""
TOKEN_BIAS, TOKEN_SLOPE, TOKEN_OFFSET = FixedPoint(12), FixedPoint(10), FixedPoint(12)
"""Of dense layers and of LayerNorm's affine part: their sums stay below 2^24 units, so that float32 engines are exact."""
Cast = FixedPoint | FixedAct
"""A format; or the cast that has made the input already: then both are one, with one point."""
SQUARES = FixedPoint(16, signed=False)
"""What a root is taken of."""
POSITION = FixedPoint(16)
"""The words of a position, in the unit of the tokens."""
NORM_SHIFT = 18
"""LayerNorm's results have 13 bits."""
SHIFTMAX_SHIFT, SHIFTMAX_BITS = 15, 16
RECIPROCAL_BITS, LEAST_POINT = 4, 5
"""Of Shiftmax: bits that the reciprocal of a row's sum keeps where all of the row are alike; least bits after the point."""
GELU_BITS, GELU_SLOPE_BITS, GELU_SHIFT = 8, 8, 15
"""Of ShiftGELU: bits of the sigmoid; of 1.702 after the point, at least; of the exponents, at most."""
LOG2_E = 1 + 1 / 2 - 1 / 16
"""As exponentials by shifts have it."""
EXPONENT_BITS = 30
"""Most bits of a point and a shift together, `edgeq.ops._exp_shift`."""
LEAST_SHIFT = 8
TAIL = 0.999
"""The share of a ShiftGELU's arguments that lie below its first limit."""
NEAR = math.log(4)
"""BiViT (arXiv 2211.07091) keeps what softmax would give at least a quarter of the largest."""


def scale_of(act: FixedAct) -> float:
    """The value of a last bit, as it is now."""
    return 2.0 ** -quantizer_of(act).point


def operate(op: Op, xs: Sequence[Tensor], scales: Sequence[float], out: float) -> Tensor:
    """op(x / scale, ...) * out, without a gradient; in an export it is a node. Raises EdgeqError where `op` refuses."""
    shape = None
    if torch.onnx.is_in_onnx_export():
        shape = (int(xs[0].shape[0]), *op.infer(*(IntType(tuple(int(d) for d in x.shape[1:]), 0, 1) for x in xs)).shape)
    constants = [torch.tensor(v) for v in scales]
    constants += [torch.from_numpy(array.astype(np.int64)) for array in op.arrays().values()]
    attributes = {NAME: op.kind(), **op.attributes()}

    def compute(*xs: Tensor) -> Tensor:
        return torch.from_numpy(run(op, [x.detach().numpy() for x in xs], scales, out))

    return OnnxNode(f"{DOMAIN}::{INTEGER}", (*constants, torch.tensor(out)), attributes, compute, shape)(*xs)


class _Function(nn.Module):
    """A layer that runs an operator in evaluation."""

    inner: FixedAct

    def reads(self, kind: Cast) -> None:
        """Set `inner`: the format's cast, a child; or another layer's cast, which stays that layer's."""
        if isinstance(kind, FixedAct):
            self.__dict__["inner"] = kind
        else:
            self.inner = FixedAct(kind)

    def exact(self, *acts: FixedAct) -> bool:
        """True where codes are to be computed: all points are known, and this is no training."""
        return not self.training and all(quantizer_of(act).known for act in acts)


# Softmax and its binary relatives


class _Shiftmax(torch.autograd.Function):
    """The float form: 2^t is linear between integers; backward, softmax's gradient at what came out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: int) -> Tensor:
        t = (x - x.amax(-1, keepdim=True)).mul_(LOG2_E).clamp_(min=-shift)
        whole = t.ceil()
        y = t.sub_(whole).mul_(0.5).add_(1).mul_(whole.exp2_())
        y.div_(y.sum(-1, keepdim=True))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        weighted = grad[0] * y
        return weighted.sub_(weighted.sum(-1, keepdim=True) * y), None


class FixedShiftmax(_Function):
    """softmax along W with powers of two: [N, heads, H, W] -> values in [0, 1], 16 bits of unit 2^-15.

    inner: the format of its argument, of which a unit is 2^-p.  Exponentials have 15 bits, fewer where a row is long:
    their sum stays below 2^(31 - RECIPROCAL_BITS).
    """

    out = 2.0 ** (1 - SHIFTMAX_BITS)

    def __init__(self, inner: Cast = FEATURES) -> None:
        super().__init__()
        self.reads(inner)

    def operator(self, width: int) -> Shiftmax:
        """For rows of `width` values."""
        quantizer = quantizer_of(self.inner)
        p, kind = quantizer.point, quantizer.kind
        room = (((1 << 31) - 1) // width).bit_length() - 1 - RECIPROCAL_BITS
        reach = math.ceil((kind.hi - kind.lo) * 2.0**-p * LOG2_E)  # no exponent is larger
        shift = min(SHIFTMAX_SHIFT, room - max(p, LEAST_POINT), reach)
        if shift < min(LEAST_SHIFT, reach):
            what = f"an argument with {p} bits after the point, in rows of {width}"
            raise EdgeqError(what, where="FixedShiftmax", fix="fewer bits after the point")
        point = min(room, EXPONENT_BITS) - shift
        return Shiftmax(1 << (point - p), point, shift, SHIFTMAX_BITS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if self.exact(self.inner):
            return operate(self.operator(int(x.shape[-1])), [x], [scale_of(self.inner)], self.out)
        return _Shiftmax.apply(x, self.operator(int(x.shape[-1])).shift)


class _NearMax(torch.autograd.Function):
    """Backward, the gradient of the row's softmax, as large as what came out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, margin: float, out: float) -> Tensor:
        ctx.save_for_backward(x)
        y = (x >= x.amax(-1, keepdim=True) - margin).to(x.dtype)
        ctx.count = y.sum(-1, keepdim=True).mul_(out)
        return y.mul_(out)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        y = x.softmax(-1)
        weighted = grad[0] * y
        return weighted.sub_(weighted.sum(-1, keepdim=True) * y).mul_(ctx.count), None, None


class FixedNearMax(_Function):
    """`out` where x is within ln 4 of the row's maximum, else 0, along W: [N, heads, H, W]. (BiViT's binary softmax.)

    inner: as of FixedShiftmax.  out: a power of two; None for that nearest to one by the mean count of what is chosen of a row in
    the first data, so that the weights of a row add up to about 1.
    """

    unit: Tensor

    def __init__(self, inner: Cast = FEATURES, out: float | None = None) -> None:
        super().__init__()
        self.reads(inner)
        self.given = out
        self.register_buffer("unit", torch.tensor(out or 0.0))
        self.settled: float | None = None

    @property
    def out(self) -> float:
        """What is given for 1; 0 where it is not found yet."""
        return self.settled or self.unit.item()

    def forget(self) -> None:
        """Find `out` anew, unless it is given, from the next tensor."""
        self.unit.fill_(self.given or 0.0)

    def settle(self) -> None:
        """Keep `out` as a number, for an export."""
        self.settled = self.out

    def operator(self) -> NearMax:
        """As it is now."""
        return NearMax(math.floor(NEAR / scale_of(self.inner)))

    def forward(self, x: Tensor) -> Tensor:
        x, op, scale = self.inner(x), self.operator(), scale_of(self.inner)
        if not self.out:
            count = _NearMax.apply(x.detach(), op.margin * scale, 1.0).sum(-1).mean()
            self.unit.fill_(2.0 ** -round(math.log2(count)))
        if self.exact(self.inner):
            return operate(op, [x], [scale], self.out)
        return _NearMax.apply(x, op.margin * scale, self.out)


class _Positive(torch.autograd.Function):
    """Backward, the gradient of a ramp from -1 to 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.out = out
        return (x > 0).to(x.dtype).mul_(out)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad[0], x, -1.0, 1.0) * (ctx.out / 2), None


# ShiftGELU


def _gelu_codes(op: ShiftGELU, scale: float, lo: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes of op, the derivative of x * sigmoid(1.702 x)) at x = lo * scale .. top * scale, float32."""
    codes = np.arange(lo, top + 1, dtype=np.int64)[:, None]
    x = 1.702 * scale * codes
    sigmoid = 1 / (1 + np.exp(-np.maximum(x, -700)))
    slopes = np.where(codes > op.hi, 0, sigmoid + x * sigmoid * (1 - sigmoid))
    return op.reference(codes).ravel().astype(np.float32), slopes.ravel().astype(np.float32)


class _ShiftGELU(torch.autograd.Function):
    """The operator by a table of its results. The limit's gradient is that of what it cuts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: Tensor, table: Tensor, slopes: Tensor, lo: int, scale: float, hi: int) -> Tensor:
        index = (x / scale).sub_(lo).to(torch.int32).flatten()
        ctx.save_for_backward(x, index, slopes)
        ctx.limit = hi * scale
        return table[index].view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        x, index, slopes = ctx.saved_tensors
        cut = (grad[0] * (x > ctx.limit)).sum()
        return grad[0] * slopes[index].view_as(x), cut, None, None, None, None, None


class FixedShiftGELU(_Function):
    """out(x * sigmoid(1.702 x)) with the sigmoid in integers, x cut at `limit` (lambda-ShiftGELU, arXiv 2509.10334): any shape.

    inner, out: formats of argument and result.  limit: lambda; None to find it in the first data, and learn it: it keeps the rare
    large values from taking the steps of the others.
    """

    ready: Tensor

    def __init__(self, inner: Cast = FEATURES, out: FixedPoint = FEATURES, limit: float | None = None) -> None:
        super().__init__()
        self.reads(inner)
        if (bits := quantizer_of(self.inner).kind.bits) + GELU_BITS > MAX_BITS:
            what = f"an argument of {bits} bits, whose products are no float32"
            raise EdgeqError(what, where="FixedShiftGELU", fix=f"at most {MAX_BITS - GELU_BITS} bits")
        self.out = FixedAct(out)
        self.limit = nn.Parameter(torch.tensor(limit or 0.0))
        self.given = limit is not None
        self.register_buffer("ready", torch.tensor(self.given))
        self.settled: ShiftGELU | None = None

    def settle(self) -> None:
        """Keep the operator as a constant, for an export."""
        self.settled = self.operator()

    def operator(self) -> ShiftGELU:
        """As it is now."""
        quantizer = quantizer_of(self.inner)
        hi = min(max(round(self.limit.item() * 2.0**quantizer.point), 0), quantizer.kind.hi)
        point = min(max(quantizer.point + GELU_SLOPE_BITS, 0), EXPONENT_BITS - LEAST_SHIFT)
        slope = round(1.702 * 2.0 ** (point - quantizer.point))
        return ShiftGELU(slope, point, min(GELU_SHIFT, EXPONENT_BITS - point), hi, GELU_BITS)

    def forward(self, x: Tensor) -> Tensor:
        quantizer = quantizer_of(self.inner)
        if (quantizer.calibrating and not self.given) or (self.training and not self.ready):
            self._start(x.detach())
        x, op, scale = self.inner(x), self.settled or self.operator(), scale_of(self.inner)
        if torch.onnx.is_in_onnx_export():
            return self.out(operate(op, [x], [scale], scale / (1 << GELU_BITS)))
        kind = quantizer.kind
        table, slopes = (torch.from_numpy(v) for v in _gelu_codes(op, scale, kind.lo, kind.hi))
        y = _ShiftGELU.apply(x, self.limit, table * (scale / (1 << GELU_BITS)), slopes, kind.lo, scale, op.hi)
        return self.out(y)

    def _start(self, x: Tensor) -> None:
        values = x.flatten()[:: -(-x.numel() // (1 << 16))]
        self.limit.data.fill_(max(float(values.quantile(TAIL)), 0.0))
        self.ready.fill_(True)


# Normalization, roots


class FixedLayerNorm(_Function):
    """LayerNorm over the channels of a pixel, and a fixed-point slope and offset a channel, cast: [N, C, H, W] of the same shape.

    inner: the format of its input.  slope, offset: those of gamma * sqrt(C) and of beta.  out: that of the result.
    """

    def __init__(
        self,
        channels: int,
        *,
        inner: Cast = RESIDUAL,
        slope: FixedPoint = TOKEN_SLOPE,
        offset: FixedPoint = TOKEN_OFFSET,
        out: FixedPoint = FEATURES,
        shift: int = NORM_SHIFT,
    ) -> None:
        super().__init__()
        self.reads(inner)
        self.out, self.shift = FixedAct(out), shift
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.slope_quant, self.offset_quant = (FixedQuant(kind, parameter=True) for kind in (slope, offset))
        self.settled: tuple[Tensor, Tensor] | None = None

    def settle(self) -> None:
        """Keep slope and offset as constants, for an export."""
        self.settled = self._line()

    def _line(self) -> tuple[Tensor, Tensor]:
        root = math.sqrt(len(self.weight))
        return self.slope_quant(self.weight * root)[0], self.offset_quant(self.bias)[0]

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        slope, offset = (v.view(1, -1, 1, 1) for v in self.settled or self._line())
        if self.exact(self.inner):
            y = operate(LayerNorm(self.shift), [x], [scale_of(self.inner)], 2.0 ** (self.shift - 30))
        else:
            y = functional.layer_norm(x.movedim(1, 3), self.weight.shape).movedim(3, 1) * len(self.weight) ** -0.5
        if not self.training and not torch.onnx.is_in_onnx_export():
            y, slope, offset = y.double(), slope.double(), offset.double()
        return self.out(y * slope + offset).float()


class _SquareRoot(torch.autograd.Function):
    """Backward, 1 / (2 y), at most that of one unit."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: float) -> Tensor:
        y = x.sqrt().div_(unit).floor_().mul_(unit)
        ctx.save_for_backward(y)
        ctx.unit = unit
        return y

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return grad[0] / (2 * y.clamp(min=ctx.unit)), None


class FixedSqrt(_Function):
    """floor(sqrt(x)) in units of 2^-(bits after the point of x, halved and rounded up), cast: any shape, x >= 0.

    inner: an unsigned format.  out: that of the result.
    """

    def __init__(self, inner: FixedPoint = SQUARES, out: FixedPoint = FEATURES) -> None:
        super().__init__()
        if inner.signed:
            raise EdgeqError(f"the root of {inner}", where="FixedSqrt", fix="an unsigned format")
        self.inner, self.out = FixedAct(inner), FixedAct(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        unit = 2.0 ** -((quantizer_of(self.inner).point + 1) // 2)
        if self.exact(self.inner):
            return self.out(operate(ISqrt(), [x], [unit * unit], unit))
        return self.out(_SquareRoot.apply(x, unit))


# Attention


class FixedScores(_Function):
    """q . k of each pair of tokens and each head: [N, C, Hq, Wq], [N, C, Hk, Wk] -> [N, heads, Tq, Tk], not cast.

    inner: the format of q and of k.  pairs: false for [N, heads * Tk, Hq, Wq], all scores of a query in one pixel: for few keys.
    """

    def __init__(self, heads: int, *, inner: FixedPoint = FEATURES, pairs: bool = True) -> None:
        super().__init__()
        self.heads, self.pairs = heads, pairs
        self.query, self.key = FixedAct(inner), FixedAct(inner)

    @property
    def scale(self) -> float:
        """The unit of the result."""
        return scale_of(self.query) * scale_of(self.key)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        q, k = self.query(query), self.key(key)
        if self.exact(self.query, self.key):
            op = AttentionScores(self.heads, int(self.pairs))
            return operate(op, [q, k], [scale_of(self.query), scale_of(self.key)], self.scale)
        n, size = len(q), q.shape[2:]
        q, k = (x.reshape(n, self.heads, -1, x.shape[2] * x.shape[3]) for x in (q, k))
        return q.mT @ k if self.pairs else (k.mT @ q).reshape(n, -1, *size)


class FixedValues(_Function):
    """The values of tokens, summed with the weights of an attention map: [N, heads, Tq, Tk], [N, C, Hv, Wv] -> [N, C, 1, Tq].

    weigh: the layer that makes the map, whose `out` is its unit.  inner: the format of the values.  out: that of the result.
    """

    def __init__(
        self,
        heads: int,
        weigh: FixedShiftmax | FixedNearMax | FixedPositive,
        *,
        inner: FixedPoint = FEATURES,
        out: FixedPoint = FEATURES,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.__dict__["weigh"] = weigh  # no child
        self.value, self.out = FixedAct(inner), FixedAct(out)

    def forward(self, p: Tensor, value: Tensor) -> Tensor:
        v = self.value(value)
        if self.exact(self.value):
            unit = scale_of(self.value)
            scale = self.weigh.out
            return self.out(operate(AttentionValues(self.heads), [p, v], [scale, unit], scale * unit))
        n, c = v.shape[:2]
        return self.out((v.reshape(n, self.heads, c // self.heads, -1) @ p.mT).reshape(n, c, 1, -1))


ATTENTIONS = ("shiftmax", "near_max", "positive")


class FixedAttention(nn.Module):
    """Self-attention of tokens: [N, C, 1, T] of the same shape, the projection's sums not cast.

    attention: "shiftmax"; "near_max", 1 where softmax would be at least a quarter of its row's largest (BiViT); "positive", 1
    where q . k > 0. Binary ones are weighed with a power of two, about one by the tokens that they choose: for "near_max" in the
    first data, for "positive" T / 2.  tokens: T.
    scores, features: formats of q . k and of all other activations.  The factor 1 / sqrt(C / heads) is in the query's weights.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        tokens: int,
        *,
        attention: str = "shiftmax",
        weight: FixedPoint = WEIGHT,
        bias: FixedPoint = TOKEN_BIAS,
        scores: FixedPoint = FEATURES,
        features: FixedPoint = FEATURES,
    ) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise EdgeqError(f"the attention {attention!r}", where="FixedAttention", fix=f"one of {', '.join(ATTENTIONS)}")
        self.query, self.key, self.value, self.projection = (
            FixedConv2d(channels, channels, 1, weight=weight, bias=bias) for _ in range(4)
        )
        self.scores = FixedScores(heads, inner=features)
        self.weigh: FixedShiftmax | FixedNearMax | FixedPositive
        if attention == "positive":
            self.weigh = FixedPositive(self.scores, 2.0 ** -round(math.log2(max(tokens / 2, 1))))
        else:
            self.weigh = FixedShiftmax(scores) if attention == "shiftmax" else FixedNearMax(scores)
        self.values = FixedValues(heads, self.weigh, inner=features, out=features)

    def forward(self, x: Tensor) -> Tensor:
        p = self.weigh(self.scores(self.query(x), self.key(x)))
        return self.projection(self.values(p, self.value(x)))


class FixedPositive(_Function):
    """`out` where x > 0, else 0: any shape. scores: the layer that x comes from, whose unit it has."""

    def __init__(self, scores: FixedScores, out: float = 1.0) -> None:
        super().__init__()
        self.__dict__["scores"] = scores  # no child: it stays another layer's
        self.out = out

    def forward(self, x: Tensor) -> Tensor:
        if self.exact(self.scores.query, self.scores.key):
            op = Threshold(np.array([[1]]), np.array([0]), 0)
            return operate(op, [x], [self.scores.scale], self.out)
        return _Positive.apply(x, self.out)


# Tokens


class FixedPosition(_Function):
    """A learned position added to each token, and the cast of the sum: [N, C, H, W] of the same shape.

    inner: the format of the tokens; the position has its unit.  out: that of the sum.
    """

    def __init__(self, channels: int, tokens: int, *, inner: Cast = RESIDUAL, out: FixedPoint = RESIDUAL) -> None:
        super().__init__()
        self.reads(inner)
        self.out = FixedAct(out)
        self.position = nn.Parameter(torch.zeros(channels, tokens))
        self.settled: AddPosition | None = None

    def settle(self) -> None:
        """As FixedShiftGELU's."""
        self.settled = self.operator()

    def operator(self) -> AddPosition:
        """As it is now."""
        return AddPosition(_integers(self.position, POSITION, scale_of(self.inner)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if self.exact(self.inner):
            unit = scale_of(self.inner)
            return self.out(operate(self.settled or self.operator(), [x], [unit], unit))
        return self.out(x + Codes.apply(self.position, POSITION, scale_of(self.inner)).view(1, *x.shape[1:]))


class FixedTokens(_Function):
    """Learned tokens behind those of the input: [N, C, H, W] -> [N, C, 1, H * W + tokens].

    inner: the format of all of them.
    """

    def __init__(self, channels: int, tokens: int, *, inner: Cast = RESIDUAL) -> None:
        super().__init__()
        self.reads(inner)
        self.tokens = nn.Parameter(torch.zeros(channels, tokens))
        self.settled: AppendTokens | None = None

    def settle(self) -> None:
        """As FixedShiftGELU's."""
        self.settled = self.operator()

    def operator(self) -> AppendTokens:
        """As it is now."""
        return AppendTokens(_integers(self.tokens, quantizer_of(self.inner).kind, scale_of(self.inner)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if self.exact(self.inner):
            unit = scale_of(self.inner)
            return operate(self.settled or self.operator(), [x], [unit], unit)
        tokens = Codes.apply(self.tokens, quantizer_of(self.inner).kind, scale_of(self.inner))
        tokens = tokens[:, None].expand(len(x), -1, -1, -1)
        return torch.cat((x.flatten(2)[:, :, None], tokens), 3)


class FixedSelect(_Function):
    """Tokens start to start + count - 1 as an image of `height` rows: [N, C, H, W] -> [N, C, height, count / height].

    inner: the cast that made them.
    """

    def __init__(self, inner: FixedAct, start: int, count: int, height: int = 1) -> None:
        super().__init__()
        self.reads(inner)
        self.start, self.count, self.height = start, count, height

    def forward(self, x: Tensor) -> Tensor:
        if self.exact(self.inner):
            scale = scale_of(self.inner)
            return operate(SelectTokens(self.start, self.count, self.height), [x], [scale], scale)
        return x.flatten(2)[..., self.start : self.start + self.count].unflatten(2, (self.height, -1))


class FixedUpsample(nn.Module):
    """Each pixel repeated: [N, C, H, W] -> [N, C, factor * H, factor * W]."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=self.factor, mode="nearest")


def _integers(values: Tensor, kind: FixedPoint, unit: float) -> np.ndarray:
    """The codes of constants, int64."""
    return codes_of(values, kind, unit).numpy().astype(np.int64)
