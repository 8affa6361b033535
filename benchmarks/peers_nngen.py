"""NNgen's side of peers.py: the CNN as NNgen operators, its Verilog, and a simulation with veriloggen's AXI memory model."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nngen as ng
import numpy as np
import veriloggen
from peers_cnn import KERNEL, POOL, Cnn
from veriloggen import simulation
from veriloggen import thread as vthread
from veriloggen.types import axi

from edgeq.engines.verilator import RUNTIME, SIMULATOR, VERILATOR_FLAGS, Tools, check

CHUNK = 64
"""Bytes to which NNgen aligns what it keeps in memory; its default."""
MEMORY = {"read_delay": 10, "write_delay": 10, "sleep_interval": 16, "keep_sleep": 4}
"""Cycles from a request to its first word, and after how many cycles the memory rests for how many: veriloggen's defaults."""
TOP = "cnn"
IMAGE = "memory.hex"


@dataclass(frozen=True)
class Parallel:
    """ich, och: channels in and out a cycle, of every layer; a convolution takes 3 x 3 pixels of each.  bus: AXI data bits."""

    ich: int = 1
    och: int = 1
    bus: int = 32

    def __str__(self) -> str:
        return f"{self.ich} x {self.och} x {KERNEL * KERNEL}, {self.bus} bit"


