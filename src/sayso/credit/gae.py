"""Generalised advantage estimation over the decisions of one episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sayso.credit.discounts import aligned, discounts
from sayso.credit.group import check_returns


class Credit(NamedTuple):
    """What an actor and its critic train on, one entry per action token, in order.

    Attributes:
        advantages: In reward units, float64 [n].
        returns: λ-returns, the critic's targets: advantages + values, float64 [n].
    """

    advantages: NDArray[np.float64]
    returns: NDArray[np.float64]


def gae(
    rewards: Sequence[float] | NDArray[np.float64],
    values: Sequence[float] | NDArray[np.float64],
    *,
    final_value: float,
    turn_ends: Sequence[bool] | NDArray[np.bool_],
    gamma_token: float = 1.0,
    gamma_turn: float = 1.0,
    lam: float = 1.0,
) -> Credit:
    r"""Exponentially weighted sum of TD errors.

    .. math:: \delta_t = r_t + g_t V_{t+1} - V_t,\quad A_t = \delta_t + g_t \lambda A_{t+1},
        \quad V_T = \text{final\_value},\; A_T = 0

    with :math:`g_t` = ``gamma_turn`` where t ends a turn, else ``gamma_token``.

    The arguments are the action tokens of ONE episode in order. Observation tokens between turns
    never appear: value and advantage are carried across them, and inserting any number of them
    changes nothing. λ therefore decays per action token, also across turns.

    Args:
        rewards: Reward for each action token; a turn's reward sits on its last token.
        values: Critic's value of the context each token was chosen in, in reward units.
        final_value: Value of what follows the last token: 0.0 after a real end, the critic's value
            of the last context after a truncation. It is discounted like any other value.
        turn_ends: True at the last action token of each turn; see ``discounts``.
        gamma_token: Discount from one token to the next inside an utterance.
        gamma_turn: Discount from one turn to the next.
        lam: λ in [0, 1]: 0 trusts the critic after one token, 1 only at the end.

    Returns:
        ``(advantages, returns)``.

    Raises:
        ValueError: If lengths differ, or a number is None, not finite or out of range.

    Source:
        Schulman et al. 2016, arXiv:1506.02438, eq. 16; truncation: Pardo et al. 2018,
        arXiv:1712.00378. Differs in that the discount depends on what the token ends.

    Tests:
        tests/math/test_gae.py

    Example:
        >>> credit = gae([0.0, 1.0], [0.5, 0.25], final_value=0.0, turn_ends=[False, True])
        >>> credit.advantages.tolist()
        [0.5, 0.75]
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must be in [0, 1], got {lam}")
    discount = discounts(turn_ends, gamma_token=gamma_token, gamma_turn=gamma_turn)
    num = len(discount)
    earned = aligned(rewards, "rewards", num)
    known = aligned(values, "values", num)
    advantages = np.empty(num)
    (next_value,) = check_returns([final_value], "final_value")
    next_advantage = 0.0
    for t in reversed(range(num)):
        error = earned[t] + discount[t] * next_value - known[t]
        next_advantage = error + discount[t] * lam * next_advantage
        advantages[t] = next_advantage
        next_value = known[t]
    return Credit(advantages, advantages + np.asarray(known))
