"""QONNX -> integer graph.

The QONNX graph is walked once, in order. A tensor is a constant, a quantized constant, or a chain of exact rationals
`clip(a*v + b, low, high)` a channel on an integer tensor v (`symbols.py`). Affine steps and clips only change the chain;
a quantizer turns it into thresholds or a requantization that are proved equal to it (`exact.py`); sums of products, pools
and additions need a plain scale (`builder.py`). What each operator does is in `nodes.py`. Everything else is refused.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN
from edgeq.frontend.approximate import SUBSTITUTES, Substitute, note, softmax_axis
from edgeq.frontend.builder import INPUT, Builder, optional_texts, texts
from edgeq.frontend.ends import apply_tail, given_inputs, input_codes, input_floats, parse_input, random_inputs
from edgeq.frontend.exact import Lane, merge
from edgeq.frontend.execute import execute
from edgeq.frontend.fold import FOLDABLE, fold
from edgeq.frontend.load import check_model, load_model, to_array
from edgeq.frontend.nodes import HANDLERS, QUANTIZERS, Call
from edgeq.frontend.nodes.tokens import features_last
from edgeq.frontend.patterns import Patterns
from edgeq.frontend.symbols import Const, QConst, Sym, Value
from edgeq.graph import Graph, IntType
from edgeq.ops.rearrange import Rearrange

__all__ = [
    "apply_tail",
    "execute",
    "given_inputs",
    "import_model",
    "import_qonnx",
    "input_codes",
    "input_floats",
    "load_model",
    "random_inputs",
]

MOVES_WEIGHTS = ("Reshape", "Transpose", "Identity", "Expand")
"""Operators that leave a quantized constant one."""
INEXACT = {"Exp": 4.0, "Log": 4.0, "Pow": 4.0}
"""Roundings by which float32 implementations of a constant operator may differ; the others are correctly rounded."""


def import_qonnx(source: Path | str | onnx.ModelProto, input_spec: str | None = None) -> Graph:
    """Read a QONNX model as an integer graph whose every value is exactly the source's.

    source: a file, or a model from `load_model`. input_spec: the type of the input itself ("uint8/255": byte / 255),
    instead of the code of the model's first quantizer. Raises EdgeqError with the node, its type and what would work.

    Graph.meta: `input` (kind, name, shape; quantizer and steps, or divisor), `real` (for each tensor of the source that
    stands for integers: the graph's tensor, scale, offset, float32 error bound, quantizer), `quantizers` (tensors of the
    source, in order), `nodes` (source node of each node), `tail` (what follows the last integer), `messages`, `approximations`
    (of float functions: what stands for them). With an approximation, the source is that of `import_model`.
    """
    if isinstance(source, onnx.ModelProto):
        check_model(source)
        return import_model(source, input_spec)[0]
    return import_model(load_model(Path(source)), input_spec)[0]


def import_model(model: onnx.ModelProto, input_spec: str | None = None) -> tuple[Graph, onnx.ModelProto]:
    """(the integer graph, the QONNX model whose every value it is exactly): the one given, or, where float functions are
    approximated, one in which the operators stand that approximate them."""
    importer = Importer(model, input_spec)
    return importer.run(), importer.exact_model()


class Importer:
    """One walk over one model."""

    def __init__(self, model: onnx.ModelProto, input_spec: str | None) -> None:
        self.model, self.proto = model, model.graph
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 13)
        self.stored = {t.name: t for t in self.proto.initializer}
        patterns = Patterns(self.proto, self.opset)
        patterns.rewrite()
        self.nodes = patterns.nodes
        self.substitutes: dict[int, Substitute] = {}
        self.values: dict[str, Value] = {}
        self.builder = Builder()
        self.batch = 1
        self._declare_input(input_spec)

    def run(self) -> Graph:
        if len(self.proto.output) != 1:
            names = ", ".join(repr(o.name) for o in self.proto.output)
            raise EdgeqError(f"the model has {len(self.proto.output)} outputs: {names}", fix="export a model with one output")
        for node in self._ordered(self.proto.output[0].name):
            self.builder.where = f"{node.op_type} {(node.name or node.output[0])!r}"
            self._evaluate(node)
        return self._finish(self.proto.output[0].name)

    def exact_model(self) -> onnx.ModelProto:
        """The model as it was imported."""
        if not self.substitutes:
            return self.model
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        del made.graph.node[:]
        for node in self.nodes:
            found = self.substitutes.get(id(node))
            made.graph.node.extend(found.nodes if found else [node])
            made.graph.initializer.extend(found.stored if found else [])
        if DOMAIN not in {o.domain for o in made.opset_import}:
            made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        del made.graph.value_info[:]
        return made

    def _at_end(self, name: str) -> bool:
        """True where nothing but an ArgMax lies between a tensor and the output."""
        readers = [node for node in self.nodes if name in node.input]
        if any(node.op_type not in ("ArgMax", "Identity") for node in readers):
            return False
        return name == self.proto.output[0].name or any(self._at_end(node.output[0]) for node in readers)

    def _left_out(self, node: onnx.NodeProto, call: Call) -> bool:
        """True for a softmax over the channels, at the end: the largest stays the largest."""
        return node.op_type in HANDLERS and self._at_end(node.output[0]) and softmax_axis(call)[0] == 1

    def _substituted(self, node: onnx.NodeProto, call: Call) -> Value:
        """A float function by the operator that approximates it."""
        made = SUBSTITUTES[node.op_type](call)
        self.stored |= {tensor.name: tensor for tensor in made.stored}
        for part in made.nodes:
            self._evaluate(part)
        sym = self.values[made.codes]
        assert isinstance(sym, Sym)
        note(self.builder.graph, self.builder.where, made, sym)
        self.substitutes[id(node)] = made
        return self.values[node.output[0]]

    def _declare_input(self, spec: str | None) -> None:
        inputs = [i for i in self.proto.input if i.name not in self.stored]
        if len(inputs) != 1:
            names = [i.name for i in inputs]
            raise EdgeqError(f"the model has {len(inputs)} inputs: {names}", fix="export a model with one input")
        (source,) = inputs
        where = f"input {source.name!r}"
        dims = [d.dim_value if d.HasField("dim_value") else 0 for d in source.type.tensor_type.shape.dim]
        if len(dims) < 2 or min(dims[1:]) < 1 or dims[0] < 0:
            named = [d.dim_param or d.dim_value or "?" for d in source.type.tensor_type.shape.dim]
            fix = "export with fixed sizes; only the batch may be open"
            raise EdgeqError(f"the shape {named} cannot be resolved", where=where, fix=fix)
        self.batch = dims[0] or 1
        shape = tuple(dims[1:])
        if prod(shape) > 1 << 28:
            raise EdgeqError(f"the shape {dims} is too large", where=where)
        kind = source.type.tensor_type.elem_type
        if kind in (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT16, TensorProto.UINT16):
            spec = spec or str(helper.tensor_dtype_to_np_dtype(kind))
        elif kind != TensorProto.FLOAT:
            raise EdgeqError(f"the element type {kind} is not supported", where=where, fix="float32, or integers of 8 or 16 bits")
        layout = shape if len(shape) in (1, 3) else (prod(shape),)
        self.builder.source = {"name": source.name, "shape": list(shape)}
        if spec is None:
            self.values[source.name] = self._float_input(shape, layout)
            return
        lo, hi, divisor = parse_input(spec)
        self.builder.input(IntType(layout, lo, hi), self.builder.source | {"kind": "integer", "divisor": str(divisor)})
        lane = Lane(1 / divisor).rounded(max(-lo, hi))
        sym = Sym(INPUT, IntType(layout, lo, hi), (lane,), shape)
        self.values[source.name] = self.builder.record(sym, source.name)

    @staticmethod
    def _float_input(shape: tuple[int, ...], layout: tuple[int, ...]) -> Sym:
        """The model's input before its quantizer; tokens [T, D] as pixels."""
        whole = Sym("", IntType(layout, 0, 0), (Lane(Fraction(1)),), shape)
        if len(shape) != 2:
            return whole
        count, features = shape
        kind = IntType((features, 1, count), 0, 0)
        return replace(whole, type=kind, order=features_last(shape), steps=((shape, (1, 0), kind.shape),))

    def _ordered(self, output: str) -> list[onnx.NodeProto]:
        """The nodes that the output needs, each after those it reads; in the file's order where that is such an order.

        Exporters write nodes as the source runs them, and so PyTorch's layers are met in the graph's order.
        """
        makers: dict[str, onnx.NodeProto] = {}
        for node in self.nodes:
            for name in filter(None, node.output):
                if name in makers or name in self.values or name in self.stored:
                    raise EdgeqError(f"the tensor {name!r} is made twice")
                makers[name] = node
        done: dict[int, onnx.NodeProto] = {}
        open_: set[int] = set()
        stack = [(output, False)]
        while stack:
            name, ready = stack.pop()
            node = makers.get(name)
            if node is None:
                if name not in self.values and name not in self.stored:
                    raise EdgeqError(f"the tensor {name!r} is made by no node")
                continue
            if ready:
                done[id(node)] = node
                open_.discard(id(node))
            elif id(node) in open_:
                raise EdgeqError(f"the tensor {name!r} depends on itself")
            elif id(node) not in done:
                open_.add(id(node))
                stack.append((name, True))
                stack += [(read, False) for read in reversed(node.input) if read and id(makers.get(read)) not in done]
        known = {*self.values, *self.stored, ""}
        for node in (listed := [node for node in self.nodes if id(node) in done]):
            if not known.issuperset(node.input):
                return list(done.values())
            known.update(node.output)
        return listed

    def _value(self, name: str) -> Value | None:
        if name and name not in self.values:
            if name not in self.stored:  # made, but not as the first output of its node
                raise EdgeqError(
                    f"the tensor {name!r} is a second output", where=self.builder.where, fix="use first outputs only"
                )
            self.values[name] = Const(to_array(self.stored[name]))
        return self.values[name] if name else None

    def _evaluate(self, node: onnx.NodeProto) -> None:
        """Find the values of what a node makes."""
        made = self._made(node)
        self.values.update(zip(node.output, made if isinstance(made, list) else [made], strict=False))

    def _made(self, node: onnx.NodeProto) -> Value | list[Value]:
        where = self.builder.where
        domains = QUANTIZERS.get(node.op_type, ("", "ai.onnx"))
        if node.domain not in ("", "ai.onnx", *domains):
            raise EdgeqError(f"the operator {node.domain}.{node.op_type} is not supported", where=where, fix=self._supported())
        if node.domain not in domains:
            fix = f"one of {', '.join(domains)}"
            raise EdgeqError(f"{node.op_type} has the domain {node.domain!r}", where=where, fix=fix)
        inputs = [self._value(name) for name in node.input]
        try:
            if node.op_type == "Constant":
                return Const(constant(node))
            constants = [v for v in inputs if not isinstance(v, Sym)]
            moves_weights = node.op_type in MOVES_WEIGHTS and bool(inputs) and isinstance(inputs[0], QConst)
            if len(constants) == len(inputs) and node.op_type in FOLDABLE and not moves_weights:
                fuzz = sum(v.fuzz for v in constants if v is not None) + INEXACT.get(node.op_type, 0.0)
                return Const(fold(node, [None if v is None else v.array for v in constants], self.opset), fuzz)
            call = Call(node, inputs, self.builder, self.opset, self.batch)
            if node.op_type in SUBSTITUTES and not self._left_out(node, call):
                return self._substituted(node, call)
            if node.op_type not in HANDLERS:
                raise EdgeqError(f"the operator {node.op_type} is not supported", fix=self._supported())
            return HANDLERS[node.op_type](call)
        except EdgeqError as error:
            raise EdgeqError(error.what, where=error.where or where, fix=error.fix) from None

    @staticmethod
    def _supported() -> str:
        return f"supported are {', '.join(sorted({*HANDLERS, *SUBSTITUTES} - {'Normalize'}))}"

    def _finish(self, output: str) -> Graph:
        value, builder = self._value(output), self.builder
        builder.where = f"output {output!r}"
        if isinstance(value, Sym) and value.batch != 0:
            raise EdgeqError("the batch is not the output's first dimension", where=builder.where, fix="[N, ...]")
        if not isinstance(value, Sym) or value.is_input or value.tensor == INPUT:
            what = "no integer operator lies between input and output"
            raise EdgeqError(what, where=builder.where, fix="give a quantized model")
        if value.pads != (0, 0, 0, 0):
            raise EdgeqError("the model ends in a Pad", where=builder.where)
        if value.cut:
            builder.graph.meta["messages"].append(f"the softmax {value.cut!r} at the end is left out: the outputs are its logits")
        sym = builder.in_order(value).tightened()
        graph = builder.graph
        graph.output = sym.tensor
        graph.meta["tail"] = {
            "source": output,
            "tensor": sym.tensor,
            "quantizer": None,
            "shape": list(sym.shape),
            "scale": texts(lane.a for lane in sym.lanes),
            "offset": texts(lane.b for lane in sym.lanes),
            "low": optional_texts(lane.low for lane in sym.lanes),
            "high": optional_texts(lane.high for lane in sym.lanes),
            "error": list(merge(lane.error(sym.reach or 0) for lane in sym.lanes)),
            "softmax": bool(value.cut),
        }
        prune(graph)
        absorb_flatten(graph)
        graph.check()
        return graph


