"""Loss of a critic. Dimensions: n = positions of one packed row."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, check_count, mean_over, where_action


def value_loss(
    value: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_actions_in_step: float,
    value_sampled: Float[Tensor, " n"] | None = None,
    clip: float | None = None,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Half the squared error of the critic, pessimistically clipped on request.

    .. math:: \tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\; \tfrac12 \max\bigl((V_i - y_i)^2,\;
        (V^{old}_i + \mathrm{clip}(V_i - V^{old}_i, -c, c) - y_i)^2\bigr)

    Without ``clip`` only the first of the two. The maximum makes the clipped loss at least as
    large as the plain one; a value that moved more than c *towards* its target has no gradient.

    Args:
        value: Value of the context each token was chosen in, in reward units, differentiable.
        target: Return it should predict. Carries no gradient.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        num_actions_in_step: N: action tokens of the whole optimiser step.
        value_sampled: What the critic said when the advantages were computed. Needed with ``clip``.
        clip: c, in reward units. Positive. None for no clipping.
        weight: Factor per token, no gradient. Default 1.

    Returns:
        The loss, with metrics ``value/squared_error`` (unclipped, without the half),
        ``value/mean`` (predictions), ``value/target`` and, with ``clip``, ``value/clipped_frac``.

    Raises:
        ValueError: If only one of ``value_sampled`` and ``clip`` is given, ``clip`` or the count
            is not positive, or shapes differ.

    Source:
        Baselines' PPO2; see "The 37 implementation details of PPO", detail 9. Differs in the
        normaliser. The half is part of this function, not of the caller's coefficient.

    Tests:
        tests/math/test_losses.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    if (clip is None) is not (value_sampled is None):
        raise ValueError(f"pass both clip (got {clip}) and value_sampled, or neither")
    live = where_action(value, is_action)
    wanted = where_action(target.detach(), is_action)
    error = (live - wanted).square()
    metrics = {
        "value/squared_error": mean_over(error, is_action),
        "value/mean": mean_over(live, is_action),
        "value/target": mean_over(wanted, is_action),
    }
    if clip is not None and value_sampled is not None:
        if not clip > 0:
            raise ValueError(f"clip must be positive, got {clip}")
        before = where_action(value_sampled.detach(), is_action)
        held = (before + (live - before).clamp(-clip, clip) - wanted).square()
        metrics["value/clipped_frac"] = mean_over(held > error, is_action)
        error = torch.maximum(error, held)
    if weight is not None:
        error = error * where_action(weight.detach(), is_action)
    return Loss(error.sum() / (2 * num_actions_in_step), metrics)
