"""AWR: advantage-weighted regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.core import Core
from sayso.algorithms.critic import context_values, judge
from sayso.algorithms.epochs import Experience, nothing_to_learn
from sayso.algorithms.grading import graded, token_rewards
from sayso.algorithms.imitate import imitate
from sayso.algorithms.options.awr import AWROptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import RowLoss, as_update
from sayso.data.batch import Batch, PackedRow
from sayso.losses.imitation import imitation
from sayso.losses.loss import Loss
from sayso.losses.value import value_loss
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class AWR:
    r"""AWR: advantage-weighted regression on stored episodes.

    .. math:: -\frac{1}{T} \sum_{i,t} \min\bigl(e^{(R_{i,t} - V_{i,t}) / \beta}, w_{max}\bigr)
        \log \pi(y_{i,t}) + c_V \frac{1}{2T} \sum_{i,t} (V_{i,t} - R_{i,t})^2

    with the discounted return R from a token on, a value head V, and T action tokens. A cut-off
    episode bootstraps from V of its final context. Unclipped, V only scales all weights of a
    state alike, and the minimum is the policy :math:`\propto \pi_b\, E[e^{R/\beta} \mid y]`:
    in a deterministic language the best trade of return against the distance from the data.

    When to use it: stored episodes of mixed quality with rewards, where ``filtered_bc`` would
    throw too much away.

    Source:
        Peng et al. 2019, arXiv:1910.00177, alg. 1. Differs: Monte-Carlo returns instead of TD(λ),
        one critic step per policy step, the data is one stored set.

    Tests:
        tests/math/test_imitation.py, tests/learning/test_imitation.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: AWROptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # nothing here is random
        self.lm, self.options = lm, options
        self.core = Core(
            lm, engine, sampling=sampling, optim=optim, kl=kl, critic_lr=options.critic_lr
        )
        self.plan = RolloutPlan(tasks_per_step=1, group_size=1)

    def sampler(self) -> Policy:
        """The policy itself."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same."""
        return self.core.policy()

    def action_values(self, episode: Episode) -> ActionValues:
        """Value of the context before each token, to whoever acted in the data."""
        options = self.options
        return context_values(
            self.core, episode, gamma_token=options.gamma_token, gamma_turn=options.gamma_turn
        )

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Values, weights, one step."""
        del seed
        options, kept = self.options, graded(episodes)
        if not kept.episodes:
            return nothing_to_learn(kept)
        rewards = [token_rewards(e) for e in kept.episodes]
        exp = Experience(episodes=kept.episodes, rewards=rewards, logprob_ref=None, metrics={})
        judged = judge(
            self.core, exp, gamma_token=options.gamma_token, gamma_turn=options.gamma_turn, lam=1.0
        )
        if isinstance(judged, Skipped):
            return nothing_to_learn(kept, judged)
        limit = math.log(options.max_weight)
        weights = [np.exp(np.minimum(a / options.beta, limit)) for a in judged.advantage]

        def loss_of(batch: Batch) -> RowLoss:
            weight, target = batch.align(weights), batch.align(judged.target)
            count = float(batch.num_actions)

            def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
                actor = imitation(
                    scores.logprob, row.is_action, num_in_step=count, weight=weight[number]
                )
                critic = value_loss(
                    scores.value_or_raise(), target[number], row.is_action,
                    num_actions_in_step=count,
                )  # fmt: skip
                return [actor, Loss(options.value_coef * critic.value, critic.metrics)]

            return row_loss

        outcome = imitate(self.core, kept.episodes, loss_of, want_value=True)
        return as_update([outcome], metrics=kept.metrics, warnings=kept.warnings)

    def state(self) -> LearnerState:
        """Weights, critic, optimiser."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)
