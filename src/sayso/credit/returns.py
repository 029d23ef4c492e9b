"""Returns without a critic."""

from __future__ import annotations

import numpy as np


def reward_to_go(rewards: np.ndarray, discounts: np.ndarray) -> np.ndarray:
    """``G_t = r_t + g_t G_{t+1}``, by a reverse scan (a quotient of powers fails at γ = 0).

    Args:
        rewards: Reward after each decision, float64 [n].
        discounts: Discount from each decision to the next [n].

    Returns:
        Discounted sum of what follows, [n].
    """
    total, after = np.zeros(len(rewards), np.float64), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        after = float(rewards[t]) + float(discounts[t]) * after
        total[t] = after
    return total


def n_step(
    rewards: np.ndarray, values: np.ndarray, *, final_value: float, discount: float, n: int
) -> np.ndarray:
    """n-step targets: n rewards, then the value of the decision they lead to.

    Args:
        rewards: Reward after each decision [t].
        values: Value of the context before each decision [t].
        final_value: Value after the last: 0.0 after a real end, the critic's after a cut-off.
        discount: Per decision.
        n: At least 1. Near the end fewer rewards remain, and the discount's power is the number
            of rewards that were really there.

    Raises:
        ValueError: If n is below 1.

    Source:
        Sutton & Barto 2018, eq. 7.1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    length = len(rewards)
    following = np.append(np.asarray(values, np.float64), final_value)
    target = np.zeros(length, np.float64)
    for t in range(length):
        steps = min(n, length - t)
        powers = discount ** np.arange(steps)
        target[t] = powers @ rewards[t : t + steps] + discount**steps * following[t + steps]
    return target
