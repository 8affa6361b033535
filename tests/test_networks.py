"""Random whole networks on every engine: forks, residual joins, chains of layers, however each layer is folded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity
import pytest

from edgeq.board import board
from edgeq.engines.hls import EXACT_BITS, HlsEngine
from edgeq.engines.ort import OrtEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.fold import Fold
from edgeq.graph import Draw, Graph, IntType, Node, Op
from edgeq.lower import hls
from edgeq.lower import onnx as lower_onnx
from edgeq.ops._mac import MAX_ACTIVATION_BITS
from edgeq.ops._sample import choice, int_range, signs, weights
from edgeq.ops.add import Add
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.upsample import Upsample
from edgeq.passes import hardware_passes

FRAMES = 6


def draw_network(draw: Draw) -> Graph:
    """A random network: layers, pools and residual joins on any earlier tensors, then all loose ends into one dense layer."""
    graph = Graph("x", IntType((draw(1, 3), 2 * draw(1, 3), 2 * draw(1, 3)), *int_range(draw, 8)))
    types = {"x": graph.input_type}

    def add(op: Op, *inputs: str) -> str:
        name = f"t{len(graph.nodes)}"
        graph.nodes.append(Node(f"n{len(graph.nodes)}", op, inputs, name))
        types[name] = op.infer(*(types[i] for i in inputs))
        return name

    for _ in range(draw(3, 6)):
        x = list(types)[-1 - draw(0, min(2, len(types) - 1))]
        t = types[x]
        step = draw(0, 6)
        partners = [name for name, other in types.items() if other.shape[1:] == t.shape[1:]]
        if step == 0 and min(t.shape[1:]) > 1:
            add(MaxPool((2, 2), (2, 2)), x)
        elif step == 1 and t.pixels <= 16:
            add(Upsample((draw(1, 2), 2)), x)
        elif step == 2:
            add(Concat(), x, choice(draw, partners))
        elif step == 3:
            other = choice(draw, [name for name in partners if types[name].shape == t.shape])
            add(Add(np.array([1]), np.array([draw(-2, 2)])), x, other)
        elif t.width <= MAX_ACTIVATION_BITS:
            k = choice(draw, [1, 3])
            shape = (draw(1, 4), t.channels, k, k)
            kind = BinaryConv2d if t.bipolar else Conv2d
            conv = kind(signs(draw, shape) if t.bipolar else weights(draw, shape), pads=(k // 2,) * 4)
            post = parity.draw_post(conv, t, draw)
            add(post, add(conv, x))
    read = {name for node in graph.nodes for name in node.inputs}
    ends = [add(Rearrange(t.shape, (0, 1, 2), (t.size,)), name) for name, t in list(types.items()) if name not in read]
    for end in ends[1:]:
        ends[0] = add(Concat(), ends[0], end)
    graph.output = ends[0]
    return graph


def varied_network(seed: int) -> tuple[Graph, np.ndarray, np.ndarray]:
    """The first random network of this seed of which most outputs vary, frames for it and the reference's outputs."""
    draw = parity.seeded(seed)
    while True:
        graph = draw_network(draw)
        x = graph.input_type.random(np.random.default_rng(seed), FRAMES)
        y = ReferenceEngine(graph).run(x)
        if np.mean(np.ptp(y, axis=0) > 0) > 0.5 and graph.types()[graph.output].width < EXACT_BITS:
            return graph, x, y


def random_folds(graph: Graph, seed: int) -> dict[str, Fold]:
    """Each operator built in any of its ways."""
    draw, types = parity.seeded(seed), graph.types()
    return {node.name: choice(draw, node.op.folds(*(types[name] for name in node.inputs))) for node in graph.nodes}


@pytest.mark.parametrize("seed", range(60))
def test_onnxruntime_and_the_hardware_passes_keep_every_integer(seed: int, tmp_path: Path) -> None:
    graph, x, y = varied_network(seed)
    lower_onnx.save(graph, tmp_path / "m.onnx")
    assert parity.mismatches(y, OrtEngine(tmp_path / "m.onnx", threads=1).run(x)) == 0
    assert parity.mismatches(y, ReferenceEngine(hardware_passes(graph)).run(x)) == 0


@pytest.mark.parametrize("seed", range(parity.EXAMPLES))
def test_verilog_equals_the_reference(seed: int, tmp_path: Path) -> None:
    graph, x, y = varied_network(seed)
    built = hardware_passes(graph)
    parity.check_verilog(built, random_folds(built, seed), x, y, tmp_path)
    parity.check_synthesized_verilog(built, x, y, tmp_path)


@pytest.mark.parametrize("seed", range(max(1, parity.EXAMPLES // 4)))
def test_hls_equals_the_reference(seed: int, tmp_path: Path) -> None:
    graph, x, y = varied_network(seed)
    built = hardware_passes(graph)
    hls.lower(built, random_folds(built, seed), board("ultra96"), tmp_path)
    assert parity.mismatches(y, HlsEngine(tmp_path).run(x)) == 0
