"""Returns and targets of one episode without λ.

All functions take the action tokens of ONE episode in order; observation tokens never appear, so
inserting some changes nothing. ``final_value`` is 0.0 after a real end and the critic's value of
the last context after a truncation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sayso.credit.discounts import aligned, discounts
from sayso.credit.group import check_returns


def reward_to_go(
    rewards: Sequence[float] | NDArray[np.float64],
    *,
    turn_ends: Sequence[bool] | NDArray[np.bool_],
    gamma_token: float = 1.0,
    gamma_turn: float = 1.0,
    final_value: float = 0.0,
) -> NDArray[np.float64]:
    r"""Discounted rewards from each action token on.

    .. math:: G_t = r_t + g_t G_{t+1},\quad G_T = \text{final\_value}

    with :math:`g_t` = ``gamma_turn`` where t ends a turn, else ``gamma_token``. A reverse scan: the
    quotient of cumulative sums by powers of γ, seen elsewhere, divides by 0 at γ = 0.

    Args:
        rewards: Reward for each action token; a turn's reward sits on its last token.
        turn_ends: See ``discounts``.
        gamma_token: See ``discounts``.
        gamma_turn: See ``discounts``.
        final_value: Value of what follows the last token.

    Returns:
        Float64 [n].

    Raises:
        ValueError: If lengths differ, or a number is None, not finite or out of range.

    Source:
        Sutton & Barto 2018, eq. 3.9.

    Tests:
        tests/math/test_returns.py

    Example:
        >>> reward_to_go([0.0, 1.0, 0.0, 2.0], turn_ends=[False, True, False, True]).tolist()
        [3.0, 3.0, 2.0, 2.0]
    """
    discount = discounts(turn_ends, gamma_token=gamma_token, gamma_turn=gamma_turn)
    earned = aligned(rewards, "rewards", len(discount))
    to_go = np.empty(len(discount))
    (after,) = check_returns([final_value], "final_value")
    for t in reversed(range(len(discount))):
        after = earned[t] + discount[t] * after
        to_go[t] = after
    return to_go


def n_step(
    rewards: Sequence[float] | NDArray[np.float64],
    values: Sequence[float] | NDArray[np.float64],
    *,
    n: int,
    final_value: float,
    turn_ends: Sequence[bool] | NDArray[np.bool_],
    gamma_token: float = 1.0,
    gamma_turn: float = 1.0,
) -> NDArray[np.float64]:
    r"""Rewards of the next n action tokens, then the critic's value of what follows.

    .. math:: y_t = \sum_{k<m} \Bigl(\prod_{j<k} g_{t+j}\Bigr) r_{t+k}
        + \Bigl(\prod_{j<m} g_{t+j}\Bigr) V_{t+m},\quad m = \min(n, T - t)

    Near the end fewer than n rewards remain; the discount counts the steps really taken, and what
    follows the last token is ``final_value``. n = 1 is the TD target, n ≥ T is ``reward_to_go``.

    Args:
        rewards: Reward for each action token; a turn's reward sits on its last token.
        values: Critic's value of the context each token was chosen in.
        n: Steps before bootstrapping. At least 1.
        final_value: Value of what follows the last token.
        turn_ends: See ``discounts``.
        gamma_token: See ``discounts``.
        gamma_turn: See ``discounts``.

    Returns:
        Targets, float64 [n].

    Raises:
        ValueError: If lengths differ, n < 1, or a number is None, not finite or out of range.

    Source:
        Sutton & Barto 2018, eq. 7.1.

    Tests:
        tests/math/test_returns.py
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    discount = discounts(turn_ends, gamma_token=gamma_token, gamma_turn=gamma_turn)
    num = len(discount)
    earned = aligned(rewards, "rewards", num)
    following = aligned(values, "values", num) + check_returns([final_value], "final_value")
    targets = np.empty(num)
    for t in range(num):
        end = min(t + n, num)
        target = following[end]
        for step in reversed(range(t, end)):
            target = earned[step] + discount[step] * target
        targets[t] = target
    return targets
