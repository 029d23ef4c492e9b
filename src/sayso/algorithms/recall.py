"""What an update of an off-policy learner learns from: its memory, or only what it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sayso.algorithms.base import LearnerState, Skipped, Update
from sayso.algorithms.grading import Graded
from sayso.algorithms.optim import told_if_ended
from sayso.data.replay import Drawn, Replay, ReplayOptions
from sayso.metrics import Mean, merge
from sayso.seeds import derive
from sayso.types import Episode

MOST_REPLAYED = 4
"""Optimiser steps for each batch of new episodes; beyond that critics chase their own errors."""


class Memory:
    """Draws the episodes of each optimiser step.

    Attributes:
        replay: What is remembered; with capacity 0 nothing is, and every step of an update sees all
            episodes that the update was given.
    """

    def __init__(self, options: ReplayOptions) -> None:
        self.replay = Replay(options)

    def add(self, fresh: list[Episode]) -> None:
        """Remember the episodes of an update."""
        if self.replay.options.capacity:
            self.replay.push(fresh)

    def draw(self, fresh: list[Episode], *, seed: int, step: int, version: int) -> Drawn:
        """As many episodes as there are fresh ones.

        Args:
            fresh: What the update was given; remembered already.
            seed: Of the update.
            step: Which of its optimiser steps.
            version: Optimiser steps taken when it began.
        """
        if not self.replay.options.capacity:
            return Drawn(episodes=fresh, weights=np.ones(len(fresh)), serials=[])
        key = derive(seed, "draw", step)
        return self.replay.draw(len(fresh), seed=key, version=version)

    def note_errors(self, drawn: Drawn, errors: Mapping[int, float]) -> None:
        """Priorities by the errors of the drawn episodes, by their place in the draw."""
        places = [place for place in sorted(errors) if drawn.serials]
        self.replay.note_errors(
            [drawn.serials[place] for place in places], [errors[place] for place in places]
        )

    def with_state(self, state: LearnerState) -> LearnerState:
        """The state of a learner and of its memory."""
        if not self.replay.options.capacity:
            return state
        return LearnerState(
            tensors={**state.tensors, **self.replay.state_tensors()},
            values={**state.values, **self.replay.state_values()},
        )

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Undo ``with_state``."""
        if self.replay.options.capacity:
            self.replay.load_tensors(dict(tensors), num_seen=int(values["replay_num_seen"]))


def summed_up(
    kept: Graded, parts: Sequence[Mapping[str, Mean]], *, skipped: Sequence[Skipped]
) -> Update:
    """The update that steps with these metrics make."""
    metrics, warnings = merge([kept.metrics, *parts]), kept.warnings
    warnings += told_if_ended(metrics)
    return Update(
        metrics=metrics, num_optimiser_steps=len(parts), skipped=tuple(skipped), warnings=warnings
    )


def check_updates(updates_per_step: int) -> None:
    """Refuse none, and more than ``MOST_REPLAYED``.

    Raises:
        ValueError: Naming the option.
    """
    if not 1 <= updates_per_step <= MOST_REPLAYED:
        raise ValueError(f"updates_per_step must be 1 to {MOST_REPLAYED}, got {updates_per_step}")
