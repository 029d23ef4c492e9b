"""Learning from parts of the reward, each in units of its own running spread."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso import rewards
from sayso.errors import ConfigError, OptionValueError
from sayso.rewards.running import Running
from sayso.training.options import TrainOptions
from sayso.training.part_scales import LIMIT, rescaled
from sayso.types import EndReason, Episode, Task, Turn


def episode(*parts: dict[str, float | None] | None) -> Episode:
    turns = [
        Turn(
            observation_ids=(1,),
            action_ids=(2,),
            action_logprobs=(-1.0,),
            reward=None if given is None else sum(v for v in given.values() if v is not None),
            reward_parts=given or {},
        )
        for given in parts
    ]
    return Episode(
        task=Task(id="t", env="e", split="train"),
        turns=tuple(turns),
        end=EndReason.TERMINATED,
        sample_index=0,
        policy_version=0,
    )


def earned(episodes: list[Episode]) -> list[float | None]:
    return [turn.reward for e in episodes for turn in e.turns]


def test_parts_are_divided_by_their_spread_and_not_centred() -> None:
    given = [episode({"a": 1.0, "b": 100.0}), episode({"a": 3.0, "b": 300.0})]  # std 1 and 100
    found, _ = rescaled(given, {"a": 1.0, "b": 0.5}, {})
    assert earned(found) == [1.0 + 0.5, 3.0 + 1.5]
    assert earned(given) == [101.0, 303.0]


def test_without_weights_nothing_changes() -> None:
    given = [episode({"a": 1.0}), episode({"a": 3.0})]
    assert rescaled(given, {}, {}) == (given, {})


def test_the_spread_is_that_of_everything_seen_whatever_the_steps() -> None:
    values = [1.0, 4.0, 2.0, 8.0]
    _, at_once = rescaled([episode({"a": v}) for v in values], {"a": 1.0}, {})
    first, stats = rescaled([episode({"a": v}) for v in values[:2]], {"a": 1.0}, {})
    second, in_two = rescaled([episode({"a": v}) for v in values[2:]], {"a": 1.0}, stats)
    assert in_two == at_once
    assert earned(first) == [1.0 / 1.5, 4.0 / 1.5]
    assert earned(second)[0] == pytest.approx(2.0 / 2.6809513)


def test_what_was_not_graded_and_what_does_not_apply_stays_so() -> None:
    given = [episode(None, {"a": None, "b": 1.0}, {"a": 2.0, "b": 1.0}, {"a": 4.0, "b": 1.0})]
    found, _ = rescaled(given, {"a": 1.0}, {})
    assert earned(found) == [None, None, 2.0, 4.0]


def test_a_part_that_never_varied_counts_nothing() -> None:
    found, _ = rescaled([episode({"a": 5.0}), episode({"a": 5.0})], {"a": 1.0}, {})
    assert earned(found) == [0.0, 0.0]


def test_an_odd_value_is_cut() -> None:
    given = [episode({"a": 0.0}) for _ in range(999)] + [episode({"a": 1.0})]
    found, stats = rescaled(given, {"a": 2.0}, {})
    middle = 0.001 / Running.from_json(stats["a"]).std
    assert earned(found)[-1] == pytest.approx(2.0 * (middle + LIMIT))


@pytest.mark.parametrize("shift", [-20.0, 20.0, 1000.0])
def test_a_part_that_is_far_from_zero_teaches_as_much_as_another(shift: float) -> None:
    values = [-1.5, -0.5, 0.5, 1.5]
    near, _ = rescaled([episode({"a": v}) for v in values], {"a": 1.0}, {})
    far, _ = rescaled([episode({"a": v + shift}) for v in values], {"a": 1.0}, {})
    steps = [b - a for a, b in itertools.pairwise(v for v in earned(near) if v is not None)]
    found = [b - a for a, b in itertools.pairwise(v for v in earned(far) if v is not None)]
    assert found == pytest.approx(steps)


def test_the_gate_of_a_sum_stays_a_gate_and_buys_off_no_penalty() -> None:
    half = {"right": 2.0, "rude": -1.0, "gate": -1.0}  # gate 0.5
    shut = {"right": 4.0, "rude": -3.0, "gate": -4.0}  # gate 0; both parts have std 1
    found, _ = rescaled([episode(half), episode(shut)], {"right": 1.0, "rude": 1.0}, {})
    assert earned(found) == [0.5 * 2.0 - 1.0, -3.0]


def test_a_name_that_no_part_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(OptionValueError, match=r"names rihgt; the reward has the parts: right\."):
        rescaled([episode({"right": 1.0})], {"rihgt": 1.0}, {})


@pytest.mark.parametrize("wrong", [{"a": float("nan")}, {"a": 0.0}])
def test_weights_that_teach_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="part_weights"):
        TrainOptions(part_weights=wrong)


def agent(**options: Any) -> sayso.RLOO:
    reward = rewards.Sum(
        {
            "long": rewards.Part(rule=lambda prompt, completion: len(completion), weight=0.1),
            "vowels": lambda prompt, completion: sum(c in "aeiou" for c in completion) / 10,
        }
    )
    env = sayso.PromptEnv(prompts=["Say a.", "Say b.", "Say c."], reward=reward)
    return sayso.RLOO(
        "tiny", env, group_size=4, tasks_per_step=2, max_new_tokens=6, lr=1e-2, **options
    )


def weights(found: Any) -> list[float]:
    return [float(p.detach().double().sum()) for p in found.lm.network.parameters()]


@pytest.mark.medium
def test_a_run_that_goes_on_has_the_same_spreads_and_the_same_weights(tmp_path: Path) -> None:
    both = {"part_weights": {"long": 1.0, "vowels": 1.0}, "progress_bar": False}
    whole, parted, plain = agent(), agent(), agent()
    whole.learn(32, run=tmp_path / "whole", **both)
    parted.learn(16, run=tmp_path / "parted", **both)
    again = agent()
    again.learn(32, run=tmp_path / "parted", **both)
    plain.learn(32, run=tmp_path / "plain", progress_bar=False)
    assert whole.last_result is not None
    assert again.last_result is not None
    stats = whole.last_result.progress.part_stats
    assert stats == again.last_result.progress.part_stats
    assert stats["long"]["count"] == 32
    assert weights(whole) == weights(again)
    assert weights(whole) != weights(plain)
    line = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1]
    assert "reward/scale/vowels" in line


@pytest.mark.medium
def test_a_weight_that_is_no_number_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        agent().learn(8, run=tmp_path / "r", part_weights={"long": "much"}, progress_bar=False)


@pytest.mark.medium
def test_dynamic_sampling_looks_at_what_is_learnt_from(tmp_path: Path) -> None:
    """A sum that is always the same has parts that are not."""
    env = sayso.PromptEnv(
        prompts=["Say a.", "Say b.", "Say c."],
        reward=rewards.Sum(
            {
                "odd": lambda prompt, completion: float(len(completion) % 2),
                "even": lambda prompt, completion: 1.0 - float(len(completion) % 2),
            }
        ),
    )
    found = sayso.GRPO("tiny", env, group_size=4, tasks_per_step=2, resample_rounds=2)
    before = weights(found)
    found.learn(8, run=tmp_path / "r", part_weights={"odd": 1.0}, progress_bar=False)
    assert weights(found) != before


@pytest.mark.medium
def test_a_name_that_no_part_has_is_told_at_the_first_episodes(tmp_path: Path) -> None:
    with pytest.raises(OptionValueError, match="names zzz; the reward has the parts: long, vowels"):
        agent().learn(8, run=tmp_path / "r", part_weights={"zzz": 1.0}, progress_bar=False)