class NngenCnn:
    """Builds `cnn` in `folder`: verilog(), then test_bench(), then simulator(), then run()."""

    def __init__(self, cnn: Cnn, parallel: Parallel, folder: Path) -> None:
        folder.mkdir()
        self.cnn, self.parallel, self.folder = cnn, parallel, folder
        self.cycles: list[int] = []

    def verilog(self) -> Path:
        """Writes the accelerator, the module TOP of the file that is returned."""
        self.input, self.output = self._operators()
        self.accelerator = ng.to_veriloggen([self.output], TOP, silent=True, config={"maxi_datawidth": self.parallel.bus})
        path = self.folder / "cnn.v"
        path.write_text(self.accelerator.to_verilog())
        return path

    def _operators(self) -> tuple[Any, Any]:
        ich, och = self.parallel.ich, self.parallel.och

        def variable(name: str, values: np.ndarray, dtype: Any) -> Any:
            found = ng.variable(dtype=dtype, shape=values.shape, name=name)
            found.set_value(values)
            return found

        x = y = ng.placeholder(dtype=ng.int8, shape=(1, self.cnn.size, self.cnn.size, self.cnn.channels), name="x")
        for i, layer in enumerate(self.cnn.layers):
            y = ng.conv2d(
                y, variable(f"weight{i}", layer.weight, ng.int8), strides=(1, 1, 1, 1), padding="SAME",
                bias=variable(f"bias{i}", layer.bias, ng.int32), scale=variable(f"scale{i}", layer.scale, ng.int8),
                rshift_out=layer.shift, act_func=ng.relu, dtype=ng.int8, sum_dtype=ng.int32,
            )  # fmt: skip
            y.attribute(par_ich=ich, par_och=och)
            y = ng.max_pool_serial(y, ksize=(1, POOL, POOL, 1), strides=(1, POOL, POOL, 1))
            y.attribute(par=och)
        weight = variable("dense", self.cnn.dense, ng.int8)
        y = ng.matmul(ng.reshape(y, [1, -1]), weight, transposed_b=True, dtype=ng.int32, sum_dtype=ng.int32, name="y")
        y.attribute(par_ich=ich, par_och=och)
        return x, y

    def test_bench(self, x: np.ndarray) -> None:
        """The accelerator, a memory with parameters and frames, and a processor that starts one frame after the other.

        x: int64 [N, size, size, channels].
        """
        bus, frames, outputs = self.parallel.bus, len(x), len(self.cnn.dense)
        parameters = ng.export_ndarray([self.output], CHUNK)
        input_bytes, output_bytes = _aligned(self.input.memory_size), _aligned(self.output.memory_size)
        inputs_at = _aligned(len(parameters))
        outputs_at = inputs_at + frames * input_bytes
        scratch_at = outputs_at + frames * output_bytes
        words = np.zeros((scratch_at + self._scratch_bytes()) // 4, np.int64)
        axi.set_memory(words, parameters, 32, 8, 0)
        for i, frame in enumerate(x):
            axi.set_memory(words, frame, 32, 8, inputs_at + i * input_bytes, max(bus // 8, self.parallel.ich))

        bench = veriloggen.Module("test")
        bench.copy_params(self.accelerator)
        ports = bench.copy_sim_ports(self.accelerator)
        clock, reset_n = ports["CLK"], ports["RESETN"]
        reset = bench.Wire("RST")
        reset.assign(veriloggen.Not(reset_n))
        with chdir(self.folder):  # the image is named relative to where the simulation runs
            memory = axi.AxiMemoryModel(
                bench, "memory", clock, reset, datawidth=bus, memimg=words, memimg_name=IMAGE, memimg_datawidth=32, **MEMORY
            )
        memory.connect(ports, "maxi")
        registers = vthread.AXIMLite(bench, "registers", clock, reset, noio=True)
        registers.connect(ports, "saxi")
        counter = bench.Reg("cycles", 32, initval=0)
        veriloggen.Seq(bench, "count", clock, reset)(counter.inc())

        def processor() -> None:  # veriloggen makes a state machine of it
            for i in range(frames):
                ng.sim.set_global_addrs(registers, scratch_at, outputs_at + i * output_bytes, inputs_at + i * input_bytes, 0)
                start = counter.value
                ng.sim.start(registers)
                ng.sim.wait(registers)
                print("cycles %d" % (counter.value - start))  # noqa: UP031
                for k in range(outputs):
                    print("value %d" % memory.read_word(k, outputs_at + i * output_bytes, 32))  # noqa: UP031
            vthread.finish()

        vthread.Thread(bench, "processor", clock, reset, processor).start()
        bench.Instance(
            self.accelerator, "dut", params=bench.connect_params(self.accelerator), ports=bench.connect_ports(self.accelerator)
        )
        simulation.setup_clock(bench, clock)
        simulation.setup_reset(bench, reset_n, bench.make_reset(), polarity="low")
        (self.folder / "test.v").write_text(simulation.to_verilator_code(bench, [bench]))

    def simulator(self) -> None:
        """Compiles the test bench."""
        tools = Tools()
        runtime = tools.runtime(*RUNTIME)
        flags = [*VERILATOR_FLAGS, "--top-module", "test"]
        harness = Path(__file__).with_suffix(".cpp").read_bytes()
        with tempfile.TemporaryDirectory() as scratch:
            source = self.folder / "test.v"
            tools.simulator(Path(scratch), flags, [source], harness, [], ["-pthread", *map(str, runtime)])
            shutil.move(Path(scratch) / SIMULATOR, self.folder / SIMULATOR)

    def run(self) -> np.ndarray:
        """All frames, one after the other -> int64 [N, outputs]; cycles: from the start command until it is done, by frame."""
        text = check(SIMULATOR, [str(self.folder / SIMULATOR)], self.folder)
        found: dict[str, list[int]] = {"cycles": [], "value": []}
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name in found:
                found[name].append(int(value))
        self.cycles = found["cycles"]
        return np.array(found["value"]).reshape(len(self.cycles), -1)

    def _scratch_bytes(self) -> int:
        """More than all activations between the operators take, each pixel aligned to a word of the bus."""
        width = max(self.parallel.bus // 8, *(len(layer.weight) for layer in self.cnn.layers))
        return _aligned(2 * len(self.cnn.layers) * self.cnn.size**2 * width)


def _aligned(size: int) -> int:
    return -(-size // CHUNK) * CHUNK
