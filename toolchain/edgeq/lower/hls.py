"""The integer graph as an hls4ml 1.3 project for Vitis HLS (io_stream).

hls4ml gives the project, the streams, the forks, the weight files, csim and the build scripts; the operators' C++ is
hls/nnet/eq_*.h. Everything goes in through hls4ml's extension points: one layer class, `EdgeqLayer`, carries every operator's
`HlsCall`. Nothing here names an operator. What hls4ml's optimizers and writer made of it is checked before it is used.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hls4ml
import numpy as np
import yaml  # type: ignore[import-untyped]
from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.graph import ModelGraph
from hls4ml.model.layers import Layer, register_layer
from hls4ml.model.optimizer import optimize_model
from hls4ml.model.types import IntegerPrecisionType

from edgeq.engines.hls import INTERFACE_FILE
from edgeq.errors import EdgeqError
from edgeq.fold import input_beat, input_stream
from edgeq.graph import Graph, IntType, range_width
from edgeq.hardware import HlsCall, HlsTable

if TYPE_CHECKING:
    from edgeq.board import Board
    from edgeq.fold import Fold

PROJECT = "edgeq"
MAX_READERS = 7
"""Outputs that hls4ml's stream clone has."""

EXACT_NATIVE = {
    "MaxPooling2D": "unpadded windows that tile the image",
    "Merge": "addition of two tensors of one shape",
}
"""hls4ml's own layers that were shown to be exact on ap_int streams, and where."""

KNOWN_WRONG = {
    "BatchNormalization": "a negative slope before a sign is lost",
    "BipolarQuant": "zero padding of a binary tensor becomes -1",
    "Concatenate": "the compiled code crashes",
    "Conv2D": "a zero-padded binary convolution pads with -1; grouped and dilated ones crash",
    "Dense": "0/1 weights can turn into all ones (quantize_dense_output)",
    "DepthwiseConv2D": "the weight quantizer is lost when BatchNormalization is fused",
    "GlobalAveragePooling2D": "wrong on images that are not square, and its division truncates",
    "MatMul": "a product of two activations emits no call",
    "PReLU": "the compiled code crashes",
    "Quant": "inputs off the grid are truncated before the first quantizer",
    "Resize": "wrong on images that are not square",
    "Softmax": "wrong with its automatic configuration",
}
"""hls4ml's layers that are silently wrong or crash in 1.3.0, and how (found by running them)."""

README = """# HLS project

Written by edgeq through hls4ml {version}; the operators are `firmware/nnet_utils/eq_*.h`.

- `build_lib.sh` compiles the C simulation with g++: this is what `edgeq sim` runs, and it was compared with the reference.
- `vitis-run --tcl build_prj.tcl --mode hls` (or `vitis_hls -f build_prj.tcl`) synthesizes it for {part} at {clock:g} MHz;
  `build_opt.tcl` selects the steps. **Not run here**: Vitis HLS was not at hand where this was written, so no resource,
  timing or co-simulation result is claimed.
- The streams at both ends carry pixels with all their channels, channels last: one a beat, at the input `pixels_per_beat` of
  `{interface}`, which has the types too.
"""


class EdgeqLayer(Layer):  # type: ignore[misc]
    """Any operator: a call of one of our templates. Attributes `call` (HlsCall) and `out_type` (IntType)."""

    def initialize(self) -> None:
        call: HlsCall = self.get_attr("call")
        out: IntType = self.get_attr("out_type")
        self.add_output_variable(_shape(out), precision=_precision(out))
        for name, table in _tables(call).items():
            precision = IntegerPrecisionType(width=table.bits, signed=table.signed)
            values = table.values.view()
            values.flags.writeable = False
            self.add_weights_variable(name, var_name=f"{name}{{index}}", precision=precision, data=values)
            self.weights[name].precision_fmt = "{}"  # hls4ml's own "{:.0f}" rounds integers above 2^53


