"""Accuracy and calibration of a reward model, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sayso.data.preferences import Preference
from sayso.evaluation.preference import judge_preferences


def pair(prompt: str, gap: float | None = None) -> Preference:
    return Preference(prompt=prompt, chosen="a", rejected="b", gap=gap)


def test_accuracy_is_over_prompts_and_a_tie_is_half() -> None:
    pairs = [pair("one"), pair("one"), pair("two"), pair("three")]
    found = judge_preferences(pairs, [1.0, -1.0, 2.0, 0.0])
    assert found.accuracy.mean == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert found.accuracy.n == 3
    assert 0 <= found.accuracy.low <= found.accuracy.high <= 1
    expected = [math.log1p(math.exp(-g)) for g in (1.0, -1.0, 2.0, 0.0)]
    assert found.loss == pytest.approx(sum(expected) / 4)
    assert found.truth is None


def test_calibration_error_is_the_weighted_distance_of_each_bin() -> None:
    """Sure of 0.75 twice, right once; sure of 0.95 twice, right twice."""
    first, second = math.log(3), math.log(19)
    found = judge_preferences([pair(str(i)) for i in range(4)], [first, -first, second, second])
    assert found.ece == pytest.approx(0.5 * abs(0.5 - 0.75) + 0.5 * abs(1 - 0.95))
    told = [(b.num_pairs, b.accuracy) for b in found.table if b.num_pairs]
    assert told == [(2, 0.5), (2, 1.0)]
    assert (found.table[2].low, found.table[2].high) == pytest.approx((0.7, 0.8))
    assert sum(b["num_pairs"] for b in found.to_json()["reliability"]) == 4
    assert "0.7 to 0.8" in str(found)


def test_a_gap_that_no_float_can_exponentiate_is_only_sure() -> None:
    found = judge_preferences([pair("x"), pair("y")], [1e4, -1e4])
    assert found.loss == pytest.approx(5e3)
    assert found.table[-1].num_pairs == 2


def test_the_truth_is_compared_where_it_is_known() -> None:
    pairs: list[Any] = [pair(str(i), gap=float(i)) for i in range(5)] + [pair("unknown")]
    found = judge_preferences(pairs, [0.0, 1.0, 2.0, 3.0, 4.0, -9.0])
    assert found.truth is not None
    assert (found.truth.mean, found.truth.n) == (pytest.approx(1.0), 5)


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="0 preferences"):
        judge_preferences([], [])
