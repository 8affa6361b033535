"""The CamVid Segmenter of examples/camvid on integers beside float32: bytes, and frames a second in onnxruntime on one thread."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
import torch
from common import json_option, mean_rates, show
from onnx import inliner
from torch import nn

from edgeq.engines.ort import OrtEngine
from edgeq.frontend import brevitas
from edgeq.frontend.qonnx import apply_tail, import_qonnx, input_codes
from edgeq.graph import Graph, range_width
from edgeq.lower import onnx as lower_onnx
from edgeq.ops._mac import Mac
from edgeq.train.camvid import load
from edgeq.train.loop import plain
from edgeq.train.models import Labels

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "camvid"
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
OPSET, THREADS, PROFILED = 18, 1, 20


def float_session(net: nn.Module, x: np.ndarray, path: Path) -> onnxruntime.InferenceSession:
    """`net` in float32 ONNX for the batch of x, which must give the same classes as PyTorch but for rounding."""
    given = torch.from_numpy(x)
    with brevitas.quiet():
        torch.onnx.export(net, (given,), path, dynamo=True, opset_version=OPSET, external_data=False, verbose=False)
    session = onnxruntime.InferenceSession(path, options(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        same = np.mean(called(session, x) == net(given).numpy())
    if same < 0.999:
        raise click.ClickException(f"float32 ONNX gives {same:.1%} of the pixels the class that PyTorch does")
    return session


def options() -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads, made.log_severity_level = THREADS, 3
    return made


def called(session: onnxruntime.InferenceSession, x: np.ndarray) -> np.ndarray:
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def integer_bytes(graph: Graph) -> tuple[int, int]:
    """(of the weights, of all constants): every array at the fewest bits that hold its values."""
    weights = everything = 0
    for node in graph.nodes:
        for name, values in node.op.arrays().items():
            bits = values.size * range_width(int(values.min()), int(values.max()))
            everything += bits
            weights += bits if isinstance(node.op, Mac) and name == "weight" else 0
    return -(-weights // 8), -(-everything // 8)


def float_bytes(net: nn.Module) -> tuple[int, int]:
    """(of the weights, of all parameters and of the statistics of normalizations): float32."""
    state = [value for value in net.state_dict().values() if value.is_floating_point()]
    return 4 * sum(v.numel() for v in state if v.ndim == 4), 4 * sum(v.numel() for v in state)


def shares(graph: Graph, path: Path, x: np.ndarray) -> dict[str, float]:
    """Of the time that the integer file takes for x, by kind of operator, the greatest first.

    onnxruntime profiles standard operators, so the functions of the file are inlined, with names that tell whose they are.
    """
    model = onnx.load(path)
    functions = {(f.domain, f.name): f for f in model.functions}

    def size(node: onnx.NodeProto) -> int:
        body = functions.get((node.domain, node.op_type))
        return 1 if body is None else sum(size(part) for part in body.node)

    inlined = inliner.inline_local_functions(model)
    parts = iter(inlined.graph.node)
    kinds = {node.name: node.op.kind() for node in graph.nodes}
    for node in model.graph.node:
        for number in range(size(node)):
            next(parts).name = f"{kinds[node.name]}/{node.name}/{number}"
    profiled = options()
    profiled.enable_profiling, profiled.profile_file_prefix = True, str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(inlined.SerializeToString(), profiled, providers=["CPUExecutionProvider"])
    for _ in range(PROFILED):
        called(session, x.astype(graph.input_type.storage))
    spent: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event["cat"] == "Node" and event["name"].endswith("kernel_time"):
            spent[event["name"].partition("/")[0]] += event["dur"]
    return {kind: duration / spent.total() for kind, duration in spent.most_common()}


def row(figure: str, of_float: float, of_integers: float, better: float, kind: str) -> dict[str, Any]:
    return {"figure": figure, "float32": of_float, "integers": of_integers, "integers better by": f"{better:.2f}x", "kind": kind}


@click.command()
@click.argument("data", type=FILE)
@click.argument("float_file", metavar="FLOAT", type=FILE)
@click.option("--weights", type=FILE, default=EXAMPLE / "shiftmax.npz", help="Of the integer network.")
@click.option("--batches", default="1,8", show_default=True)
@click.option("--seconds", default=40.0, show_default=True, help="Time to measure for, a batch size.")
@json_option
def main(data: Path, float_file: Path, weights: Path, batches: str, seconds: float, json_file: Path | None) -> None:
    """On the first test images of DATA, as examples/camvid/README.md has it; FLOAT is the float network's state."""
    torch.set_num_threads(THREADS)
    source = brevitas.load_module(f"{EXAMPLE}/model.py:float_model", float_file)
    sizes = [int(size) for size in batches.split(",")]
    images = plain(load(data, "test")[0][: max(sizes)], False).numpy()
    with tempfile.TemporaryDirectory() as folder:
        qonnx_file, integer_file = Path(folder, "qonnx.onnx"), Path(folder, "int.onnx")
        module = brevitas.load_module(f"{EXAMPLE}/model.py:model", weights)
        brevitas.export_module(module, (1, *images.shape[1:]), qonnx_file)
        graph = import_qonnx(qonnx_file)
        lower_onnx.save(graph, integer_file)
        engine, codes = OrtEngine(integer_file, THREADS), input_codes(graph, images)
        with torch.no_grad():
            if not np.array_equal(apply_tail(graph, engine.run(codes)), module(torch.from_numpy(images)).numpy()):
                raise click.ClickException("integer ONNX and PyTorch differ: run `edgeq verify`")
        rates, float_file_bytes = [], 0
        for size in sizes:
            path = Path(folder, f"float{size}.onnx")
            session = float_session(Labels(source).eval(), images[:size], path)
            float_file_bytes = float_file_bytes or path.stat().st_size
            calls = {
                "float32": (partial(called, session, images[:size]), size),
                "integers": (partial(engine.run_batch, codes[:size]), size),
            }
            found = mean_rates(calls, seconds)
            rates.append(row(f"frames/s, batch {size}", *found.values(), found["integers"] / found["float32"], "measured"))
        files = (("ONNX file", float_file_bytes, integer_file.stat().st_size),)
        files += (("file of weights", float_file.stat().st_size, weights.stat().st_size),)
        profile = shares(graph, integer_file, codes[:1])
    names = ("weights of convolutions and dense layers", "all constants")
    counted = [*zip(names, float_bytes(source), integer_bytes(graph), strict=True), *files]
    rows = [row(f"{name}, bytes", before, after, before / after, "counted") for name, before, after in counted]
    told = ", ".join(f"{kind} {share:.1%}" for kind, share in profile.items() if share > 0.005)
    show(
        "Segmenter, 160 x 120 pixels: integers beside float32",
        rows + rates,
        json_file,
        threads=THREADS,
        time_of_integers_at_batch_1=told,
    )


if __name__ == "__main__":
    main()
