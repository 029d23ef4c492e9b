from __future__ import annotations

import math

import numpy as np
import pytest

from sayso.stats.rank import rank_correlation, rank_interval


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2, 3], [10.0, 20, 1000], 1.0),
        ([1.0, 2, 3], [3.0, 2, 1], -1.0),
        ([1.0, 2, 3, 4], [1.0, 3, 2, 4], 0.8),  # 1 - 6 * 2 / (4 * 15)
        ([1.0, 1, 2], [1.0, 2, 3], math.sqrt(3) / 2),  # ranks 0.5, 0.5, 2 against 0, 1, 2
        ([1.0, 2, 2, 3], [1.0, 3, 2, 2], 0.5),  # -1.5, 0, 0, 1.5 times -1.5, 1.5, 0, 0 over 4.5
    ],
)
def test_rank_correlation_is_spearmans_with_mean_ranks_for_ties(
    one: list[float], other: list[float], expected: float
) -> None:
    assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)


def test_what_never_differs_has_no_order() -> None:
    assert math.isnan(rank_correlation([1.0, 1.0], [1.0, 2.0]))
    assert math.isnan(rank_correlation([], []))
    found = rank_interval([1.0] * 9, list(range(9)), seed=0)
    assert math.isnan(found.mean)
    assert found.to_json() == {"mean": None, "low": None, "high": None, "n": 9}


def test_numbers_that_are_not_paired_or_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not paired"):
        rank_correlation([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="not finite"):
        rank_correlation([1.0, math.nan], [1.0, 2.0])


@pytest.mark.medium
def test_the_interval_holds_the_true_correlation_about_as_often_as_it_says() -> None:
    rho, held = 0.6, 0
    true = 6 / math.pi * math.asin(rho / 2)  # Spearman's of a normal pair
    draw = np.random.default_rng(0)
    for trial in range(50):
        x, noise = draw.normal(size=(2, 60))
        y = rho * x + math.sqrt(1 - rho**2) * noise
        found = rank_interval(x.tolist(), y.tolist(), seed=trial, num_resamples=200)
        assert found.low <= found.mean <= found.high
        held += found.low <= true <= found.high
    assert 42 <= held <= 50
    again = rank_interval(x.tolist(), y.tolist(), seed=trial, num_resamples=200)
    assert again == found