class EdgeqConfig(LayerConfigTemplate):  # type: ignore[misc]
    """The configuration structs of a layer and of its fused operator."""

    def __init__(self) -> None:
        super().__init__(EdgeqLayer)

    def format(self, node: Any) -> str:
        call: HlsCall = node.get_attr("call")
        name = f"config{node.index}"
        typedefs = {"post": f"nnet::{call.post.function}_element<{name}_post>" if call.post else "nnet::eq_identity"}
        if call.kernel:
            typedefs["kernel"] = f"nnet::{call.kernel}"
        structs = [_struct(f"{name}_post", call.post, {})] if call.post else []
        return "\n".join([*structs, _struct(name, call, typedefs)])


class EdgeqFunction(FunctionCallTemplate):  # type: ignore[misc]
    """The call of a layer's template in the top function."""

    def __init__(self) -> None:
        super().__init__(EdgeqLayer)

    def transform(self, model: Any, node: Any) -> bool:
        changed = super().transform(model, node)
        call: HlsCall = node.get_attr("call")
        stems = [call.function, *([call.post.function] if call.post else [])]
        node.set_attr("include_header", [f"nnet_utils/{stem}.h" for stem in stems])
        return bool(changed)

    def format(self, node: Any) -> str:
        variables = [*(node.get_input_variable(name) for name in node.inputs), node.get_output_variable()]
        types = ", ".join([*(v.type.name for v in variables), f"config{node.index}"])
        arguments = ", ".join([*(v.name for v in variables), *(w.name for w in node.get_weights())])
        return f"nnet::{node.get_attr('call').function}<{types}>({arguments});"


@functools.cache
def _register() -> Any:
    """Our layer, its templates and headers, registered with hls4ml once a process; returns the backend."""
    backend = get_backend("Vitis")
    register_layer(EdgeqLayer.__name__, EdgeqLayer)
    backend.register_template(EdgeqConfig)
    backend.register_template(EdgeqFunction)
    with as_file(files("edgeq.hls") / "nnet") as folder:
        for header in sorted(folder.glob("eq_*.h")):
            backend.register_source(header.resolve())
    return backend


def lower(graph: Graph, folds: dict[str, Fold], board: Board, out: Path) -> None:
    """Writes the project of `graph` to the folder `out`, each node built as `folds` says, for the board's part and clock.

    The same graph gives the same bytes. Raises EdgeqError where hls4ml changed what it was given.
    """
    model = build(graph, folds, board, out)
    optimize_model(model, [f"{model.config.backend.name.lower()}:write_hls"])  # not write(): it stamps at random
    _check_written(model, out)
    settings = dict(model.config.config, OutputDir=".")
    (out / "hls4ml_config.yml").write_text(yaml.dump(settings))
    types = graph.types()
    ends: dict[str, Any] = {"input": asdict(graph.input_type), "output": asdict(types[graph.output])}
    ends["pixels_per_beat"] = input_beat(graph, folds)
    (out / INTERFACE_FILE).write_text(json.dumps({"project": PROJECT} | ends, indent=2) + "\n")
    (out / "README.md").write_text(
        README.format(version=hls4ml.__version__, part=board.part, clock=board.clock_mhz, interface=INTERFACE_FILE)
    )


