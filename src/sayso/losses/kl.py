"""Distance to a reference policy, per token and as a loss. Dimensions: n = token positions."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import Loss, log_ratio, masked, mean_at, require_positive

LossEstimator = Literal["k2", "k3"]


def k1(logprob: Float[Tensor, " n"], logprob_ref: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """``log pi - log ref``: unbiased for KL(pi | ref), may be negative.

    In the *reward* its policy gradient is that of the reverse KL. As a *loss* its expected
    gradient is zero, so ``kl_loss`` does not offer it.

    Source:
        Schulman 2020, "Approximating KL divergence".
    """
    return logprob - logprob_ref


def kl_loss(
    logprob: Float[Tensor, " n"],
    logprob_ref: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    estimator: LossEstimator,
    num_in_step: float,
    logprob_sampled: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Per-token KL estimate as a loss, summed over a count of the whole step.

    With ``d = log ref - log pi`` per token: k2 is ``d**2 / 2``, whose expected gradient is that of
    the reverse KL(pi | ref); k3 is ``exp(d) - 1 - d``, whose *value* estimates the reverse KL but
    whose expected gradient is that of the forward KL(ref | pi).

    Args:
        logprob: Log-probability (nats) of each token under the policy being trained.
        logprob_ref: The same under the reference. Carries no gradient.
        is_action: True where the policy chose the token; prompts and observations count nothing.
        estimator: ``"k2"`` or ``"k3"``.
        num_in_step: What the sum is divided by.
        logprob_sampled: If given, tokens are weighted by the (detached) ratio to the sampling
            policy: needed when the batch is used for more than one step.

    Raises:
        ValueError: For k1, whose expected gradient as a loss is zero, and for unknown names.

    Source:
        Schulman 2020; "A comedy of estimators", arXiv:2512.21852.

    Tests:
        tests/math/test_kl.py: enumerated gradients.
    """
    require_positive(num_in_step, "num_in_step")
    gap = -log_ratio(logprob, logprob_ref, is_action)
    if estimator == "k2":
        value = gap.square() / 2
    elif estimator == "k3":
        value = gap.exp() - 1 - gap
    else:
        raise ValueError(
            f"estimator must be 'k2' or 'k3' in the loss, got {estimator!r}: "
            "the expected gradient of k1 as a loss is zero; put k1 in the reward"
        )
    metrics = {"kl/mean": mean_at(-gap, is_action)}
    if logprob_sampled is not None:
        value = value * log_ratio(logprob, logprob_sampled, is_action).exp().detach()
    return Loss(masked(value, is_action).sum() / num_in_step, metrics)


def kl_metric(
    logprob: Float[Tensor, " n"],
    logprob_ref: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
) -> Loss:
    """No loss, only ``kl/mean``: for KL that is paid in the reward."""
    with torch.no_grad():
        gap = log_ratio(logprob, logprob_ref, is_action)
    return Loss(gap.new_zeros(()), {"kl/mean": mean_at(gap, is_action)})
