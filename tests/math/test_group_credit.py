"""Baselines and scales of groups and batches."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayso.credit.baseline import MovingAverage, whitened
from sayso.credit.group import (
    centred,
    leave_one_out,
    leave_one_out_by_turn,
    most_varied,
    standardised,
)

GROUP = (leave_one_out, centred, standardised)
returns = st.lists(st.floats(-100, 100), min_size=2, max_size=12)
Credit = Callable[[Sequence[float]], list[float]]
every_credit = pytest.mark.parametrize("credit", [*GROUP, lambda r: whitened(r).tolist()])


def test_literal_groups() -> None:
    assert leave_one_out([1.0, 0.0, 0.0]) == [1.0, -0.5, -0.5]
    assert centred([1.0, 0.0, 0.5]) == [0.5, -0.5, 0.0]
    # Mean 1, deviations −1, 0, 1, sample variance 1.
    assert standardised([0.0, 1.0, 2.0]) == pytest.approx([-1 / (1 + 1e-6), 0, 1 / (1 + 1e-6)])
    assert whitened([0.0, 1.0, 2.0]).tolist() == pytest.approx([-1.0, 0.0, 1.0])


@every_credit
@given(value=st.floats(-1e6, 1e6), num=st.integers(2, 20))
def test_row_03_equal_rewards_give_exactly_zero(credit: Credit, value: float, num: int) -> None:
    assert credit([value] * num) == [0.0] * num


def test_row_03_rewards_that_differ_by_rounding_stay_near_zero() -> None:
    assert max(abs(a) for a in standardised([0.1 + 0.2, 0.3, 0.3])) < 1e-9


@pytest.mark.parametrize("credit", [leave_one_out, centred])
@given(values=returns, scale=st.floats(-3, 3), shift=st.floats(-10, 10))
def test_row_03_without_std_advantages_are_linear_in_reward(
    credit: Credit, values: list[float], scale: float, shift: float
) -> None:
    moved = credit([scale * v + shift for v in values])
    assert moved == pytest.approx([scale * a for a in credit(values)], abs=1e-9)


@pytest.mark.parametrize("credit", GROUP)
@pytest.mark.parametrize("num", [0, 1])
def test_row_04_a_group_of_one_is_an_error(credit: Credit, num: int) -> None:
    with pytest.raises(ValueError, match=f"needs at least 2 returns, got {num}"):
        credit([1.0] * num)


def test_row_04_whitening_one_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="whitened needs at least 2 values, got 1"):
        whitened([1.0])


@given(values=returns, other=st.floats(-100, 100), data=st.data())
def test_row_06_leave_one_out_baseline_does_not_move_with_ones_own_return(
    values: list[float], other: float, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    changed = [*values[:index], other, *values[index + 1 :]]
    before = values[index] - leave_one_out(values)[index]
    after = other - leave_one_out(changed)[index]
    assert after == pytest.approx(before, abs=1e-10)


def test_row_06_a_tiny_return_beside_huge_ones_keeps_its_baseline_exactly() -> None:
    """Subtracting one's own return from a total would leave rounding of the size of the total."""
    assert leave_one_out([1e16, 1.0, 2.0])[0] == 1e16 - 1.5
    assert leave_one_out([1e16, 1.0, 1.0])[1] == 1.0 - (1e16 + 1.0) / 2


@given(values=returns)
def test_leave_one_out_is_centring_times_n_over_n_minus_one(values: list[float]) -> None:
    num = len(values)
    expected = [a * num / (num - 1) for a in centred(values)]
    assert leave_one_out(values) == pytest.approx(expected, abs=1e-9)
    assert math.fsum(leave_one_out(values)) == pytest.approx(0.0, abs=1e-9)


@every_credit
@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_row_33_none_is_not_zero_and_is_refused(credit: Credit, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"entry 1 is {bad}; leave out what was not graded"):
        credit([0.0, bad, 1.0])
    assert credit([0.0, 0.0, 1.0])[0] < 0, "a real 0.0 is a return like any other"


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_whitened_has_mean_zero_and_unit_deviation(values: list[float]) -> None:
    white = whitened(values)
    assert white.mean() == pytest.approx(0.0, abs=1e-6)
    if max(values) - min(values) > 1e-3:
        assert white.std(ddof=1) == pytest.approx(1.0, rel=1e-4)


def test_moving_average_compares_a_batch_with_the_past_only() -> None:
    baseline = MovingAverage(decay=0.75)
    assert baseline.advantages([1.0, 3.0]) == [1.0, 3.0], "nothing to compare with yet"
    baseline.update([1.0, 3.0])
    assert baseline.value == 2.0, "the first batch is not diluted by a made-up zero"
    assert baseline.advantages([2.5]) == [0.5]
    baseline.update([4.0])
    assert baseline.value == pytest.approx((0.75 * 2.0 + 4.0) / 1.75, rel=1e-14)


def test_moving_average_survives_json_exactly() -> None:
    baseline = MovingAverage(decay=0.9)
    for batch in ([0.1, 0.7], [1 / 3]):
        baseline.update(batch)
    other = MovingAverage(decay=0.9)
    other.load_state(json.loads(json.dumps(baseline.state())))
    assert other == baseline
    other.update([0.2])
    assert other != baseline


def test_moving_average_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1\.0"):
        MovingAverage(decay=1.0)
    with pytest.raises(ValueError, match="at least one return"):
        MovingAverage().update([])
    ungraded: Any = [None]
    with pytest.raises(ValueError, match="entry 0 is None"):
        MovingAverage().update(ungraded)
    with pytest.raises(ValueError, match="entry 0 is None"):
        MovingAverage().advantages(ungraded)


def test_by_turn_literal() -> None:
    """To go: 1+2 and 2; 5; 0 where an attempt has ended."""
    advantages = leave_one_out_by_turn([[1.0, 2.0], [5.0]])
    assert advantages == [[3.0 - 5.0, 2.0 - 0.0], [5.0 - 3.0]]
    discounted = leave_one_out_by_turn([[1.0, 2.0], [5.0]], gamma_turn=0.5)
    assert discounted == [[2.0 - 5.0, 2.0], [5.0 - 2.0]]


def test_by_turn_refuses_what_it_cannot_credit() -> None:
    with pytest.raises(ValueError, match="at least 2 attempts, got 1"):
        leave_one_out_by_turn([[1.0]])
    with pytest.raises(ValueError, match="no turns"):
        leave_one_out_by_turn([[1.0], []])
    ungraded: Any = [[1.0], [None]]
    with pytest.raises(ValueError, match="entry 0 is None"):
        leave_one_out_by_turn(ungraded)
    with pytest.raises(ValueError, match="gamma_turn must be in"):
        leave_one_out_by_turn([[1.0], [1.0]], gamma_turn=1.5)


@given(values=st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=7), data=st.data())
def test_the_most_varied_are_as_varied_as_any_subset_of_that_size(
    values: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(2, len(values)))
    chosen = most_varied(values, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    best = max(map(statistics.pvariance, itertools.combinations(values, count)))
    assert statistics.pvariance([values[i] for i in chosen]) == pytest.approx(best)


def test_the_most_varied_literal() -> None:
    assert most_varied([0.5, 1.0, 0.0, 0.4], 2) == [1, 2]
    assert most_varied([0.0, 1.0, 0.9, 0.1, 0.5], 4) == [0, 1, 2, 3]
    assert most_varied([0.3, 0.3], 5) == [0, 1]
    with pytest.raises(ValueError, match="count must be at least 2"):
        most_varied([0.0, 1.0], 1)
