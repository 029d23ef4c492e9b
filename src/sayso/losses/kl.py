r"""Kullback-Leibler divergence of the policy from a reference: estimators and a loss.

Dimensions: n = positions of one packed row. Log-probabilities are in nats. Tokens are drawn from
the policy π. With :math:`x = \log\pi - \log\pi_{ref}` at a sampled token, three estimators of
KL(π ‖ ref):

======  =========================  ==========================================
k1      x                          unbiased; may be negative
k2      x² / 2                     biased; close when π is near the reference
k3      exp(−x) − 1 + x            unbiased; never negative
======  =========================  ==========================================

An unbiased *value* does not give an unbiased *gradient*. Expected gradients, on-policy:

* k1 in the reward (subtracted, detached): that of KL(π ‖ ref), exact for whole sequences.
* k2 as a loss: that of KL(π ‖ ref) at each decision.
* k3 as a loss: that of KL(ref ‖ π), the other direction, at each decision.
* k1 as a loss: 0. It would be an option without effect, so ``kl_loss`` refuses it.

As losses they hold the visited contexts fixed: that the policy's choices change which contexts
come next has no gradient. Only k1 in the reward has that part.

Source:
    Schulman 2020, "Approximating KL Divergence"; gradients: arXiv:2512.21852.

Tests:
    tests/math/test_kl.py
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.loss import (
    LOG_RATIO_LIMIT,
    Loss,
    bounded_exp,
    check_count,
    mean_over,
    where_action,
)
from sayso.metrics import Mean


def k1(logprob: Float[Tensor, " n"], logprob_ref: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Log-ratio of policy to reference: unbiased for KL(policy ‖ reference), high variance."""
    return logprob - logprob_ref


def k2(logprob: Float[Tensor, " n"], logprob_ref: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Half the squared log-ratio; its expected gradient is that of KL(policy ‖ reference)."""
    return (logprob - logprob_ref).square() / 2


def k3(logprob: Float[Tensor, " n"], logprob_ref: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Never negative and unbiased; its expected gradient is that of KL(reference ‖ policy).

    Where the policy is more than 20 nats *below* the reference, both parts stop at the clamp and
    the gradient is 0: the linear part alone would push the policy further down.
    """
    log_ratio = logprob - logprob_ref
    return bounded_exp(-log_ratio) - 1 + log_ratio.clamp(min=-LOG_RATIO_LIMIT)


def kl_loss(
    logprob: Float[Tensor, " n"],
    logprob_ref: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    estimator: Literal["k2", "k3"],
    num_actions_in_step: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Divergence from a reference as a loss term, before its coefficient.

    .. math:: \tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\; w_i\, k(\log\pi_i, \log\pi_{ref,i})

    Args:
        logprob: Log-probability of each token under the policy being trained.
        logprob_ref: The same under the reference. Carries no gradient.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        estimator: ``"k2"`` for the gradient of KL(policy ‖ reference), ``"k3"`` for that of
            KL(reference ‖ policy).
        num_actions_in_step: N: action tokens of the whole optimiser step.
        weight: Factor per token, no gradient. When the tokens come from an older policy, pass the
            importance ratio: without it the gradients stated above do not hold.

    Returns:
        The loss, with the metrics of ``kl_metrics``.

    Raises:
        ValueError: For ``"k1"``, whose expected gradient is 0, and any other estimator; for a
            count that is not positive and finite; if shapes differ.

    Source:
        See the module. GRPO (arXiv:2402.03300, eq. 4) is k3.

    Tests:
        tests/math/test_kl.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    live = where_action(logprob, is_action)
    reference = where_action(logprob_ref.detach(), is_action)
    if estimator == "k2":
        per_token = k2(live, reference)
    elif estimator == "k3":
        per_token = k3(live, reference)
    else:
        raise ValueError(
            f"estimator must be 'k2' or 'k3' in the loss, got {estimator!r}. The expected gradient "
            "of k1 as a loss is 0, so it has no effect there; use k1 in the reward."
        )
    if weight is not None:
        per_token = per_token * where_action(weight.detach(), is_action)
    value = per_token.sum() / num_actions_in_step
    return Loss(value, kl_metrics(logprob, logprob_ref, is_action))


@torch.no_grad()
def kl_metrics(
    logprob: Float[Tensor, " n"],
    logprob_ref: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
) -> dict[str, Mean]:
    """Two estimates of KL(policy ‖ reference) in nats per action token, for the log.

    Returns:
        ``kl/mean`` (k1, unbiased, can be below 0) and ``kl/k3`` (never below 0, less noisy).
    """
    live, reference = where_action(logprob, is_action), where_action(logprob_ref, is_action)
    return {
        "kl/mean": mean_over(k1(live, reference), is_action),
        "kl/k3": mean_over(k3(live, reference), is_action),
    }
