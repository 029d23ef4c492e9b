"""Mean and spread of numbers that come one by one, as JSON state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Running:
    """Count, mean and sum of squared deviations, by Welford's updates: no number is kept.

    Attributes:
        count: Numbers seen.
        mean: Their mean; 0 before the first.
        squares: Sum of squared deviations from the mean.

    Source: Welford, 1962, "Note on a Method for Calculating Corrected Sums of Squares".
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """See one more number.

        Raises:
            ValueError: If it is not finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"got {value}")
        self.count += 1
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)

    @property
    def std(self) -> float:
        """Standard deviation (of the population); 0 for fewer than two numbers."""
        return math.sqrt(self.squares / self.count) if self.count > 1 else 0.0

    def to_json(self) -> dict[str, float]:
        """For a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, float]) -> Running:
        """Undo ``to_json``."""
        return cls(int(record["count"]), record["mean"], record["squares"])
