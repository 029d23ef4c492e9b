"""DPO: direct preference optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sayso.algorithms.base import LearnerState, RolloutPlan, Update
from sayso.algorithms.core import Core
from sayso.algorithms.options.dpo import DPOOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import RowLoss, as_update, score_row, take_step
from sayso.data.batch import Batch, PackedRow
from sayso.data.preferences import are_pairs
from sayso.losses.loss import Loss
from sayso.losses.preference import direct_preference
from sayso.metrics import Mean
from sayso.models.distribution import token_logprobs
from sayso.models.lm import LanguageModel
from sayso.models.scoring import HEAD_CHUNK, Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class DPO:
    r"""DPO: direct preference optimisation, on stored pairs of which one text was preferred.

    .. math:: -\frac{1}{P} \sum_i \log \sigma\Bigl(\beta \log\frac{\pi(y^+_i)}{\pi_0(y^+_i)}
        - \beta \log\frac{\pi(y^-_i)}{\pi_0(y^-_i)}\Bigr)

    over P pairs of a prompt's answers; π₀ is the model as it was before training (adapters off, or
    a frozen copy). Log-probabilities are sums over the tokens of an answer, its end included, at
    the sampling temperature without filters. The prompt of a pair is read once.

    When to use it: preferences without an environment or a reward to play for. It never samples,
    so it learns nothing of texts that the data do not hold; a reward model with PPO does. Start it
    from a model that writes like the data: ``bc`` on the same file imitates the chosen texts.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290; cDPO and IPO: see ``losses.preference``.

    Tests:
        tests/math/test_preference.py, tests/learning/test_preference.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: DPOOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # nothing here is random
        self.lm, self.options = lm, options
        self.core = Core(lm, engine, sampling=sampling, optim=optim, kl=kl)
        lm.freeze_reference()
        self.plan = RolloutPlan(tasks_per_step=1, group_size=1, stored_together=2)

    def sampler(self) -> Policy:
        """The policy itself."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same."""
        return self.core.policy()

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """One step towards what was preferred.

        Raises:
            ValueError: If the episodes are not pairs, the chosen one first.
        """
        del seed
        if not are_pairs(episodes):
            raise ValueError("the episodes are no pairs of one prompt, the chosen one first")
        self.core.sync()  # what the sampler remembers of a rollout is memory for the update
        # A group of its own for each pair: both sides lie in one row, behind one prompt.
        paired = [
            replace(e, task=replace(e.task, id=f"{e.task.id}, pair {index // 2}"))
            for index, e in enumerate(episodes)
        ]
        longest = max(
            len(one.ids()) + other.num_action_tokens
            for one, other in zip(paired[::2], paired[1::2], strict=True)
        )
        batch = self.core.pack(paired, least_tokens=longest)
        outcome = take_step(self.core, batch, self._loss_of(batch), distribution=self.core.imitated)
        return as_update([outcome])

    def _loss_of(self, batch: Batch) -> RowLoss:
        def row_loss(_: int, row: PackedRow, scores: Scores) -> list[Loss]:
            reference = self._reference(row)
            delta = of_texts(scores.logprob - reference.logprob, batch, row)
            loss = direct_preference(
                delta[:, 0], delta[:, 1], beta=self.options.beta,
                num_pairs_in_step=len(batch.episodes) / 2, kind=self.options.loss,
                label_smoothing=self.options.label_smoothing,
            )  # fmt: skip
            said = of_texts(scores.logprob.detach(), batch, row)
            metrics = {
                "kl/exact": self._divergence(scores, reference),
                "dpo/logprob_chosen": Mean(float(said[:, 0].sum()), float(len(said))),
                "dpo/logprob_rejected": Mean(float(said[:, 1].sum()), float(len(said))),
            }
            return [Loss(loss.value, loss.metrics | metrics)]

        return row_loss

    def _reference(self, row: PackedRow) -> Scores:
        with self.lm.reference():
            return score_row(self.lm, row, self.core.imitated)

    @torch.no_grad()
    def _divergence(self, scores: Scores, reference: Scores) -> Mean:
        """KL(π ‖ π₀) of the next token, nats, where the data go: over the whole vocabulary."""
        state, before = _state(scores), _state(reference)
        total = 0.0
        for start in range(0, len(state), HEAD_CHUNK):
            part = slice(start, start + HEAD_CHUNK)
            now = token_logprobs(self.lm.logits(state[part].detach()), self.core.imitated)
            with self.lm.reference():
                then = token_logprobs(self.lm.logits(before[part]), self.core.imitated)
            total += float((now.exp() * (now - then)).sum())
        return Mean(total, float(len(state)))

    def state(self) -> LearnerState:
        """Weights and optimiser."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)


def of_texts(values: Tensor, batch: Batch, row: PackedRow) -> Tensor:
    """Sums over the action tokens of each episode of a row, in pairs: [p, 2]."""
    lengths = [batch.episodes[e].num_action_tokens for e in row.episodes]
    sums = torch.stack([part.sum() for part in torch.split(values, lengths)])
    return sums.view(-1, 2)


def _state(scores: Scores) -> Tensor:
    if scores.state is None:
        raise ValueError("scores hold no states")
    return scores.state
