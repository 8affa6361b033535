"""What an operator hands to the hardware lowerings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Cost:
    """Resources of one operator. bram36 counts a RAMB18 as 0.5."""

    lut: float = 0
    ff: float = 0
    bram36: float = 0
    uram: float = 0
    dsp: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(self.astuple(), other.astuple(), strict=True)))

    def astuple(self) -> tuple[float, ...]:
        return (self.lut, self.ff, self.bram36, self.uram, self.dsp)


@dataclass(frozen=True)
class RtlInstance:
    """One module of the RTL library (or a generated one) with its parameters.

    Ports of every such module: clk_i, rst_ni; in_valid_i, in_ready_o, in_data_i (in0_*, in1_* where there are two
    inputs); out_valid_o, out_ready_i, out_data_o. A beat is one pixel with all its channels, channel c at bits
    [c*W +: W].
    module: module name. params: integers or strings (file names). sources: generated files, name -> text.
    memories: $readmemh images, name -> text; a parameter names the file.
    uses: library files (stems) that the module needs, itself included when it is one.
    """

    module: str
    params: dict[str, int | str]
    uses: tuple[str, ...]
    sources: dict[str, str] = field(default_factory=dict)
    memories: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HlsCall:
    """One call of a C++ template `nnet::<function><input types, output type, config>` of hls/nnet/<header>.

    config: members of the configuration struct, name -> C++ constant expression (int, or list of ints for an array).
    weights: arrays written as static tables by hls4ml's own weight writer, name -> (array int64, bits, signed).
    native: hls4ml's own layer instead, where that is exact: the layer's dictionary for ModelGraph.from_layer_list.
    """

    header: str = ""
    function: str = ""
    config: dict[str, int | str | list[int]] = field(default_factory=dict)
    weights: dict[str, tuple[np.ndarray, int, bool]] = field(default_factory=dict)
    native: dict[str, object] | None = None
