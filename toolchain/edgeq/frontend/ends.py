"""The two ends of an imported graph: floats to input codes and back, and the float tail behind the last integer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.frontend.exact import SIGN, Lane, Quantizer, boundaries, levels, python_integers
from edgeq.graph import Graph

INPUT_PATTERN = re.compile(r"(u?)int([0-9]{1,2})(?:/([0-9]+(?:\.[0-9]+)?))?")
MAX_INPUT_BITS = 16


def parse_input(text: str) -> tuple[int, int, Fraction]:
    """(lo, hi, divisor) of an input type such as uint8/255: real = integer / divisor."""
    match = INPUT_PATTERN.fullmatch(text.strip())
    bits = int(match[2]) if match else 0
    divisor = Fraction(match[3] or 1) if match else Fraction(0)
    if not 1 <= bits <= MAX_INPUT_BITS or not divisor:
        fix = "uint8/255, int16/1024, uint8, ...: 1 to 16 bits / divisor"
        raise EdgeqError(f"the input type {text!r} is not known", where="--input", fix=fix)
    unsigned = bool(match and match[1])
    lo, hi = (0, (1 << bits) - 1) if unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return lo, hi, divisor


def input_codes(graph: Graph, floats: np.ndarray) -> np.ndarray:
    """What the source's first quantizer makes of float32 values, computed exactly: int64 [N, *input shape].

    floats: [N, *source shape], or any shape of as many elements a frame. With an integer input type (--input) it is the
    nearest integer, half to even; floats more than half a step outside the type raise EdgeqError.
    """
    source = graph.meta["input"]
    shape = tuple(source["shape"])
    x = np.ascontiguousarray(floats, dtype=np.float32)
    if x.ndim < 1 or x[:1].size != int(np.prod(shape)):
        raise EdgeqError(f"frames of shape {x.shape[1:]} do not fit the model's input {shape}", where=source["name"])
    if not np.all(np.isfinite(x)):
        raise EdgeqError("the input holds NaN or infinity", where=source["name"])
    x = x.reshape(len(x), *shape)
    if source["kind"] == "integer":
        codes = np.rint(x.astype(np.float64) * float(Fraction(source["divisor"]))).astype(np.int64)
        lo, hi = graph.input_type.lo, graph.input_type.hi
        if codes.size and (codes.min() < lo or codes.max() > hi):
            outside = x[(codes < lo) | (codes > hi)][0]
            what = f"the input value {outside} is outside [{lo}, {hi}] / {source['divisor']}"
            raise EdgeqError(what, where=source["name"], fix="another --input type")
        return codes.reshape(len(x), *graph.input_type.shape)
    for view, perm, moved in source["steps"]:
        x = x.reshape(len(x), *view).transpose(0, *(p + 1 for p in perm)).reshape(len(x), *moved)
    x = x.reshape(len(x), *graph.input_type.shape)
    codes = np.empty(x.shape, np.int64)
    q = quantizer_of(graph)
    for channels, lane in _lanes(graph):
        starts, sign = float_transitions(lane, q)
        counted = np.searchsorted(starts, sign * x[:, channels], side="right")
        codes[:, channels] = 2 * counted - 1 if q.mode == SIGN else q.lo - q.zero + counted
    return codes


def input_floats(graph: Graph, codes: np.ndarray) -> np.ndarray:
    """Float32 values [N, *source shape] that the source reads as these codes: the middle of each code's interval, or
    with an integer input type the integer divided by its divisor. Raises EdgeqError for a code that no float gives."""
    x = _middles(graph, codes)
    if graph.meta["input"]["kind"] != "integer" and not np.array_equal(input_codes(graph, x), codes):
        fix = "give real data with --data"
        raise EdgeqError("some input codes stand for no float input", where=graph.meta["input"]["name"], fix=fix)
    return x


def random_inputs(graph: Graph, frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes, floats) of random frames that belong together; frames 0 and 1 are the ends of the range.

    Where a clip or a constant channel before the first quantizer makes a code impossible, the nearest possible one.
    """
    floats = _middles(graph, graph.input_type.random(np.random.default_rng(seed), frames))
    return input_codes(graph, floats), floats


