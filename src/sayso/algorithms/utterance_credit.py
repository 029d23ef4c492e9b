"""From numbers per turn to numbers per action token."""

from __future__ import annotations

import numpy as np

from sayso.algorithms.grading import Numbers, token_rewards
from sayso.types import Episode


def per_token(episode: Episode, per_turn: Numbers) -> Numbers:
    """Each turn's number, given to each of its action tokens.

    Raises:
        ValueError: If there is not one number per turn.
    """
    if len(per_turn) != len(episode.turns):
        raise ValueError(f"{len(episode.turns)} turns, got {len(per_turn)} numbers")
    return np.repeat(per_turn, [len(turn.action_ids) for turn in episode.turns])


def q_per_token(episode: Episode, per_turn: Numbers) -> Numbers:
    """Each turn's number at its last action token, NaN before: nothing is said of half of it."""
    found = np.full(episode.num_action_tokens, np.nan)
    ends = np.cumsum([len(turn.action_ids) for turn in episode.turns]) - 1
    found[ends] = per_turn
    return found


def paid_kl(episode: Episode, rewards: Numbers) -> Numbers:
    """What KL in the reward adds to each turn, at most 0 on average: −β log π/ref of its tokens.

    Args:
        episode: Whose.
        rewards: Reward after each action token, KL taken off.
    """
    lengths = [len(turn.action_ids) for turn in episode.turns]
    starts = np.cumsum([0, *lengths[:-1]])
    return np.add.reduceat(np.asarray(rewards - token_rewards(episode), np.float64), starts)
