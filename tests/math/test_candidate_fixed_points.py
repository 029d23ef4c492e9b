"""On a maze that is solved by value iteration, learners over candidates end where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from candidate_cases import MAZE, candidate_learner, cell_of, maze_lm, solve

from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.candidate_sac import CandidateSACOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.data.options import ReplayOptions
from sayso.envs.maze import MOVES, Cell
from sayso.envs.registry import source
from sayso.models.slates import Slate
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import CandidateOptions, SamplingOptions
from sayso.seeds import derive
from sayso.types import Episode

pytestmark = pytest.mark.medium
GAMMA, TEMPERATURE, UPDATES, STEPS = 0.9, 0.5, 30, 25
COMMON: dict[str, Any] = {
    "candidates": CandidateOptions(state="observation"), "replay": ReplayOptions(capacity=0),
    "gamma_turn": GAMMA, "critic_lr": 1e-2, "updates_per_step": STEPS, "draws": 128,
}  # fmt: skip


def trained(options: Any) -> tuple[Any, dict[Slate, Cell]]:
    """A learner after enough steps on episodes of random moves, and the decisions in them."""
    optim = OptimOptions(schedule="linear", total_steps=UPDATES * STEPS)
    made = candidate_learner(
        options, maze_lm(), sampling=SamplingOptions(max_new_tokens=1), optim=optim
    )
    maze = source("sayso/Maze-v0", **MAZE)
    data = collect(made.sampler(), maze.open().tasks("train"), maze, group_size=32, seed=0,
                   path=("data",), limits=RolloutLimits())  # fmt: skip
    for number in range(UPDATES):
        update = made.update(data, seed=derive(0, "update", number))
        assert not update.skipped
    return made, decisions(made, data)


def decisions(made: Any, data: list[Episode]) -> dict[Slate, Cell]:
    found = {}
    for episode in data:
        pairs = [(episode, turn) for turn in range(len(episode.turns))]
        read = made.parts.decisions.transitions(pairs, [1.0] * len(pairs), n_step=1)
        for one, turn in zip(read, episode.turns, strict=True):
            found[one.slate] = cell_of(turn.observation)
    assert len(found) == 6  # three cells, as a first message and as an answer
    return found


def expected(cells: dict[Slate, Cell], temperature: float = 0.0, bonus: float = 0.0) -> np.ndarray:
    solved = solve(GAMMA, temperature=temperature, bonus=bonus)
    return np.array([[solved.q[cell, move] for move in MOVES] for cell in cells.values()])


def test_the_maze_is_solved() -> None:
    solved = solve(GAMMA)
    assert solved.v == pytest.approx({(1, 1): -1.0, (1, 2): 0.0, (1, 3): -1.0})
    assert solved.q[(1, 2), "move up"] == pytest.approx(-1.0)
    assert solved.q[(1, 1), "move left"] == pytest.approx(-1.9)


def test_candidate_dqn_ends_at_the_optimal_values() -> None:
    made, cells = trained(CandidateDQNOptions(**COMMON))
    found = made.parts.table(made.parts.readers.online, list(cells), made.critic)
    truth = expected(cells)
    assert (found.argmax(-1) == truth.argmax(-1)).all()
    assert np.abs(found - truth).max() < 1e-2


def test_the_soft_backup_ends_at_the_soft_values_of_the_uniform_prior() -> None:
    """(1/α) log mean exp(α Q) is the entropy-regularised value less (1/α) log 4 a turn."""
    alpha = 2.0
    made, cells = trained(CandidateDQNOptions(**COMMON, backup="soft", alpha=alpha))
    found = made.parts.table(made.parts.readers.online, list(cells), made.critic)
    truth = expected(cells, 1 / alpha, bonus=-np.log(4) / alpha)
    assert np.abs(found - truth).max() < 1e-2


def test_candidate_sac_ends_at_the_entropy_regularised_optimum() -> None:
    options = CandidateSACOptions(
        **COMMON, temperature=TEMPERATURE, target_entropy=None, target_rate=0.05
    )
    made, cells = trained(options)
    found = made.parts.table(made.parts.readers.online, list(cells), made.critic)
    truth = expected(cells, TEMPERATURE)
    assert np.abs(found - truth).max() < 2e-2
    logits = made.parts.scored(list(cells), made._logits)
    policy = np.exp(logits - np.logaddexp.reduce(logits, -1)[:, None])
    best = np.exp(truth / TEMPERATURE)
    best /= best.sum(-1, keepdims=True)
    assert np.abs(policy - best).sum(-1).max() / 2 < 1e-2


def test_a_tuned_temperature_reaches_its_entropy() -> None:
    share = 0.5
    options = CandidateSACOptions(
        **{**COMMON, "critic_lr": 5e-3}, target_entropy=share, temperature=0.2,
        temperature_lr=3e-2, target_rate=0.05,
    )  # fmt: skip
    made, cells = trained(options)
    logits = made.parts.scored(list(cells), made._logits)
    log_pi = logits - np.logaddexp.reduce(logits, -1)[:, None]
    entropy = -(np.exp(log_pi) * log_pi).sum(-1).mean()
    assert entropy == pytest.approx(share * np.log(4), abs=0.12)
