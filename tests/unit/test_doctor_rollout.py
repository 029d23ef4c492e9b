"""The doctor plays what training would play: its split, its limits, though only a few turns."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from learner_cases import learner

import sayso
from sayso.envs.registry import source
from sayso.envs.tinylang import TinyLangEnv
from sayso.rollout.limits import RolloutLimits
from sayso.training import check
from sayso.types import Task


class EasyOnly(TinyLangEnv):
    """Has tasks in a split of its own, and in no other."""

    def tasks(self, split: str) -> list[Task]:
        known = super().tasks("train") if split == "easy" else []
        return [dataclasses.replace(task, split="easy") for task in known]


@pytest.mark.parametrize(("max_turns", "played"), [(None, 8), (3, 3), (30, 8)])
def test_the_runs_own_limits_hold(
    max_turns: int | None, played: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, RolloutLimits]] = []
    real = check.collect

    def spy(policy: Any, tasks: Any, *args: Any, limits: RolloutLimits, **rest: Any) -> Any:
        seen.append((tasks, limits))
        return real(policy, tasks, *args, limits=RolloutLimits(), **rest)

    monkeypatch.setattr(check, "collect", spy)
    limits = RolloutLimits(max_turns=max_turns, env_timeout_s=1.0, max_reward=7.0, num_workers=2)
    episodes = check.check_rollout(
        learner("rloo"), source(EasyOnly), 0, split="easy", limits=limits
    )
    assert episodes
    ((_, used),) = seen
    assert used == RolloutLimits(max_turns=played, env_timeout_s=1.0, max_reward=7.0, num_workers=2)


def test_the_half_of_an_adapter_that_cannot_move_yet_is_explained() -> None:
    agent = sayso.RLOO("tiny", "sayso/TinyLang-v0", lora={"rank": 2}, group_size=16)
    episodes = check.check_rollout(
        agent.learner, agent.source, 0, split="train", limits=RolloutLimits(max_turns=1)
    )
    rewarded = [
        dataclasses.replace(e, turns=(dataclasses.replace(e.turns[0], reward=float(n % 2)),))
        for n, e in enumerate(episodes)
    ]
    told = check.check_update(agent.learner, rewarded)
    assert "one has no gradient before the first step" in told
