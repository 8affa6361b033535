"""LUT of one unrolled binary layer, 32 channels of 144 terms: each channel by itself, along the tree, and by da4ml.

All three go through the same Yosys `synth_xilinx -family xcup`. Ours are pipelined, da4ml's is combinational, so registers
are not compared. da4ml (https://github.com/calad0i/da4ml, 0.6) shares subexpressions between channels; it gets bits of 0 and
1 and bits of -1 and +1, and the encoding counts that its own cost estimate prefers.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from common import json_option, show
from da4ml.codegen import RTLModel
from da4ml.trace import FixedVariableArrayInput, comb_trace

from edgeq.engines.yosys import estimate
from edgeq.unrolled import unrolled_sv

CHANNELS, TERMS, GROUP, EQUAL = 32, 144, 8, 0.85
ENCODINGS = {"0, 1": (0, 1, 0), "-1, +1": (1, 1, 0)}
"""Sign, integer and fraction bits of an input of da4ml."""


def random_weights(rng: np.random.Generator) -> np.ndarray:
    return 2 * rng.integers(0, 2, (CHANNELS, TERMS)) - 1


def correlated_weights(rng: np.random.Generator) -> np.ndarray:
    """Groups of 8 channels, each equal to the pattern of its group in 85 % of the weights."""
    base = np.repeat(2 * rng.integers(0, 2, (CHANNELS // GROUP, TERMS)) - 1, GROUP, axis=0)
    return np.where(rng.random((CHANNELS, TERMS)) < EQUAL, base, -base)


WEIGHTS = {"random": random_weights, "correlated": correlated_weights}
CORRELATED = f"{EQUAL:.0%} of the weights equal in groups of {GROUP} channels"


def luts_of_ours(weight: np.ndarray, mst: bool, folder: Path) -> int:
    name = "tree" if mst else "direct"
    path = folder / f"{name}.sv"
    path.write_text(unrolled_sv(name, weight, mst=mst).text)
    return int(estimate([path], name, {}).lut)


def luts_of_da4ml(weight: np.ndarray, folder: Path) -> tuple[int, str]:
    """The LUT, and the encoding of the input."""
    traced = {}
    for encoding, bits in ENCODINGS.items():
        x = FixedVariableArrayInput((TERMS,)).quantize(*(np.full(TERMS, b) for b in bits))
        traced[encoding] = comb_trace(x, x @ weight.T.astype(float))
    encoding = min(traced, key=lambda e: traced[e].cost)
    x = np.random.default_rng(0).choice([float(v) for v in encoding.split(",")], (100, TERMS))
    if not np.array_equal(traced[encoding].predict(x), x @ weight.T):
        raise click.ClickException("da4ml's layer computes other sums")
    RTLModel(traced[encoding], "da4ml_layer", folder, flavor="verilog", latency_cutoff=-1).write()
    files = [f for f in sorted(folder.rglob("*.v")) if f.name not in ("lookup_table.v", "da4ml_layer_wrapper.v")]
    return int(estimate(files, "da4ml_layer", {}, seconds=1800).lut), encoding


@click.command()
@click.option("--seed", default=0, show_default=True, help="Of the weights.")
@json_option
def main(seed: int, json_file: Path | None) -> None:
    """Synthesize the layer three ways for both kinds of weights. Minutes: Yosys is slow on da4ml's adders."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        jobs = []
        for i, (kind, make) in enumerate(WEIGHTS.items()):
            weight, folder = make(np.random.default_rng(seed)), Path(scratch, str(i))
            (folder / "da4ml").mkdir(parents=True)
            theirs = pool.submit(luts_of_da4ml, weight, folder / "da4ml")
            ours = [pool.submit(luts_of_ours, weight, mst, folder) for mst in (False, True)]
            jobs.append((kind, ours, theirs))
        rows = []
        for kind, (direct, tree), theirs in jobs:
            luts, encoding = theirs.result()
            rows.append(
                {
                    "weights": kind,
                    "direct LUT": direct.result(),
                    "tree LUT": tree.result(),
                    "da4ml LUT": luts,
                    "da4ml input": encoding,
                    "tree % of da4ml": 100 * tree.result() / luts,
                    "tree % of direct": 100 * tree.result() / direct.result(),
                }
            )
    show(
        f"One unrolled binary layer, {CHANNELS} x {TERMS}, Yosys synth_xilinx xcup",
        rows,
        json_file,
        seed=seed,
        correlated=CORRELATED,
    )


if __name__ == "__main__":
    main()
