"""The parity machinery finds faults: each mutant is one small, named mistake, and must make values differ.

A mutant is a text substitution in the source of an operator, or in the C++ or SystemVerilog of a generated design. It must
match exactly, the design without it must be right, and the wrong one must still run: an error is no kill.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import parity
import pytest
from bundle import bundle

from edgeq.beats import fitted
from edgeq.board import board
from edgeq.engines.hls import HlsEngine
from edgeq.engines.ort import OrtEngine
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import IntType, Op
from edgeq.lower import hls
from edgeq.lower import onnx as lower_onnx
from edgeq.lower import rtl as lower_rtl
from edgeq.ops.add import Add
from edgeq.ops.argmax import Argmax
from edgeq.ops.attention_scores import AttentionScores
from edgeq.ops.attention_values import AttentionValues
from edgeq.ops.average_pool import AveragePool
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense
from edgeq.ops.lookup import Lookup
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.near_max import NearMax
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.shift_gelu import ShiftGELU
from edgeq.ops.shiftmax import Shiftmax
from edgeq.ops.threshold import Threshold
from edgeq.ops.upsample import Upsample

RNG = np.random.default_rng(2027)


def chain(terms: int) -> np.ndarray:
    """Five channels, each a few weights from the one before, the fourth from its negation: their tree is 0 - 1 - 2 - 3 - 4."""
    rows = [RNG.choice([-1, 1], terms)]
    for sign in (1, 1, -1, 1):
        flip = np.ones(terms, np.int64)
        flip[RNG.choice(terms, 3, replace=False)] = -1
        rows.append(sign * rows[-1] * flip)
    return np.array(rows)


NARROW = IntType((4, 5, 5), -20, 20)
NEGATIVE = IntType((2, 5, 4), -300, -3)
SIGNS = IntType((3, 5, 5), -1, 1, 2)
OPS: dict[str, tuple[Op, tuple[IntType, ...]]] = {
    "requantize": (Requantize(np.array([3, 5, -1, 7]), np.array([2, -2, 0, 1]), 2, "half_even", -30, 20), (NARROW,)),
    "threshold": (Threshold(RNG.integers(-18, 18, (4, 3)), np.array([0, 1, 1, 0]), -1), (NARROW,)),
    "sign": (Threshold(np.array([[0], [2], [-3], [5]]), np.array([0, 1, 1, 0]), -1, 2), (NARROW,)),
    "binary": (BinaryConv2d(RNG.choice([-1, 1], (6, 3, 3, 3)), pads=(1, 0, 1, 2)), (SIGNS,)),
    "tree": (BinaryConv2d(chain(27).reshape(5, 3, 3, 3), pads=(1, 0, 1, 2)), (SIGNS,)),
    "square": (Conv2d(RNG.integers(-99, 99, (4, 4, 3, 3)), stride=(1, 2), pads=(1, 1, 0, 0)), (NARROW,)),
    "dilated": (Conv2d(RNG.integers(-8, 8, (3, 4, 2, 2)), stride=(2, 2), dilation=(2, 2)), (NARROW,)),
    "grouped": (Conv2d(RNG.integers(-8, 8, (4, 2, 1, 2)), groups=2), (NARROW,)),
    "wide": (Dense(RNG.integers(-128, 127, (5, 9))), (IntType((9,), -(1 << 15), (1 << 15) - 1),)),
    "max_pool": (MaxPool((2, 2), pads=(1, 1, 0, 0)), (NEGATIVE,)),
    "average_pool": (AveragePool((2, 2), pads=(1, 0, 0, 1)), (NEGATIVE,)),
    "argmax": (Argmax(), (IntType((5, 3, 3), 0, 2),)),
    "upsample": (Upsample((3, 2)), (NARROW,)),
    "add": (Add(np.array([3]), np.array([-2])), (NARROW, NARROW)),
    "concat": (Concat(), (NARROW, NARROW)),
    "rearrange": (Rearrange((4, 25), (1, 0), (100,)), (NARROW,)),
    "digits": (Dense(RNG.integers(-99, 99, (4, 6))), (IntType((6,), -20, 20),)),
    "shiftmax": (Shiftmax(5, 4, 6), (NARROW,)),
    "near_max": (NearMax(9), (NARROW,)),
    "gelu": (ShiftGELU(9, 4, 8, 15), (NARROW,)),
    "lookup": (Lookup(RNG.integers(-50, 50, (4, 41)), NARROW.lo), (NARROW,)),
    "scores": (AttentionScores(2), (IntType((4, 2, 2), -20, 20), IntType((4, 1, 3), -300, 300))),
    "values": (AttentionValues(2), (IntType((2, 4, 4), 0, 15), IntType((4, 2, 2), -20, 20))),
}
FOLDS = {"tree": -1, "digits": 1}
"""Which fold of an operator its mutants are of, where that is not the slowest."""


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in `file`, which breaks the operator `op` of OPS (or several, by a space apart)."""

    name: str
    op: str
    file: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        assert text.count(self.old) == 1, f"{self.file} holds {self.old!r} {text.count(self.old)} times"
        return text.replace(self.old, self.new)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


