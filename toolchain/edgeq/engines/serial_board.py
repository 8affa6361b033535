"""The board design behind a serial port, simulated whole: the driver of a build, a UART, the bridge, the shell, the network.

The driver is BUILD/driver/edgeq_uart.py itself; its port is a pipe to the simulator, which has a UART on the top's two lines.
Lines take time: simulated, a byte costs ten bits of clock cycles. For the network alone use VerilatorEngine.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.cache import cached, key
from edgeq.engines.verilator import RUNTIME, SIMULATOR, VERILATOR_FLAGS, Tools
from edgeq.errors import EdgeqError
from edgeq.lower.board import BOARD_TOP, INTERFACE_FILE, board_sources
from edgeq.lower.ecp5 import FOLDER, UART_FILE, serial_rate

SILENCE_BITS = 400
"""Of the line, after which a read gives what there is, or nothing."""


class SimulatedPort:
    """A serial port as pyserial's, whose other end is the simulated board. noise: changes what is sent, for tests."""

    def __init__(self, simulator: Path, rtl: Path, bit_cycles: int) -> None:
        # Memory images are named relative to the network.
        self._simulator = subprocess.Popen([simulator, str(bit_cycles)], cwd=rtl, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._received = bytearray()

    def write(self, data: bytes) -> None:
        self._command(b"s" + len(data).to_bytes(4, "little") + bytes(data))

    def write_broken(self, byte: int) -> None:
        """A byte without its stop bit."""
        self._command(b"f")
        self.write(bytes([byte]))

    def send_break(self, duration: float) -> None:
        self._command(b"b")

    def read(self, size: int) -> bytes:
        if len(self._received) < size:
            self._command(b"r" + SILENCE_BITS.to_bytes(4, "little"))
            assert self._simulator.stdout
            count = int.from_bytes(self._simulator.stdout.read(4), "little")
            self._received += self._simulator.stdout.read(count)
            if self._simulator.poll() is not None:
                raise EdgeqError(f"the simulated board stopped (exit code {self._simulator.returncode})")
        found = bytes(self._received[:size])
        del self._received[:size]
        return found

    def close(self) -> None:
        self._simulator.kill()
        self._simulator.wait()
        for pipe in (self._simulator.stdin, self._simulator.stdout):
            assert pipe
            pipe.close()

    def _command(self, data: bytes) -> None:
        assert self._simulator.stdin
        self._simulator.stdin.write(data)
        self._simulator.stdin.flush()


class SerialBoardEngine:
    """Compiles (once, by content) the board design that `edgeq synth` wrote for an ECP5, and runs its driver against it.

    After `run`: counters, those of the design as the driver names them; frames_per_second of the simulation itself.
    Raises EdgeqError where a tool is missing, the simulation fails or its counters are wrong, and where the driver raises
    BoardError.
    """

    def __init__(self, build: Path) -> None:
        self.build = build.resolve()
        about = json.loads((build / "driver" / INTERFACE_FILE).read_text())
        self.counters: dict[str, int] = {}
        self.frames_per_second = 0.0
        self.bit_cycles = serial_rate(about["clock_mhz"])[1]
        self._tools = Tools()
        self._sources = [*board_sources(self.build, FOLDER), Path(str(files("edgeq.hls").joinpath("sim/lattice.sv")))]
        self._flags = [*VERILATOR_FLAGS, "--top-module", BOARD_TOP]
        self._harness = files("edgeq.hls").joinpath("sim/eq_uart.cpp").read_bytes()
        parts = [part for path in self._sources for part in (path.name.encode(), path.read_bytes())]
        name = key([*self._tools.versions, *self._flags, self._harness, *parts])
        self.simulator = cached("serial-board", name, self._compile) / SIMULATOR

    def port(self) -> SimulatedPort:
        """The board, just configured."""
        return SimulatedPort(self.simulator, self.build / "rtl", self.bit_cycles)

    def driver(self) -> Any:
        """The module edgeq_uart of the build, with its edgeq_driver."""
        folder = str(self.build / "driver")
        kept = {name: sys.modules.pop(name, None) for name in ("edgeq_driver", Path(UART_FILE).stem)}
        sys.path.insert(0, folder)
        try:
            return importlib.import_module(Path(UART_FILE).stem)
        finally:
            sys.path.remove(folder)
            for name, module in kept.items():
                sys.modules.pop(name, None)
                if module:
                    sys.modules[name] = module

    def run(self, x: np.ndarray, stalls: int | None = None) -> np.ndarray:
        """x: int64 [N, *input shape] -> int64 [N, *output shape], by the driver."""
        if stalls is not None:
            raise EdgeqError("a serial line does not stall", where="--stalls", fix="without --stalls")
        driver, port = self.driver(), self.port()
        start = time.perf_counter()
        try:
            network = driver.SerialNetwork(port, self.build / "driver")
            y, self.counters = network.run(x), network.counters()
        except driver.BoardError as error:
            raise EdgeqError(str(error), where=str(self.build)) from None
        finally:
            port.close()
        self.frames_per_second = len(x) / max(time.perf_counter() - start, 1e-9)
        wrong = {name: self.counters[name] for name in ("frames_in", "frames_out") if self.counters[name] != len(x)}
        wrong |= {name: self.counters[name] for name in ("short", "long") if self.counters[name]}
        if wrong:
            raise EdgeqError(f"after {len(x)} frames the counters say {wrong}", where=str(self.build))
        return y

    def _compile(self, folder: Path) -> None:
        link = [*map(str, self._tools.runtime(*RUNTIME)), "-pthread"]
        self._tools.simulator(folder, self._flags, self._sources, self._harness, [], link)
