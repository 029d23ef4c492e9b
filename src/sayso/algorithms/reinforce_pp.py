"""REINFORCE++: clipped REINFORCE with advantages whitened over the whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
from sayso.algorithms.options.reinforce_pp import ReinforcePPOptions
from sayso.algorithms.step import RowLoss
from sayso.credit.baseline import whitened
from sayso.credit.returns import reward_to_go
from sayso.data.batch import PackedRow
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import clipped_surrogate
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class ReinforcePP:
    r"""REINFORCE++: clipped REINFORCE with advantages whitened over the whole batch.

    The return from each token on (KL, if any, paid token by token in the reward) is shifted to mean
    0 and scaled to spread 1 over *all* tokens of the step, then PPO's clipped surrogate is
    maximised, averaged over tokens. No critic, no groups needed.

    Biased: whitening divides by a spread that the returns themselves decide. When to use it: many
    tasks, few attempts at each, several passes per batch.

    Source:
        Hu 2025, arXiv:2501.03262, eq. 4 to 7. Differs in that the loss is normalised by the action
        tokens of the whole step.

    Tests:
        tests/math/test_enumeration_learners.py, tests/learning/
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: ReinforcePPOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # minibatches are ordered by the seed of each update
        self.lm, self.options = lm, options
        self.core = Core(lm, engine, sampling=sampling, optim=optim, kl=kl)
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
        options, kept = self.options, graded(episodes)
        if not kept.episodes or sum(e.num_action_tokens for e in kept.episodes) == 1:
            return nothing_to_learn(kept)
        passes = Passes(epochs=options.epochs, minibatches=options.minibatches)
        exp = experience(self.core, kept.episodes, passes)
        if isinstance(exp, Skipped):
            return nothing_to_learn(kept, exp)
        to_go = [
            reward_to_go(rewards, turn_ends=turn_ends(e))
            for rewards, e in zip(exp.rewards, exp.episodes, strict=True)
        ]
        edges = np.cumsum([len(numbers) for numbers in to_go])[:-1]
        credit: list[Numbers] = np.split(whitened(np.concatenate(to_go)), edges)

        def row_loss_of(minibatch: Minibatch) -> RowLoss:
            advantage, anchor = minibatch.align(credit), minibatch.anchors(self.core, exp)
            extra = extra_terms(self.core, minibatch, exp, entropy_coef=options.entropy_coef)

            def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
                start = anchor(number, row, scores)
                loss = clipped_surrogate(
                    scores.logprob,
                    start.logprob,
                    advantage[number],
                    row.is_action,
                    clip_low=options.clip_low,
                    clip_high=options.clip_high,
                    num_actions_in_step=minibatch.batch.num_actions,
                    weight=start.weight,
                )
                return [loss, *extra(number, row, scores)]

            return row_loss

        return run_passes(
            self.core, kept, exp, passes, row_loss_of, seed=seed,
            want_entropy=options.entropy_coef > 0,
        )  # fmt: skip

    def state(self) -> LearnerState:
        """Weights, optimiser, KL weight."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)
