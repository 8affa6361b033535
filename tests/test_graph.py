"""The integer graph: the type of a tensor, the range of an operator, and the rules of a well-formed graph."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import parity
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.graph import Graph, IntType, Node, Op, range_width
from edgeq.ops import _sample, registry
from edgeq.ops.add import Add
from edgeq.ops.average_pool import AveragePool
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense
from edgeq.ops.global_average_pool import GlobalAveragePool
from edgeq.ops.lookup import Lookup
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold
from edgeq.ops.upsample import Upsample

ONE = np.array([1])
IMAGE = IntType((2, 4, 4), -8, 7)
BINARY = IntType((2, 4, 4), -1, 1, 2)
VECTOR = IntType((4,), 0, 15)


@st.composite
def int_types(draw: st.DrawFn) -> IntType:
    def number(lo: int, hi: int) -> int:
        return draw(st.integers(lo, hi))

    return _sample.int_type(number, _sample.any_shape(number), bits=60)


def requantize(**changes: object) -> Requantize:
    fields = {"multiplier": ONE, "offset": ONE, "shift": 1, "rounding": "floor", "lo": -8, "hi": 7}
    return Requantize(**(fields | changes))  # type: ignore[arg-type]


def threshold(**changes: object) -> Threshold:
    return Threshold(**({"thresholds": np.array([[1, 2]]), "negative": np.array([0]), "base": 0} | changes))  # type: ignore[arg-type]


@given(int_types())
def test_the_code_is_as_wide_as_it_must_be_and_no_wider(t: IntType) -> None:
    codes = 2 if t.bipolar else 1 << t.width
    least = -(codes // 2) if t.signed else 0
    values = (0, 1) if t.bipolar else (t.lo, t.hi)
    assert least <= values[0] and values[1] < least + codes
    if t.width > 1:
        least, codes = (-(codes // 4), codes // 2) if t.signed else (0, codes // 2)
        assert values[0] < least or values[1] >= least + codes


@given(int_types())
def test_storage_is_the_smallest_element_type_that_holds_the_range(t: IntType) -> None:
    fitting = [d for d in (np.uint8, np.int8, np.int32, np.int64) if np.iinfo(d).min <= t.lo and t.hi <= np.iinfo(d).max]
    assert t.storage == fitting[0]


@given(int_types(), st.integers(0, 1 << 30))
def test_random_frames_are_legal_and_reach_both_ends(t: IntType, seed: int) -> None:
    x = t.random(np.random.default_rng(seed), 5)
    assert x.shape == (5, *t.shape) and x.dtype == np.int64
    assert t.admits(x) and (x.min(), x.max()) == (t.lo, t.hi)


@given(int_types(), st.data())
def test_admits_refuses_what_is_out_of_range_off_the_step_or_of_another_shape(t: IntType, data: st.DataObject) -> None:
    x = t.random(np.random.default_rng(0), 2)
    wrong = [t.lo - t.step, t.hi + t.step, *([t.lo + 1] if t.step > 1 else [])]
    y = x.copy()
    y.flat[data.draw(st.integers(0, y.size - 1))] = data.draw(st.sampled_from(wrong))
    assert not t.admits(y)
    assert not t.admits(x[:, None])


@pytest.mark.parametrize(
    ("lo", "hi", "bits"),
    [(0, 0, 1), (0, 1, 1), (0, 255, 8), (-1, 0, 1), (-1, 1, 2), (-2, 1, 2), (-128, 127, 8), (-129, 0, 9), (-8, -8, 4)],
)
def test_range_width(lo: int, hi: int, bits: int) -> None:
    assert range_width(lo, hi) == bits


def test_a_binary_tensor_has_one_bit_and_is_not_signed() -> None:
    assert (BINARY.bipolar, BINARY.signed, BINARY.width) == (True, False, 1)
    ternary = IntType((2,), -1, 1)
    assert (ternary.bipolar, ternary.signed, ternary.width) == (False, True, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((2, 3), 0, 1), "has shape"),
        (((), 0, 1), "has shape"),
        (((0,), 0, 1), "has shape"),
        (((1, -4, 4), 0, 1), "has shape"),
        (((100_000, 100_000, 1), 0, 1), "the limit is"),
        (((1 << 40, 1 << 40, 1 << 40), 0, 1), "the limit is"),
        (((1,), 1, 0), "impossible range"),
        (((1,), 0, 3, 2), "impossible range"),
        (((1,), 0, 3, 0), "impossible range"),
        (((1,), 0, 1 << 63), "leaves 63 bits"),
        (((1,), -(1 << 63), 0), "leaves 63 bits"),
    ],
)
def test_impossible_types_are_refused(fields: tuple, message: str) -> None:
    with pytest.raises(EdgeqError, match=message):
        IntType(*fields)


@pytest.mark.parametrize("kind", parity.KINDS, ids=lambda kind: kind.kind())
@pytest.mark.parametrize("seed", range(10))
def test_the_inferred_range_holds_every_value(kind: type[Op], seed: int) -> None:
    case = parity.varied_case(kind, seed)
    x = case.graph.input_type.random(np.random.default_rng(seed), 50)
    values = ReferenceEngine(case.graph).run_all(x)  # raises where a value leaves its inferred type
    assert case.graph.types()["y"].admits(values["y"])


@pytest.mark.parametrize("seed", range(10))
def test_the_range_of_a_layer_is_exact(seed: int) -> None:
    draw = parity.seeded(seed)
    layer, (x,) = Dense.sample(draw)
    assert isinstance(layer, Dense)
    y = layer.infer(x)
    ends = np.concatenate([np.where(layer.weight > 0, x.hi, x.lo), np.where(layer.weight > 0, x.lo, x.hi)])
    found = layer.reference(ends)
    assert (found.min(), found.max()) == (y.lo, y.hi)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Conv2d(np.ones((1, 3, 1, 1), np.int64)), [IMAGE], "do not match weights"),
        (Conv2d(np.ones((1, 2), np.int64)), [IMAGE], "have shape"),
        (Conv2d(np.ones((3, 1, 1, 1), np.int64), groups=2), [IMAGE], "in 2 groups"),
        (Conv2d(np.ones((1, 2, 5, 1), np.int64)), [IMAGE], "does not fit"),
        (Conv2d(np.ones((1, 2, 3, 3), np.int64), dilation=(2, 2)), [IMAGE], "does not fit"),
        (Conv2d(np.ones((1, 2, 1, 1), np.int64), stride=(0, 1)), [IMAGE], "stride"),
        (Conv2d(np.ones((1, 2, 1, 1), np.int64), pads=(0, -1, 0, 0)), [IMAGE], "pads"),
        (Conv2d(np.ones((1, 2, 1, 1), np.int64)), [VECTOR], "cannot slide"),
        (Conv2d(np.full((1, 2, 1, 1), 256)), [IMAGE], "weights reach"),
        (Conv2d(np.array([-1, 128]).reshape(1, 2, 1, 1)), [IMAGE], "weights reach"),
        (Conv2d(np.ones((1, 2, 1, 1), np.int64)), [IntType((2, 4, 4), 0, 1 << 16)], "17 bits"),
        (Dense(np.ones((1, 3), np.int64)), [VECTOR], "does not match"),
        (Dense(np.ones((1, 32), np.int64)), [IMAGE], "does not match"),
        (Dense(np.full((1, 33_030), 255)), [IntType((33_030,), 0, 255)], "pass 32 bits"),
        (BinaryConv2d(np.ones((1, 2, 1, 1), np.int64)), [IMAGE], "must be {-1, \\+1}"),
        (BinaryConv2d(np.zeros((1, 2, 1, 1), np.int64)), [BINARY], "other than -1 and"),
        (BinaryDense(np.ones((1, 4), np.int64)), [VECTOR], "must be {-1, \\+1}"),
        (threshold(thresholds=np.array([1, 2])), [VECTOR], "do not match"),
        (threshold(thresholds=np.ones((3, 1), np.int64)), [VECTOR], "do not match"),
        (threshold(negative=np.array([0, 1])), [VECTOR], "do not match"),
        (threshold(negative=np.array([2])), [VECTOR], "0 or 1 a channel"),
        (threshold(thresholds=np.ones((1, 256), np.int64)), [VECTOR], "256 thresholds"),
        (threshold(step=0), [VECTOR], "step 0"),
        (requantize(shift=-1), [VECTOR], "a shift of -1"),
        (requantize(shift=61), [VECTOR], "a shift of 61"),
        (requantize(rounding="half_up"), [VECTOR], "half_even, floor"),
        (requantize(multiplier=np.array([1, 2])), [VECTOR], "multipliers"),
        (requantize(offset=np.array([[1]])), [VECTOR], "offsets"),
        (requantize(multiplier=np.array([1 << 58])), [VECTOR], "shorter multiplier"),
        (requantize(lo=3, hi=2), [VECTOR], r"clips to \[3, 2\]"),
        (Lookup(np.arange(5000)[None], 0), [IntType((4,), 0, 4096)], "13 bits"),
        (Lookup(np.arange(5000)[None], 0), [VECTOR], "shape"),
        (Lookup(np.arange(16), 0), [VECTOR], "shape"),
        (Lookup(np.zeros((3, 16), np.int64), 0), [VECTOR], "shape"),
        (Lookup(np.arange(16)[None], 0, 0), [VECTOR], "step 0"),
        (Lookup(np.arange(15)[None], 0), [VECTOR], "all values"),
        (Lookup(np.arange(16)[None], 1), [VECTOR], "all values"),
        (Lookup(np.arange(16)[None], 0, 2), [VECTOR], "all values"),
        (Lookup(np.array([[-(1 << 63), 0]]), 0), [IntType((4,), 0, 1)], "leaves 63 bits"),
        (MaxPool((5, 1)), [IMAGE], "does not fit"),
        (MaxPool((2, 2), pads=(2, 0, 0, 0)), [IMAGE], "wholly in the padding"),
        (MaxPool((2, 1), pads=(1, 0, 1, 0), dilation=(5, 1)), [IntType((1, 4, 1), 0, 1)], "wholly in the padding"),
        (AveragePool((1, 1), stride=(1, 0)), [IMAGE], "stride"),
        (GlobalAveragePool(), [VECTOR], r"\(C, H, W\)"),
        (GlobalAveragePool(), [IntType((1, 4, 4), 0, 1 << 50)], "2\\^53"),
        (Upsample((0, 1)), [IMAGE], "factors of 1 or more"),
        (Upsample((2, 2)), [VECTOR], r"\(C, H, W\)"),
        (Add(ONE, ONE), [VECTOR, IntType((3,), 0, 15)], "cannot add"),
        (Add(ONE, np.array([1, 2])), [VECTOR, VECTOR], "cannot add"),
        (Add(np.array([1 << 15]), ONE), [VECTOR, VECTOR], "scales closer"),
        (Concat(), [IMAGE, IntType((2, 4, 3), 0, 1)], "cannot concatenate"),
        (Concat(), [IMAGE, VECTOR], "cannot concatenate"),
        (Rearrange((2, 4), (1, 0), (8,)), [IMAGE], "cannot rearrange"),
        (Rearrange((2, 16), (1, 1), (32,)), [IMAGE], "cannot rearrange"),
        (Rearrange((-2, -16), (1, 0), (32,)), [IMAGE], "cannot rearrange"),
    ],
    ids=lambda value: value.kind() if isinstance(value, Op) else None,
)
def test_illegal_operators_are_refused_with_the_node_named(op: Op, types: list[IntType], message: str) -> None:
    with pytest.raises(EdgeqError, match=message):
        op.infer(*types)
    if len(types) == 1:
        with pytest.raises(EdgeqError, match=message) as caught:
            Graph("x", types[0], [Node("layer7", op, ("x",), "y")], "y").check()
        assert caught.value.where == "layer7"


def node(name: str, source: str, result: str) -> Node:
    return Node(name, requantize(), (source,), result)


@pytest.mark.parametrize(
    ("nodes", "output", "message"),
    [
        ([node("a", "x", "y"), node("a", "y", "z")], "z", "node name 'a' occurs twice"),
        ([node("a", "x", "y"), node("b", "x", "y")], "y", "tensor name 'y' occurs twice"),
        ([node("a", "x", "x")], "x", "tensor name 'x' occurs twice"),
        ([node("a", "z", "y"), node("b", "x", "z")], "y", "before it is made"),
        ([node("a", "nowhere", "y")], "y", "nowhere"),
        ([node("a", "x", "y")], "z", "'z' is made by no node"),
        ([node("a", "x", "y"), node("b", "x", "z")], "z", "'y' is used by nothing"),
        ([Node("a", Add(ONE, ONE), ("x",), "y")], "y", "takes 2 inputs, not 1"),
        ([Node("a", requantize(), ("x", "x"), "y")], "y", "takes 1 inputs, not 2"),
    ],
)
def test_malformed_graphs_are_refused(nodes: list[Node], output: str, message: str) -> None:
    with pytest.raises(EdgeqError, match=message):
        Graph("x", VECTOR, nodes, output).check()


def test_the_reference_refuses_an_input_outside_its_type() -> None:
    engine = ReferenceEngine(Graph("x", VECTOR, [node("a", "x", "y")], "y"))
    with pytest.raises(EdgeqError, match="does not fit"):
        engine.run(np.full((1, 4), 16))


def test_an_operator_that_brings_no_sample_fails_the_parity_suite() -> None:
    class Silent(Op):
        """Declares nothing."""

    with pytest.raises(NotImplementedError, match="Silent has no sample"):
        parity.draw_case(Silent, parity.seeded(0))  # type: ignore[type-abstract]


def test_every_operator_file_is_in_the_registry_and_has_its_hardware() -> None:
    stems = sorted(path.stem for path in Path(str(files("edgeq.ops"))).glob("[!_]*.py"))
    assert sorted(kind.__module__.rsplit(".", 1)[1] for kind in registry().values()) == stems
    library = files("edgeq.hls")
    missing = [p for s in stems for p in (f"nnet/eq_{s}.h", f"rtl/eq_{s}.sv") if not library.joinpath(p).is_file()]
    assert missing == []
    assert list(registry()) == sorted(registry())
    assert [kind.kind() for kind in registry().values() if not kind.summary] == []
