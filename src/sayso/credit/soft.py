r"""KL-regularised ("soft") values and policies of tables, exactly.

The objective is :math:`E[R] - \beta\,\mathrm{KL}(\pi \| \pi_{ref})` over whole episodes. With
deterministic transitions its solution is known in closed form:

.. math:: Q^*(h,a) = r + V^*(h'),\quad V^*(h) = \beta \log \sum_a \pi_{ref}(a|h) e^{Q^*(h,a)/\beta},
    \quad \pi^*(a|h) = \pi_{ref}(a|h)\, e^{(Q^*(h,a) - V^*(h))/\beta}

Dimensions: t = decisions of one episode, k = actions.

Source:
    Nachum et al. 2017, arXiv:1702.08892, sec. 3 and 4, with a prior in place of the uniform policy.

Tests:
    tests/math/test_soft.py, by enumeration of TinyLang.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sayso.credit.discounts import aligned
from sayso.credit.group import check_returns

Numbers = Sequence[float] | NDArray[np.float64]


def soft_value(q: Numbers, prior: Numbers, *, beta: float) -> float:
    r"""Value of a context whose actions are worth ``q``, under the best policy near the prior.

    .. math:: V = \beta \log \sum_a p(a)\, e^{Q(a)/\beta}

    Also what Q# says of the returns of the reference policy: with the returns that can follow a
    token as ``q`` and their probabilities under the reference as ``prior``, the result is the
    token's own soft Q (deterministic transitions; arXiv:2502.20548).

    Args:
        q: Values, in reward units. Those of actions with prior 0 are ignored.
        prior: Probabilities of the actions, at least one of them positive.
        beta: Weight of the KL, in reward units per nat; 0 < beta.

    Raises:
        ValueError: If β is not positive and finite, or no action has a probability.
    """
    values, chances = _with_chance(q, prior, beta)
    best = values.max()
    return float(best + beta * np.log(np.sum(chances * np.exp((values - best) / beta))))


def soft_policy(q: Numbers, prior: Numbers, *, beta: float) -> NDArray[np.float64]:
    r"""The policy that reaches ``soft_value``: :math:`\pi(a) \propto p(a)\, e^{Q(a)/\beta}`.

    Args:
        q: As there.
        prior: As there.
        beta: As there.

    Returns:
        Probabilities, float64 [k]; 0 where the prior is 0.

    Raises:
        ValueError: As there.
    """
    values, _ = _with_chance(q, prior, beta)
    chances = np.asarray(prior, np.float64)
    shifted = np.where(chances > 0, np.asarray(q, np.float64) - values.max(), 0.0)
    weights = chances * np.exp(shifted / beta)
    return np.asarray(weights / weights.sum())


def soft_to_go(
    rewards: Numbers, log_ratios: Numbers, *, beta: float, final_value: float = 0.0
) -> NDArray[np.float64]:
    r"""What is earned from each decision on, less what the distance from the reference costs.

    .. math:: G_t = \sum_{k \ge t} (r_k - \beta x_k) + V_T,\quad x = \log \pi - \log \pi_{ref}

    At the optimum it is :math:`V^*(h_t)` on *every* path, not only on average.

    Args:
        rewards: After each decision of one episode.
        log_ratios: x of each, in nats.
        beta: Weight of the KL.
        final_value: Value of what follows the last decision.

    Returns:
        Float64 [t].

    Raises:
        ValueError: If lengths differ, or a number is None or not finite.
    """
    earned = np.asarray(aligned(rewards, "rewards", len(rewards)))
    costs = beta * np.asarray(aligned(log_ratios, "log_ratios", len(rewards)))
    (after,) = check_returns([final_value], "final_value")
    return np.asarray(np.cumsum((earned - costs)[::-1])[::-1] + after)


def path_residuals(
    rewards: Numbers, log_ratios: Numbers, values: Numbers, *, beta: float
) -> NDArray[np.float64]:
    r"""Path consistency of every sub-path of one episode.

    .. math:: C_{ij} = V_i - V_j - \sum_{t=i}^{j-1} (r_t - \beta x_t)

    All are 0 if and only if the path agrees with the optimum.

    Args:
        rewards: After each of t decisions.
        log_ratios: :math:`x = \log\pi - \log\pi_{ref}` of each, in nats.
        values: Of the contexts of the decisions and of what follows the last one: t + 1.
        beta: Weight of the KL.

    Returns:
        Float64 [t + 1, t + 1]; entries with j <= i are 0.

    Raises:
        ValueError: If lengths differ, or a number is None or not finite.

    Source:
        Nachum et al. 2017, arXiv:1702.08892, sec. 4.
    """
    num = len(rewards)
    to_go = np.append(soft_to_go(rewards, log_ratios, beta=beta), 0.0)
    ahead = np.asarray(aligned(values, "values", num + 1)) - to_go
    return np.triu(ahead[:, None] - ahead[None, :], k=1)


def _with_chance(
    q: Numbers, prior: Numbers, beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and probabilities of the actions that have one."""
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be positive and finite, got {beta}")
    values, chances = np.asarray(q, np.float64), np.asarray(prior, np.float64)
    if values.shape != chances.shape or values.ndim != 1:
        raise ValueError(f"q and prior differ in shape: {values.shape}, {chances.shape}")
    possible = chances > 0
    if not possible.any():
        raise ValueError("no action has a positive probability under the prior")
    return values[possible], chances[possible]
