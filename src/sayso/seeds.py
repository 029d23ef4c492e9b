"""Randomness is derived, never carried: the same names always give the same numbers."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *names: str | int) -> int:
    """Seed for one purpose, independent of every other purpose.

    Resuming, re-ordering or changing the number of workers cannot shift it, because it
    depends on nothing but its arguments.

    Args:
        seed: The run's seed.
        *names: What the randomness is for, for example ``"rollout", step, task_id, sample``.

    Returns:
        A seed in [0, 2**63).

    Example:
        >>> derive(0, "rollout", 3) == derive(0, "rollout", 3)
        True
        >>> derive(0, "rollout", 3) == derive(0, "rollout", "3")
        False
    """
    text = repr((seed, *names)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy generator keyed by ``derive(seed, *names)``; counter-based, so cheap to make."""
    return np.random.Generator(np.random.Philox(key=derive(seed, *names)))


def uniforms(seed: int, count: int) -> np.ndarray:
    """The first ``count`` uniform numbers in [0, 1) of one row's own stream, float64 [count].

    A longer request begins with the same numbers, so a token's number depends on its row and
    its position alone.
    """
    return np.random.Generator(np.random.Philox(key=seed)).random(count)