PYTHON = [
    Mutant("half even to half up", "requantize", "requantize", "return y - (tie & (y & 1 == 1))", "return y"),
    Mutant("half even to half up in ONNX", "requantize", "requantize", "            if half:\n", "            if False:\n"),
    Mutant("no upper clip", "requantize", "requantize", '("Min", body.out.hi, rounded.hi)', '("Min", body.out.hi, body.out.hi)'),
    Mutant("above for reached", "threshold", "threshold", '"GreaterOrEqual"', '"Greater"'),
    Mutant("a lost direction", "threshold", "threshold", "self.thresholds + self.negative[:, None]", "self.thresholds"),
    Mutant("all slopes rising", "threshold", "threshold", "if self.negative.any() else", "if False else"),
    Mutant("all signs rising", "sign", "threshold", "(ends[::-1], ends)", "(ends, ends)"),
    Mutant("padding with -1", "binary", "_conv", "self.dilation, fill=0)", "self.dilation, fill=-1)"),
    Mutant("a transposed kernel", "square", "_conv", "self.weight.reshape(g", "self.weight.swapaxes(2, 3).reshape(g"),
    Mutant("swapped pads", "square", "_conv", "pads=list(self.pads)", "pads=list(self.pads[2:] + self.pads[:2])"),
    Mutant("a forgotten permutation", "rearrange", "rearrange", "*(p + 1 for p in self.perm)).",
           "*(p + 1 for p in sorted(self.perm)))."),
    Mutant("dilation ignored", "dilated", "_conv", "dilations=list(self.dilation)", "dilations=[1, 1]"),
    Mutant("a dropped group", "grouped", "_conv", "exact_matmul(rows[None]", "exact_matmul(rows[None, :1]"),
    Mutant("a lost sign of the high byte", "wide", "onnx", "np.int8 if signed else np.uint8", "np.uint8"),
    Mutant("the high byte a bit low", "wide", "onnx", "np.uint8), 256)]", "np.uint8), 128)]"),
    Mutant("a zero point off by one", "wide", "onnx", "self.const(np.uint8(128))), 128", "self.const(np.uint8(128))), 127"),
    Mutant("a saturating sum", "wide", "_mac", "return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)",
           "return np.clip((a.astype(np.float64) @ b.astype(np.float64)), -(1 << 20), 1 << 20).astype(np.int64)"),
    Mutant("padding wins a max pool", "max_pool", "max_pool", "fill=body.type(x).lo", "fill=0"),
    Mutant("padding repeats in an average", "average_pool", "average_pool", "(1, 1), fill=0).sum", "(1, 1), fill=-3).sum"),
    Mutant("the last of equals", "argmax", "argmax", "select_last_index=0", "select_last_index=1"),
    Mutant("upsampling rounds up", "upsample", "upsample", "np.arange(body.out.shape[1 + axis]) //",
           "np.maximum(np.arange(body.out.shape[1 + axis]) - 1, 0) //"),
    Mutant("swapped multipliers", "add", "add", 'zip(xs, "ab"', 'zip(xs[::-1], "ab"'),
    Mutant("swapped halves", "concat", "concat", "for x in xs), axis=1", "for x in xs[::-1]), axis=1"),
    Mutant("a table read one entry low", "lookup", "lookup", "1, -self.lo)", "1, -self.lo - 1)"),
    Mutant("a thirty-second", "gelu", "_exp_shift", "for n in (1, 4))", "for n in (1, 5))"),
    Mutant("a sum over the channels", "shiftmax", "shiftmax", "body.const(np.array([3]))", "body.const(np.array([1]))"),
    Mutant("above for reached in a row", "near_max", "near_max", '"LessOrEqual", d', '"Less", d'),
    Mutant("a row down the columns", "near_max", "_rows", "body.largest(x, 3,", "body.largest(x, 2,"),
    Mutant("no clip of the tail", "gelu", "shift_gelu", "if m.hi < t.hi:", "if False:"),
    Mutant("both sides alike", "gelu", "shift_gelu", '"Where", falls,', '"Where", body.op("Not", falls),'),
    Mutant("the first channel's table", "lookup", "lookup", "dtype=np.int32) * entries", "dtype=np.int32) * 0"),
    Mutant("a high byte is a low one", "scores", "_attention", "if a_weight * b_weight != 1:", "if False:"),
    Mutant("zero points exchanged", "scores", "_attention", "a, b, a_zero, b_zero", "a, b, b_zero, a_zero"),
    Mutant("a transposed map", "values", "attention_values", "p.swapaxes(2, 3)", "p"),
]  # fmt: skip

