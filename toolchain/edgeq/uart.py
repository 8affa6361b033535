"""The serial link to a board with eq_uart_bridge: what edgeq_driver.py takes for pynq's overlay, over a serial port.

`edgeq synth` copies this file to BUILD/driver/edgeq_uart.py, beside edgeq_driver.py. It needs numpy, and pyserial for a real
port. The messages are described in eq_uart_bridge.sv, their codes are in interface.json.

    python edgeq_uart.py /dev/ttyUSB0     # the self-test, as JSON
"""

from __future__ import annotations

import binascii
import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from edgeq_driver import DMA_CONTROL, DMA_RESET, BoardError, Network, main

WORD_BYTES = 8
MESSAGE_WORDS = 64
"""Words of a message at most: a quarter of what the board lets wait, so that the line never rests."""
PACKET_BYTES = 1 << 16
"""Of one packet, in each direction: under a second at 1 Mbaud."""
BREAK_SECONDS = 0.001
QUIET_SECONDS = 0.05
"""Without a byte, after which nothing is under way: more than the latency of a USB serial chip."""
ANSWER = 0x80


def crc(data: bytes) -> int:
    """CRC-16/CCITT, from 0xffff; that of a message with its own CRC is 0."""
    return binascii.crc_hqx(data, 0xFFFF)


