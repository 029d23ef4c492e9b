"""Verdicts: what each takes, and how often they are wrong when nothing differs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from sayso.stats.intervals import Interval
from sayso.stats.verdict import TOO_FEW, judge, verdict_of

EQUAL = "no difference that matters"


@pytest.mark.medium
@pytest.mark.parametrize("num_tasks", [1, 3])
def test_a_against_a_1000_times_intervals_hold_and_alarms_are_rare(num_tasks: int) -> None:
    """Two arms of the same algorithm, ten seeds each, with what paired seeds share."""
    draw = np.random.default_rng(19)
    held = improved = alarms = 0
    for trial in range(1000):
        shared = draw.normal(0, 2, size=(10, num_tasks))
        x, y = shared + draw.normal(size=(2, 10, num_tasks))
        (found,) = judge({"A": x, "B": y}, seed=trial)
        held += found.difference.low <= 0 <= found.difference.high
        improved += found.improvement.low <= 0.5 <= found.improvement.high
        alarms += found.verdict != "not enough seeds to tell"
    assert 930 <= held <= 970, held
    assert alarms <= 50, alarms
    assert improved >= 930, "paired seeds make it cautious, not bold"


@pytest.mark.medium
def test_a_against_a_with_independent_seeds_the_improvement_is_held_as_often_as_it_says() -> None:
    draw = np.random.default_rng(20)
    held = 0
    for trial in range(1000):
        x, y = draw.normal(size=(2, 10, 2))
        (found,) = judge({"A": x, "B": y}, seed=trial)
        held += found.improvement.low <= 0.5 <= found.improvement.high
    assert 930 <= held <= 970, held


@pytest.mark.medium
def test_four_arms_of_the_same_algorithm_raise_no_more_alarms_than_two() -> None:
    """Six pairs, corrected; returns in two heaps, as of runs that succeed or do not."""
    draw = np.random.default_rng(21)
    alarms = 0
    for trial in range(200):
        arms = draw.choice([0.0, 1.0], size=(4, 12)) + 0.05 * draw.normal(size=(4, 12))
        found = judge(dict(zip("ABCD", arms, strict=True)), seed=trial)
        alarms += any(pair.verdict != "not enough seeds to tell" for pair in found)
    assert alarms <= 10, alarms


def test_a_clear_difference_is_told_from_six_seeds_on_and_not_from_five() -> None:
    for num, verdict in ((5, "not enough seeds to tell"), (6, "better")):
        noise = np.random.default_rng(0).normal(0, 0.01, size=num)
        (found,) = judge({"A": 1.0 + noise, "B": np.zeros(num)}, seed=0)
        assert (found.verdict, found.least_seeds) == (verdict, 6)
        assert found.difference.low > 0.9, "the interval alone would have said so"
    (other,) = judge({"B": np.zeros(6), "A": 1.0 + noise}, seed=0)
    assert other.verdict == "worse"
    assert str(other) == "B is worse than A"


def test_pairing_finds_what_seeds_hide() -> None:
    seeds = np.random.default_rng(0).normal(0, 10, size=10)
    better = seeds + 0.5 + 0.1 * np.random.default_rng(1).normal(size=10)
    (found,) = judge({"A": better, "B": seeds}, seed=0)
    assert found.verdict == "better"
    assert found.improvement.low < 0.5 < found.improvement.high, "unpaired, nothing shows"


def test_a_seed_counts_once_however_many_tasks() -> None:
    scores = np.random.default_rng(0).normal(size=(8, 4))
    (found,) = judge({"A": scores, "B": np.zeros((8, 4))}, seed=0)
    assert found.difference.n == 8
    assert found.difference.mean == pytest.approx(scores.mean())


def test_no_difference_needs_a_margin_and_an_interval_inside_it() -> None:
    wide, narrow = Interval(0.0, -0.2, 0.2, 10), Interval(0.0, -0.08, 0.08, 10)
    assert verdict_of(narrow, 0.9) == "not enough seeds to tell", "absence of evidence"
    assert verdict_of(wide, 0.9, margin=0.1, inner=narrow) == "no difference that matters"
    assert verdict_of(wide, 0.9, margin=0.1, inner=wide) == "not enough seeds to tell"
    certain = Interval(0.05, 0.04, 0.06, 10)
    assert verdict_of(certain, 0.001, margin=0.1, inner=certain) == "no difference that matters"
    assert verdict_of(certain, 0.001) == "better"
    with pytest.raises(ValueError, match="margin must be positive"):
        verdict_of(wide, 0.9, margin=0.1)


def test_below_the_least_seeds_nothing_is_said_not_even_with_a_margin() -> None:
    for num in (2, 5):
        tied = {"A": [1.0] * num, "B": [1.0] * num}
        (found,) = judge(tied, seed=0, ends=(0.0, 1.0), margin=0.9)
        assert found.verdict == "not enough seeds to tell"
    narrow = Interval(0.0, -0.01, 0.01, 6)
    assert verdict_of(narrow, 1.0, margin=0.1, inner=narrow) == "no difference that matters"
    assert verdict_of(narrow, 1.0, margin=0.1, inner=narrow, num_tests=3) == TOO_FEW


def test_ties_are_no_proof_of_equality() -> None:
    """Ten seeds that tie may be of arms one of which fails in a quarter of its runs."""
    tied = {"A": [1.0] * 10, "B": [1.0] * 10}
    (found,) = judge(tied, seed=0, ends=(0.0, 1.0), margin=0.25)
    assert found.verdict == TOO_FEW
    assert found.to_json()["detectable"] is None
    assert found.difference.high == pytest.approx(0.3085, abs=1e-4)
    (wide,) = judge(tied, seed=0, ends=(0.0, 1.0), margin=0.27)
    assert wide.verdict == "no difference that matters"  # 1 - .05 ** (1 / 10) = .259
    (unknown,) = judge(tied, seed=0, margin=100.0)
    assert unknown.verdict == TOO_FEW, "nor is anything known of how far the next may be"
    rounded = {"A": np.array([0.3, 0.2, 0.8] * 4), "B": np.array([0.2, 0.1, 0.7] * 4)}
    (found,) = judge(rounded, seed=0, ends=(0.0, 1.0))
    assert found.to_json()["detectable"] is None


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bootstrap beside the verdict, which decides nothing of it."""
    half = Interval(0.5, 0.0, 1.0, 6)
    monkeypatch.setattr("sayso.stats.verdict.improvement_interval", lambda *_, **__: half)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("num", [6, 10, 13])