HLS = [
    [
        Mutant("half even to half up", "requantize", "eq_requantize.h", "tie && rounded[0] == 1", "false"),
        Mutant("a lost direction", "threshold sign", "eq_threshold.h", "negative[row] != 0", "negative[0] != 0"),
        Mutant("padding with -1", "binary tree", "eq_binary.h", "CONFIG_T::padded == 0 || x[at] != 0", "true"),
        Mutant("dilation ignored", "dilated", "eq_window.h", "taps[i][j * CONFIG_T::dilation_width][c]", "taps[i][j][c]"),
        Mutant("a dropped group", "grouped", "eq_mac.h", "(channel / CONFIG_T::group_out) *", "0 *"),
        Mutant("padding wins a max pool", "max_pool", "eq_window.h", "pixel[c] = CONFIG_T::pad_value;", "pixel[c] = 0;"),
        Mutant("the last of equals", "argmax", "eq_argmax.h", "if (in[c] > best)", "if (in[c] >= best)"),
        Mutant("swapped multipliers", "add", "eq_add.h", "<sum_t>(in0[c], a[", "<sum_t>(in1[c], a["),
        Mutant("a far distance is near", "shiftmax gelu", "eq_exp_shift.h", "? cutoff :", "? ap_uint<31>(0) :"),
        Mutant("the smallest of a row", "shiftmax near_max", "eq_row.h", "in[c] > best[c]", "in[c] < best[c]"),
        Mutant("the first column only", "upsample", "eq_upsample.h", "line[from][c]", "line[0][c]"),
        Mutant("the first key only", "scores", "eq_attention_scores.h", "keys[key][first + lane]", "keys[0][first + lane]"),
    ],
    [
        Mutant("a dropped complement", "tree", "eq_binary.h", "? parent : -parent)", "? parent : parent)"),
        Mutant("above for reached", "threshold sign", "eq_threshold.h", "(value >= thresholds[", "(value > thresholds["),
        Mutant("a lost clip", "requantize", "eq_requantize.h", "rounded > hi ? hi : rounded", "rounded"),
        Mutant("a padded zero is real", "average_pool", "eq_average_pool.h", "sum = 0;", "sum = -1;"),
        Mutant("a sum that lacks a key", "shiftmax", "eq_shiftmax.h", "key == 0 ? out[c]", "key <= 1 ? out[c]"),
        Mutant("above for reached in a row", "near_max", "eq_near_max.h", "<= CONFIG_T::margin", "< CONFIG_T::margin"),
        Mutant("no clip of the tail", "gelu", "eq_shift_gelu.h", "> hi ? hi :", "> hi ? value_t(in[c]) :"),
        Mutant("the first channel's table", "lookup", "eq_lookup.h", "eq_row(CONFIG_T::rows, c) *", "0 *"),
        Mutant("the first head's weights", "values", "eq_attention_values.h", "weights[head]", "weights[0]"),
    ],
]  # fmt: skip

