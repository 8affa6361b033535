"""Graph <-> integer ONNX: one node an operator, a model-local function of domain `edgeq` each.

A plain `onnxruntime.InferenceSession` runs the file, because every function body is made of standard integer operators
(in the forms of docs/design.md that are exact on every CPU); `load` reads the operators back from the nodes.
"""

from __future__ import annotations

import dataclasses
import json
from itertools import product
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeq.errors import EdgeqError
from edgeq.graph import MAX_ELEMENTS, Graph, IntType, Node, Op
from edgeq.ops import registry

DOMAIN = "edgeq"
OPSET = 20
IR_VERSION = 10  # onnxruntime reads at most 13, onnx 1.23 writes 14
MAX_FILE_BYTES = 1 << 31
ELEMENT_TYPES = [helper.np_dtype_to_tensor_dtype(np.dtype(t)) for t in (np.uint8, np.int8, np.int32, np.int64)]


class Body:
    """The body of one model-local function under construction; operators add standard ONNX nodes to it.

    out: the type of the function's result, which must be returned in `out.storage`.
    wide: int32, or int64 where int32 cannot hold the operator's result.
    """

    def __init__(self, op: Op, types: tuple[IntType, ...]) -> None:
        self.out = op.infer(*types)
        self.wide = np.dtype(np.int64) if self.out.storage == np.int64 else np.dtype(np.int32)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs = [f"x{i}" for i in range(len(types))]
        self.params = list(op.arrays())
        self._types = dict(zip(self.inputs, types, strict=True))
        self._dtypes: dict[str, np.dtype] = {name: t.storage for name, t in self._types.items()}
        self._dtypes |= {name: storage(a).dtype for name, a in op.arrays().items()}

    def type(self, name: str) -> IntType:
        """The integer type of a function input."""
        return self._types[name]

    def param(self, name: str) -> str:
        """The operator's array field `name`, in its stored element type."""
        return name

    def op(self, op_type: str, *inputs: str, dtype: Any = None, **attributes: Any) -> str:
        """Append a node; its element type is the first input's unless dtype says otherwise."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], **attributes))
        self._dtypes[name] = np.dtype(dtype) if dtype is not None else self._dtypes[inputs[0]]
        return name

    def const(self, value: np.ndarray | np.generic) -> str:
        array = np.asarray(value)
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        self._dtypes[name] = array.dtype
        return name

    def cast(self, x: str, dtype: Any) -> str:
        dtype = np.dtype(dtype)
        if self._dtypes[x] == dtype:
            return x
        return self.op("Cast", x, dtype=dtype, to=helper.np_dtype_to_tensor_dtype(dtype))

    def per_channel(self, values: str, x: str) -> str:
        """values [C or 1] shaped to broadcast over x."""
        image = len(self._types[self.inputs[0]].shape) == 3
        return self.op("Unsqueeze", values, self.const(np.array([1, 2]))) if image else values

    def extreme(self, op_type: str, a: str, b: str) -> str:
        """Min or Max. On int64 a comparison and a choice: onnxruntime 1.31 errs there where bit 31 is set."""
        if self._dtypes[a] != np.int64:
            return self.op(op_type, a, b)
        closer = self.op("Less" if op_type == "Min" else "Greater", a, b, dtype=np.bool_)
        return self.op("Where", closer, a, b, dtype=np.int64)

    def largest(self, x: str, axis: int, size: int) -> str:
        """The maximum along an axis of `size` elements, which becomes one.

        Of int64, where onnxruntime errs as in `extreme`, two halves are compared until one element is left.
        """
        if self._dtypes[x] != np.int64:
            return self.op("ReduceMax", x, self.const(np.array([axis])), keepdims=1)
        while size > 1:
            half = (size + 1) // 2  # of an odd number the halves share the middle one
            spans = [(0, half), (size - half, size)]
            first, second = (self.op("Slice", x, *(self.const(np.array([v])) for v in (*span, axis))) for span in spans)
            x, size = self.extreme("Max", first, second), half
        return x

    def affine(self, x: str, scale: int, offset: int) -> str:
        """scale*x + offset in the type of x."""
        if scale != 1:
            x = self.op("Mul", x, self.const(np.array(scale, self._dtypes[x])))
        return self.op("Add", x, self.const(np.array(offset, self._dtypes[x]))) if offset else x

    def as_u8(self, x: str) -> tuple[str, int]:
        """A tensor of bytes as uint8 and its zero point: int8 v becomes v + 128, which wraps exactly."""
        if self._dtypes[x] == np.uint8:
            return x, 0
        if self._dtypes[x] != np.int8:
            raise AssertionError(f"as_u8 of {self._dtypes[x]}")
        return self.op("Add", self.cast(x, np.uint8), self.const(np.uint8(128))), 128

    def bytes(self, x: str) -> list[tuple[str, int]]:
        """A function input of at most 16 bits as [(byte tensor, its weight)]: x = sum of weight * byte."""
        if self._dtypes[x].itemsize == 1:
            return [(x, 1)]
        wide = self.cast(x, np.int32)
        low = self.op("BitwiseAnd", wide, self.const(np.int32(255)))
        high = self.op("Div", self.op("Sub", wide, low), self.const(np.int32(256)))  # exact: nothing is truncated
        signed = self._types[x].lo < 0
        return [(self.cast(low, np.uint8), 1), (self.cast(high, np.int8 if signed else np.uint8), 256)]

    def taps(
        self,
        x: str,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pads: tuple[int, ...],
        dilation: tuple[int, int],
        fill: int,
    ) -> list[str]:
        """The Kh*Kw tensors [N, C, Ho, Wo] that a window sees, tap by tap, padding filled."""
        top, left, bottom, right = pads
        if any(pads):
            amounts = self.const(np.array([0, 0, top, left, 0, 0, bottom, right]))
            x = self.op("Pad", x, amounts, self.const(np.array(fill, self._dtypes[x])))
        found = []
        for tap in product(range(kernel[0]), range(kernel[1])):
            starts = [t * d for t, d in zip(tap, dilation, strict=True)]
            ends = [a + (n - 1) * s + 1 for a, n, s in zip(starts, self.out.shape[1:], stride, strict=True)]
            bounds = (self.const(np.array(v)) for v in (starts, ends, [2, 3], list(stride)))
            found.append(self.op("Slice", x, *bounds))
        return found

    def result_dtype(self, name: str) -> np.dtype:
        return self._dtypes[name]


def storage(array: np.ndarray) -> np.ndarray:
    """An operator's array in the smallest ONNX element type that holds it."""
    lo, hi = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return array.astype(IntType((1,), lo, hi).storage)


