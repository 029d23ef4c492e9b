"""Confidence intervals of a mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sayso.seeds import generator
from sayso.stats.student import t_quantile

SHOWN_FROM = 3
"""Fewest runs whose interval is shown: of two, Student's is 12.7 standard errors to either side."""
_BLOCK = 1_000_000
"""Numbers resampled at a time, to bound memory."""
_ROUNDING = 1e-12
"""Of the size of what was measured: numbers closer than that differ by rounding alone."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where the true mean plausibly lies.

    Attributes:
        mean: Mean of the observations; NaN when there are none.
        low: Lower end; ``-inf`` when fewer than two observations say nothing about the spread.
        high: Upper end; ``inf`` likewise.
        n: Number of observations.
    """

    mean: float
    low: float
    high: float
    n: int

    def to_json(self, *, least: int = 0) -> dict[str, Any]:
        """``mean``, ``low``, ``high``, ``n``; None where a number is not finite: JSON has none.

        Args:
            least: With fewer observations the ends are left out as well.
        """
        ends = (self.low, self.high) if self.n >= least else (-math.inf, math.inf)
        numbers = {"mean": self.mean, "low": ends[0], "high": ends[1]}
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        return {**finite, "n": self.n}

    def within(self, low: float | None, high: float | None) -> Interval:
        """The same, its ends inside the range a quantity is said to have; None is no bound."""
        if self.n < 2:
            return self
        return replace(
            self,
            low=self.low if low is None else max(self.low, min(low, self.mean)),
            high=self.high if high is None else min(self.high, max(high, self.mean)),
        )

    def __str__(self) -> str:
        if self.n < 2:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    r"""Student's t interval of the mean.

    .. math:: \bar x \pm t_{n-1}\; s / \sqrt n

    Exact for independent Gaussian observations; for others, nearly so once n is some tens.

    Args:
        values: Independent observations. One gives an infinite interval: it has a mean, and no
            spread to judge it by. None give a mean of NaN: when every episode of an evaluation
            failed, the report must still be written.
        confidence: Share of such intervals that hold the true mean, in (0, 1).

    Raises:
        ValueError: If a value is None or not finite, or ``confidence`` is out of range.

    Source:
        Student 1908.

    Tests:
        tests/unit/test_stats.py
    """
    data = _checked(values, confidence)
    mean = _mean(data)
    if len(data) < 2:
        return Interval(mean, -math.inf, math.inf, len(data))
    spread = math.sqrt(math.fsum((data - mean) ** 2) / (len(data) - 1) / len(data))
    half = t_quantile((1 + confidence) / 2, len(data) - 1) * spread
    return Interval(mean, mean - half, mean + half, len(data))


def bounded_interval(
    values: Sequence[float],
    low: float | None,
    high: float | None,
    confidence: float = 0.95,
) -> Interval:
    r"""Interval of the mean of a quantity in a range: Student's, inside the range.

    Observations that are all equal have no spread, which does not mean that the next one cannot
    differ. Then, with α = 1 − confidence, each end leaves room for another value with probability

    .. math:: p = 1 - (\alpha / 2)^{1/n}

    the exact bound for an event that was seen in none of n trials.

    Args:
        values: Independent observations.
        low: Least value, if known.
        high: Greatest value, if known. A value beyond either says that it is not: no bound is used.
        confidence: As in ``mean_interval``.

    Raises:
        ValueError: As ``mean_interval``.

    Source:
        Clopper and Pearson 1934, Biometrika 26(4), for 0 of n.

    Tests:
        tests/unit/test_stats.py
    """
    found = mean_interval(values, confidence)
    if found.n < 2:
        return found
    low = None if low is None or min(values) < low else low
    high = None if high is None or max(values) > high else high
    if are_equal(values, low, high):
        other = unseen(found.n, confidence)
        found = replace(
            found,
            low=found.low if low is None else found.mean - other * (found.mean - low),
            high=found.high if high is None else found.mean + other * (high - found.mean),
        )
    return found.within(low, high)


def difference_interval(
    values: Sequence[float],
    low: float | None,
    high: float | None,
    confidence: float = 0.95,
) -> Interval:
    """Interval of the mean difference of two quantities that lie in a range.

    Student's within the differences that can be; those that are all equal leave the room that
    ``bounded_interval`` leaves, and where the range is not known they say nothing of the next one:
    the interval is infinite.

    Args:
        values: One difference per run.
        low: Least value of each quantity, if known.
        high: Greatest.
        confidence: As in ``mean_interval``.

    Raises:
        ValueError: As ``mean_interval``.

    Tests:
        tests/unit/test_stats.py
    """
    width = None if low is None or high is None else high - low
    is_inside = width is not None and all(-width <= x <= width for x in values)
    if len(values) > 1 and are_equal(values, low, high) and not is_inside:
        return replace(mean_interval(values, confidence), low=-math.inf, high=math.inf)
    return bounded_interval(values, None if width is None else -width, width, confidence)


