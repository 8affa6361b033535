"""The driver of a network on a PYNQ board: numpy in, numpy out.

`edgeq synth` copies this file to BUILD/driver/edgeq_driver.py. It runs on the board (PYNQ 2.7 or later, Python 3.8), so it
needs numpy alone and no part of edgeq; what it must know of the design is in interface.json beside it. pynq is imported by
`Network.load` only: any objects that behave like pynq's Overlay and allocate will do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PACKET_BYTES = 1 << 22
"""Of one packet at most, in each direction; the length register of the DMA has 26 bits."""
DMA_CONTROL, DMA_RESET = 0x00, 4
RESET, IN_RESET, HALTED = 1, 1, 2
COUNTERS = ("frames_in", "frames_out", "short", "long", "in_stalls", "out_stalls")


class BoardError(RuntimeError):
    """The board did not do what was asked: what is wrong, and how to fix it."""


class Stream:
    """Frames of one end of the network <-> their bytes in memory. `about`: the entry "input" or "output" of interface.json."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.shape: tuple[int, ...] = tuple(about["shape"])
        self.lo, self.hi, self.step = about["lo"], about["hi"], about["step"]
        self.bits, self.signed, self.bipolar = about["bits"], about["signed"], about["bipolar"]
        self.slot_bits, self.frame_bytes = about["slot_bits"], about["frame_bytes"]
        self.channels = self.shape[0]
        self.pixels = int(np.prod(self.shape[1:], dtype=np.int64))
        self.beats = self.pixels // about["pixels_per_beat"]
        self.codes = self.channels * about["pixels_per_beat"]  # of a beat
        kind = "i" if self.signed else "u"
        self._dtype = np.dtype(f"<{kind}{self.bits // 8}") if self.bits in (8, 16, 32) else None

    def pack(self, x: np.ndarray) -> np.ndarray:
        """x: integers [N, *shape] -> uint8 [N, frame_bytes]. Raises BoardError where a value is not of the stream's type."""
        x = np.asarray(x)
        if x.dtype.kind not in "iub" or x.shape[1:] != self.shape:
            raise BoardError(f"the input is {x.dtype} {list(x.shape)}; fix: integers of shape [N, {str(list(self.shape))[1:]}")
        if self.step > 1 or not self._dtype:
            x = x.astype(np.int64)
        if x.size and (x.min() < self.lo or x.max() > self.hi or (self.step > 1 and np.any((x - self.lo) % self.step))):
            step = f" in steps of {self.step}" if self.step > 1 else ""
            raise BoardError(f"the input has values of [{x.min()}, {x.max()}]; fix: values of [{self.lo}, {self.hi}]{step}")
        beats = np.moveaxis(x.reshape(len(x), self.channels, self.pixels), 1, 2).reshape(len(x), self.beats, self.codes)
        if self.bipolar:
            beats = beats > 0
        if self._dtype:
            used = np.ascontiguousarray(beats, dtype=self._dtype).view(np.uint8)
            data = _widen(used, self.slot_bits // 8).reshape(len(x), self.beats * self.slot_bits // 8)
        else:
            planes = (beats[..., None] >> np.arange(self.bits, dtype=np.int64)) & 1 if self.bits > 1 else beats
            bits = planes.astype(np.uint8).reshape(len(x), self.beats, self.codes * self.bits)
            slots = _widen(bits, self.slot_bits).reshape(len(x), self.beats * self.slot_bits)
            data = np.packbits(slots, axis=1, bitorder="little")
        return _widen(data, self.frame_bytes)

    def unpack(self, data: np.ndarray) -> np.ndarray:
        """The inverse: uint8 [N, frame_bytes] -> int64 [N, *shape]."""
        count = len(data)
        if self._dtype:
            slots = data[:, : self.beats * self.slot_bits // 8].reshape(count, self.beats, self.slot_bits // 8)
            used = np.ascontiguousarray(slots[..., : self.codes * self.bits // 8])
            codes = used.view(self._dtype).astype(np.int64)
        else:
            bits = np.unpackbits(np.ascontiguousarray(data), axis=1, bitorder="little")[:, : self.beats * self.slot_bits]
            used = bits.reshape(count, self.beats, self.slot_bits)[..., : self.codes * self.bits]
            weights = np.int64(1) << np.arange(self.bits, dtype=np.int64)
            if self.signed:
                weights[-1] = -weights[-1]
            codes = used.reshape(count, self.beats, self.codes, self.bits).astype(np.int64) @ weights
        if self.bipolar:
            codes = 2 * codes - 1
        return np.moveaxis(codes.reshape(count, self.pixels, self.channels), 1, 2).reshape(count, *self.shape)


def _widen(array: np.ndarray, length: int) -> np.ndarray:
    """The last axis with zeros behind it, up to `length`."""
    missing = length - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)]) if missing else array


class Network:
    """A network on the board: `run(x)`.

    overlay: has `edgeq`, the registers (read(offset), write(offset, value)), and `dma`, pynq's driver of the AXI DMA.
    allocate: pynq.allocate.  folder: where interface.json is.  timeout: seconds that a packet may take.
    packet_bytes: its size at most, in each direction; a packet has at least one frame.
    Raises BoardError unless the design on the chip is the one that interface.json describes.
    """

    def __init__(
        self, overlay: Any, allocate: Callable[..., Any], folder: Path, timeout: float = 10.0, packet_bytes: int = PACKET_BYTES
    ) -> None:
        about = json.loads((folder / "interface.json").read_text())
        self.input, self.output = Stream(about["input"]), Stream(about["output"])
        self.clock_mhz: float = about["clock_mhz"]
        self.folder, self.timeout = folder, timeout
        self.batch = max(1, packet_bytes // max(self.input.frame_bytes, self.output.frame_bytes))
        self._registers, self._dma, self._allocate = overlay.edgeq, overlay.dma, allocate
        self._offsets: dict[str, int] = about["registers"]
        self._buffers: dict[str, Any] = {}
        expected = {
            "magic": about["magic"],
            "version": about["version"],
            "hash": int(about["hash"], 16),
            "in_bytes": self.input.frame_bytes,
            "out_bytes": self.output.frame_bytes,
        }
        found = {name: self.read(name) for name in expected if name != "hash"}
        found["hash"] = sum(self.read(f"hash{i}") << (32 * i) for i in range(4))
        for name, value in expected.items():
            if found[name] != value:
                raise BoardError(
                    f"the design on the chip is not the one of {folder}: {name} is {found[name]:#x}, not {value:#x}; "
                    "fix: load the bitstream and the driver of one build"
                )
        self.reset()

    @classmethod
    def load(cls, bitstream: str, timeout: float = 10.0) -> Network:
        """Puts the bitstream (its .hwh beside it) on the chip."""
        import pynq

        return cls(pynq.Overlay(bitstream), pynq.allocate, Path(__file__).resolve().parent, timeout)

    def read(self, register: str) -> int:
        """A register of 32 bits, by its name in interface.json."""
        return int(self._registers.read(self._offsets[register])) & 0xFFFFFFFF

    def write(self, register: str, value: int) -> None:
        self._registers.write(self._offsets[register], value)

    def counters(self) -> dict[str, int]:
        """Since the last reset: frames in, out, dropped as short or long; cycles of stalls, of all and with a frame inside."""
        found = {name: self.read(name) for name in COUNTERS}
        for name in ("cycles", "busy"):
            low = self.read(f"{name}_low")  # keeps the high half
            found[name] = low | self.read(f"{name}_high") << 32
        return found

    def reset(self) -> None:
        """Network, streams, counters and DMA, whatever they are doing; what was under way is lost."""
        self.write("control", RESET)  # from here on the design takes and drops all words: the DMA can finish
        self._dma.write(DMA_CONTROL, DMA_RESET)
        self._wait(lambda: not self._dma.read(DMA_CONTROL) & DMA_RESET, "the DMA does not leave its reset")
        self.write("control", 0)
        self._wait(lambda: not self.read("status") & IN_RESET, "the design does not leave its reset")
        self._dma.sendchannel.start()
        self._dma.recvchannel.start()

    def run(self, x: np.ndarray) -> np.ndarray:
        """x: integers [N, *input shape] -> int64 [N, *output shape]."""
        parts = [self.transfer(self.input.pack(x[i : i + self.batch])) for i in range(0, len(x), self.batch)]
        return self.output.unpack(np.concatenate(parts) if parts else np.zeros((0, self.output.frame_bytes), np.uint8))

    def transfer(self, frames: np.ndarray) -> np.ndarray:
        """One packet: uint8 [N, input frame_bytes] -> uint8 [N, output frame_bytes].

        Where the design drops a frame, or no answer comes, BoardError says which. After any exception all is reset.
        """
        count = len(frames)
        source = self._buffer("in", frames.size)
        sink = self._buffer("out", count * self.output.frame_bytes)
        source[: frames.size] = frames.reshape(-1)
        size = count * self.output.frame_bytes
        before = self.counters()
        self.write("frames", count)
        try:
            self._dma.recvchannel.transfer(sink, nbytes=size)
            self._dma.sendchannel.transfer(source, nbytes=frames.size)
            self._wait(lambda: self._arrived(before), f"{count} frames did not come back")
            self._dma.recvchannel.wait()  # over already; makes the caches right
            if self._dma.recvchannel.transferred != size:
                raise BoardError(f"{self._dma.recvchannel.transferred} bytes came back, not {size}")
        except BaseException:  # an interrupt too must leave nothing under way
            self.reset()
            raise
        return np.array(sink[:size]).reshape(count, self.output.frame_bytes)

    def self_test(self) -> dict[str, Any]:
        """The golden vectors beside interface.json on the chip: mismatches, and how fast.

        latency_cycles: one frame, first word in to last word out. cycles_per_frame, frames_per_second: the whole batch, as the
        design's own counter and clock have it. host_frames_per_second: with packing, DMA and Python.
        """
        with np.load(self.folder / "vectors.npz") as pack:
            codes, expected = pack["codes"], pack["outputs"]
        self.reset()
        self.run(codes[:1])
        latency = self.counters()["busy"]
        self.reset()
        start = time.monotonic()
        found = self.run(codes)
        seconds = time.monotonic() - start
        counters = self.counters()
        cycles = counters["busy"] / len(codes)
        return {
            "frames": len(codes),
            "values": int(expected.size),
            "mismatches": int(np.count_nonzero(found != expected)),
            "latency_cycles": latency,
            "latency_us": latency / self.clock_mhz,
            "cycles_per_frame": cycles,
            "frames_per_second": self.clock_mhz * 1e6 / cycles,
            "host_frames_per_second": len(codes) / max(seconds, 1e-9),
            "counters": counters,
        }

    def _buffer(self, name: str, size: int) -> Any:
        """A contiguous buffer of at least `size` bytes, kept for the next packet."""
        if name not in self._buffers or len(self._buffers[name]) < size:
            if name in self._buffers:
                self._buffers.pop(name).freebuffer()
            self._buffers[name] = self._allocate(shape=(max(size, 1),), dtype=np.uint8)
        return self._buffers[name]

    def _arrived(self, before: dict[str, int]) -> bool:
        """True when both directions are done. Raises BoardError where the design or the DMA found an error."""
        dma = self._dma
        for name, what in (("short", "too short, or its packet was cut"), ("long", "too long")):
            if self.read(name) != before[name]:
                raise BoardError(f"a frame was dropped: it was {what}; fix: send {self.input.frame_bytes} bytes a frame")
        if dma.sendchannel.error or dma.recvchannel.error:
            raise BoardError("the DMA reports an error; fix: use buffers of pynq.allocate, and no other user of this DMA")
        return bool(dma.sendchannel.idle and dma.recvchannel.idle)

    def _wait(self, done: Callable[[], bool], otherwise: str) -> None:
        """Polls `done`. Raises BoardError after the timeout."""
        end = time.monotonic() + self.timeout
        while not done():
            if time.monotonic() > end:
                raise BoardError(f"{otherwise} within {self.timeout} s; status {self.read('status'):#x}, {self.counters()}")


def main(load: Callable[[str], Network] = Network.load, usage: str = "edgeq_driver.py BITSTREAM") -> None:
    """The self-test of what `load` makes of the one argument, as JSON. Exit code 1 where a value differs."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {usage}")
    result = load(sys.argv[1]).self_test()
    print(json.dumps(result, indent=2))
    sys.exit(1 if result["mismatches"] else 0)


if __name__ == "__main__":
    main()
