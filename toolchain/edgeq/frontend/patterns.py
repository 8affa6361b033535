"""Functions that exporters write as several nodes, found in an ONNX graph and written as the one node that ONNX has for them.

1. `Gelu`: whatever elementwise nodes, with an Erf or a Tanh among them, give GELU of one tensor; found by their values.
2. `Softmax`: Exp over its ReduceSum, of x or of x less its ReduceMax.
3. `Normalize`, a LayerNormalization over any axes without gamma and beta (`approximate.py` knows it; ONNX does not): x less its
   ReduceMean, over the root of its mean square plus a constant.

Nothing is rewritten where an inner result is used elsewhere too, or where a constant is not one number.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from edgeq.frontend.load import to_array

TOLERANCE = 1e-4
"""Of a function's values, by which it is recognized: the forms of GELU differ by up to 5e-4."""
MOST_NODES = 16
GRID = np.linspace(-6, 6, 241)
_erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    """GELU in float64: by the error function, or by its approximation with a tanh."""
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Neg": np.negative,
    "Tanh": np.tanh, "Erf": _erf, "Sqrt": np.sqrt, "Identity": np.positive, "Sum": np.add, "Reciprocal": np.reciprocal,
}  # fmt: skip


class Patterns:
    """The nodes of a graph, and those that stand for several of them."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self.nodes, self.opset = list(graph.node), opset
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.kept = {output.name for output in graph.output}
        self.stored = {t.name: t for t in graph.initializer}

    def rewrite(self) -> None:
        """Rewrite all that is found, in `nodes`."""
        for node in list(self.nodes):
            match node.op_type:
                case "Erf" | "Tanh":
                    self._gelu(node)
                case "Exp":
                    self._softmax(node)
                case "Sqrt" | "Pow":
                    self._layer_norm(node)

    # Looking

    def array(self, name: str) -> np.ndarray | None:
        """A constant of the graph."""
        if name in self.stored:
            return to_array(self.stored[name])
        node = self.makers.get(name)
        if node is not None and node.op_type == "Constant" and len(node.attribute) == 1:
            value = helper.get_attribute_value(node.attribute[0])
            return to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
        if node is not None and node.op_type in ("Sqrt", "Cast", "Identity") and (inner := self.array(node.input[0])) is not None:
            return np.sqrt(inner) if node.op_type == "Sqrt" else inner
        return None

    def number(self, name: str) -> float | None:
        """A constant of one element."""
        array = self.array(name)
        return float(array.ravel()[0]) if array is not None and array.size == 1 and array.dtype.kind in "fiu" else None

    def made(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, if it is one of these."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def reader(self, node: onnx.NodeProto, *kinds: str) -> onnx.NodeProto | None:
        """The only node that reads a node's output, if it is one of these."""
        found = self.readers.get(node.output[0], [])
        return found[0] if len(found) == 1 and found[0].op_type in kinds and node.output[0] not in self.kept else None

    def axes(self, node: onnx.NodeProto) -> list[int] | None:
        """Of a reduction that keeps its dimensions, if they are constant."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if not attributes.get("keepdims", 1):
            return None
        if "axes" in attributes:
            return [int(v) for v in attributes["axes"]]
        array = self.array(node.input[1]) if len(node.input) > 1 else None
        return None if array is None else [int(v) for v in array.ravel()]

    # Rewriting

    def replace(self, inner: list[onnx.NodeProto], made: list[onnx.NodeProto]) -> bool:
        """Put `made` in place of the nodes `inner`; the last one gives the result. False where others read one between."""
        gone = {id(node) for node in inner}
        for node in inner[:-1]:
            name = node.output[0]
            if name in self.kept or any(id(reader) not in gone for reader in self.readers.get(name, [])):
                return False
        at = next(i for i, node in enumerate(self.nodes) if node is inner[-1])
        self.nodes[at : at + 1] = made
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        for node in made:
            self.makers |= {name: node for name in node.output}
            for name in node.input:
                self.readers[name] = [r for r in self.readers.get(name, []) if id(r) not in gone] + [node]
        return True

    def _gelu(self, node: onnx.NodeProto) -> None:
        """From its Erf or Tanh downwards: the first tensor that is GELU of one above it."""
        root: onnx.NodeProto | None = node
        for _ in range(4):
            root = self.reader(root, "Mul", "Div", "Add", "Identity") if root is not None else None
            if root is None:
                return
            for x in self._above(root):
                if (cone := self._between(x, root)) is None:
                    continue
                with np.errstate(all="ignore"):
                    values = self._values(cone, x)
                form = min(("none", "tanh"), key=lambda form: float(np.abs(values - gelu(GRID, form)).max()))
                if np.abs(values - gelu(GRID, form)).max() < TOLERANCE:
                    name = root.name or root.output[0]
                    self.replace(cone, [helper.make_node("Gelu", [x], [root.output[0]], name=name, approximate=form)])
                    return

    def _above(self, root: onnx.NodeProto) -> list[str]:
        """The tensors that a node is computed from by elementwise nodes, nearest first."""
        found: list[str] = []
        queue = [root]
        while queue and len(found) < 2 * MOST_NODES:
            for name in queue.pop(0).input:
                if name not in found and self.number(name) is None:
                    found.append(name)
                    if (maker := self.made(name, *ELEMENTWISE)) is not None:
                        queue.append(maker)
        return found

    def _between(self, x: str, root: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        """The elementwise nodes from x to root, in order; None where root needs anything else but numbers."""
        cone: list[onnx.NodeProto] = []

        def walk(node: onnx.NodeProto) -> bool:
            if any(node is known for known in cone):
                return True
            for name in node.input:
                if name == x or self.number(name) is not None:
                    continue
                maker = self.made(name, *ELEMENTWISE)
                if maker is None or len(cone) > MOST_NODES or not walk(maker):
                    return False
            cone.append(node)
            return True

        return cone if walk(root) else None

    def _values(self, cone: list[onnx.NodeProto], x: str) -> np.ndarray:
        known = {x: GRID}
        for node in cone:
            operands = [known[name] if name in known else np.float64(self.number(name) or 0.0) for name in node.input]
            known[node.output[0]] = ELEMENTWISE[node.op_type](*operands)
        return np.broadcast_to(np.nan_to_num(known[cone[-1].output[0]], nan=np.inf), GRID.shape)

    def _softmax(self, exp: onnx.NodeProto) -> None:
        total = next((r for r in self.readers.get(exp.output[0], []) if r.op_type == "ReduceSum"), None)
        root = self.reader(total, "Div") if total is not None else None
        axes = self.axes(total) if total is not None else None
        if root is None or axes is None or len(axes) != 1 or list(root.input) != [exp.output[0], total.output[0]]:  # type: ignore[union-attr]
            return
        x, inner = exp.input[0], [exp, total, root]
        less = self.made(x, "Sub")
        largest = self.made(less.input[1], "ReduceMax") if less is not None else None
        if less is not None and largest is not None and largest.input[0] == less.input[0] and self.axes(largest) == axes:
            x, inner = less.input[0], [largest, less, *inner]
        name = root.name or root.output[0]
        self.replace(inner, [helper.make_node("Softmax", [x], [root.output[0]], name=name, axis=axes[0])])  # type: ignore[arg-type]

    def _layer_norm(self, power: onnx.NodeProto) -> None:
        """From the root of the variance, Sqrt or Pow by 1/2 or -1/2."""
        inner = [power]
        exponent = 0.5 if power.op_type == "Sqrt" else self.number(power.input[1])
        tail: onnx.NodeProto | None = power
        inverse = self.reader(power, "Reciprocal", "Div") if exponent == 0.5 else None
        if inverse is not None and (inverse.op_type == "Reciprocal" or self.number(inverse.input[0]) == 1):
            inner.append(inverse)
            tail, exponent = inverse, -0.5
        root = self.reader(tail, "Mul" if exponent == -0.5 else "Div") if tail is not None else None
        lifted = self.made(power.input[0], "Add")
        if root is None or lifted is None or exponent not in (0.5, -0.5):
            return
        sides = [self.number(name) for name in lifted.input]
        epsilon = next((v for v in sides if v is not None), None)
        mean_square = next((self.made(name, "ReduceMean") for name in lifted.input if self.number(name) is None), None)
        square = self.made(mean_square.input[0], "Pow", "Mul") if mean_square is not None else None
        if epsilon is None or mean_square is None or square is None:
            return
        twice = self.number(square.input[1]) == 2 if square.op_type == "Pow" else square.input[0] == square.input[1]
        numerator = root.input[0] if root.input[0] != tail.output[0] else root.input[1]  # type: ignore[union-attr]
        differences = [self.made(name, "Sub") for name in dict.fromkeys((numerator, square.input[0]))]
        means = [self.made(d.input[1], "ReduceMean") if d is not None else None for d in differences]
        axes = self.axes(mean_square)
        if not twice or axes is None or (exponent == 0.5 and root.input[0] != numerator):
            return
        x = differences[0].input[0] if differences[0] is not None else ""
        for d, mean in zip(differences, means, strict=True):
            if d is None or mean is None or d.input[0] != x or mean.input[0] != x or self.axes(mean) != axes:
                return
        unique = {id(n): n for n in (*means, *differences, square, mean_square, lifted, *inner, root) if n is not None}
        name = root.name or root.output[0]
        made = helper.make_node("Normalize", [x], [root.output[0]], name=name, axes=axes, epsilon=epsilon)
        self.replace(list(unique.values()), [made])
