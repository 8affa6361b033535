"""Import of QONNX: what each operator means, against qonnx's own execution; and what is refused."""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from qonnx_models import DOMAIN, MODES, Builder, check, kinds, random_model

from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.frontend.exact import ROUNDINGS, SIGN, Lane, Quantizer, common_divisor, integer_operator, transitions
from edgeq.frontend.qonnx import apply_tail, execute, import_qonnx, input_codes, input_floats, load_model, random_inputs
from edgeq.graph import IntType
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold

RNG = np.random.default_rng(0)


# Exact chains


def rounded(mode: str, u: Fraction) -> int:
    """QONNX's rounding modes and the two that only ap_fixed has, written down independently."""
    away = floor(abs(u) + Fraction(1, 2)) * (1 if u >= 0 else -1)
    towards = ceil(abs(u) - Fraction(1, 2)) * (1 if u >= 0 else -1)
    return {
        "HALF_EVEN": round(u), "FLOOR": floor(u), "CEIL": ceil(u), "HALF_UP": away, "HALF_DOWN": towards,
        "UP": ceil(abs(u)) * (1 if u >= 0 else -1), "DOWN": floor(abs(u)) * (1 if u >= 0 else -1),
        "HALF_CEIL": floor(u + Fraction(1, 2)), "HALF_FLOOR": ceil(u - Fraction(1, 2)),
    }[mode]  # fmt: skip


def code(q: Quantizer, u: Fraction) -> int:
    if q.mode == SIGN:
        return 1 if u >= 0 else -1
    return min(max(rounded(q.mode, u), q.lo), q.hi)


small = st.fractions(min_value=-3, max_value=3, max_denominator=16)
maybe = st.none() | st.fractions(min_value=-40, max_value=40, max_denominator=4)


