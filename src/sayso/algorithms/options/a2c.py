"""Options of ``A2C``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_discounts, check_plan, check_positive, check_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class A2COptions:
    """Options of ``A2C``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; 1 is fine, the critic compares.
        gamma_token: Discount between tokens of one turn.
        gamma_turn: Discount from one turn to the next.
        lam: λ of the generalised advantage; 1 is Monte Carlo.
        value_coef: Weight of the critic's loss.
        critic_lr: Learning rate of the value head.
        entropy_coef: Weight of the entropy bonus.
    """

    type: Literal["a2c"] = "a2c"
    tasks_per_step: int = 64
    group_size: int = 1
    gamma_token: float = 1.0
    gamma_turn: float = 1.0
    lam: float = 1.0
    value_coef: float = 0.5
    critic_lr: float = 1e-3
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size)
        check_weights(value_coef=self.value_coef, entropy_coef=self.entropy_coef)
        check_positive(critic_lr=self.critic_lr)
        check_discounts(self.gamma_token, self.gamma_turn, self.lam)
