"""Multi-turn estimators against the exact gradient of a two-turn decision process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sayso.credit.gae import gae
from sayso.credit.group import leave_one_out, leave_one_out_by_turn
from sayso.losses.policy_gradient import reinforce


@dataclass(frozen=True)
class Path:
    """One way an episode can go: (state, action, reward) by turn, and the environment's chance."""

    turns: tuple[tuple[int, int, float], ...]
    chance: float

    @property
    def rewards(self) -> list[float]:
        return [reward for _, _, reward in self.turns]


def paths() -> list[Path]:
    """Three states of two actions. Action 1 in state 0 ends the episode half of the time."""
    second = {1: (0.7, -0.4), 2: (1.5, 0.2)}
    found = [Path(((0, 1, 0.9),), 0.5)]
    for action, reward, state, chance in (
        (0, -0.3, 1, 0.8), (0, -0.3, 2, 0.2), (1, 0.9, 2, 0.5),
    ):  # fmt: skip
        found += [
            Path(((0, action, reward), (state, last, second[state][last])), chance)
            for last in range(2)
        ]
    return found


PATHS = paths()
Credit = Callable[[Sequence[Sequence[float]]], list[list[float]]]


def log_policy() -> Tensor:
    return torch.tensor([[0.2, -0.5], [1.0, 0.3], [-0.7, 0.1]], dtype=torch.float64)


def probabilities(logits: Tensor) -> Tensor:
    logprob = logits.log_softmax(-1)
    return torch.stack(
        [
            path.chance * torch.stack([logprob[s, a] for s, a, _ in path.turns]).sum().exp()
            for path in PATHS
        ]
    )


def oracle(logits: Tensor) -> Tensor:
    returns = torch.tensor([sum(path.rewards) for path in PATHS], dtype=torch.float64)
    return torch.autograd.grad((probabilities(logits) * returns).sum(), logits)[0]


def expectation(logits: Tensor, credit: Credit, group_size: int) -> Tensor:
    """Expected ascent direction over all groups; each turn is one token here."""
    chances = probabilities(logits).tolist()
    places: list[tuple[int, int]] = []
    advantages: list[float] = []
    weights: list[float] = []
    for group in itertools.product(range(len(PATHS)), repeat=group_size):
        chance = 1.0
        for member in group:
            chance *= chances[member]
        rows = credit([PATHS[member].rewards for member in group])
        for member, row in zip(group, rows, strict=True):
            places += [(state, action) for state, action, _ in PATHS[member].turns]
            advantages += row
            weights += [chance] * len(row)
    states, actions = zip(*places, strict=True)
    loss = reinforce(
        logits.log_softmax(-1)[list(states), list(actions)],
        torch.tensor(advantages, dtype=torch.float64),
        torch.ones(len(advantages), dtype=torch.bool),
        num_in_step=float(group_size),
        weight=torch.tensor(weights, dtype=torch.float64),
    )
    return -torch.autograd.grad(loss.value, logits)[0]


def by_episode(rewards: Sequence[Sequence[float]]) -> list[list[float]]:
    numbers = leave_one_out([sum(row) for row in rewards])
    return [[number] * len(row) for number, row in zip(numbers, rewards, strict=True)]


def only_survivors(rewards: Sequence[Sequence[float]]) -> list[list[float]]:
    """A per-turn baseline that subtracts the mean of those still playing, oneself included."""
    result = [[0.0] * len(row) for row in rewards]
    for turn in range(2):
        alive = [index for index, row in enumerate(rewards) if len(row) > turn]
        to_go = [sum(rewards[index][turn:]) for index in alive]
        for index, value in zip(alive, to_go, strict=True):
            result[index][turn] = value - sum(to_go) / len(to_go)
    return result


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def test_paths_are_all_the_episodes_there_are() -> None:
    assert probabilities(log_policy()).sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("group_size", [2, 3])
@pytest.mark.parametrize("credit", [leave_one_out_by_turn, by_episode])
def test_row_38_multi_turn_group_baselines_are_unbiased(credit: Credit, group_size: int) -> None:
    logits = log_policy().requires_grad_()
    assert error(expectation(logits, credit, group_size), oracle(logits)) < 1e-8


def test_row_38_a_baseline_of_survivors_that_includes_oneself_is_biased() -> None:
    """The shape reported for a peer: nothing is learned by the last one standing."""
    logits = log_policy().requires_grad_()
    step = expectation(logits, only_survivors, 2)
    assert error(step, oracle(logits)) > 0.1
    assert error(2 * step, oracle(logits)) > 0.05, "and no constant factor repairs it"


def test_row_38_gae_over_turns_is_unbiased_with_lambda_one() -> None:
    logits = log_policy().requires_grad_()

    def critic(rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        return [
            gae(
                row, [0.4, -1.0][: len(row)], final_value=0.0, turn_ends=[True] * len(row)
            ).advantages.tolist()
            for row in rewards
        ]

    assert error(expectation(logits, critic, 1), oracle(logits)) < 1e-8