VERILOG = [
    Mutant("half even to half up", "requantize", "eq_requantize.sv",
           "sum_q[Shift-1] && (sum_q[Shift] || sum_q[Shift-2:0] != '0)", "sum_q[Shift-1]"),
    Mutant("above for reached", "threshold", "eq_threshold.sv", "'(x) >= threshold)", "'(x) > threshold)"),
    Mutant("a lost direction", "threshold", "eq_threshold.sv", " ^ params_i[i*ParamBits + ParamBits - 1];", ";"),
    Mutant("padding with -1", "binary", "eq_conv2d.sv", "Masked = XKind == 2 && PadT + PadL + PadB + PadR > 0", "Masked = 1'b0"),
    Mutant("a lost sign", "wide", "eq_dot.sv",
           "logic signed [XValueBits-1:0] x [Spans*Simd];", "logic [XValueBits-1:0] x [Spans*Simd];"),
    Mutant("a transposed kernel", "square", "eq_window.sv", "patch_o[(i*Kw + j)*PixBits", "patch_o[(j*Kh + i)*PixBits"),
    Mutant("dilation ignored", "dilated", "eq_window.sv", "shift_q[j*Dw*PixBits +: PixBits]", "shift_q[j*PixBits +: PixBits]"),
    Mutant("a dropped group", "grouped", "eq_mvu.sv", "base_q <= base_q + SliceBits'(Spans * Sf);", "base_q <= base_q;"),
    Mutant("padding wins a max pool", "max_pool", "eq_max_pool.sv", "if (mask[i*Kw + j] && (window", "if ((window"),
    Mutant("the last of equals", "argmax", "eq_argmax.sv", "value_q[2*k+1] > gen_level", "value_q[2*k+1] >= gen_level"),
    Mutant("a stale row", "upsample", "eq_upsample.sv", "assign y = fresh_q ? pixel_q : stored;", "assign y = pixel_q;"),
    Mutant("swapped multipliers", "add", "eq_add.sv",
           "multipliers[2*c*MulBits + d*DigitBits", "multipliers[(2*c + 1)*MulBits + d*DigitBits"),
    Mutant("a lost sign of a digit", "digits", "eq_digit.sv", "? OutBits'(minus_i) :", "? OutBits'(value_i) :"),
    Mutant("a digit 0 counts", "digits", "eq_digit.sv", "digit_i[0] ? shifted : '0", "shifted"),
    Mutant("digits in one another's place", "digits", "eq_dot.sv", "(p*Simd + s)*WBits + d*DigitBits", "(p*Simd + s)*WBits"),
    Mutant("a shift that rounds down", "gelu", "eq_exp_shift.sv", "((scaled + 1'b1) >> 1)", "(scaled >> 1)"),
    Mutant("a far distance is near", "shiftmax", "eq_exp_shift.sv", "stretched > WideBits'(Cutoff) ? CutBits'(Cutoff) :", ""),
    Mutant("the largest of the last row, too", "shiftmax", "eq_row_distance.sv", "first || value > max_q", "value > max_q"),
    Mutant("a sum of the last row, too", "shiftmax", "eq_shiftmax.sv", "(begin_q ? '0 : sums_q[c*SumBits +: SumBits])",
           "sums_q[c*SumBits +: SumBits]"),
    Mutant("above for reached in a row", "near_max", "eq_near_max.sv", "<= Margin[", "< Margin["),
    Mutant("no clip of the tail", "gelu", "eq_shift_gelu.sv", "64'(x) > Most ? ValueBits'(Most) : x", "x"),
    Mutant("a sigmoid of another pixel", "gelu", "eq_shift_gelu.sv", "m_q[5] < 0 ? e : One", "m_q[4] < 0 ? e : One"),
    Mutant("the first channel's table", "lookup", "eq_lookup.sv", "RowBits'(at_q) * RowBits'(Pe) +", ""),
    Mutant("a forgotten permutation", "rearrange", "eq_rearrange.sv", "(rest % Sizes[32*axis +: 32]) * Strides[32*axis +: 32]",
           "(rest % Sizes[32*axis +: 32]) * Strides[32*(Rank-1-axis) +: 32]"),
    Mutant("keys of the frame before", "scores", "eq_token_store.sv",
           "upper_q <= Frames == 2 && (upper_q ^ release_i);", "upper_q <= upper_q;"),
    Mutant("the last slice only", "scores", "eq_attention_scores.sv", "(first2 ? Start : acc_q)", "Start"),
    Mutant("the first slice of a query", "scores", "eq_attention_scores.sv", ".index_i(slice)", ".index_i(slice & '0)"),
    Mutant("sums that never end", "values", "eq_attention_values.sv", "first2 ? Start : ring_q", "'0 ? Start : ring_q"),
    Mutant("the first head's weights", "values", "eq_attention_values.sv", "weights_q[(l/Pe)*In0Bits +:", "weights_q[0 +:"),
    Mutant("slices in one another's place", "values", "eq_attention_values.sv",
           "(c/Pe)*Lanes + h*Pe + c%Pe", "h*HeadChannels + c"),
]  # fmt: skip

