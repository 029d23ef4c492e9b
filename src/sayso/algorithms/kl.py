"""Keeping the policy near a reference: in the reward or in the loss, fixed or adaptive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sayso.algorithms.checks import is_changed
from sayso.data.batch import Batch
from sayso.errors import OptionValueError
from sayso.models.distribution import Distribution
from sayso.models.lm import LanguageModel
from sayso.models.scoring import score

CLIP = 0.2


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


def refuse_kl(kl: KLOptions, *, instead: str) -> None:
    """Refuse the weight of a distance that a loss does not have.

    Args:
        kl: The options.
        instead: What the algorithm has in its place.

    Raises:
        OptionValueError: If the weight is not 0.
    """
    if kl.coef:
        raise OptionValueError(
            where="kl.coef",
            problem=f"got {kl.coef}, and the loss of this algorithm has no such term.",
            fix=f"Leave it out: {instead}.",
        )


class KLController:
    """The weight β, fixed or adaptive.

    Adaptive: ``β ← β (1 + clip(KL / target − 1, ±0.2) n / horizon)`` after a batch of n episodes
    (Ziegler et al. 2019, arXiv:1909.08593, sec. 2.2; here KL is per token). A batch larger than the
    horizon counts as one of that size: β would turn negative.

    Attributes:
        coef: β now.
    """

    def __init__(self, options: KLOptions) -> None:
        self.options, self.coef = options, options.coef

    def update(self, mean_kl: float, num_episodes: int) -> None:
        """Take in the mean KL per token of a batch; one that is not finite moves nothing."""
        if self.options.target is None or not math.isfinite(mean_kl):
            return
        error = max(-CLIP, min(CLIP, mean_kl / self.options.target - 1))
        self.coef *= 1 + error * min(1.0, num_episodes / self.options.horizon)


@torch.no_grad()
def reference_logprobs(lm: LanguageModel, batch: Batch, distribution: Distribution) -> list[Tensor]:
    """Log-probability of each action token under the reference, per row."""
    found = []
    with lm.reference():
        for row in batch.rows:
            scores = score(
                lm, ids=row.ids, position=row.position, visible=row.forest, source=row.source,
                target=row.target, distribution=distribution,
            )  # fmt: skip
            found.append(scores.logprob)
    return found
