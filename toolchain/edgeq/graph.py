"""The integer graph: operators on tensors whose exact integer range is known. Everything else is derived from it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
    from edgeq.lower.onnx import Body

Draw = Callable[[int, int], int]
"""A source of randomness: draw(lo, hi) is an integer in [lo, hi]."""

MAX_ELEMENTS = 1 << 28
"""Largest tensor accepted, in elements: a bound that is checked before memory is taken."""


@dataclass(frozen=True)
class IntType:
    """An integer tensor of one frame: every value is lo + k*step with lo <= value <= hi.

    shape leaves the batch out: (C, H, W) for an image, (F,) for a vector. A binary tensor holds the *values*
    -1 and +1 (lo -1, hi 1, step 2); its one-bit code exists in hardware only.
    """

    shape: tuple[int, ...]
    lo: int
    hi: int
    step: int = 1

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 3) or any(d < 1 for d in self.shape):
            raise EdgeqError(f"a tensor has shape {self.shape}", fix="shapes are (C, H, W) or (F,), without the batch")
        if self.size > MAX_ELEMENTS:
            raise EdgeqError(f"a tensor of shape {self.shape} has {self.size:,} elements; the limit is {MAX_ELEMENTS:,}")
        if self.step < 1 or self.lo > self.hi or (self.hi - self.lo) % self.step:
            raise EdgeqError(f"a tensor has the impossible range [{self.lo}, {self.hi}] step {self.step}")
        if self.lo < -(1 << 62) or self.hi > (1 << 62):
            raise EdgeqError(f"a tensor has the range [{self.lo}, {self.hi}], which leaves 63 bits")

    @property
    def size(self) -> int:
        """Elements a frame."""
        return int(np.prod([int(d) for d in self.shape], dtype=object))

    @property
    def channels(self) -> int:
        """C of an image, F of a vector: the elements of one beat of a hardware stream."""
        return self.shape[0]

    @property
    def pixels(self) -> int:
        """Beats a frame: H*W of an image, 1 of a vector."""
        return self.size // self.channels

    @property
    def bipolar(self) -> bool:
        """True where the values are -1 and +1 only: one bit in hardware, 1 for +1."""
        return (self.lo, self.hi, self.step) == (-1, 1, 2)

    @property
    def signed(self) -> bool:
        """True where the hardware code is two's complement."""
        return self.lo < 0 and not self.bipolar

    @property
    def width(self) -> int:
        """Bits of one element in hardware."""
        return 1 if self.bipolar else range_width(self.lo, self.hi)

    @property
    def storage(self) -> np.dtype:
        """The ONNX element type: the smallest of uint8, int8, int32, int64 that holds [lo, hi]; never int16."""
        for dtype in (np.uint8, np.int8, np.int32):
            info = np.iinfo(dtype)
            if info.min <= self.lo and self.hi <= info.max:
                return np.dtype(dtype)
        return np.dtype(np.int64)

    def admits(self, values: np.ndarray) -> bool:
        """True where every element is in range and on the step; values: [N, *shape]."""
        v = values.astype(np.int64)
        return v.shape[1:] == self.shape and bool(np.all((v >= self.lo) & (v <= self.hi) & ((v - self.lo) % self.step == 0)))

    def random(self, rng: np.random.Generator, frames: int) -> np.ndarray:
        """Uniform legal values, int64 [frames, *shape]; frames 0 and 1 hold only the two ends of the range."""
        count = (self.hi - self.lo) // self.step
        out = self.lo + self.step * rng.integers(0, count + 1, size=(frames, *self.shape), dtype=np.int64)
        ends = (self.lo, self.hi)
        for i in range(min(frames - 2, 2)):
            out[i] = ends[i]
        return out

    def __str__(self) -> str:
        values = "{-1, +1}" if self.bipolar else f"[{self.lo}, {self.hi}]" + (f" step {self.step}" if self.step > 1 else "")
        return f"{'x'.join(map(str, self.shape))} {values}"


def range_width(lo: int, hi: int) -> int:
    """Bits of the code of [lo, hi]: two's complement if lo < 0, else unsigned; at least 1."""
    if lo >= 0:
        return max(1, int(hi).bit_length())
    return max(max(int(hi), 0).bit_length(), int(-lo - 1).bit_length()) + 1


