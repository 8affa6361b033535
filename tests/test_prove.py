"""`edgeq prove`: what it proves is so (SAT agrees), what is wrong is not proved, and each step of the argument has its limits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from edgeq.engines import yosys
from edgeq.errors import EdgeqError
from edgeq.graph import Graph, IntType, Node
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.threshold import Threshold
from edgeq.prove import Layer, layer_of, mutants, prove, prove_netlist
from edgeq.prove import netlist as reading
from edgeq.prove.argument import NotAffine, Prover
from edgeq.prove.compare import tops_of_sums
from edgeq.prove.logic import Logic
from edgeq.prove.netlist import Carry, Lut, Netlist, Register, Remark
from edgeq.unrolled import Compare, border_masks, unrolled_sv

MASKS = border_masks((5, 4), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1))


def signs(seed: int, *shape: int) -> np.ndarray:
    return 2 * np.random.default_rng(seed).integers(0, 2, shape) - 1


def comparison(channels: int, terms: int) -> Compare:
    rng = np.random.default_rng(channels)
    return Compare(rng.integers(-terms // 3, terms // 3, channels), rng.integers(0, 2, channels).astype(bool))


OPPOSITE = signs(1, 6, 25) * np.array([1, -1, 1, -1, 1, 1])[:, None] * np.where(np.arange(25) < 20, signs(2, 1, 25), 1)
KERNELS: dict[str, dict[str, Any]] = {
    "tree": {"weight": signs(0, 6, 40)},
    "direct": {"weight": signs(1, 4, 30), "form": "direct"},
    "shared": {"weight": signs(2, 8, 36), "form": "shared"},
    "complement edges": {"weight": OPPOSITE},
    "groups": {"weight": signs(3, 8, 18), "taps": 9, "groups": 2},
    "padded": {"weight": signs(4, 6, 18), "taps": 9, "masks": MASKS},
    "compared": {"weight": signs(5, 8, 40), "compare": comparison(8, 40)},
    "compared, padded": {"weight": signs(6, 6, 18), "taps": 9, "masks": MASKS, "compare": comparison(6, 18)},
    "compared, no registers between": {"weight": signs(7, 5, 21), "compare": comparison(5, 21), "max_lut_levels": 12},
}


@cache
def kernel(name: str) -> tuple[Netlist, Layer]:
    made = KERNELS[name]
    with TemporaryDirectory() as folder:
        path = Path(folder, "layer.sv")
        path.write_text(unrolled_sv("layer", **made).text)
        netlist = reading.read(path, "layer")
    compare = made.get("compare")
    ends = (compare.thresholds, compare.negative) if compare else (None, None)
    return netlist, Layer(made["weight"], made.get("taps", 1), made.get("groups", 1), made.get("masks"), *ends)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kind_of_layer_is_proved_and_only_for_its_own_weights(name: str) -> None:
    netlist, layer = kernel(name)
    proof = prove_netlist(netlist, layer)
    assert proof.proved, proof.reason
    assert proof.latency == netlist.latency() and proof.counters + proof.adders > 0
    for channel in range(0, len(layer.weight), 3):
        weight = layer.weight.copy()
        weight[channel, channel] *= -1
        other = prove_netlist(netlist, replace(layer, weight=weight))
        assert not other.proved and other.reason.startswith(f"channel {channel}")
        if layer.thresholds is None:
            assert other.counterexample is not None and other.counterexample.channel == channel


@pytest.mark.parametrize("name", KERNELS)
def test_mutants_are_refuted_unless_sat_shows_them_equal(name: str) -> None:
    netlist, layer = kernel(name)
    rng = np.random.default_rng(0)
    refuted = 0
    for _ in range(25):
        what, mutant = mutants.mutant(netlist, rng)
        proof = prove_netlist(mutant, layer, netlist.latency())
        if proof.refuted:
            refuted += 1
            continue
        same = mutants.equal(netlist, mutant, layer)
        assert same or not proof.proved, f"{what} is proved, and wrong"
        refuted += not same
    assert refuted >= 12


def test_a_counterexample_is_one() -> None:
    netlist, layer = kernel("padded")
    rng = np.random.default_rng(3)
    found = [p for p in (prove_netlist(mutants.mutant(netlist, rng)[1], layer, netlist.latency()) for _ in range(8)) if p.refuted]
    assert found
    for proof in found:
        example = proof.counterexample
        assert example is not None and example.mask is not None
        assert any(np.array_equal(example.mask, mask) for mask in layer.masks)
        real = layer.real(example.mask)
        assert not (example.x & ~real).any()
        assert example.expected == ((2 * example.x - 1) * real) @ layer.rows()[example.channel] != example.found


def test_sat_of_the_whole_module_agrees(tmp_path: Path) -> None:
    """Not by the netlist as read here: Yosys' own models of the cells, against the behavioural body."""
    text = unrolled_sv("layer", signs(8, 3, 9)).text
    inits = list(re.finditer(r"LUT\w+ #\(\d+'h([0-9a-f]+)\)", text))
    verdicts = set()
    for k in range(0, len(inits), 3):
        at = inits[k].end(1) - 1
        path = tmp_path / f"{k}.sv"
        path.write_text(text if k == 0 else f"{text[:at]}{int(text[at], 16) ^ 1:x}{text[at + 1 :]}")
        proof = prove(path, "layer", Layer(signs(8, 3, 9)))
        assert proof.proved == yosys.equivalent([path], "layer", latency=proof.latency), path.read_text()
        verdicts.add(proof.proved)
    assert verdicts == {True, False}


