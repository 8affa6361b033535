"""The choice of all word lengths at once: an integer program over the loss of each format and the cost of each way to build.

One of the formats of every tensor is taken (z), and one way of every operator (x); a way goes with the formats that it was costed
for. Losses add up, and so do costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from edgeq.errors import EdgeqError
from edgeq.folding import SOLVER_MARGIN, Choice
from edgeq.hardware import RESOURCES, Cost
from edgeq.retype import Way

MAX_SECONDS = 60.0
"""For one solution; what was best by then is taken where there is one."""
GAP = 1e-4
"""A solution may be worse than the best by this share."""


@dataclass(frozen=True)
class Solution:
    """formats: of each tensor the number of its format.  built: of each operator how.  loss: that the program expects."""

    formats: dict[str, int]
    built: dict[str, Choice]
    loss: float

    @property
    def cost(self) -> Cost:
        return sum((choice.cost for choice in self.built.values()), Cost())


class Program:
    """losses: of each tensor, of each of its formats; 0 or more.  ways: of each operator.  budget: of the board; costs count as
    shares of it. Raises EdgeqError for an operator without a way."""

    def __init__(self, losses: Mapping[str, Sequence[float]], ways: Mapping[str, Sequence[Way]], budget: Cost) -> None:
        for name, each in ways.items():
            if not each:
                raise EdgeqError("no way to build this operator is fast enough", where=name, fix="a lower rate")
        self.losses, self.ways = losses, ways
        self.flat = [(name, way) for name, each in ways.items() for way in each]
        self.budget = np.maximum(budget.astuple(), 1)
        self.choices = [(name, number) for name, each in losses.items() for number in range(len(each))]
        costs = np.array([way.choice.cost.astuple() for _, way in self.flat]).reshape(-1, len(RESOURCES))
        nothing = np.zeros((len(self.choices), len(RESOURCES)))
        self.used = np.concatenate([nothing, costs / self.budget]).T
        """Shares of the budget, [resource, variable]: first all z, then all x."""
        self.loss = np.array([losses[name][number] for name, number in self.choices] + [0.0] * len(self.flat))
        self.links, self.right = self._links()

    def _links(self) -> tuple[csr_array, np.ndarray]:
        """Equations: one format a tensor, one way an operator, and for each of its tensors that of the way's formats."""
        rows: list[dict[int, float]] = []
        right: list[float] = []
        column = {choice: i for i, choice in enumerate(self.choices)}
        for name, losses in self.losses.items():
            rows.append({column[name, number]: 1.0 for number in range(len(losses))})
            right.append(1.0)
        start = len(self.choices)
        for each in self.ways.values():
            rows.append({start + i: 1.0 for i in range(len(each))})
            right.append(1.0)
            for tensor in dict(each[0].formats):
                for number in range(len(self.losses[tensor])):
                    row = {start + i: 1.0 for i, way in enumerate(each) if (tensor, number) in way.formats}
                    rows.append(row | {column[tensor, number]: -1.0})
                    right.append(0.0)
            start += len(each)
        entries = [(i, j, v) for i, row in enumerate(rows) for j, v in row.items()]
        i, j, v = (np.array(part) for part in zip(*entries, strict=True))
        return csr_array((v, (i, j)), shape=(len(rows), start)), np.array(right)

    def most_accurate(self, limit: Cost) -> Solution | None:
        """Within the limit the least loss, and of that the least cost; None where nothing fits."""
        first = self._solved(self.loss / max(self.loss.max(), 1e-30), limit, None)
        if first is None:
            return None
        return self._solved(self.used.sum(axis=0), limit, first.loss) or first

    def cheapest(self, limit: Cost, max_loss: float, resource: str | None = None) -> Solution | None:
        """Within the limit and a loss the least cost; resource: that alone counts, else the sum of shares."""
        return self._solved(self.used.sum(axis=0) if resource is None else self.used[RESOURCES.index(resource)], limit, max_loss)

    def _solved(self, objective: np.ndarray, limit: Cost, max_loss: float | None) -> Solution | None:
        bounds = np.array(limit.astuple()) / self.budget
        constraints = [
            LinearConstraint(self.links, self.right, self.right),
            LinearConstraint(self.used, -np.inf, bounds * (1 - SOLVER_MARGIN)),
        ]
        if max_loss is not None:
            scale = max(self.loss.max(), 1e-30)
            constraints.append(LinearConstraint(self.loss[None] / scale, -np.inf, max_loss / scale + SOLVER_MARGIN))
        solved = milp(
            objective,
            integrality=np.ones(len(objective)),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": GAP, "time_limit": MAX_SECONDS},
        )
        if solved.x is None:
            return None
        chosen = solved.x > 0.5
        formats = {name: number for (name, number), one in zip(self.choices, chosen, strict=False) if one}
        built = {name: way.choice for (name, way), one in zip(self.flat, chosen[len(self.choices) :], strict=True) if one}
        return Solution(formats, built, float(self.loss @ chosen))
