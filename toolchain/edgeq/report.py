"""What a built network costs: one row an operator, by Yosys where that is quick, by our model elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import ceil
from os import cpu_count
from pathlib import Path
from typing import Any

from edgeq.board import Board
from edgeq.engines.yosys import estimate as yosys_estimate
from edgeq.fold import Fold, input_beat
from edgeq.graph import Graph, IntType, Node
from edgeq.hardware import RESOURCES, Cost
from edgeq.lower.rtl import Design

YOSYS_MAX_LUT = 2500
YOSYS_MAX_BRAM36 = 4
"""Above these, `auto` takes our model: Yosys needs minutes there."""
ESTIMATES = ("auto", "yosys", "model")
LUTS_PER_CARRY8 = 8
"""Of a slice of UltraScale+ (UG574). Unrolled binary layers are counted, which take most."""


def report(graph: Graph, folds: dict[str, Fold], board: Board, design: Design, rtl: Path, estimate: str) -> dict[str, Any]:
    """The contents of report.json; `rtl` is the folder that `design` was written to.

    cycles_per_frame: by the exact schedule, in the long run.  latency_cycles: the cycle of the first output beat of the first
    frame; frame_latency_cycles: cycles until all of it is out.  Of a Fifo, `depth` words are built, `needed` are the least that
    keep the rate of the slowest operator, `frame` are those of a frame.
    """
    types = graph.types()

    def row(node: Node) -> dict[str, Any]:
        xs = tuple(types[name] for name in node.inputs)
        fold = folds[node.name]
        cost, source = board.price(node.op.cost(fold, *xs)), "model"
        if estimate == "yosys" or (estimate == "auto" and cost.lut <= YOSYS_MAX_LUT and cost.bram36 <= YOSYS_MAX_BRAM36):
            instance = design.instances[node.name]
            files = [rtl / name for name in (*(f"{stem}.sv" for stem in instance.uses), *instance.sources)]
            cost, source = yosys_estimate(files, instance.module, instance.params, family=board.family, cwd=rtl), "yosys"
        return {
            "name": node.name,
            "source_node": graph.meta.get("nodes", {}).get(node.name, ""),
            "op": node.op.kind(),
            "inputs": list(node.inputs),
            "output": node.output,
            "shape": f"{shape(xs[0])} -> {shape(types[node.output])}",
            "fold": str(fold),
            "instance": design.labels[node.name],
            "cycles": node.op.cycles(fold, *xs),
            **cost.asdict(),
            "source": source,
            **({"notes": notes} if (notes := design.instances[node.name].notes) else {}),
        }

    with ThreadPoolExecutor(cpu_count()) as pool:
        rows = list(pool.map(row, graph.nodes))
    rows += [
        {
            "name": f.name,
            "op": "Fifo",
            "depth": f.depth,
            "needed": f.needed,
            "frame": f.frame,
            "width": f.width,
            "tensor": f.tensor,
            "reader": f.reader,
            "port": f.port,
            "shape": f"{f.depth} x {f.width} bit",
            "fold": "",
            "cycles": 0,
            **board.price(f.cost).asdict(),
            "source": "model",
        }
        for f in design.fifos
    ]
    beat, cycles = input_beat(graph, folds), design.network.cycles(design.depths)
    first = design.network.simulate(design.depths, 1)
    total = sum((Cost(**{k: r[k] for k in RESOURCES}) for r in rows), Cost())
    return {
        "board": board.name,
        "part": board.part,
        "clock_mhz": board.clock_mhz,
        "cycles_per_frame": ceil(cycles),
        "frames_per_second": board.clock_mhz * 1e6 / float(cycles),
        "latency_cycles": first.latency,
        "frame_latency_cycles": first.frame_latency,
        "input": {"shape": shape(graph.input_type), "pixels_per_beat": beat, "beats_per_frame": graph.input_type.pixels // beat},
        "graph": {"input": graph.input, "output": graph.output, "tensors": {name: tensor(t) for name, t in types.items()}},
        "operators": rows,
        "total": total.asdict(),
        "budget": board.budget.asdict(),
        "carry8": {
            "used": sum(r["notes"].get("carries", 0) for r in rows if "notes" in r),
            "budget": int(board.budget.lut) // LUTS_PER_CARRY8,
        },
    }


def tensor(t: IntType) -> dict[str, Any]:
    """A tensor as report.json has it: values lo, lo + step, ..., hi; bits of one value in hardware."""
    return {"shape": list(t.shape), "lo": t.lo, "hi": t.hi, "step": t.step, "bits": t.width}


def shape(t: IntType) -> str:
    """`64x28x28:1b`, the shape and the bits of one element."""
    return f"{'x'.join(map(str, t.shape))}:{t.width}b"
