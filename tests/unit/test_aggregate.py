"""Interquartile means, stratified bootstrap, performance profiles: closed forms and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sayso.stats.aggregate import (
    bootstrap,
    expanded_tail,
    iqm,
    iqm_of_each,
    mean_of_each,
    profile,
    profile_band,
    stratified_interval,
)
from sayso.stats.intervals import mean_interval


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([*range(1, 9)], 4.5),
        ([0, 0, 0, 100], 0.0),
        ([1, 2, 3, 4, 5, 6, 100], 4.0),  # int(7 / 4) = 1 is cut at each end, as scipy does
        ([7], 7.0),
        ([[1, 2], [3, 4], [5, 6], [7, 8]], 4.5),  # runs and tasks are sorted together
    ],
)
def test_t19_iqm_is_the_mean_of_the_middle_half(scores: list[float], expected: float) -> None:
    assert iqm(scores) == expected


def test_iqm_does_not_care_for_order_nor_for_one_wild_run() -> None:
    scores = np.random.default_rng(0).normal(size=12)
    wild = scores.copy()
    wild[scores.argmax()] = 1e9
    assert iqm(wild) == iqm(scores) == iqm(scores[::-1])


def test_samples_are_drawn_within_each_task() -> None:
    """Tasks whose runs are all equal leave nothing to chance, however far tasks are apart."""
    scores = np.tile([0.0, 50.0, 1000.0], (6, 1))
    found = bootstrap(scores, mean_of_each, seed=0, num_resamples=20)
    assert found.tolist() == [350.0] * 20
    seen = bootstrap(np.arange(5.0)[:, None], lambda x: x.min(axis=(1, 2)), seed=0,
                     num_resamples=400)  # fmt: skip
    assert set(seen) == {0.0, 1.0, 2.0, 3.0}, "runs are drawn with replacement"


def test_the_block_size_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(2).normal(size=(8, 3))
    first = stratified_interval(scores, seed=3)
    assert stratified_interval(scores, seed=4) != first
    monkeypatch.setattr("sayso.stats.aggregate._BLOCK", 24 * 7)
    assert stratified_interval(scores, seed=3) == first


@pytest.mark.parametrize(("num_runs", "num_tasks"), [(5, 1), (10, 1), (5, 3)])
def test_the_interval_of_a_mean_is_nearly_students(num_runs: int, num_tasks: int) -> None:
    """One task: the same width up to what a bootstrap of a few numbers can show."""
    scores = np.random.default_rng(0).normal(size=(num_runs, num_tasks))
    found = stratified_interval(scores, mean_of_each, seed=1, num_resamples=20_000, is_mean=True)
    if num_tasks > 1:
        spread = math.sqrt(float((scores.var(axis=0, ddof=1) / num_runs).sum())) / num_tasks
        assert 1.8 * spread < (found.high - found.low) / 2 < 2.7 * spread
        return
    student = mean_interval(scores[:, 0].tolist())
    ratio = (found.high - found.low) / (student.high - student.low)
    assert ratio == pytest.approx(1.0, abs=0.12 if num_runs > 5 else 0.4)


def test_many_runs_need_no_widening() -> None:
    assert expanded_tail(0.95, 10**6, num_runs=10**6) == pytest.approx(0.025, abs=1e-5)
    assert expanded_tail(0.95, 9, num_runs=10) == pytest.approx(0.00856, abs=1e-4)  # Phi(-2.3845)
    assert expanded_tail(0.95, 9) == pytest.approx(0.01184, abs=1e-4)  # Phi(-2.2622)
    with pytest.raises(ValueError, match="confidence must be"):
        expanded_tail(95, 9)


@pytest.mark.medium
@pytest.mark.parametrize("shape", [(5, 3), (10, 1), (20, 2)])
def test_t19_intervals_of_iqm_and_mean_hold_the_truth_95_times_in_100(
    shape: tuple[int, int],
) -> None:
    draw = np.random.default_rng(4)
    hits = np.zeros(2)
    for trial in range(1000):
        scores = draw.normal(2.0, 1.0, size=shape)
        for place, statistic in enumerate((iqm_of_each, mean_of_each)):
            found = stratified_interval(
                scores, statistic, seed=trial, num_resamples=600,
                is_mean=statistic is mean_of_each,
            )  # fmt: skip
            hits[place] += found.low <= 2.0 <= found.high
    assert ((hits >= 930) & (hits <= 970)).all(), hits


def test_a_profile_counts_runs_above_a_threshold() -> None:
    scores = [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0], [0.5, 0.0]]
    assert profile(scores, [-1, 0, 0.5, 0.9, 1]).tolist() == [1.0, 0.75, 0.5, 0.5, 0.0]


def test_a_band_holds_its_profile_and_is_nothing_where_all_runs_agree() -> None:
    scores = np.random.default_rng(0).random((10, 2))
    at = np.linspace(-0.1, 1.1, 7)
    low, high = profile_band(scores, at, seed=0)
    line = profile(scores, at)
    assert (low <= line).all()
    assert (line <= high).all()
    assert (low[0], high[0], low[-1], high[-1]) == (1.0, 1.0, 0.0, 0.0)
    assert (high - low).max() > 0.2
    few = profile_band(scores[:4], at, seed=0)
    assert (few[0].max(), few[1].min()) == (0.0, 1.0), "four runs say too little of others"


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        iqm([])
    with pytest.raises(ValueError, match="not finite"):
        iqm([1.0, math.nan])
    with pytest.raises(ValueError, match="num_resamples must be positive"):
        stratified_interval([1.0] * 5, seed=0, num_resamples=0)
    few = stratified_interval([0.5] * 4, seed=0)
    assert (few.mean, few.low, few.high, few.n) == (0.5, -math.inf, math.inf, 4)
    assert math.isfinite(stratified_interval([0.5] * 5, seed=0).low)
