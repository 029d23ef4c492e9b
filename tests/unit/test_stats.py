"""Intervals: literal table values, coverage, pairing, refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from sayso.stats.intervals import (
    Interval,
    bootstrap_interval,
    bounded_interval,
    difference_interval,
    mean_interval,
    paired_difference,
)
from sayso.stats.student import t_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [
        # Printed tables (e.g. Abramowitz & Stegun, table 26.10) and closed forms for 1 and 2.
        (0.975, 1, 12.7062047362),
        (0.995, 1, 63.6567411629),
        (0.975, 2, 4.3026527297),
        (0.95, 3, 2.3533634348),
        (0.975, 5, 2.5705818356),
        (0.975, 9, 2.2621571628),
        (0.995, 10, 3.1692726726),
        (0.975, 29, 2.0452296421),
        (0.95, 120, 1.6576508993),
        (0.975, 1000, 1.9623390808),
        (0.975, 10**6, 1.9599663566),
        (0.5, 7, 0.0),
        (0.025, 9, -2.2621571628),
    ],
)
def test_t_quantile_matches_the_tables(probability: float, freedom: int, expected: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_t_quantile_keeps_its_digits_far_in_the_tail() -> None:
    """With four degrees of freedom the tail beyond t is 3 / t⁴ up to terms of order 1 / t⁶."""
    assert t_quantile(1e-10, 4) == pytest.approx(-((3 * 10.0**10) ** 0.25), rel=1e-4)


@pytest.mark.parametrize("probability", [0.6, 0.9, 0.99, 0.9999])
def test_t_quantile_matches_the_closed_forms_of_one_and_two_degrees(probability: float) -> None:
    cauchy = math.tan(math.pi * (probability - 0.5))
    a = 4 * probability * (1 - probability)
    two = 2 * (probability - 0.5) * math.sqrt(2 / a)
    assert t_quantile(probability, 1) == pytest.approx(cauchy, rel=1e-11)
    assert t_quantile(probability, 2) == pytest.approx(two, rel=1e-11)


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 5), (1.0, 5), (0.9, 0), (math.nan, 5)])
def test_t_quantile_refuses_what_has_no_answer(probability: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        t_quantile(probability, freedom)


def test_mean_interval_literal() -> None:
    """1, 2, 3, 4: mean 2.5, s = √(5/3), half width 3.1824463 · s / 2."""
    interval = mean_interval([1.0, 2.0, 3.0, 4.0])
    half = 3.18244630528 * math.sqrt(5 / 3) / 2
    assert interval.mean == 2.5
    assert interval.low == pytest.approx(2.5 - half, rel=1e-10)
    assert interval.high == pytest.approx(2.5 + half, rel=1e-10)
    assert interval.n == 4


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval([0.1] * 7) == Interval(0.1, 0.1, 0.1, 7)
    assert bootstrap_interval([0.5] * 7, seed=0) == Interval(0.5, 0.5, 0.5, 7)


def test_t19_mean_interval_covers_the_true_mean_95_times_in_100() -> None:
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 8))
    hits = sum(i.low <= 3.0 <= i.high for i in map(mean_interval, draws.tolist()))
    assert 0.93 <= hits / 2000 <= 0.97
    hits = sum(i.low <= 3.0 <= i.high for i in (mean_interval(d, 0.5) for d in draws.tolist()))
    assert 0.47 <= hits / 2000 <= 0.53


def test_t19_bootstrap_interval_covers_the_true_mean_95_times_in_100() -> None:
    draws = np.random.default_rng(1).normal(3.0, 2.0, size=(2000, 60))
    hits = 0
    for seed, values in enumerate(draws.tolist()):
        interval = bootstrap_interval(values, seed=seed, num_resamples=400)
        hits += interval.low <= 3.0 <= interval.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_bootstrap_is_decided_by_its_seed_and_not_by_the_block_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(2).random(40).tolist()
    first = bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) == first
    assert bootstrap_interval(values, seed=4) != first
    monkeypatch.setattr("sayso.stats.intervals._BLOCK", 40 * 7)
    assert bootstrap_interval(values, seed=3) == first


def test_bootstrap_stays_inside_the_range_of_the_data() -> None:
    interval = bootstrap_interval([0.0, 1.0, 1.0, 1.0], seed=0)
    assert 0.0 <= interval.low <= interval.mean <= interval.high <= 1.0
    assert mean_interval([0.0, 1.0, 1.0, 1.0]).high > 1.0, "where Student's does not"


def test_pairing_takes_out_the_difficulty_of_the_tasks() -> None:
    difficulty = np.random.default_rng(5).normal(0, 10, size=30)
    before, after = difficulty.tolist(), (difficulty + 0.5 + 0.01 * np.arange(30)).tolist()
    interval = paired_difference(before, after)
    assert interval.low > 0.5, "after minus before, and positive is better"
    assert interval.high < 0.8
    assert interval == mean_interval((np.array(after) - np.array(before)).tolist())


def test_one_observation_has_a_mean_and_no_finite_interval() -> None:
    for interval in (mean_interval([0.5]), bootstrap_interval([0.5], seed=0)):
        assert interval == Interval(0.5, -math.inf, math.inf, 1)
        assert json.loads(json.dumps(interval.to_json(), allow_nan=False)) == {
            "mean": 0.5, "low": None, "high": None, "n": 1,
        }  # fmt: skip


def test_no_observation_has_neither_mean_nor_interval() -> None:
    for interval in (mean_interval([]), bootstrap_interval([], seed=0), paired_difference([], [])):
        assert math.isnan(interval.mean)
        assert (interval.low, interval.high, interval.n) == (-math.inf, math.inf, 0)
        assert interval.to_json() == {"mean": None, "low": None, "high": None, "n": 0}


def test_interval_as_json_and_text() -> None:
    interval = Interval(0.5, 0.25, 0.75, 9)
    assert interval.to_json() == {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 9}
    assert str(interval) == "0.500 [0.250, 0.750]"


def test_intervals_refuse_what_they_cannot_use() -> None:
    ungraded: Any = [1.0, None]
    with pytest.raises(ValueError, match="entry 1 is None"):
        mean_interval(ungraded)
    with pytest.raises(ValueError, match="entry 0 is nan"):
        bootstrap_interval([math.nan, 1.0], seed=0)
    with pytest.raises(ValueError, match="before has 1 entries, after 2"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\), got 95"):
        mean_interval([1.0, 2.0], 95)
    with pytest.raises(ValueError, match="num_resamples must be positive, got 0"):
        bootstrap_interval([1.0, 2.0], seed=0, num_resamples=0)
    assert str(Interval(0.5, -math.inf, math.inf, 1)) == "0.500"


def test_an_interval_ends_where_the_quantity_does() -> None:
    interval = Interval(0.9, 0.6, 1.2, 3)
    assert interval.within(0.0, 1.0) == Interval(0.9, 0.6, 1.0, 3)
    assert interval.within(0.7, None) == Interval(0.9, 0.7, 1.2, 3)
    assert interval.within(None, 0.5) == Interval(0.9, 0.6, 0.9, 3), "a range that is not true"
    alone = Interval(0.5, -math.inf, math.inf, 1)
    assert alone.within(0.0, 1.0) == alone


def test_the_interval_of_a_bounded_quantity_stays_in_its_range() -> None:
    assert bounded_interval([0.0, 1.0], 0.0, 1.0) == Interval(0.5, 0.0, 1.0, 2)
    free = bounded_interval([0.0, 1.0], None, None)
    assert (free.low, free.high) == pytest.approx((-5.853, 6.853), abs=1e-3)
    beyond = bounded_interval([0.0, 1.5], 0.0, 1.0)  # not in that range, then
    assert beyond.low == 0.0
    assert beyond.high > 1.5


@pytest.mark.parametrize(("value", "n"), [(0.0, 2), (0.0, 12), (1.0, 5), (0.25, 30)])
def test_equal_observations_leave_room_for_what_was_not_seen(value: float, n: int) -> None:
    found = bounded_interval([value] * n, 0.0, 1.0)
    share = 1 - 0.025 ** (1 / n)
    assert found.mean == pytest.approx(value)
    assert found.low == pytest.approx(value * (1 - share))
    assert found.high == pytest.approx(value + (1 - value) * share)


def test_a_rare_event_is_held_by_the_interval_of_none_seen() -> None:
    """With p just inside the bound, no event is seen in 2.5 % of samples, not more often."""
    n = 10
    edge = bounded_interval([0.0] * n, 0.0, 1.0).high
    assert (1 - edge) ** n == pytest.approx(0.025)


def test_differences_that_are_all_the_same_leave_room_for_others() -> None:
    """Of six, another may come with probability 1 - .025 ** (1 / 6), and be as far as it goes."""
    other = 1 - 0.025 ** (1 / 6)
    tied = difference_interval([0.0] * 6, 0.0, 2.0)
    assert (tied.low, tied.high) == pytest.approx((-2 * other, 2 * other))
    won = difference_interval([2.0] * 6, 0.0, 2.0)
    assert (won.low, won.high) == pytest.approx((2 - 4 * other, 2.0))
    rounded = difference_interval([0.3 - 0.2, 0.2 - 0.1, 0.8 - 0.7], 0.0, 1.0)
    assert rounded.high - rounded.low > 0.5, "what differs by rounding is the same"
    for ends in ((None, 1.0), (None, None), (0.0, 0.5)):
        unknown = difference_interval([1.0] * 6, *ends)
        assert (unknown.low, unknown.high) == (-math.inf, math.inf)
    assert difference_interval([0.1, 0.3], None, None) == mean_interval([0.1, 0.3])
    assert difference_interval([0.0, 1.0], 0.0, 1.0).low == -1.0
