"""Paired tests and their corrections: enumerated levels, printed values, simulated power."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from sayso.stats.paired import (
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


@pytest.mark.parametrize("num", [5, 10, 20])
def test_the_detectable_difference_is_found_in_four_of_five_cases(num: int) -> None:
    """With the spread known, so that the difference is the same in every simulated study."""
    unit = np.linspace(-1, 1, num)
    unit /= unit.std(ddof=1)
    true = detectable_difference(unit)
    draws = np.random.default_rng(num).normal(true, 1.0, size=(20_000, num))
    t = draws.mean(axis=1) / draws.std(axis=1, ddof=1) * math.sqrt(num)
    critical = {5: 2.7764, 10: 2.2622, 20: 2.0930}[num]
    assert (np.abs(t) > critical).mean() == pytest.approx(0.8, abs=0.03)


def test_the_detectable_difference_by_hand_and_at_its_ends() -> None:
    d = [0.0, 1.0, 2.0, 3.0]  # s = sqrt(5/3), t(.975, 3) = 3.18245, t(.8, 3) = 0.97847
    expected = (3.18244630528 + 0.97847231236) * math.sqrt(5 / 3) / 2
    assert detectable_difference(d) == pytest.approx(expected)
    assert detectable_difference([1.0]) == math.inf
    with pytest.raises(ValueError, match="power and alpha"):
        detectable_difference(d, power=80)


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


def test_the_interval_of_an_improvement_mirrors_and_lies_in_0_to_1() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 10, 2))
    x = x + 0.8
    one, other = (improvement_interval(*pair, seed=0) for pair in ((x, y), (y, x)))
    assert 0 <= one.low < one.mean < one.high <= 1
    assert one.mean == pytest.approx(1 - other.mean)
    assert one.low == pytest.approx(1 - other.high, abs=0.06)