NARROWED = {
    "values": [
        Mutant("a beat for a whole pixel", "requantize", "eq_steps.sv", "(NarrowIn || last)", "last"),
        Mutant("another frame of keys while one is read", "scores", "eq_token_store.sv",
               "2'(Frames);\n  assign in_ready_o = (Narrow || wlast_slice) && frames_q != 2'(Frames);",
               "2'd2;\n  assign in_ready_o = (Narrow || wlast_slice) && frames_q != 2'd2;"),
        Mutant("room for two frames when written", "scores", "eq_token_store.sv", "AddrBits'(Frames * Words - 1)",
               "AddrBits'(2 * Words - 1)"),
        Mutant("room for two frames when read", "scores", "eq_token_store.sv",
               "raddr_q <= Frames == 2 && (upper_q ^ release_i)", "raddr_q <= upper_q ^ release_i"),
        Mutant("a token a beat", "values", "eq_token_store.sv", "(Narrow || wlast_slice)", "wlast_slice"),
        Mutant("the first head's weights", "values", "eq_attention_values.sv",
               "if (last_head_slice) head_q <= head_q + 1'b1;", ""),
        Mutant("a head a channel", "values", "eq_attention_values.sv", "if (last_head_slice) head_q", "head_q"),
        Mutant("the first part only", "requantize", "eq_width_converter.sv", "SliceBits'(index)", "SliceBits'(0)"),
        Mutant("a beat of the same part", "requantize", "eq_width_converter.sv", ".NarrowIn(Widens)", ".NarrowIn(1'b0)"),
    ],
    "the schedule": [
        Mutant("room for one beat", "requantize", "eq_width_converter.sv", ".Depth(2)", ".Depth(1)"),
    ],
    "stalls": [
        Mutant("steps without a credit", "requantize", "eq_steps.sv", "(!NarrowOut && step_q != '0)", "(step_q != '0)"),
        Mutant("sums of one query only", "values", "eq_attention_values.sv", ".Depth(FifoDepth * Slices)", ".Depth(Slices)"),
    ],
    "a stop": [
        Mutant("a pixel for every beat", "requantize", "eq_steps.sv", "(NarrowIn || last)", "1'b1"),
        Mutant("sums that are not there yet", "values", "eq_attention_values.sv", "count_q == IndexBits'(Slices - 1)",
               "count_q == '0"),
        Mutant("parts without a credit", "scores", "eq_width_converter.sv", ".NarrowOut(!Widens)", ".NarrowOut(1'b0)"),
        Mutant("the last part of the sums only", "values", "eq_attention_values.sv", "(Narrow || last_slice)", "last_slice"),
    ],
}  # fmt: skip
"""Of designs in narrow beats, by what finds them: values of a free run, its cycles, a run with stalls, a free run that stops."""

LONG_PAUSES = np.repeat([2, 0], 200)
"""Of the output, so that every FIFO fills."""


TREE = [
    Mutant("a wrong parent", "tree", "y0", "int'(y1)", "int'(y2)"),
    Mutant("a dropped complement", "tree", "y3", "- int'(y2)", " int'(y2)"),
    Mutant("a forgotten factor", "tree", "y1", "+ 2 * (2 *", "+ 1 * (2 *"),
    Mutant("padding with -1 at the root", "tree", "y2", " & real_term) -", ") -"),
]
"""`file`: the line of a generated module that computes this channel."""


