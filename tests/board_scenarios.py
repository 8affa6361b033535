"""What tests/test_board.py plays inside the simulator, against the driver of a build: function(board, folder) -> JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.engines.board_model import Board, allocate

SHORT_CUTS = (8, 3)
"""Bytes that a short frame lacks: a word, and a part of its last word."""


def right(network: Any, folder: Path) -> bool:
    """The frames of x.npy give those of y.npy."""
    return bool(np.array_equal(network.run(np.load(folder / "x.npy")), np.load(folder / "y.npy")))


def refusal(board: Board, action: Any) -> str:
    """The message with which the driver refuses."""
    try:
        action()
    except board.driver.BoardError as error:
        return str(error)
    raise AssertionError("the driver did not refuse")


def calm(board: Board, folder: Path) -> dict[str, Any]:
    """What is played without pauses: one start of the simulator for all."""
    return {
        play.__name__: play(board, folder)
        for play in (
            self_test, packets, values_that_do_not_fit, bad_frames, without_a_reset, resets, reset_that_drains, registers,
            another_design,
        )
    }  # fmt: skip


def stalled(board: Board, folder: Path) -> dict[str, Any]:
    """What is played with pauses on every channel."""
    return {play.__name__: play(board, folder) for play in (bad_frames, without_a_reset, resets, registers)}


def bad_frames(board: Board, folder: Path) -> dict[str, Any]:
    """Frames of a wrong length through the driver: its message, and whether the next frames are right."""
    network = board.network()
    frames = network.input.pack(np.load(folder / "x.npy"))
    found: dict[str, Any] = {}

    def packet(count: int, data: np.ndarray) -> None:
        """As Network.transfer, but for the number of bytes."""
        sink = allocate((count * network.output.frame_bytes,), np.uint8)
        source = allocate(data.shape, np.uint8)
        source[:] = data
        before = network.counters()
        network.write("frames", count)
        board.overlay.dma.recvchannel.transfer(sink)
        board.overlay.dma.sendchannel.transfer(source)
        network._wait(lambda: network._arrived(before), "nothing came")

    flat = frames.reshape(-1)
    size = network.input.frame_bytes
    cases = {f"short by {cut}": (1, flat[: size - cut]) for cut in SHORT_CUTS}
    cases["long by 8"] = (1, flat[: size + 8])
    cases["long by 2 frames"] = (1, flat[: 3 * size])
    cases["a packet cut in its third frame"] = (4, flat[: 2 * size + 16])
    cases["a packet cut after its third frame"] = (4, flat[: 3 * size])
    cases["a packet with a frame more"] = (2, flat[: 3 * size])
    for name, (count, data) in cases.items():
        network.reset()
        message = refusal(board, lambda count=count, data=data: packet(count, data))
        board.tick(20)
        found[name] = [message, network.counters(), network.read("status")]
        network.reset()
        found[name].append(right(network, folder))
    return found


def without_a_reset(board: Board, folder: Path) -> dict[str, Any]:
    """Bad packets of one frame with good ones between them, nothing reset: the good ones come out, and they are right."""
    network = board.network()
    dma = board.overlay.dma
    x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
    frames = network.input.pack(x)
    size = network.input.frame_bytes
    bad = [frames[0, :8], frames[0, : size - 3], np.concatenate([frames[0], frames[1, :24]]), frames[:5].reshape(-1)]
    network.write("frames", 1)
    wrong = 0
    for index, frame in enumerate(frames):
        sink = allocate((network.output.frame_bytes,), np.uint8)
        dma.recvchannel.transfer(sink)
        dma.sendchannel.transfer(bad[index % len(bad)])
        network._wait(lambda: dma.sendchannel.idle, "the bad packet was not taken")
        dma.sendchannel.transfer(frame)
        network._wait(lambda: dma.sendchannel.idle and dma.recvchannel.idle, "the good packet did not come back")
        wrong += not np.array_equal(network.output.unpack(sink[None]), y[index : index + 1])
    return {"wrong": wrong, "counters": network.counters(), "status": network.read("status")}


def resets(board: Board, folder: Path) -> list[bool]:
    """A reset at many moments of a packet: what comes next is right."""
    network = board.network()
    frames = network.input.pack(np.load(folder / "x.npy"))
    dma = board.overlay.dma
    found = []
    for cycles in (1, 5, 14, 40, 77, 160, 333, 500):
        network.write("frames", len(frames))
        dma.recvchannel.transfer(allocate((len(frames) * network.output.frame_bytes,), np.uint8))
        dma.sendchannel.transfer(frames.reshape(-1))
        board.tick(cycles)
        network.reset()
        found.append(network.counters()["frames_in"] == 0 and right(network, folder))
    return found


def reset_that_drains(board: Board, folder: Path) -> dict[str, Any]:
    """The reset without one of the DMA, whose packet goes on: all of it is taken, nothing comes out."""
    network = board.network()
    frames = network.input.pack(np.load(folder / "x.npy"))
    dma = board.overlay.dma
    network.write("frames", len(frames))
    dma.sendchannel.transfer(frames.reshape(-1))
    board.tick(50)
    network.write("control", 1)
    status = network.read("status")
    network._wait(lambda: dma.sendchannel.idle, "the packet was not drained")
    network.write("control", 0)
    board.tick(60)
    return {"status": status, "after": network.read("status"), "counters": network.counters(), "right": right(network, folder)}


def registers(board: Board, folder: Path) -> dict[str, Any]:
    """The whole address space, writes everywhere, part writes."""
    network = board.network()
    port = board.overlay.edgeq
    offsets = json.loads((board.folder / "interface.json").read_text())["registers"]
    before = {offset: port.read(offset) for offset in range(0, 256, 4)}
    for offset in range(0, 256, 4):
        if offset not in (offsets["control"], offsets["frames"]):
            port.write(offset, 0xDEADBEEF)
    after = {offset: port.read(offset) for offset in range(0, 256, 4)}
    moving = {offsets["cycles_low"]}
    port.write(offsets["frames"], 0x12345678)
    port._write(offsets["frames"], b"\xff\xff")  # two of four bytes
    return {
        "changed": [offset for offset in before if before[offset] != after[offset] and offset not in moving],
        "unused": sorted({value for offset, value in after.items() if offset not in offsets.values()}),
        "cycles": before[offsets["cycles_low"]] < after[offsets["cycles_low"]],
        "frames": network.read("frames"),
    }


def another_design(board: Board, folder: Path) -> list[str]:
    """interface.json of another build: refused, by the first register that differs."""
    about = json.loads((board.folder / "interface.json").read_text())
    offset = about["registers"]["hash2"]
    changes = [
        {"hash": f"{int(about['hash'], 16) ^ 1 << 77:032x}"},
        {"magic": about["magic"] + 1},
        {"version": 2},
        {"input": about["input"] | {"frame_bytes": about["input"]["frame_bytes"] + 8}},
        {"registers": about["registers"] | {"hash2": about["registers"]["hash3"], "hash3": offset}},
    ]
    found = []
    for change in changes:
        (folder / "interface.json").write_text(json.dumps(about | change))
        found.append(refusal(board, lambda: board.network(folder)))
    return found


def self_test(board: Board, folder: Path) -> dict[str, Any]:
    return board.network().self_test()


def packets(board: Board, folder: Path) -> list[Any]:
    """The four frames in packets of one, and of three: right, and the last value of the register `frames`."""
    found: list[Any] = []
    for size in (1, 3 * 8 * 18):
        network = board.network(packet_bytes=size)
        found += [right(network, folder), network.batch]
    return found


def values_that_do_not_fit(board: Board, folder: Path) -> list[str]:
    """Refused before anything is sent."""
    network = board.network()
    x = np.load(folder / "x.npy")[:1]
    bad = [x + network.input.hi - x.min() + 1, x.astype(float), x[:, :, :-1], x.reshape(-1)]
    found = [refusal(board, lambda value=value: network.run(value)) for value in bad]
    assert network.counters()["frames_in"] == 0
    return found
