"""Constant tokens, positions and the choice of tokens: against loops over Python's integers, at the ends of their ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity
import pytest

from edgeq.beats import fitted
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.graph import Graph, IntType, Node, Op
from edgeq.ops.add_position import AddPosition
from edgeq.ops.append_tokens import AppendTokens
from edgeq.ops.select_channels import SelectChannels
from edgeq.ops.select_tokens import SelectTokens

IMAGE = IntType((2, 2, 3), -8, 7)
WIDE = 1 << 62


def pixels(x: np.ndarray) -> list[list[int]]:
    """x [C, H, W] as a list of tokens."""
    found: list[list[int]] = x.reshape(len(x), -1).T.tolist()
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_reference_is_what_lists_of_tokens_say(seed: int) -> None:
    """500 frames each."""
    rng = np.random.default_rng(seed)
    c, h, w = rng.integers(1, 6, 3).tolist()
    kind = IntType((c, h, w), -99, 1 << int(rng.integers(0, 40)))
    x = kind.random(rng, 500)
    tokens, position = (rng.integers(-(1 << 40), 1 << 40, (c, n)) for n in (int(rng.integers(1, 5)), h * w))
    start = int(rng.integers(0, h * w))
    count = int(rng.integers(1, h * w - start + 1))
    append, add, select = AppendTokens(tokens), AddPosition(position), SelectTokens(start, count)
    front = AppendTokens(tokens, 1)
    appended, added, selected, fronted = (op.reference(x) for op in (append, add, select, front))
    for k in range(500):
        frame = pixels(x[k])
        assert pixels(appended[k]) == frame + tokens.T.tolist()
        assert pixels(fronted[k]) == tokens.T.tolist() + frame
        moved = [[v + p for v, p in zip(a, b, strict=True)] for a, b in zip(frame, position.T.tolist(), strict=True)]
        assert pixels(added[k]) == moved
        assert pixels(selected[k]) == frame[start : start + count]
    for op, y in ((append, appended), (add, added), (select, selected)):
        assert op.infer(kind).admits(y)


def test_ranges_and_steps_are_exact() -> None:
    bipolar = IntType((1, 1, 2), -1, 1, 2)
    assert AppendTokens(np.array([[1, -1]])).infer(bipolar) == IntType((1, 1, 4), -1, 1, 2)
    assert AppendTokens(np.array([[0]])).infer(bipolar) == IntType((1, 1, 3), -1, 1)
    assert AppendTokens(np.array([[5]])).infer(bipolar) == IntType((1, 1, 3), -1, 5, 2)
    assert AddPosition(np.array([[2, -4]])).infer(bipolar) == IntType((1, 1, 2), -5, 3, 2)
    assert AddPosition(np.array([[2, -3]])).infer(bipolar) == IntType((1, 1, 2), -4, 3)
    assert AddPosition(np.array([[0, 6]])).infer(IntType((1, 1, 2), 4, 4)) == IntType((1, 1, 2), 4, 10, 6)
    assert AppendTokens(np.array([[WIDE, -WIDE]])).infer(bipolar) == IntType((1, 1, 4), -WIDE, WIDE)
    assert SelectTokens(1, 4, 2).infer(IMAGE) == IntType((2, 2, 2), -8, 7)
    assert SelectTokens(0, 6, 2).is_identity(IMAGE) and not SelectTokens(0, 6).is_identity(IMAGE)
    assert AddPosition(np.zeros((2, 6), np.int64)).is_identity(IMAGE)


@pytest.mark.parametrize(
    ("op", "kind", "message"),
    [
        (AppendTokens(np.zeros((3, 1), np.int64)), IMAGE, r"tokens of shape \(3, 1\)"),
        (AppendTokens(np.zeros((2, 0), np.int64)), IMAGE, "tokens of shape"),
        (AppendTokens(np.zeros(2, np.int64)), IMAGE, "tokens of shape"),
        (AppendTokens(np.zeros((2, 1), np.int64)), IntType((2,), 0, 1), "tokens of shape"),
        (AppendTokens(np.full((2, 1), WIDE + 1)), IMAGE, "leaves 63 bits"),
        (AppendTokens(np.zeros((2, 1), np.int64), 2), IMAGE, "front is 2"),
        (AddPosition(np.zeros((2, 5), np.int64)), IMAGE, r"positions of shape \(2, 5\)"),
        (AddPosition(np.zeros((2, 6), np.int64)), IntType((2,), 0, 1), "positions of shape"),
        (AddPosition(np.full((2, 6), WIDE)), IMAGE, "leaves 63 bits"),
        (SelectTokens(-1, 2), IMAGE, "pixels -1 to 0"),
        (SelectTokens(0, 0), IMAGE, "pixels 0 to -1"),
        (SelectTokens(3, 4), IMAGE, "pixels 3 to 6"),
        (SelectTokens(0, 4, 0), IMAGE, "pixels 0 to 3"),
        (SelectTokens(0, 4, 3), IMAGE, "4 pixels in 3 rows"),
        (SelectTokens(0, 1), IntType((4,), 0, 1), "pixels of"),
        (SelectChannels(-1, 2), IMAGE, "channels -1 to 0"),
        (SelectChannels(0, 0), IMAGE, "channels 0 to -1"),
        (SelectChannels(1, 2), IMAGE, "channels 1 to 2"),
    ],
)
def test_what_is_not_legal_is_refused(op: Op, kind: IntType, message: str) -> None:
    with pytest.raises(EdgeqError, match=message) as caught:
        op.infer(kind)
    assert caught.value.what or caught.value.fix


def test_in_other_units() -> None:
    for kind in (AppendTokens, AddPosition):
        constants = np.array([[4, -12]])
        for exponent, expected in ((2, [[1, -3]]), (-1, [[8, -24]]), (0, [[4, -12]])):
            made, e = kind(constants).rescaled(exponent)
            (values,) = made.arrays().values()
            assert (values.tolist(), e) == (expected, exponent)
        for exponent in (3, -60, -100):
            with pytest.raises(EdgeqError, match="in units of"):
                kind(constants).rescaled(exponent)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("front", [0, 1])
def test_a_class_token_with_its_position_goes_in_and_out(front: int, narrow: bool, tmp_path: Path) -> None:
    """More positions than LUT ROMs hold, the tokens in block RAM; what is selected at the end is what a frame had there."""
    rng = np.random.default_rng(0)
    x = IntType((3, 7, 11), -128, 127)
    nodes = [
        Node("append", AppendTokens(rng.integers(-90, 90, (3, 70)), front), ("x",), "tokens"),
        Node("add", AddPosition(rng.integers(-1000, 1000, (3, 147))), ("tokens",), "placed"),
        Node("select", SelectTokens(75, 72, 8), ("placed",), "y"),
    ]
    graph = Graph("x", x, nodes, "y")
    data = x.random(rng, 5)
    y = ReferenceEngine(graph).run(data)
    folds = {node.name: (node.op.narrow_folds if narrow else node.op.folds)(x)[0] for node in nodes}
    assert parity.check_verilog(*fitted(graph, folds), data, y, tmp_path) == (3 * 147 if narrow else 147)
