"""The loss of a policy over candidates. Dimensions: n = decisions, k = candidates."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.losses.loss import Loss, check_count
from sayso.metrics import Mean


def candidate_actor(
    logprob: Float[Tensor, "n k"],
    values: Float[Tensor, "n k"],
    weight: Float[Tensor, " n"],
    *,
    temperature: float,
    num_in_step: float,
) -> Loss:
    r"""What a policy over candidates loses, its entropy counted in: an exact expectation.

    .. math:: \tfrac1N \sum_i w_i \sum_u π_i(u) (τ \log π_i(u) - Q_i(u))

    Summed over candidates, never averaged: a mean would scale the gradient by 1/k, and padding
    would change it.

    Args:
        logprob: log π of each candidate, ``-inf`` for padding, differentiable.
        values: Q of each. Carries no gradient; ignored at padding.
        weight: Importance weight of each decision.
        temperature: τ, reward units per nat.
        num_in_step: N: decisions of the whole optimiser step.

    Returns:
        The loss, with metric ``policy/entropy`` (nats per decision).

    Raises:
        ValueError: If shapes differ or the count is not positive.

    Source:
        Christodoulou 2019, arXiv:1910.07207, eq. 12.

    Tests:
        tests/math/test_candidate_values.py
    """
    check_count("num_in_step", num_in_step)
    if logprob.shape != values.shape:
        raise ValueError(f"shapes differ: {tuple(logprob.shape)} and {tuple(values.shape)}")
    live = logprob.detach() > -torch.inf
    log_pi = torch.where(live, logprob, 0.0)
    pi = torch.where(live, log_pi.exp(), 0.0)
    worth = torch.where(live, values.detach(), 0.0)
    each = (pi * (temperature * log_pi - worth)).sum(-1)
    entropy = -(pi * log_pi).sum(-1).detach()
    metrics = {"policy/entropy": Mean(float(entropy.sum()), float(len(entropy)))}
    return Loss((weight * each).sum() / num_in_step, metrics)