@given(
    a=small,
    b=small,
    low=maybe,
    high=maybe,
    mode=st.sampled_from(sorted({*ROUNDINGS.values(), "HALF_CEIL", "HALF_FLOOR", SIGN})),
    zero=st.integers(-3, 3),
)
@settings(max_examples=300)
def test_thresholds_equal_the_chain(
    a: Fraction, b: Fraction, low: Fraction | None, high: Fraction | None, mode: str, zero: int
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    q = Quantizer((Fraction(1),), 0 if mode == SIGN else zero, *((-1, 1) if mode == SIGN else (-7, 8)), mode)
    lane = Lane(a, b, low, high)
    expected = [code(q, lane.value(v)) - q.zero for v in range(-25, 26)]
    t = transitions(lane, q, -25, 25)
    for v, want in zip(range(-25, 26), expected, strict=True):
        count = int((v <= t).sum() if a < 0 else (v >= t).sum())
        assert want == (2 * count - 1 if mode == SIGN else q.lo + count - q.zero)
    op = integer_operator((lane,), q, IntType((1,), -25, 25))
    assert op is not None
    assert op.reference(np.arange(-25, 26)[:, None])[:, 0].tolist() == expected


@given(
    a=st.floats(0.001, 0.2), b=st.floats(-9, 9), sign=st.sampled_from([-1, 1]), mode=st.sampled_from(sorted(ROUNDINGS.values())),
    zero=st.integers(0, 5), relu=st.booleans(),
)  # fmt: skip
@settings(max_examples=20)
def test_requantization_equals_the_chain(a: float, b: float, sign: int, mode: str, zero: int, relu: bool) -> None:
    lanes = tuple(Lane(Fraction(sign * a * k), Fraction(b), Fraction(0) if relu else None) for k in (1, 3))
    q = Quantizer((Fraction(1),), zero, 0, 255, mode)
    op = integer_operator(lanes, q, IntType((2,), -2000, 2000))
    assert op is not None
    v = np.arange(-2000, 2001)
    expected = [[code(q, lane.value(int(x))) - zero for lane in lanes] for x in v]
    assert np.array_equal(op.reference(np.stack([v, v], axis=1)), expected)


def test_power_of_two_scales_become_a_plain_shift() -> None:
    op = integer_operator(
        (Lane(Fraction(1, 64)),), Quantizer((Fraction(1),), 0, -128, 127, "HALF_EVEN"), IntType((1,), -9999, 9999)
    )
    assert isinstance(op, Requantize)
    assert (op.multiplier.tolist(), op.offset.tolist(), op.shift, op.rounding) == ([1], [0], 6, "half_even")


def test_at_most_four_bits_become_thresholds() -> None:
    x = IntType((1,), -999, 999)
    assert isinstance(integer_operator((Lane(Fraction(1, 64)),), Quantizer((Fraction(1),), 0, -8, 7, "FLOOR"), x), Threshold)
    assert isinstance(integer_operator((Lane(Fraction(1, 8)),), Quantizer((Fraction(1),), 0, -16, 15, "FLOOR"), x), Requantize)


def test_chains_that_no_shift_equals_become_thresholds() -> None:
    lanes = (Lane(Fraction(1, 4), Fraction(0), Fraction(-20), None), Lane(Fraction(1, 4), Fraction(0), Fraction(5), None))
    op = integer_operator(lanes, Quantizer((Fraction(1),), 0, -32, 31, "HALF_UP"), IntType((2,), -500, 500))
    assert isinstance(op, Threshold)


def test_a_lane_composes_clips_in_any_order() -> None:
    lane = (
        Lane(Fraction(2)).clipped(Fraction(-3), Fraction(5)).scaled(Fraction(-1)).shifted(Fraction(1)).clipped(Fraction(0), None)
    )
    for v in range(-6, 7):
        assert lane.value(v) == max(1 - min(max(2 * v, -3), 5), 0)


def test_common_divisor() -> None:
    assert common_divisor([Fraction(3, 4), Fraction(-1, 2), Fraction(0)]) == Fraction(1, 4)
    assert common_divisor([Fraction(0)]) == 1


# Against qonnx


@pytest.mark.parametrize("seed", range(30))
def test_random_models_equal_qonnx(seed: int, tmp_path: Path) -> None:
    model, exact = random_model(seed)
    check(model, tmp_path, frames=6, grid=1 / 64 if exact else 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_execution_in_batches_is_qonnx_own(seed: int, tmp_path: Path) -> None:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model, _ = random_model(seed)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    x = np.random.default_rng(seed).normal(size=(3, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])))
    y = model.graph.output[0].name
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 5]))
    wrapped = ModelWrapper(model).transform(InferShapes())
    frames = [execute_onnx(wrapped, {"x": frame[None].astype(np.float32)})[y] for frame in x]
    x = x.astype(np.float32)
    assert np.array_equal(np.concatenate([execute(tmp_path / "m.onnx", frame[None]) for frame in x]), np.concatenate(frames))
    # a batch may be summed in another order
    assert np.allclose(execute(tmp_path / "m.onnx", x), np.concatenate(frames), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", [*MODES, "HALF_EVEN", "ROUND_TO_ZERO", "round"])
@pytest.mark.parametrize("signed", [0, 1])
def test_every_rounding_mode(mode: str, signed: int, tmp_path: Path) -> None:
    b = Builder(3)
    x = b.quant("x", 0.5, 6)
    y = b.quant(b.op("MatMul", x, b.weight([[1.0, -0.75], [0.5, 0.25], [-1.0, 1.0]])), 0.5, 5, signed, mode=mode)
    check(b.model(y), tmp_path, grid=0.25, frames=200)


@pytest.mark.parametrize("domain", [DOMAIN, "finn.custom_op.general", "onnx.brevitas"])
@pytest.mark.parametrize("op_type", ["Quant", "IntQuant"])
def test_quantizer_names_and_domains(domain: str, op_type: str, tmp_path: Path) -> None:
    b = Builder(3)
    x = b.quant("x", 0.5, 3, op_type=op_type, domain=domain)
    check(b.model(b.op("MatMul", x, b.weight(RNG.normal(size=(3, 2))))), tmp_path)


def test_one_bit_quantizers(tmp_path: Path) -> None:
    b = Builder(3)
    x = b.quant("x", 0.5, 1, signed=1)
    y = b.quant(b.op("MatMul", x, b.sign(b.const(RNG.normal(size=(3, 2))))), 1.0, 1, signed=0)
    graph = check(b.model(y), tmp_path)
    assert graph.input_type == IntType((3,), -1, 1, 2)
    assert kinds(graph) == ["BinaryDense", "Threshold"]
    assert graph.types()[graph.output] == IntType((2,), 0, 1)


def test_negative_and_zero_slopes_before_a_sign(tmp_path: Path) -> None:
    b = Builder(8)
    x = b.op("MatMul", b.sign("x"), b.sign(b.const(RNG.normal(size=(8, 5)))))
    y = b.sign(b.batch_norm(x, [1.0, -1.0, 0.0, -0.5, 2.0]))
    check(b.model(y), tmp_path, frames=100)
    zero = b.op("BatchNormalization", x, *(b.const(v) for v in (-np.ones(5), np.zeros(5), np.zeros(5), np.ones(5))))
    graph = import_qonnx(b.model(b.sign(zero)))  # 0 * -1: sign(0) = +1 holds behind a negative slope too
    op = graph.nodes[-1].op
    assert isinstance(op, Threshold)
    assert op.reference(np.zeros((1, 5), np.int64)).tolist() == [[1] * 5]
    assert op.reference(np.full((1, 5), 2)).tolist() == [[-1] * 5]


def test_shape_idiom(tmp_path: Path) -> None:
    b = Builder(2, 3, 3, opset=11)
    x = b.quant("x", 0.5, 4)
    first = b.op("Gather", b.op("Shape", x), b.const(0, np.int64), axis=0)
    target = b.op("Concat", b.op("Unsqueeze", first, axes=[0]), b.const([-1], np.int64), axis=0)
    y = b.op("MatMul", b.op("Reshape", x, target), b.weight(RNG.normal(size=(18, 3))))
    graph = check(b.model(y), tmp_path)
    assert (kinds(graph), graph.input_type.shape) == (["Dense"], (18,))  # a leading flatten becomes the input's shape
    assert kinds(check(b.model(y), tmp_path, "int8/16")) == ["Threshold", "Rearrange", "Dense"]


def test_constant_subgraphs_fold(tmp_path: Path) -> None:
    b = Builder(4)
    scale = b.op("Div", b.op("Sqrt", b.const(4.0)), b.const(8.0))
    x = b.op("Quant", "x", scale, b.const(0.0), b.const(4.0), domain=DOMAIN, signed=1, narrow=0, rounding_mode="ROUND")
    y = b.op("MatMul", x, b.op("Transpose", b.weight(RNG.normal(size=(3, 4))), perm=[1, 0]))
    y = b.op("Mul", b.op("Div", y, b.op("Pow", b.const(318.2), b.const(0.5))), b.op("Constant", value_float=0.5))
    graph = check(b.model(y), tmp_path)
    assert graph.meta["real"][graph.meta["input"]["quantizer"]]["scale"] == ["1/4"]


@pytest.mark.parametrize(
    "pads", [{"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"}, {"pads": [0, 1, 2, 1]}]
)
def test_convolution_geometry(pads: dict[str, object], tmp_path: Path) -> None:
    b = Builder(4, 6, 5)
    x = b.quant("x", 0.25, 5)
    y = b.op("Conv", x, b.weight(RNG.normal(size=(6, 2, 3, 2))), b.const(RNG.normal(size=6)), strides=[2, 1], group=2, **pads)
    check(b.model(y), tmp_path)


def test_padding_waits_for_the_convolution(tmp_path: Path) -> None:
    b = Builder(2, 4, 4)
    x = b.op("Pad", b.sign("x"), b.const([0, 0, 1, 0, 0, 0, 0, 2], np.int64))
    graph = check(b.model(b.op("Conv", x, b.sign(b.const(RNG.normal(size=(3, 2, 3, 3)))))), tmp_path)
    assert kinds(graph) == ["BinaryConv2d"]
    assert graph.nodes[0].op.attributes()["pads"] == (1, 0, 0, 2)


@pytest.mark.parametrize("scale", [0.5, [[[[0.5]], [[0.25]]]], [[[[0.5]], [[-1.0]]]]])
def test_activations_are_scaled_where_a_product_needs_it(scale: object, tmp_path: Path) -> None:
    b = Builder(2, 4, 4)
    x = b.op("Relu", b.op("Add", b.op("Mul", b.quant("x", 0.5, 4), b.const(scale)), b.const(0.5)))
    check(b.model(b.op("Conv", x, b.weight(RNG.normal(size=(3, 2, 3, 3))), pads=[1, 1, 1, 1])), tmp_path)


def test_an_offset_stays_outside_of_an_unpadded_product(tmp_path: Path) -> None:
    b = Builder(4, 4, 4)
    x = b.op("Sub", b.op("Mul", "x", b.const(1.7)), b.const(RNG.normal(size=(1, 4, 1, 1))))
    x = b.op("Conv", x, b.weight(RNG.normal(size=(4, 2, 2, 2)), scale=np.full((4, 1, 1, 1), 0.3)), group=2)
    graph = check(b.model(b.quant(x, 0.1, 8)), tmp_path, "uint8/255")
    assert kinds(graph) == ["Conv2d", "Requantize"]


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_gemm(alpha: float, tmp_path: Path) -> None:
    b = Builder(4)
    x = b.quant("x", 0.5, 4)
    y = b.op("Gemm", x, b.weight(RNG.normal(size=(4, 3))), b.const(RNG.normal(size=3)), alpha=alpha, beta=0.7)
    check(b.model(b.quant(y, 0.05, 8)), tmp_path)


@pytest.mark.parametrize(
    "attributes",
    [{"ceil_mode": 1}, {"pads": [1, 0, 0, 1]}, {"auto_pad": "SAME_UPPER"}, {"dilations": [2, 1]}, {"strides": [3, 2]}],
)
def test_max_pool_of_a_falling_chain(attributes: dict[str, object], tmp_path: Path) -> None:
    b = Builder(2, 5, 6)
    x = b.op("Mul", b.quant("x", 0.5, 4), b.const([[[[1.0]], [[-0.3]]]]))
    x = b.op("MaxPool", b.op("Clip", x, b.const(-0.4), b.const(1.0)), **{"kernel_shape": [2, 2], "strides": [2, 2]} | attributes)
    check(b.model(b.quant(x, 0.1, 4)), tmp_path)


def test_max_pool_of_flipped_bits_stays_binary(tmp_path: Path) -> None:
    b = Builder(2, 4, 4)
    x = b.op("MaxPool", b.op("Neg", b.sign("x")), kernel_shape=[2, 2])
    graph = check(b.model(b.op("Conv", x, b.sign(b.const(RNG.normal(size=(3, 2, 2, 2)))))), tmp_path)
    assert kinds(graph) == ["Threshold", "MaxPool", "BinaryConv2d"]


def test_global_max_pool_of_a_falling_chain(tmp_path: Path) -> None:
    b = Builder(2, 3, 4)
    x = b.op("Mul", b.quant("x", 0.5, 4), b.const([[[[1.0]], [[-0.3]]]]))
    x = b.op("GlobalMaxPool", b.op("Clip", x, b.const(-0.4), b.const(1.0)))
    graph = check(b.model(b.quant(x, 0.1, 4)), tmp_path)
    assert kinds(graph) == ["Requantize", "GlobalMaxPool", "Threshold"]


def test_average_pools(tmp_path: Path) -> None:
    b = Builder(2, 6, 6)
    x = b.op("Add", b.quant("x", 0.3, 4), b.const(0.1))
    x = b.op("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1])
    x = b.quant(x, 0.1, 8)
    x = b.op("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    x = b.op("GlobalAveragePool", b.quant(x, 0.05, 8))
    check(b.model(b.quant(x, 0.01, 8)), tmp_path)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce_mean(keepdims: int, tmp_path: Path) -> None:
    b = Builder(2, 3, 3)
    x = b.op("ReduceMean", b.quant("x", 0.3, 4), b.const([-1, 2], np.int64), keepdims=keepdims)
    check(b.model(b.quant(x, 0.1, 6)), tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_trunc_after_a_pool(version: int, tmp_path: Path) -> None:
    b = Builder(2, 4, 4)
    x = b.op("AveragePool", b.quant("x", 0.3, 8, signed=0), kernel_shape=[2, 2], strides=[2, 2])
    if version == 1:
        tail = (b.const(v) for v in (np.float32(0.3) / 4, 0, 10, 8))
    else:
        tail = (b.const(v) for v in (np.float32(0.3) / 4, 0, 10, 0.3, 8))
    y = b.op("Trunc", x, *tail, domain=DOMAIN, rounding_mode="FLOOR", **({"signed": 0, "narrow": 0} if version == 2 else {}))
    graph = check(b.model(y), tmp_path)
    assert kinds(graph) == ["AveragePool", "Requantize"]


def test_residual_addition(tmp_path: Path) -> None:
    b = Builder(3, 4, 4)
    x = b.quant("x", 0.25, 6)
    y = b.quant(b.op("Conv", x, b.weight(RNG.normal(size=(3, 3, 1, 1)))), 0.75, 6)
    graph = check(b.model(b.quant(b.op("Relu", b.op("Sub", b.op("Add", x, y), x)), 0.5, 4)), tmp_path, grid=0.125)
    assert kinds(graph) == ["Conv2d", "Threshold", "Add", "Add", "Threshold"]
    assert [op.a.tolist() + op.b.tolist() for op in (n.op for n in graph.nodes) if hasattr(op, "b")] == [[1, 3], [1, -1]]


def test_a_tensor_plus_itself_needs_no_operator(tmp_path: Path) -> None:
    b = Builder(3)
    x = b.quant("x", 0.3, 4)
    assert kinds(check(b.model(b.op("MatMul", b.op("Add", x, x), b.weight(RNG.normal(size=(3, 2))))), tmp_path)) == ["Dense"]


def test_concat_of_three_scales(tmp_path: Path) -> None:
    b = Builder(2, 3, 3)
    x = b.quant("x", 0.5, 3)
    parts = [x, b.quant(b.op("Mul", x, b.const(0.7)), 0.25, 4), b.quant(b.op("Relu", x), 1.0, 2)]
    y = b.op("Conv", b.op("Concat", *parts, axis=1), b.weight(RNG.normal(size=(3, 6, 2, 2))))
    check(b.model(y), tmp_path)


@pytest.mark.parametrize(
    ("coordinates", "nearest", "fits"),
    [
        ("asymmetric", "floor", True), ("half_pixel", "round_prefer_floor", True), ("half_pixel", "round_prefer_ceil", True),
        ("pytorch_half_pixel", "round_prefer_floor", True), ("asymmetric", "round_prefer_floor", False),
        ("half_pixel", "floor", False), ("align_corners", "floor", False), ("asymmetric", "ceil", False),
    ],
)  # fmt: skip
def test_resize_modes(coordinates: str, nearest: str, fits: bool, tmp_path: Path) -> None:
    b = Builder(2, 3, 4)
    modes = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    x = b.op("Resize", b.quant("x", 0.5, 3), "", b.const([1, 1, 3, 2]), mode="nearest", **modes)
    model = b.model(b.op("Relu", x))
    if fits:
        assert kinds(check(model, tmp_path)) == ["Upsample"]
    else:
        with pytest.raises(EdgeqError, match="does not repeat each pixel"):
            import_qonnx(model)


def test_upsample_of_opset_9(tmp_path: Path) -> None:
    b = Builder(2, 3, 4, opset=9)
    check(b.model(b.op("Upsample", b.quant("x", 0.5, 3), b.const([1, 1, 2, 3]), mode="nearest")), tmp_path)


def test_reshape_transpose_chains(tmp_path: Path) -> None:
    b = Builder(4, 3, 2)
    x = b.quant("x", 0.5, 4)
    x = b.op("Reshape", x, b.const([1, 2, 2, 3, 2], np.int64))
    x = b.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = b.op("Reshape", x, b.const([0, 4, 6], np.int64))
    x = b.op("Transpose", b.op("Unsqueeze", x, b.const([3], np.int64)), perm=[0, 2, 1, 3])
    x = b.op("Flatten", b.op("Squeeze", x, b.const([3], np.int64)))
    y = b.op("MatMul", x, b.weight(RNG.normal(size=(24, 3))))
    graph = check(b.model(y), tmp_path)
    assert kinds(graph)[-1] == "Dense"


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("SpaceToDepth", {"blocksize": 2}), ("DepthToSpace", {"blocksize": 2}), ("DepthToSpace", {"blocksize": 2, "mode": "CRD"})],
)
def test_blocks_of_pixels_as_channels_and_back(op: str, attributes: dict[str, int | str], tmp_path: Path) -> None:
    b = Builder(8, 4, 6)
    x = b.op(op, b.quant("x", 0.5, 4), **attributes)
    graph = check(b.model(b.op("Conv", x, b.weight(RNG.normal(size=(3, 32 if op == "SpaceToDepth" else 2, 1, 1))))), tmp_path)
    assert kinds(graph) == ["Rearrange", "Conv2d"]


def test_blocks_in_front_of_the_quantizer_are_part_of_the_input(tmp_path: Path) -> None:
    b = Builder(1, 4, 4)
    x = b.quant(b.op("SpaceToDepth", "x", blocksize=2), 0.5, 4)
    graph = check(b.model(b.op("Conv", x, b.weight(RNG.normal(size=(3, 4, 1, 1))))), tmp_path)
    assert (kinds(graph), graph.input_type.shape) == (["Conv2d"], (4, 2, 2))


def test_lanes_follow_a_flattening(tmp_path: Path) -> None:
    b = Builder(2, 2, 2)
    x = b.op("Mul", b.quant("x", 0.5, 4), b.const([[[[0.3]], [[-0.7]]]]))
    check(b.model(b.quant(b.op("Flatten", x), 0.2, 4)), tmp_path)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("softmax", [False, True])
def test_argmax(keepdims: int, softmax: bool, tmp_path: Path) -> None:
    b = Builder(4)
    y = b.op("MatMul", b.quant("x", 0.5, 4), b.weight(RNG.normal(size=(4, 5))))
    y = b.op("Softmax", y, axis=1) if softmax else y
    graph = check(b.model(b.op("ArgMax", y, axis=1, keepdims=keepdims)), tmp_path)
    assert kinds(graph) == ["Dense", "Argmax"]


def test_trailing_softmax_is_cut_with_a_message(tmp_path: Path) -> None:
    b = Builder(4)
    y = b.op("Softmax", b.op("MatMul", b.quant("x", 0.5, 4), b.weight(RNG.normal(size=(4, 5)))), axis=1)
    graph = check(b.model(y), tmp_path)
    assert "softmax" in graph.meta["messages"][0]
    assert kinds(graph) == ["Dense"]


def test_min_max_clip_and_dropout(tmp_path: Path) -> None:
    b = Builder(4, opset=10)
    x = b.op("MatMul", b.quant("x", 0.5, 4), b.weight(RNG.normal(size=(4, 5))))
    x = b.op("Min", b.op("Max", x, b.const(-0.7)), b.const([[0.1, 0.5, 1.0, 1.5, 2.0]]))
    x = b.op("Cast", b.op("Dropout", b.op("Clip", x, min=-0.5, max=1.75)), to=TensorProto.FLOAT)
    check(b.model(b.quant(x, 0.2, 4)), tmp_path)


def test_equal_quantizers_in_a_row_are_one(tmp_path: Path) -> None:
    b = Builder(4)
    x = b.quant(b.quant("x", 0.5, 4), 0.5, 4)
    y = b.quant(b.op("MatMul", x, b.weight(RNG.normal(size=(4, 5)))), 0.3, 5)
    graph = check(b.model(b.op("Relu", b.quant(y, 0.3, 6))), tmp_path)
    assert kinds(graph) == ["Dense", "Requantize"]
    assert len(graph.meta["quantizers"]) == 4


@pytest.mark.parametrize(
    "weight", [[[1.0, -1.0], [-1.0, 1.0]], [[0.3, -0.3], [0.3, 0.3]], [[0.5, -1.25], [3.75, 0.0]], [[0.3, 0.0], [0.0, -0.3]]]
)
def test_folded_weights(weight: list[list[float]], tmp_path: Path) -> None:
    b = Builder(2)
    graph = check(b.model(b.op("MatMul", b.sign("x"), b.const(weight))), tmp_path)
    assert kinds(graph) == ["BinaryDense" if np.all(np.abs(weight) == np.abs(weight)[0][0]) else "Dense"]


def test_integer_model_inputs(tmp_path: Path) -> None:
    b = Builder(4)
    x = b.op("Mul", b.op("Cast", "x", to=TensorProto.FLOAT), b.const(1 / 255))
    model = b.model(b.quant(b.op("MatMul", x, b.weight(RNG.normal(size=(4, 3)))), 0.1, 8), kind=TensorProto.UINT8)
    graph = check(model, tmp_path)
    assert graph.input_type == IntType((4,), 0, 255)


@pytest.mark.parametrize("batch", ["N", 0, 3])
def test_batches(batch: object, tmp_path: Path) -> None:
    b = Builder(2, 2, 2)
    x = b.op("Flatten", b.quant("x", 0.5, 4))
    check(b.model(b.op("MatMul", x, b.weight(RNG.normal(size=(8, 3)))), batch=batch), tmp_path, frames=7)


def test_metadata_is_json_and_names_are_identifiers(tmp_path: Path) -> None:
    b = Builder(2)
    y = b.op("MatMul", b.quant("x", 0.5, 4), b.weight(RNG.normal(size=(2, 3))))
    b.nodes[-1].name = '"; system("true'
    graph = import_qonnx(b.model(y))
    assert json.loads(json.dumps(graph.meta)) == graph.meta
    assert all(node.name.isidentifier() and node.output.isidentifier() for node in graph.nodes)
    assert "system" in graph.meta["nodes"][graph.nodes[0].name]


# The ends


def test_input_codes_are_exact_at_every_boundary() -> None:
    for mode in MODES:
        b = Builder(2)
        x = b.quant(b.op("Sub", b.op("Mul", "x", b.const([[0.7, -1.3]])), b.const(0.1)), 0.3, 4, mode=mode)
        graph = import_qonnx(b.model(b.op("MatMul", x, b.weight(np.eye(2)))))
        middle = RNG.uniform(-5, 5, size=400).astype(np.float32)
        near = [
            np.nextafter(np.float32((0.3 * k / 2 + 0.1) / s), np.float32(d))
            for k in range(-18, 18)
            for s in (0.7, -1.3)
            for d in (-9, 9)
        ]
        values = np.concatenate([middle, np.array(near, np.float32)])
        q = Quantizer((Fraction(1),), 0, -8, 7, ROUNDINGS[mode])
        steps = [
            (Fraction(float(np.float32(s))), Fraction(float(np.float32(0.1))), Fraction(float(np.float32(0.3))))
            for s in (0.7, -1.3)
        ]
        expected = [[code(q, (Fraction(float(v)) * s - o) / d) for s, o, d in steps] for v in values]
        assert np.array_equal(input_codes(graph, np.stack([values, values], axis=1)), expected)


def test_every_code_has_a_float() -> None:
    for mode in ("ROUND", "FLOOR", "CEIL", "HALF_UP", "HALF_DOWN"):
        b = Builder(1)
        x = b.quant(b.op("Mul", "x", b.const(-0.37)), 0.21, 5, mode=mode)
        graph = import_qonnx(b.model(b.op("MatMul", x, b.weight([[1.0]]))))
        codes = np.arange(graph.input_type.lo, graph.input_type.hi + 1)[:, None]
        assert np.array_equal(input_codes(graph, input_floats(graph, codes)), codes)


def test_codes_behind_a_clip_are_not_offered() -> None:
    b = Builder(2, 1, 1)
    x = b.quant(b.op("Relu", "x"), 0.5, 4)
    graph = import_qonnx(b.model(b.op("Conv", x, b.weight(RNG.normal(size=(3, 2, 1, 1))))))
    assert graph.input_type == IntType((2, 1, 1), 0, 7)
    b = Builder(2, 1, 1)
    x = b.quant(b.op("Mul", b.op("Relu", "x"), b.const([[[[1.0]], [[-1.0]]]])), 0.5, 4)
    graph = import_qonnx(b.model(b.op("Conv", x, b.weight(RNG.normal(size=(3, 2, 1, 1))))))
    with pytest.raises(EdgeqError, match="no float input"):
        input_floats(graph, np.full((1, 2, 1, 1), -3))
    codes, floats = random_inputs(graph, 9, 0)
    assert np.array_equal(input_codes(graph, floats), codes)


def test_preprocessing_is_folded_behind_an_input_type(tmp_path: Path) -> None:
    b = Builder(1, 4, 4)
    x = b.sign(b.op("Sub", b.op("Mul", b.op("Flatten", "x"), b.const(2.0)), b.const(1.0)))
    model = b.model(b.op("MatMul", x, b.sign(b.const(RNG.normal(size=(16, 3))))))
    graph = check(model, tmp_path, "uint8/255")
    op = graph.nodes[0].op
    assert isinstance(op, Threshold)
    assert op.thresholds.tolist() == [[128]]  # 2*127/255 - 1 < 0 <= 2*128/255 - 1
    assert import_qonnx(model).input_type == IntType((16,), -1, 1, 2)


def test_the_tail_is_applied_again(tmp_path: Path) -> None:
    b = Builder(4)
    y = b.op("MatMul", b.quant("x", 0.5, 4), b.weight(RNG.normal(size=(4, 3))))
    y = b.op("Clip", b.batch_norm(y, [1.0, -2.0, 0.5]), b.const(-1.0), b.const(1.5))
    path = tmp_path / "m.onnx"
    path.write_bytes(b.model(y).SerializeToString())
    graph = import_qonnx(path)
    assert kinds(graph) == ["Dense"]
    codes, floats = random_inputs(graph, 50, 0)
    assert np.allclose(apply_tail(graph, ReferenceEngine(graph).run(codes)), execute(path, floats), atol=1e-5)


@pytest.mark.parametrize("spec", ["float32", "uint17", "uint8/0", "uint0", "uint8/-3", "int8/1e3", ""])
def test_bad_input_types(spec: str) -> None:
    b = Builder(2)
    with pytest.raises(EdgeqError, match="input type"):
        import_qonnx(b.model(b.op("MatMul", "x", b.weight(np.eye(2)))), spec)


def test_bad_input_data() -> None:
    b = Builder(2)
    graph = import_qonnx(b.model(b.op("MatMul", "x", b.weight(np.eye(2)))), "uint8/255")
    with pytest.raises(EdgeqError, match="outside"):
        input_codes(graph, np.array([[0.5, 1.2]]))
    with pytest.raises(EdgeqError, match="NaN"):
        input_codes(graph, np.array([[0.5, np.nan]]))
    with pytest.raises(EdgeqError, match="do not fit"):
        input_codes(graph, np.zeros((3, 5)))


# Refusals


def layered(change: Callable[[Builder, str], str], *shape: int) -> onnx.ModelProto:
    """quantizer -> change -> output"""
    b = Builder(*(shape or (2, 4, 4)))
    return b.model(change(b, b.quant("x", 0.3, 4)))


def conv(b: Builder, x: str, channels: int = 2, **attributes: object) -> str:
    return b.op("Conv", x, b.weight(RNG.normal(size=(2, channels, 3, 3))), **attributes)


REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "unknown operator": (layered(lambda b, x: b.op("Erf", x)), r"n1.*: the operator Erf is not supported"),
    "unknown domain": (layered(lambda b, x: b.op("Odd", x, domain="my.ops")), "my.ops.Odd is not supported"),
    "quantizer without a domain": (layered(lambda b, x: b.op("Quant", x, x, x, x)), "domain"),
    "scale zero": (layered(lambda b, x: b.quant(conv(b, x), 0.0, 4)), "the scale is 0.0"),
    "scale negative": (layered(lambda b, x: b.quant(conv(b, x), -0.5, 4)), "the scale is -0.5"),
    "scale NaN": (layered(lambda b, x: b.sign(conv(b, x), np.nan)), "the scale is nan"),
    "scale infinite": (layered(lambda b, x: b.op("Conv", x, b.weight(np.ones((1, 2, 1, 1)), scale=np.inf))), "the scale is inf"),
    "scale computed": (layered(lambda b, x: b.op("BipolarQuant", x, x, domain=DOMAIN)), "computed from the model's input"),
    "fractional bits": (layered(lambda b, x: b.quant(conv(b, x), 0.5, 4.5)), "bit width is .4.5"),
    "no bits": (layered(lambda b, x: b.quant(conv(b, x), 0.5, 0)), "quantizer of 0 bits"),
    "wide activations": (layered(lambda b, x: b.quant(conv(b, x), 0.5, 24)), "quantizer of 24 bits"),
    "fractional zero point": (layered(lambda b, x: b.quant(conv(b, x), 0.5, 4, zero=0.5)), "zero point is .0.5"),
    "rounding mode": (layered(lambda b, x: b.quant(conv(b, x), 0.5, 4, mode="STOCHASTIC")), "STOCHASTIC"),
    "float weights": (layered(lambda b, x: b.op("Conv", x, b.const(RNG.normal(size=(2, 2, 3, 3))))), "no quantizer made"),
    "NaN weights": (layered(lambda b, x: b.op("Conv", x, b.const(np.full((2, 2, 3, 3), np.nan)))), "not finite"),
    "wide weights": (layered(lambda b, x: b.op("Conv", x, b.weight(RNG.normal(size=(2, 2, 3, 3)), 12, 0.001))), "weights reach"),
    "input-channel scales": (
        layered(lambda b, x: b.op("Conv", x, b.weight(np.ones((2, 2, 1, 1)), scale=np.array([[[[0.1]], [[0.2]]]])))),
        "scales of shape",
    ),
    "wide accumulator into a layer": (
        layered(lambda b, x: conv(b, conv(b, b.quant(conv(b, x, pads=[1] * 4), 0.001, 14), pads=[1] * 4))), "need 20 bits"
    ),
    "offset into a padded layer": (layered(lambda b, x: conv(b, b.op("Add", x, b.const(0.1)), pads=[1] * 4)), "no integer form"),
    "unrelated scales added": (
        layered(lambda b, x: b.op("Add", x, b.quant(b.op("Mul", x, b.const(2.0)), 0.7, 4))),
        r"0\.30000001.*0\.69999998.*are added",
    ),
    "unrelated scales concatenated": (
        layered(lambda b, x: conv(b, b.op("Concat", x, b.quant(b.op("Relu", x), 0.7, 4), axis=1), channels=4)),
        r"0\.30000001.*0\.69999998",
    ),
    "product of activations": (layered(lambda b, x: b.op("Mul", x, x)), "product of two activations"),
    "matmul of activations": (layered(lambda b, x: b.op("MatMul", x, x), 4), "MatMul of two activations"),
    "constant per pixel": (layered(lambda b, x: b.op("Mul", x, b.const(RNG.normal(size=(1, 2, 4, 4))))), "varies over pixels"),
    "constant that broadcasts out": (layered(lambda b, x: b.op("Add", x, b.const(np.ones((1, 5, 1, 1))))), "does not broadcast"),
    "division by zero": (layered(lambda b, x: b.op("Div", x, b.const(0.0))), "division by zero"),
    "infinite constant": (layered(lambda b, x: b.op("Mul", x, b.const(np.inf))), "NaN or infinity"),
    "border-dependent average": (
        layered(lambda b, x: b.op("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 1, 1])), "count_include_pad=1"
    ),
    "linear resize": (layered(lambda b, x: b.op("Resize", x, "", b.const([1, 1, 2, 2]), mode="linear")), "'linear'"),
    "fractional resize": (layered(lambda b, x: b.op("Resize", x, "", b.const([1, 1, 1.5, 2]))), "1.5"),
    "concat over pixels": (layered(lambda b, x: b.op("Concat", x, x, axis=2)), "along axis 2"),
    "mean over channels": (layered(lambda b, x: b.op("ReduceMean", x, b.const([1], np.int64))), "axes"),
    "global pool of a vector": (
        layered(lambda b, x: b.op("GlobalMaxPool", b.op("Flatten", x, axis=1))), r"must be \(C, H, W\)"
    ),
    "argmax over pixels": (layered(lambda b, x: b.op("ArgMax", x, axis=2)), "another axis"),
    "padding with ones": (
        layered(lambda b, x: b.op("Pad", x, b.const([0, 0, 1, 1] * 2, np.int64), b.const(1.0))), "other than zeros"
    ),
    "pad before a pool": (
        layered(lambda b, x: b.op("MaxPool", b.op("Pad", x, b.const([0, 0, 1, 1] * 2, np.int64)), kernel_shape=[2, 2])),
        "follows a Pad",
    ),
    "softmax inside": (layered(lambda b, x: b.op("Relu", b.op("LogSoftmax", conv(b, x), axis=1))), "LogSoftmax between layers"),
    "batch reshaped away": (layered(lambda b, x: b.op("Reshape", x, b.const([2, 16], np.int64))), "batch is not"),
    "blocks that do not fit": (layered(lambda b, x: b.op("SpaceToDepth", x, blocksize=3)), "blocks of 3"),
    "batch transposed": (layered(lambda b, x: b.op("Transpose", x, perm=[1, 0, 2, 3])), "batch is not"),
    "pool of a moved batch": (
        layered(lambda b, x: b.op("MaxPool", b.op("Transpose", x, perm=[1, 0, 2, 3]), kernel_shape=[2, 2])),
        r"MaxPool of \[2, 1, 4, 4\], whose batch",
    ),
    "one-dimensional convolution": (layered(lambda b, x: b.op("Conv", x, b.weight(np.ones((2, 2, 3)))), 2, 8), "two-dimensional"),
    "training dropout": (layered(lambda b, x: b.op("Dropout", x, b.const(0.5), b.const(True, np.bool_))), "training"),
    "training batch norm": (
        layered(lambda b, x: b.op("BatchNormalization", x, *(b.const(np.ones(2)) for _ in range(4)), training_mode=1)), "training"
    ),
    "negative variance": (
        layered(lambda b, x: b.op("BatchNormalization", x, *(b.const(np.ones(2)) for _ in range(3)), b.const([1.0, -1.0]))),
        "variance",
    ),
    "truncating cast": (layered(lambda b, x: b.op("Cast", x, to=TensorProto.INT32)), "changes values"),
    "a constant that explodes": (
        layered(lambda b, x: b.op("Add", x, b.op("Expand", b.const(1.0), b.const([10**6, 10**6], np.int64)))), "elements"
    ),
    "only a quantizer": (layered(lambda b, x: x), "no integer operator"),
    "trunc of another scale": (
        layered(lambda b, x: b.op("Trunc", x, *(b.const(v) for v in (0.07, 0, 8, 0.3, 4)), domain=DOMAIN, rounding_mode="FLOOR")),
        "not a multiple of Trunc's scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    model, message = REFUSED[name]
    with pytest.raises(EdgeqError, match=f"(?s){message}") as caught:
        import_qonnx(model)
    assert caught.value.where or "elements" in message


def test_a_model_without_an_input_quantizer_explains_itself() -> None:
    b = Builder(4)
    model = b.model(b.op("MatMul", "x", b.weight(RNG.normal(size=(4, 3)))))
    with pytest.raises(EdgeqError, match="--input uint8/255"):
        import_qonnx(model)
    assert kinds(import_qonnx(model, "int16/1024")) == ["Dense"]


def test_two_input_quantizers_are_refused() -> None:
    b = Builder(4)
    parts = (b.op("MatMul", b.quant("x", scale, 4), b.weight(np.eye(4))) for scale in (0.5, 0.25))
    with pytest.raises(EdgeqError, match="two different quantizers"):
        import_qonnx(b.model(b.op("Add", *parts)))


@pytest.mark.parametrize("dims", [["N", 2, "H", 4], ["N"], [1, 2, 0, 4]])
def test_open_shapes_name_the_input(dims: list[object]) -> None:
    b = Builder(2, 4, 4)
    model = b.model(b.quant("x", 0.5, 4))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, dims))
    with pytest.raises(EdgeqError, match=r"input .x..*cannot be resolved"):
        import_qonnx(model)


def test_graphs_that_are_no_graphs() -> None:
    b = Builder(2)
    y = b.op("Relu", "t1")
    b.op("Relu", y)
    with pytest.raises(EdgeqError, match="depends on itself"):
        import_qonnx(b.model(y))
    with pytest.raises(EdgeqError, match="made by no node"):
        import_qonnx(Builder(2).model("nothing"))
    b = Builder(2)
    with pytest.raises(EdgeqError, match="2 outputs"):
        import_qonnx(b.model(b.sign("x"), b.sign("x")))


def damaged(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """With one node, attribute or constant changed."""
    node = model.graph.node[int(rng.integers(len(model.graph.node)))]
    attribute = node.attribute[int(rng.integers(len(node.attribute)))] if node.attribute else None
    tensor = model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]
    match rng.integers(0, 8):
        case 0 if node.input:
            node.input[0] = ""
        case 1 if node.input:
            del node.input[-1]
        case 2 if attribute:
            node.attribute.remove(attribute)
        case 3 if attribute:
            attribute.CopyFrom(helper.make_attribute(attribute.name, [b"x", -3, 1.5, [1.5], [0, -1, 7]][rng.integers(5)]))
        case 4:
            value = [np.zeros(0), np.array(3.5), np.array([-1, 2, 3]), np.zeros((2, 3, 1, 1, 1), np.float32)][rng.integers(4)]
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        case 5:
            node.op_type = ["Gemm", "Reshape", "Concat", "Trunc", "Pad", "Resize", "Clip", "Constant", "Squeeze"][rng.integers(9)]
        case 6:
            node.output.append("second")
            model.graph.node[-1].input.append("second")
        case _ if node.input:
            node.input[0] = model.graph.node[int(rng.integers(len(model.graph.node)))].output[0]
    return model


@pytest.mark.parametrize("seed", range(60))
def test_damaged_models_end_in_an_error_of_ours_or_in_a_graph(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, _ = random_model(seed)
    with contextlib.suppress(EdgeqError):
        import_qonnx(damaged(damaged(model, rng), rng)).check()


# Files


def simple() -> onnx.ModelProto:
    b = Builder(4)
    return b.model(b.op("MatMul", b.quant("x", 0.5, 4), b.weight(RNG.normal(size=(4, 3)))))


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(EdgeqError, match="no such file"):
        load_model(path)
    data = simple().SerializeToString()
    for text in (b"", b"this is no model\n" * 9, data[: len(data) // 2], data[:-3]):
        path.write_bytes(text)
        with pytest.raises(EdgeqError):
            import_qonnx(path)


@pytest.mark.parametrize("dims", [[100_000, 100_000], [-4, 3], [4, 4]])
def test_declared_sizes_are_checked_before_memory_is_taken(dims: list[int], tmp_path: Path) -> None:
    model = simple()
    weight = next(t for t in model.graph.initializer if len(t.dims) == 2)
    weight.dims[:] = dims
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EdgeqError, match=r"declares|needs"):
        import_qonnx(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("location", "extra", "message"),
    [
        ("../outside.bin", {}, "outside the model's folder"), ("/etc/passwd", {}, "outside the model's folder"),
        ("link.bin", {}, "outside the model's folder"), ("absent.bin", {}, "no file"), ("short.bin", {}, "needed"),
        ("good.bin", {"offset": "-4"}, "needed"), ("good.bin", {"offset": "x"}, "not integers"),
        ("good.bin", {"length": "9"}, "needed"),
        ("good.bin", {}, ""),
    ],
)  # fmt: skip
def test_external_data(location: str, extra: dict[str, str], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = simple()
    weight = next(t for t in model.graph.initializer if len(t.dims) == 2)
    data = numpy_helper.to_array(weight).tobytes()
    (tmp_path / "outside.bin").write_bytes(data)
    (folder / "good.bin").write_bytes(data)
    (folder / "short.bin").write_bytes(data[:-1])
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **extra}.items():
        weight.external_data.add(key=key, value=value)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    if message:
        with pytest.raises(EdgeqError, match=message):
            import_qonnx(folder / "m.onnx")
    else:
        assert kinds(import_qonnx(folder / "m.onnx")) == ["Dense"]


# Modules


MODULE = """
    import torch
    from torch import nn
    import brevitas.nn as qnn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
            self.conv = qnn.QuantConv2d(2, 3, 3, bias=False, weight_bit_width=3)
            self.act = qnn.QuantReLU(bit_width=4)

        def forward(self, x):
            return self.act(self.conv(self.q(x)))

    def net():
        torch.manual_seed(0)
        return Net()

    def number():
        return 3

    def fails():
        raise ValueError("no data")
"""


@pytest.fixture
def module_file(tmp_path: Path) -> Path:
    path = tmp_path / "some_net.py"
    path.write_text(textwrap.dedent(MODULE))
    return path


def test_modules_load_and_export_the_same_bytes(module_file: Path, tmp_path: Path) -> None:
    from edgeq.frontend.brevitas import export_module, load_module

    files = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for path in files:
        export_module(load_module(f"{module_file}:net"), (1, 2, 5, 5), path)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert kinds(import_qonnx(files[0])) == ["Conv2d", "Threshold"]


def test_weights_are_loaded_safely(module_file: Path, tmp_path: Path) -> None:
    import torch

    from edgeq.frontend.brevitas import load_module

    model = load_module(f"{module_file}:net")
    model.train()(torch.randn(4, 2, 5, 5))  # Brevitas stores a scale once it has seen data
    torch.nn.init.constant_(model.conv.weight, 0.5)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    assert torch.all(load_module(f"{module_file}:net", tmp_path / "w.pt").conv.weight == 0.5)
    torch.save(textwrap.TextWrapper(), tmp_path / "pickle.pt")
    for name in ("pickle.pt", "absent.pt"):
        with pytest.raises(EdgeqError, match="do not load"):
            load_module(f"{module_file}:net", tmp_path / name)


@pytest.mark.parametrize(
    ("source", "message"),
    [("{}:number", "returned a int"), ("{}:fails", "no data"), ("{}:absent", "absent"), ("no.such.package:f", "no"),
     ("{}", "function"),
     ("absent.py:f", "no such file"), ("{}:a-b", "function")],
)  # fmt: skip
def test_bad_modules(source: str, message: str, module_file: Path) -> None:
    from edgeq.frontend.brevitas import load_module

    with pytest.raises(EdgeqError, match=message):
        load_module(source.format(module_file))
