"""Lists of tasks that break the contract are answered before a model is loaded."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from rollout_fakes import scripted_policy

from sayso.cli.evaluate import first_with_tasks
from sayso.envs.base import TextEnv
from sayso.envs.registry import source
from sayso.errors import EnvContractError, UnknownNameError
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.preflight import preflight, require_sound
from sayso.runs.ledger import episode_to_json
from sayso.types import EndReason, Task


class Listed(TextEnv):
    """Asks the same of every task it is given."""

    max_turns = 1

    def __init__(self, listed: list[Any]) -> None:
        self.listed = listed

    def tasks(self, split: str) -> list[Any]:
        return self.listed if split == "train" else []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return "Say a.", {}

    def step(self, action: str) -> Any:
        return "", float("a" in action), True, False, {}


def task(number: Any, **payload: Any) -> Task:
    return Task(id=number, env="Listed", split="train", payload=payload or {"n": str(number)})


SOUND = [task(f"t{n}") for n in range(8)]


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (task("t2", n=9), "the id 't2' stands for 2 tasks of 'train'"),
        (task(7), "task 5 of 'train' has the id 7 (int)"),
        ({"id": "t9"}, "which is no sayso.Task"),
    ],
)
def test_an_id_that_is_no_name_of_its_own_is_told_before_anything_is_played(
    odd: Any, says: str
) -> None:
    listed = [*SOUND[:5], odd, *SOUND[5:]]
    problems = preflight(source(Listed, listed=listed), seed=0)
    assert len(problems) == 1
    assert says in problems[0]
    assert preflight(source(Listed, listed=SOUND), seed=0) == []


def test_two_tasks_of_one_id_are_a_fault_of_the_environment() -> None:
    policy, engine = scripted_policy()
    with pytest.raises(EnvContractError, match=r"two tasks of one id.*unique"):
        collect(
            policy, [SOUND[0], dataclasses.replace(SOUND[1], id="t0")],
            source(Listed, listed=SOUND),
            group_size=2, seed=0, path=("rollout", 0), limits=RolloutLimits(),
        )  # fmt: skip
    assert not engine.held


def bad_payloads() -> list[tuple[dict[Any, Any], str]]:
    return [
        ({"n": np.int64(1)}, "payload.n: np.int64(1) (int64) is not a JSON value"),
        ({"rows": [1, {2}]}, "payload.rows[1]: {2} (set) is not a JSON value"),
        ({None: 1}, "payload: {None: 1} (dict) is not a JSON value"),
        ({"x": float("nan")}, "payload.x: nan (float) is not a JSON value"),
    ]


@pytest.mark.parametrize(("payload", "says"), bad_payloads())
def test_a_payload_that_cannot_be_written_down_is_told_before_anything_is_played(
    payload: dict[Any, Any], says: str
) -> None:
    bad = dataclasses.replace(SOUND[0], id="bad", payload=payload)
    problems = preflight(source(Listed, listed=[*SOUND[:5], bad, *SOUND[5:]]), seed=0)
    assert len(problems) == 1
    assert f"task 'bad' of 'train', {says}" in problems[0]


def test_a_payload_that_nobody_looked_at_costs_its_episodes_and_not_the_run() -> None:
    policy, engine = scripted_policy()
    bad = dataclasses.replace(SOUND[0], id="bad", payload={"n": np.int64(1)})
    episodes = collect(
        policy, [SOUND[0], bad, SOUND[1]], source(Listed, listed=SOUND),
        group_size=2, seed=0, path=("rollout", 0), limits=RolloutLimits(),
    )  # fmt: skip
    assert not engine.held
    kinds = [e.failure.kind if e.failure else "" for e in episodes]
    assert kinds == ["", "", "contract", "contract", "", ""]
    assert "payload.n: np.int64(1) (int64) is not a JSON value" in episodes[2].failure.message
    assert all(episode_to_json(e) for e in episodes)
    without = collect(
        policy, [SOUND[0], SOUND[1]], source(Listed, listed=SOUND),
        group_size=2, seed=0, path=("rollout", 0), limits=RolloutLimits(),
    )  # fmt: skip
    assert [e for e in episodes if e.end is not EndReason.FAILED] == without


class TrainOnly(Listed):
    """Knows its own splits only, in the style of a table of them."""

    def tasks(self, split: str) -> Any:
        return {"train": self.listed}[split]


def test_a_split_that_tasks_raises_for_does_not_exist() -> None:
    env = TrainOnly(SOUND)
    assert env.require_tasks("train") == SOUND
    for split in ("test", "held_out"):
        with pytest.raises(UnknownNameError) as raised:
            env.require_tasks(split, where="mine:Env")
        said = str(raised.value)
        assert f"mine:Env, split '{split}': has no tasks: tasks('{split}') raises KeyError" in said
        assert "test_task_lists.py, line" in said
        assert "Splits with tasks: train (8)." in said
    told = preflight(source(TrainOnly, listed=SOUND), seed=0, split="held_out")
    assert "Splits with tasks: train (8)." in told[0]


def test_a_split_of_a_similar_name_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        Listed(SOUND).require_tasks("trian")


def test_eval_looks_for_a_split_that_is_there() -> None:
    assert first_with_tasks(source(TrainOnly, listed=SOUND)) == "train"


def test_a_mistyped_split_and_an_environment_without_text_are_told_in_their_own_words() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'train'") as raised:
        require_sound(source(Listed, listed=SOUND), seed=0, split="trian")
    assert "does not play" not in str(raised.value)
    with pytest.raises(EnvContractError, match="which is not text") as refused:
        require_sound(source("CartPole-v1"), seed=0)
    assert str(refused.value).count("ENV-001") == 1
    assert "Box(4,)" in str(refused.value)
