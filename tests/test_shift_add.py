"""Integer layers as shifts and additions: the generator alone, both of its bodies, and layers with what is fused into them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mst import Text

from edgeq.graph import IntType
from edgeq.hardware import to_bits
from edgeq.ops.requantize import Requantize
from edgeq.shift_add import (
    Compare,
    Inputs,
    Rescale,
    Sums,
    Tail,
    shift_add_sv,
)

RANGES = ((0, 63), (-128, 127), (0, 1), (-3, 9), (3, 5), (-32768, 32767), (-6, -1), (0, 0))


def inputs_of(ranges: list[tuple[int, int]]) -> tuple[Inputs, int]:
    """Words one after the other, and their bits in all."""
    lo, hi = np.array(ranges).T
    inputs, at, ports = Inputs((), lo, hi), 0, []
    for k in range(len(ranges)):
        ports.append(("x_i", at))
        at += inputs.width(k)
    return Inputs(tuple(ports), lo, hi), at


def frames(inputs: Inputs, seed: int, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Values [N, K], ends of the ranges among them, and their bits."""
    rng = np.random.default_rng(seed)
    x = rng.integers(inputs.lo, inputs.hi + 1, (count, len(inputs.lo)))
    ends = np.where(rng.random(x.shape) < 0.5, inputs.lo, inputs.hi)
    x = np.where(rng.random((count, 1)) < 0.4, ends, x)
    return x, np.hstack([to_bits(x[:, k : k + 1], inputs.width(k)) for k in range(x.shape[1])])


def expected_of(y: np.ndarray, tail: Tail) -> np.ndarray:
    """What the output's bits stand for."""
    if isinstance(tail, Compare):
        return (y >= tail.thresholds) ^ tail.negative
    if isinstance(tail, Sums):
        return y
    op = Requantize(tail.multiplier, tail.offset, tail.shift, "half_even" if tail.half_even else "floor", tail.lo, tail.hi)
    return op.reference(y)


def seen(text: Text, tail: Tail) -> np.ndarray:
    return text.unsigned if isinstance(tail, Rescale) and tail.lo >= 0 else text.y


@st.composite
def layers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]], Tail]:
    """Weights of any sparsity with zero and equal rows, constants, ranges of the inputs, and a tail."""
    seed = draw(st.integers(0, 1 << 30))
    rng = np.random.default_rng(seed)
    channels, terms = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    most = draw(st.sampled_from([1, 3, 31, 127, 255]))
    weight = rng.integers(0 if most == 255 else -most, most + 1, (channels, terms)) * (rng.random((channels, terms)) < 0.8)
    weight[rng.random(channels) < 0.2] = 0
    ranges = (
        [RANGES[i] for i in rng.integers(0, len(RANGES), terms)]
        if draw(st.booleans())
        else [draw(st.sampled_from(RANGES))] * terms
    )
    constant = rng.integers(-50, 50, channels) * draw(st.integers(0, 1))
    lo, hi = np.array(ranges).T
    reach = int((np.abs(weight) * np.maximum(np.abs(lo), np.abs(hi))).sum(axis=1).max()) + 50
    kind = draw(st.sampled_from(["sums", "compare", "rescale", "rescale"]))
    if kind == "sums":
        return weight, constant, ranges, Sums(reach.bit_length() + 1)
    if kind == "compare":
        near = rng.integers(-reach // 4, reach // 4 + 1, channels)
        return (
            weight,
            constant,
            ranges,
            Compare(np.where(rng.random(channels) < 0.2, 2 * reach, near), rng.random(channels) < 0.5),
        )
    multiplier = rng.integers(-40, 41, channels) if draw(st.booleans()) else np.full(channels, draw(st.sampled_from([1, -2, 4])))
    shift = draw(st.integers(0, 9))
    lo_y, hi_y = draw(st.sampled_from([(0, 63), (-16, 15), (-7, 7), (0, 1), (3, 12), (-100000, 0), (-5, 1 << 30)]))
    bits = IntType((1,), lo_y, hi_y).width
    offset = rng.integers(-reach, reach + 1, channels)
    return weight, constant, ranges, Rescale(multiplier, offset, shift, draw(st.booleans()), lo_y, hi_y, bits)


@settings(deadline=None, max_examples=60)
@given(layers(), st.integers(2, 6), st.booleans())
def test_the_lut_form_gives_the_exact_results(
    made: tuple[np.ndarray, np.ndarray, list[tuple[int, int]], Tail], levels: int, share: bool
) -> None:
    weight, constant, ranges, tail = made
    inputs, bits = inputs_of(ranges)
    found = shift_add_sv(
        "layer", weight, constant, inputs, (tuple(range(len(ranges))),), tail, {"x_i": bits}, share=share, max_lut_levels=levels
    )
    x, code = frames(inputs, 0)
    assert np.array_equal(seen(Text(found, code, None), tail), expected_of(x @ weight.T + constant, tail))
