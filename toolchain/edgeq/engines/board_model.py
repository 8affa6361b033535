"""What the driver takes for a PYNQ board, inside the simulator: pynq's Overlay, DMA and allocate over cocotbext-axi's bus models.

The driver blocks, so it runs in a thread that cocotb stops whenever the driver waits for the design.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import random
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

POLL_CYCLES = 32
"""That a read of the DMA's own registers takes."""
PAUSES = (0.0, 0.1, 0.5, 0.9)
"""Chances of a pause; a phase of 32 cycles on average draws its own, as in eq_harness.cpp."""
PERIOD_NS = 10
TIMEOUT, PACKET_BYTES = (8 << 20) * PERIOD_NS * 1e-9, 1 << 16
"""Seconds of simulated time, and bytes, of a packet: Python simulates some thousand cycles a second."""
DMA_CONTROL, DMA_RESET = 0x00, 4


class Buffer(np.ndarray):
    """pynq.allocate's buffer."""

    def freebuffer(self) -> None: ...


def allocate(shape: tuple[int, ...], dtype: Any) -> Buffer:
    """As pynq.allocate; holds what memory holds, not zeros."""
    buffer = np.empty(shape, dtype).view(Buffer)
    buffer.fill(0xA5)
    return buffer


class Registers:
    """pynq's DefaultIP of the design: the AXI4-Lite registers."""

    def __init__(self, master: Any) -> None:
        self._read, self._write = resume(master.read), resume(master.write)

    def read(self, offset: int = 0) -> int:
        return int.from_bytes(self._read(offset, 4).data, "little")

    def write(self, offset: int, value: int) -> None:
        self._write(offset, value.to_bytes(4, "little"))


class Channel(ABC):
    """What both channels of pynq's DMA driver have. bus: the model that sends or receives packets."""

    def __init__(self, bus: Any, tick: Callable[[int], None]) -> None:
        self._bus, self._tick = bus, tick
        self.running, self._used = True, False
        self.error = False

    def start(self) -> None:
        self.running, self._used = True, False

    @property
    def idle(self) -> bool:
        self._tick(POLL_CYCLES)
        return self._used and self._done()

    def abort(self) -> None:
        """The reset of the DMA: what is under way ends where it is, and the channel must be started again."""
        self.running, self.error = False, False
        self._bus.clear()
        self._bus.assert_reset()

    def _begin(self, array: np.ndarray, start: int, nbytes: int) -> np.ndarray:
        """The bytes of a transfer. Raises as pynq does where the channel cannot take it."""
        if not self.running:
            raise RuntimeError("DMA channel not started")
        if self._used and not self._done():
            raise RuntimeError("DMA channel not idle")
        self._used = True
        return np.asarray(array).reshape(-1).view(np.uint8)[start : start + (nbytes or array.nbytes)]

    @abstractmethod
    def _done(self) -> bool:
        """The last transfer is over."""


class SendChannel(Channel):
    """pynq's channel from memory to the design: one packet a transfer; TKEEP of its last word has the bytes that are there."""

    def transfer(self, array: np.ndarray, start: int = 0, nbytes: int = 0) -> None:
        self._bus.send_nowait(AxiStreamFrame(self._begin(array, start, nbytes).tobytes()))

    def _done(self) -> bool:
        return bool(self._bus.idle())


class ReceiveChannel(Channel):
    """pynq's channel from the design to memory: one packet a transfer; a packet that does not fit is an error."""

    waiting: np.ndarray | None = None
    """Where the packet that is awaited goes; without one, the DMA takes no words."""
    transferred = 0
    """Bytes of the last packet that was waited for."""

    def transfer(self, array: np.ndarray, start: int = 0, nbytes: int = 0) -> None:
        """Bytes that no packet reaches are not those of the packet before."""
        self.waiting = self._begin(array, start, nbytes)
        self.waiting.fill(0xA5)
        self.transferred = self._length = 0

    def wait(self) -> None:
        while not self.idle:
            pass
        self.transferred = self._length

    def abort(self) -> None:
        super().abort()
        self.waiting = None

    def _done(self) -> bool:
        if self.waiting is not None and not self._bus.empty():
            packet = np.frombuffer(bytes(self._bus.recv_nowait().tdata), np.uint8)
            self.error |= len(packet) > len(self.waiting)
            self._length = len(packet)
            self.waiting[: len(packet)] = packet[: len(self.waiting)]
            self.waiting = None
        return self.waiting is None


