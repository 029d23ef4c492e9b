"""Options of ``GRPO``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import (
    check_clips,
    check_passes,
    check_plan,
    check_subset,
    check_weights,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPOOptions:
    """Options of ``GRPO``; written in a run file under ``[algorithm]``.

    Attributes:
        variant: ``"grpo"``, ``"dr_grpo"``, ``"dapo"``, ``"gspo"`` or ``"cispo"``; see ``GRPO``.
            On a single step gspo is grpo, and cispo is dapo but for its
            resampling.
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; at least 2.
        train_on: Train on so many attempts of each group, those whose returns vary most, for a
            shorter update (max-variance down-sampling, arXiv:2504.13818; biased); unset: all.
        epochs: Passes over a batch.
        minibatches: Optimiser steps of one pass.
        clip_low: How far a ratio is pushed below 1; unset: the variant's own. Without effect,
            and refused, on a single step; so is ``clip_high``.
        clip_high: How far it is pushed above 1; unset: the variant's own.
        resample_rounds: Rounds of fresh tasks that may replace groups whose rewards are all equal
            (dynamic sampling); unset: the variant's own (dapo 3, others 0).
        entropy_coef: Weight of the entropy bonus.
    """

    type: Literal["grpo"] = "grpo"
    variant: Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo"] = "grpo"
    tasks_per_step: int = 8
    group_size: int = 8
    train_on: int | None = None
    epochs: int = 1
    minibatches: int = 1
    clip_low: float | None = None
    clip_high: float | None = None
    resample_rounds: int | None = None
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size, least_in_group=2)  # to compare with
        check_subset(self.train_on, self.group_size)
        check_weights(entropy_coef=self.entropy_coef)
        check_clips(self.clip_low, self.clip_high)
        if self.resample_rounds is not None and self.resample_rounds < 0:
            raise ValueError(f"resample_rounds must be at least 0, got {self.resample_rounds}")
        check_passes(self.epochs, self.minibatches)
