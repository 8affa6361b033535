"""FixedLookup, the table of codes of `edgeq.custom_op`: the operator Lookup on the integers of the cast before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeq.fixed_point import LOOKUP
from edgeq.frontend.exact import Lane
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.nodes.quantizers import MAX_QUANTIZER_BITS, codes_of, power_of_two
from edgeq.frontend.symbols import Value
from edgeq.graph import range_width
from edgeq.ops.lookup import MAX_INPUT_BITS, Lookup


@handles(LOOKUP)
def fixed_lookup(call: Call) -> Value:
    scales = [power_of_two(call, index) for index in (1, 3)]
    table, lo = call.array(2), call.attribute("lo", 0)
    if table is None or not np.issubdtype(table.dtype, np.integer) or table.ndim != 1:
        raise call.refuse("the table is missing, or no vector of integers", "codes [n]")
    if not 1 <= len(table) <= 1 << MAX_INPUT_BITS:
        raise call.refuse(f"a table of {len(table):,} entries", f"1 to {1 << MAX_INPUT_BITS:,}")
    if range_width(int(table.min()), int(table.max())) > MAX_QUANTIZER_BITS or abs(lo) >= 1 << MAX_INPUT_BITS:
        fix = f"codes of at most {MAX_QUANTIZER_BITS} bits, a lo of at most {MAX_INPUT_BITS}"
        raise call.refuse(f"a table from {lo} up with codes from {table.min()} to {table.max()}", fix)
    sym = codes_of(call, 0, scales[0])
    last = lo + len(table) - 1
    if sym.type.lo < lo or sym.type.hi > last:
        raise call.refuse(f"codes from {sym.type.lo} to {sym.type.hi} leave the table, which has {lo} to {last}")
    tensor, made = call.builder.emit(Lookup(table.astype(np.int64)[None], lo), sym.tensor)
    call.builder.graph.meta["quantizers"].append(call.output)
    return call.builder.record(replace(sym, tensor=tensor, type=made, lanes=(Lane(scales[1]),)), call.output)
