"""Losses of action values. Dimensions: n = positions of one packed row."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.losses.expectile import asymmetric_square
from sayso.losses.kinds import CriticLoss
from sayso.losses.loss import Loss, check_count, mean_over, where_action


def td_loss(
    value: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_actions_in_step: float,
    kind: CriticLoss = "mse",
    delta: float = 1.0,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""How far values of actions are from what they should be.

    .. math:: \tfrac{1}{N} \sum_i w_i \begin{cases}
        \tfrac12 e_i^2 & |e_i| \le \delta \text{ or mse} \\
        \delta (|e_i| - \tfrac12 \delta) & \text{else}
        \end{cases}, \quad e_i = Q_i - y_i

    Args:
        value: Q of the action that was taken, in reward units, differentiable.
        target: y. Carries no gradient: what it was bootstrapped from learns nothing from it.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        num_actions_in_step: N: action tokens of the whole optimiser step.
        kind: ``"mse"``, or ``"huber"``, whose gradient is bounded by δ.
        delta: δ, in reward units.
        weight: Importance weights; unset: 1.

    Returns:
        The loss, with metrics ``q/mean``, ``q/target`` and ``q/td_error`` (mean of |e|).

    Raises:
        ValueError: If δ or the count is not positive, or shapes differ.

    Source:
        Mnih et al. 2015 (DQN), which clips the error to [-1, 1]: Huber with δ = 1.

    Tests:
        tests/math/test_q_losses.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    live, wanted = where_action(value, is_action), where_action(target.detach(), is_action)
    error = live - wanted
    size = error.abs()
    each = 0.5 * error.square()
    if kind == "huber":
        each = torch.where(size <= delta, each, delta * (size - 0.5 * delta))
    metrics = {
        "q/mean": mean_over(live, is_action),
        "q/target": mean_over(wanted, is_action),
        "q/td_error": mean_over(size, is_action),
    }
    return Loss(_weighed(each, weight, is_action).sum() / num_actions_in_step, metrics)


def expectile_loss(
    value: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_actions_in_step: float,
    tau: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Asymmetric squared error: V becomes the τ-expectile of what it is shown.

    .. math:: \tfrac{1}{N} \sum_i w_i\, \lvert \tau - 1[u_i < 0] \rvert\, u_i^2,
        \quad u_i = \hat q_i - V_i

    τ = 0.5 is half the squared error, so V is the mean: SARSA. As τ → 1, V goes to the largest
    value that the data hold. Show it values of actions, not returns: the expectile of *returns*
    takes luck for skill (a fair coin of ±1 has the 0.9-expectile 0.8).

    Args:
        value: V of the context each token was chosen in, differentiable.
        target: q̂ of the token, by a target network. Carries no gradient.
        is_action: True where the policy chose the token.
        num_actions_in_step: N: action tokens of the whole optimiser step.
        tau: In (0, 1).
        weight: Importance weights; unset: 1.

    Returns:
        The loss, with metric ``q/v`` (mean of V).

    Raises:
        ValueError: If τ is out of range, the count is not positive, or shapes differ.

    Source:
        Kostrikov et al. 2021, arXiv:2110.06169, eq. 5; for language Snell et al. 2022,
        arXiv:2206.11871, eq. 4.

    Tests:
        tests/math/test_q_losses.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    live, wanted = where_action(value, is_action), where_action(target.detach(), is_action)
    each = asymmetric_square(wanted - live, tau)
    metrics = {"q/v": mean_over(live, is_action)}
    return Loss(_weighed(each, weight, is_action).sum() / num_actions_in_step, metrics)


def conservatism(
    taken: Float[Tensor, " n"],
    log_total: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_actions_in_step: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Cross-entropy with Q as logits: tokens that the data lack are pushed down.

    .. math:: \tfrac{1}{N} \sum_i w_i \Bigl[\log \textstyle\sum_a e^{Q(h_i, a)} - Q(h_i, a_i)\Bigr]

    Together with half the squared TD error its weight α moves the fixed point to
    :math:`Q(a) = y(a) + \alpha (1 - \mathrm{softmax}(Q)(a) / \pi_b(a))`: as α → ∞, softmax(Q)
    becomes π_b.

    Args:
        taken: Q of the token in the data, differentiable.
        log_total: Log of the sum over all tokens (``QHead.log_total``). Over some tokens, the one
            in the data among them, it is a lower bound: those left out are not pushed down.
        is_action: True where the policy chose the token.
        num_actions_in_step: N: action tokens of the whole optimiser step.
        weight: Importance weights; unset: 1.

    Returns:
        The loss, with metric ``q/cross_entropy`` in nats.

    Raises:
        ValueError: If the count is not positive or shapes differ.

    Source:
        The cross-entropy of Snell et al. 2022, arXiv:2206.11871, sec. 4.3; Kumar et al. 2020,
        arXiv:2006.04779, eq. 4 with the behaviour's own bootstrap.

    Tests:
        tests/math/test_q_losses.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    each = where_action(log_total, is_action) - where_action(taken, is_action)
    metrics = {"q/cross_entropy": mean_over(each, is_action)}
    return Loss(_weighed(each, weight, is_action).sum() / num_actions_in_step, metrics)


def _weighed(
    each: Float[Tensor, " n"], weight: Float[Tensor, " n"] | None, is_action: Bool[Tensor, " n"]
) -> Float[Tensor, " n"]:
    return each if weight is None else each * where_action(weight.detach(), is_action)
