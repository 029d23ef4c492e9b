"""Proxy against truth: Welch's interval, rank agreement of a step, and when the two part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sayso.stats.intervals import unpaired_difference
from sayso.training.overoptimisation import RANK, agreement, overoptimised
from sayso.types import EndReason, Episode, Task, Turn


def test_welch_by_hand() -> None:
    """Means 2 and 5, variances 1 and 4 of three each: ν = (25/9) / (1/18 + 16/18) = 50/17."""
    found = unpaired_difference([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    assert found.mean == 3.0
    half = found.high - 3.0
    assert half / math.sqrt(5 / 3) == pytest.approx(3.2195, abs=2e-3)  # t(.975, 2.94)
    assert unpaired_difference([1.0], [2.0, 3.0]).low == -math.inf
    assert unpaired_difference([1.0, 1.0], [2.0, 2.0]).low == 1.0


def episode(model: float | None, true: float | None) -> Episode:
    turn = Turn(observation_ids=(0,), action_ids=(1,), action_logprobs=(-1.0,),
                reward_parts={"model": model, "true": true})  # fmt: skip
    return Episode(task=Task(id="t", env="e", split="train"), sample_index=0, policy_version=0,
                   turns=(turn,), end=EndReason.TERMINATED)  # fmt: skip


def test_the_rank_correlation_is_of_the_episodes_that_have_both() -> None:
    some = [episode(1.0, 0.1), episode(2.0, 0.9), episode(3.0, 0.5), episode(None, 5.0)]
    assert agreement(some) == {RANK: pytest.approx(0.5)}
    assert agreement(some[:2]) == {}
    assert agreement([episode(1.0, None)] * 5) == {}


def lines(model: Any, true: Any, num: int = 60) -> list[dict[str, float]]:
    noise = np.random.default_rng(0).normal(0, 0.02, size=(num, 2))
    return [
        {"step": i + 1, "reward/part/model": model(i / num) + noise[i, 0],
         "reward/part/true": true(i / num) + noise[i, 1]}
        for i in range(num)
    ]  # fmt: skip


def test_it_is_told_when_the_proxy_rises_while_the_truth_falls() -> None:
    found = overoptimised(lines(lambda x: x, lambda x: x * (1 - x)))
    assert found is not None
    assert 24 <= found.peak_step <= 36
    assert found.last_step == 60
    assert found.model.low > 0 > found.true.high
    assert "Over-optimisation" in str(found)


@pytest.mark.parametrize(
    ("model", "true"),
    [
        (lambda x: x, lambda x: x),  # both rise
        (lambda x: 0.0, lambda x: -x),  # only the truth falls
        (lambda x: -x, lambda x: -x),  # both fall
        (lambda x: x, lambda x: 0.0),  # the truth stays
    ],
)
def test_nothing_is_told_otherwise(model: Any, true: Any) -> None:
    assert overoptimised(lines(model, true)) is None


def test_short_runs_and_runs_without_truth_say_nothing() -> None:
    assert overoptimised(lines(lambda x: x, lambda x: -x, num=9)) is None
    assert overoptimised([{"step": i, "reward/mean": 1.0} for i in range(50)]) is None
