"""Advantages from comparing attempts at the same task, and from comparing a whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EPSILON = 1e-4
"""Added to a standard deviation before dividing, in reward units, as GRPO's authors do."""


def leave_one_out(returns: Sequence[float]) -> list[float]:
    """Advantage of each attempt against the mean of the others.

    Unbiased: the baseline of an attempt does not depend on its own return. For a group of n this
    equals mean-centring times ``n / (n - 1)``.

    Args:
        returns: Return of each attempt at one task, in reward units. At least two.

    Returns:
        One advantage per attempt, in order. They sum to 0 up to rounding.

    Raises:
        ValueError: For fewer than two attempts: a lone one has no baseline, and calling its raw
            return an advantage would change the estimator in silence.

    Source:
        Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!".

    Example:
        >>> leave_one_out([1.0, 0.0, 0.0])
        [1.0, -0.5, -0.5]
    """
    values = _at_least_two(returns, "leave_one_out")
    if _all_equal(values):
        return [0.0] * len(values)
    total, others = float(values.sum()), len(values) - 1
    return [float(v - (total - v) / others) for v in values]


def centred(returns: Sequence[float]) -> list[float]:
    """Advantage of each attempt against the mean of the group, itself included.

    The expected gradient is ``(n - 1) / n`` times the policy gradient: the right direction, a
    smaller step (Dr. GRPO, Liu et al. 2025, arXiv:2503.20783).

    Raises:
        ValueError: For fewer than two attempts.

    Example:
        >>> centred([1.0, 0.0])
        [0.5, -0.5]
    """
    values = _at_least_two(returns, "centred")
    if _all_equal(values):
        return [0.0] * len(values)
    return [float(v) for v in values - values.mean()]


def standardised(returns: Sequence[float]) -> list[float]:
    """``centred``, divided by the group's standard deviation (n - 1) plus ``EPSILON``.

    Biased: tasks whose returns hardly differ get as much weight as those where they do (Shao et
    al. 2024, arXiv:2402.03300, eq. 3; the bias: arXiv:2503.20783, sec. 3.1). Equal returns give
    exact zeros.

    Raises:
        ValueError: For fewer than two attempts.
    """
    values = _at_least_two(returns, "standardised")
    if _all_equal(values):
        return [0.0] * len(values)
    deviation = float(values.std(ddof=1))
    return [float(v) for v in (values - values.mean()) / (deviation + EPSILON)]


def batch_centred(returns: Sequence[float]) -> list[float]:
    """Advantage against the mean of the whole batch; a batch of one keeps its raw return out.

    Biased by ``(n - 1) / n`` like ``centred``, and blind to how hard each task is.

    Raises:
        ValueError: For fewer than two returns.
    """
    return centred(returns)


def whitened(advantages: np.ndarray) -> np.ndarray:
    """Zero mean and unit spread over a whole batch of tokens; equal values become exact zeros.

    Args:
        advantages: Any shape; at least two entries.

    Source:
        REINFORCE++, Hu 2025, arXiv:2501.03262, sec. 3.
    """
    values = np.asarray(advantages, dtype=np.float64)
    if values.size < 2 or _all_equal(values.ravel()):  # noqa: PLR2004  # one has no spread
        return np.zeros_like(values)
    return np.asarray((values - values.mean()) / (values.std(ddof=1) + EPSILON * 1e-4))


def _at_least_two(returns: Sequence[float], name: str) -> np.ndarray:
    if any(value is None for value in returns):
        raise ValueError(f"{name} got None: an attempt that was not graded has no advantage")
    values = np.asarray(returns, dtype=np.float64)
    if len(values) < 2:  # noqa: PLR2004  # see above
        raise ValueError(f"{name} needs at least 2 returns, got {len(values)}")
    return values


def _all_equal(values: np.ndarray) -> bool:
    """Tested on the values: subtracting a rounded mean would leave noise for a std to blow up."""
    return bool((values == values[0]).all())
