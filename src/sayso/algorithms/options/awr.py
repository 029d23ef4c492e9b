"""Options of ``AWR``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_discounts, check_positive, check_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class AWROptions:
    """Options of ``AWR``; written in a run file under ``[algorithm]``.

    Attributes:
        beta: Temperature of the weights, in reward units: small is greedy, large is ``bc``.
        max_weight: Largest weight of a token.
        gamma_token: Discount between tokens of one turn.
        gamma_turn: Discount from one turn to the next.
        value_coef: Weight of the critic's loss.
        critic_lr: Learning rate of the value head.
    """

    type: Literal["awr"] = "awr"
    beta: float = 1.0
    max_weight: float = 20.0
    gamma_token: float = 1.0
    gamma_turn: float = 1.0
    value_coef: float = 0.5
    critic_lr: float = 1e-3

    def __post_init__(self) -> None:
        check_positive(beta=self.beta, max_weight=self.max_weight, critic_lr=self.critic_lr)
        check_weights(value_coef=self.value_coef)
        check_discounts(self.gamma_token, self.gamma_turn, 1.0)
