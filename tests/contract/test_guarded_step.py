"""Every learner steps through one guarded step, where the kill tests can cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from learner_cases import built, mixed_batch, same_bits, weights

from sayso.algorithms.base import Skipped
from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.candidate_sac import CandidateSACOptions
from sayso.algorithms.options.filtered_bc import FilteredBCOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.ppo import PPOOptions
from sayso.algorithms.options.q_sharp import QSharpOptions
from sayso.algorithms.options.token_dqn import TokenDQNOptions
from sayso.algorithms.step import StepOutcome, until_refused
from sayso.runs import failpoints
from sayso.runs.failpoints import Failpoint, FailpointError

MADE: dict[str, Any] = {
    "archer": ArCHerOptions(critic_updates=2),
    "archer_copy": ArCHerOptions(critic_updates=2, trunk="copy"),
    "candidate_dqn": CandidateDQNOptions(draws=8),
    "candidate_sac": CandidateSACOptions(draws=8),
    "filtered_bc": FilteredBCOptions(),
    "offline_archer": OfflineArCHerOptions(critic_updates=2),
    "ppo": PPOOptions(),
    "q_sharp": QSharpOptions(returns="histogram", low=-1.0, high=3.0, bins=9),
    "token_dqn": TokenDQNOptions(),
}
"""The archers in their first updates, in which only the critic learns."""


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    torch.set_num_threads(1)
    failpoints.disarm()
    yield
    failpoints.disarm()


def learner_of(name: str) -> Any:
    return built(MADE[name], optim=OptimOptions(lr=1e-2, micro_batch_tokens=20))


@pytest.mark.parametrize("name", list(MADE))
def test_each_part_of_each_step_passes_both_failpoints(name: str) -> None:
    made = learner_of(name)
    episodes = mixed_batch(made.lm)
    failpoints.count_hits()
    update = made.update(episodes, seed=0)
    hits = failpoints.num_hits()
    assert update.num_optimiser_steps > 0
    assert hits[Failpoint.MID_OPTIMISER] == update.num_optimiser_steps
    assert hits[Failpoint.FORWARD] == hits[Failpoint.BACKWARD] >= update.num_optimiser_steps


@pytest.mark.parametrize("name", list(MADE))
def test_an_error_between_the_parts_of_a_step_changes_no_weight(name: str) -> None:
    made = learner_of(name)
    episodes, before = mixed_batch(made.lm), weights(made)
    failpoints.arm("train.backward:1:raise")
    with pytest.raises(FailpointError):
        made.update(episodes, seed=0)
    assert same_bits(weights(made), before)


@pytest.mark.parametrize(
    ("last", "num"),
    [
        (StepOutcome(skipped=Skipped(reason="no number")), 2),
        (StepOutcome(is_too_far=True), 2),
        (StepOutcome(), 3),
    ],
)
def test_no_step_is_taken_behind_one_that_was_refused(last: StepOutcome, num: int) -> None:
    begun: list[int] = []

    def step(number: int) -> StepOutcome:
        begun.append(number)
        return last if number == 1 else StepOutcome()

    outcomes = until_refused(map(step, range(3)))
    assert len(outcomes) == len(begun) == num
    assert outcomes[1] is last
