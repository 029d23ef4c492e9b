"""Is one algorithm better than another? Paired runs, exact tests, many comparisons at once.

Dimensions: n = seeds, m = tasks (environments).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sayso.seeds import generator
from sayso.stats.aggregate import MIN_RUNS, NUM_RESAMPLES, Numbers, expanded_tail, score_matrix
from sayso.stats.intervals import Interval, are_equal, unseen
from sayso.stats.student import t_quantile

MAX_ENUMERATED = 20
"""Differences whose 2^n signs are all tried; of more, this many are drawn:"""
NUM_DRAWN = 100_000
_EQUAL = 1 - 1e-9
"""Sums of the same numbers in another order differ by rounding, and count as equal."""


def sign_flip_p(differences: Sequence[float] | Numbers, *, seed: int = 0) -> float:
    r"""Two-sided p of "the differences are symmetric around 0", by flipping their signs.

    .. math:: p = 2^{-n} \; \#\{ s \in \{-1, 1\}^n : |\textstyle\sum_i s_i d_i| \ge |\sum_i d_i| \}

    If two algorithms are the same, a paired difference is as likely to have either sign, whatever
    the distribution of returns: the level is exact for every n. Student's t needs Gaussian
    differences, and returns of seeds are often in two heaps; Wilcoxon's test is this one on ranks,
    which throws away how large the differences are that the interval beside it is about.

    Args:
        differences: One per seed. Not more than 20: all signs are tried; else 100 000 are drawn,
            and the p is that of a valid test of its own.
        seed: Decides those.

    Returns:
        At least ``2 ** (1 - n)``: with five seeds no result can be significant at 5 %.

    Raises:
        ValueError: As ``score_matrix``.

    Source:
        Fisher 1935, The Design of Experiments, sec. 21; drawn signs: Phipson and Smyth 2010.

    Tests:
        tests/unit/test_paired.py
    """
    d = score_matrix(differences, name="differences")[:, 0]
    scale = float(np.abs(d).max())
    if scale == 0:
        return 1.0
    d = d / scale
    bound = abs(float(d.sum())) * _EQUAL
    if len(d) <= MAX_ENUMERATED:
        sums = d[:1]  # the first sign is fixed: the other half mirrors this one
        for x in d[1:]:
            sums = np.concatenate([sums - x, sums + x])
        return float((np.abs(sums) >= bound).mean())
    signs = generator(seed, "sign flips").integers(0, 2, size=(NUM_DRAWN, len(d)), dtype=np.int8)
    extreme = int((np.abs((2.0 * signs - 1.0) @ d) >= bound).sum())
    return (extreme + 1) / (NUM_DRAWN + 1)


def least_seeds(alpha: float = 0.05, num_tests: int = 1) -> int:
    """Seeds from which on ``sign_flip_p`` can fall to ``alpha`` in Holm's first test of several.

    Six for one comparison at 5 %, seven for three.

    Raises:
        ValueError: If ``alpha`` is not in (0, 1) or there is no test.
    """
    if not 0 < alpha < 1 or num_tests < 1:
        raise ValueError(f"need alpha in (0, 1) and a test, got {alpha} and {num_tests}")
    return math.ceil(1 - math.log2(alpha / num_tests) - 1e-12)


def holm(p: Sequence[float]) -> list[float]:
    r"""p-values of several tests, adjusted so that the chance of any false alarm stays below α.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (k - j + 1)\, p_{(j)})

    Args:
        p: One of each of the k tests; they may depend on each other in any way.

    Returns:
        In the order of ``p``.

    Raises:
        ValueError: If one is not in [0, 1].

    Source:
        Holm 1979, Scand. J. Statist. 6(2).

    Tests:
        tests/unit/test_paired.py
    """
    if any(not 0 <= x <= 1 for x in p):
        raise ValueError(f"p-values must be in [0, 1], got {list(p)}")
    adjusted, greatest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        greatest = max(greatest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = greatest
    return adjusted


def detectable_difference(
    differences: Sequence[float] | Numbers,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    num_tests: int = 1,
) -> float:
    r"""The smallest true difference that so many seeds would most likely have shown.

    .. math:: \max(\delta^*, t_{1-\alpha/2,\,n-1}\, s/\sqrt n) + t_{\text{power},\,n-1}\, s/\sqrt n

    with δ* the shift from which on these differences, put around it, pass the sign-flip test. A
    pattern of signs s is as extreme as the data while :math:`\delta \le \delta_s`, so δ* is the
    δ_s that leaves no more of them than the level allows:

    .. math:: \delta_s = \max\left(\frac{\sum_i s_i r_i}{n - \sum_i s_i},
        \frac{-\sum_i s_i r_i}{n + \sum_i s_i}\right), \quad r_i = d_i - \bar d

    Args:
        differences: One per seed; their spread s says how much seeds differ.
        power: Chance of finding it.
        alpha: Level, two-sided, of test and interval.
        num_tests: Tests that Holm's correction is for; the strictest of them is counted with.

    Returns:
        In units of the differences; infinite where no result could be significant, NaN where
        differences have no spread: how much seeds differ is then not known.

    Raises:
        ValueError: If ``power`` or ``alpha`` is not in (0, 1), or as ``score_matrix``.

    Source:
        Own: the critical shift of the test that is used, exactly, and Student's for chance around
        it. Simulated in the tests.

    Tests:
        tests/unit/test_paired.py
    """
    if not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError(f"power and alpha must be in (0, 1), got {power} and {alpha}")
    d = score_matrix(differences, name="differences")[:, 0]
    if len(d) < least_seeds(alpha, num_tests):
        return math.inf
    if are_equal(d.tolist()):
        return math.nan
    freedom, error = len(d) - 1, float(d.std(ddof=1)) / math.sqrt(len(d))
    critical = t_quantile(1 - alpha / 2, freedom) * error
    if len(d) > MAX_ENUMERATED:  # as good as Student's by then
        critical = t_quantile(1 - alpha / num_tests / 2, freedom) * error
    else:
        critical = max(critical, _critical_shift(d - d.mean(), alpha / num_tests))
    return critical + t_quantile(power, freedom) * error


def _critical_shift(residuals: Numbers, level: float) -> float:
    """δ* of ``detectable_difference``."""
    num = len(residuals)
    sums, signs = residuals[:1], np.ones(1)  # the other half of all patterns mirrors this one
    for r in residuals[1:]:
        sums = np.concatenate([sums + r, sums - r])
        signs = np.concatenate([signs + 1, signs - 1])
    sums, signs = sums[1:], signs[1:]  # all signs the same: as extreme as it gets, always
    shifts = np.sort(np.maximum(sums / (num - signs), -sums / (num + signs)))
    num_allowed = math.floor(level * 2.0 ** (num - 1) + 1e-9) - 1
    return float(shifts[-1 - num_allowed]) if num_allowed < len(shifts) else 0.0


def probability_of_improvement(first: ArrayLike, second: ArrayLike) -> float:
    r"""Chance that a run of the first beats a run of the second, ties counting a half.

    .. math:: \frac{1}{m} \sum_j \frac{U_j}{n_1 n_2}, \quad
        U_j = \sum_{i,k} \left(1[x_{ij} > y_{kj}] + \tfrac12 1[x_{ij} = y_{kj}]\right)

    Args:
        first: ``[n1, m]``.
        second: ``[n2, m]``, the same tasks.

    Raises:
        ValueError: If they differ in m, or as ``score_matrix``.

    Source:
        Mann and Whitney 1947; over tasks: Agarwal et al. 2021, arXiv:2108.13264, sec. 4.3.

    Tests:
        tests/unit/test_paired.py
    """
    x, y = _same_tasks(first, second)
    return float(_improvements(x[None], y[None])[0])


def improvement_interval(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    r"""``probability_of_improvement`` with its stratified bootstrap interval.

    Where all pairs of runs end alike, no sample differs. Each end then leaves room for pairs that
    end otherwise: of n·m independent pairs that were all won, :math:`(\alpha/2)^{1/(nm)}` of all
    are won at least, the exact bound; of all that were tied, as many are tied, and the rest lost
    (or won). Pairs that end alike in each task, and not the same in all, have the bound of n.
    Otherwise fewer than five runs say nothing: from 0 to 1.

    Args:
        first: ``[n1, m]``.
        second: ``[n2, m]``.
        seed: Same seed, same interval.
        confidence: In (0, 1).
        num_resamples: Bootstrap samples.

    Raises:
        ValueError: As ``probability_of_improvement``.

    Source:
        As there; Clopper and Pearson 1934 for the bound.

    Tests:
        tests/unit/test_paired.py
    """
    x, y = _same_tasks(first, second)
    found, num = float(_improvements(x[None], y[None])[0]), min(len(x), len(y))
    outcomes = [np.unique(np.sign(np.subtract.outer(x[:, j], y[:, j]))) for j in range(x.shape[1])]
    if all(len(found_in) == 1 for found_in in outcomes):
        is_same = len({float(o[0]) for o in outcomes}) == 1
        other = unseen(num * len(outcomes) if is_same else num, confidence)
        return Interval(found, (1 - other) * found, found + other * (1 - found), num)
    if num < MIN_RUNS:
        return Interval(found, 0.0, 1.0, num)
    draw, columns = generator(seed, "improvement"), np.arange(x.shape[1])
    drawn = [
        data[draw.integers(len(data), size=(num_resamples, *data.shape)), columns]
        for data in (x, y)
    ]
    tail = expanded_tail(confidence, x.shape[1] * (len(x) + len(y) - 2), num_runs=num)
    low, high = np.quantile(_improvements(*drawn), [tail, 1 - tail])
    return Interval(found, float(low), float(high), num)


def _improvements(x: Numbers, y: Numbers) -> Numbers:
    """Of each of b pairs ``[b, n1, m]``, ``[b, n2, m]``."""
    wins = np.zeros(len(x))
    for row in range(x.shape[1]):  # one run at a time: all pairs at once would be large
        one = x[:, row : row + 1]
        wins += (one > y).sum(axis=(1, 2)) + 0.5 * (one == y).sum(axis=(1, 2))
    found: Numbers = wins / (x.shape[1] * y.shape[1] * x.shape[2])
    return found


def _same_tasks(first: ArrayLike, second: ArrayLike) -> tuple[Numbers, Numbers]:
    x, y = score_matrix(first, name="first"), score_matrix(second, name="second")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"first has {x.shape[1]} tasks, second {y.shape[1]}")
    return x, y
