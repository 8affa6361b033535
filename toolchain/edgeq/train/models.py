"""Segmenter (arXiv 2105.05633), a vision transformer that labels pixels, in a form that has integer operators for all it does.

A ViT encoder and a mask-transformer decoder. Tokens are pixels of an image [N, C, 1, T], so a dense layer of a token is a 1 x 1
convolution. As in I-Segmenter (arXiv 2509.10334) the decoder has no L2 normalization and the masks are upsampled by repetition.
The patches come from strided 3 x 3 convolutions, which learn from few images what one large convolution does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.train.fixed import calibrate
from edgeq.train.fixed_layers import FEATURES, WEIGHT, FixedAct, FixedAdd, FixedBatchNorm, FixedConv2d, FixedReLU
from edgeq.train.integer import (
    RESIDUAL,
    TOKEN_BIAS,
    FixedAttention,
    FixedLayerNorm,
    FixedPosition,
    FixedScores,
    FixedSelect,
    FixedShiftGELU,
    FixedTokens,
    FixedUpsample,
)


class LayerNorm(nn.Module):
    """Over the channels of each pixel: [N, C, H, W] of the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x.movedim(1, 3), self.weight.shape, self.weight, self.bias).movedim(3, 1)


class Attention(nn.Module):
    """Self-attention of T tokens with several heads: [N, C, 1, T] of the same shape."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.projection = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n, c, _, t = x.shape
        parts = (part(x).view(n, self.heads, -1, t).mT for part in (self.query, self.key, self.value))
        y = functional.scaled_dot_product_attention(*parts)
        return self.projection(y.mT.reshape(n, c, 1, t))


class Block(nn.Module):
    """Attention and a hidden layer with GELU, each behind a LayerNorm and beside a shortcut: [N, C, 1, T] of the same shape."""

    def __init__(self, channels: int, heads: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.fc1 = nn.Conv2d(channels, ratio * channels, 1)
        self.fc2 = nn.Conv2d(ratio * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.fc2(functional.gelu(self.fc1(self.norm2(x)))))


class Segmenter(nn.Module):
    """[N, 3, H, W] -> logits [N, classes, H, W]; H and W are multiples of the patch, 2 for each stage of `stem`.

    size: H, W.  stem: the channels of the strided convolutions before the last.  channels: C of a token; heads divides it.
    encoder, decoder: layers.  ratio: hidden channels of a layer by its channels.
    """

    def __init__(
        self,
        classes: int,
        size: tuple[int, int],
        *,
        stem: tuple[int, ...] = (24, 48),
        channels: int = 64,
        heads: int = 2,
        encoder: int = 4,
        decoder: int = 1,
        ratio: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch = 2 << len(stem)
        if size[0] % self.patch or size[1] % self.patch or channels % heads:
            what = f"an image of {size[0]} x {size[1]} in patches of {self.patch}, {channels} channels in {heads} heads"
            raise EdgeqError(what, where="Segmenter", fix="sizes that divide")
        self.classes = classes
        self.size = size[0] // self.patch, size[1] // self.patch
        widths = (3, *stem, channels)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1, bias=False) for a, b in pairwise(widths))
        self.bns = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        tokens = math.prod(self.size)
        self.position = nn.Parameter(0.02 * torch.randn(channels, tokens))
        self.encoder = nn.ModuleList(Block(channels, heads, ratio, dropout) for _ in range(encoder))
        self.encoder_norm = LayerNorm(channels)
        self.entry = nn.Conv2d(channels, channels, 1)
        self.class_tokens = nn.Parameter(0.02 * torch.randn(channels, classes))
        self.decoder = nn.ModuleList(Block(channels, heads, ratio, dropout) for _ in range(decoder))
        self.decoder_norm = LayerNorm(channels)
        self.patch_head = nn.Conv2d(channels, channels, 1, bias=False)
        self.class_head = nn.Conv2d(channels, channels, 1, bias=False)
        self.mask_norm = LayerNorm(classes)
        self.apply(_initialize)

    def masks(self, x: Tensor) -> Tensor:
        """Logits of the patches: [N, classes, H / patch, W / patch]."""
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            x = bn(conv(x))
            x = functional.relu(x) if i < len(self.convs) - 1 else x
        x = x.flatten(2)[:, :, None] + self.position[:, None]
        for block in self.encoder:
            x = block(x)
        x = self.entry(self.encoder_norm(x))
        x = torch.cat((x, self.class_tokens[:, None].expand(len(x), -1, -1, -1)), 3)
        for block in self.decoder:
            x = block(x)
        x = self.decoder_norm(x)
        patches, tokens = x[..., : -self.classes], x[..., -self.classes :]
        scores = self.class_head(tokens)[:, :, 0].mT @ self.patch_head(patches)[:, :, 0]
        return self.mask_norm(scores.view(len(x), self.classes, *self.size))

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.masks(x), scale_factor=self.patch)


def _initialize(module: nn.Module) -> None:
    """Dense layers start with outputs of the size of their inputs, without bias."""
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        nn.init.trunc_normal_(module.weight, std=module.in_channels**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Integer-only


PATCHES, BYTES = FixedPoint(12), FixedPoint(8, integer=0, signed=False)


@dataclass(frozen=True)
class Words:
    """The formats of an integer-only Segmenter.

    encoder: of weights of the encoder's dense layers; None: `weight`.  input: of the image.  features: of activations, but for
    those that follow.  scores: of q . k.  patches: of what the strided convolutions give.  residual: of the stream between
    blocks.  masks: of the logits.
    """

    weight: FixedPoint = WEIGHT
    encoder: FixedPoint | None = None
    features: FixedPoint = FEATURES
    scores: FixedPoint = FEATURES
    patches: FixedPoint = PATCHES
    residual: FixedPoint = RESIDUAL
    masks: FixedPoint = PATCHES
    input: FixedPoint = BYTES


class IntegerBlock(nn.Module):
    """`Block` on integers. inner: the cast that makes its input."""

    def __init__(self, source: Block, tokens: int, inner: FixedAct, words: Words, attention: str) -> None:
        super().__init__()
        channels, heads = len(source.norm1.weight), source.attention.heads
        self.norm1 = _norm(source.norm1, inner, words)
        self.attention = FixedAttention(
            channels, heads, tokens, attention=attention, weight=words.weight, scores=words.scores, features=words.features
        )
        for name, part in source.attention.named_children():
            _load(getattr(self.attention, name), part)
        with torch.no_grad():
            for parameter in self.attention.query.parameters(recurse=False):
                parameter.mul_((channels // heads) ** -0.5)
        self.add1, self.add2 = FixedAdd(words.residual), FixedAdd(words.residual)
        self.norm2 = _norm(source.norm2, self.add1.out, words)
        self.fc1, self.fc2 = _dense(source.fc1, words), _dense(source.fc2, words)
        self.gelu = FixedShiftGELU(words.features, words.features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.add1(x, self.attention(self.norm1(x)))
        return self.add2(x, self.fc2(self.gelu(self.fc1(self.norm2(x)))))


class IntegerSegmenter(nn.Module):
    """`Segmenter` with its weights, on integers only: [N, 3, H, W] -> logits [N, classes, H, W].

    attention: of all layers, as of FixedAttention.
    """

    def __init__(self, source: Segmenter, words: Words, attention: str = "shiftmax") -> None:
        super().__init__()
        self.classes, self.patch = source.classes, source.patch
        tokens, channels = math.prod(source.size), len(source.position)
        self.cast = FixedAct(words.input)
        self.convs = nn.ModuleList(
            _load(FixedConv2d(c.in_channels, c.out_channels, 3, stride=2, padding=1, weight=words.weight), c)
            for c in source.convs
        )
        outs = [None] * (len(self.convs) - 1) + [words.patches]
        self.bns = nn.ModuleList(
            _load(FixedBatchNorm(bn.num_features, out=out), bn) for bn, out in zip(source.bns, outs, strict=True)
        )
        self.relus = nn.ModuleList(FixedReLU(words.features) for _ in outs[1:])
        self.position = FixedPosition(channels, tokens, inner=self.bns[-1].result.out, out=words.residual)
        self.flat = FixedSelect(self.position.out, 0, tokens)

        def blocks(sources: nn.ModuleList, count: int, inner: FixedAct, words: Words) -> tuple[nn.ModuleList, FixedAct]:
            made = nn.ModuleList()
            for source in sources:
                made.append(IntegerBlock(source, count, inner, words, attention))
                inner = made[-1].add2.out
            return made, inner

        self.encoder, inner = blocks(
            source.encoder, tokens, self.position.out, replace(words, weight=words.encoder or words.weight)
        )
        self.encoder_norm = _norm(source.encoder_norm, inner, words)
        self.entry = _dense(source.entry, words)
        self.class_tokens = FixedTokens(channels, self.classes, inner=words.residual)
        self.decoder, inner = blocks(source.decoder, tokens + self.classes, self.class_tokens.inner, words)
        self.decoder_norm = _norm(source.decoder_norm, inner, words)
        self.patches = FixedSelect(self.decoder_norm.out, 0, tokens, source.size[0])
        self.tokens = FixedSelect(self.decoder_norm.out, tokens, self.classes)
        self.patch_head, self.class_head = _dense(source.patch_head, words), _dense(source.class_head, words)
        self.scores = FixedScores(1, inner=words.features, pairs=False)
        self.mask_norm = _load(FixedLayerNorm(self.classes, inner=words.residual, out=words.masks), source.mask_norm)
        self.upsample = FixedUpsample(self.patch)
        with torch.no_grad():
            self.position.position.copy_(source.position)
            self.class_tokens.tokens.copy_(source.class_tokens)

    def masks(self, x: Tensor) -> Tensor:
        """Logits of the patches: [N, classes, H / patch, W / patch]."""
        x = self.cast(x)
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            x = bn(conv(x))
            x = self.relus[i](x) if i < len(self.relus) else x
        x = self.flat(self.position(x))
        for block in self.encoder:
            x = block(x)
        x = self.class_tokens(self.entry(self.encoder_norm(x)))
        for block in self.decoder:
            x = block(x)
        x = self.decoder_norm(x)
        return self.mask_norm(self.scores(self.patch_head(self.patches(x)), self.class_head(self.tokens(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(self.masks(x))


class Labels(nn.Module):
    """The class of each pixel, [N, 3, H, W] -> [N, 1, H, W]: a Segmenter for export. The largest of each patch is taken."""

    def __init__(self, net: Segmenter | IntegerSegmenter) -> None:
        super().__init__()
        self.net, self.upsample = net, FixedUpsample(net.patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(self.net.masks(x).argmax(1, keepdim=True).float())


def integer(segmenter: Segmenter, images: Tensor, words: Words | None = None, attention: str = "shiftmax") -> IntegerSegmenter:
    """The integer-only network with the weights of `segmenter`, in evaluation mode, its points found from one image or a few."""
    made = IntegerSegmenter(segmenter, words or Words(), attention).eval()
    calibrate(made, images)
    return made


Loaded = TypeVar("Loaded", bound=nn.Module)


def _load(made: Loaded, source: nn.Module) -> Loaded:
    """`made` with the parameters and buffers of `source`."""
    with torch.no_grad():
        for name, value in (*source.named_parameters(), *source.named_buffers()):
            getattr(made, name).copy_(value)
    return made


def _norm(source: LayerNorm, inner: FixedAct, words: Words) -> FixedLayerNorm:
    return _load(FixedLayerNorm(len(source.weight), inner=inner, out=words.features), source)


def _dense(source: nn.Conv2d, words: Words) -> FixedConv2d:
    bias = None if source.bias is None else TOKEN_BIAS
    return _load(FixedConv2d(source.in_channels, source.out_channels, 1, weight=words.weight, bias=bias), source)
