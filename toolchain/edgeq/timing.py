"""One frame of a timed event graph: every step as soon as it can. Compiled by numba, for a frame may have millions of steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from edgeq.hardware import EMIT, READ, READ_SECOND, TAKE, TAKE_SECOND

NONE = -1
"""Of an index or a depth that there is not."""


class Structure(NamedTuple):
    """The processes and channels of `schedule._Events`. Where each has a list of something, `*_at` says where its own begins.

    first, second: the inputs of a process; first_slot, second_slot: which of their readers it is.  turns: those that take turns,
    the readers of a fork, or the process alone.  kept: words of a channel's past that matter, in front of those of the frame.
    writer: NONE: words are always there.  taken_at: of each reader, for channels of several.
    """

    walk: np.ndarray
    walk_at: np.ndarray
    cycles: np.ndarray
    latency: np.ndarray
    back: np.ndarray
    bounded: np.ndarray
    apart: np.ndarray
    first: np.ndarray
    second: np.ndarray
    first_slot: np.ndarray
    second_slot: np.ndarray
    output: np.ndarray
    turns: np.ndarray
    turns_at: np.ndarray
    beats: np.ndarray
    beats_at: np.ndarray
    kept: np.ndarray
    gone_at: np.ndarray
    writer: np.ndarray
    readers: np.ndarray
    readers_at: np.ndarray
    taken_at: np.ndarray


class State(NamedTuple):
    """A frame in the making: of each process its steps' starts, how many it has taken, the words that it took and gave; of each
    channel when its words came, were shown to the readers of a fork, were taken by each of these, and left."""

    starts: np.ndarray
    begun: np.ndarray
    took: np.ndarray
    took_second: np.ndarray
    gave: np.ndarray
    pending: np.ndarray
    came: np.ndarray
    came_count: np.ndarray
    shown: np.ndarray
    shown_count: np.ndarray
    taken: np.ndarray
    taken_count: np.ndarray
    gone: np.ndarray
    gone_count: np.ndarray


@njit(cache=True)
def evaluate(net: Structure, state: State, ready: np.ndarray, unit: int) -> int:
    """Fills `state`.  ready: the cycle from which each process is free.  Returns a process that cannot go on, or NONE."""
    processes = len(net.cycles)
    for channel in range(len(net.beats)):
        if _forked(net, channel):
            _settle(net, state, channel, unit)
    again = True
    while again:
        again = False
        for p in range(processes):
            moving = True
            while moving:
                moving = False
                for at in range(net.turns_at[p], net.turns_at[p + 1]):
                    if state.pending[net.turns[at]]:
                        moving = again = True
                        _advance(net, state, net.turns[at], ready, unit)
    for p in range(processes):
        if state.begun[p] < net.walk_at[p + 1] - net.walk_at[p]:
            return p
    return NONE


@njit(inline="always")
def _forked(net: Structure, channel: int) -> bool:
    return net.readers_at[channel + 1] - net.readers_at[channel] > 1


@njit(inline="always")
def _shown(net: Structure, state: State, channel: int) -> tuple[np.ndarray, int]:
    """The times from which its readers see its words, and how many there are so far."""
    begin, end = net.beats_at[channel], net.beats_at[channel + 1]
    if _forked(net, channel):
        return state.shown[begin:end], state.shown_count[channel]
    return state.came[begin:end], state.came_count[channel]


@njit(inline="always")
def _take(net: Structure, state: State, channel: int, slot: int, time: int) -> None:
    """A reader takes a word."""
    if _forked(net, channel):
        reader = net.readers_at[channel] + slot
        state.taken[net.taken_at[reader] + state.taken_count[reader]] = time
        state.taken_count[reader] += 1
    else:
        state.gone[net.gone_at[channel] + state.gone_count[channel]] = time
        state.gone_count[channel] += 1


@njit(inline="always")
def _advance(net: Structure, state: State, p: int, ready: np.ndarray, unit: int) -> None:
    """Takes the steps of a process for which everything is there."""
    state.pending[p] = False
    begin, end = net.walk_at[p], net.walk_at[p + 1]
    first, second, output = net.first[p], net.second[p], net.output[p]
    apart, bounded = net.apart[p], net.bounded[p]
    cycles, back = net.cycles[p] * unit, net.back[p] * unit
    delay, last = cycles + net.latency[p] * unit, cycles - unit
    begun, word, second_word, out = state.begun[p], state.took[p], state.took_second[p], state.gave[p]
    words, there = _shown(net, state, first)
    others, second_there = _shown(net, state, second) if second != NONE else (words, there)
    joined = second != NONE and not apart
    if joined:
        there = min(there, second_there)
    free = state.starts[begin + begun - 1] + cycles if begun else ready[p]
    while begin + begun < end:
        does = net.walk[begin + begun]
        if bounded and out >= state.gone_count[output]:
            break
        if does & READ and word >= there:
            break
        if does & READ_SECOND and second_word >= second_there:
            break
        if bounded:
            free = max(free, state.gone[net.gone_at[output] + out] + back)
        if does & READ:
            free = max(free, words[word])
            if joined:
                free = max(free, others[word])
        if does & READ_SECOND:
            free = max(free, others[second_word])
        state.starts[begin + begun] = free
        begun += 1
        if does & TAKE:
            word += 1
            _take(net, state, first, net.first_slot[p], free + last)
            if joined:
                _take(net, state, second, net.second_slot[p], free + last)
        if does & TAKE_SECOND:
            second_word += 1
            _take(net, state, second, net.second_slot[p], free + last)
        if does & EMIT:
            state.came[net.beats_at[output] + out] = free + delay
            out += 1
        free += cycles
    if out > state.gave[p]:
        state.gave[p] = state.came_count[output] = out
        _wake(net, state, output, unit)
    state.begun[p] = begun
    if word > state.took[p] or second_word > state.took_second[p]:
        state.took[p], state.took_second[p] = word, second_word
        for port in range(2):
            channel = second if port else first
            if channel == NONE:
                continue
            if _forked(net, channel):
                _wake(net, state, channel, unit)
            if net.writer[channel] != NONE:
                state.pending[net.writer[channel]] = True


@njit(inline="always")
def _wake(net: Structure, state: State, channel: int, unit: int) -> None:
    if _forked(net, channel):
        _settle(net, state, channel, unit)
    for r in range(net.readers_at[channel], net.readers_at[channel + 1]):
        state.pending[net.readers[r]] = True


@njit(inline="always")
def _settle(net: Structure, state: State, fork: int, unit: int) -> None:
    """A fork is rid of a word when all readers have taken it, and shows the next one a cycle later."""
    readers, past, gone = range(net.readers_at[fork], net.readers_at[fork + 1]), net.kept[fork], net.gone_at[fork]
    whole = state.taken_count[net.readers_at[fork]]
    for r in readers:
        whole = min(whole, state.taken_count[r])
    for word in range(state.gone_count[fork] - past, whole):
        left = state.taken[net.taken_at[net.readers_at[fork]] + word]
        for r in readers:
            left = max(left, state.taken[net.taken_at[r] + word])
        state.gone[gone + past + word] = left
    state.gone_count[fork] = max(state.gone_count[fork], past + whole)
    begin = net.beats_at[fork]
    for word in range(state.shown_count[fork], min(state.came_count[fork], state.gone_count[fork] - past + 1)):
        state.shown[begin + word] = max(state.came[begin + word], state.gone[gone + past + word - 1] + unit)
        state.shown_count[fork] = word + 1
