"""Expectile regression. Dimensions: n = decisions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, check_count, mean_over, where_action


def asymmetric_square(gap: Float[Tensor, " n"], tau: float) -> Float[Tensor, " n"]:
    """Squares of gaps, weighed by τ where they are not negative and by 1 − τ where they are.

    Raises:
        ValueError: If τ is outside (0, 1).
    """
    if not 0 < tau < 1:
        raise ValueError(f"tau must be in (0, 1), got {tau}")
    return torch.where(gap.detach() < 0, 1 - tau, tau) * gap.square()


def expectile_loss(
    prediction: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    tau: float,
    is_action: Bool[Tensor, " n"],
    *,
    num_in_step: float,
) -> Loss:
    r"""Squared error that weighs a prediction that is too low by τ, one too high by 1 − τ.

    .. math:: \tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\;
        |\tau - 1[y_i < \hat y_i]|\,(y_i - \hat y_i)^2

    Its minimiser is the τ-expectile of the targets: the mean at τ = ½, their maximum as τ → 1. So
    a value of what was done becomes one of the best of what was done, and no action outside the
    data is ever asked about.

    Args:
        prediction: Differentiable, in reward units.
        target: What to regress on. Carries no gradient.
        tau: In (0, 1).
        is_action: True where it counts. Everything else is ignored, NaN included.
        num_in_step: N, of the whole optimiser step.

    Returns:
        The loss, with metric ``value/above_frac``: share of targets above the prediction.

    Raises:
        ValueError: If τ is outside (0, 1), the count is not positive, or shapes differ.

    Source:
        Kostrikov et al. 2021, arXiv:2110.06169, eq. 5.

    Tests:
        tests/math/test_expectile.py
    """
    check_count("num_in_step", num_in_step)
    error = where_action(target.detach(), is_action) - where_action(prediction, is_action)
    value = asymmetric_square(error, tau).sum() / num_in_step
    return Loss(value, {"value/above_frac": mean_over(error > 0, is_action)})