def constant(node: onnx.NodeProto) -> np.ndarray:
    """The value of a Constant node."""
    (attribute,) = node.attribute if len(node.attribute) == 1 else [None]
    if attribute is not None and attribute.name == "value":
        return to_array(attribute.t)
    if attribute is None or attribute.name not in ("value_float", "value_floats", "value_int", "value_ints"):
        raise EdgeqError("the Constant holds no number", fix="a dense tensor")
    kind = np.float32 if "float" in attribute.name else np.int64
    return np.array(helper.get_attribute_value(attribute), kind)


def absorb_flatten(graph: Graph) -> None:
    """Take a leading reshape into the input, which is then a vector: a beat of hardware, not a pixel after the other.

    Only where the input is the code of a quantizer that treats all channels alike; an image given with --input stays one.
    """
    source = graph.meta["input"]
    readers = [node for node in graph.nodes if graph.input in node.inputs]
    if source["kind"] == "integer" or len(readers) != 1 or readers[0].output == graph.output:
        return
    (node,) = readers
    alike = len(graph.meta["real"][source["quantizer"]]["quantizer"]["a"]) == 1
    if not isinstance(node.op, Rearrange) or node.op.perm != tuple(sorted(node.op.perm)) or len(node.op.shape) != 1 or not alike:
        return
    graph.input_type = node.op.infer(graph.input_type)
    graph.nodes = [
        replace(n, inputs=tuple(graph.input if t == node.output else t for t in n.inputs)) for n in graph.nodes if n is not node
    ]
    for record in graph.meta["real"].values():
        if record["tensor"] == node.output:
            record["tensor"] = graph.input
        if record["quantizer"] and record["quantizer"].get("of") == node.output:
            record["quantizer"]["of"] = graph.input
    graph.meta["nodes"].pop(node.name, None)


def prune(graph: Graph) -> None:
    """Remove nodes that nothing reads, with what is noted of them."""
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
    graph.nodes = [node for node in graph.nodes if node.output in needed]
    names = {node.name for node in graph.nodes}
    graph.meta["real"] = {source: v for source, v in graph.meta["real"].items() if v["tensor"] in needed}
    graph.meta["nodes"] = {name: v for name, v in graph.meta["nodes"].items() if name in names}
    graph.meta["approximations"] = [entry for entry in graph.meta["approximations"] if entry["tensor"] in needed]
