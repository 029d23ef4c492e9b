"""Options of ``Reinforce``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_plan, check_weights, is_changed
from sayso.credit.baseline import MovingAverage


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceOptions:
    """Options of ``Reinforce``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; 1 is fine, nothing compares them.
        baseline: ``"none"``; ``"batch_mean"`` of returns (biased by (n − 1)/n, since each return
            enters its own baseline); ``"moving_average"`` of earlier batches (unbiased).
        decay: Memory of the moving average, in [0, 1).
        gamma_turn: Discount from one turn to the next.
        entropy_coef: Weight of the entropy bonus.
    """

    type: Literal["reinforce"] = "reinforce"
    tasks_per_step: int = 64
    group_size: int = 1
    baseline: Literal["none", "batch_mean", "moving_average"] = "moving_average"
    decay: float = 0.9
    gamma_turn: float = 1.0
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size)
        check_weights(entropy_coef=self.entropy_coef)
        if not 0 <= self.gamma_turn <= 1:
            raise ValueError(f"gamma_turn must be in [0, 1], got {self.gamma_turn}")
        MovingAverage(self.decay)
        if self.baseline != "moving_average" and is_changed(self, "decay"):
            raise ValueError(
                f"decay has no effect with baseline = {self.baseline!r}: set "
                "baseline = 'moving_average', or leave it out"
            )
