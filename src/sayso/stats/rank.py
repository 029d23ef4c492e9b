"""Do two lists of numbers put things in the same order?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sayso.seeds import generator
from sayso.stats.intervals import Interval

MIN_PAIRS = 3
"""Two points are always in line."""


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation: the correlation of ranks, equal numbers sharing their mean rank.

    Args:
        one: Finite numbers.
        other: As many.

    Returns:
        From -1 (opposite order) through 0 to 1 (same order); NaN if either has one value only.

    Raises:
        ValueError: If lengths differ or a number is not finite.

    Source:
        Spearman 1904.

    Tests:
        tests/unit/test_rank.py
    """
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"got {x.shape} and {y.shape} numbers: not paired")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a number is not finite")
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else math.nan


def rank_interval(
    one: Sequence[float],
    other: Sequence[float],
    *,
    seed: int,
    confidence: float = 0.95,
    num_resamples: int = 2_000,
) -> Interval:
    """The rank correlation with its percentile bootstrap interval, pairs drawn together.

    Resamples in which one of the two has one value only say nothing and are left out.

    Raises:
        ValueError: As ``rank_correlation``.
    """
    found = rank_correlation(one, other)
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    num = len(x)
    if num < MIN_PAIRS or math.isnan(found):
        return Interval(found, -math.inf, math.inf, num)
    draw = generator(seed, "rank bootstrap")
    places = draw.integers(num, size=(num_resamples, num))
    again = np.asarray([rank_correlation(x[p], y[p]) for p in places])
    again = again[~np.isnan(again)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(again, [tail, 1 - tail])
    return Interval(found, float(low), float(high), num)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[inverse], np.float64)
