"""BC: behavioural cloning, also known as supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from sayso.algorithms.base import LearnerState, RolloutPlan, Update
from sayso.algorithms.core import Core
from sayso.algorithms.grpo_losses import token_share
from sayso.algorithms.imitate import imitate
from sayso.algorithms.options.bc import BCOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import RowLoss, as_update
from sayso.data.batch import Batch, PackedRow
from sayso.losses.imitation import imitation
from sayso.losses.loss import Loss
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class BC:
    r"""BC: behavioural cloning, supervised fine-tuning on stored episodes.

    .. math:: -\frac{1}{T} \sum_{i,t} \log \pi(y_{i,t}) \quad\text{or}\quad
        -\frac{1}{N} \sum_i \frac{1}{|y_i|} \sum_t \log \pi(y_{i,t})

    over the T action tokens of N episodes; observations are read and not learnt. Rewards play no
    part. At its minimum the policy is the one that wrote the data.

    When to use it: to start from demonstrations, or as the least that any other method must beat.

    Source:
        Pomerleau 1989; Ouyang et al. 2022, arXiv:2203.02155, step 1.

    Tests:
        tests/math/test_imitation.py, tests/learning/test_imitation.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: BCOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # nothing here is random
        self.lm, self.options = lm, options
        self.core = Core(lm, engine, sampling=sampling, optim=optim, kl=kl)
        self.plan = RolloutPlan(tasks_per_step=1, group_size=1)

    def sampler(self) -> Policy:
        """The policy itself."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same."""
        return self.core.policy()

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """One step towards what was done, graded or not."""
        del seed
        said = [e for e in episodes if e.num_action_tokens]
        if not said:
            return Update(metrics={}, num_optimiser_steps=0)
        return as_update([imitate(self.core, said, self._loss_of)])

    def _loss_of(self, batch: Batch) -> RowLoss:
        def row_loss(_: int, row: PackedRow, scores: Scores) -> list[Loss]:
            if self.options.per == "token":
                count, share = float(batch.num_actions), None
            else:
                count, share = float(len(batch.episodes)), token_share(row, batch)
            return [imitation(scores.logprob, row.is_action, num_in_step=count, weight=share)]

        return row_loss

    def state(self) -> LearnerState:
        """Weights and optimiser."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)
