"""Integer operators against the float functions that they stand for, ours beside the form that I-ViT publishes.

Both get the same codes, of reals drawn once, at each scale from the smallest that the operator takes; the float function gets the
reals of these codes, so that the rounding to codes is no error. Ours is the `reference` of the operator that a trainable layer
makes (`edgeq.train.integer`). A published form has no error where one of its words passes int32.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Any

import click
import ivit
import numpy as np
from common import json_option, show
from plot import Axes, document
from scipy.special import ndtr, softmax

from edgeq.fixed_point import FixedPoint
from edgeq.graph import IntType, Op
from edgeq.ops.isqrt import ISqrt
from edgeq.ops.layer_norm import LayerNorm
from edgeq.train.integer import NEAR, NORM_SHIFT, FixedNearMax, FixedShiftGELU, FixedShiftmax

SEED, ROWS, TOKENS, CHANNELS, DEVIATION = 0, 256, 197, 64, 2.0
"""Rows of a ViT's tokens, or of channels, of reals of this standard deviation."""
LIMIT = 4.0
"""lambda of lambda-ShiftGELU, a code of every scale up to it."""
WORD, NORM_WORD, ROOT_WORD = ((-1 << b - 1, (1 << b - 1) - 1) for b in (16, 22, 49))
"""Ends of the codes. The squares of 64 channels of more than 22 bits could sum to more than 48; what has a root is 0 or more."""
COLOURS, DASHES = {"ours": "#36c", "published": "#c63"}, {"RMS": "", "largest": "4 3"}
FORMS, ERRORS = tuple(COLOURS), tuple(DASHES)
WIDTH, COLUMNS, PANEL, LEFT, TOP = 1000, 4, (180, 130), 64, 54
"""Of the picture: pixels, panels in a row, pixels of a panel and of the room before it."""
FILE = click.Path(path_type=Path, dir_okay=False)

Codes = tuple[np.ndarray, float]
"""Integers and their unit."""


@dataclass(frozen=True)
class Sweep:
    """One operator. ours, published: (codes [rows, width], their scale) -> codes.  exponents: p of the scales 2^p.

    function: of reals.  reals: [rows, width].  word: ends of the codes.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    ours: Callable[[np.ndarray, float], Codes]
    published: Callable[[np.ndarray, float], Codes] | None
    exponents: Sequence[int]
    reals: np.ndarray
    word: tuple[int, int] = WORD

    def row(self, exponent: int) -> dict[str, Any]:
        """Its errors at one scale."""
        scale = 2.0**exponent
        x = np.clip(np.rint(self.reals / scale), *self.word).astype(np.int64)
        expected = self.function(x * scale)
        row: dict[str, Any] = {"operator": self.name, "scale": f"2^{exponent}"}
        for name, form in zip(FORMS, (self.ours, self.published), strict=True):
            rms = largest = None
            if form:
                try:
                    y, unit = form(x, scale)
                    error = y * unit - expected
                    rms, largest = float(np.sqrt(np.mean(error**2))), float(np.abs(error).max())
                except ivit.Overflow:
                    pass
            row |= {f"{name}: RMS": rms, f"{name}: largest": largest}
        return row


def word_of(scale: float) -> FixedPoint:
    """16 bits of this unit."""
    return FixedPoint(16, 16 + round(math.log2(scale)))


def computed(op: Op, x: np.ndarray, word: tuple[int, int] = WORD) -> np.ndarray:
    """The reference on x, [N, ...]; EdgeqError where the operator does not take such words."""
    op.infer(IntType(x.shape[1:], *word))
    return op.reference(x)


def shiftmax(x: np.ndarray, scale: float, bits: int) -> Codes:
    op = replace(FixedShiftmax(word_of(scale)).operator(x.shape[1]), bits=bits)
    return computed(op, x[:, None, None])[:, 0, 0], 2.0 ** (1 - bits)


def near_max(x: np.ndarray, scale: float) -> Codes:
    return computed(FixedNearMax(word_of(scale)).operator(), x[:, None, None])[:, 0, 0], 1.0


def shift_gelu(x: np.ndarray, scale: float, limit: float | None = None) -> Codes:
    """limit: None cuts nothing."""
    op = FixedShiftGELU(word_of(scale), limit=limit or WORD[1] * scale).operator()
    return computed(op, x), scale / (1 << op.bits)


def layer_norm(x: np.ndarray, scale: float, shift: int) -> Codes:
    return computed(LayerNorm(shift), x, NORM_WORD), 2.0 ** (shift - 30) * math.sqrt(x.shape[1])


def published_norm(x: np.ndarray, scale: float, shift: int) -> Codes:
    y, unit = ivit.layer_norm(x)
    return y >> shift, unit * 2.0**shift


def root(x: np.ndarray, scale: float) -> Codes:
    return computed(ISqrt(), x, (0, ROOT_WORD[1])), math.sqrt(scale)


def published_root(x: np.ndarray, scale: float) -> Codes:
    return ivit.newton_root(x), math.sqrt(scale)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * ndtr(x)


def normalized(x: np.ndarray) -> np.ndarray:
    """Zero mean and variance 1 along the rows; of equal values 0."""
    d = x - x.mean(1, keepdims=True)
    deviation = d.std(1, keepdims=True)
    return d / np.where(deviation > 0, deviation, 1)


def near(x: np.ndarray) -> np.ndarray:
    """1 where softmax is at least a quarter of its row's largest."""
    return (x >= x.max(1, keepdims=True) - NEAR).astype(float)


