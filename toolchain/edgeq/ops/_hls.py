"""What the operators' `hls()` share: the configuration of windows and of layers that multiply and accumulate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.digits import DigitCode
from edgeq.fold import Fold
from edgeq.graph import IntType, range_width
from edgeq.hardware import HlsCall, HlsTable
from edgeq.mst import spanning_tree
from edgeq.ops._rtl import layer_digits, plain_fold

if TYPE_CHECKING:
    from edgeq.ops._mac import Mac

WORD_BITS = 32
"""Longest word of a table of binary weights."""


def ap_type(x: IntType) -> tuple[int, bool]:
    """(bits, signed) of the C++ type that holds the values of x, -1 and +1 included."""
    return range_width(x.lo, x.hi), x.lo < 0


def window(
    x: IntType, kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...], dilation: tuple[int, int], pad_value: int
) -> dict[str, int]:
    """The configuration that eq_window.h reads."""
    sides = zip(("top", "left", "bottom", "right"), pads, strict=True)
    axes = {"kernel": kernel, "stride": stride, "dilation": dilation, "in": x.shape[1:]}
    return {
        **{f"{name}_{axis}": sizes[i] for name, sizes in axes.items() for i, axis in enumerate(("height", "width"))},
        **{f"pad_{side}": pad for side, pad in sides},
        "n_chan": x.channels,
        "pad_value": pad_value,
    }


def integer_layer(
    function: str, layer: Mac, fold: Fold, accumulator: IntType, rows: np.ndarray, config: dict[str, int], groups: int = 1
) -> HlsCall:
    """A layer of eq_mac.h. rows: weights [Cout, K] in the order of the patch."""
    fold = plain_fold(fold, rows, groups)
    pe, simd = lanes(fold, rows)
    code = layer_digits(fold, rows)
    config |= _folded(rows, pe, simd, groups, config["n_chan"]) | {"lanes": pe * simd} | digit_config(code)
    return HlsCall(
        function,
        config,
        types={"acc_t": ap_type(accumulator)},
        tables={"weights": digit_table(_blocks(rows, pe, simd), code)},
        post=_fused(layer, fold, pe, accumulator),
    )


def digit_config(code: DigitCode | None) -> dict[str, int]:
    """The configuration that eq_times of eq_common.h reads; None: of plain constants."""
    return {"digits": code.count if code else 0, "shift_bits": code.shift_bits if code else 0}


def digit_table(constants: np.ndarray, code: DigitCode | None) -> HlsTable:
    """The table of constants that eq_times takes."""
    return HlsTable(code.codes(constants), code.width, False) if code else HlsTable.of(constants)


def binary_layer(
    function: str,
    layer: Mac,
    fold: Fold,
    accumulator: IntType,
    rows: np.ndarray,
    config: dict[str, int],
    groups: int = 1,
    padded: bool = False,
) -> HlsCall:
    """A layer of eq_binary.h. rows: weights [Cout, K] of -1 and +1 in the order of the patch."""
    fold = plain_fold(fold, rows, groups)
    pe, simd = lanes(fold, rows)
    n_words = -(-simd // WORD_BITS)
    config |= _folded(rows, pe, simd, groups, config["n_chan"])
    config |= {"n_words": n_words, "word_bits": min(simd, WORD_BITS), "lanes": pe * n_words, "padded": int(padded)}
    tree = fold.mode != "folded" and fold.mst
    return HlsCall(
        function,
        config,
        types={"acc_t": ap_type(accumulator), "count_t": (range_width(0, rows.shape[1]), False)},
        kernel="eq_binary_tree" if tree else "eq_binary_mac",
        tables=_tree(rows, groups) if tree else {"weights": words(_blocks(rows, pe, simd) > 0)},
        post=_fused(layer, fold, pe, accumulator),
    )


def _tree(rows: np.ndarray, groups: int) -> dict[str, HlsTable]:
    """The tables of eq_binary_tree: a minimum spanning tree for each group of channels, parents before children."""
    size = len(rows) // groups
    channels, parents, links, deltas = [], [], [], []
    for first in range(0, len(rows), size):
        tree = spanning_tree(rows[first : first + size])
        for c in tree.order:
            root = tree.parent[c] < 0
            channels.append(first + c)
            parents.append(first + (c if root else tree.parent[c]))
            links.append(0 if root else -1 if tree.complement[c] else 1)
            deltas.append(np.isin(np.arange(rows.shape[1]), tree.terms[c]))
    order = np.array(channels)
    return {
        "weights": words(rows[order] > 0),
        "deltas": words(np.array(deltas)),
        "channels": HlsTable.of(order),
        "parents": HlsTable.of(np.array(parents)),
        "links": HlsTable(np.array(links), 2, True),
    }


def rows_a_cycle(fold: Fold, rows: int) -> int:
    """Rows of a table of thresholds or multipliers that are read in one cycle: fold.pe in a folded layer, else all."""
    return min(rows, fold.pe) if fold.mode == "folded" else rows


def _fused(layer: Mac, fold: Fold, pe: int, accumulator: IntType) -> HlsCall | None:
    """The fused operator, on pe channels a cycle."""
    return layer.post.hls(Fold("folded", pe, digits=fold.digits), accumulator) if layer.post else None


def lanes(fold: Fold, rows: np.ndarray) -> tuple[int, int]:
    """(pe, simd): all channels and terms at once unless folded."""
    return (fold.pe, fold.simd) if fold.mode == "folded" else rows.shape


def words(bits: np.ndarray) -> HlsTable:
    """bits [..., n] as [..., ceil(n / 32)] words, the first bit lowest."""
    width = min(bits.shape[-1], WORD_BITS)
    count = -(-bits.shape[-1] // width)
    padded = np.zeros((*bits.shape[:-1], count * width), np.int64)
    padded[..., : bits.shape[-1]] = bits
    return HlsTable(padded.reshape(*bits.shape[:-1], count, width) @ (1 << np.arange(width, dtype=np.int64)), width, False)


def _blocks(rows: np.ndarray, pe: int, simd: int) -> np.ndarray:
    """[Cout, K] -> [Cout/pe, K/simd, pe, simd]: the order in which a folded layer reads its weights."""
    return rows.reshape(rows.shape[0] // pe, pe, rows.shape[1] // simd, simd).transpose(0, 2, 1, 3)


def _folded(rows: np.ndarray, pe: int, simd: int, groups: int, channels: int) -> dict[str, int]:
    """The configuration that eq_mac.h and eq_binary.h share."""
    n_out, terms = rows.shape
    neuron_folds, term_folds = n_out // pe, terms // simd
    return {
        "n_out": n_out,
        "pe": pe,
        "simd": simd,
        "neuron_folds": neuron_folds,
        "term_folds": term_folds,
        "folds": neuron_folds * term_folds,
        "groups": groups,
        "group_chan": channels // groups,
        "group_out": n_out // groups,
    }
