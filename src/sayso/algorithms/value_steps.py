"""What learners of token values share: a policy that values steer, a memory, steps on its episodes.

Their losses hold for any policy's episodes, so nothing here compares with the sampler; what is old
in the memory is only off the policy of today, as a stored data set is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from sayso.algorithms.acting import steered_engine
from sayso.algorithms.base import RolloutPlan, Update
from sayso.algorithms.core import Core
from sayso.algorithms.grading import Numbers, graded
from sayso.algorithms.kl import refuse_kl
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.recall import Memory
from sayso.algorithms.step import Part, Parts, StepOutcome, guarded_step, tasks_of
from sayso.data.batch import Batch, PackedRow
from sayso.data.options import ReplayOptions
from sayso.data.replay import Drawn
from sayso.losses.loss import Loss
from sayso.models.lm import LanguageModel
from sayso.sampling.backend import Guide
from sayso.sampling.base import Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class RowTerms(NamedTuple):
    """The loss of one row.

    Attributes:
        losses: Its terms, each already divided by the action tokens of the whole step.
        td_error: By how much each action's value was off, for prioritised memory.
    """

    losses: Sequence[Loss]
    td_error: Tensor


TermsOf = Callable[[Batch, PackedRow, Tensor], RowTerms]
"""From a batch, one of its rows and the importance weight of each action to the row's loss."""


class TokenValueOptions(Protocol):
    """Options that all learners of token values have."""

    @property
    def tasks_per_step(self) -> int:
        """Different tasks per update."""

    @property
    def group_size(self) -> int:
        """Attempts at each."""

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps per update."""

    @property
    def draws(self) -> int | None:
        """Episodes of each."""

    @property
    def critic_lr(self) -> float:
        """Learning rate of the heads."""

    @property
    def train_lm(self) -> bool:
        """Whether the language model trains itself."""

    @property
    def acting(self) -> ActingOptions:
        """How values steer decoding."""

    @property
    def replay(self) -> ReplayOptions:
        """What is remembered."""


class TokenValueCore:
    """Held, not inherited: what a learner of token values stands on.

    Attributes:
        core: Model, heads, optimiser; its engine is steered.
        memory: What is remembered, and steps on it.
        plan: What an update needs from the environment.
        guide_of: From options of acting to what steers.
    """

    def __init__(
        self,
        lm: LanguageModel,
        options: TokenValueOptions,
        *,
        heads: nn.Module,
        guide_of: Callable[[ActingOptions], Guide],
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
    ) -> None:
        """Set up.

        Args:
            lm: The model; frozen from here on unless ``options.train_lm``.
            options: The learner's.
            heads: Its values, and their targets.
            guide_of: How they steer.
            sampling: How actions are drawn.
            optim: Options of the optimiser.
            kl: A weight that must be 0.
        """
        refuse_kl(kl, instead="acting.beta says how far from the model they may act")
        if not options.train_lm:
            lm.freeze_network()
        self.options, self.guide_of = options, guide_of
        self.core = Core(
            lm, steered_engine(lm, sampling, guide_of(options.acting)), sampling=sampling,
            optim=optim, kl=kl, critic_lr=options.critic_lr, q_heads=heads,
        )  # fmt: skip
        self.memory = Memory(self.core, options.replay)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def acting_as(self, *, beta: float | None, greedy: bool) -> Policy:
        """The policy at another β, or always at its likeliest token; see ``Actable``."""
        core, guide = self.core, self.guide_of(self.options.acting.at(beta))
        return core.acting(steered_engine(core.lm, core.sampling, guide, greedy=greedy))

    def update(
        self,
        episodes: Sequence[Episode],
        terms_of: TermsOf,
        *,
        seed: int,
        after_step: Callable[[], None] = lambda: None,
    ) -> Update:
        """Remember the new episodes, then take steps on what is drawn from the memory.

        Args:
            episodes: The new ones.
            terms_of: The loss.
            seed: Decides the draws.
            after_step: Called after each step that was taken: targets follow here.
        """

        def step(drawn: Drawn, _: int) -> tuple[StepOutcome, list[float]]:
            outcome, errors = _step(self.core, drawn, terms_of)
            if outcome.skipped is None:
                after_step()
            return outcome, errors

        options = self.options
        return self.memory.learn(
            graded(episodes), step, num=options.updates_per_step, draws=options.draws, seed=seed
        )


def _step(core: Core, drawn: Drawn, terms_of: TermsOf) -> tuple[StepOutcome, list[float]]:
    """One guarded step, and the mean |error| of each episode."""
    batch = core.pack(drawn.episodes)
    weights = batch.align([
        np.full(episode.num_action_tokens, weight)
        for episode, weight in zip(batch.episodes, drawn.weights, strict=True)
    ])  # fmt: skip
    errors: list[Tensor] = []

    def parts() -> Parts:
        for row, weight in zip(batch.rows, weights, strict=True):
            terms = terms_of(batch, row, weight)
            errors.append(terms.td_error)
            yield Part(losses=terms.losses, about=tasks_of(batch, row))

    outcome = guarded_step(core, parts())
    if outcome.skipped is not None:
        return outcome, []
    core.sync()
    return outcome, [float(np.abs(each).mean()) for each in batch.by_episode(errors)]


def per_episode(batch: Batch, row: PackedRow, numbers: Tensor) -> list[Numbers]:
    """Numbers per action token of a row, cut into its episodes in order of ``row.episodes``."""
    counts = [batch.episodes[index].num_action_tokens for index in row.episodes]
    flat = numbers.detach().double().cpu().numpy()
    return list(np.split(flat, np.cumsum(counts)[:-1]))
