"""Scores of several runs on several tasks, summed up: Agarwal et al. 2021, without rliable.

Dimensions: n = runs (seeds) of one algorithm, m = tasks (environments), b = bootstrap samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sayso.seeds import generator
from sayso.stats.intervals import Interval, are_equal, unseen
from sayso.stats.student import t_quantile

Numbers = NDArray[np.float64]
Statistic = Callable[[Numbers], Numbers]
"""From scores ``[b, n, m]`` to one number for each of the b."""
NUM_RESAMPLES = 2_000
MIN_RUNS = 5
"""A bootstrap never leaves the range of its data, which three runs span in 75 % of cases only."""
CUT = 0.25
"""Share of scores at each end that the IQM leaves out."""
_BLOCK = 2_000_000
"""Numbers resampled at a time, to bound memory."""


def score_matrix(scores: ArrayLike, *, name: str = "scores") -> Numbers:
    """Scores as ``[n, m]``; a plain list is of one task.

    Raises:
        ValueError: If there are none, a number is not finite, or runs differ in their tasks.
    """
    found = np.asarray(scores, np.float64)
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or not found.size:
        raise ValueError(f"{name} must be [runs, tasks] and not empty, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds a number that is not finite; leave that run out")
    return found


def iqm(scores: ArrayLike) -> float:
    r"""Interquartile mean: the mean of the middle half of all scores.

    .. math:: \frac{1}{N - 2k} \sum_{i=k+1}^{N-k} x_{(i)}, \quad k = \lfloor N / 4 \rfloor

    One wild run moves the mean and not this; a median would throw away more.

    Args:
        scores: Runs, or ``[n, m]``: all are sorted together.

    Raises:
        ValueError: As ``score_matrix``.

    Source:
        Agarwal et al. 2021, arXiv:2108.13264, sec. 4.2; k as ``scipy.stats.trim_mean`` cuts.

    Tests:
        tests/unit/test_aggregate.py
    """
    return float(iqm_of_each(score_matrix(scores)[None])[0])


def iqm_of_each(scores: Numbers) -> Numbers:
    """``iqm`` of each of b score matrices ``[b, n, m]``."""
    flat = np.sort(scores.reshape(len(scores), -1), axis=1)
    cut = flat.shape[1] // 4
    found: Numbers = flat[:, cut : flat.shape[1] - cut].mean(axis=1)
    return found


def iqm_interval(
    scores: ArrayLike,
    *,
    seed: int,
    ends: tuple[float | None, float | None] = (None, None),
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """The IQM of runs and tasks with its stratified bootstrap interval.

    Runs are drawn anew within each task, so every sample has the tasks it should have. The
    percentiles are widened for few runs, see ``expanded_tail``. Where all runs of each task are
    equal no sample differs; the ends are then those of the IQM if as many runs as may be unseen,
    see ``unseen``, had scored least or most: none from 13 runs on, whose outer quarters hold them.

    Args:
        scores: ``[n, m]``.
        seed: Same seed, same interval.
        ends: Least and greatest score, where known.
        confidence: In (0, 1).
        num_resamples: Bootstrap samples.

    Returns:
        The statistic of the scores themselves, its interval, and n. With fewer than five runs the
        interval is infinite: they are too few for a bootstrap.

    Raises:
        ValueError: As ``score_matrix``, or if an option is out of range.

    Source:
        Agarwal et al. 2021, arXiv:2108.13264, sec. 4.1. They take plain percentiles, which held
        the truth of ten Gaussian runs in 94 % of cases, of five in 90.

    Tests:
        tests/unit/test_aggregate.py
    """
    data = score_matrix(scores)
    found = float(iqm_of_each(data[None])[0])
    if len(data) < MIN_RUNS:
        return Interval(found, -math.inf, math.inf, len(data))
    samples = bootstrap(data, iqm_of_each, seed=seed, num_resamples=num_resamples)
    tail = expanded_tail(confidence, data.shape[1] * (len(data) - 1))
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    if all(are_equal(task.tolist()) for task in data.T):
        other = unseen(len(data), confidence)
        low, high = (_iqm_with(data[0], end, other) for end in ends)
        low = -math.inf if low is None else min(found, low)
        high = math.inf if high is None else max(found, high)
    return Interval(found, float(low), float(high), len(data))


def _iqm_with(scores: Numbers, end: float | None, share: float) -> float | None:
    """IQM of tasks whose runs score so, or by that share an end of the range; None: not known."""
    if share <= CUT:  # in the quarter that is cut
        return float(iqm_of_each(np.repeat(scores, 4)[None])[0])
    if end is None:
        return None
    values = np.append(scores, end)
    weights = np.append(np.full(len(scores), (1 - share) / len(scores)), share)
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    held = np.clip(reached, CUT, 1 - CUT) - np.clip(reached - weights[order], CUT, 1 - CUT)
    return float(held @ values[order] / (1 - 2 * CUT))


def bootstrap(data: Numbers, statistic: Statistic, *, seed: int, num_resamples: int) -> Numbers:
    """A statistic of ``num_resamples`` samples of ``[n, m]``, runs drawn within each task.

    Raises:
        ValueError: If ``num_resamples`` is below 1.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be positive, got {num_resamples}")
    draw = generator(seed, "stratified bootstrap")
    rows, columns = max(1, _BLOCK // data.size), np.arange(data.shape[1])
    return np.concatenate(
        [
            statistic(
                data[draw.integers(len(data), size=(min(rows, num_resamples - done), *data.shape)),
                     columns]
            )
            for done in range(0, num_resamples, rows)
        ]
    )  # fmt: skip


def expanded_tail(confidence: float, freedom: int, *, num_runs: int | None = None) -> float:
    r"""Share of bootstrap samples to leave out at each end, so that few runs do not fool it.

    .. math:: \Phi\left(-\sqrt{n / (n-1)}\; t_{(1+c)/2,\,f}\right)

    The normal quantile that percentiles come down to knows nothing of a spread that was itself
    estimated: t takes its place. The root is for means alone, whose samples vary by the factor
    (n − 1)/n too little; the interval of a mean of Gaussian runs is then Student's. Samples of the
    IQM vary enough: with the root 97.4 % of its intervals at n = 10 held the truth.

    Args:
        confidence: In (0, 1).
        freedom: Degrees of freedom f: runs less one, summed over tasks.
        num_runs: n, at least 2, if the statistic is a mean of runs; else there is no root.

    Source:
        Hesterberg 2015, The American Statistician 69(4), sec. 5.3 ("expanded percentiles").
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    root = 1.0 if num_runs is None else math.sqrt(num_runs / (num_runs - 1))
    quantile = root * t_quantile((1 + confidence) / 2, freedom)
    return 0.5 * math.erfc(quantile / math.sqrt(2))


def profile(scores: ArrayLike, thresholds: Sequence[float] | Numbers) -> Numbers:
    r"""Performance profile: the share of runs that score more than each threshold.

    .. math:: F(\tau) = \frac{1}{m} \sum_j \frac{1}{n} \sum_i 1[x_{ij} > \tau]

    Args:
        scores: ``[n, m]``.
        thresholds: The τ, in units of the scores.

    Raises:
        ValueError: As ``score_matrix``.

    Source:
        Agarwal et al. 2021, arXiv:2108.13264, sec. 4.3.

    Tests:
        tests/unit/test_aggregate.py
    """
    (found,) = _profiles(score_matrix(scores)[None], np.asarray(thresholds, np.float64))
    return np.asarray(found, np.float64)


def profile_band(
    scores: ArrayLike,
    thresholds: Sequence[float] | Numbers,
    *,
    seed: int,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[Numbers, Numbers]:
    """Lower and upper end of a profile at each threshold by itself, by stratified bootstrap.

    From 0 to 1 where runs are fewer than five.

    Raises:
        ValueError: As ``iqm_interval``.
    """
    data, at = score_matrix(scores), np.asarray(thresholds, np.float64)
    if len(data) < MIN_RUNS:
        return np.zeros(len(at)), np.ones(len(at))
    samples = bootstrap(
        data, lambda drawn: _profiles(drawn, at), seed=seed, num_resamples=num_resamples
    )
    freedom = data.shape[1] * (len(data) - 1)
    tail = expanded_tail(confidence, freedom, num_runs=len(data))
    low, high = (np.quantile(samples, at_tail, axis=0) for at_tail in (tail, 1 - tail))
    return low, high


def _profiles(scores: Numbers, thresholds: Numbers) -> Numbers:
    """``[b, n, m]`` to ``[b, thresholds]``; every task has n runs, so one mean is both."""
    found: Numbers = np.stack([(scores > at).mean(axis=(1, 2)) for at in thresholds], axis=1)
    return found
