"""The CNN of peers.py: its integers in numpy, apart from every engine, and its graph for edgeq.

The largest class of networks whose integers NNgen 1.3.4 and edgeq can share: int8 in, int8 weights, an int32 bias and an int8
scale a channel, a right shift a layer with rounding half away from zero, ReLU, saturation at 127; zero padding; max pools; a
last dense layer of plain int32 sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgeq.graph import Graph, IntType, Node, Op
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize

KERNEL, POOL = 3, 2
HIGHEST = 127
SATURATED = 0.01
"""Share of a layer's values that its shift lets saturate."""


@dataclass(frozen=True)
class Layer:
    """A convolution of 3 x 3 with zero padding, ReLU and a 2 x 2 max pool.

    y = clip(max(0, round((sum + bias) * scale / 2^shift)), 0, 127).  weight: int8 [Cout, 3, 3, Cin], as NNgen orders it.
    bias: int32 [Cout].  scale: int8 [Cout].
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    shift: int


@dataclass(frozen=True)
class Cnn:
    """size: pixels a side of the image.  dense: int8 [outputs, features], the features pixel by pixel, channels last."""

    size: int
    layers: tuple[Layer, ...]
    dense: np.ndarray

    @property
    def channels(self) -> int:
        """Of the image."""
        return self.layers[0].weight.shape[-1]

    @property
    def products(self) -> int:
        """Multiplications a frame."""
        sides = (self.size // POOL**i for i in range(len(self.layers)))
        return sum(side**2 * layer.weight.size for side, layer in zip(sides, self.layers, strict=True)) + self.dense.size

    def frames(self, count: int, seed: int = 0) -> np.ndarray:
        """Uniform int8, int64 [count, size, size, channels]."""
        return np.random.default_rng(seed).integers(-128, 128, (count, self.size, self.size, self.channels))

    def run(self, x: np.ndarray) -> np.ndarray:
        """x: int64 [N, size, size, channels] -> int64 [N, outputs]."""
        for layer in self.layers:
            x = pool(np.clip(half_away(_scaled(x, layer), layer.shift), 0, HIGHEST))
        return x.reshape(len(x), -1) @ self.dense.T

    def graph(self) -> Graph:
        """For edgeq: NCHW, int8 [channels, size, size] in.

        Half away from zero is half up where the ReLU leaves anything, and half up is floor after adding a half.
        """
        graph = Graph("x", IntType((self.channels, self.size, self.size), -HIGHEST - 1, HIGHEST))
        graph.output = graph.input

        def add(name: str, op: Op) -> None:
            graph.nodes.append(Node(name, op, (graph.output,), f"{name}_y"))
            graph.output = f"{name}_y"

        for i, layer in enumerate(self.layers):
            add(f"conv{i}", Conv2d(np.ascontiguousarray(layer.weight.transpose(0, 3, 1, 2)), pads=(1, 1, 1, 1)))
            offset = layer.bias * layer.scale + (1 << layer.shift >> 1)
            add(f"relu{i}", Requantize(layer.scale, offset, layer.shift, "floor", 0, HIGHEST))
            add(f"pool{i}", MaxPool((POOL, POOL), (POOL, POOL)))
        shape = graph.check()[graph.output].shape
        add("flatten", Rearrange(shape, (1, 2, 0), (int(np.prod(shape)),)))
        add("dense", Dense(self.dense))
        graph.check()
        return graph


def random_cnn(size: int, channels: Sequence[int], outputs: int, seed: int = 0) -> Cnn:
    """channels: of the image and of each layer's output. Each shift is the least that lets 1 % of the layer's values saturate."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = []
    x = rng.integers(-128, 128, (4, size, size, channels[0]))
    for cin, cout in pairwise(channels):
        layer = Layer(
            rng.integers(-HIGHEST, HIGHEST + 1, (cout, KERNEL, KERNEL, cin)),
            rng.integers(-1000 * cin, 1000 * cin, cout),
            rng.integers(HIGHEST // 4, HIGHEST + 1, cout),
            0,
        )
        sums = _scaled(x, layer)
        shift = next(s for s in range(1, 31) if np.mean(half_away(sums, s) > HIGHEST) <= SATURATED)
        layers.append(Layer(layer.weight, layer.bias, layer.scale, shift))
        x = pool(np.clip(half_away(sums, shift), 0, HIGHEST))
    return Cnn(size, tuple(layers), rng.integers(-HIGHEST, HIGHEST + 1, (outputs, x[0].size)))


def half_away(x: np.ndarray, shift: int) -> np.ndarray:
    """x / 2^shift to the nearest integer, halves away from zero."""
    return np.sign(x) * ((np.abs(x) + (1 << shift >> 1)) >> shift)


def pool(x: np.ndarray) -> np.ndarray:
    """The maxima of 2 x 2 pixels; x: [N, H, W, C]."""
    n, h, w, c = x.shape
    return x.reshape(n, h // POOL, POOL, w // POOL, POOL, c).max(axis=(2, 4))


def _scaled(x: np.ndarray, layer: Layer) -> np.ndarray:
    patches = sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (KERNEL, KERNEL), axis=(1, 2))
    return (np.einsum("nhwcij,oijc->nhwo", patches, layer.weight, optimize=True) + layer.bias) * layer.scale