def build(graph: Graph, folds: dict[str, Fold], board: Board, out: Path) -> ModelGraph:
    """The hls4ml model of `graph`, all flows applied and checked, not yet written to `out`. Has compile() and predict()."""
    types = graph.check()
    if not graph.nodes:
        raise EdgeqError("the graph has no operator", where=graph.input)
    backend = _register()
    layers, precisions = _layers(graph, folds, types)
    config = hls4ml.utils.config.create_config(
        output_dir=str(out), project_name=PROJECT, backend=backend.name, part=board.part,
        clock_period=round(1000 / board.clock_mhz, 3), io_type="io_stream",
    )  # fmt: skip
    default = {"Precision": "ap_int<2>", "ReuseFactor": 1}
    config["HLSConfig"] = {"Model": default, "LayerName": {name: {"Precision": p} for name, p in precisions.items()}}
    last = next(layer["name"] for layer, node in zip(layers[1:], graph.nodes, strict=True) if node.output == graph.output)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        model = ModelGraph.from_layer_list(config, layers, inputs=["x"], outputs=[last])
        model.apply_flow(backend.get_default_flow())
    for line in said.getvalue().splitlines():  # hls4ml prints its errors and goes on
        if "WARN" in line.upper() or "ERROR" in line.upper():
            raise EdgeqError(f"hls4ml: {line.strip()}")
    _check_model(model, layers, types | {graph.input: input_stream(graph, folds)}, graph)
    model.config.config["Stamp"] = _stamp(model)
    return model


