"""Filtered behavioural cloning: imitate the best episodes only."""

from __future__ import annotations

from collections.abc import Sequence

from sayso.algorithms.base import LearnerState, RolloutPlan, Update
from sayso.algorithms.core import Core
from sayso.algorithms.epochs import nothing_to_learn
from sayso.algorithms.grading import graded
from sayso.algorithms.imitate import imitate
from sayso.algorithms.options.filtered_bc import FilteredBCOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.recall import Memory
from sayso.algorithms.step import RowLoss, StepOutcome, as_update, until_refused
from sayso.credit.best import is_best
from sayso.data.batch import Batch, PackedRow
from sayso.losses.imitation import imitation
from sayso.losses.loss import Loss
from sayso.metrics import Mean
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.seeds import generator
from sayso.types import Episode


class FilteredBC:
    r"""FilteredBC: behavioural cloning of the best episodes, stored or its own.

    .. math:: -\frac{1}{T} \sum_{i \in \text{best}} \sum_t \log \pi(y_{i,t})

    over the T action tokens of the episodes drawn. On a stored data set the best of the whole of
    it are found once, and each step takes a batch of them: at the minimum the policy is the data's
    own, given that the return is among the best. Without one the policy plays, remembers its
    recent episodes, and imitates the best of those: a ratchet, known as expert iteration or
    rejection sampling fine-tuning.

    When to use it: a baseline that is hard to beat where good episodes are not rare; an episode
    that was lucky is imitated like one that was good.

    Source:
        "%BC": Chen et al. 2021, arXiv:2106.01345; online: Snell et al. and Abdulhai et al. 2023,
        arXiv:2311.18232; Gulcehre et al. 2023, arXiv:2308.08998.

    Tests:
        tests/math/test_imitation.py, tests/learning/test_imitation.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: FilteredBCOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # draws are keyed by what update is given
        self.lm, self.options = lm, options
        self.core = Core(lm, engine, sampling=sampling, optim=optim, kl=kl)
        self.memory = Memory(self.core, options.replay)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """The policy itself: sampling is the exploration."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same."""
        return self.core.policy()

    def select(self, stored: Sequence[Episode]) -> Sequence[Episode]:
        """The best of a stored data set."""
        return self._best([e for e in stored if e.return_ is not None])

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Steps towards the best that is remembered; without a memory, towards all of these."""
        kept, options = graded(episodes), self.options
        if not options.replay.capacity:
            if not kept.episodes:
                return nothing_to_learn(kept)
            outcome = imitate(self.core, kept.episodes, _loss_of)
            return as_update([outcome], metrics=kept.metrics, warnings=kept.warnings)
        self.memory.take_in(kept.episodes)
        best = self._best(self.memory.young())

        def step(number: int) -> StepOutcome:
            order = generator(seed, "best", number).permutation(len(best))
            return imitate(self.core, [best[int(i)] for i in order[: options.draws]], _loss_of)

        outcomes = until_refused(map(step, range(options.updates_per_step if best else 0)))
        returns = [e.return_ or 0.0 for e in best]
        metrics = kept.metrics | self.memory.metrics()
        if returns:
            metrics["replay/best_return"] = Mean(float(sum(returns)), len(returns))
        return as_update(outcomes, metrics=metrics, warnings=kept.warnings)

    def _best(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The top fraction, in order."""
        places: dict[str, list[int]] = {}
        for index, episode in enumerate(episodes):
            key = episode.task.id if self.options.among == "task" else ""
            places.setdefault(key, []).append(index)
        chosen: list[int] = []
        for indices in places.values():
            returns = [episodes[index].return_ or 0.0 for index in indices]
            best = is_best(returns, self.options.top)
            chosen += [index for index, keep in zip(indices, best, strict=True) if keep]
        return [episodes[index] for index in sorted(chosen)]

    def state(self) -> LearnerState:
        """Weights, optimiser, memory."""
        return self.memory.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.memory.load_state(state)


def _loss_of(batch: Batch) -> RowLoss:
    count = float(batch.num_actions)

    def row_loss(_: int, row: PackedRow, scores: Scores) -> list[Loss]:
        return [imitation(scores.logprob, row.is_action, num_in_step=count)]

    return row_loss