def sweeps() -> list[Sweep]:
    """Exponents begin at the smallest legal scale; from the last on, larger ones are legal and say nothing new."""
    rng = np.random.default_rng(SEED)
    scores, features = (rng.normal(0, DEVIATION, (ROWS, width)) for width in (TOKENS, CHANNELS))
    squares = rng.uniform(0, 1, (ROWS, CHANNELS))
    of_rows, of_gelu, of_norm, of_roots = range(-11, 2), range(-23, 2, 2), range(-18, 3, 2), range(-48, 0, 4)
    made = []
    for bits in (16, 8):
        forms = (partial(form, bits=bits) for form in (shiftmax, ivit.shiftmax))
        made.append(Sweep(f"Shiftmax, {bits} bits", lambda x: softmax(x, 1), *forms, of_rows, scores))
    made.append(Sweep("NearMax", near, near_max, None, of_rows, scores))
    made.append(Sweep("ShiftGELU", gelu, shift_gelu, ivit.shift_gelu, of_gelu, features))
    cut = partial(shift_gelu, limit=LIMIT)
    made.append(Sweep("lambda-ShiftGELU", lambda x: gelu(np.minimum(x, LIMIT)), cut, None, of_gelu, features))
    for shift in (NORM_SHIFT, 0):
        forms = (partial(form, shift=shift) for form in (layer_norm, published_norm))
        made.append(Sweep(f"LayerNorm, {31 - shift} bits", normalized, *forms, of_norm, features, NORM_WORD))
    made.append(Sweep("ISqrt", np.sqrt, root, published_root, of_roots, squares, ROOT_WORD))
    return made


def operators(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows of each operator."""
    return [list(own) for _, own in groupby(rows, lambda row: row["operator"])]


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an operator: its scales, and from the least to the greatest error over these."""
    made = []
    for own in operators(rows):
        line: dict[str, Any] = {"operator": own[0]["operator"]}
        for form in FORMS:
            fit = [row for row in own if row[f"{form}: RMS"] is not None]
            line[f"{form}: scales"] = span(fit[0]["scale"], fit[-1]["scale"]) if fit else None
            for error in ERRORS:
                values = [row[f"{form}: {error}"] for row in fit]
                line[f"{form}: {error}"] = span(f"{min(values):.2g}", f"{max(values):.2g}") if fit else None
        made.append(line)
    return made


def span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """Errors over scales as SVG, both axes logarithmic: a panel for each operator that has errors."""
    lines = [f'<text x="{LEFT}" y="20">Error against float, by the exponent of the scale of the input, a power of two</text>']
    panels = [own for own in operators(rows) if any(row["ours: RMS"] for row in own)]
    corners = [(LEFT + i % COLUMNS * (PANEL[0] + LEFT), TOP + i // COLUMNS * (PANEL[1] + TOP)) for i in range(len(panels) + 1)]
    for i, (form, error) in enumerate(product(FORMS, ERRORS)):
        x, y = corners[-1][0], corners[-1][1] + 20 * (i + 1)
        lines.append(f'<path d="M{x} {y - 4}h28" stroke="{COLOURS[form]}" stroke-dasharray="{DASHES[error]}"/>')
        lines.append(f'<text x="{x + 34}" y="{y}">{form}, {error}</text>')
    for own, (left, top) in zip(panels, corners[:-1], strict=True):
        curves = {}
        for form, error in product(FORMS, ERRORS):
            points = [(int(row["scale"].removeprefix("2^")), row[f"{form}: {error}"]) for row in own]
            curves[form, error] = np.array([(x, math.log10(y)) for x, y in points if y])
        exponents, logs = (np.concatenate([c[:, axis] for c in curves.values() if len(c)]) for axis in (0, 1))
        x_ticks = {x: f"{x:g}" if n % 3 == 0 else "" for n, x in enumerate(np.unique(exponents))}
        decades = range(math.floor(logs.min()), math.ceil(logs.max()) + 1)
        y_ticks = {y: f"1e{y}" if y % (1 + len(decades) // 6) == 0 else "" for y in decades}
        axes = Axes(left, top, *PANEL, x_ticks, y_ticks)
        lines += [f'<text x="{left}" y="{top - 8}">{own[0]["operator"]}</text>', *axes.grid()]
        lines += [axes.line(*c.T, COLOURS[form], DASHES[error]) for (form, error), c in curves.items() if len(c)]
    return document(WIDTH, corners[-1][1] + PANEL[1] + TOP // 2, lines)


@click.command()
@click.option("--picture", "picture_file", type=FILE, help="Write the errors as a picture, SVG.")
@json_option
def main(picture_file: Path | None, json_file: Path | None) -> None:
    """Measure every operator at each of its scales."""
    rows = [sweep.row(exponent) for sweep in sweeps() for exponent in sweep.exponents]
    command = " ".join(["benchmarks/integer_operators.py", *sys.argv[1:]])
    show("Integer operators against float functions", rows, json_file, command=command, seed=SEED)
    show("Least to greatest over the scales", summary(rows), None)
    if picture_file:
        picture_file.write_text(picture(rows))


if __name__ == "__main__":
    main()
