"""Paired tests and their corrections: enumerated levels, printed values, simulated power."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from sayso.stats.paired import (
    _critical_shift,
    detectable_difference,
    holm,
    improvement_interval,
    least_seeds,
    probability_of_improvement,
    sign_flip_p,
)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0, 2, 3], 2 / 8),  # nothing but all + and all - is as far out
        ([1.0, 1, -1], 1.0),  # |sum| is 1 or 3
        ([3.0, 2, -1], 4 / 8),  # sums of size 6, 4, 2, 0; 4 or more: 4 of 8
        ([0.0, 0.0], 1.0),
        ([0.1] * 10, 2 / 1024),
    ],
)
def test_p_counts_signs(differences: list[float], expected: float) -> None:
    assert sign_flip_p(differences) == expected
    assert sign_flip_p([-d for d in differences]) == expected


@pytest.mark.parametrize("num", [4, 6, 9])
def test_the_level_is_exact_whatever_the_numbers_are(num: int) -> None:
    """Of all ways to set the signs, at most 5 in 100 are called significant at 5 %."""
    sizes = np.random.default_rng(num).pareto(1.0, size=num)
    signs = np.array([*product((-1, 1), repeat=num)])
    p = np.array([sign_flip_p(s * sizes) for s in signs])
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() <= level
    assert (p <= 0.5).mean() > 0.35
    assert p.min() == 2.0 ** (1 - num)


def test_rounding_does_not_decide() -> None:
    """0.1 + 0.2 - 0.3 is not 0 in binary; the mirrored sum is the same number of the test."""
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert sign_flip_p([0.7, 0.1, 0.3]) == sign_flip_p([7.0, 1.0, 3.0]) == 0.25


def test_more_than_twenty_are_drawn_and_agree_with_the_normal_limit() -> None:
    d = np.random.default_rng(0).normal(0.1, 1.0, size=60)
    z = abs(d.sum()) / math.sqrt(float((d**2).sum()))
    assert sign_flip_p(d) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.1)
    assert sign_flip_p([1.0] * 40) == 1 / 100_001, "never 0: the data are one of the ways"
    assert sign_flip_p(d, seed=1) == sign_flip_p(d, seed=1) != sign_flip_p(d, seed=2)


def test_least_seeds_is_where_significance_begins() -> None:
    for num_tests in (1, 3, 10):
        num = least_seeds(0.05, num_tests)
        assert 2.0 ** (1 - num) <= 0.05 / num_tests < 2.0 ** (2 - num)
    assert (least_seeds(), least_seeds(0.05, 3), least_seeds(0.25)) == (6, 7, 3)
    with pytest.raises(ValueError, match="need alpha"):
        least_seeds(0.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    with pytest.raises(ValueError, match="must be in"):
        holm([1.1])


def test_holm_keeps_all_false_alarms_of_a_family_below_the_level() -> None:
    p = np.random.default_rng(0).random((4000, 5))
    alarms = np.mean([min(holm(row)) <= 0.05 for row in p.tolist()])
    assert 0.035 < alarms < 0.06
    assert np.mean([row.min() <= 0.05 for row in p]) > 0.2, "without it one in five"


@pytest.mark.parametrize("num", [6, 10])
def test_the_detectable_difference_is_found_in_four_of_five_studies(num: int) -> None:
    draw = np.random.default_rng(num)
    true = np.mean([detectable_difference(draw.normal(size=num)) for _ in range(200)])
    found = 0
    for d in draw.normal(true, 1.0, size=(200, num)):
        half = {6: 2.5706, 10: 2.2622}[num] * d.std(ddof=1) / math.sqrt(num)
        found += sign_flip_p(d) <= 0.05 and d.mean() > half
    assert 0.7 <= found / 200 <= 0.9


@pytest.mark.parametrize(("num", "num_tests"), [(6, 1), (8, 3), (9, 1), (12, 6)])
def test_the_critical_shift_is_where_the_test_turns(num: int, num_tests: int) -> None:
    d = np.random.default_rng(num).normal(size=num)
    shift, level = _critical_shift(d - d.mean(), 0.05 / num_tests), 0.05 / num_tests
    assert sign_flip_p(d - d.mean() + 1.001 * shift) <= level
    assert sign_flip_p(d - d.mean() + 0.999 * shift) > level


def test_the_detectable_difference_by_hand_and_at_its_ends() -> None:
    # r = -1, 0, 1: signs ++- and +-- are as extreme up to 1/2 and 1, +-+ up to 0
    assert _critical_shift(np.array([-1.0, 0.0, 1.0]), 0.25) == 1.0
    assert _critical_shift(np.array([-1.0, 0.0, 1.0]), 0.5) == 0.5
    # s = 1, so t(.875, 2) / sqrt(3) = 1.6036 / 1.7321 is less; t(.8, 2) = 1.06066
    expected = 1.0 + 1.0606601718 / math.sqrt(3)
    assert detectable_difference([1.0, 2.0, 3.0], alpha=0.25) == pytest.approx(expected)
    many = np.linspace(-1, 1, 30)  # t(.975, 29), t(.8, 29)
    error = float(many.std(ddof=1)) / math.sqrt(30)
    assert detectable_difference(many) == pytest.approx((2.04522964 + 0.85419) * error, rel=1e-4)
    assert detectable_difference([1.0] * 5) == math.inf, "five seeds can show nothing"
    assert math.isnan(detectable_difference([1.0] * 6)), "no spread: not known"
    assert math.isnan(detectable_difference([0.3 - 0.2, 0.2 - 0.1] * 3))
    assert detectable_difference([1.0] * 6, num_tests=3) == math.inf
    with pytest.raises(ValueError, match="power and alpha"):
        detectable_difference([1.0] * 6, power=80)


def test_what_was_not_shown_lies_below_what_would_have_been() -> None:
    """Differences with ties, on which Student's alone would have spoken."""
    d = [0.0, 0.1, 0.1, 0.0, 0.1, 0.1, 0.1, 0.1]
    assert sign_flip_p(d) * 3 > 0.05
    assert detectable_difference(d, num_tests=3) > np.mean(d)


