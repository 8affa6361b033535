"""LUT and DSP of one lane of a folded layer with weights of K signed digits: by multipliers, and by shifters.

Yosys `synth_xilinx -family xcup` of a dense layer of 64 unsigned bytes, 2 output channels x 8 terms at a time: 16 lanes, their
adder trees included; control and memories are shared by them.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, show

from edgeq.digits import digit_count
from edgeq.engines.yosys import estimate
from edgeq.fold import Fold
from edgeq.graph import Graph, IntType, Node
from edgeq.hardware import Cost
from edgeq.lower import rtl
from edgeq.ops.dense import Dense

INPUT = IntType((64,), 0, 255)
OUTPUTS, FOLD = 32, Fold("folded", 2, 8)
LANES = FOLD.pe * FOLD.simd


def layer(k: int, seed: int) -> Dense:
    """8-bit weights of at most k digits."""
    words = np.arange(-127, 128)
    return Dense(np.random.default_rng(seed).choice(words[digit_count(words) <= k], (OUTPUTS, INPUT.channels)))


def counted(op: Dense, fold: Fold) -> Cost:
    """By Yosys."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = rtl.lower(Graph("x", INPUT, [Node("layer", op, ("x",), "y")], "y"), {"layer": fold}, folder)
        instance = made.instances["layer"]
        files = [folder / file for file in (*(f"{stem}.sv" for stem in instance.uses), *instance.sources)]
        return estimate(files, instance.module, instance.params, cwd=folder)


@click.command()
@click.option("--seed", default=0, show_default=True)
@json_option
def main(seed: int, json_file: Path | None) -> None:
    """Weights of 1, 2 and 3 digits."""
    rows: list[dict[str, Any]] = []
    for k in (1, 2, 3):
        op = layer(k, seed)
        for digits in (False, True):
            fold = replace(FOLD, digits=digits)
            cost, model = counted(op, fold), op.cost(fold, INPUT)
            rows.append({
                "k": k, "products": "digits" if digits else "multipliers", "lanes": LANES, "lut": round(cost.lut),
                "lut_a_lane": round(cost.lut / LANES, 1), "dsp": round(cost.dsp), "bram36": cost.bram36,
                "lut_model": round(model.lut),
            })  # fmt: skip
    show(f"A folded layer of {LANES} lanes, Yosys synth_xilinx xcup (estimated)", rows, json_file, seed=seed)


if __name__ == "__main__":
    main()
