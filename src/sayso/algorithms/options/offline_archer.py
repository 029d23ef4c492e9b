"""Options of ``OfflineArCHer``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_positive
from sayso.algorithms.options.archer import Trunk

MAX_WEIGHT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineArCHerOptions:
    """Options of ``OfflineArCHer``; written in a run file under ``[algorithm]``.

    Attributes:
        gamma_turn: Discount from one utterance to the next; inside one there is none.
        tau: Expectile of V among what was said: 0.5 its mean, towards 1 its best.
        critic_updates: Optimiser steps of the critic per update, each on all its episodes.
        critic_lr: Learning rate of the heads, and of a network of the critic's own; its adapters
            learn at ``optim.lr``.
        target_rate: How far targets move towards the heads after a critic step, in (0, 1].
        trunk: What the critic reads: ``"frozen"``, ``"adapter"`` or ``"copy"``; as in ``ArCHer``.
        actor_updates: Optimiser steps of the actor per update, each on its share of the episodes.
        warmup_updates: Updates in which only the critic learns.
        advantage_weight: λ, in 1 / reward units: 0 imitates the data, more follows the critic.
        max_weight: Largest weight of an utterance.
    """

    type: Literal["offline_archer"] = "offline_archer"
    gamma_turn: float = 0.99
    tau: float = 0.9
    critic_updates: int = 4
    critic_lr: float = 1e-3
    target_rate: float = 0.05
    trunk: Trunk = "frozen"
    actor_updates: int = 1
    warmup_updates: int = 10
    advantage_weight: float = 1.0
    max_weight: float = MAX_WEIGHT

    def __post_init__(self) -> None:
        check_positive(critic_lr=self.critic_lr, max_weight=self.max_weight)
        for name in ("critic_updates", "actor_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("warmup_updates", "advantage_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.gamma_turn <= 1:
            raise ValueError(f"gamma_turn must be in [0, 1], got {self.gamma_turn}")
        for name in ("tau", "target_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {getattr(self, name)}")
        if self.tau == 1:
            raise ValueError("tau must be below 1: no utterance would ever lower V")

    def num_optimiser_steps(self, num_updates: int) -> int:
        """Steps that so many updates come to."""
        with_actor = max(0, num_updates - self.warmup_updates)
        return num_updates * self.critic_updates + with_actor * self.actor_updates