def test_t19_probability_of_improvement_by_hand() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3))
    assert probability_of_improvement(x, x) == 0.5
    assert probability_of_improvement([1.0, 2.0], [0.0, 1.0]) == (1 + 0.5 + 1 + 1) / 4
    assert probability_of_improvement([[1, 0]], [[0, 1]]) == 0.5, "a mean over tasks"
    assert probability_of_improvement([3.0], [1.0, 2.0, 4.0]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="first has 2 tasks, second 1"):
        probability_of_improvement([[1, 0]], [[0]])


def test_a_clean_sweep_leaves_room_for_what_was_not_seen() -> None:
    found = improvement_interval([2.0] * 10, [1.0] * 10, seed=0)
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 10))
    other = improvement_interval([1.0] * 10, [2.0] * 10, seed=0)
    assert (other.low, other.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    alone = improvement_interval([2.0], [1.0], seed=0)
    assert (alone.low, alone.high) == (pytest.approx(0.025), 1.0)
    few = improvement_interval([2.0, 0.5, 3.0, 4.0], [1.0] * 4, seed=0)
    assert (few.mean, few.low, few.high) == (0.75, 0.0, 1.0)


def test_ties_leave_room_for_wins_and_losses() -> None:
    found = improvement_interval([1.0] * 6, [1.0] * 6, seed=0)
    other = 1 - 0.025 ** (1 / 6)
    assert found.mean == 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - other / 2, 0.5 + other / 2))
    mixed = improvement_interval([[1.0, 0.0]] * 6, [[0.0, 1.0]] * 6, seed=0)
    assert (mixed.mean, mixed.low, mixed.high) == (0.5, found.low, found.high)


def test_the_interval_of_an_improvement_mirrors_and_lies_in_0_to_1() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 10, 2))
    x = x + 0.8
    one, other = (improvement_interval(*pair, seed=0) for pair in ((x, y), (y, x)))
    assert 0 <= one.low < one.mean < one.high <= 1
    assert one.mean == pytest.approx(1 - other.mean)
    assert one.low == pytest.approx(1 - other.high, abs=0.06)
