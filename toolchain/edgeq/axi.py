"""What a processor sees of a network on a board: the register map and the frames in memory, each defined here and nowhere else.

The SystemVerilog package, the driver's `interface.json` and the table in docs/board.md are made from REGISTERS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeq.graph import IntType

PACKAGE, UART_PACKAGE = "eq_axi_pkg", "eq_uart_pkg"
BUS_BITS = 64
"""Bits of the two streams between the DMA and the shell."""
ADDRESS_BITS = 8
MAGIC = int.from_bytes(b"edgQ", "big")
VERSION = 1
"""Of the registers and of the frames in memory: changed with either."""
HASH_BITS = 128


@dataclass(frozen=True)
class Register:
    """32 bits at the byte address `offset`. access: "r" or "rw"."""

    name: str
    offset: int
    access: str
    meaning: str


REGISTERS = (
    Register("magic", 0x00, "r", f"0x{MAGIC:08x}: this is an edgeq design"),
    Register("version", 0x04, "r", f"{VERSION}: version of this map and of the frames in memory"),
    Register("hash0", 0x08, "r", "identity of the design, bits 31 to 0"),
    Register("hash1", 0x0C, "r", "identity of the design, bits 63 to 32"),
    Register("hash2", 0x10, "r", "identity of the design, bits 95 to 64"),
    Register("hash3", 0x14, "r", "identity of the design, bits 127 to 96"),
    Register("in_bytes", 0x18, "r", "bytes of a frame into the network"),
    Register("out_bytes", 0x1C, "r", "bytes of a frame out of the network"),
    Register("control", 0x20, "rw", "bit 0: 1 holds the network and both streams in reset and clears all counters"),
    Register("status", 0x24, "r", "bit 0: in reset; bit 1: halted, only a reset ends this; bit 2: a frame is inside"),
    Register("frames", 0x28, "rw", "frames of a packet, 1 after power-up, 0 is taken as 1; written between packets only"),
    Register("frames_in", 0x2C, "r", "whole frames taken"),
    Register("frames_out", 0x30, "r", "frames given out"),
    Register("short", 0x34, "r", "frames dropped because their packet ended early or a word had bytes missing"),
    Register("long", 0x38, "r", "frames dropped because their packet did not end with its last frame"),
    Register("in_stalls", 0x3C, "r", "cycles in which a word waited for the design"),
    Register("out_stalls", 0x40, "r", "cycles in which a word of the design waited"),
    Register("cycles_low", 0x44, "r", "cycles since the reset; reading it keeps its high half for the next read"),
    Register("cycles_high", 0x48, "r", "the high half of the counter whose low half was read last"),
    Register("busy_low", 0x4C, "r", "cycles with a frame inside, from its first word in to its last word out; as cycles_low"),
    Register("busy_high", 0x50, "r", "the same as cycles_high"),
)


UART = {"read": 1, "write": 2, "words": 3, "last": 4, "word": 5, "last_word": 6, "bad_code": 0xFE, "line_error": 0xFF}
"""Codes of the messages of eq_uart_bridge, the four of the host first; their answers have bit 7 set."""
UART_BUFFER = 2048
"""Bytes that wait in eq_uart_bridge."""


def package_sv() -> str:
    """The SystemVerilog package with the addresses."""
    lines = [
        "// Written by edgeq: the register map of eq_axi_shell.",
        f"package {PACKAGE};",
        "  /// Bits of a register's byte address.",
        f"  localparam int unsigned AddrBits = {ADDRESS_BITS};",
        f"  localparam logic [31:0] Magic = 32'h{MAGIC:08x};",
        f"  localparam logic [31:0] Version = 32'd{VERSION};",
    ]
    for register in REGISTERS:
        name = "".join(part.capitalize() for part in register.name.split("_"))
        lines += [
            f"  /// {register.meaning}",
            f"  localparam logic [AddrBits-1:0] Reg{name} = {ADDRESS_BITS}'h{register.offset:02x};",
        ]
    return "\n".join([*lines, f"endpackage : {PACKAGE}", ""])


def uart_package_sv() -> str:
    """The SystemVerilog package with the codes of messages."""
    lines = ["// Written by edgeq: the codes of the messages of eq_uart_bridge.", f"package {UART_PACKAGE};"]
    for code, value in UART.items():
        name = "".join(part.capitalize() for part in code.split("_"))
        lines += [f"  /// {code.replace('_', ' ')}", f"  localparam logic [7:0] {name} = 8'h{value:02x};"]
    return "\n".join([*lines, f"endpackage : {UART_PACKAGE}", ""])


def register_table() -> str:
    """The register map as a Markdown table."""
    rows = [f"| 0x{r.offset:02x} | `{r.name}` | {r.access} | {r.meaning} |" for r in REGISTERS]
    return "\n".join(["| offset | register | | meaning |", "|---|---|---|---|", *rows])


def slot_bits(beat_bits: int, bus_bits: int = BUS_BITS) -> int:
    """Bits in memory of a beat: the smallest power of two up to the bus, the smallest multiple of the bus beyond."""
    if beat_bits <= bus_bits:
        return 1 << (beat_bits - 1).bit_length()
    return -(-beat_bits // bus_bits) * bus_bits


def stream(t: IntType, pixels: int = 1) -> dict[str, Any]:
    """How frames of the type, with so many pixels a beat, lie in memory, for the driver."""
    slot = slot_bits(pixels * t.channels * t.width)
    return {
        "shape": list(t.shape),
        "lo": t.lo,
        "hi": t.hi,
        "step": t.step,
        "bits": t.width,
        "signed": t.signed,
        "bipolar": t.bipolar,
        "pixels_per_beat": pixels,
        "slot_bits": slot,
        "frame_bytes": -(-t.pixels // pixels * slot // BUS_BITS) * BUS_BITS // 8,
    }
