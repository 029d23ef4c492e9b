"""Generalised advantage estimation over the decisions of one episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Credit:
    """What a critic-based method trains on, one entry per action token, in order.

    Attributes:
        advantage: In reward units.
        target: What the critic should have predicted (the λ-return).
    """

    advantage: np.ndarray
    target: np.ndarray


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    *,
    final_value: float,
    turn_ends: np.ndarray,
    gamma_token: float = 1.0,
    gamma_turn: float = 1.0,
    lam: float = 1.0,
) -> Credit:
    r"""Advantages and λ-returns of one episode.

    With ``g_t`` the discount from action token t to the next one (``gamma_turn`` where t ends a
    turn, else ``gamma_token``):

    .. math:: \delta_t = r_t + g_t V_{t+1} - V_t, \qquad A_t = \delta_t + g_t \lambda A_{t+1}

    Only action tokens appear. Observation tokens between turns are therefore skipped: values and
    advantages are carried across them, and inserting any number of them changes nothing.

    Args:
        rewards: Reward that follows each action token, in reward units, float64 [n]; a turn's
            reward sits on its last token.
        values: Critic's value of the context *before* each action token [n].
        final_value: Value of what follows the last token: 0.0 after a real end, the critic's value
            of the final context after a cut-off.
        turn_ends: True at the last action token of each turn [n].
        gamma_token: Discount between tokens of one turn.
        gamma_turn: Discount from one turn to the next (and to ``final_value``).
        lam: λ; 1 gives Monte-Carlo advantages, 0 one-step ones.

    Returns:
        Advantages and λ-returns.

    Raises:
        ValueError: If shapes differ.

    Source:
        Schulman et al. 2016, arXiv:1506.02438, eq. 16; truncation after Pardo et al. 2018,
        arXiv:1712.00378.

    Tests:
        tests/math/test_gae.py
    """
    rewards, values = np.asarray(rewards, np.float64), np.asarray(values, np.float64)
    if not rewards.shape == values.shape == np.shape(turn_ends):
        raise ValueError(
            f"rewards {rewards.shape}, values {values.shape} and turn_ends {np.shape(turn_ends)} "
            "must have one entry per action token each"
        )
    discount = np.where(turn_ends, gamma_turn, gamma_token)
    advantage = np.zeros_like(rewards)
    next_value, next_advantage = float(final_value), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        delta = rewards[t] + discount[t] * next_value - values[t]
        next_advantage = delta + discount[t] * lam * next_advantage
        advantage[t] = next_advantage
        next_value = values[t]
    return Credit(advantage=advantage, target=advantage + values)