class Link:
    """Messages over a port. port: as pyserial's Serial: write(bytes), read(n), which waits for at most its `timeout`, send_break.

    about: the entry "uart" of interface.json. timeout: seconds that an answer may take. After any error the link is dead up to
    `restart`, which loses what was under way. words: received, as (word, ends a packet).
    """

    def __init__(self, port: Any, about: dict[str, Any], timeout: float) -> None:
        self._port, self._codes, self._timeout = port, about["codes"], timeout
        self._window = about["buffer_bytes"]
        self._names = {code: name for name, code in self._codes.items()}
        self._lengths = {self._codes["read"] | ANSWER: 4, self._codes["word"]: WORD_BYTES, self._codes["last_word"]: WORD_BYTES}
        self._plain = {self._codes[name] | ANSWER for name in ("write", "words", "last")}
        self._waiting: deque[tuple[int, int]] = deque()  # code of the answer, bytes of the message
        self._received = bytearray()
        self.words: list[tuple[bytes, bool]] = []

    def restart(self) -> None:
        """Begins anew, whatever the two sides were doing."""
        self._port.send_break(BREAK_SECONDS)
        end = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < end:
            if self._port.read(4096):
                end = time.monotonic() + QUIET_SECONDS
        self._waiting.clear()
        self._received.clear()
        self.words.clear()

    def read(self, address: int) -> int:
        return int.from_bytes(self._ask("read", bytes([address])), "little")

    def write(self, address: int, value: int) -> None:
        self._ask("write", bytes([address]) + value.to_bytes(4, "little"))

    def packet(self, data: bytes) -> None:
        """A packet of whole words, sent as fast as the board takes it; returns when it has all of it."""
        size = MESSAGE_WORDS * WORD_BYTES
        for at in range(0, len(data), size):
            part = data[at : at + size]
            self._send("last" if at + size >= len(data) else "words", bytes([len(part) // WORD_BYTES - 1]) + part)
        while self._waiting:
            self._receive()

    def poll(self) -> None:
        """Takes what has come."""
        while self._step(wait=False):
            pass

    def _ask(self, name: str, fields: bytes) -> bytes:
        self._send(name, fields)
        answer = b""
        while self._waiting:
            answer = self._receive() or answer
        return answer

    def _send(self, name: str, fields: bytes) -> None:
        """Sends a message when the board has room for all of it."""
        message = bytes([self._codes[name]]) + fields
        message += crc(message).to_bytes(2, "big")
        while sum(size for _, size in self._waiting) + len(message) > self._window:
            self._receive()
        self._waiting.append((self._codes[name] | ANSWER, len(message)))
        self._port.write(message)

    def _receive(self) -> bytes | None:
        """The fields of the next answer; None for a word."""
        end = time.monotonic() + self._timeout
        while True:
            found = self._step(wait=True)
            if found:
                code, fields = found
                return None if code in (self._codes["word"], self._codes["last_word"]) else fields
            if time.monotonic() > end:
                raise BoardError(
                    f"no answer from the board within {self._timeout} s; fix: the right port, and the bitstream on it"
                )

    def _step(self, wait: bool) -> tuple[int, bytes] | None:
        """One message, where it has come."""
        while True:
            size = self._lengths.get(self._received[0], 0) + 3 if self._received else 1
            if self._received and len(self._received) >= size:
                message = bytes(self._received[:size])
                del self._received[:size]
                return self._taken(message)
            more = self._port.read(size - len(self._received) if wait else 4096)
            if not more:
                return None
            self._received += more

    def _taken(self, message: bytes) -> tuple[int, bytes]:
        """A whole message. Raises BoardError where it is none, or the board says that it had no message."""
        code, fields = message[0], message[1:-2]
        if crc(message) or not (code in self._lengths or code in self._plain or code in self._names):
            raise BoardError("the serial line lost or changed a byte from the board; fix: a lower rate, or another cable")
        if code in (self._codes["bad_code"], self._codes["line_error"]):
            raise BoardError(
                f"the board reports {self._names[code].replace('_', ' ')}: the serial line lost or changed a byte; "
                "fix: a lower rate, another cable, or no other program on this port"
            )
        if code in (self._codes["word"], self._codes["last_word"]):
            self.words.append((fields, code == self._codes["last_word"]))
        elif not self._waiting or self._waiting.popleft()[0] != code:
            raise BoardError(f"the board answers {code:#x}, which was not asked for")
        return code, fields


class Channel:
    """One direction of pynq's DMA driver."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.error = False
        self.transferred = 0
        self._into: np.ndarray | None = None

    def start(self) -> None:
        self._into, self.error = None, False

    def wait(self) -> None:
        """Nothing is under way once `idle`."""


class SendChannel(Channel):
    """From memory to the board."""

    idle = True

    def transfer(self, array: Any, start: int = 0, nbytes: int = 0) -> None:
        data = np.asarray(array).reshape(-1).view(np.uint8)[start : start + (nbytes or array.nbytes)].tobytes()
        if not data or len(data) % WORD_BYTES:
            raise BoardError(f"{len(data)} bytes are no packet; fix: whole words of {WORD_BYTES} bytes")
        self._link.packet(data)


class ReceiveChannel(Channel):
    """From the board to memory: one packet a transfer."""

    def transfer(self, array: Any, start: int = 0, nbytes: int = 0) -> None:
        self._into = np.asarray(array).reshape(-1).view(np.uint8)[start : start + (nbytes or array.nbytes)]
        self.transferred = 0

    @property
    def idle(self) -> bool:
        """True once a packet has come."""
        self._link.poll()
        ends = [i for i, (_, last) in enumerate(self._link.words) if last]
        if self._into is not None and ends:
            data = b"".join(word for word, _ in self._link.words[: ends[0] + 1])
            del self._link.words[: ends[0] + 1]
            self.transferred = len(data)
            self.error = len(data) > len(self._into)
            self._into[: len(data)] = np.frombuffer(data, np.uint8)[: len(self._into)]
            self._into = None
        return self._into is None


class Dma:
    """pynq's driver of the AXI DMA."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.sendchannel, self.recvchannel = SendChannel(link), ReceiveChannel(link)

    def read(self, offset: int) -> int:
        return 0  # a reset is over at once

    def write(self, offset: int, value: int) -> None:
        if offset == DMA_CONTROL and value & DMA_RESET:
            self._link.words.clear()


class Registers:
    """pynq's driver of the registers."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def read(self, offset: int) -> int:
        return self._link.read(offset)

    def write(self, offset: int, value: int) -> None:
        self._link.write(offset, value)


class Overlay:
    """pynq's Overlay."""

    def __init__(self, link: Link) -> None:
        self.edgeq, self.dma = Registers(link), Dma(link)


class SerialNetwork(Network):
    """A network behind a serial port: `run(x)`, `self_test()`, `counters()` as Network. port: as Link takes it."""

    def __init__(self, port: Any, folder: Path, timeout: float = 10.0, packet_bytes: int = PACKET_BYTES) -> None:
        about = json.loads((folder / "interface.json").read_text())["uart"]
        self._link = Link(port, about, timeout)
        self._link.restart()
        super().__init__(Overlay(self._link), _allocate, folder, timeout, packet_bytes)

    @classmethod
    def load(cls, bitstream: str, timeout: float = 10.0) -> SerialNetwork:
        """Opens the port of that name; the bitstream is on the board already (openFPGALoader --board ulx3s edgeq.bit)."""
        import serial

        folder = Path(__file__).resolve().parent
        baud = json.loads((folder / "interface.json").read_text())["uart"]["baud"]
        return cls(serial.Serial(bitstream, baud, timeout=0.01), folder, timeout)

    def reset(self) -> None:
        """As Network, and the link begins anew."""
        self._link.restart()
        super().reset()
        self._link.restart()


class _Buffer(np.ndarray):
    """pynq's buffer."""

    def freebuffer(self) -> None:
        """Python does that."""


def _allocate(shape: tuple[int, ...], dtype: Any) -> _Buffer:
    return np.zeros(shape, dtype).view(_Buffer)


if __name__ == "__main__":
    main(SerialNetwork.load, "edgeq_uart.py PORT")
