"""What may be said of two algorithms, in words that the seeds at hand can carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from sayso.stats.aggregate import Numbers, score_matrix
from sayso.stats.intervals import SHOWN_FROM, Interval, are_equal, difference_interval
from sayso.stats.paired import (
    detectable_difference,
    holm,
    improvement_interval,
    least_seeds,
    sign_flip_p,
)

Verdict = Literal["better", "worse", "no difference that matters", "not enough seeds to tell"]
TOO_FEW: Verdict = "not enough seeds to tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Two algorithms compared, seed by seed.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        difference: Mean of first less second over seeds, Student's 95 % interval, with room where
            all seeds agree, see ``difference_interval``.
        p: Of the exact sign-flip test, see ``sign_flip_p``.
        p_adjusted: The same after Holm's correction for all that was compared with it.
        improvement: Chance that a run of the first beats one of the second.
        detectable: Smallest true difference that so many seeds would have shown in 80 % of cases;
            infinite below ``least_seeds``, NaN where all seeds agree.
        least_seeds: Seeds below which nothing could have been significant.
        margin: Difference from which on one matters, if the user said so.
        verdict: On the first, against the second.
    """

    first: str
    second: str
    difference: Interval
    p: float
    p_adjusted: float
    improvement: Interval
    detectable: float
    least_seeds: int
    margin: float | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number is not finite."""
        return {
            "first": self.first,
            "second": self.second,
            "difference": self.difference.to_json(least=SHOWN_FROM),
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "improvement": self.improvement.to_json(),
            "detectable": self.detectable if math.isfinite(self.detectable) else None,
            "least_seeds": self.least_seeds,
            "margin": self.margin,
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        return f"{self.first} is {self.in_words()} {self.second}"

    def in_words(self) -> str:
        """The verdict as it goes between the two names."""
        words = {"better": "better than", "worse": "worse than"}
        return words.get(self.verdict, f"{self.verdict}: against")


def verdict_of(
    difference: Interval,
    p: float,
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    inner: Interval | None = None,
    num_tests: int = 1,
) -> Verdict:
    """What a difference allows to be said.

    - Below ``least_seeds``: "not enough seeds to tell", whatever they found.
    - "no difference that matters": only if the user named a margin, and the inner interval lies
      inside it: two one-sided tests. A difference that is certain and too small to matter is this.
    - "better", "worse": the exact test says so and the interval excludes 0.
    - "not enough seeds to tell": everything else. That a test found nothing shows no equality.

    Args:
        difference: 1 − α interval of first less second.
        p: Two-sided, adjusted if several are judged.
        alpha: Level.
        margin: Least difference that matters, in units of the difference.
        inner: 1 − 2α/k interval for k tests; needed with a margin.
        num_tests: How many are judged.

    Raises:
        ValueError: If the margin is not positive, or ``inner`` is missing with it.

    Source:
        Two one-sided tests: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15(6).

    Tests:
        tests/unit/test_verdict.py
    """
    if margin is not None and (not margin > 0 or inner is None):
        raise ValueError(f"margin must be positive and come with an interval, got {margin}")
    if difference.n < least_seeds(alpha, num_tests):
        return TOO_FEW
    if margin is not None and inner is not None and -margin < inner.low <= inner.high < margin:
        return "no difference that matters"
    if p <= alpha and difference.low > 0:
        return "better"
    if p <= alpha and difference.high < 0:
        return "worse"
    return TOO_FEW


def judge(
    scores: Mapping[str, ArrayLike],
    *,
    seed: int,
    ends: tuple[float | None, float | None] = (None, None),
    alpha: float = 0.05,
    margin: float | None = None,
) -> list[Judged]:
    """Every pair of algorithms, paired by seed, corrected for how many pairs there are.

    Args:
        scores: Algorithm to ``[n, m]``; row i of each is of the same seed, so that what the two
            have in common (first weights, tasks, draws) cancels. Over tasks a seed counts by its
            mean.
        seed: Decides bootstrap samples.
        ends: Least and greatest score, where known.
        alpha: Chance of any false alarm among all pairs, at most; that of any false "no difference
            that matters" likewise.
        margin: Least difference that matters, if there is one to name.

    Returns:
        One for each pair, in order of the names.

    Raises:
        ValueError: If shapes differ, or as ``score_matrix``.

    Tests:
        tests/unit/test_verdict.py
    """
    data = {name: score_matrix(x, name=name) for name, x in scores.items()}
    shapes = {name: x.shape for name, x in data.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"runs and tasks must be the same for all, got {shapes}")
    pairs = list(combinations(data, 2))
    paired = [_differences(data[a], data[b]) for a, b in pairs]
    adjusted = holm([sign_flip_p(d, seed=seed) for d in paired])
    return [
        _judged(
            {a: data[a], b: data[b]}, d, p_adjusted=p, seed=seed, ends=ends, alpha=alpha,
            margin=margin, num_pairs=len(pairs),
        )
        for (a, b), d, p in zip(pairs, paired, adjusted, strict=True)
    ]  # fmt: skip


def _differences(x: Numbers, y: Numbers) -> Numbers:
    """One per seed. What differs by rounding alone does not differ, or ties would pass for more."""
    found: Numbers = (x - y).mean(axis=1)
    size = float(max(np.abs(x).max(), np.abs(y).max()))
    if are_equal(found.tolist(), size):
        found = np.full(len(found), found.mean())
    return np.where([are_equal([d, 0.0], size) for d in found.tolist()], 0.0, found)


def _judged(
    pair: Mapping[str, Numbers],
    d: Numbers,
    *,
    p_adjusted: float,
    seed: int,
    ends: tuple[float | None, float | None],
    alpha: float,
    margin: float | None,
    num_pairs: int,
) -> Judged:
    (first, x), (second, y) = pair.items()
    difference = difference_interval(d.tolist(), *ends, 1 - alpha)
    inner = difference_interval(d.tolist(), *ends, 1 - 2 * alpha / num_pairs)
    return Judged(
        first=first,
        second=second,
        difference=difference,
        p=sign_flip_p(d, seed=seed),
        p_adjusted=p_adjusted,
        improvement=improvement_interval(x, y, seed=seed, confidence=1 - alpha),
        detectable=detectable_difference(d, alpha=alpha, num_tests=num_pairs),
        least_seeds=least_seeds(alpha, num_pairs),
        margin=margin,
        verdict=verdict_of(
            difference, p_adjusted, alpha=alpha, margin=margin, inner=inner, num_tests=num_pairs
        ),
    )
