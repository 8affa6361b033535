"""Proof that the netlist of an unrolled binary layer computes the layer, for all inputs (`edgeq prove`).

netlist.py reads the emitted module, argument.py rewrites its outputs into affine forms of the inputs, and this file compares
them with the weights. Nothing here uses the code that generates a layer; weights come from the graph, the netlist from the
file. The claim is about the module alone: window, FIFO and the operator after it are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Graph, IntType
from edgeq.hardware import from_bits
from edgeq.ops._conv import Convolution
from edgeq.ops._mac import Mac
from edgeq.ops._window import patches
from edgeq.ops.threshold import Threshold
from edgeq.prove import compare
from edgeq.prove import netlist as net
from edgeq.prove.argument import Affine, NotAffine, Prover
from edgeq.prove.logic import Logic

SEARCH_ROWS, SEARCH_ROUNDS = 512, 6
"""Inputs of one simulation, and simulations, in the search for one that shows a netlist to be wrong."""
MOST_TRIED = 12
"""Bits of input up to which the search goes through all inputs: that it finds nothing is then a proof too."""


@dataclass(frozen=True)
class Layer:
    """What a module is to compute: y[o] = sum over k of weight[o, k] * x[k], x in {-1, +1}, 0 where a tap is masked.

    weight: [Cout, K] of -1 and +1, K = taps * (Cin / groups) in the order [tap][channel]; the channels of a group together.
    x_i is [tap][channel of all groups], 1 for +1. masks: bool [n, taps], all that occur; None where the module has no mask_i.
    thresholds: int64 [Cout], falling: bool [Cout], where it may give (y >= threshold) ^ falling at y_o instead of y at acc_o.
    """

    weight: np.ndarray
    taps: int = 1
    groups: int = 1
    masks: np.ndarray | None = None
    thresholds: np.ndarray | None = None
    falling: np.ndarray | None = None

    @property
    def terms(self) -> int:
        return int(self.weight.shape[1])

    @property
    def inputs(self) -> int:
        return self.terms * self.groups

    def rows(self) -> np.ndarray:
        """The weights by bit of x_i: int64 [Cout, bits of x_i], 0 where a channel does not read a bit."""
        size, channels = self.terms // self.taps, len(self.weight) // self.groups
        found = np.zeros((self.groups, channels, self.taps, self.groups, size), np.int64)
        for group, weight in enumerate(np.split(self.weight, self.groups)):
            found[group, :, :, group] = weight.reshape(channels, self.taps, size)
        return found.reshape(len(self.weight), self.inputs)

    def real(self, mask: np.ndarray) -> np.ndarray:
        """The bits of x_i that are pixels: bool [..., bits] from masks [..., taps]."""
        return np.repeat(mask, self.inputs // self.taps, axis=-1)


@dataclass(frozen=True)
class Counterexample:
    """The bits of x_i and mask_i, the channel, and what it should and does give."""

    x: np.ndarray
    mask: np.ndarray | None
    channel: int
    expected: int
    found: int


@dataclass(frozen=True)
class Proof:
    """proved: the argument is complete. Else reason says where it ends, and counterexample, if one was found, refutes the
    netlist. latency: -1 where paths differ. counters, adders: LUT groups and carry chains that the argument went through."""

    module: str
    channels: int
    terms: int
    latency: int
    counters: int
    adders: int
    reason: str = ""
    counterexample: Counterexample | None = None

    @property
    def proved(self) -> bool:
        return not self.reason

    @property
    def refuted(self) -> bool:
        return self.counterexample is not None

    def asdict(self) -> dict[str, Any]:
        """For JSON; the bits of a counterexample as text, bit 0 first."""
        found = self.counterexample
        row = {name: getattr(self, name) for name in ("module", "channels", "terms", "latency", "counters", "adders")}
        row |= {"proved": self.proved, "refuted": self.refuted}
        if self.reason:
            row["reason"] = self.reason
        if found:
            ports = {"x_i": found.x} | ({} if found.mask is None else {"mask_i": found.mask})
            bits = {name: "".join(map(str, value.astype(int))) for name, value in ports.items()}
            row["counterexample"] = {**bits, "channel": found.channel, "expected": found.expected, "found": found.found}
        return row


@dataclass(frozen=True)
class Built:
    """An unrolled binary layer of a build. module: the generated module; latency: the cycles after which it is read."""

    name: str
    layer: Layer
    module: str
    latency: int


def layers_of(graph: Graph, operators: Sequence[Mapping[str, Any]], rtl: Path) -> list[Built]:
    """The unrolled binary layers of a network, each with the module that its Verilog in `rtl` instantiates for it.

    graph: after the hardware passes. operators: report.json's. Raises EdgeqError where a module is not found.
    """
    rows = {row["name"]: row for row in operators}
    types, found = graph.types(), []
    top = (rtl / "eq_top.sv").read_text()
    for node in graph.nodes:
        op, x, row = node.op, types[node.inputs[0]], rows[node.name]
        if row["fold"] != "unrolled" or not isinstance(op, Mac) or not x.bipolar or np.any(np.abs(op.weight) != 1):
            continue
        try:
            (wrapper,) = re.findall(rf"^  (eq_unrolled_\w+) (?:#\([^;]*?\) )?{re.escape(row['instance'])} \($", top, re.MULTILINE)
            text = (rtl / f"{wrapper}.sv").read_text()
            (module,) = re.findall(r"^  (\w+) u_tree \($", text, re.MULTILINE)
            (latency,) = re.findall(r"\bvalid_q\[(\d+)-1\]", text)
        except (ValueError, OSError):
            raise EdgeqError("the Verilog has no module for this layer", where=f"{rtl}, {node.name}", fix="synth again") from None
        found.append(Built(node.name, layer_of(op, x), module, int(latency)))
    return found


def layer_of(op: Mac, x: IntType) -> Layer:
    """What the generated module of a binary layer is to compute on the input x."""
    thresholds, falling = None, None
    if isinstance(op.post, Threshold) and op.post.levels == 1:
        shape = (op.channels_out,)
        thresholds, falling = np.broadcast_to(op.post.upward()[:, 0], shape), np.broadcast_to(op.post.negative == 1, shape)
    if not isinstance(op, Convolution):
        return Layer(op.weight, thresholds=thresholds, falling=falling)
    view = patches(np.ones((1, 1, *x.shape[1:]), np.int8), op.kernel, op.stride, op.pads, op.dilation, fill=0)
    masks = np.unique(view.reshape(-1, prod(op.kernel)).astype(bool), axis=0)
    real = None if masks.all() else masks
    return Layer(op.hardware_rows(), prod(op.kernel), op.groups, real, thresholds, falling)


def prove(file: Path, module: str, layer: Layer, latency: int | None = None) -> Proof:
    """Proof that `module`, as the file has it, computes the layer, `latency` cycles later (None: however many).

    Raises EdgeqError where the module cannot be read at all, or has other ports.
    """
    return prove_netlist(net.read(file, module), layer, latency)


def prove_netlist(netlist: net.Netlist, layer: Layer, latency: int | None = None) -> Proof:
    """The same for a netlist that has been read."""
    _check_ports(netlist, layer)
    try:
        stages = netlist.latency()
        latency = stages if latency is None else latency
        found = (latency or 0) if stages is None else stages  # constants are there in every cycle
        reason = "" if found == (latency or 0) else f"the sums come after {found} cycles, and are read after {latency}"
    except EdgeqError as error:
        found, reason = -1, str(error)
    proof = Proof(netlist.module, len(layer.weight), layer.terms, found, 0, 0, reason)
    hints: list[np.ndarray] = []
    mask = None
    shared: dict[tuple[net.Bit, int, int], Affine | None] = {}
    shareable = _free_of(netlist, netlist.inputs.get("mask_i", ()))
    for mask in () if reason else [None] if layer.masks is None else layer.masks:
        constants = {} if mask is None else dict(zip(netlist.inputs["mask_i"], map(int, mask), strict=True))
        prover = Prover(Logic.of(netlist, constants), netlist.inputs["x_i"], shareable, shared)
        reason, hints = _outputs(prover, netlist, layer, mask)
        counters, adders = max(proof.counters, len(prover.counters)), max(proof.adders, len(prover.adders))
        proof = replace(proof, counters=counters, adders=adders, reason=reason)
        if reason:
            break
    if reason and latency is not None:
        counterexample = search(netlist, layer, latency, hints, mask)
        every = counterexample is None and proof.latency == latency and layer.inputs <= MOST_TRIED
        return replace(proof, counterexample=counterexample, reason="" if every else reason)
    return proof


def _outputs(prover: Prover, netlist: net.Netlist, layer: Layer, mask: np.ndarray | None) -> tuple[str, list[np.ndarray]]:
    """Where the argument ends, and inputs worth a try; ("", []) where every output is what it should be."""
    real = np.ones(layer.inputs, bool) if mask is None else layer.real(mask)
    remarks = compare.remarks_by_net(prover.logic, netlist.remarks)
    for channel, weight in enumerate(layer.rows() * real):
        hints: list[np.ndarray] = []
        try:
            if "y_o" in netlist.outputs:
                reason = _comparison(
                    prover, prover.logic.literal[netlist.outputs["y_o"][channel]], remarks, layer, channel, weight, real
                )
            else:
                width = len(netlist.outputs["acc_o"]) // len(layer.weight)
                bits = netlist.outputs["acc_o"][channel * width : (channel + 1) * width]
                form = prover.affine(((1 << j, prover.logic.literal[bit]) for j, bit in enumerate(bits)), width)
                reason, hints = _difference(prover, form, weight, real)
        except NotAffine as error:
            reason = str(error)
        if reason:
            taps = "" if mask is None else f", taps {''.join(map(str, mask.astype(int)))}"
            return f"channel {channel}{taps}: {reason}", hints
    return "", []


def _comparison(
    prover: Prover,
    literal: int,
    remarks: Mapping[net.Bit, net.Remark],
    layer: Layer,
    channel: int,
    weight: np.ndarray,
    real: np.ndarray,
) -> str:
    """What is wrong with a bit of y_o."""
    assert layer.thresholds is not None and layer.falling is not None
    sums, bits = np.arange(-int(np.abs(weight).sum()), int(np.abs(weight).sum()) + 1, 2), np.array(literal)
    if literal > 1:
        found, reason = None, ""
        for top in compare.tops_of_sums(prover, literal >> 1, remarks.get(literal >> 1)):
            try:
                found = found or compare.decided(top, weight, real)
            except NotAffine as error:
                reason = reason or str(error)
        if found is None:
            return reason
        sums, bits = found[0], found[1] ^ (literal & 1)
    expected = (sums >= layer.thresholds[channel]) ^ bool(layer.falling[channel])
    wrong = np.flatnonzero(expected != bits)
    return f"a sum of {sums[wrong[0]]} gives {int(not expected[wrong[0]])}" if len(wrong) else ""


def _check_ports(netlist: net.Netlist, layer: Layer) -> None:
    """Raises EdgeqError unless the ports are the layer's, and every sum fits its bits."""
    expected = {"x_i": layer.inputs} | ({} if layer.masks is None else {"mask_i": layer.taps})
    found = {name: len(bits) for name, bits in netlist.inputs.items()}
    outputs = {name: len(bits) for name, bits in netlist.outputs.items()}
    channels = len(layer.weight)
    known = outputs.keys() == {"acc_o"} and outputs["acc_o"] % channels == 0
    if found != expected or not (known or (layer.thresholds is not None and outputs == {"y_o": channels})):
        raise EdgeqError(f"the ports {found | outputs} are not the layer's: {expected}, {channels} sums", where=netlist.module)
    if known and layer.terms >= 1 << (outputs["acc_o"] // channels - 1):
        raise EdgeqError(f"sums of {layer.terms} terms do not fit {outputs['acc_o'] // channels} bits", where=netlist.module)


def _free_of(netlist: net.Netlist, sources: tuple[net.Bit, ...]) -> frozenset[net.Bit]:
    """The bits that do not depend on the sources."""
    reached = set(sources)
    free: list[net.Bit] = []
    for cell in netlist.cells:
        if any(bit in reached for bit in net.reads(cell)):
            reached.update(net.drives(cell))
        else:
            free += net.drives(cell)
    return frozenset(free)


def _difference(prover: Prover, form: Affine, weight: np.ndarray, real: np.ndarray) -> tuple[str, list[np.ndarray]]:
    """What is wrong with a form that should be sum of weight * (2 * bit - 1), and inputs that show it."""
    if form.rest:
        left = next(iter(form.rest))
        return f"{prover.logic.name(left)} is left with {form.rest[left]}", []
    modulus = 1 << form.bits
    nothing = np.zeros(len(real), bool)
    wrong = np.flatnonzero((form.x - 2 * weight) % modulus * real)
    if (form.constant + int(weight.sum())) % modulus:
        return f"the constant is {form.constant}, not {-int(weight.sum()) % modulus}", [nothing]
    if len(wrong):
        k = int(wrong[0])
        one = nothing.copy()
        one[k] = True
        return f"x_i[{k}] has the coefficient {form.x[k]}, not {2 * int(weight[k]) % modulus}", [nothing, one]
    return "", []


def search(
    netlist: net.Netlist, layer: Layer, latency: int, hints: Sequence[np.ndarray] = (), mask: np.ndarray | None = None
) -> Counterexample | None:
    """An input for which the netlist, simulated, does not give the layer; hints: bits of x_i to try first, under `mask`.

    None where none was found; with at most MOST_TRIED bits of input there is none then.
    """
    rng = np.random.default_rng(0)
    if layer.inputs <= MOST_TRIED:
        every = (np.arange(1 << layer.inputs)[:, None] >> np.arange(layer.inputs) & 1).astype(bool)
        rounds = [(every, m) for m in ([None] if layer.masks is None else layer.masks)]
    else:
        rounds = [(x, mask) for x in _candidates(layer, hints, rng)]
    for x, fixed in rounds:
        masks = None
        if layer.masks is not None:
            masks = layer.masks[rng.integers(0, len(layer.masks), len(x))] if fixed is None else np.repeat(fixed[None], len(x), 0)
        if found := _simulated(netlist, layer, latency, x, masks):
            return found
    return None


def _simulated(
    netlist: net.Netlist, layer: Layer, latency: int, x: np.ndarray, masks: np.ndarray | None
) -> Counterexample | None:
    """The first of these inputs, bool [n, bits of x_i] and [n, taps], for which the netlist does not give the layer."""
    signs = 2 * x.astype(np.int64) - 1
    if masks is not None:
        x, signs = x & layer.real(masks), signs * layer.real(masks)
    expected = signs @ layer.rows().T
    ports = {"x_i": x} | ({} if masks is None else {"mask_i": masks})
    late = {name: np.concatenate([rows, np.repeat(rows[-1:], latency, axis=0)]) for name, rows in ports.items()}
    outputs = {name: bits[latency:] for name, bits in netlist.run(late).items()}
    if "y_o" in outputs:
        assert layer.thresholds is not None and layer.falling is not None
        expected, found = ((expected >= layer.thresholds) ^ layer.falling).astype(np.int64), outputs["y_o"].astype(np.int64)
    else:
        found = from_bits(outputs["acc_o"], outputs["acc_o"].shape[1] // len(layer.weight), signed=True)
    for row, channel in np.argwhere(found != expected)[:1]:
        values = int(expected[row, channel]), int(found[row, channel])
        return Counterexample(x[row], None if masks is None else masks[row], int(channel), *values)
    return None


def _candidates(layer: Layer, hints: Sequence[np.ndarray], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rounds of inputs: hints; inputs near the ends of each channel's range; random ones of any density."""
    signs = layer.rows()
    half = SEARCH_ROWS // 2
    for number in range(SEARCH_ROUNDS):
        near = signs[rng.integers(0, len(signs), half)] * rng.choice([-1, 1], (half, 1)) > 0
        near ^= rng.random((half, layer.inputs)) < rng.random((half, 1)) * (number > 0)
        x = np.concatenate([near, rng.random((half, layer.inputs)) < rng.random((half, 1))])
        yield np.concatenate([*(hint[None] for hint in hints), x]) if number == 0 else x
