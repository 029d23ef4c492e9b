"""Losses that raise the probability of given actions. Dimensions: n = positions of one row."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, check_count, mean_over, where_action


def imitation(
    logprob: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_in_step: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Weighted negative log-likelihood of given actions.

    .. math:: -\tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\; w_i \log\pi_i

    Over all policies, its minimum in a state is at
    :math:`\pi(a) \propto \pi_b(a)\, E[w \mid a]`, with the data's own distribution
    :math:`\pi_b`: the data itself where all weights are equal.

    Args:
        logprob: Log-probability (nats) of each token under the policy being trained.
        is_action: True where the token is part of an action. Everything else is ignored, NaN
            included.
        num_in_step: N: action tokens, or episodes, of the whole optimiser step.
        weight: Factor per token, at least 0; carries no gradient. Default 1.

    Returns:
        The loss, with metrics ``imitation/surprisal``, the unweighted mean of -log π in nats per
        token, and with ``weight`` also ``imitation/weight``.

    Raises:
        ValueError: If the count is not positive and finite, or shapes differ.

    Source:
        Pomerleau 1989 (behavioural cloning); weighted: Peters & Schaal 2007, reward-weighted
        regression. Differs in that the sum is divided by a count that the caller passes.

    Tests:
        tests/math/test_imitation.py
    """
    check_count("num_in_step", num_in_step)
    live = where_action(logprob, is_action)
    metrics = {"imitation/surprisal": mean_over(-live, is_action)}
    if weight is None:
        return Loss(-live.sum() / num_in_step, metrics)
    factor = where_action(weight.detach(), is_action)
    metrics["imitation/weight"] = mean_over(factor, is_action)
    return Loss(-(factor * live).sum() / num_in_step, metrics)