def test_arms_that_fail_now_and_then_are_not_called_equal(num: int) -> None:
    """One run in five fails whole: 0.2, twice the margin. Ties alone: 26 % of studies of six."""
    draw, wrong, tied = np.random.default_rng(num), 0, 0
    for trial in range(300):
        other = (draw.random(num) < 0.8).astype(float)
        tied += bool(other.all())
        wrong += said_equal({"A": np.ones(num), "B": other}, trial)
    assert wrong <= 15, wrong
    assert num > 6 or tied > 50


@pytest.mark.medium
@pytest.mark.usefixtures("quick")
def test_of_many_pairs_at_the_margin_hardly_any_is_called_equal() -> None:
    draw, wrong, alone = np.random.default_rng(7), 0, 0
    for trial in range(300):
        others = draw.normal(0.6, 0.05, size=(4, 10))
        arms = {"A": draw.normal(0.5, 0.05, size=10), **dict(zip("BCDE", others, strict=True))}
        found = judge(arms, seed=trial, ends=(0.0, 1.0), margin=0.1)
        wrong += any(j.verdict == EQUAL for j in found if j.first == "A")
        alone += said_equal({"A": arms["A"], "B": arms["B"]}, trial)
    assert wrong <= 15, wrong
    assert 3 <= alone <= 27, alone


def said_equal(scores: dict[str, np.ndarray], seed: int) -> bool:
    (found,) = judge(scores, seed=seed, ends=(0.0, 1.0), margin=0.1)
    return found.verdict == EQUAL


def test_both_the_test_and_the_interval_must_say_so() -> None:
    assert verdict_of(Interval(1.0, -0.1, 2.0, 9), 0.01) == "not enough seeds to tell"
    assert verdict_of(Interval(1.0, 0.1, 2.0, 9), 0.06) == "not enough seeds to tell"
    assert verdict_of(Interval(-1.0, -2.0, -0.1, 9), 0.05) == "worse"


def test_the_correction_is_for_all_pairs() -> None:
    draw = np.random.default_rng(0)
    scores = {name: draw.normal(size=8) for name in "ABC"}
    scores["A"] = scores["B"] + 1.0 + 0.1 * draw.normal(size=8)
    found = {(j.first, j.second): j for j in judge(scores, seed=0)}
    assert set(found) == {("A", "B"), ("A", "C"), ("B", "C")}
    assert found["A", "B"].p_adjusted == pytest.approx(3 * found["A", "B"].p)
    assert found["A", "B"].least_seeds == 7


def test_a_verdict_is_plain_json_with_one_seed_too() -> None:
    (found,) = judge({"A": [1.0], "B": [0.0]}, seed=0)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["verdict"] == "not enough seeds to tell"
    assert (told["detectable"], told["difference"]["low"]) == (None, None)
    assert math.isinf(found.detectable)


def test_arms_must_have_the_same_seeds() -> None:
    with pytest.raises(ValueError, match="must be the same for all"):
        judge({"A": [1.0, 2.0], "B": [1.0]}, seed=0)
