"""What an update of an off-policy learner learns from: its memory, or only what it was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sayso.algorithms.base import LearnerState, Update
from sayso.algorithms.core import Core
from sayso.algorithms.grading import Graded
from sayso.algorithms.step import StepOutcome, as_update, until_refused
from sayso.data.options import ReplayOptions
from sayso.data.replay import Drawn, Replay
from sayso.metrics import Mean
from sayso.seeds import derive
from sayso.types import Episode

Step = Callable[[Drawn, int], tuple[StepOutcome, Sequence[float]]]
"""From what was drawn, and the number of the step, to what came of it and errors of the drawn."""


class Memory:
    """Held, not inherited: what a learner remembers, the steps it takes on that, what is saved.

    Attributes:
        core: Whose steps.
        replay: What is remembered; with capacity 0 nothing is, and every step of an update sees all
            episodes that the update was given.
        num_decisions: Turns ever taken in.
    """

    def __init__(self, core: Core, options: ReplayOptions) -> None:
        self.core, self.replay = core, Replay(options)
        self.num_decisions = 0
        self._given: list[Episode] = []
        self._version = 0

    def __len__(self) -> int:
        """Episodes remembered."""
        return len(self.replay)

    def take_in(self, episodes: Sequence[Episode]) -> None:
        """Remember the episodes of an update. Ages count up to here, whatever steps follow."""
        self._given, self._version = list(episodes), self.core.version
        self.num_decisions += sum(len(episode.turns) for episode in episodes)
        if self.replay.options.capacity:
            self.replay.push(episodes)

    def draw(self, count: int | None, *, seed: int) -> Drawn:
        """Episodes of a step.

        Args:
            count: How many; ``None``: as many as were taken in. Without memory it is all of those.
            seed: Decides the draw, alone.
        """
        given = self._given
        if not self.replay.options.capacity:
            return Drawn(episodes=given, weights=np.ones(len(given)), serials=[])
        return self.replay.draw(count or len(given), seed=seed, version=self._version)

    def young(self) -> list[Episode]:
        """What is remembered and not too old."""
        limit = self.replay.options.max_age
        return [
            e for e in self.replay.episodes
            if limit is None or self._version - e.policy_version <= limit
        ]  # fmt: skip

    def steps(
        self,
        step: Step,
        *,
        num: int,
        seed: int,
        draws: int | None = None,
        purpose: str = "draw",
    ) -> list[StepOutcome]:
        """Optimiser steps, each on a draw; none after one that was refused.

        Args:
            step: Learns from a draw. Errors: one for each episode drawn, for prioritised memory.
            num: How many.
            seed: Of the update; with the number of the step it decides the draw.
            draws: See ``draw``.
            purpose: Keeps the draws of different steps of one update apart.
        """

        def taken(number: int) -> StepOutcome:
            drawn = self.draw(draws, seed=derive(seed, purpose, number))
            outcome, errors = step(drawn, number)
            is_ranked = drawn.serials and self.replay.options.sampling == "prioritised"
            if is_ranked and outcome.skipped is None:
                self.replay.note_errors(drawn.serials, errors)
            return outcome

        return until_refused(map(taken, range(num)))

    def learn(
        self,
        kept: Graded,
        step: Step,
        *,
        num: int,
        seed: int,
        draws: int | None = None,
        purpose: str = "draw",
    ) -> Update:
        """One update: take in the new episodes, then take ``steps``."""
        if not kept.episodes:
            return as_update([], metrics=kept.metrics, warnings=kept.warnings)
        self.core.sync()  # what the sampler remembers of the rollout is memory for the update
        self.take_in(kept.episodes)
        outcomes = self.steps(step, num=num, seed=seed, draws=draws, purpose=purpose)
        metrics = kept.metrics | self.metrics()
        return as_update(outcomes, metrics=metrics, warnings=kept.warnings)

    def metrics(self) -> dict[str, Mean]:
        """``replay/episodes``, where there is a memory."""
        return {"replay/episodes": Mean(len(self), 1)} if self.replay.options.capacity else {}

    def state(self, tensors: Mapping[str, Tensor] | None = None, **values: Any) -> LearnerState:
        """The state of the core and of the memory, and what the algorithm adds."""
        more = dict(tensors or {})
        if self.replay.options.capacity:
            more |= self.replay.state_tensors()
            values |= self.replay.state_values()
        return self.core.state(more, num_decisions=self.num_decisions, **values)

    def load_state(self, state: LearnerState) -> Mapping[str, Any]:
        """Undo ``state``; the values are returned for what the algorithm added."""
        values = self.core.load_state(state)
        self.num_decisions = int(values["num_decisions"])
        if self.replay.options.capacity:
            num_seen = int(values["replay_num_seen"])
            self.replay.load_tensors(dict(state.tensors), num_seen=num_seen)
        return values
