"""Critic losses. Dimensions: n = token positions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, masked, mean_at, require_positive


def value_loss(
    value: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_in_step: float,
    value_sampled: Float[Tensor, " n"] | None = None,
    clip: float | None = None,
) -> Loss:
    r"""Half the squared error of a critic, summed over a count of the whole step.

    With ``clip`` the larger of two errors counts: that of the value, and that of the value kept
    within ``clip`` of what it was when the batch was sampled.

    Args:
        value: Predictions, in reward units.
        target: What they should be. Carries no gradient.
        is_action: True at positions where the policy decided.
        num_in_step: What the sum is divided by.
        value_sampled: Predictions before the first update on this batch; needed with ``clip``.
        clip: Distance in reward units, or ``None``.

    Returns:
        The loss, with ``value/loss``, ``value/mean``, ``value/clipped_frac``.

    Raises:
        ValueError: If ``clip`` comes without ``value_sampled``.

    Source:
        Schulman et al. 2017, arXiv:1707.06347; clipping as in the authors' "baselines" code.

    Tests:
        tests/math/test_value.py
    """
    require_positive(num_in_step, "num_in_step")
    predicted, aim = masked(value, is_action), masked(target.detach(), is_action)
    error = (predicted - aim).square()
    metrics = {"value/mean": mean_at(value, is_action)}
    if clip is not None:
        if value_sampled is None:
            raise ValueError(
                "value clipping needs value_sampled, the predictions before the update"
            )
        before = masked(value_sampled.detach(), is_action)
        kept = before + (predicted - before).clamp(-clip, clip)
        clipped = (kept - aim).square()
        metrics["value/clipped_frac"] = mean_at((clipped > error).to(value), is_action)
        error = torch.maximum(error, clipped)
    metrics["value/loss"] = mean_at(error / 2, is_action)
    return Loss(error.sum() / (2 * num_in_step), metrics)
