"""Measuring a policy: which tasks, which draws, what is reported, and that nothing is touched."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from rollout_fakes import ScriptedEngine, scripted_policy

from sayso.envs.base import TextEnv
from sayso.envs.registry import source
from sayso.errors import EnvContractError
from sayso.evaluation.evaluate import evaluate, paired
from sayso.evaluation.report import EvalReport, observations
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.sampling.base import Policy
from sayso.seeds import derive
from sayso.stats.intervals import mean_interval
from sayso.types import Task


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


class Quiz(TextEnv):
    """Task n is worth n at its second turn; some tasks end badly."""

    def __init__(self, *, num_tasks: int = 5, odd: dict[int, Any] | None = None) -> None:
        self.num_tasks, self.odd = num_tasks, odd or {}

    def tasks(self, split: str) -> Sequence[Task]:
        count = {"train": self.num_tasks, "held_out": 2}.get(split, 0)
        return [
            Task(id=f"{split}-{n}", env="test/Quiz-v0", split=split, payload={"n": n})
            for n in range(count)
        ]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.n, self.turn = int(self.choose(seed, options).payload["n"]), 0
        return f"question {self.n}", {}

    def step(self, action: str) -> Any:
        self.turn += 1
        odd = self.odd.get(self.n)
        if odd == "raise":
            raise RuntimeError("no")
        if odd == "none":
            return "done", None, True, False, {}
        parts = {"half": self.n / 2, "length": float(len(action)), "rare": None}
        if self.n == 3:
            parts["rare"] = 7.0
        info = {"reward_parts": parts}
        cut = odd == "cut"
        return "and?", self.n / 2, self.turn == 2 and not cut, self.turn == 2 and cut, info


def measure(policy: Policy | None = None, **options: Any) -> EvalReport:
    chosen: dict[str, Any] = {"split": "train", "num_episodes": 5, "seed": 4}
    chosen |= {k: v for k, v in options.items() if k != "env"}
    env = options.get("env") or Quiz
    return evaluate(policy or scripted_policy()[0], source(env), limits=RolloutLimits(), **chosen)


def test_the_first_tasks_in_order_then_all_once_more_with_other_draws() -> None:
    policy, engine = scripted_policy()
    report = measure(policy, num_episodes=12)
    assert list(report.returns) == [
        (f"train-{n}", sample) for sample, count in ((0, 5), (1, 5), (2, 2)) for n in range(count)
    ]
    assert list(measure(num_episodes=3).returns) == [(f"train-{n}", 0) for n in range(3)]
    first, second = (
        next(r.seed for r in engine.requests if r.session == f"eval/train/train-0/{sample}")
        for sample in (0, 1)
    )
    assert first != second
    assert first == derive(4, "eval", "train", "train-0", 0, "turn", 0)


def test_a_longer_evaluation_repeats_the_shorter_one() -> None:
    short, long = measure(num_episodes=3), measure(num_episodes=12)
    assert [s for s in long.samples if (s.task_id, s.sample_index) in short.returns] == list(
        short.samples
    )


def test_group_size_attempts_each_task_so_often() -> None:
    report = measure(num_episodes=6, group_size=3)
    assert list(report.returns) == [(f"train-{n}", s) for n in range(2) for s in range(3)]
    report = measure(env=lambda: Quiz(num_tasks=2), num_episodes=8, group_size=2)
    assert list(report.returns) == [
        (f"train-{n}", s) for group in ((0, 1), (2, 3)) for n in range(2) for s in group
    ]


@pytest.mark.parametrize(("count", "group"), [(0, 1), (-1, 1), (5, 2), (4, 0)])
def test_numbers_that_do_not_fit_are_refused(count: int, group: int) -> None:
    with pytest.raises(ValueError, match="positive multiple of group_size"):
        measure(num_episodes=count, group_size=group)


def test_a_split_without_tasks_is_named() -> None:
    with pytest.raises(EnvContractError, match="split 'unseen': has no tasks"):
        measure(split="unseen")


def test_means_are_over_tasks_and_parts_are_summed_over_turns() -> None:
    report = measure()
    assert report.mean == mean_interval([0.0, 1.0, 2.0, 3.0, 4.0])
    assert report.mean.low == pytest.approx(2 - 2.776445105 * math.sqrt(2.5 / 5), abs=1e-6)
    assert report.parts["half"].mean == 2.0
    assert report.parts["rare"] == mean_interval([14.0])
    assert list(report.parts) == ["half", "length", "rare"]
    assert report.returns["train-3", 0] == 3.0
    assert report.samples[3].reward == 3.0
    assert report.samples[3].observation == "and?"
    assert (report.num_failed, report.num_ungraded, report.num_truncated) == ({}, 0, 0)
    assert "  half: 2.000 [0.037, 3.963]\n" in str(report)
    assert "  rare: 14.000 over 1 task" in str(report)


class Noisy(Quiz):
    """Task n is worth n, and more for a longer last word."""

    def step(self, action: str) -> Any:
        observation, reward, ended, cut, info = super().step(action)
        noise = (self.turn == 2) * float(len(action))
        info["reward_parts"] |= {"noise": noise}
        return observation, reward + noise, ended, cut, info


def noisy(*, num_tasks: int = 5, **options: Any) -> EvalReport:
    policy, _ = scripted_policy(lambda request: "a" * (request.seed % 7))
    return measure(policy, env=lambda: Noisy(num_tasks=num_tasks), **options)


def by_task(report: EvalReport) -> list[list[float]]:
    tasks: dict[str, list[float]] = {}
    for (task, _), value in report.returns.items():
        tasks.setdefault(task, []).append(value)
    return list(tasks.values())


@pytest.mark.parametrize("group_size", [1, 3])
def test_attempts_at_one_task_are_averaged_before_tasks_are(group_size: int) -> None:
    report = noisy(num_episodes=12 * group_size, group_size=group_size)
    means = [sum(values) / len(values) for values in by_task(report)]
    assert len({len(values) for values in by_task(report)}) == 2  # 12 is no multiple of 5
    assert any(len(set(values)) > 1 for values in by_task(report))
    assert report.mean == mean_interval(means)
    assert report.mean.n == report.parts["noise"].n == 5
    assert report.parts["rare"].n == 1
    assert report.parts["half"] == mean_interval([0.0, 1.0, 2.0, 3.0, 4.0])
    assert str(report).startswith(
        f"train: mean return {report.mean} over {12 * group_size} episodes of 5 tasks\n"
    )
    record = report.to_json()
    assert (record["num_episodes"], record["num_tasks"]) == (12 * group_size, 5)


def test_differences_are_averaged_within_a_task_first() -> None:
    before, after = measure(num_episodes=12), noisy(num_episodes=12)
    means = [
        sum(now - then for now, then in zip(*pair, strict=True)) / len(pair[0])
        for pair in zip(by_task(after), by_task(before), strict=True)
    ]
    found, expected = paired(before, after), mean_interval(means)
    assert found.n == expected.n == 5
    assert (found.mean, found.low) == pytest.approx((expected.mean, expected.low))


def test_of_a_single_task_the_attempts_are_what_is_observed() -> None:
    report = noisy(num_tasks=1, num_episodes=8)
    assert report.mean == mean_interval(by_task(report)[0])
    assert report.mean.n == report.parts["noise"].n == 8
    assert "over 8 episodes of 1 task\n" in str(report)
    same = measure(env=lambda: Quiz(num_tasks=1), num_episodes=8)
    assert paired(same, report) == report.mean  # the plain task 0 is worth nothing


def test_the_interval_holds_the_mean_of_all_tasks_as_often_as_it_says() -> None:
    """Tasks differ more than attempts at one do: counted as attempts, 52 % of intervals held it."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        worth = rng.normal(size=10)
        values = {
            (f"t{task}", attempt): worth[task] + 0.5 * rng.normal()
            for attempt in range(10)
            for task in range(10)
        }
        interval = mean_interval(observations(values, among=values))
        held += interval.low <= 0.0 <= interval.high
    assert 0.9 <= held / 200 <= 0.99


