"""What learners over candidates share: memory, decisions to learn from, steps, engines.

Dimensions: n = decisions of a minibatch, s = different slates among them, k = candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sayso.algorithms.base import ActionValues, LearnerState, Update
from sayso.algorithms.candidate_turns import DecisionReader, Minibatch, Transition
from sayso.algorithms.core import Core
from sayso.algorithms.grading import Numbers, graded
from sayso.algorithms.kl import refuse_kl
from sayso.algorithms.options.candidates import CandidateLearnerOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.recall import Memory
from sayso.algorithms.step import Part, StepOutcome, guarded_step
from sayso.algorithms.utterance_credit import q_per_token
from sayso.data.replay import Drawn
from sayso.errors import SamplingError
from sayso.losses.loss import Loss
from sayso.metrics import mean_of
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import polyak
from sayso.models.slates import Read, Slate, SlateReader
from sayso.sampling.base import Engine, Policy
from sayso.sampling.candidates import CandidateEngine, CandidateMaker, Chooser
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive, generator
from sayso.types import Episode


@dataclass(slots=True, kw_only=True)
class Readers:
    """Who reads slates: for the weights that train, and for their targets."""

    online: SlateReader
    target: SlateReader


class CandidateCore:
    """Held, not inherited: what a learner over candidates stands on.

    Attributes:
        core: Model, optimiser, counters. The language model is frozen: it proposes and is read.
        memory: What is remembered, and steps on it.
        decisions: Reads decisions from episodes.
        readers: Hidden states of slates.
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: CandidateLearnerOptions,
        *,
        heads: nn.ModuleDict,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        """Set up.

        Args:
            lm: Frozen from here on.
            engine: Where proposals come from.
            options: The learner's.
            heads: All that trains, and targets; ``critic`` and ``target`` may hold a ``trunk``.
            sampling: How proposals are drawn.
            optim: Options of the optimiser; its learning rate is ``options.critic_lr``.
            kl: A weight that must be 0: a frozen policy is its own reference.
            seed: Decides proposals for what was stored without.
        """
        refuse_kl(kl, instead="the language model stays as it is")
        lm.freeze_network()
        self.core = Core(
            lm, engine, sampling=sampling, optim=replace(optim, lr=options.critic_lr),
            kl=kl, q_heads=heads,
        )  # fmt: skip
        self.options, self.memory = options, Memory(self.core, options.replay)
        self.readers = self._readers(heads)
        self.decisions = DecisionReader(
            self._maker(engine), gamma_turn=options.gamma_turn,
            max_new_tokens=sampling.max_new_tokens, seed=seed,
        )  # fmt: skip
        self._engines: list[CandidateEngine] = []

    def engine(self, choose: Chooser, *, is_exact: bool) -> CandidateEngine:
        """Who acts.

        Args:
            choose: Weighs candidates.
            is_exact: Proposals are drawn exactly, whatever the precision while training.
        """
        inner = self.core.policy().engine if is_exact else self.core.engine
        made = CandidateEngine(self.core.lm, self._maker(inner), choose)
        self._engines.append(made)
        return made

    def acting(self, engine: Engine) -> Policy:
        """The policy that acts through an engine."""
        return self.core.acting(engine)

    def decisions_of(self, drawn: Drawn, *, seed: int, n_step: int = 1) -> Minibatch:
        """Decisions to learn from: of each episode drawn one turn, uniformly.

        Args:
            drawn: Episodes; without a memory those to draw from, uniformly.
            seed: Decides the draw, alone.
            n_step: Turns before bootstrapping.
        """
        count, episodes, weights = self.options.draws, drawn.episodes, drawn.weights
        if not self.options.replay.capacity:
            places = generator(seed, "episodes").integers(len(episodes), size=count)
            episodes, weights = [episodes[int(place)] for place in places], np.ones(count)
        shares = generator(seed, "turns").random(count)
        turns = [int(u * len(e.turns)) for u, e in zip(shares, episodes, strict=True)]
        pairs = list(zip(episodes, turns, strict=True))
        return self.minibatch(self.decisions.transitions(pairs, weights.tolist(), n_step=n_step))

    def minibatch(self, transitions: list[Transition]) -> Minibatch:
        """Transitions, with the different slates among theirs."""
        slates = list(dict.fromkeys(t.slate for t in transitions))
        place_of = {slate: place for place, slate in enumerate(slates)}
        return Minibatch(
            transitions=transitions,
            slates=slates,
            slate_of=np.array([place_of[t.slate] for t in transitions]),
        )

    def table(
        self, reader: SlateReader, slates: Sequence[Slate], values: Callable[[Read], Tensor]
    ) -> Numbers:
        """Numbers per candidate, without gradient, float64 [..., s, k] padded with ``-inf``.

        What ``values`` has in front of [s, k], such as heads, the table has as well.
        """
        places = {slate: place for place, slate in enumerate(dict.fromkeys(slates))}
        width = max(len(slate.candidates) for slate in places)
        parts = []
        with torch.no_grad():
            for read in reader.read(list(places)):
                found = values(read).double().cpu().numpy()
                room = [(0, 0)] * (found.ndim - 1) + [(0, width - found.shape[-1])]
                parts.append(np.pad(found, room, constant_values=-np.inf))
        return np.concatenate(parts, -2)[..., [places[slate] for slate in slates], :]

    def scored(self, slates: Sequence[Slate], values: Callable[[Read], Tensor]) -> Numbers:
        """``table`` of the weights that train, for acting.

        Raises:
            SamplingError: If a number is not finite.
        """
        table = self.table(self.readers.online, slates, values)
        if not is_sound(table):
            raise SamplingError(
                where="candidates",
                problem="a value is not finite.",
                fix="Check the weights, or lower algorithm.critic_lr.",
            )
        return table

    def action_values(self, episode: Episode, critic: Callable[[Read], Tensor]) -> ActionValues:
        """What a critic says of each utterance, at its last token."""
        places = range(len(episode.turns))
        found = self.decisions.transitions(
            [(episode, turn) for turn in places], [1.0] * len(places), n_step=1
        )
        table = self.table(self.readers.online, [one.slate for one in found], critic)
        values = q_per_token(episode, table[places, [one.taken for one in found]])
        return ActionValues(values=values, kind="q", gamma_turn=self.options.gamma_turn)

    def step(self, minibatch: Minibatch, loss: Callable[[Read], Sequence[Loss]]) -> StepOutcome:
        """One guarded optimiser step, part by part; then the target moves, if it is due.

        Args:
            minibatch: What to learn from.
            loss: Terms of a part's loss, each divided by counts of the whole minibatch.
        """
        reads = self.readers.online.read(minibatch.slates)
        outcome = guarded_step(self.core, (Part(losses=loss(read)) for read in reads))
        heads: Any = self.core.lm.q_heads
        if outcome.skipped is None and self.core.version % self.options.target_every == 0:
            polyak(heads["target"], heads["critic"], self.options.target_rate)
        distinct = mean_of(len(s.candidates) for s in minibatch.slates)
        outcome.metrics = outcome.metrics | {"candidates/distinct": distinct}
        return outcome

    def learn(
        self,
        episodes: Sequence[Episode],
        step: Callable[[Minibatch], tuple[StepOutcome, Numbers]],
        *,
        seed: int,
        n_step: int = 1,
    ) -> Update:
        """Remember, then take the steps of one update.

        Args:
            episodes: New ones.
            step: Learns from a minibatch; says how wrong the critic was about each decision.
            seed: Decides the draws.
            n_step: Turns before bootstrapping.
        """
        options, kept = self.options, graded(episodes)

        def on_drawn(drawn: Drawn, number: int) -> tuple[StepOutcome, list[float]]:
            key = derive(seed, "minibatch", number)
            outcome, errors = step(self.decisions_of(drawn, seed=key, n_step=n_step))
            return outcome, errors.tolist()

        seen = self.memory.num_decisions + sum(len(e.turns) for e in kept.episodes)
        is_early = seen < options.learning_starts
        update = self.memory.learn(
            kept, on_drawn, num=0 if is_early else options.updates_per_step,
            draws=options.draws, seed=seed, purpose="minibatch",
        )  # fmt: skip
        for engine in self._engines:
            engine.sync()
        return update

    def state(self, **values: Any) -> LearnerState:
        """Weights, targets, moments, memory, counters."""
        return self.memory.state(**values)

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.memory.load_state(state)
        for engine in self._engines:
            engine.sync()

    def _maker(self, engine: Engine) -> CandidateMaker:
        lm, options = self.core.lm, self.options.candidates
        return CandidateMaker(
            lm, engine, options, self.core.distribution,
            max_new_tokens=self.core.sampling.max_new_tokens,
        )  # fmt: skip

    def _readers(self, heads: nn.ModuleDict) -> Readers:
        critic: Any = heads["critic"]

        def reader(trunk: Any, beside: SlateReader | None = None) -> SlateReader:
            return SlateReader(
                self.core.lm,
                trunk,
                max_tokens=lambda: self.core.optimiser.options.micro_batch_tokens,
                beside=beside,
            )

        frozen = reader(None)
        if critic.trunk is None:
            return Readers(online=frozen, target=frozen)
        beside = frozen if critic.priors is not None else None
        target: Any = heads["target"]
        return Readers(online=reader(critic.trunk, beside), target=reader(target.trunk, beside))


def is_sound(table: Numbers) -> bool:
    """Whether a padded table holds numbers only, and some in each row."""
    return bool(
        (~np.isnan(table)).all() and (table < np.inf).all() and (table.max(-1) > -np.inf).all()
    )


def trimmed(table: Numbers, slates: Sequence[Slate]) -> list[Numbers]:
    """A padded table as one array per slate."""
    return [row[: len(slate.candidates)] for row, slate in zip(table, slates, strict=True)]
