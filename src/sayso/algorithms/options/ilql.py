"""Options of ``ILQL``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from sayso.algorithms.checks import (
    check_discounts,
    check_memory,
    check_positive,
    check_used,
    check_weights,
    is_changed,
)
from sayso.algorithms.options.acting import ActingOptions
from sayso.data.options import ReplayOptions
from sayso.losses.kinds import CriticLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class ILQLOptions:
    """Options of ``ILQL``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each.
        updates_per_step: Optimiser steps per update: the replay ratio, where each draws as many
            episodes as are new.
        draws: Episodes of an optimiser step, drawn from memory; unset: as many as are new.
        gamma_token: Discount between tokens of one turn.
        gamma_turn: Discount from one turn to the next.
        backup: What follows is worth: ``"expectile"``: V of the next context; ``"sarsa"``: the
            value of the token that the data go on with.
        tau: V is this expectile of the action values in the data: 0.5 the mean, near 1 the best.
        critic_loss: ``"mse"``, or ``"huber"`` (δ = 1), which outliers move less.
        num_heads: Heads of action values; the least of their targets counts.
        alpha_cql: Weight of the cross-entropy that pushes tokens down which the data lack.
        cql_tokens: It is over so many likeliest tokens of the model and the one in the data, a
            lower bound; 0: over all.
        target_rate: How far targets move towards the heads at a time, in (0, 1].
        target_every: Optimiser steps between two such moves.
        critic_lr: Learning rate of the heads.
        head_rank: Rank of the action values' heads; 0: full, with a layer in front. Unset: full up
            to 1 024 tokens, else 16.
        train_lm: Train the language model itself; else only heads on its frozen trunk.
        bc_coef: Weight of imitating the data, by which the model becomes the policy that is
            steered.
        advantage_weight: Imitate each token times exp(λ A), in nats per unit of reward; 0: alike.
        acting: How values steer decoding.
        replay: What is remembered.
    """

    type: Literal["ilql"] = "ilql"
    tasks_per_step: int = 64
    group_size: int = 1
    updates_per_step: int = 1
    draws: int | None = None
    gamma_token: float = 1.0
    gamma_turn: float = 0.99
    backup: Literal["expectile", "sarsa"] = "expectile"
    tau: float = 0.7
    critic_loss: CriticLoss = "mse"
    num_heads: int = 2
    alpha_cql: float = 0.01
    cql_tokens: int = 0
    target_rate: float = 0.005
    target_every: int = 1
    critic_lr: float = 1e-3
    head_rank: int | None = None
    train_lm: bool = True
    bc_coef: float = 1.0
    advantage_weight: float = 0.0
    acting: ActingOptions = field(default_factory=ActingOptions)
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    online: ClassVar[tuple[str, ...]] = ("draws",)

    def __post_init__(self) -> None:
        check_memory(
            tasks_per_step=self.tasks_per_step, group_size=self.group_size,
            updates_per_step=self.updates_per_step, draws=self.draws,
            replay=self.replay,
        )  # fmt: skip
        check_discounts(self.gamma_token, self.gamma_turn, 1.0)
        check_positive(
            critic_lr=self.critic_lr, num_heads=self.num_heads, target_every=self.target_every
        )
        check_weights(
            alpha_cql=self.alpha_cql, cql_tokens=self.cql_tokens, bc_coef=self.bc_coef,
            advantage_weight=self.advantage_weight, head_rank=self.head_rank or 0,
        )  # fmt: skip
        check_used(self, ("bc_coef", "advantage_weight"), needs="train_lm")
        check_used(self, ("cql_tokens",), needs="alpha_cql")
        if not 0 < self.tau < 1:
            raise ValueError(f"tau must be in (0, 1), got {self.tau}")
        if not 0 < self.target_rate <= 1:
            raise ValueError(f"target_rate must be in (0, 1], got {self.target_rate}")
        if self.backup == "sarsa" and is_changed(self, "tau"):
            raise ValueError(
                f"tau has no effect with backup = 'sarsa', whose V is the mean, got {self.tau}"
            )
