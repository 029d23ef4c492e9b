"""Divergence from a reference, paid in the reward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sayso.credit.discounts import aligned


def kl_in_reward(
    rewards: Sequence[float] | NDArray[np.float64],
    logprob: Sequence[float] | NDArray[np.float64],
    logprob_ref: Sequence[float] | NDArray[np.float64],
    *,
    coef: float,
) -> NDArray[np.float64]:
    r"""Rewards minus ``coef`` times the k1 estimate, token by token.

    .. math:: r_t - \beta\,(\log\pi(y_t) - \log\pi_{ref}(y_t))

    With undiscounted returns the expected policy gradient is exactly that of
    J − β KL(π ‖ ref) over whole sequences: k1 is the one estimator for which this holds, so the
    choice is not offered.

    Args:
        rewards: Reward for each action token of one episode, in reward units.
        logprob: Log-probability (nats) of each token under the policy that sampled it.
        logprob_ref: The same under the reference.
        coef: β, in reward units per nat. Not negative.

    Returns:
        Float64 [n].

    Raises:
        ValueError: If lengths differ, a number is None or not finite, or ``coef`` is negative.

    Source:
        Ziegler et al. 2019, arXiv:1909.08593, eq. 2; unbiasedness: arXiv:2512.21852.

    Tests:
        tests/math/test_kl.py

    Example:
        >>> kl_in_reward([0.0, 1.0], [-1.0, -1.0], [-3.0, -1.0], coef=0.5).tolist()
        [-1.0, 1.0]
    """
    if not 0 <= coef < float("inf"):
        raise ValueError(f"coef must be at least 0 and finite, got {coef}")
    earned = np.asarray(aligned(rewards, "rewards", len(rewards)))
    sampled = np.asarray(aligned(logprob, "logprob", len(earned)))
    reference = np.asarray(aligned(logprob_ref, "logprob_ref", len(earned)))
    return np.asarray(earned - coef * (sampled - reference))
