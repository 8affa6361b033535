"""LUT of unrolled binary layers: each channel by itself, along the tree, edgeq's choice, and by da4ml.

All go through the same Yosys `synth_xilinx -family xcup`, and compute the sums of products (no threshold). Ours are pipelined,
da4ml's is combinational, so registers are not compared. da4ml (https://github.com/calad0i/da4ml, 0.6) shares subexpressions
between channels; it gets bits of 0 and 1 and bits of -1 and +1, and the encoding counts that its own cost estimate prefers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, show
from da4ml.codegen import RTLModel
from da4ml.trace import FixedVariableArrayInput, comb_trace

from edgeq.engines.yosys import estimate, lut_levels
from edgeq.frontend import qonnx
from edgeq.mst import spanning_tree
from edgeq.ops._mac import Mac
from edgeq.unrolled import unrolled_sv

CHANNELS, TERMS, GROUP, EQUAL = 32, 144, 8, 0.85
ENCODINGS = {"0, 1": (0, 1, 0), "-1, +1": (1, 1, 0)}
"""Sign, integer and fraction bits of an input of da4ml."""
FORMS = {"direct": "direct", "tree": "tree", "edgeq": None}


def synthetic(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Random weights, and groups of 8 channels that are equal to the pattern of their group in 85 % of the weights."""
    rng = np.random.default_rng(seed)
    yield "random", 2 * rng.integers(0, 2, (CHANNELS, TERMS)) - 1
    rng = np.random.default_rng(seed)
    base = np.repeat(2 * rng.integers(0, 2, (CHANNELS // GROUP, TERMS)) - 1, GROUP, axis=0)
    yield "correlated", np.where(rng.random((CHANNELS, TERMS)) < EQUAL, base, -base)


def of_model(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The binary layers of a QONNX file, [Cout, K]."""
    graph = qonnx.import_qonnx(qonnx.load_model(path))
    for node in graph.nodes:
        if isinstance(node.op, Mac) and np.all(np.abs(node.op.weight) == 1):
            yield f"{path.stem} {node.name}", node.op.weight.reshape(len(node.op.weight), -1)


def of_archive(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of an npz file, [Cout, ...] of -1 and +1."""
    with np.load(path, allow_pickle=False) as pack:
        for name in pack.files:
            yield f"{path.stem} {name}", pack[name].astype(np.int64).reshape(len(pack[name]), -1)


def ours(weight: np.ndarray, form: str | None, folder: Path) -> tuple[int, int]:
    """LUT, and the LUT levels between registers."""
    name = f"eq_{form or 'best'}"
    path = folder / f"{name}.sv"
    path.write_text(unrolled_sv(name, weight, form=form).text)
    return int(estimate([path], name, {}).lut), lut_levels([path], name, {})


def da4ml(weight: np.ndarray, folder: Path, largest: int) -> tuple[int, str]:
    """LUT of the cheaper encoding of the input, and how they were counted.

    Layers of more than `largest` weights get da4ml's own estimate for bits of 0 and 1, as Yosys takes hours for its adders.
    """
    small = weight.size <= largest
    traced = {}
    for encoding, bits in ENCODINGS.items() if small else [*ENCODINGS.items()][:1]:
        x = FixedVariableArrayInput((weight.shape[1],)).quantize(*(np.full(weight.shape[1], b) for b in bits))
        traced[encoding] = comb_trace(x, x @ weight.T.astype(float))
    encoding = min(traced, key=lambda e: traced[e].cost)
    x = np.random.default_rng(0).choice([float(v) for v in encoding.split(",")], (100, weight.shape[1]))
    if not np.array_equal(traced[encoding].predict(x), x @ weight.T):
        raise click.ClickException("da4ml's layer computes other sums")
    if not small:
        return round(traced[encoding].cost), "its own estimate"
    RTLModel(traced[encoding], "da4ml_layer", folder, flavor="verilog", latency_cutoff=-1).write()
    files = [f for f in sorted(folder.rglob("*.v")) if f.name not in ("lookup_table.v", "da4ml_layer_wrapper.v")]
    return int(estimate(files, "da4ml_layer", {}, seconds=7200).lut), "Yosys"


@click.command()
@click.option("--seed", default=0, show_default=True, help="Of the synthetic weights.")
@click.option(
    "--model", "models", multiple=True, type=click.Path(path_type=Path, exists=True), help="Binary layers of a QONNX file."
)
@click.option("--layers", "archives", multiple=True, type=click.Path(path_type=Path, exists=True), help="Arrays of an npz file.")
@click.option("--peer/--no-peer", default=True, show_default=True, help="Build da4ml's layers too: minutes to hours in Yosys.")
@click.option("--largest", default=8192, show_default=True, help="Weights of the largest layer that Yosys counts for da4ml.")
@json_option
def main(
    seed: int, models: tuple[Path, ...], archives: tuple[Path, ...], peer: bool, largest: int, json_file: Path | None
) -> None:
    """Synthesize each layer all ways. Yosys results are cached by content."""
    layers = dict(synthetic(seed))
    for model in models:
        layers |= dict(of_model(model))
    for archive in archives:
        layers |= dict(of_archive(archive))
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        jobs = []
        for index, (name, weight) in enumerate(layers.items()):
            folder = Path(scratch, str(index))
            (folder / "da4ml").mkdir(parents=True)
            forms = {label: pool.submit(ours, weight, form, folder) for label, form in FORMS.items()}
            jobs.append((name, weight, forms, pool.submit(da4ml, weight, folder / "da4ml", largest) if peer else None))
        rows = []
        for name, weight, forms, theirs in jobs:
            tree = spanning_tree(weight, 0)
            row: dict[str, Any] = {
                "weights": name,
                "channels x terms": f"{weight.shape[0]} x {weight.shape[1]}",
                "depth": tree.depth,
                "terms summed %": 100 * tree.additions / weight.size,
                **{f"{label} LUT": job.result()[0] for label, job in forms.items()},
                "LUT levels": forms["edgeq"].result()[1],
            }
            if theirs:
                luts, counted = theirs.result()
                row |= {"da4ml LUT": luts, "by": counted, "edgeq / da4ml": f"{forms['edgeq'].result()[0] / luts:.3f}"}
            rows.append(row)
    show("Unrolled binary layers, Yosys synth_xilinx xcup (estimated)", rows, json_file, seed=seed)


if __name__ == "__main__":
    main()
