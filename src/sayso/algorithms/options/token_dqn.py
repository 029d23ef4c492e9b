"""Options of ``TokenDQN``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from sayso.algorithms.checks import (
    check_discounts,
    check_memory,
    check_positive,
    check_used,
    check_weights,
)
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.exploring import check_exploring
from sayso.data.options import ReplayOptions
from sayso.losses.kinds import CriticLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDQNOptions:
    """Options of ``TokenDQN``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each.
        updates_per_step: Optimiser steps per update: the replay ratio, where each draws as many
            episodes as are new.
        draws: Episodes of an optimiser step, drawn from memory; unset: as many as are new.
        gamma_token: Discount between tokens of one turn.
        gamma_turn: Discount from one turn to the next.
        token_set: Choose among so many likeliest tokens of the model and, in learning, the one in
            the data; 0: among all. Unset: all up to 1 024 tokens, else 32.
        double: Let the heads that learn choose the token that their slow copy values.
        dueling: Value contexts by a head of their own.
        n_step: Rewards before bootstrapping. Above 1, targets credit what an old policy did next,
            uncorrected.
        critic_loss: ``"huber"`` (δ = 1), or ``"mse"``.
        alpha_cql: Weight of the cross-entropy that pushes tokens down which the data lack; for data
            that are not explored further.
        cql_tokens: It is over so many likeliest tokens of the model and the one in the data, a
            lower bound; 0: over all.
        target_rate: How far the slow copy moves at a time, in (0, 1]; 1 copies.
        target_every: Optimiser steps between two such moves.
        critic_lr: Learning rate of the heads.
        head_rank: Rank of the action values' head; 0: full, with a layer in front. Unset: full up
            to 1 024 tokens, else 16.
        train_lm: Train the model's trunk as well. Nothing then holds the policy that is explored
            with, and chosen from, where it was.
        epsilon_start: Share of tokens that are explored at first.
        epsilon_end: Share in the end.
        epsilon_decisions: Decisions over which ε goes from one to the other, in a straight line.
        explore_temperature: What explored tokens are drawn at from the model, within ``token_set``.
        acting: How values steer decoding; the rest of the exploration.
        replay: What is remembered.
    """

    type: Literal["token_dqn"] = "token_dqn"
    tasks_per_step: int = 64
    group_size: int = 1
    updates_per_step: int = 4
    draws: int | None = None
    gamma_token: float = 1.0
    gamma_turn: float = 0.99
    token_set: int | None = None
    double: bool = True
    dueling: bool = True
    n_step: int = 1
    critic_loss: CriticLoss = "huber"
    alpha_cql: float = 0.0
    cql_tokens: int = 0
    target_rate: float = 0.005
    target_every: int = 1
    critic_lr: float = 1e-3
    head_rank: int | None = None
    train_lm: bool = False
    epsilon_start: float = 0.3
    epsilon_end: float = 0.05
    epsilon_decisions: int = 16_000
    explore_temperature: float = 1.5
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
            critic_lr=self.critic_lr, n_step=self.n_step, target_every=self.target_every,
            explore_temperature=self.explore_temperature,
        )  # fmt: skip
        check_weights(
            alpha_cql=self.alpha_cql, cql_tokens=self.cql_tokens, head_rank=self.head_rank or 0,
            token_set=self.token_set or 0,
        )  # fmt: skip
        if not 0 < self.target_rate <= 1:
            raise ValueError(f"target_rate must be in (0, 1], got {self.target_rate}")
        check_exploring(self)
        check_used(self, ("cql_tokens",), needs="alpha_cql")
