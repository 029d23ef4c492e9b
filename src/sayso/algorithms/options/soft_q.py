"""Options of ``SoftQ``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sayso.algorithms.checks import check_memory, check_positive, check_weights, is_changed
from sayso.data.options import ReplayOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftQOptions:
    """Options of ``SoftQ``; written in a run file under ``[algorithm]``.

    Attributes:
        mode: How far a residual looks: ``"pcl"`` from each token to the end of the episode,
            ``"td"`` one token ahead, ``"trajectory"`` over the whole episode at once.
        beta: Weight of the KL to the reference, in reward units per nat; 0.03 to 0.1 for rewards in
            [0, 1].
        alpha: Weight of one more KL term, on the tokens learnt from alone: it holds the policy back
            while values are still wrong, and the optimum becomes that of about β + α.
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; 1 is fine, nothing is compared.
        updates_per_step: Optimiser steps per update, each on as many episodes as were collected;
            beyond 4 the critic tends to chase its own errors.
        value_coef: Weight of the critic's residual against the policy's: with 1 it is one residual,
            whose gradient goes both ways.
        critic_lr: Learning rate of the value head.
        gamma_turn: Discount from one turn to the next. Only in mode ``"td"``: a sum of log-ratios
            over many turns telescopes without a discount only.
        target_rate: Share by which the value head's target follows it after a step, mode ``"td"``.
        replay: What is remembered; with capacity 0 only the episodes given are learnt from.
    """

    type: Literal["soft_q"] = "soft_q"
    mode: Literal["td", "pcl", "trajectory"] = "pcl"
    beta: float = 0.1
    alpha: float = 0.01
    tasks_per_step: int = 64
    group_size: int = 1
    updates_per_step: int = 1
    value_coef: float = 1.0
    critic_lr: float = 1e-3
    gamma_turn: float = 1.0
    target_rate: float = 0.05
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    def __post_init__(self) -> None:
        check_memory(
            tasks_per_step=self.tasks_per_step, group_size=self.group_size,
            updates_per_step=self.updates_per_step, replay=self.replay,
        )  # fmt: skip
        check_positive(beta=self.beta, critic_lr=self.critic_lr)
        check_weights(alpha=self.alpha, value_coef=self.value_coef)
        for name in ("gamma_turn", "target_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
            if self.mode != "td" and is_changed(self, name):
                raise ValueError(
                    f"{name} has no place in mode {self.mode!r}, got {getattr(self, name)}: "
                    "use mode 'td', or leave it out"
                )
        if self.target_rate == 0:
            raise ValueError("target_rate must be positive: a target that never moves is no value")
