"""Baselines and scales that look at a whole batch, not at one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sayso.credit.group import check_returns

WHITEN_EPSILON = 1e-8
"""Added to the standard deviation in ``whitened``: it guards rounding noise, not small signals."""


@dataclass(slots=True)
class MovingAverage:
    """Running mean of past returns, as a baseline for REINFORCE.

    A batch is compared with the average *before* it, so no return enters its own baseline and the
    policy gradient stays unbiased. The average weighs past batches by ``decay`` to the power of
    their age, with weights that sum to 1 (bias-corrected), so that it does not start from a made-up
    zero: before the first batch it is 0.0, which is plain REINFORCE.

    Attributes:
        decay: Weight of the past, in [0, 1). 0 remembers the last batch only.
        total: Weighted sum of batch means.
        weight: Sum of their weights.

    Tests:
        tests/math/test_group_credit.py
    """

    decay: float = 0.9
    total: float = 0.0
    weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")

    @property
    def value(self) -> float:
        """The baseline for the next batch; 0.0 before the first."""
        return self.total / self.weight if self.weight else 0.0

    def advantages(self, returns: Sequence[float]) -> list[float]:
        """Returns minus the average of *earlier* batches. Call before ``update``."""
        baseline = self.value
        return [value - baseline for value in check_returns(returns, "MovingAverage")]

    def update(self, returns: Sequence[float]) -> None:
        """Take the mean of one batch in.

        Raises:
            ValueError: If the batch is empty, or a return is None or not finite.
        """
        if not returns:
            raise ValueError("MovingAverage.update needs at least one return")
        mean = math.fsum(check_returns(returns, "MovingAverage")) / len(returns)
        self.total = self.decay * self.total + (1 - self.decay) * mean
        self.weight = self.decay * self.weight + (1 - self.decay)

    def state(self) -> dict[str, float]:
        """JSON values; ``load_state`` restores them exactly."""
        return {"total": self.total, "weight": self.weight}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Undo ``state``. The decay is an option, not state."""
        self.total, self.weight = float(state["total"]), float(state["weight"])


def whitened(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Advantages of a whole batch, shifted to mean 0 and scaled to standard deviation 1.

    .. math:: \frac{x - \bar x}{s + 10^{-8}},\quad s^2 = \tfrac{1}{n-1} \sum (x - \bar x)^2

    Biased, but unlike a division per group it does not change the weight of tasks against each
    other. When all values are equal the result is exactly 0.

    Args:
        values: One number per action token of the optimiser step, all tasks together. At least 2.

    Returns:
        Float64 [n].

    Raises:
        ValueError: With fewer than two values, or one that is None or not finite.

    Source:
        REINFORCE++, Hu 2025, arXiv:2501.03262, global advantage normalisation.

    Tests:
        tests/math/test_group_credit.py
    """
    checked = check_returns(list(values), "whitened")
    if len(checked) < 2:
        raise ValueError(f"whitened needs at least 2 values, got {len(checked)}")
    if min(checked) == max(checked):
        return np.zeros(len(checked))
    mean = math.fsum(checked) / len(checked)
    deviations = np.asarray(checked) - mean
    scale = math.sqrt(math.fsum(deviations**2) / (len(checked) - 1)) + WHITEN_EPSILON
    return deviations / scale
