"""Keeping the policy near a reference: in the reward or in the loss, fixed or adaptive."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sayso.algorithms.options.kl import KLOptions
from sayso.data.batch import Batch
from sayso.errors import OptionValueError
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.models.scoring import score

CLIP = 0.2


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
