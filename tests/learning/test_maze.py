"""A maze of a few cells: many turns, rewards on the way, cut-off episodes; the optimum is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner_cases import learner

from sayso.algorithms.options.optim import OptimOptions
from sayso.envs.maze import MazeEnv
from sayso.envs.registry import source
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.types import Context

TOKENS = (
    "move up", "move down", "move left", "move right", "Goal: ", "You: ", "Walls: ", "above",
    "below", "left", "right", "none", "Success.", ", ", ". ", ".", "\n", "0", "1", "2", "3", "4",
)  # fmt: skip
LAYOUT: dict[str, Any] = {
    "layout": ["11111", "10001", "11011", "11111"], "goal": [2, 2], "starts": "all",
    "max_moves": 6,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"entropy_coef": 0.01, "minibatches": 2, "critic_lr": 1e-2},
    "grpo": {"entropy_coef": 0.03},
}
"""Without an entropy bonus a start whose attempts all fail alike is given up."""
STEPS = {"ppo": 100, "grpo": 150}


def optimum() -> float:
    """Mean best return over the starts, by breadth-first search."""
    env = MazeEnv(**LAYOUT)
    best = [env.optimal_return(cell) for cell in env.start_cells]
    return sum(best) / len(best)


def train_maze(name: str, seed: int, context: Context = "episode") -> tuple[float, float]:
    """Mean returns of 48 episodes before and after training; a turn by itself needs little room."""
    torch.set_num_threads(1)
    maze = source("sayso/Maze-v0", **LAYOUT)
    tiny = TinyOptions(tokens=TOKENS, width=32, layers=1, heads=2,
                       context=160 if context == "episode" else 32)  # fmt: skip
    lm = load("tiny", ModelOptions(name="tiny", tiny=tiny), seed=seed)
    made = learner(name, lm, sampling=SamplingOptions(max_new_tokens=1),
                   optim=OptimOptions(lr=3e-3), tasks_per_step=3, group_size=16,
                   **SETTINGS[name])  # fmt: skip
    tasks = maze.open().tasks("train")

    def play(*path: str | int) -> Any:
        return collect(made.sampler(), tasks, maze, group_size=16, seed=seed, path=path,
                       limits=RolloutLimits(context=context))  # fmt: skip

    def mean_return(*path: str | int) -> float:
        returns = [episode.return_ for episode in play(*path)]
        return sum(returns) / len(returns)

    before = mean_return("eval", "before")
    for step in range(STEPS[name]):
        update = made.update(play("rollout", step), seed=derive(seed, "update", step))
        assert update.fatal is None
        assert not update.skipped
    return before, mean_return("eval", "after")


def test_the_optimum_of_the_maze_is_known() -> None:
    assert optimum() == pytest.approx((-1 - 1 + 0) / 3)


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("name", list(SETTINGS))
def test_two_seeds_learn_the_maze(name: str, seed: int) -> None:
    before, after = train_maze(name, seed)
    assert before < -5
    assert after > optimum() - 0.5


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, 2])
def test_the_latest_observation_is_enough_to_learn_the_maze(seed: int) -> None:
    before, after = train_maze("ppo", seed, "turn")
    assert before < -5
    assert after > optimum() - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETTINGS))
def test_nine_of_ten_seeds_learn_the_maze(name: str) -> None:
    found = [train_maze(name, seed)[1] for seed in range(10)]
    print(name, " ".join(f"{value:.2f}" for value in found), f"optimum {optimum():.2f}")
    assert sum(value > optimum() - 0.5 for value in found) >= 9
