"""Entropy bonus. Dimensions: n = positions of one packed row."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, check_count, mean_over, where_action


def entropy_bonus(
    entropy: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_actions_in_step: float,
) -> Loss:
    r"""Negative mean entropy of the policy, before its coefficient: minimising it explores more.

    .. math:: -\tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\; H_i

    Args:
        entropy: Entropy (nats) of the whole next-token distribution that each token was drawn
            from, differentiable. Not ``-logprob`` of the drawn token: the expected gradient of
            that is 0.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        num_actions_in_step: N: action tokens of the whole optimiser step.

    Returns:
        The loss, with metric ``policy/entropy`` (nats).

    Raises:
        ValueError: If ``num_actions_in_step`` is not positive and finite, or shapes differ.

    Source:
        Mnih et al. 2016, arXiv:1602.01783, sec. 4. Holds the visited contexts fixed: it raises the
        entropy of each decision, not that of the distribution over whole texts.

    Tests:
        tests/math/test_losses.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    live = where_action(entropy, is_action)
    value = -live.sum() / num_actions_in_step
    return Loss(value, {"policy/entropy": mean_over(live, is_action)})