# Where each step must not fire. Nets 2, 3, .. are inputs.


def adder(width: int, name: str = "c") -> tuple[list[Any], dict[str, tuple[int, ...]]]:
    """Sums 40, 41, .. of a and b, the inputs 2, 4, .. and 3, 5, .., by LUTs 20, 21, ..; carries 60, 61, .."""
    a, b, s = (tuple(range(start, start + step * width, step)) for start, step in ((2, 2), (3, 2), (20, 1)))
    luts = [Lut(f"s{i}", s[i], (a[i], b[i]), 0b0110) for i in range(width)]
    chain = Carry(name, tuple(range(40, 40 + width)), tuple(range(60, 60 + width)), s, a, 0)
    return [*luts, chain], {"x_i": tuple(sorted((*a, *b)))}


def prover(cells: list[Any], inputs: dict[str, tuple[int, ...]]) -> Prover:
    netlist = Netlist("m", inputs, {}, tuple(cells))
    return Prover(Logic.of(netlist, {}), inputs["x_i"])


def test_a_counter_is_admitted_by_its_whole_truth_table() -> None:
    """sum + 2 * carry of three bits: of all 256 carries, those that make it a sum with signs and a constant."""
    bits = np.arange(8)[:, None] >> np.arange(3) & 1
    admitted = 0
    for table in range(256):
        made = prover([Lut("s", 20, (2, 3, 4), 0b10010110), Lut("c", 21, (2, 3, 4), table)], {"x_i": (2, 3, 4)})
        values = np.array([(0b10010110 >> i & 1) + 2 * (table >> i & 1) for i in range(8)])
        affine = np.array_equal(values, values[0] + bits @ (values[[1, 2, 4]] - values[0]))
        try:
            form = made.affine([(1, 40), (2, 42)], 4)
        except NotAffine:
            assert not affine
            continue
        assert (not form.rest) == affine
        assert not affine or np.array_equal((form.constant + bits @ form.x) % 16, values)
        admitted += affine
    assert admitted == 4  # a + b + c, and with two of the three inverted


def test_a_word_wraps_unless_its_range_is_known() -> None:
    cells, inputs = adder(3)
    word = [(1 << i, 2 * (40 + i)) for i in range(3)]
    form = prover(cells, inputs).affine(word, 3)
    assert form.x.tolist() == [1, 1, 2, 2, 4, 4] and form.constant == 0 and not form.rest
    assert prover(cells, inputs).affine([*word, (8, 2 * 62)], 6).x.tolist() == [1, 1, 2, 2, 4, 4]  # with its carry
    assert prover(cells, inputs).affine(word, 4).rest  # 7 + 7 does not fit three bits: the bits stand for themselves
    chain = cells.pop()
    cells[2] = Lut("s2", 22, (), 0)  # without the highest bits: 3 + 3 does
    cells.append(chain._replace(di=(*chain.di[:2], 0)))
    assert prover(cells, inputs).affine(word, 6).x.tolist() == [1, 1, 2, 2, 0, 0]


def test_a_remark_is_checked() -> None:
    cells, inputs = adder(3)
    columns = tuple((2 * a, 2 * a + 2) for a in (2, 4, 6))
    made = prover(cells, inputs)
    (top,) = tops_of_sums(made, 42, Remark(False, 0, columns))
    assert (top.form.bits, top.form.constant, top.form.x.tolist()) == (3, 0, [1, 1, 2, 2, 4, 4])
    wrong = [
        Remark(True, 0, columns), Remark(False, 1, columns), Remark(False, 0, columns[::-1]), Remark(False, 0, columns[:2]),
        Remark(False, 0, ((5, 6), *columns[1:])), Remark(False, 0, ((4, 6), *columns[:2])),
    ]  # fmt: skip
    for remark in wrong:
        with pytest.raises(NotAffine, match="the sum that the file says"):
            list(tops_of_sums(made, 42, remark))


