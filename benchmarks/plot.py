"""Plots as SVG, for the pictures of several benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Axes:
    """A rectangle of a picture, in pixels, and its ticks: value -> text, rising; the first and the last are its ends."""

    left: float
    top: float
    width: float
    height: float
    x: Mapping[float, str]
    y: Mapping[float, str]

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels across and down of values."""
        return self.left + self.width * _share(x, self.x), self.top + self.height * (1 - _share(y, self.y))

    def grid(self) -> list[str]:
        """A line and its text for each tick."""
        lines = []
        right, bottom = self.left + self.width, self.top + self.height
        across, down = self.at(np.array([*self.x]), np.array([*self.y]))
        for text, at in zip(self.x.values(), across, strict=True):
            lines.append(f'<path d="M{at:.1f} {self.top:g}V{bottom:g}" stroke="#ddd"/>')
            lines.append(f'<text x="{at:.1f}" y="{bottom + 16:g}" text-anchor="middle">{text}</text>')
        for text, at in zip(self.y.values(), down, strict=True):
            lines.append(f'<path d="M{self.left:g} {at:.1f}H{right:g}" stroke="#ddd"/>')
            lines.append(f'<text x="{self.left - 6:g}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
        return lines

    def line(self, x: np.ndarray, y: np.ndarray, colour: str, dash: str = "") -> str:
        """A line through points."""
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(*self.at(x, y), strict=True))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<polyline fill="none" stroke="{colour}"{dashed} points="{points}"/>'


def _share(values: np.ndarray, ticks: Mapping[float, str]) -> np.ndarray:
    """Where between the first tick and the last."""
    first, *_, last = ticks
    return (values - first) / (last - first)


def document(width: int, height: int, lines: Iterable[str]) -> str:
    """A picture on white."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *lines,
            "</svg>",
            "",
        ]
    )
