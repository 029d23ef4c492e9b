"""Confidence intervals, own and small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sayso.seeds import generator


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: Of the values; NaN when there are none.
        low: Lower end; equal to ``mean`` when one value says nothing about spread: see ``n``.
        high: Upper end.
        n: Values behind it.
    """

    mean: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what cannot be computed is null."""
        numbers = {"mean": self.mean, "low": self.low, "high": self.high}
        return {k: (v if math.isfinite(v) else None) for k, v in numbers.items()} | {"n": self.n}

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean with Student's t interval.

    Args:
        values: Independent measurements. One value gives an infinite interval, none gives NaN.
        confidence: In (0, 1).
    """
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    data = np.asarray(values, np.float64)
    mean = float(data.mean())
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = t_quantile((1 + confidence) / 2, n - 1) * float(data.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(
    before: Sequence[float], after: Sequence[float], confidence: float = 0.95
) -> Interval:
    """Interval of the mean of ``after - before``, pair by pair: task difficulty cancels out.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(before) != len(after):
        raise ValueError(f"pairs needed, got {len(before)} before and {len(after)} after")
    return mean_interval([b - a for a, b in zip(before, after, strict=True)], confidence)


def bootstrap_interval(
    values: Sequence[float], *, seed: int, confidence: float = 0.95, num_resamples: int = 2_000
) -> Interval:
    """Mean with a percentile bootstrap interval; the seed decides the resamples.

    Source:
        Efron & Tibshirani 1993, ch. 13.
    """
    data = np.asarray(values, np.float64)
    if len(data) < 2:  # noqa: PLR2004  # nothing to resample
        return mean_interval(values, confidence)
    picks = generator(seed, "bootstrap").integers(0, len(data), (num_resamples, len(data)))
    means = data[picks].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high), len(data))


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution, to about 1e-10.

    Args:
        probability: In (0, 1).
        freedom: Degrees of freedom, at least 1.
    """
    if not 0 < probability < 1 or freedom < 1:
        raise ValueError(f"probability in (0, 1) and freedom >= 1, got {probability}, {freedom}")
    if probability < 0.5:  # noqa: PLR2004  # symmetry
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def t_cdf(t: float, freedom: int) -> float:
    """Distribution function of Student's t, through the regularised incomplete beta function."""
    x = freedom / (freedom + t * t)
    tail = 0.5 * incomplete_beta(freedom / 2, 0.5, x)
    return 1 - tail if t > 0 else tail


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by Lentz's continued fraction.

    Source:
        Press et al., "Numerical Recipes", 3rd ed., sec. 6.4.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 500):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            total *= c * d
        if abs(c * d - 1) < 1e-15:  # noqa: PLR2004  # converged
            break
    return front * total / a
