"""Segmenter (arXiv 2105.05633), a vision transformer that labels pixels, in a form that has integer operators for all it does.

A ViT encoder and a mask-transformer decoder. Tokens are pixels of an image [N, C, 1, T], so a dense layer of a token is a 1 x 1
convolution. As in I-Segmenter (arXiv 2509.10334) the decoder has no L2 normalization and the masks are upsampled by repetition.
The patches come from strided 3 x 3 convolutions, which learn from few images what one large convolution does not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeq.errors import EdgeqError


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
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2, 1, bias=False) for a, b in zip(widths, widths[1:], strict=False)
        )
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
