"""Integer ONNX in onnxruntime against `qonnx` execution: frames a second of CNV-1W1A in one run."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import json_option, mean_rates, show
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.util.cleanup import cleanup_model

from edgeq.engines.ort import OrtEngine
from edgeq.frontend import brevitas
from edgeq.frontend.qonnx import apply_tail, import_qonnx, input_codes
from edgeq.lower.onnx import save

ROOT = Path(__file__).resolve().parents[1]
MODEL = f"{ROOT}/examples/cnv/model.py:model"
SHAPE = (1, 3, 32, 32)
BATCHES = (1, 64)
BYTE = 255


@click.command()
@click.option("--seconds", default=20.0, show_default=True, help="Time to measure for, a batch size.")
@click.option("--threads", default=0, show_default=True, help="Threads of the integer session, 0 for one a core.")
@json_option
def main(seconds: float, threads: int, json_file: Path | None) -> None:
    """Measure both engines at batch 1 and 64, on the same images."""
    images = (np.random.default_rng(0).integers(0, BYTE + 1, (max(BATCHES), *SHAPE[1:])) / BYTE).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        source, integer = Path(scratch, "cnv.qonnx.onnx"), Path(scratch, "cnv.int.onnx")
        brevitas.export_module(brevitas.load_module(MODEL), SHAPE, source)
        graph = import_qonnx(source)
        save(graph, integer)
        engine = OrtEngine(integer, threads=threads)
        wrapper = cleanup_model(ModelWrapper(str(source)))
    codes = input_codes(graph, images)
    float_input, float_output = wrapper.graph.input[0].name, wrapper.graph.output[0].name
    rows: list[dict[str, Any]] = []
    for batch in BATCHES:
        model = cleanup_model(wrapper.transform(ChangeBatchSize(batch))) if batch > 1 else wrapper
        x, stored = images[:batch], codes[:batch]
        expected = execute_onnx(model, {float_input: x})[float_output]
        found = apply_tail(graph, engine.run(stored))
        if not np.array_equal(found.astype(np.float32).argmax(axis=1), expected.argmax(axis=1)):
            raise click.ClickException("the two engines disagree: run `edgeq verify`")
        calls = {
            "qonnx": (partial(execute_onnx, model, {float_input: x}), batch),
            "integer ONNX": (partial(engine.run_batch, stored), batch),
        }
        rates = mean_rates(calls, seconds)
        slow = rates["qonnx"]
        rows += [
            {"batch": batch, "engine": name, "frames/s": rate, "x qonnx": rate / slow, "kind": "measured"}
            for name, rate in rates.items()
        ]
    show("CNV-1W1A, 32x32x3, random weights: ONNX engines", rows, json_file)


if __name__ == "__main__":
    main()
