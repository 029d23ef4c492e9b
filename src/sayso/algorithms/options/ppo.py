"""Options of ``PPO``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import (
    check_clips,
    check_discounts,
    check_passes,
    check_plan,
    check_positive,
    check_weights,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOOptions:
    """Options of ``PPO``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; 1 is fine, the critic compares.
        epochs: Passes over a batch.
        minibatches: Optimiser steps of one pass.
        gamma_token: Discount between tokens of one turn.
        gamma_turn: Discount from one turn to the next.
        lam: λ of the generalised advantage.
        clip_low: How far a token's ratio is pushed below 1. Without effect, and refused, on a
            single step; so is ``clip_high``.
        clip_high: How far it is pushed above 1.
        value_clip: How far a value is trusted to move in one update, in reward units; unset: not
            limited.
        value_coef: Weight of the critic's loss.
        critic_lr: Learning rate of the value head.
        target_kl: Stop the epochs when the policy has moved further than 1.5 times this, in nats
            per token; unset: never.
        whiten: ``"batch"`` shifts and scales advantages over the whole batch (biased, and what most
            use); ``"none"`` leaves them in reward units.
        entropy_coef: Weight of the entropy bonus.
    """

    type: Literal["ppo"] = "ppo"
    tasks_per_step: int = 32
    group_size: int = 1
    epochs: int = 4
    minibatches: int = 1
    gamma_token: float = 1.0
    gamma_turn: float = 1.0
    lam: float = 0.95
    clip_low: float = 0.2
    clip_high: float = 0.2
    value_clip: float | None = None
    value_coef: float = 0.5
    critic_lr: float = 1e-3
    target_kl: float | None = None
    whiten: Literal["batch", "none"] = "batch"
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size)
        check_weights(value_coef=self.value_coef, entropy_coef=self.entropy_coef)
        check_positive(critic_lr=self.critic_lr)
        check_clips(self.clip_low, self.clip_high)
        check_discounts(self.gamma_token, self.gamma_turn, self.lam)
        check_positive(value_clip=self.value_clip, target_kl=self.target_kl)
        check_passes(self.epochs, self.minibatches)
        for name in ("value_clip", "target_kl"):  # the first step starts where sampling left off
            if getattr(self, name) is not None and self.epochs == self.minibatches == 1:
                raise ValueError(
                    f"{name} has no effect on a single step: set epochs or minibatches above 1, "
                    "or leave it out"
                )
