"""Discounts of one episode's decisions. The clock ticks on action tokens only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sayso.credit.group import check_returns


def discounts(
    turn_ends: Sequence[bool] | NDArray[np.bool_], *, gamma_token: float, gamma_turn: float
) -> NDArray[np.float64]:
    """Discount from each action token to the decision after it.

    Args:
        turn_ends: True at the last action token of each turn, for the action tokens of one
            episode in order. The last one is True: whatever cut the episode ended its last turn.
        gamma_token: Discount from one token to the next inside an utterance, in [0, 1].
        gamma_turn: Discount across a turn end, also to what follows the last one, in [0, 1].

    Returns:
        ``gamma_turn`` where a turn ends, ``gamma_token`` elsewhere; float64 [n].

    Raises:
        ValueError: If there are no tokens, the last token does not end a turn, or a discount lies
            outside [0, 1].
    """
    ends = np.asarray(turn_ends, dtype=np.bool_)
    for name, gamma in (("gamma_token", gamma_token), ("gamma_turn", gamma_turn)):
        if not 0 <= gamma <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {gamma}")
    if ends.ndim != 1 or ends.size == 0 or not ends[-1]:
        raise ValueError(f"turn_ends must be a list that ends in True, got {ends.tolist()}")
    return np.where(ends, gamma_turn, gamma_token).astype(np.float64)


def aligned(values: Sequence[float] | NDArray[np.float64], name: str, num: int) -> list[float]:
    """``values`` as floats, one per action token.

    Raises:
        ValueError: If there are not ``num`` of them, or one is None or not finite.
    """
    if len(values) != num:
        raise ValueError(f"{name} has {len(values)} entries, but there are {num} action tokens")
    return check_returns(list(values), name)
