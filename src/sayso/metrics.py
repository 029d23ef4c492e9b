"""Metrics that aggregate exactly: a sum and a count, never a mean of means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean in the making. Add parts from micro-batches, then read ``value``.

    Attributes:
        total: Sum of the observations.
        count: Number of observations.
    """

    total: float
    count: float

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """``total / count``; NaN when nothing was observed."""
        return self.total / self.count if self.count else float("nan")


def mean_of(values: Iterable[float]) -> Mean:
    """Exact partial mean of ``values``."""
    listed = list(values)
    return Mean(float(sum(listed)), float(len(listed)))


def merge(parts: Iterable[Mapping[str, Mean]]) -> dict[str, Mean]:
    """Add up partial means by name."""
    totals: dict[str, Mean] = {}
    for part in parts:
        for name, mean in part.items():
            totals[name] = totals[name] + mean if name in totals else mean
    return totals