def test_the_checker_uses_nothing_of_the_generator() -> None:
    for path in Path(reading.__file__).parent.glob("*.py"):
        imported = set(re.findall(r"^(?:from|import) edgeq\.(\w+)", path.read_text(), re.MULTILINE))
        assert not imported & {"compressor", "netlist", "share", "unrolled", "mst", "delta"}, path


def test_registers_must_be_as_many_on_every_path() -> None:
    late = Register("r", 30, 3)
    for first, second, latency in ((2, 3, 0), (2, 30, None), (30, 30, 1)):
        gate = Lut("g", 31, (first, second), 0b1000)
        netlist = Netlist("m", {"x_i": (2, 3)}, {"y_o": (31,)}, (late, gate))
        if latency is None:
            with pytest.raises(EdgeqError, match=r"stages \[0, 1\] meet"):
                netlist.latency()
        else:
            assert netlist.latency() == latency
    netlist, layer = kernel("tree")
    proof = prove_netlist(netlist, layer, netlist.latency() + 1)
    assert not proof.proved and "are read after" in proof.reason


MODULE = "module m (input logic clk_i, input logic [1:0] x_i, output logic acc_o);\n  logic a, b;\n  {}\nendmodule\n"
REFUSED = {
    "assign a = b & x_i[0]; assign b = a | x_i[1]; assign acc_o = a;": "depends on itself",
    "always_ff @(posedge clk_i) a <= a ^ x_i[0]; assign acc_o = a;": "depends on itself",
    "always_ff @(negedge clk_i) a <= x_i[0]; assign acc_o = a;": "no cell of a generated layer",
    "always_ff @(posedge x_i[1]) a <= x_i[0]; assign acc_o = a;": "another clock",
    "assign acc_o = a;": "no driver",
    "MUXF7 m0 (.O(a), .I0(x_i[0]), .I1(x_i[1]), .S(x_i[0])); assign acc_o = a;": "MUXF7 is no cell",
    "LUT2 #(4'h6) l0 (a, x_i[0], x_i[1]); LUT2 #(4'h8) l1 (a, x_i[0], x_i[1]); assign acc_o = a;": "driven twice",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_no_pipeline_of_luts_is_refused(body: str, tmp_path: Path) -> None:
    path = tmp_path / "m.sv"
    path.write_text(MODULE.format(body))
    with pytest.raises(EdgeqError, match=REFUSED[body]):
        reading.read(path, "m")


def test_the_command(tmp_path: Path) -> None:
    """A network of a compared and a plain layer; then with a fault in its Verilog."""
    graph = Graph("x", IntType((20,), -1, 1, 2))
    threshold = Threshold(np.array([[1], [-3], [3], [0], [2], [-1]]), np.array([0, 1, 0, 0, 1, 0]), -1, 2)
    graph.nodes = [
        Node("first", BinaryDense(signs(0, 6, 20)), ("x",), "a"), Node("sign", threshold, ("a",), "b"),
        Node("last", BinaryDense(signs(1, 3, 6)), ("b",), "y"),
    ]  # fmt: skip
    graph.output = "y"
    assert layer_of(graph.nodes[0].op, graph.input_type).thresholds is None
    source, build = tmp_path / "export", tmp_path / "build"
    source.mkdir()
    lower_onnx.save(graph, source / "model.int.onnx")
    codes = graph.input_type.random(np.random.default_rng(0), 2)
    np.savez(source / "vectors.npz", codes=codes, floats=codes.astype(np.float32), outputs=codes)
    (source / "export.json").write_text('{"source": "", "command": "", "sha256": {}, "versions": {}}')

    def edgeq(*args: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "edgeq.cli", *map(str, args)], capture_output=True, text=True, check=False)

    assert edgeq("synth", source, "--board", "ultra96", "--estimate", "model", "-o", build).returncode == 0
    done = edgeq("prove", build, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["layers"]}
    assert rows.keys() == {"first", "last"} and all(row["proved"] for row in rows.values())
    path = build / "rtl" / f"{rows['first']['module']}.sv"
    text = path.read_text()
    at = next(match.end() for match in re.finditer(r"LUT6(?:_2)? #\(64'h", text))
    path.write_text(f"{text[:at]}{int(text[at], 16) ^ 15:x}{text[at + 1 :]}")
    done = edgeq("prove", build)
    assert done.returncode == 3 and "refuted" in done.stdout and "an input that shows it" in done.stdout
    done = edgeq("prove", source)
    assert done.returncode == 1 and "run `edgeq synth` first" in done.stderr