def to_model(graph: Graph) -> onnx.ModelProto:
    """The integer ONNX model of a graph; the same graph gives the same bytes."""
    types = graph.check()
    functions: dict[bytes, onnx.FunctionProto] = {}
    counts: dict[str, int] = {}
    nodes, initializers = [], []
    for node in graph.nodes:
        key, function = _function(node.op, tuple(types[name] for name in node.inputs))
        if key not in functions:
            count = counts[function.name] = counts.get(function.name, 0) + 1
            function.name += f"_{count}" if count > 1 else ""
            functions[key] = function
        arrays = {f"{node.name}.{name}": storage(a) for name, a in node.op.arrays().items()}
        initializers += [numpy_helper.from_array(a, name) for name, a in arrays.items()]
        nodes.append(
            helper.make_node(
                functions[key].name, [*node.inputs, *arrays], [node.output], name=node.name, domain=DOMAIN, **_attributes(node.op)
            )
        )
    made = helper.make_graph(
        nodes,
        "edgeq",
        [_value_info(graph.input, graph.input_type)],
        [_value_info(graph.output, types[graph.output])],
        initializers,
        value_info=[_value_info(n.output, types[n.output]) for n in graph.nodes if n.output != graph.output],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(made, opset_imports=opsets, functions=list(functions.values()), producer_name="edgeq")
    model.ir_version = IR_VERSION
    ends = {"lo": graph.input_type.lo, "hi": graph.input_type.hi, "step": graph.input_type.step}
    helper.set_model_props(model, {"edgeq": json.dumps({"input": ends, "meta": graph.meta}, sort_keys=True)})
    return model


def save(graph: Graph, path: Path) -> None:
    """Write the integer ONNX model of a graph."""
    path.write_bytes(to_model(graph).SerializeToString(deterministic=True))


def load(path: Path) -> Graph:
    """Read a graph back from a file that `save` wrote. Raises EdgeqError where it is not one."""
    if not path.is_file():
        raise EdgeqError("there is no such file", where=str(path), fix="run `edgeq export` first")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise EdgeqError(f"the file is larger than {MAX_FILE_BYTES:,} bytes", where=str(path))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        props = json.loads({p.key: p.value for p in model.metadata_props}["edgeq"])
        return _from_model(model, props)
    except EdgeqError:
        raise
    except Exception as error:
        raise EdgeqError(
            f"not an integer ONNX file of edgeq ({type(error).__name__}: {error})",
            where=str(path),
            fix="run `edgeq export` again",
        ) from None


def _from_model(model: onnx.ModelProto, props: dict[str, Any]) -> Graph:
    kinds = registry()
    for tensor in model.graph.initializer:
        if (
            tensor.data_location == onnx.TensorProto.EXTERNAL
            or int(np.prod([int(d) for d in tensor.dims], dtype=object)) > MAX_ELEMENTS
        ):
            raise EdgeqError(f"the initializer {tensor.name!r} is external or too large")
        if tensor.data_type not in ELEMENT_TYPES:
            raise EdgeqError(f"the initializer {tensor.name!r} is not of an integer type that edgeq writes")
    arrays = {t.name: numpy_helper.to_array(t).astype(np.int64) for t in model.graph.initializer}
    (source,) = model.graph.input
    shape = tuple(d.dim_value for d in source.type.tensor_type.shape.dim)[1:]
    ends = {name: index(value) for name, value in props["input"].items()}
    graph = Graph(source.name, IntType(shape, **ends), meta={**props["meta"]})
    for proto in model.graph.node:
        name = proto.op_type.split("_")[0]
        if proto.domain != DOMAIN or name not in kinds:
            raise EdgeqError(f"the node type {proto.domain}.{proto.op_type} is not edgeq's", where=proto.name)
        values: dict[str, Any] = {a.name: _value(a) for a in proto.attribute}
        fields = {f.name: str(f.type) for f in dataclasses.fields(kinds[name])}  # type: ignore[arg-type]
        inputs = [x for x in proto.input if x not in arrays]
        values |= {x.rsplit(".", 1)[1]: arrays[x] for x in proto.input if x in arrays}
        if not set(values) <= set(fields):
            raise EdgeqError(f"{name} has no field {sorted(set(values) - set(fields))}", where=proto.name)
        for key, value in values.items():
            if not _fits(value, fields[key]):
                raise EdgeqError(f"{name}.{key} is not of the type {fields[key]}", where=proto.name)
        graph.nodes.append(Node(proto.name, kinds[name](**values), tuple(inputs), proto.output[0]))
    graph.output = model.graph.output[0].name
    graph.check()
    return graph


def _function(op: Op, types: tuple[IntType, ...]) -> tuple[bytes, onnx.FunctionProto]:
    body = Body(op, types)
    result = op.to_onnx(body, *body.inputs)
    if body.result_dtype(result) != body.out.storage:
        raise AssertionError(f"{op.kind()}.to_onnx returned {body.result_dtype(result)}, not {body.out.storage}")
    body.nodes.append(helper.make_node("Identity", [result], ["y"]))
    function = helper.make_function(
        DOMAIN,
        op.kind(),
        [*body.inputs, *body.params],
        ["y"],
        body.nodes,
        [helper.make_opsetid("", OPSET)],
        list(_attributes(op)),
    )
    return function.SerializeToString(deterministic=True), function


def _attributes(op: Op) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in op.attributes().items()}


def _value(attribute: onnx.AttributeProto) -> int | str | tuple[int, ...]:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int) else tuple(index(v) for v in value)


def _fits(value: object, annotation: str) -> bool:
    """True where a value is of an operator's field type, written as in the dataclass."""
    if annotation.startswith("tuple["):
        return isinstance(value, tuple) and ("..." in annotation or len(value) == annotation.count("int"))
    return type(value) is {"np.ndarray": np.ndarray, "int": int, "str": str}.get(annotation)


def _value_info(name: str, t: IntType) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(t.storage), ["N", *t.shape])
