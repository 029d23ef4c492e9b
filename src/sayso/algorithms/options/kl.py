"""Options of the distance to the reference model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import is_changed


@dataclass(frozen=True, slots=True, kw_only=True)
class KLOptions:
    """Distance to the reference model; written in a run file under ``[kl]``.

    The reference is the model as it was before training: with adapters the base weights (adapter
    off), else a frozen copy.

    Attributes:
        coef: Weight β, in reward units per nat; 0 computes no reference at all. Refused with
            ``sampling.top_k``, ``top_p`` or ``min_p``, under which the divergence is infinite.
        place: ``"reward"`` subtracts β times the k1 estimate from the reward, whose policy gradient
            is exactly that of J − β KL; ``"loss"`` adds an estimator to the loss.
        estimator: In the loss: ``"k2"`` (gradient of the reverse KL) or ``"k3"`` (GRPO's; its
            gradient is that of the forward KL). In the reward it is always ``"k1"``.
        target: Adapt β so that the mean KL per token is this, in nats; unset keeps it fixed.
        horizon: Episodes over which an adaptive β reacts.
    """

    coef: float = 0.0
    place: Literal["reward", "loss"] = "reward"
    estimator: Literal["k1", "k2", "k3"] = "k1"
    target: float | None = None
    horizon: int = 1_000

    def __post_init__(self) -> None:
        if not 0 <= self.coef < float("inf"):
            raise ValueError(f"coef must be at least 0 and finite, got {self.coef}")
        if self.place == "loss" and self.estimator == "k1":
            raise ValueError(
                "estimator k1 has no effect in the loss (its expected gradient is 0): use k2 or k3 "
                "there, or place = 'reward'"
            )
        if self.place == "reward" and self.estimator != "k1":
            raise ValueError(
                f"estimator {self.estimator} in the reward has a biased gradient: use k1 there, or "
                "place = 'loss'"
            )
        if self.target is not None and not self.target > 0:
            raise ValueError(f"target must be positive, got {self.target}")
        if self.horizon < 1:
            raise ValueError(f"horizon must be positive, got {self.horizon}")
        if self.target is None and is_changed(self, "horizon"):
            raise ValueError(
                "horizon has no effect while coef is fixed: set target, or leave it out"
            )
