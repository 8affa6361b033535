"""`edgeq prove` on a build: seconds for each unrolled layer, and what becomes of random faults in their netlists.

A mutant is one layer's netlist with one fault (edgeq.prove.mutants). It is refuted where an input shows it wrong, or where it
is not proved and SAT says that it differs from the netlist that is. Mutants that SAT shows equal to it are dropped: they are
no faults. So are those on which the solver takes too long; they are counted. A mutant that is proved and not equal would be a
fault of the checker, and ends the benchmark.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
from common import json_option, show

from edgeq import flow
from edgeq.errors import EdgeqError
from edgeq.lower import onnx as lower_onnx
from edgeq.passes import hardware_passes
from edgeq.prove import layers_of, mutants, netlist, prove_netlist


@click.command()
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--mutants", "wanted", default=20, show_default=True, help="Mutants to refute, spread over the layers by cells.")
@click.option("--seed", default=0, show_default=True, help="Of the mutants.")
@json_option
def main(build: Path, wanted: int, seed: int, json_file: Path | None) -> None:
    """Prove every unrolled binary layer of BUILD (of `edgeq synth`), then refute mutants of them."""
    graph = hardware_passes(lower_onnx.load(build / flow.INTEGER_FILE))
    report = json.loads((build / flow.REPORT_FILE).read_text())
    layers, rows = [], []
    for built in layers_of(graph, report["operators"], build / "rtl"):
        start = time.perf_counter()
        read = netlist.read(build / "rtl" / f"{built.module}.sv", built.module)
        between = time.perf_counter()
        proof = prove_netlist(read, built.layer, built.latency)
        end = time.perf_counter()
        if not proof.proved:
            raise click.ClickException(f"{built.name}: {proof.reason}")
        layers.append((built, read))
        rows.append(
            {
                "layer": built.name,
                "size": f"{len(built.layer.weight)} x {built.layer.terms}",
                "cells": len(read.cells),
                "counters": proof.counters,
                "adders": proof.adders,
                "read s": between - start,
                "prove s": end - between,
                "mutants refuted": 0,
                "by an input": 0,
                "equal": 0,
                "undecided": 0,
            }
        )
    rng = np.random.default_rng(seed)
    share = np.array([len(read.cells) for _, read in layers])
    while sum(row["mutants refuted"] for row in rows) < wanted:
        k = int(rng.choice(len(layers), p=share / share.sum()))
        (built, read), row = layers[k], rows[k]
        what, mutant = mutants.mutant(read, rng)
        proof = prove_netlist(mutant, built.layer, built.latency)
        try:
            same = not proof.refuted and mutants.equal(read, mutant, built.layer)
        except EdgeqError as error:  # the solver takes too long
            row["undecided"] += 1
            click.echo(f"{built.name}: {what}: {error}", err=True)
            continue
        if same:
            row["equal"] += 1
        elif proof.proved:
            raise click.ClickException(f"{built.name} with a fault is proved: {what}")
        else:
            row["mutants refuted"] += 1
            row["by an input"] += proof.refuted
        click.echo(f"{built.name}: {what}: {proof.reason or 'equal'}", err=True)
    seconds = sum(row["read s"] + row["prove s"] for row in rows)
    show(f"edgeq prove {build.name}", rows, json_file, seed=seed, seconds_to_prove=seconds)


if __name__ == "__main__":
    main()
