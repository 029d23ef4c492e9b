"""A2C: advantage actor-critic."""

from __future__ import annotations

from collections.abc import Sequence

from sayso.algorithms.anchor import sampling_weight
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
from sayso.algorithms.grading import graded
from sayso.algorithms.options.a2c import A2COptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import RowLoss
from sayso.data.batch import PackedRow
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import reinforce
from sayso.losses.value import value_loss
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class A2C:
    r"""A2C: advantage actor-critic, one synchronous update per batch.

    .. math:: -\frac{1}{N} \sum_{i,t} A_{i,t} \log \pi(y_{i,t})
        + c_V \frac{1}{2T} \sum_{i,t} (V_{i,t} - \hat R_{i,t})^2

    with generalised advantages A, λ-returns R̂ as targets, N episodes and T action tokens. The
    critic is a head on the policy's own trunk. With λ = 1 and no discount the gradient is unbiased
    whatever the critic says; smaller λ trades bias for variance.

    When to use it: episodes of many turns, where one number for a whole episode says too little.

    Source:
        Mnih et al. 2016, arXiv:1602.01783, sec. 4; advantages: Schulman et al. 2016,
        arXiv:1506.02438, eq. 16. Differs in that the policy's part is a sum per episode.

    Tests:
        tests/math/test_enumeration_learners.py, tests/learning/
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: A2COptions,
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
        exp = experience(self.core, kept.episodes)
        if isinstance(exp, Skipped):
            return nothing_to_learn(kept, exp)
        judged = judge(
            self.core, exp, gamma_token=options.gamma_token, gamma_turn=options.gamma_turn,
            lam=options.lam,
        )  # fmt: skip
        if isinstance(judged, Skipped):
            return nothing_to_learn(kept, judged)

        def row_loss_of(minibatch: Minibatch) -> RowLoss:
            advantage = minibatch.align(judged.advantage)
            target = minibatch.align(judged.target)
            extra = extra_terms(
                self.core, minibatch, exp, entropy_coef=options.entropy_coef, per="episode"
            )

            def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
                actor = reinforce(
                    scores.logprob,
                    advantage[number],
                    row.is_action,
                    num_in_step=len(minibatch.indices),
                    weight=sampling_weight(self.core, row, scores),
                )
                critic = value_loss(
                    scores.value_or_raise(),
                    target[number],
                    row.is_action,
                    num_actions_in_step=minibatch.batch.num_actions,
                )
                weighed = Loss(options.value_coef * critic.value, critic.metrics)
                return [actor, weighed, *extra(number, row, scores)]

            return row_loss

        return run_passes(
            self.core, kept, exp, Passes(), row_loss_of, seed=seed,
            want_entropy=options.entropy_coef > 0, want_value=True,
        )  # fmt: skip

    def state(self) -> LearnerState:
        """Weights, critic, optimiser, KL weight."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)
