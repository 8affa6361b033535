"""The board design, simulated whole: the driver of a build, bus models of cocotbext-axi, the AXI shell and the network.

The driver is BUILD/driver/edgeq_driver.py itself; what it takes for pynq's overlay is edgeq/engines/board_model.py, which runs
inside the simulator. Slow (Python in every cycle): for the network alone use VerilatorEngine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.cache import cached, key
from edgeq.engines.verilator import RUNTIME, SIMULATOR, VERILATOR_FLAGS, Tools
from edgeq.errors import EdgeqError
from edgeq.lower.board import BOARD_TOP, INTERFACE_FILE, board_sources

PUBLIC = f'`verilator_config\npublic_flat_rw -module "{BOARD_TOP}" -var "*"\n'
"""The ports of the top, and nothing else, are open to cocotb."""
RUN = "edgeq.engines.board_model:run_frames"


class BoardEngine:
    """Compiles (once, by content) the board design of a folder that `edgeq synth` wrote, and runs its driver against it.

    After `run`: counters, those of the design as the driver names them; frames_per_second of the simulation itself.
    Raises EdgeqError where cocotb or a tool is missing, where the simulation fails or its counters are wrong, and where the
    driver raises BoardError.
    """

    def __init__(self, build: Path) -> None:
        if importlib.util.find_spec("cocotbext") is None or importlib.util.find_spec("cocotb_tools") is None:
            raise EdgeqError("the simulated board needs cocotb and cocotbext-axi", fix="pip install 'edgeq[board]'")
        import cocotb_tools.config as cocotb

        interface = build / "driver" / INTERFACE_FILE
        if not interface.is_file():
            raise EdgeqError("this build has no board design", where=str(build), fix="run `edgeq synth` for a board that has one")
        self.build = build.resolve()
        self.counters: dict[str, int] = {}
        self.frames_per_second = 0.0
        self._out_shape = tuple(json.loads(interface.read_text())["output"]["shape"])
        self._tools = Tools()
        self._sources = board_sources(self.build)
        self._flags = [*VERILATOR_FLAGS, "--top-module", BOARD_TOP, "--vpi", "--prefix", "Vtop", "--timescale", "1ns/1ps"]
        self._harness = (cocotb.share_dir / "lib" / "verilator" / "verilator.cpp").read_bytes()
        self._libraries = str(cocotb.libs_dir)
        parts = [part for path in self._sources for part in (path.name.encode(), path.read_bytes())]
        name = key([*self._tools.versions, *self._flags, PUBLIC, self._libraries, self._harness, *parts])
        self._simulator = cached("board", name, self._compile) / SIMULATOR

    def run(self, x: np.ndarray, stalls: int | None = None) -> np.ndarray:
        """x: int64 [N, *input shape] -> int64 [N, *output shape], by the driver.

        stalls: seed of random pauses on every channel.
        """
        with tempfile.TemporaryDirectory(prefix="edgeq-board-") as scratch:
            np.save(Path(scratch) / "x.npy", x)
            result = self.play(RUN, Path(scratch), stalls)
            y = np.load(Path(scratch) / "y.npy").reshape(len(x), *self._out_shape)
        self.counters, self.frames_per_second = result["counters"], len(x) / max(result["seconds"], 1e-9)
        wrong = {name: self.counters[name] for name, value in _expected(len(x)).items() if self.counters[name] != value}
        if wrong:
            raise EdgeqError(f"after {len(x)} frames the counters say {wrong}", where=str(self.build))
        return y

    def play(self, scenario: str, folder: Path, stalls: int | None = None) -> Any:
        """Runs `module:function` in the simulator as function(board, folder), board a board_model.Board; returns what it returns,
        which must be JSON."""
        import cocotb_tools.config as cocotb
        import find_libpython

        library = find_libpython.find_libpython()
        if library is None:
            raise EdgeqError("cocotb needs the shared library of Python", fix="install python3-dev or libpython3")
        request = {"scenario": scenario, "folder": str(folder.resolve()), "driver": str(self.build / "driver"), "stalls": stalls}
        (folder / "request.json").write_text(json.dumps(request))
        environment = os.environ | {
            "COCOTB_TEST_MODULES": "edgeq.engines.board_model",
            "COCOTB_TOPLEVEL": BOARD_TOP,
            "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
            "COCOTB_RANDOM_SEED": "1",
            "COCOTB_LOG_LEVEL": "WARNING",
            "COCOTB_TRUST_INERTIAL_WRITES": "1",
            "TOPLEVEL_LANG": "verilog",
            "GPI_USERS": f"{library};{cocotb.pygpi_entry_point()}",
            "PYGPI_PYTHON_BIN": sys.executable,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "EDGEQ_BOARD_REQUEST": str(folder / "request.json"),
        }
        command, answer = [str(self._simulator)], folder / "answer.json"
        answer.unlink(missing_ok=True)
        # Memory images are named relative to the network.
        done = subprocess.run(command, cwd=self.build / "rtl", env=environment, capture_output=True, text=True)
        if done.returncode or not answer.is_file():
            lines = (done.stdout + done.stderr).strip().splitlines()
            raise EdgeqError("the simulated board failed: " + "\n".join(lines[-15:]), where=str(self.build))
        result = json.loads(answer.read_text())
        if "error" in result:
            raise EdgeqError(result["error"], where=str(self.build))
        return result["value"]

    def _compile(self, folder: Path) -> None:
        (folder / "public.vlt").write_text(PUBLIC)
        runtime = [str(path) for path in self._tools.runtime(*RUNTIME, "verilated_vpi")]
        link = [*runtime, "-pthread", f"-L{self._libraries}", f"-Wl,-rpath,{self._libraries}", "-lcocotbvpi_verilator"]
        self._tools.simulator(folder, self._flags, [folder / "public.vlt", *self._sources], self._harness, [], link)


def _expected(frames: int) -> dict[str, int]:
    """What some counters say after `frames` good frames."""
    return {"frames_in": frames, "frames_out": frames, "short": 0, "long": 0}
