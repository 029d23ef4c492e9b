"""RLOO: REINFORCE with leave-one-out baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from sayso.algorithms.grading import by_group, graded, spread
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.rloo import RLOOOptions
from sayso.algorithms.step import RowLoss
from sayso.credit.group import leave_one_out
from sayso.data.batch import PackedRow
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import reinforce
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class RLOO:
    r"""REINFORCE with leave-one-out baselines: the plain, unbiased choice.

    .. math:: \nabla J \approx \frac{1}{BG} \sum_{i} \Big(R_i - \frac{1}{G-1}\sum_{j \ne i} R_j\Big)
        \nabla \log \pi(y_i)

    over G attempts at each of B tasks, log-probability summed over all action tokens of an episode.
    With ``kl.place = "reward"`` R is the return minus β times the summed k1 estimate, and the
    gradient is exactly that of J − β KL.

    When to use it: first. It has no bias, no critic and few settings; one update per batch.

    Source:
        Ahmadian et al. 2024, arXiv:2402.14740, eq. 8; Kool et al. 2019. Differs in nothing.

    Tests:
        tests/math/test_enumeration_learners.py, tests/learning/
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: RLOOOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # nothing here is random
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
        kept = graded(episodes, min_group=2, train_on=self.options.train_on)
        if not kept.episodes:
            return nothing_to_learn(kept)
        exp = experience(self.core, kept.episodes)
        if isinstance(exp, Skipped):
            return nothing_to_learn(kept, exp)
        advantages = by_group(exp.episodes, exp.returns(), leave_one_out)
        credit = spread(exp.episodes, advantages)

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

        return run_passes(
            self.core, kept, replace(exp, credit=credit), Passes(), row_loss_of, seed=seed,
            want_entropy=self.options.entropy_coef > 0,
        )  # fmt: skip

    def state(self) -> LearnerState:
        """Weights, optimiser, KL weight."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)
