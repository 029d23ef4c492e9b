"""Student's t distribution, so that an interval does not need SciPy."""

from __future__ import annotations

import math
from functools import lru_cache

_MAX_TERMS = 10_000
"""Terms of the continued fraction; it needs about the square root of the degrees of freedom."""


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: float) -> float:
    """Value that a t variable stays below with the given probability, to about 1e-10 relative.

    Args:
        probability: In (0, 1).
        freedom: Degrees of freedom, positive.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Bisection on the distribution function; its tail is a regularised incomplete beta function
        (Abramowitz & Stegun 26.5.27).

    Tests:
        tests/unit/test_stats.py
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must be in (0, 1), got {probability}")
    if not 0 < freedom < math.inf:
        raise ValueError(f"freedom must be positive and finite, got {freedom}")
    if probability == 0.5:
        return 0.0
    # Work in the upper tail: 1 - p loses no digits when p is small.
    tail = min(probability, 1 - probability)
    high = 1.0
    while t_tail(high, freedom) > tail:
        high *= 2
    low = 0.0
    for _ in range(100):
        middle = (low + high) / 2
        if t_tail(middle, freedom) > tail:
            low = middle
        else:
            high = middle
    return math.copysign((low + high) / 2, probability - 0.5)


def t_tail(value: float, freedom: float) -> float:
    """Probability that a t variable exceeds ``value``, which must not be negative."""
    return _incomplete_beta(freedom / (freedom + value * value), freedom / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b) for x in (0, 1]."""
    if x == 1:
        return 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # The fraction converges fast on one side only; the other follows by symmetry.
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(x, a, b) / a
    return 1 - front * _continued_fraction(1 - x, b, a) / b


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Lentz's method; Press et al. 2007, Numerical Recipes, sec. 6.4."""
    tiny = 1e-300
    numerator, denominator = 1.0, 1 - (a + b) * x / (a + 1)
    denominator = 1 / (denominator or tiny)
    fraction = denominator
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            denominator = 1 / ((1 + term * denominator) or tiny)
            numerator = (1 + term / numerator) or tiny
            change = numerator * denominator
            fraction *= change
        if abs(change - 1) < 1e-15:
            return fraction
    raise ArithmeticError(f"incomplete beta did not converge at x={x}, a={a}, b={b}")
