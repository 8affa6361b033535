"""The C simulation of an HLS project: compiled by hls4ml's build_lib.sh, run in a process of its own."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from edgeq.cache import cached, key
from edgeq.errors import EdgeqError
from edgeq.graph import IntType

INTERFACE_FILE = "edgeq.json"
"""What the lowering leaves in a project for this engine: its name and the types of both ends."""
EXACT_BITS = 53
"""The bridge of hls4ml passes every integer as a double."""
STACK_BYTES = 1 << 29
"""The generated code keeps beats of a whole layer on the stack; threading.stack_size only reserves addresses."""
LIBRARY = "csim.so"
RATE_FILE = "rate.json"


class HlsEngine:
    """Compiles (once, by content) and runs the project that `edgeq.lower.hls.lower` wrote to `project`.

    frames_per_second: of the last run, without process start and the loading of weights.
    Raises EdgeqError where there is no g++, where an end of the network is too wide, and where the code fails or crashes.
    """

    def __init__(self, project: Path) -> None:
        try:
            interface = json.loads((project / INTERFACE_FILE).read_text())
        except (OSError, ValueError):
            raise EdgeqError("this is not an HLS project of edgeq", where=str(project), fix="run `edgeq synth`") from None
        self.project = project
        self.name: str = interface["project"]
        self.input, self.output = (_int_type(interface[end]) for end in ("input", "output"))
        for end in (self.input, self.output):
            if end.width > EXACT_BITS:
                raise EdgeqError(f"the HLS simulation exchanges integers of at most {EXACT_BITS} bits, not {end}")
        self.library = self._compile()
        self.frames_per_second = 0.0

    def run(self, x: np.ndarray) -> np.ndarray:
        """x: int64 [N, *input shape] -> int64 [N, *output shape]."""
        if not self.input.admits(x):
            raise EdgeqError(f"the input does not fit {self.input}")
        with tempfile.TemporaryDirectory(prefix="edgeq-hls-") as scratch:
            folder = Path(scratch)
            np.save(folder / "x.npy", np.ascontiguousarray(_channels_last(x), dtype=np.float64))
            command = [sys.executable, "-m", __name__, str(self.library), self.name, str(self.output.size), str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            complaint = next((s for s in (done.stdout + done.stderr).splitlines() if "WARNING" in s or "ERROR" in s), "")
            if done.returncode or complaint:
                how = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
                last = complaint or "".join(done.stderr.splitlines()[-1:])
                raise EdgeqError(f"the HLS simulation failed ({how}): {last}", where=str(self.project))
            y = np.load(folder / "y.npy")
            self.frames_per_second = float(json.loads((folder / RATE_FILE).read_text()))
        shape = (len(x), *self.output.shape[1:], self.output.shape[0])
        return np.moveaxis(np.rint(y).astype(np.int64).reshape(shape), -1, 1)

    def _compile(self) -> Path:
        compiler = shutil.which("g++")
        if compiler is None:
            raise EdgeqError("the HLS simulation needs g++, which is not on PATH", fix="install g++ 11 or later")
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
        sources = [*sorted((self.project / "firmware").rglob("*")), *sorted(self.project.glob("*.cpp"))]
        sources = [path for path in [*sources, self.project / "build_lib.sh"] if path.is_file()]
        parts = [(str(path.relative_to(self.project)), path.read_bytes()) for path in sources]
        folder = cached("hls", key([version, *(part for pair in parts for part in pair)]), self._build)
        return folder / LIBRARY

    def _build(self, folder: Path) -> None:
        """Compiles a copy in `folder`, because the library reads its weights from where it was compiled."""
        shutil.copytree(self.project, folder, dirs_exist_ok=True)
        done = subprocess.run(["bash", "build_lib.sh"], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise EdgeqError(f"g++ refused the HLS project: {(errors or ['no message'])[0]}", where=str(self.project))
        (library,) = (folder / "firmware").glob("*.so")
        library.rename(folder / LIBRARY)
        for path in (*folder.iterdir(), *(folder / "firmware").iterdir()):
            if path.name not in (LIBRARY, "firmware", "weights"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _int_type(entry: dict[str, object]) -> IntType:
    return IntType(**(entry | {"shape": tuple(entry["shape"])}))  # type: ignore[arg-type]


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def _simulate(library: str, name: str, size: int, folder: Path) -> None:
    """The child process: x.npy in `folder` through the library's entry for doubles, to y.npy and RATE_FILE."""
    function = getattr(ctypes.CDLL(library), f"{name}_double")
    function.restype = None
    x = np.load(folder / "x.npy")
    y = np.zeros((len(x), size))
    starts = []
    for frame, result in zip(x, y, strict=True):
        starts.append(time.perf_counter())
        function(*(array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (frame, result)))
    ends = time.perf_counter()
    # The first frame also loads the weights: it counts only where it is alone.
    timed = starts[1:] or starts
    np.save(folder / "y.npy", y)
    (folder / RATE_FILE).write_text(json.dumps(len(timed) / (ends - timed[0])))


if __name__ == "__main__":
    threading.stack_size(STACK_BYTES)
    child = threading.Thread(target=_simulate, args=(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
    child.start()
    child.join()
    sys.exit(not (Path(sys.argv[4]) / RATE_FILE).exists())