def python_mismatches(name: str, folder: Path) -> int:
    """Values in which numpy and onnxruntime differ, either of them mutated or none."""
    case = parity.case_of(*OPS[name])
    assert case.varied
    path = folder / "model.int.onnx"
    lower_onnx.save(case.graph, path)
    return int(np.count_nonzero(OrtEngine(path, threads=1).run(case.x) != ReferenceEngine(case.graph).run(case.x)))


def install(mutant: Mutant, patch: pytest.MonkeyPatch) -> None:
    """Replaces every function of the module that `mutant` changes by those of its mutated source."""
    package = "edgeq.lower" if mutant.file == "onnx" else "edgeq.ops"
    module = importlib.import_module(f"{package}.{mutant.file}")
    copy = ModuleType(module.__name__)
    exec(compile(mutant.apply(inspect.getsource(module)), str(module.__file__), "exec"), copy.__dict__)
    for name, made in list(vars(copy).items()):
        if getattr(made, "__module__", None) != module.__name__:
            continue
        if isinstance(made, FunctionType):
            original = getattr(module, name)
            for user in [m for key, m in sys.modules.items() if key.startswith("edgeq.")]:
                if getattr(user, name, None) is original:
                    patch.setattr(user, name, made)
        elif inspect.isclass(made):
            for key, method in list(vars(made).items()):
                if isinstance(method, FunctionType) and not key.startswith("__"):
                    patch.setattr(getattr(module, name), key, method)


@pytest.mark.parametrize("mutant", PYTHON, ids=str)
def test_a_mutant_of_the_meaning_or_of_onnx_is_killed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert python_mismatches(mutant.op, tmp_path) == 0
    install(mutant, monkeypatch)
    assert python_mismatches(mutant.op, tmp_path) > 0