def test_the_interval_of_the_return_ends_where_the_reward_does() -> None:
    class Bounded(Quiz):
        reward_low, reward_high = 0.0, 4.0

    few = {0: "none", 1: "none", 2: "none"}
    free, ended = (measure(env=lambda kind=kind: kind(odd=few)).mean for kind in (Quiz, Bounded))
    assert (free.mean, ended.mean, free.n) == (3.5, 3.5, 2)
    assert free.low < 0.0
    assert free.high > 4.0
    assert (ended.low, ended.high) == (0.0, 4.0)


def test_invalid_and_ungraded_episodes_are_counted_and_in_no_mean() -> None:
    odd = {1: "raise", 2: "none", 4: "cut"}
    report = measure(env=lambda: Quiz(odd=odd))
    assert report.num_failed == {"env_raised": 1}
    assert report.num_ungraded == 1
    assert report.num_truncated == 1
    assert report.mean == mean_interval([0.0, 3.0, 4.0])
    assert set(report.returns) == {("train-0", 0), ("train-3", 0), ("train-4", 0)}
    assert "left out, invalid: env_raised 1" in str(report)
    assert "cut off: 1" in str(report)


def test_mean_tokens_counts_action_tokens_of_valid_episodes() -> None:
    policy, _ = scripted_policy(lambda request: "abc")
    assert measure(policy, env=lambda: Quiz(odd={1: "raise"})).mean_tokens == 8.0


