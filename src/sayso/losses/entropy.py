"""Entropy bonus. Dimensions: n = token positions."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, masked, mean_at, require_positive


def entropy_bonus(
    entropy: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    coef: float,
    num_in_step: float,
) -> Loss:
    """``-coef / N * sum H``: minimising it keeps the policy undecided.

    Args:
        entropy: Entropy (nats) of the distribution each token was drawn from.
        is_action: True where the policy chose the token.
        coef: Strength, at least 0.
        num_in_step: What the sum is divided by, over the whole optimiser step.

    Source:
        Mnih et al. 2016, arXiv:1602.01783, sec. 4. The gradient is that of the entropy at the
        states visited; how it changes which states are visited is ignored, as in the source.
    """
    require_positive(num_in_step, "num_in_step")
    value = -coef * masked(entropy, is_action).sum() / num_in_step
    return Loss(value, {"policy/entropy": mean_at(entropy, is_action)})