class Op(ABC):
    """An operator: what it means, and how each engine gets it. One subclass, one file, one frozen dataclass.

    Fields are the parameters: numpy integer arrays (kept as ONNX initializers), ints, strings and tuples of ints
    (kept as ONNX attributes). Everything below asks the operator and names none.
    """

    arity: ClassVar[int] = 1
    absorbs_post: ClassVar[bool] = False
    """True where a following elementwise operator can be built into the layer's hardware (field `post`)."""
    elementwise: ClassVar[bool] = False
    """True where an output element depends on the input element at its place, and its channel, alone."""
    selects: ClassVar[bool] = False
    """True where every output element is one of its channel's input elements, chosen by place or as the largest."""
    stores_second: ClassVar[bool] = False
    """True where it stores all of a frame of its second input before it takes the first beat of its first."""
    carried: ClassVar[bool] = False
    """True where a QONNX file may name it (`edgeq.operators`), since nothing of ONNX means it; its fields are ints and arrays."""
    summary: ClassVar[str] = ""
    """One line for the support table of `edgeq ops`."""

    @classmethod
    def kind(cls) -> str:
        """The name in ONNX (domain edgeq), in reports and in the registry."""
        return cls.__name__

    @abstractmethod
    def infer(self, *xs: IntType) -> IntType:
        """Shape and exact integer range of the output; raises EdgeqError where the operator is not legal."""

    @abstractmethod
    def reference(self, *xs: np.ndarray) -> np.ndarray:
        """The meaning: int64 [N, ...] in, int64 [N, ...] out."""

    @abstractmethod
    def to_onnx(self, body: Body, *xs: str) -> str:
        """Standard integer ONNX operators, appended to `body`; returns the name of the result."""

    @abstractmethod
    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        """The C++ template call for the hls4ml project."""

    @abstractmethod
    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        """The SystemVerilog module, its parameters, memory images and generated sources."""

    @abstractmethod
    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        """Its control, cycle by cycle: the first stage takes the inputs, each next one what the one before it emits."""

    def cycles(self, fold: Fold, *xs: IntType) -> int:
        """Clock cycles a frame at steady state, were the operator alone: here those of the stage that is busy longest."""
        return max(stage.busy for stage in self.schedule(fold, *xs))

    @abstractmethod
    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        """Resources by our model."""

    def folds(self, *xs: IntType) -> list[Fold]:
        """The ways to build it, slowest first. Operators that run a pixel a cycle have one."""
        from edgeq.fold import Fold

        return [Fold()]

    def legal_folds(self, *xs: IntType) -> list[Fold]:
        """Every fold that a person may ask for: `folds()` may leave out those that another one beats."""
        return self.folds(*xs)

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        """The ways to build it with `Fold.narrow`, slowest first; none where it takes whole pixels only."""
        return []

    def beats(self, fold: Fold, *xs: IntType) -> tuple[tuple[int, ...], int]:
        """Channels that a beat of each input carries, and one of the output."""
        if fold.narrow:
            return (fold.simd,) * len(xs), fold.pe
        return tuple(x.channels for x in xs), self.infer(*xs).channels

    def buffers(self, fold: Fold) -> bool:
        """True where it is in the graph for the FIFO in front of it."""
        return False

    def input_folds(self, *xs: IntType) -> list[Fold]:
        """folds() for the only reader of the network's input, a beat of which may hold several pixels (`Fold.beat`)."""
        return self.folds(*xs)

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        """A small random legal instance without `post` and its input types; all that the parity tests ask of an operator."""
        raise NotImplementedError(f"{cls.__name__} has no sample()")

    def rises(self) -> bool:
        """True where no output element falls when an input element grows; False where that is not known."""
        return False

    def is_identity(self, x: IntType) -> bool:
        """True where the output is the input, whatever it holds; False where that is not known."""
        return False

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        """(operator, e) that means the same where a unit of input i is 2^exponents[i] old ones, and one of the output 2^e.

        Where inputs have to share a scale, this is for exponents that are equal.
        """
        return self, exponents[0]

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields that are numpy arrays, by name."""
        return {f.name: v for f in dataclasses.fields(self) if isinstance(v := getattr(self, f.name), np.ndarray)}  # type: ignore[arg-type]

    def attributes(self) -> dict[str, int | str | tuple[int, ...]]:
        """The fields that are not arrays and not None, by name."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {k: v for k, v in found.items() if v is not None and not isinstance(v, (np.ndarray, Op))}


@dataclass(frozen=True)
class Node:
    """One operator in a graph."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str


@dataclass
class Graph:
    """Nodes in execution order, from one integer input to one integer output.

    meta: what stays outside the hardware, as JSON: the real number each tensor stands for, the float tail, the source.
    """

    input: str
    input_type: IntType
    nodes: list[Node] = field(default_factory=list)
    output: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    def types(self) -> dict[str, IntType]:
        """The type of every tensor, inferred from the input's."""
        types = {self.input: self.input_type}
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in types]
            if missing:
                raise EdgeqError(f"reads the tensor {missing[0]!r} before it is made", where=node.name)
            try:
                types[node.output] = node.op.infer(*(types[name] for name in node.inputs))
            except EdgeqError as error:
                raise EdgeqError(error.what, where=node.name, fix=error.fix) from None
        return types

    def consumers(self) -> dict[str, list[Node]]:
        """For each tensor the nodes that read it."""
        found: dict[str, list[Node]] = {name: [] for name in (self.input, *(node.output for node in self.nodes))}
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return found

    def source_of(self, name: str) -> str:
        """A node's name with that of the source model's node it came from, for messages and reports."""
        source = self.meta.get("nodes", {}).get(name)
        return f"{name} (from {source})" if source else name

    def check(self) -> dict[str, IntType]:
        """Every rule of a well-formed graph; returns types(). Raises EdgeqError."""
        names = [node.name for node in self.nodes]
        made = [self.input, *(node.output for node in self.nodes)]
        for kind, found in (("node", names), ("tensor", made)):
            twice = sorted({name for name in found if found.count(name) > 1}) if len(set(found)) < len(found) else []
            if twice:
                raise EdgeqError(f"the {kind} name {twice[0]!r} occurs twice")
        for node in self.nodes:
            if len(node.inputs) != node.op.arity:
                raise EdgeqError(f"{node.op.kind()} takes {node.op.arity} inputs, not {len(node.inputs)}", where=node.name)
        if self.output not in made:
            raise EdgeqError(f"the output {self.output!r} is made by no node")
        types = self.types()
        dead = [t for t, readers in self.consumers().items() if not readers and t != self.output]
        if dead:
            raise EdgeqError(f"the tensor {dead[0]!r} is used by nothing")
        return types