class Dma:
    """pynq's driver of the AXI DMA in its simple mode, with the one register that the driver uses itself."""

    def __init__(self, source: Any, sink: Any, tick: Callable[[int], None]) -> None:
        self.sendchannel, self.recvchannel = SendChannel(source, tick), ReceiveChannel(sink, tick)
        self._tick = tick

    def read(self, offset: int) -> int:
        self._tick(POLL_CYCLES)
        return 0  # a reset is over at once

    def write(self, offset: int, value: int) -> None:
        self._tick(POLL_CYCLES)
        if offset == DMA_CONTROL and value & DMA_RESET:
            self.sendchannel.abort()
            self.recvchannel.abort()


class Time:
    """What the driver has for the module `time`: the time of the simulation."""

    def monotonic(self) -> float:
        return float(get_sim_time("ns")) * 1e-9


class Overlay:
    """pynq's Overlay with the names of boards/system.tcl.j2."""

    def __init__(self, edgeq: Registers, dma: Dma) -> None:
        self.edgeq, self.dma = edgeq, dma


class Board:
    """What a scenario gets: `driver`, the module of the build; `network()`, the driver on this board; `overlay`, the parts."""

    def __init__(self, dut: Any, folder: Path, stalls: int | None) -> None:
        self.tick: Callable[[int], None] = resume(self._clock_cycles)
        self.folder = folder
        self._dut = dut
        source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk)
        sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk)
        master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk)
        dma = Dma(source, sink, self.tick)
        self.overlay = Overlay(Registers(master), dma)
        source.set_pause_generator(_pauses(stalls, 0))
        sink.set_pause_generator(pause or dma.recvchannel.waiting is None for pause in _pauses(stalls, 1))
        if stalls is not None:
            write, read = master.write_if, master.read_if
            for index, channel in enumerate(
                (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
            ):
                channel.set_pause_generator(_pauses(stalls, 2 + index))
        self.driver: Any = _module(folder / "edgeq_driver.py")
        vars(self.driver)["time"] = Time()

    def network(self, folder: Path | None = None, packet_bytes: int = PACKET_BYTES) -> Any:
        """The driver's Network on this board. folder: where its interface.json is, if not the build's own."""
        return self.driver.Network(self.overlay, allocate, folder or self.folder, TIMEOUT, packet_bytes)

    async def _clock_cycles(self, count: int) -> None:
        await ClockCycles(self._dut.aclk, count)


def run_frames(board: Board, folder: Path) -> dict[str, Any]:
    """The scenario of BoardEngine.run."""
    start = time.perf_counter()
    network = board.network()
    np.save(folder / "y.npy", network.run(np.load(folder / "x.npy")))
    return {"counters": network.counters(), "seconds": time.perf_counter() - start}


@cocotb.test()
async def scenario(dut: Any) -> None:
    """Resets the board and runs the scenario of the request."""
    request = json.loads(Path(os.environ["EDGEQ_BOARD_REQUEST"]).read_text())
    folder = Path(request["folder"])
    dut.aresetn.value = 0
    Clock(dut.aclk, PERIOD_NS, "ns").start()
    board = Board(dut, Path(request["driver"]), request["stalls"])
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    module, function = request["scenario"].split(":")
    play = getattr(importlib.import_module(module), function)

    def answer() -> dict[str, Any]:
        try:
            return {"value": play(board, folder)}
        except board.driver.BoardError as error:
            return {"error": str(error)}
        except Exception:
            return {"error": traceback.format_exc()}

    (folder / "answer.json").write_text(json.dumps(await bridge(answer)()))


def _pauses(stalls: int | None, channel: int) -> Iterator[bool]:
    """Whether a channel pauses in each cycle."""
    if stalls is None:
        yield from repeat(False)
    dice = random.Random(f"{stalls} {channel}")
    chance = 0.5
    while True:
        if dice.random() < 1 / 32:
            chance = dice.choice(PAUSES)
        yield dice.random() < chance


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
