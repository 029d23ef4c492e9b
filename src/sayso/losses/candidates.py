"""Losses of critics and policies over candidates. Dimensions: n = decisions, k = candidates."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sayso.losses.loss import Loss, check_count
from sayso.metrics import Mean


def candidate_td(
    value: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    weight: Float[Tensor, " n"],
    *,
    num_in_step: float,
    huber: float,
) -> Loss:
    r"""Huber loss of the value of the action that was taken.

    .. math:: \tfrac1N \sum_i w_i h_δ(Q_i - y_i),\quad
        h_δ(x) = \tfrac12 x^2 \text{ if } |x| \le δ \text{ else } δ (|x| - \tfrac12 δ)

    Args:
        value: Q of the action taken, in reward units, differentiable.
        target: y. Carries no gradient.
        weight: Importance weight of each decision.
        num_in_step: N: decisions of the whole optimiser step.
        huber: δ, in reward units.

    Returns:
        The loss, with metrics ``q/squared_error``, ``q/mean`` and ``q/target``.

    Raises:
        ValueError: If shapes differ, or δ or the count is not positive.

    Source:
        Mnih et al. 2015, doi:10.1038/nature14236, methods (clipped errors are this loss's
        gradient); importance weights: Schaul et al. 2016, arXiv:1511.05952, sec. 3.4.

    Tests:
        tests/math/test_candidate_values.py
    """
    check_count("num_in_step", num_in_step)
    if not huber > 0:
        raise ValueError(f"huber must be positive, got {huber}")
    if not value.shape == target.shape == weight.shape:
        raise ValueError(f"shapes differ: {value.shape}, {target.shape}, {weight.shape}")
    wanted = target.detach()
    each = torch.nn.functional.huber_loss(value, wanted, reduction="none", delta=huber)
    count = float(len(value))
    return Loss(
        (weight * each).sum() / num_in_step,
        {
            "q/squared_error": Mean(float((value.detach() - wanted).square().sum()), count),
            "q/mean": Mean(float(value.detach().sum()), count),
            "q/target": Mean(float(wanted.sum()), count),
        },
    )


def conservative(
    values: Float[Tensor, "n k"],
    taken: Int[Tensor, " n"],
    weight: Float[Tensor, " n"],
    *,
    num_in_step: float,
) -> Loss:
    r"""Pushes down what was not taken: CQL(H) over candidates.

    .. math:: \tfrac1N \sum_i w_i \bigl(\log \sum_u e^{Q_i(u)} - Q_i(u_i)\bigr)

    Args:
        values: Q of each candidate, ``-inf`` for padding, differentiable.
        taken: Place of the action that was taken.
        weight: Importance weight of each decision.
        num_in_step: N: decisions of the whole optimiser step.

    Returns:
        The loss, with metric ``q/overestimation`` (the bracket).

    Raises:
        ValueError: If the count is not positive.

    Source:
        Kumar et al. 2020, arXiv:2006.04779, eq. 4. The sum runs over the candidates at hand.

    Tests:
        tests/math/test_candidate_values.py
    """
    check_count("num_in_step", num_in_step)
    gap = values.logsumexp(-1) - values.gather(-1, taken[:, None]).squeeze(-1)
    metrics = {"q/overestimation": Mean(float(gap.detach().sum()), float(len(gap)))}
    return Loss((weight * gap).sum() / num_in_step, metrics)


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
