"""Options of ``ReinforcePP``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_clips, check_passes, check_plan, check_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforcePPOptions:
    """Options of ``ReinforcePP``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each.
        epochs: Passes over a batch.
        minibatches: Optimiser steps of one pass.
        clip_low: How far a token's ratio is pushed below 1. Without effect, and refused, on a
            single step; so is ``clip_high``.
        clip_high: How far it is pushed above 1.
        entropy_coef: Weight of the entropy bonus.
    """

    type: Literal["reinforce_pp"] = "reinforce_pp"
    tasks_per_step: int = 16
    group_size: int = 4
    epochs: int = 1
    minibatches: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.2
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size)
        check_weights(entropy_coef=self.entropy_coef)
        check_clips(self.clip_low, self.clip_high)
        if self.group_size * self.tasks_per_step < 2:  # one has no spread
            raise ValueError(
                "group_size or tasks_per_step must be above 1: a step whitens over its episodes"
            )
        check_passes(self.epochs, self.minibatches)
