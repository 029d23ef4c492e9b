"""A baseline that remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class MovingAverage:
    """Exponential moving average of returns; the first batch sets it.

    A batch is compared with the average *before* it, so the baseline of an episode does not
    depend on its own return and the gradient stays unbiased.

    Attributes:
        decay: Share of the old average that is kept, in [0, 1).
        value: The average; ``None`` before the first batch.
    """

    decay: float = 0.9
    value: float | None = None

    def advantages(self, returns: Sequence[float]) -> list[float]:
        """Each return minus the average so far; 0 as long as there is none."""
        before = self.value if self.value is not None else 0.0
        return [float(r) - before for r in returns]

    def update(self, returns: Sequence[float]) -> None:
        """Take a batch in."""
        if not returns:
            return
        mean = sum(returns) / len(returns)
        kept = self.decay * self.value + (1 - self.decay) * mean if self.value is not None else mean
        self.value = kept