def test_a_report_of_failures_alone_can_still_be_written() -> None:
    report = measure(env=lambda: Quiz(odd=dict.fromkeys(range(5), "raise")))
    record = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert record["mean"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert record["num_failed"] == {"env_raised": 5}
    assert record["first_failure"]
    assert record["first_failure"] in str(report)
    assert record["returns"] == []


def test_the_json_form_is_stable() -> None:
    record = json.loads(json.dumps(measure(num_episodes=2).to_json(), allow_nan=False))
    assert list(record) == [
        *("split", "mean", "parts", "num_failed", "first_failure", "num_ungraded"),
        *("num_truncated", "mean_tokens", "num_episodes", "num_tasks", "returns"),
    ]
    assert record["returns"][1] == {"task": "train-1", "sample": 0, "return": 1.0}
    assert set(record["mean"]) == {"mean", "low", "high", "n"}


def test_row_32_measuring_touches_no_generator_and_leaves_no_session() -> None:
    policy, engine = scripted_policy()
    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    first = measure(policy)
    second = measure(policy)
    after = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])
    assert first == second
    assert not engine.held
    assert isinstance(policy.engine, ScriptedEngine)


def test_row_32_measuring_on_training_tasks_draws_other_numbers_than_training() -> None:
    policy, engine = scripted_policy()
    measure(policy)
    seeds = {request.seed for request in engine.requests}
    training = {
        derive(4, "rollout", step, 0, f"train-{n}", 0, "turn", turn)
        for step in range(3)
        for n in range(5)
        for turn in range(2)
    }
    assert not seeds & training


def test_pairs_are_made_by_task_and_sample() -> None:
    before = measure(env=lambda: Quiz(odd={4: "raise"}))
    after = measure(env=lambda: Quiz(odd={0: "raise"}))
    difference = paired(before, after)
    assert (difference.mean, difference.n) == (0.0, 3)


def test_a_paired_difference_is_after_minus_before() -> None:
    class Better(Quiz):
        def step(self, action: str) -> Any:
            observation, reward, ended, cut, info = super().step(action)
            return observation, reward + 0.5, ended, cut, info

    assert paired(measure(), measure(env=Better)).mean == 1.0


def test_nothing_to_pair_is_an_error() -> None:
    everything_failed = measure(env=lambda: Quiz(odd=dict.fromkeys(range(5), "raise")))
    with pytest.raises(ValueError, match="nothing to pair: of 0 and 5 graded"):
        paired(everything_failed, measure())
    with pytest.raises(ValueError, match="cannot pair the split 'held_out' with 'train'"):
        paired(measure(split="held_out"), measure())
