r"""Residuals of the KL-regularised Bellman equation, with the language model as the policy.

With :math:`x_t = \log\pi(a_t|h_t) - \log\pi_{ref}(a_t|h_t)` the model's own log-probabilities hold
the action values: :math:`Q(h,a) = V(h) + \beta x(h,a)`. The soft value of this Q is V whatever the
model says, because :math:`\sum_a \pi_{ref} e^x = 1`: nothing has to be normalised.

Every residual is halved and divided by β. So scaled, the expected gradient over the policy's own
episodes is minus that of J − β KL, whatever the critic says; and a residual is in reward
units whatever β is.

Dimensions: n = positions of one packed row, s = sequences of it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sayso.losses.loss import Loss, check_count, mean_over, where_action
from sayso.metrics import Mean


def soft_bellman(  # nine symbols of one formula
    logprob: Float[Tensor, " n"],
    logprob_ref: Float[Tensor, " n"],
    value: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    beta: float,
    num_in_step: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Squared soft Bellman residual of each decision; the gradient is through it alone.

    .. math:: \tfrac{1}{N} \sum_t 1[\text{is\_action}_t]\; \tfrac{w_t}{2\beta}
        \bigl(V_t + \beta x_t - \mathrm{sg}[y_t]\bigr)^2

    The target decides how far it looks, from one step to the end of the episode:

    * one step: :math:`y_t = r_t + \gamma \bar V_{t+1}`;
    * m steps of path consistency:
      :math:`y_t = \sum_{k=t}^{t+m-1} r_k - \beta \sum_{k=t+1}^{t+m-1} x_k + V_{t+m}`;
    * to the end (the actor of OREO): the same with nothing, or the value of a cut-off, behind it.

    Args:
        logprob: Log-probability of each token under the policy being trained.
        logprob_ref: The same under the reference. Carries no gradient.
        value: V of the context of each token, in reward units; detach it to train the policy alone.
        target: y, in reward units. Carries no gradient.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        beta: Weight of the KL, in reward units per nat. Positive.
        num_in_step: N: episodes, or action tokens, of the whole optimiser step.
        weight: Factor per token, no gradient. Default 1.

    Returns:
        The loss, with metric ``soft/squared_residual`` (without the scale).

    Raises:
        ValueError: If β or the count is not positive and finite, or shapes differ.

    Source:
        Nachum et al. 2017, arXiv:1702.08892, sec. 4; actor: Wang et al. 2024, arXiv:2412.16145
        (OREO); logits as Q: Guo et al. 2021, arXiv:2106.07704. Differs in the scale, and from Guo
        et al. in the prior: theirs is uniform.

    Tests:
        tests/math/test_soft.py, tests/math/test_enumeration_learners.py
    """
    check_count("num_in_step", num_in_step)
    check_count("beta", beta)
    ratio = _log_ratio(logprob, logprob_ref, is_action)
    wanted = where_action(target.detach(), is_action)
    squared = (where_action(value, is_action) + beta * ratio - wanted).square()
    scaled = squared / (2 * beta)
    if weight is not None:
        scaled = scaled * where_action(weight.detach(), is_action)
    metrics = {"soft/squared_residual": mean_over(squared, is_action)}
    return Loss(scaled.sum() / num_in_step, metrics)


def soft_trajectory(  # noqa: PLR0913  # nine symbols of one formula
    logprob: Float[Tensor, " n"],
    logprob_ref: Float[Tensor, " n"],
    first_value: Float[Tensor, " s"],
    return_: Float[Tensor, " s"],
    is_action: Bool[Tensor, " n"],
    *,
    sequence: Int[Tensor, " n"],
    beta: float,
    num_in_step: float,
    weight: Float[Tensor, " s"] | None = None,
) -> Loss:
    r"""Squared soft Bellman residual of whole episodes; the gradient is through all their tokens.

    .. math:: \tfrac{1}{N} \sum_y \tfrac{w_y}{2\beta}
        \Bigl(V(h_0) + \beta \sum_{t \in y} x_t - R(y)\Bigr)^2

    Args:
        logprob: Log-probability of each token under the policy being trained.
        logprob_ref: The same under the reference. Carries no gradient.
        first_value: V of the first context of each sequence.
        return_: What each earned, with the value of a cut-off at its end. Carries no gradient.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        sequence: Number of the sequence each token belongs to, from 0. All its action tokens must
            be in this row: the residual of a part is not that of the whole.
        beta: Weight of the KL, in reward units per nat. Positive.
        num_in_step: N: sequences of the whole optimiser step.
        weight: Factor per sequence, no gradient. Default 1.

    Returns:
        The loss, with metric ``soft/squared_residual`` (without the scale; over sequences).

    Raises:
        ValueError: If β or the count is not positive and finite, or shapes differ.

    Source:
        arXiv:2505.15311 (TBRM), whose sum of Bellman residuals telescopes to
        this. Differs in that V is a head, not the log-sum-exp of the model's logits.

    Tests:
        tests/math/test_soft.py, tests/math/test_enumeration_learners.py
    """
    check_count("num_in_step", num_in_step)
    check_count("beta", beta)
    if first_value.shape != return_.shape:
        raise ValueError(f"shapes differ: {tuple(first_value.shape)}, {tuple(return_.shape)}")
    ratio = _log_ratio(logprob, logprob_ref, is_action)
    place = torch.where(is_action, sequence, 0)
    total = torch.zeros_like(first_value).index_add(0, place, ratio.to(first_value))
    squared = (first_value + beta * total - return_.detach()).square()
    scaled = squared / (2 * beta) * (1.0 if weight is None else weight.detach())
    mean = Mean(float(squared.detach().sum()), float(len(squared)))
    return Loss(scaled.sum() / num_in_step, {"soft/squared_residual": mean})


def _log_ratio(logprob: Tensor, logprob_ref: Tensor, is_action: Tensor) -> Tensor:
    """Log-ratio x at action positions, 0 elsewhere."""
    reference = where_action(logprob_ref.detach(), is_action)
    return where_action(logprob, is_action) - reference
