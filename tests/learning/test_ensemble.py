"""A reward many turns deep: members of an ensemble find it, ε-greedy does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from candidate_cases import candidate_learner, louder

from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.ensemble import EnsembleOptions
from sayso.envs.base import TextEnv
from sayso.envs.registry import source
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import CandidateOptions, SamplingOptions
from sayso.seeds import derive
from sayso.types import Task

DEPTH, PRICE = 10, 0.01
UPDATES, PER_UPDATE = 60, 8
NUMBERS = [f"{prefix}{n}" for prefix in ("row ", " column ") for n in range(DEPTH + 1)]


class DeepSea(TextEnv):
    """Osband et al.'s deep sea: of the 2^N ways down, one has a reward, and begins to cost.

    A word means another direction in every cell, so that no word is good everywhere. Right costs
    ``PRICE`` / N; right all the way earns 1. Who never saw that learns to go left.
    """

    reward_low, reward_high = -PRICE, 1.0

    def __init__(self) -> None:
        self.row = self.column = 0

    def tasks(self, split: str) -> Sequence[Task]:
        """The one dive."""
        task = Task(id="dive", env="test/DeepSea-v0", split=split, payload={"game": "dive"})
        return [task] if split == "train" else []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """At the top, on the left."""
        super().reset(seed=seed)
        self.row = self.column = 0
        return self._told()

    def step(self, action: str) -> Any:
        """Down, and to one side."""
        is_right = (action == "this") == bool(derive(0, "sea", self.row, self.column) % 2)
        self.row += 1
        self.column = max(0, self.column + (1 if is_right else -1))
        is_over = self.row == DEPTH
        found = 1.0 if self.column == DEPTH else 0.0
        shown, info = self._told()
        return shown, found - PRICE / DEPTH * is_right, is_over, False, info

    def _told(self) -> tuple[str, dict[str, Any]]:
        return f"row {self.row} column {self.column}", {"choices": ["this", "that"]}


def model(seed: int) -> Any:
    """A random model with a symbol for each row and column, whose states tell them apart."""
    tiny = TinyOptions(tokens=("this", "that", *NUMBERS), width=32, layers=1, heads=2, context=64)
    return louder(load("tiny", ModelOptions(name="tiny", tiny=tiny), seed=seed))


def dives(explore: str, seed: int, **more: Any) -> tuple[float, int]:
    """Return of the greedy policy in the end, and how often training found the reward."""
    torch.set_num_threads(1)
    options = CandidateDQNOptions(
        tasks_per_step=1, group_size=PER_UPDATE, candidates=CandidateOptions(state="observation"),
        explore=explore, critic_lr=3e-3, updates_per_step=24, target_every=12,
        gamma_turn=1.0, **more,
    )  # type: ignore[arg-type]  # fmt: skip
    made = candidate_learner(
        options, model(seed), sampling=SamplingOptions(max_new_tokens=1), seed=seed
    )
    env, limits, num_found = source(DeepSea()), RolloutLimits(context="turn"), 0

    def play(policy: Any, *path: str | int, group_size: int) -> Any:
        return collect(policy, env.open().tasks("train"), env, group_size=group_size, seed=seed,
                       path=path, limits=limits)  # fmt: skip

    for step in range(UPDATES):
        episodes = play(made.sampler(), "rollout", step, group_size=PER_UPDATE)
        num_found += sum(e.return_ > 0.5 for e in episodes)
        assert not made.update(episodes, seed=derive(seed, "update", step)).skipped
    (last,) = play(made.policy(), "eval", group_size=1)
    return last.return_, num_found


ENSEMBLE = EnsembleOptions(heads=10, prior_scale=1.0, bootstrap=1.0)
EPSILON = {"epsilon_start": 1.0, "epsilon_end": 0.05, "epsilon_decisions": 2400}


@pytest.mark.medium
def test_drawing_a_member_for_each_episode_finds_what_lies_deep_and_epsilon_does_not() -> None:
    earned, num_found = dives("thompson", 0, ensemble=ENSEMBLE)
    assert num_found > 10
    assert earned == pytest.approx(1 - PRICE)
    earned, num_found = dives("epsilon", 0, **EPSILON)
    assert num_found <= 1
    assert earned <= 0


@pytest.mark.slow
@pytest.mark.parametrize("explore", ["thompson", "ucb"])
def test_most_seeds_find_it_with_an_ensemble(explore: str) -> None:
    found = [dives(explore, seed, ensemble=ENSEMBLE)[0] for seed in range(5)]
    print(explore, found)
    assert sum(x > 0.5 for x in found) >= 4
