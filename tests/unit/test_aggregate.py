"""Interquartile means, stratified bootstrap, performance profiles: closed forms and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sayso.stats.aggregate import (
    bootstrap,
    expanded_tail,
    iqm,
    iqm_interval,
    profile,
    profile_band,
)


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
    found = bootstrap(scores, lambda x: x.mean(axis=(1, 2)), seed=0, num_resamples=20)
    assert found.tolist() == [350.0] * 20
    seen = bootstrap(np.arange(5.0)[:, None], lambda x: x.min(axis=(1, 2)), seed=0,
                     num_resamples=400)  # fmt: skip
    assert set(seen) == {0.0, 1.0, 2.0, 3.0}, "runs are drawn with replacement"


def test_the_block_size_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(2).normal(size=(8, 3))
    first = iqm_interval(scores, seed=3)
    assert iqm_interval(scores, seed=4) != first
    monkeypatch.setattr("sayso.stats.aggregate._BLOCK", 24 * 7)
    assert iqm_interval(scores, seed=3) == first


def test_many_runs_need_no_widening() -> None:
    assert expanded_tail(0.95, 10**6, num_runs=10**6) == pytest.approx(0.025, abs=1e-5)
    assert expanded_tail(0.95, 9, num_runs=10) == pytest.approx(0.00856, abs=1e-4)  # Phi(-2.3845)
    assert expanded_tail(0.95, 9) == pytest.approx(0.01184, abs=1e-4)  # Phi(-2.2622)
    with pytest.raises(ValueError, match="confidence must be"):
        expanded_tail(95, 9)


@pytest.mark.medium
@pytest.mark.parametrize("shape", [(5, 3), (10, 1), (20, 2)])
def test_t19_intervals_of_the_iqm_hold_the_truth_95_times_in_100(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(4)
    hits = 0
    for trial in range(1000):
        found = iqm_interval(draw.normal(2.0, 1.0, size=shape), seed=trial, num_resamples=600)
        hits += found.low <= 2.0 <= found.high
    assert 930 <= hits <= 970, hits


def test_runs_that_are_all_equal_leave_the_iqm_the_room_that_unseen_ones_may_take() -> None:
    """Six: 46 % may be unseen, of which the outer quarter is cut; thirteen: less than a quarter."""
    reach = (1 - 0.025 ** (1 / 6) - 0.25) / 0.5
    full = iqm_interval([1.0] * 6, seed=0, ends=(0.0, 1.0))
    assert (full.mean, full.low, full.high) == pytest.approx((1.0, 1 - reach, 1.0))
    half = iqm_interval([0.5] * 6, seed=0, ends=(0.0, 1.0))
    assert (half.low, half.high) == pytest.approx((0.5 - reach / 2, 0.5 + reach / 2))
    assert iqm_interval([1.0] * 6, seed=0).low == -math.inf, "a range is not known"
    for num, is_wide in ((12, True), (13, False)):
        found = iqm_interval([1.0] * num, seed=0, ends=(0.0, 1.0))
        assert (found.low < 1.0) is is_wide
    two = iqm_interval(np.tile([0.0, 1.0], (6, 1)), seed=0, ends=(0.0, 1.0))
    assert 0 <= two.low < two.mean == 0.5 < two.high <= 1


def test_the_iqm_of_runs_that_fail_now_and_then_is_held() -> None:
    """Seven of ten runs succeed; six of them all succeed in 12 % of studies."""
    rate, hits, draw = 0.7, 0, np.random.default_rng(5)
    truth = (rate - 0.25) / 0.5
    for trial in range(400):
        scores = (draw.random(6) < rate).astype(float)
        found = iqm_interval(scores, seed=trial, ends=(0.0, 1.0), num_resamples=300)
        hits += found.low <= truth <= found.high
    assert hits >= 372, hits


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
        iqm_interval([1.0] * 5, seed=0, num_resamples=0)
    few = iqm_interval([0.5] * 4, seed=0)
    assert (few.mean, few.low, few.high, few.n) == (0.5, -math.inf, math.inf, 4)
    assert math.isfinite(iqm_interval([0.5] * 5, seed=0, ends=(0.0, 1.0)).low)