def unseen(num: int, confidence: float = 0.95) -> float:
    r"""Greatest probability of an event that was seen in none of n trials: 1 - (α / 2)^(1/n)."""
    return 1 - float(((1 - confidence) / 2) ** (1 / num))


def are_equal(values: Sequence[float], low: float | None = None, high: float | None = None) -> bool:
    """Whether values have no spread but rounding, beside their size and the ends of their range."""
    size = max(abs(x) for x in (*values, low or 0.0, high or 0.0))
    return max(values) - min(values) <= _ROUNDING * size


def paired_difference(
    before: Sequence[float], after: Sequence[float], confidence: float = 0.95
) -> Interval:
    """Student's t interval of ``after - before``, paired entry by entry.

    Pairing removes what the two have in common, here the difficulty of each task.

    Args:
        before: One observation per task.
        after: The same tasks in the same order.
        confidence: As in ``mean_interval``.

    Raises:
        ValueError: If lengths differ, or as ``mean_interval``.

    Tests:
        tests/unit/test_stats.py
    """
    if len(before) != len(after):
        raise ValueError(f"before has {len(before)} entries, after {len(after)}: not paired")
    first, second = _checked(before, confidence), _checked(after, confidence)
    return mean_interval((second - first).tolist(), confidence)


def unpaired_difference(
    before: Sequence[float], after: Sequence[float], confidence: float = 0.95
) -> Interval:
    r"""Welch's interval of the difference of two means, of observations that have no partners.

    .. math:: \bar y - \bar x \pm t_\nu \sqrt{s_x^2 / n_x + s_y^2 / n_y}

    Args:
        before: x.
        after: y.
        confidence: As in ``mean_interval``.

    Returns:
        The difference with its ends; infinite ones if either has fewer than two observations. ``n``
        is the smaller number of them.

    Raises:
        ValueError: As ``mean_interval``.

    Source:
        Welch 1947, Biometrika 34; degrees of freedom ν after Satterthwaite 1946.

    Tests:
        tests/unit/test_overoptimisation.py
    """
    sides = [_checked(values, confidence) for values in (before, after)]
    count = min(map(len, sides))
    gap = _mean(sides[1]) - _mean(sides[0])
    if count < 2:
        return Interval(gap, -math.inf, math.inf, count)
    errors = [float(side.var(ddof=1)) / len(side) for side in sides]
    if not sum(errors):
        return Interval(gap, gap, gap, count)
    parts = sum(e * e / (len(side) - 1) for e, side in zip(errors, sides, strict=True))
    half = t_quantile((1 + confidence) / 2, sum(errors) ** 2 / parts) * math.sqrt(sum(errors))
    return Interval(gap, gap - half, gap + half, count)


def bootstrap_interval(
    values: Sequence[float], *, seed: int, confidence: float = 0.95, num_resamples: int = 10_000
) -> Interval:
    """Percentile bootstrap interval of the mean.

    Assumes no shape, and stays inside the range of the data, which suits rewards in [0, 1]. It is
    too narrow for few observations (93 % instead of 95 % at n = 20); there prefer
    ``mean_interval``.

    Args:
        values: Independent observations; fewer than two give an infinite interval.
        seed: Same seed, same interval.
        confidence: As in ``mean_interval``.
        num_resamples: Bootstrap samples; the ends wobble by about 1 % of the width at 10 000.

    Raises:
        ValueError: As ``mean_interval``, or if ``num_resamples`` is below 1.

    Source:
        Efron 1979. Percentile rather than BCa: for a mean they differ by less than either differs
        from the truth at these sizes, and this one has no case in which it fails.

    Tests:
        tests/unit/test_stats.py
    """
    data = _checked(values, confidence)
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be positive, got {num_resamples}")
    if len(data) < 2:
        return Interval(_mean(data), -math.inf, math.inf, len(data))
    draw = generator(seed, "bootstrap")
    rows = max(1, _BLOCK // len(data))
    means = np.concatenate(
        [
            data[draw.integers(len(data), size=(min(rows, num_resamples - done), len(data)))].mean(
                axis=1
            )
            for done in range(0, num_resamples, rows)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(_mean(data), float(low), float(high), len(data))


def _mean(data: NDArray[np.float64]) -> float:
    return math.fsum(data) / len(data) if len(data) else math.nan


def _checked(values: Sequence[float | None], confidence: float) -> NDArray[np.float64]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            raise ValueError(f"entry {index} is {value}; leave out what was not graded")
    return np.asarray(values, dtype=np.float64)
