"""The best way through a game whose table of transitions is known."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

DISCOUNT, TOLERANCE, MAX_SWEEPS = 0.99, 1e-9, 5_000
_KNOWN: WeakKeyDictionary[Any, np.ndarray] = WeakKeyDictionary()


def best_actions(env: Any) -> np.ndarray:
    """Number of the best action in each state, int [states].

    Value iteration, ``v(s) = max_a sum_k p_k (r_k + 0.99 v(s_k) (not ended))``, until no value
    moves by more than 1e-9.

    Args:
        env: A bare environment with ``P[state][action] = [(probability, next, reward, ended)]``.
    """
    if env not in _KNOWN:
        _KNOWN[env] = _plan(env.P)
    return _KNOWN[env]


def _plan(table: Any) -> np.ndarray:
    num_states, num_actions = len(table), len(table[0])
    width = max(len(table[s][a]) for s in range(num_states) for a in range(num_actions))
    chance, reward, alive = (np.zeros((num_states, num_actions, width)) for _ in range(3))
    to = np.zeros((num_states, num_actions, width), np.int64)
    for s in range(num_states):
        for a in range(num_actions):
            for k, (p, there, earned, is_ended) in enumerate(table[s][a]):
                chance[s, a, k], to[s, a, k] = p, there
                reward[s, a, k], alive[s, a, k] = earned, not is_ended

    def worth(value: np.ndarray) -> np.ndarray:
        found: np.ndarray = (chance * (reward + DISCOUNT * alive * value[to])).sum(axis=2)
        return found

    value = np.zeros(num_states)
    for _ in range(MAX_SWEEPS):
        before, value = value, worth(value).max(axis=1)
        if np.abs(value - before).max() < TOLERANCE:
            break
    best: np.ndarray = worth(value).argmax(axis=1)
    return best
