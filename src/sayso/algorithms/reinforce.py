"""REINFORCE, with no baseline, the batch mean or a moving average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sayso.algorithms.anchor import sampling_weight
from sayso.algorithms.base import LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.core import Core
from sayso.algorithms.epochs import (
    Minibatch,
    Passes,
    experience,
    extra_terms,
    nothing_to_learn,
    run_passes,
)
from sayso.algorithms.grading import Numbers, graded, turn_ends
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.reinforce import ReinforceOptions
from sayso.algorithms.step import RowLoss
from sayso.credit.baseline import MovingAverage
from sayso.credit.returns import reward_to_go
from sayso.data.batch import PackedRow
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import reinforce
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class Reinforce:
    r"""REINFORCE, with no baseline, the batch mean or a moving average.

    .. math:: \nabla J \approx \frac{1}{N} \sum_i \sum_t (G_{i,t} - b)\, \nabla \log \pi(y_{i,t})

    where G is what an episode earns from action token t on. When to use it: where every task can be
    tried only once (no groups), or to see what a baseline is worth.

    Source:
        Williams 1992, "Simple statistical gradient-following algorithms", eq. 11.

    Tests:
        tests/math/test_enumeration_learners.py, tests/learning/
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: ReinforceOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # nothing here is random
        self.lm, self.options = lm, options
        self.core = Core(lm, engine, sampling=sampling, optim=optim, kl=kl)
        self.average = MovingAverage(options.decay)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """The policy itself: sampling is the exploration."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same: a policy gradient trains the policy it deploys."""
        return self.core.policy()

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Credit, batch, loss, step."""
        kept = graded(episodes)
        if not kept.episodes:
            return nothing_to_learn(kept)
        exp = experience(self.core, kept.episodes)
        if isinstance(exp, Skipped):
            return nothing_to_learn(kept, exp)
        baseline = self._baseline(exp.returns())
        credit: list[Numbers] = [
            reward_to_go(rewards, turn_ends=turn_ends(e), gamma_turn=self.options.gamma_turn)
            - baseline
            for rewards, e in zip(exp.rewards, exp.episodes, strict=True)
        ]

        def row_loss_of(minibatch: Minibatch) -> RowLoss:
            advantage = minibatch.align(credit)
            extra = extra_terms(
                self.core, minibatch, exp, entropy_coef=self.options.entropy_coef, per="episode"
            )

            def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
                loss = reinforce(
                    scores.logprob,
                    advantage[number],
                    row.is_action,
                    num_in_step=len(minibatch.indices),
                    weight=sampling_weight(self.core, row, scores),
                )
                return [loss, *extra(number, row, scores)]

            return row_loss

        update = run_passes(
            self.core, kept, replace(exp, credit=credit), Passes(), row_loss_of, seed=seed,
            want_entropy=self.options.entropy_coef > 0,
        )  # fmt: skip
        self.average.update(exp.returns())
        return update

    def _baseline(self, returns: Sequence[float]) -> float:
        """What every reward-to-go is compared with."""
        if self.options.baseline == "batch_mean":
            return float(np.mean(returns))
        return self.average.value if self.options.baseline == "moving_average" else 0.0

    def state(self) -> LearnerState:
        """Weights, optimiser, KL weight, moving average."""
        return self.core.state(average=self.average.state())

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.average.load_state(self.core.load_state(state)["average"])
