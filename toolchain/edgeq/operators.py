"""Operators of the integer graph that a QONNX file names (`FixedOperator` of `edgeq.custom_op`), built from untrusted data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from math import frexp
from typing import Any

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import IntType, Op
from edgeq.ops import registry

NAME = "operator"
"""The attribute with the kind; every other one is a field."""
FIELD_LIMIT, ARRAY_LIMIT = 1 << 31, 1 << 62
"""Fields and elements of arrays lie below them."""
MAX_FLOAT32 = 1 << 24
"""Integers up to it are float32 values, as are their products with a power of two."""


@cache
def carried() -> dict[str, type[Op]]:
    """The operators that a file may name, by kind."""
    return {kind: cls for kind, cls in registry().items() if cls.carried}


def operator_class(kind: str) -> type[Op]:
    """The operator of this kind; raises EdgeqError where it is none of `carried`."""
    if kind not in carried():
        raise EdgeqError(f"the operator {kind!r} is unknown", fix=f"one of {', '.join(carried())}")
    return carried()[kind]


def build(kind: str, values: Mapping[str, Any], arrays: Sequence[np.ndarray | None]) -> Op:
    """The operator with these integer fields, by name, and these arrays, in the order of its fields.

    Raises EdgeqError unless every field is there once, of its type and not too large; what a field may be, `infer` knows.
    """
    cls = operator_class(kind)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    wanted = [f.name for f in fields if f.type == "np.ndarray"]
    known = [f.name for f in fields if f.type == "int"]
    optional = [f.name for f in fields if f.default is not dataclasses.MISSING]
    if unknown := sorted(set(values) - set(known)):
        raise EdgeqError(f"{kind} has no integer field {unknown[0]!r}", fix=f"its fields are {', '.join(known)}")
    if missing := [name for name in known if name not in values and name not in optional]:
        raise EdgeqError(f"{kind} lacks the field {missing[0]!r}")
    if len(arrays) != len(wanted):
        raise EdgeqError(f"{kind} has {len(arrays)} arrays", fix=f"{len(wanted)}: {', '.join(wanted)}" if wanted else "none")
    for name, value in values.items():
        if not isinstance(value, int) or abs(value) >= FIELD_LIMIT:
            raise EdgeqError(f"the field {name} of {kind} is {value!r}", fix=f"an integer below {FIELD_LIMIT}")
    made: dict[str, Any] = dict(values)
    for name, array in zip(wanted, arrays, strict=True):
        fits = array is not None and array.dtype == np.int64 and array.size > 0
        if array is None or not fits or array.min() <= -ARRAY_LIMIT or array.max() >= ARRAY_LIMIT:
            raise EdgeqError(f"the array {name} of {kind} is missing, empty, or no int64 below 2^62")
        made[name] = array
    return cls(**made)


def run(op: Op, xs: Sequence[np.ndarray], scales: Sequence[float], out: float) -> np.ndarray:
    """op(x / scale, ...) * out, float32; with a scale that is no power of two, of the integers nearest to x / scale.

    Raises EdgeqError where an x is no multiple of its scale, if that is a power of two, op refuses values in that range, or a
    result is no float32.
    """
    codes = []
    for x, scale in zip(xs, scales, strict=True):
        code = np.asarray(x, np.float64) / scale
        if frexp(scale)[0] != 0.5:  # float32 holds no exact multiples: the nearest ones are meant
            code = np.rint(code)
        if not np.all((code == np.floor(code)) & (np.abs(code) <= MAX_FLOAT32)):
            raise EdgeqError(f"an input is no multiple of {scale}, or too large a one", where=op.kind(), fix="a cast before it")
        codes.append(code.astype(np.int64))
    op.infer(*(IntType(c.shape[1:], min(int(c.min()), 0), max(int(c.max()), 0)) for c in codes))
    y = op.reference(*codes)
    if np.abs(y).max(initial=0) > MAX_FLOAT32:
        raise EdgeqError(f"a result of {int(np.abs(y).max())} is no float32", where=op.kind(), fix="shorter words")
    return np.asarray(y * np.float64(out), np.float32)