def given_inputs(graph: Graph, floats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(codes, floats) of a user's float frames; with an integer input type the floats are moved onto its grid."""
    codes = input_codes(graph, floats)
    if graph.meta["input"]["kind"] == "integer":
        return codes, _middles(graph, codes)
    return codes, np.ascontiguousarray(floats, np.float32).reshape(len(codes), *graph.meta["input"]["shape"])


def _middles(graph: Graph, codes: np.ndarray) -> np.ndarray:
    source = graph.meta["input"]
    shape = tuple(source["shape"])
    if source["kind"] == "integer":
        return (codes.astype(np.float64) / float(Fraction(source["divisor"]))).astype(np.float32).reshape(len(codes), *shape)
    q = quantizer_of(graph)
    middle = codes.astype(np.float64)
    if q.mode != SIGN:
        edges = boundaries(q.mode, python_integers(q.lo, q.hi + 1))[0].astype(np.float64) / 2
        middle = ((edges[:-1] + edges[1:]) / 2)[codes + q.zero - q.lo]
    x = np.zeros(codes.shape, np.float32)
    for channels, lane in _lanes(graph):
        if lane.a:
            x[:, channels] = (middle[:, channels] - float(lane.b)) / float(lane.a)
    for view, perm, _ in reversed(source["steps"]):
        x = x.reshape(len(x), *(view[p] for p in perm)).transpose(0, *(int(p) + 1 for p in np.argsort(perm)))
    return np.ascontiguousarray(x.reshape(len(x), *shape))


def apply_tail(graph: Graph, y: np.ndarray) -> np.ndarray:
    """The source's float output of the graph's integer output, float64 [N, *source shape]: scale, offset and clip after
    the last integer, without a Softmax that was cut."""
    tail = graph.meta["tail"]
    channels = (-1,) + (1,) * (y.ndim - 2)
    scale, offset = (np.array([float(Fraction(v)) for v in tail[name]]).reshape(channels) for name in ("scale", "offset"))
    low, high = (
        np.array([edge if v is None else float(Fraction(v)) for v in tail[name]]).reshape(channels)
        for name, edge in (("low", -np.inf), ("high", np.inf))
    )
    return np.clip(y * scale + offset, low, high).reshape(len(y), *tail["shape"])


def quantizer_of(graph: Graph) -> Quantizer:
    """The quantizer that makes the graph's input."""
    record = _record(graph)
    return Quantizer((), record["zero"], record["lo"], record["hi"], record["mode"])


def _record(graph: Graph) -> dict[str, Any]:
    return graph.meta["real"][graph.meta["input"]["quantizer"]]["quantizer"]


def read_lanes(record: dict[str, Any], scale: str = "a", offset: str = "b") -> list[Lane]:
    """The lanes of a record of Graph.meta."""
    columns = [[None if v is None else Fraction(v) for v in record[name]] for name in (scale, offset, "low", "high")]
    count = max(map(len, columns))
    rows = zip(*(c * count if len(c) == 1 else c for c in columns), strict=True)
    return [Lane(a or Fraction(0), b or Fraction(0), low, high) for a, b, low, high in rows]


def _lanes(graph: Graph) -> Iterator[tuple[slice, Lane]]:
    """(channels, chain in codes) of the input's quantizer."""
    lanes = read_lanes(_record(graph))
    for c, lane in enumerate(lanes):
        yield (slice(None) if len(lanes) == 1 else slice(c, c + 1)), lane


def float_transitions(lane: Lane, q: Quantizer) -> tuple[np.ndarray, int]:
    """(starts, sign): a float32 x has the k-th level above the lowest where sign * x >= starts[k]."""
    sign = -1 if lane.a < 0 else 1
    a = abs(lane.a)
    starts: list[float] = []
    for twice, strict in zip(*boundaries(q.mode, levels(q)), strict=True):
        edge = Fraction(int(twice), 2)

        def reached(u: Fraction, edge: Fraction = edge, strict: bool = bool(strict)) -> bool:
            return u > edge or (u == edge and not strict)

        if a == 0:
            starts.append(-np.inf if reached(lane.clamp(lane.b)) else np.inf)
        elif lane.low is not None and reached(lane.low):
            starts.append(-np.inf)
        elif lane.high is not None and not reached(lane.high):
            starts.append(np.inf)
        else:
            x = np.float32(float((edge - lane.b) / a))
            while np.isfinite(x) and reached(a * Fraction(float(x)) + lane.b):
                x = np.nextafter(x, np.float32(-np.inf))
            while np.isfinite(x) and not reached(a * Fraction(float(x)) + lane.b):
                x = np.nextafter(x, np.float32(np.inf))
            starts.append(float(x))
    return np.array(starts, np.float32), sign
