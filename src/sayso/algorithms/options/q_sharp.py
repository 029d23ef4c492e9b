"""Options of ``QSharp``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sayso.algorithms.checks import check_memory, check_positive, is_changed
from sayso.data.options import ReplayOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class QSharpOptions:
    """Options of ``QSharp``; written in a run file under ``[algorithm]``.

    Attributes:
        returns: ``"success"``: every return is 0 or 1; ``"histogram"``: any in [low, high].
        beta: Weight of the KL to the reference, in reward units per nat. It decides how the policy
            acts and nothing that is learnt.
        low: Least return from any token on, with ``"histogram"``.
        high: Greatest, likewise.
        bins: Outcomes from ``low`` to ``high``, likewise. Their distance should be below β.
        num_weighed: Tokens weighed at each decision, the likeliest under the reference; no other
            is ever said. Unset: all of a vocabulary of up to 1024, else 32.
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; 1 is fine, nothing is compared.
        updates_per_step: Optimiser steps per update, each on as many episodes as were collected.
        critic_lr: Learning rate of the head, the only thing that learns.
        replay: What is remembered; with capacity 0 only the episodes given are learnt from. Drawn
            uniformly: any other way would change how likely returns seem.
    """

    type: Literal["q_sharp"] = "q_sharp"
    returns: Literal["success", "histogram"] = "success"
    beta: float = 0.1
    low: float = 0.0
    high: float = 1.0
    bins: int = 51
    num_weighed: int | None = None
    tasks_per_step: int = 64
    group_size: int = 1
    updates_per_step: int = 4
    critic_lr: float = 1e-3
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    def __post_init__(self) -> None:
        check_memory(
            tasks_per_step=self.tasks_per_step, group_size=self.group_size,
            updates_per_step=self.updates_per_step, replay=self.replay,
        )  # fmt: skip
        check_positive(beta=self.beta, critic_lr=self.critic_lr, num_weighed=self.num_weighed)
        if not -float("inf") < self.low < self.high < float("inf"):
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.bins < 2:
            raise ValueError(f"bins must be at least 2, got {self.bins}")
        if self.replay.sampling != "uniform":
            raise ValueError(
                f"replay.sampling must be 'uniform', got {self.replay.sampling!r}: the head learns "
                "how likely each return is, and any other draw changes that"
            )
        changed = [n for n in ("low", "high", "bins") if is_changed(self, n)]
        if self.returns == "success" and changed:
            raise ValueError(
                f"{changed[0]} has no effect with returns = 'success', got "
                f"{getattr(self, changed[0])}: use 'histogram', or leave it out"
            )

    def outcomes(self) -> list[float]:
        """The returns that are told apart."""
        if self.returns == "success":
            return [0.0, 1.0]
        width = (self.high - self.low) / (self.bins - 1)
        return [self.low + width * place for place in range(self.bins)]
