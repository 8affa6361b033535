"""Execution of a QONNX model as `qonnx` does it: node by node, its own quantizers in numpy, the rest in onnxruntime.

`qonnx.core.onnx_exec` builds a session for every node of every call and takes one frame at a time; here a node's session
is built once and frames go in batches. The numbers are the same, but for the order in which onnxruntime sums a float32
matrix product over a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from edgeq.errors import EdgeqError
from edgeq.frontend.load import IR_VERSION, load_model, to_array
from edgeq.frontend.nodes import QUANTIZER_DOMAINS, QUANTIZERS

BATCH = 32
Feed = Callable[[str, np.ndarray], np.ndarray]
BATCHED = {"Reshape": 1, "Resize": 3}
"""Operators with the batch in a constant operand, and its index."""


def batch_of(model: onnx.ModelProto) -> int:
    """Frames of a model that are run at once: those that it was exported for, or BATCH where that is 1 or open."""
    frames = _shape(_source(model))[0]
    return frames if frames > 1 else BATCH


def execute(path: Path, floats: np.ndarray) -> np.ndarray:
    """The model's float output for float32 [N, *input shape]."""
    return QonnxEngine(load_model(path)).run(floats)


class QonnxEngine:
    """A QONNX model, ready to run. Raises EdgeqError where `qonnx` cannot execute it.

    threads: of onnxruntime's sessions, 0 for one a core.
    """

    def __init__(self, model: onnx.ModelProto, threads: int = 0) -> None:
        self._threads = threads
        self._opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 13)
        self._constants = {t.name: to_array(t) for t in model.graph.initializer}
        source = _source(model)
        self._input, self._output = source.name, model.graph.output[0].name
        self._shape = _shape(source)
        self.batch = batch_of(model)
        self._dtype = helper.tensor_dtype_to_np_dtype(source.type.tensor_type.elem_type)
        self._nodes: list[tuple[onnx.NodeProto, Callable[[dict[str, np.ndarray]], list[np.ndarray]]]] = []
        waiting = list(model.graph.node)
        known = {*self._constants, self._input, ""}
        while waiting:
            ready = [n for n in waiting if known.issuperset(n.input)]
            if not ready:
                raise EdgeqError(f"the inputs of {waiting[0].op_type} {waiting[0].name!r} are made by no node")
            for node in ready:
                self._add(node)
                known.update(node.output)
            waiting = [n for n in waiting if not known.issuperset(n.output)]
        if self._frames() == 1 and any(self._moves(node) for node, _ in self._nodes):
            self.batch = 1

    def _moves(self, node: onnx.NodeProto) -> bool:
        """True where a node of a file for one frame has the batch elsewhere than first: no other number of frames would do."""
        if node.op_type == "Transpose":
            return node.attribute[0].ints[:1] != [0] if node.attribute else True
        operand = self._constants.get(node.input[1]) if len(node.input) > 1 else None
        if operand is None:
            return False
        return (node.op_type == "Reshape" and operand[0] > 1) or (node.op_type in ("Squeeze", "Unsqueeze") and 0 in operand)

    def _add(self, node: onnx.NodeProto) -> None:
        call = self._quantizer(node) if node.op_type in QUANTIZERS else self._standard(node)
        if all(not name or name in self._constants for name in node.input):
            self._constants.update(zip(node.output, call(self._constants), strict=False))
        else:
            self._nodes.append((node, call))

    def _quantizer(self, node: onnx.NodeProto) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
        from qonnx.custom_op.registry import getCustomOp

        node = _current(node)
        op: Any = getCustomOp(node, 2 if node.op_type == "Trunc" and len(node.input) == 6 else 1)

        def call(context: dict[str, np.ndarray]) -> list[np.ndarray]:
            held = {name: context[name] for name in node.input}
            op.execute_node(held, None)
            return [held[node.output[0]]]

        return call

    def _standard(self, node: onnx.NodeProto) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
        sessions: list[onnxruntime.InferenceSession] = []
        loose = BATCHED.get(node.op_type)
        single = onnx.NodeProto()
        single.CopyFrom(node)
        if node.op_type != "Split":
            del single.output[1:]

        def call(context: dict[str, np.ndarray]) -> list[np.ndarray]:
            feeds = {name: context[name] for name in node.input if name}
            moving = [value for name, value in feeds.items() if name not in self._constants and value.ndim > 1]
            if node.op_type == "Concat" and moving and self._frames() == 1:  # a constant of one frame, to the batch that is run
                count = len(moving[0])
                feeds = {k: np.repeat(v, count, axis=0) if k in self._constants and len(v) == 1 else v for k, v in feeds.items()}
            if not sessions:
                sessions.append(_session(single, feeds, self._opset, self._threads))
            target = node.input[loose] if loose is not None and len(node.input) > loose else ""
            given = context.get(self._input)  # None while constants are computed
            if target and given is not None and self._frames() == 1 and feeds[target][:1].tolist() == [1]:  # a batch is run
                feeds[target] = np.concatenate([[len(given)], feeds[target][1:]]).astype(feeds[target].dtype)
            return sessions[0].run(None, feeds)

        return call

    def _frames(self) -> int:
        """Frames a call that the model was exported for; an open batch counts as 1."""
        return self._shape[0] or 1

    def run(self, floats: np.ndarray, feed: Feed | None = None) -> np.ndarray:
        """[N, *input shape] float32 -> [N, *output shape].

        feed(name, value) sees every activation as it is made, and what it returns is used in its place.
        """
        count, fixed, size = len(floats), self._frames(), self.batch
        floats = floats.reshape(count, *self._shape[1:]).astype(self._dtype)
        results = []
        for start in range(0, count, size):
            x = floats[start : start + size]
            if fixed > 1 and len(x) < fixed:
                x = np.concatenate([x, np.repeat(x[-1:], fixed - len(x), axis=0)])
            results.append(self._run_batch(x, feed))
        return np.concatenate(results)[:count]

    def _run_batch(self, x: np.ndarray, feed: Feed | None) -> np.ndarray:
        context = {**self._constants, self._input: feed(self._input, x) if feed else x}
        for node, call in self._nodes:
            try:
                values = call(context)
            except Exception as error:
                raise EdgeqError(f"qonnx cannot execute it: {error}", where=f"{node.op_type} {node.name!r}") from error
            for name, value in zip(node.output, values, strict=False):
                context[name] = feed(name, np.asarray(value)) if feed else np.asarray(value)
        return context[self._output]


def _source(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The input that is no constant."""
    constants = {t.name for t in model.graph.initializer}
    (source,) = (i for i in model.graph.input if i.name not in constants)
    return source


def _shape(source: onnx.ValueInfoProto) -> list[int]:
    return [d.dim_value for d in source.type.tensor_type.shape.dim]


def _session(node: onnx.NodeProto, feeds: dict[str, np.ndarray], opset: int, threads: int) -> onnxruntime.InferenceSession:
    """Constants are inputs too, as in qonnx: as initializers they would be packed for kernels that sum in another order."""
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), None) for n, a in feeds.items()]
    graph = helper.make_graph([node], "node", infos, [helper.make_empty_tensor_value_info(name) for name in node.output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = IR_VERSION
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _current(node: onnx.NodeProto) -> onnx.NodeProto:
    """A quantizer in today's domain and names: QONNX documents ROUND_TO_ZERO, the package knows it as DOWN."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if node.domain in QUANTIZER_DOMAINS:
        copy.domain = QUANTIZER_DOMAINS[0]
    for attribute in copy.attribute:
        if attribute.name == "rounding_mode" and attribute.s.upper() == b"ROUND_TO_ZERO":
            attribute.s = b"DOWN"
    return copy
