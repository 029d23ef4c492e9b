"""PPO: proximal policy optimisation with a critic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.core import Core
from sayso.algorithms.critic import context_values, judge
from sayso.algorithms.epochs import (
    Minibatch,
    Passes,
    experience,
    extra_terms,
    nothing_to_learn,
    run_passes,
)
from sayso.algorithms.grading import Numbers, graded
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.ppo import PPOOptions
from sayso.algorithms.step import RowLoss
from sayso.credit.baseline import whitened
from sayso.data.batch import PackedRow
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import clipped_surrogate
from sayso.losses.value import value_loss
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class PPO:
    r"""PPO: proximal policy optimisation with a critic.

    .. math:: -\frac{1}{T} \sum_{i,t} \min(\rho A,\; \mathrm{clip}(\rho, 1-c_{low}, 1+c_{high}) A)
        + c_V L_V

    over T action tokens, with generalised advantages that are carried across observation tokens,
    end in 0 where the task ended and bootstrap from the critic where it was cut off.

    When to use it: many turns, rewards on the way, or few attempts per task; it uses a batch
    several times. With λ = 1, no whitening and one epoch its gradient is A2C's, divided by tokens.

    Source:
        Schulman et al. 2017, arXiv:1707.06347, eq. 7 and 9; arXiv:1506.02438, eq. 16.

    Tests:
        tests/math/test_enumeration_learners.py, tests/learning/
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: PPOOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # minibatches are ordered by the seed of each update
        self.lm, self.options = lm, options
        self.core = Core(
            lm, engine, sampling=sampling, optim=optim, kl=kl, critic_lr=options.critic_lr
        )
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """The policy itself: sampling is the exploration."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same: a policy gradient trains the policy it deploys."""
        return self.core.policy()

    def action_values(self, episode: Episode) -> ActionValues:
        """What the value head says of the context before each action token."""
        options = self.options
        return context_values(
            self.core, episode, gamma_token=options.gamma_token, gamma_turn=options.gamma_turn
        )

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Credit, batch, loss, step."""
        options, kept = self.options, graded(episodes)
        if not kept.episodes:
            return nothing_to_learn(kept)
        passes = Passes(
            epochs=options.epochs, minibatches=options.minibatches, target_kl=options.target_kl
        )
        exp = experience(self.core, kept.episodes, passes)
        if isinstance(exp, Skipped):
            return nothing_to_learn(kept, exp)
        judged = judge(
            self.core, exp, gamma_token=options.gamma_token, gamma_turn=options.gamma_turn,
            lam=options.lam,
        )  # fmt: skip
        if isinstance(judged, Skipped):
            return nothing_to_learn(kept, judged)
        credit = _whitened(judged.advantage) if options.whiten == "batch" else judged.advantage

        def row_loss_of(minibatch: Minibatch) -> RowLoss:
            advantage, target = minibatch.align(credit), minibatch.align(judged.target)
            before, anchor = minibatch.align(judged.value), minibatch.anchors(self.core, exp)
            extra = extra_terms(self.core, minibatch, exp, entropy_coef=options.entropy_coef)
            num_actions = minibatch.batch.num_actions

            def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
                start = anchor(number, row, scores)
                actor = clipped_surrogate(
                    scores.logprob,
                    start.logprob,
                    advantage[number],
                    row.is_action,
                    clip_low=options.clip_low,
                    clip_high=options.clip_high,
                    num_actions_in_step=num_actions,
                    weight=start.weight,
                )
                critic = value_loss(
                    scores.value_or_raise(),
                    target[number],
                    row.is_action,
                    num_actions_in_step=num_actions,
                    value_sampled=before[number] if options.value_clip else None,
                    clip=options.value_clip,
                )
                weighed = Loss(options.value_coef * critic.value, critic.metrics)
                return [actor, weighed, *extra(number, row, scores)]

            return row_loss

        return run_passes(
            self.core, kept, exp, passes, row_loss_of, seed=seed,
            want_entropy=options.entropy_coef > 0, want_value=True,
        )  # fmt: skip

    def state(self) -> LearnerState:
        """Weights, critic, optimiser, KL weight."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)


def _whitened(advantage: list[Numbers]) -> list[Numbers]:
    """Mean 0 and spread 1 over every action token of the batch."""
    flat = np.concatenate(advantage)
    if len(flat) == 1:
        return advantage
    return np.split(whitened(flat), np.cumsum([len(a) for a in advantage])[:-1])
