"""A folded binary layer with and without its spanning tree: cycles a patch, memory and LUT, and the gain at equal LUT.

Layers of -1 and +1 with a threshold on random vectors, each as eq_mvu (Pe x Simd products a cycle) and as eq_mvu_tree (only the
terms in which a channel differs from its parent). Next to each form along the tree stands the fastest plain one of at most its
LUT. The weights are random, or flipped along a random tree (each channel equals an earlier one but for a share of its
weights), or in groups around a pattern, or come from a file of trained layers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, show

from edgeq.engines.yosys import estimate
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node
from edgeq.hardware import Cost
from edgeq.lower import rtl
from edgeq.mst import spanning_tree
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.threshold import Threshold

SIZES = ((64, 576), (128, 1152), (256, 2304))
"""Channels and terms of the 3 x 3 convolutions of CNV and VGG-small."""
GROUP = 8


def random_weights(rng: np.random.Generator, channels: int, terms: int) -> np.ndarray:
    return 2 * rng.integers(0, 2, (channels, terms)) - 1


def grouped(rng: np.random.Generator, channels: int, terms: int, flip: float) -> np.ndarray:
    """Groups of 8 channels around a pattern, as benchmarks/binary_layers.py."""
    base = np.repeat(random_weights(rng, channels // GROUP, terms), GROUP, axis=0)
    return np.where(rng.random((channels, terms)) < flip, -base, base)


def descended(rng: np.random.Generator, channels: int, terms: int, flip: float) -> np.ndarray:
    """Each channel is a random earlier one with a share of its weights flipped."""
    rows = random_weights(rng, channels, terms)
    for c in range(1, channels):
        above = rows[rng.integers(c)]
        rows[c] = np.where(rng.random(terms) < flip, -above, above)
    return rows


def made_layers(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    kinds: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {"random": random_weights}
    kinds |= {f"groups of {GROUP}, {flip:.0%} flipped": partial(grouped, flip=flip) for flip in (0.15, 0.05)}
    kinds |= {f"tree, {flip:.0%} flipped": partial(descended, flip=flip) for flip in (0.2, 0.1, 0.05)}
    for channels, terms in SIZES:
        for name, make in kinds.items():
            yield name, make(np.random.default_rng(seed), channels, terms)


def trained_layers(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The matrices [C, K] of -1 and +1 of an .npz file that are large enough to be worth folding."""
    with np.load(path) as arrays:
        for name, rows in arrays.items():
            if rows.ndim == 2 and min(rows.shape) >= 32 and np.all(np.abs(rows) == 1):
                yield f"{path.stem} {name}", rows.astype(np.int64)


class Measured:
    """One layer: LUT, memory and cycles of each way to build it, by Yosys or by our model."""

    def __init__(self, rows: np.ndarray, yosys: bool) -> None:
        rng = np.random.default_rng(0)
        post = Threshold(rng.integers(-20, 21, (len(rows), 1)), rng.integers(0, 2, len(rows)), -1, 2)
        self.rows, self.op, self.x, self.yosys = rows, BinaryDense(rows, post), IntType((rows.shape[1],), -1, 1, 2), yosys
        self.folds = [fold for fold in self.op.folds(self.x) if fold.mode in ("folded", "tree")]

    def cycles(self, fold: Fold) -> int:
        return self.op.cycles(fold, self.x)

    def cost(self, fold: Fold) -> Cost:
        if not self.yosys:
            return self.op.cost(fold, self.x)
        graph = Graph("x", self.x, [Node("layer", self.op, ("x",), "y")], "y")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            instance = rtl.lower(graph, {"layer": fold}, folder).instances["layer"]
            files = [folder / name for name in (*(f"{stem}.sv" for stem in instance.uses), *instance.sources)]
            return estimate(files, instance.module, instance.params, cwd=folder, seconds=3600)

    def row(self, name: str, pe: int) -> dict[str, Any] | None:
        """The form along the tree on pe channels at a time, beside the plain one."""
        fold = next((f for f in self.folds if f.mode == "tree" and f.pe == pe), None)
        if fold is None:
            return None
        mine, notes = self.cost(fold), self.op.rtl(fold, self.x).notes
        near = (f for f in self.folds[::-1] if f.mode == "folded" and self.op.cost(f, self.x).lut <= 1.2 * mine.lut)
        other, best = next(((c, f) for f in near if (c := self.cost(f)).lut <= mine.lut), (None, None))
        if other is None or best is None:
            return None  # nothing so small
        tree = spanning_tree(self.rows)
        return {
            "weights": name,
            "layer": "x".join(map(str, self.rows.shape)),
            "terms left %": 100 * tree.additions / self.rows.size,
            "tree": f"{fold.pe} x {fold.simd}",
            "cycles": self.cycles(fold),
            "same Pe x Simd": notes["direct_patch_cycles"],
            "LUT": int(mine.lut),
            "BRAM36": mine.bram36,
            "bits": notes["weight_bits"],
            "plain": f"{best.pe} x {best.simd}",
            "plain cycles": self.cycles(best),
            "plain LUT": int(other.lut),
            "plain BRAM36": other.bram36,
            "plain bits": notes["direct_weight_bits"],
            "faster": self.cycles(best) / self.cycles(fold),
        }


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--pe", default=4, show_default=True, type=click.IntRange(1), help="Channels at a time along the tree.")
@click.option("--yosys", is_flag=True, help="Count with Yosys (minutes a layer) instead of our model.")
@click.option("--made/--no-made", default=True, help="Measure made weights too.")
@click.option("--seed", default=0, show_default=True, help="Of the made weights.")
@json_option
def main(files: tuple[Path, ...], pe: int, yosys: bool, made: bool, seed: int, json_file: Path | None) -> None:
    """Fold layers with and without their tree. FILES: .npz of trained layers, matrices [C, K] of -1 and +1."""
    layers = [*(made_layers(seed) if made else ()), *(layer for path in files for layer in trained_layers(path))]
    rows = [row for name, weights in layers if (row := Measured(weights, yosys).row(name, pe))]
    if not rows:
        raise click.ClickException(f"no layer can be folded along its tree with {pe} channels at a time")
    show(
        "Folded binary layers, plain and along the tree",
        rows,
        json_file,
        resources="Yosys synth_xilinx xcup" if yosys else "our model, fitted to Yosys",
        faster="cycles of the fastest plain form of at most as many LUT, over those along the tree",
    )


if __name__ == "__main__":
    main()
