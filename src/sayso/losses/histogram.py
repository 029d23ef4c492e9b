"""Returns as a distribution over equally spaced outcomes, and the loss of predicting one.

Dimensions: n = positions of one packed row, m = outcomes.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, check_count, mean_over, where_action


def two_hot(returns: Float[Tensor, " n"], outcomes: Float[Tensor, " m"]) -> Float[Tensor, "n m"]:
    """Each return as a distribution over its two neighbours, with the return as its mean.

    Exact for a return that is an outcome. Between two the mean is kept and the spread grows: at
    distance w of the outcomes ``log E exp(R / β)`` is too large by (w/β)²/8 at most.

    Args:
        returns: Reward units; outside the outcomes the nearest of them.
        outcomes: Ascending, equally spaced, at least two.

    Source:
        Bellemare et al. 2017, arXiv:1707.06887, sec. 4. Not HL-Gauss (arXiv:2403.03950), whose
        smoothing adds to every log-mean-exp.

    Tests:
        tests/math/test_soft.py
    """
    step = outcomes[1] - outcomes[0]
    inside = returns.clamp(outcomes[0], outcomes[-1])
    return (1 - (inside[:, None] - outcomes).abs() / step).clamp(min=0)


def histogram_loss(
    logits: Float[Tensor, "n m"],
    target: Float[Tensor, "n m"],
    is_action: Bool[Tensor, " n"],
    *,
    num_actions_in_step: float,
) -> Loss:
    r"""Cross-entropy between target distributions and predicted ones.

    .. math:: -\tfrac{1}{N} \sum_i 1[\text{is\_action}_i] \sum_m y_{im} \log p_{im}

    With two outcomes it is the binary cross-entropy of the probability of success.

    Args:
        logits: Of the outcomes of each decision.
        target: Distributions. Carry no gradient.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        num_actions_in_step: N: action tokens of the whole optimiser step.

    Returns:
        The loss, with metric ``critic/cross_entropy``.

    Raises:
        ValueError: If the count is not positive, or shapes differ.

    Tests:
        tests/math/test_soft.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    if logits.shape != target.shape:
        raise ValueError(f"shapes differ: {tuple(logits.shape)} and {tuple(target.shape)}")
    wide = is_action[:, None].expand_as(logits)
    live, wanted = where_action(logits, wide), where_action(target.detach(), wide)
    surprise = -(wanted * live.log_softmax(-1)).sum(-1)
    return Loss(
        where_action(surprise, is_action).sum() / num_actions_in_step,
        {"critic/cross_entropy": mean_over(surprise, is_action)},
    )
