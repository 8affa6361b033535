"""RTL simulation against hls4ml's own C simulation of the same dense network, in one run on the same frames."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import hls4ml
import numpy as np
import torch
from brevitas.core.restrict_val import RestrictValueType
from brevitas.core.scaling import ScalingImplType
from brevitas.inject import ExtendedInjector
from brevitas.nn import QuantIdentity, QuantLinear, QuantReLU
from brevitas.quant import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from common import json_option, mean_rates, show
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.cleanup import cleanup_model
from torch import nn

from edgeq.board import board
from edgeq.engines.hls import HlsEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.engines.verilator import VerilatorEngine
from edgeq.folding import choose
from edgeq.frontend import brevitas
from edgeq.frontend.qonnx import apply_tail, import_qonnx, input_floats
from edgeq.lower import hls, rtl
from edgeq.passes import hardware_passes

SIZES = (16, 64, 32, 32, 5)
BOARD = "ultra96"


class _Const(ExtendedInjector):
    scaling_impl_type = ScalingImplType.CONST
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO


class _Input(_Const, Int8ActPerTensorFixedPoint):
    """ap_fixed<16,6>, as hls4ml's own jet-tagging examples."""

    bit_width, min_val, max_val = 16, -32.0, 32.0


class _Weight(_Const, Int8WeightPerTensorFixedPoint):
    bit_width, scaling_const = 6, 1.0


class _Activation(_Const, Uint8ActPerTensorFixedPoint):
    bit_width, min_val, max_val = 6, 0.0, 8.0


def network() -> nn.Module:
    """A dense network as large as hls4ml's jet tagger, 6-bit weights and activations, random weights (seed 0)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = [QuantIdentity(act_quant=_Input)]
        for inputs, outputs in pairwise(SIZES):
            layers.append(QuantLinear(inputs, outputs, bias=False, weight_quant=_Weight))
            layers.append(QuantReLU(act_quant=_Activation))
    return nn.Sequential(*layers[:-1]).eval()


def hls4ml_project(source: Path, folder: Path) -> Any:
    """The model as hls4ml converts it on its own, compiled; every setting is its default but the default precision."""
    with brevitas.quiet():
        model = cleanup_model(ModelWrapper(str(source)))
        config = hls4ml.utils.config_from_onnx_model(model, granularity="name", backend="Vitis", default_precision="fixed<32,16>")
        project = hls4ml.converters.convert_from_onnx_model(model, output_dir=str(folder), backend="Vitis", hls_config=config)
        project.compile()
    return project


@click.command()
@click.option("--frames", default=2000, show_default=True, help="Frames a call.")
@click.option("--seconds", default=15.0, show_default=True, help="Time to measure for.")
@json_option
def main(frames: int, seconds: float, json_file: Path | None) -> None:
    """Build the network three times, run all three, compare every output."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = folder / "dense.onnx"
        brevitas.export_module(network(), (1, SIZES[0]), source)
        graph = import_qonnx(source)
        codes = graph.input_type.random(np.random.default_rng(0), frames)
        floats = np.ascontiguousarray(input_floats(graph, codes).astype(np.float32))
        expected = apply_tail(graph, ReferenceEngine(graph).run(codes))

        hardware = hardware_passes(graph)
        target = board(BOARD)
        folds = choose(hardware, target)
        output = hardware.types()[hardware.output]
        rtl.lower(hardware, folds, folder / "rtl")
        hls.lower(hardware, folds, target, folder / "hls")
        project = hls4ml_project(source, folder / "hls4ml")
        ours_hls = HlsEngine(folder / "hls")
        ours_rtl = VerilatorEngine(folder / "rtl", hardware.input_type, output)
        engines: dict[str, tuple[str, Callable[[], np.ndarray]]] = {
            "hls4ml": ("hls4ml C++", partial(project.predict, floats)),
            "hls": ("edgeq C++", partial(ours_hls.run, codes)),
            "rtl": ("edgeq Verilog", partial(ours_rtl.run, codes)),
        }
        wrong = {}
        for name, (_, run) in engines.items():
            y = run()
            found = y.reshape(expected.shape) if name == "hls4ml" else apply_tail(graph, y)
            wrong[name] = int(np.count_nonzero(found != expected))
        rates = mean_rates({name: (run, frames) for name, (_, run) in engines.items()}, seconds)
    rows = [
        {
            "engine": title, "frames/s": rates[name], "x hls4ml": rates[name] / rates["hls4ml"],
            "differing": f"{wrong[name]:,}/{expected.size:,}",
            "cycles": ours_rtl.cycles_per_frame if name == "rtl" else "-", "kind": "simulated",
        }
        for name, (title, _) in engines.items()
    ]  # fmt: skip
    show(f"dense {'-'.join(map(str, SIZES))}, 6 bit, folded for {target.title}: simulators", rows, json_file, frames=frames)
    if any(wrong.values()):
        raise click.ClickException("the simulations disagree")


if __name__ == "__main__":
    main()