def _layers(graph: Graph, folds: dict[str, Fold], types: dict[str, IntType]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """hls4ml's layer list and the precisions of its own layers. No name of the model's goes in."""
    layers: list[dict[str, Any]] = [{"name": "x", "class_name": "InputLayer", "input_shape": _shape(input_stream(graph, folds))}]
    precisions: dict[str, Any] = {"x": {"result": _cpp(graph.input_type)}}
    names = {graph.input: "x"}
    for i, node in enumerate(graph.nodes):
        ins, out = [types[name] for name in node.inputs], types[node.output]
        readers = sum(n.inputs.count(node.output) for n in graph.nodes)
        if readers > MAX_READERS:
            raise EdgeqError(f"{readers} operators read this one's output; hls4ml copies a stream {MAX_READERS} times", node.name)
        call = node.op.hls(folds[node.name], *ins)
        layer: dict[str, Any] = {"name": f"l{i}_{node.op.kind().lower()}", "inputs": [names[name] for name in node.inputs]}
        if call.native is None:
            layer |= {"class_name": EdgeqLayer.__name__, "call": call, "out_type": out}
        else:
            _check_native(call.native, ins, out, node.name)
            layer |= call.native
            precisions[layer["name"]] = {"result": _cpp(out), "accum": _cpp(out)}
        names[node.output] = layer["name"]
        layers.append(layer)
    return layers, precisions


def _check_native(layer: dict[str, Any], ins: list[IntType], out: IntType, where: str) -> None:
    """Raises EdgeqError unless hls4ml's own layer was shown to be exact as it is used here."""
    kind = layer["class_name"]
    if kind not in EXACT_NATIVE:
        reason = KNOWN_WRONG.get(kind, "it was not shown to be exact")
        raise EdgeqError(f"hls4ml's {kind} may not be used: {reason}", where, fix="use a template of hls/nnet")
    if kind == "MaxPooling2D":
        axes = [(f"{of}_height", f"{of}_width") for of in ("pool", "stride")]
        kernel, stride = [tuple(layer[name] for name in pair) for pair in axes]
        tiles = all(size % k == 0 for size, k in zip(ins[0].shape[1:], kernel, strict=True))
        padded = any(layer[f"pad_{side}"] for side in ("top", "left", "bottom", "right"))
        exact = kernel == stride and tiles and not padded
    else:
        exact = layer.get("op") == "add" and ins[0].shape == ins[1].shape == out.shape
    if not exact:
        raise EdgeqError(f"hls4ml's {kind} is exact for {EXACT_NATIVE[kind]} only", where, fix="use a template of hls/nnet")


def _check_model(model: Any, layers: list[dict[str, Any]], types: dict[str, IntType], graph: Graph) -> None:
    """Raises EdgeqError unless hls4ml's optimizers left nodes, types and tables as they were given, forks aside."""
    made = {node.name: node for node in model.get_layers()}
    kept = [name for name, node in made.items() if node.class_name != "Clone"]
    if kept != [layer["name"] for layer in layers]:
        raise EdgeqError(f"hls4ml's optimizers changed the nodes to {', '.join(kept)}")
    tensors = [graph.input, *(node.output for node in graph.nodes)]
    readers = graph.consumers()
    forks = [f"clone_{layer['name']}" for layer, t in zip(layers, tensors, strict=True) if len(readers[t]) > 1]
    if [name for name in made if name not in kept] != forks:
        raise EdgeqError(f"hls4ml's optimizers did not make the forks {', '.join(forks)}")
    for layer, tensor in zip(layers, tensors, strict=True):
        node = made[layer["name"]]
        variable = node.get_output_variable()
        precision = variable.type.precision
        found = (variable.shape, precision.definition_cpp())
        if found != (_shape(types[tensor]), _cpp(types[tensor])):
            raise EdgeqError(f"hls4ml gave {tensor} the type {found}, not {types[tensor]}", where=node.name)
        tables = _tables(layer["call"]) if "call" in layer else {}
        if list(node.weights) != list(tables):
            raise EdgeqError(f"hls4ml left the tables {list(node.weights)} of {list(tables)}", where=node.name)
        for name, table in tables.items():
            weight = node.weights[name]
            kept_type = weight.type.precision.definition_cpp() == _ap_int(table.bits, table.signed)
            if not kept_type or not np.array_equal(weight.data, table.values):
                raise EdgeqError(f"hls4ml changed the table {name}", where=node.name)
        if node is not made["x"] and not node.get_attr("function_cpp"):
            raise EdgeqError("hls4ml emitted no call", where=node.name)


def _check_written(model: Any, out: Path) -> None:
    """Raises EdgeqError unless every table reads back from its file as it was given."""
    for node in model.get_layers():
        for weight in node.get_weights():
            text = (out / "firmware" / "weights" / f"{weight.name}.txt").read_text()
            if not np.array_equal(np.array(text.split(","), dtype=np.int64), weight.data.ravel()):
                raise EdgeqError(f"hls4ml wrote the table {weight.name} wrongly", where=node.name)


def _tables(call: HlsCall) -> dict[str, HlsTable]:
    """Every table of a layer, its fused operator's last."""
    fused = {f"post_{name}": table for name, table in call.post.tables.items()} if call.post else {}
    return call.tables | fused


def _struct(name: str, call: HlsCall, typedefs: dict[str, str]) -> str:
    """A configuration struct in C++."""
    members = [f"static const {'int' if -(1 << 31) <= v < 1 << 31 else 'long long'} {k} = {v};" for k, v in call.config.items()]
    members += [f"typedef {_ap_int(*t)} {k};" for k, t in call.types.items()]
    members += [f"typedef {t} {k};" for k, t in typedefs.items()]
    return "\n".join([f"struct {name} {{", *(f"    {member}" for member in members), "};"])


def _stamp(model: Any) -> str:
    """Eight hex digits of the model's content; hls4ml's own is random."""
    digest = hashlib.sha256()
    for node in model.get_layers():
        digest.update("\n".join([node.name, node.get_attr("config_cpp", ""), node.get_attr("function_cpp", "")]).encode())
        for variable in (*node.get_variables(), *node.get_weights()):
            digest.update(f"{variable.name} {variable.type.definition_cpp()} {variable.shape}".encode())
        for weight in node.get_weights():
            digest.update(weight.data.tobytes())
    return digest.hexdigest()[:8]


def _shape(x: IntType) -> list[int]:
    """Channels last."""
    return [*x.shape[1:], x.shape[0]]


def _precision(x: IntType) -> IntegerPrecisionType:
    return IntegerPrecisionType(width=range_width(x.lo, x.hi), signed=x.lo < 0)


def _cpp(x: IntType) -> str:
    """The C++ type of an element: it holds the value itself, also -1 and +1 of a binary tensor."""
    return _ap_int(range_width(x.lo, x.hi), x.lo < 0)


def _ap_int(bits: int, signed: bool) -> str:
    return f"ap_{'' if signed else 'u'}int<{bits}>"