@pytest.fixture(scope="module")
def hls_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HLS project of all of OPS side by side, shown to be right."""
    folder = tmp_path_factory.mktemp("hls") / "project"
    graph = bundle(list(OPS.values())).graph
    hls.lower(graph, {node.name: Fold() for node in graph.nodes}, board("ultra96"), folder)
    assert hls_wrong(folder) == set()
    return folder


def hls_wrong(project: Path) -> set[str]:
    """Those of OPS of which values differ."""
    made = bundle(list(OPS.values()))
    x = made.graph.input_type.random(np.random.default_rng(0), 10)
    y, expected = HlsEngine(project).run(x), ReferenceEngine(made.graph).run(x)
    assert y.shape == expected.shape and all(np.ptp(expected[:, span]) for span in made.spans)
    return {name for name, span in zip(OPS, made.spans, strict=True) if np.any(y[:, span] != expected[:, span])}


@pytest.mark.parametrize("mutants", HLS, ids=lambda mutants: "+".join(map(str, mutants)))
def test_mutants_of_the_cpp_are_killed(mutants: list[Mutant], hls_project: Path, tmp_path: Path) -> None:
    """Mutants that share a compilation, which takes long: each breaks its own operator and no other one."""
    shutil.copytree(hls_project, tmp_path / "mutant")
    for mutant in mutants:
        path = tmp_path / "mutant" / "firmware" / "nnet_utils" / mutant.file
        path.write_text(mutant.apply(path.read_text()))
    assert hls_wrong(tmp_path / "mutant") == {name for mutant in mutants for name in mutant.op.split()}


def simulate(case: parity.Case, folder: Path, stalls: int | None = None) -> int:
    """Values that differ in the design that lies in `folder`."""
    return parity.mismatches(case.y, parity.simulation(case.built, folder).run(case.x, stalls=stalls))


def design(name: str, folder: Path, fold: Fold | None = None) -> parity.Case:
    """The Verilog of one of OPS, shown to be right."""
    case = parity.case_of(*OPS[name])
    assert case.varied
    folds = parity.folds_of(case, fold or case.op.folds(*case.types)[FOLDS.get(name, 0)])
    lower_rtl.lower(case.built, folds, folder)
    for stalls in parity.STALLS:
        assert simulate(case, folder, stalls) == 0
    return case


@pytest.mark.parametrize("mutant", VERILOG, ids=str)
def test_a_mutant_of_the_verilog_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    case = design(mutant.op, tmp_path)
    path = tmp_path / mutant.file
    path.write_text(mutant.apply(path.read_text()))
    assert simulate(case, tmp_path) > 0


def verdict(case: parity.Case, made: lower_rtl.Design, folder: Path) -> str:
    """What finds a fault in the design in `folder`, of the keys of NARROWED the first; empty where nothing does."""
    engine = parity.simulation(case.built, folder)
    engine.silence = 10_000
    try:
        if parity.mismatches(case.y, engine.run(case.x)) > 0:
            return "values"
    except EdgeqError:
        return "a stop"
    if parity.off_schedule(made, engine) > 0:
        return "the schedule"
    try:
        stalled = [parity.mismatches(case.y, engine.run(case.x, stalls=1))]
        stalled.append(parity.mismatches(case.y, engine.run(case.x, pauses=LONG_PAUSES)))
    except EdgeqError:
        return "stalls"
    return "stalls" if any(stalled) else ""


@pytest.mark.parametrize(("how", "mutant"), [(how, m) for how, mutants in NARROWED.items() for m in mutants], ids=str)
def test_a_mutant_of_narrow_beats_is_killed(how: str, mutant: Mutant, tmp_path: Path) -> None:
    """A credit or a beat too many stops the simulation: where the rest of the design holds no fault, that is a kill, too."""
    case = parity.case_of(*OPS[mutant.op])
    assert case.varied
    graph, folds = fitted(case.built, parity.folds_of(case, case.op.narrow_folds(*case.types)[0]))
    made = lower_rtl.lower(graph, folds, tmp_path)
    assert verdict(case, made, tmp_path) == ""
    path = tmp_path / mutant.file
    path.write_text(mutant.apply(path.read_text()))
    assert verdict(case, made, tmp_path) == how


@pytest.mark.parametrize("mutant", TREE, ids=str)
def test_a_mutant_of_a_spanning_tree_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    case = design("tree", tmp_path)
    (path,) = tmp_path.glob("eq_tree_*.sv")
    lines = path.read_text().splitlines(keepends=True)
    (index,) = [i for i, line in enumerate(lines) if line.startswith(f"  assign {mutant.file} =")]
    lines[index] = mutant.apply(lines[index])
    path.write_text("".join(lines))
    assert simulate(case, tmp_path) > 0


def test_a_wrong_lut_of_a_spanning_tree_is_killed(tmp_path: Path) -> None:
    case = design("tree", tmp_path)
    assert parity.mismatches(case.y, parity.simulation(case.built, tmp_path, lut6=True).run(case.x)) == 0
    (path,) = tmp_path.glob("eq_tree_*.sv")
    text = path.read_text()
    (first, *_) = re.findall(r"LUT\d #\(\d+'h([0-9a-f]+)\)", text)
    path.write_text(text.replace(f"'h{first})", f"'h{int(first, 16) ^ 2:x})", 1))
    assert parity.mismatches(case.y, parity.simulation(case.built, tmp_path, lut6=True).run(case.x)) > 0


def test_a_beat_lost_under_back_pressure_is_found_by_stalls_alone(tmp_path: Path) -> None:
    case = design("add", tmp_path, Fold())
    path = tmp_path / "eq_outfifo.sv"
    lost = Mutant("a beat lost", "add", path.name, "pop = out_valid_o && out_ready_i", "pop = out_valid_o")
    path.write_text(lost.apply(path.read_text()))
    assert simulate(case, tmp_path) == 0
    with pytest.raises(EdgeqError, match="the simulated Verilog"):
        simulate(case, tmp_path, stalls=1)


def test_a_bubble_is_found_by_the_declared_cycles(tmp_path: Path) -> None:
    case = design("requantize", tmp_path, Fold())
    path = tmp_path / "eq_pointwise.sv"
    bubble = Mutant("too few credits", "requantize", path.name, ".Depth(FifoDepth)", ".Depth(3)")
    path.write_text(bubble.apply(path.read_text()))
    assert simulate(case, tmp_path) == 0
    engine = parity.simulation(case.built, tmp_path)
    engine.run(case.x)
    assert engine.cycles_per_frame > parity.declared_cycles(case.built, parity.folds_of(case, Fold()))
