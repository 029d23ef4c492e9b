"""Options of ``RLOO``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_plan, check_subset, check_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class RLOOOptions:
    """Options of ``RLOO``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; at least 2.
        train_on: Train on so many attempts of each group, those whose returns vary most, for a
            shorter update (max-variance down-sampling, arXiv:2504.13818; biased); unset: all.
        entropy_coef: Weight of the entropy bonus.
    """

    type: Literal["rloo"] = "rloo"
    tasks_per_step: int = 8
    group_size: int = 8
    train_on: int | None = None
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size, least_in_group=2)  # to compare with
        check_subset(self.train_on, self.group_size)
        check_weights(entropy_coef=self.entropy_coef)
