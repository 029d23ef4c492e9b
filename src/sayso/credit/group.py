"""Advantages from comparing attempts at the same task.

Every function takes the returns of ONE group, in reward units, and (but for ``most_varied``) gives
one advantage per attempt in the same order. A group whose returns are all equal gets exactly 0.0
everywhere: rounding in the mean must not become a signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import pvariance

STD_EPSILON = 1e-6
"""Added to the standard deviation in ``standardised``, in reward units.

Far below any difference between rewards that means something, far above rounding noise (1e-16):
returns that differ by noise alone get advantages near 0, not ±1.
"""


def leave_one_out(returns: Sequence[float]) -> list[float]:
    r"""Advantage of each attempt against the mean of the others (RLOO).

    .. math:: A_i = R_i - \tfrac{1}{n-1} \sum_{j \ne i} R_j

    Unbiased: the baseline of an attempt does not depend on its own return.

    Args:
        returns: Return of each attempt at one task. At least two, all finite.

    Raises:
        ValueError: With fewer than two attempts. A lone attempt has no baseline, and calling its
            raw return an advantage would change the estimator silently. Also for a return that is
            None (not graded) or not finite.

    Source:
        Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; Ahmadian et al. 2024,
        arXiv:2402.14740, eq. 8.

    Tests:
        tests/math/test_group_credit.py, tests/math/test_policy_gradient_exact.py

    Example:
        >>> leave_one_out([1.0, 0.0, 0.0])
        [1.0, -0.5, -0.5]
    """
    values = _checked(returns, "leave_one_out")
    if _all_equal(values):
        return [0.0] * len(values)
    others = len(values) - 1
    # Summed without the attempt's own return: subtracting it from a total would leave its rounding.
    return [
        value - math.fsum(values[:index] + values[index + 1 :]) / others
        for index, value in enumerate(values)
    ]


def centred(returns: Sequence[float]) -> list[float]:
    r"""Advantage of each attempt against the mean of its group, itself included (Dr. GRPO).

    .. math:: A_i = R_i - \tfrac{1}{n} \sum_j R_j

    Its expected policy gradient is (n − 1)/n times the true one: same direction, shorter.

    Args:
        returns: Return of each attempt at one task. At least two, all finite.

    Raises:
        ValueError: As ``leave_one_out``.

    Source:
        Liu et al. 2025, arXiv:2503.20783, sec. 3.2.

    Tests:
        tests/math/test_group_credit.py, tests/math/test_policy_gradient_exact.py

    Example:
        >>> centred([1.0, 0.0])
        [0.5, -0.5]
    """
    values = _checked(returns, "centred")
    if _all_equal(values):
        return [0.0] * len(values)
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def standardised(returns: Sequence[float]) -> list[float]:
    r"""Centred advantages in units of the group's standard deviation (GRPO).

    .. math:: A_i = \frac{R_i - \bar R}{s + \epsilon},\quad
        s^2 = \tfrac{1}{n-1} \sum_j (R_j - \bar R)^2,\quad \epsilon = 10^{-6}

    Biased: a group counts for more the less its rewards differ, so tasks that are nearly solved or
    nearly hopeless are over-weighted.

    Args:
        returns: Return of each attempt at one task. At least two, all finite.

    Raises:
        ValueError: As ``leave_one_out``.

    Source:
        Shao et al. 2024, arXiv:2402.03300, sec. 4.1.2. The paper leaves n or n − 1 and the epsilon
        open; we take n − 1 as most implementations do.

    Tests:
        tests/math/test_group_credit.py, tests/math/test_policy_gradient_exact.py
    """
    deviations = centred(_checked(returns, "standardised"))
    variance = math.fsum(value * value for value in deviations) / (len(deviations) - 1)
    scale = math.sqrt(variance) + STD_EPSILON
    return [value / scale for value in deviations]


def leave_one_out_by_turn(
    rewards: Sequence[Sequence[float]], *, gamma_turn: float = 1.0
) -> list[list[float]]:
    r"""Advantage of each turn against the other attempts at the same turn number.

    .. math:: A_{i,t} = G_{i,t} - \tfrac{1}{n-1} \sum_{j \ne i} G_{j,t},\quad
        G_{i,t} = \sum_{u \ge t} \gamma^{u-t} r_{i,u}

    An attempt that ended before turn t counts with what it earned from there on: 0. Leaving it out
    instead would make the baseline undefined for the last one standing. Unbiased for γ = 1: the
    baseline of an attempt depends on the *other* attempts only, never on its own length or
    rewards. Lower variance than one return per episode, because a turn is not credited with what
    was earned before it.

    Args:
        rewards: Rewards of each attempt by turn; attempts may differ in number of turns.
        gamma_turn: Discount from one turn to the next, in [0, 1].

    Returns:
        Advantages with the same lengths as ``rewards``.

    Raises:
        ValueError: With fewer than two attempts, an attempt without turns, a reward that is None or
            not finite, or a discount outside [0, 1].

    Source:
        ``leave_one_out`` applied to reward-to-go; the question of verl issue 7244.

    Tests:
        tests/math/test_multi_turn.py
    """
    if len(rewards) < 2:
        raise ValueError(f"leave_one_out_by_turn needs at least 2 attempts, got {len(rewards)}")
    if not 0 <= gamma_turn <= 1:
        raise ValueError(f"gamma_turn must be in [0, 1], got {gamma_turn}")
    if any(len(attempt) == 0 for attempt in rewards):
        raise ValueError("an attempt has no turns, so it has nothing to credit")
    longest = max(len(attempt) for attempt in rewards)
    to_go = [[0.0] * longest for _ in rewards]
    for future, attempt in zip(to_go, rewards, strict=True):
        check_returns(attempt, "leave_one_out_by_turn")
        after = 0.0
        for turn in reversed(range(len(attempt))):
            after = attempt[turn] + gamma_turn * after
            future[turn] = after
    by_turn = [leave_one_out(column) for column in zip(*to_go, strict=True)]
    return [
        [by_turn[turn][index] for turn in range(len(attempt))]
        for index, attempt in enumerate(rewards)
    ]


def check_returns(returns: Sequence[float | None], name: str) -> list[float]:
    """Return them as a list of floats, refusing what was not graded.

    Raises:
        ValueError: If one is None or not finite. None is not 0.0: it has no place in a mean, and
            failed or ungraded attempts are left out before credit is assigned.
    """
    checked = []
    for index, value in enumerate(returns):
        if value is None or not math.isfinite(value):
            raise ValueError(
                f"{name}: entry {index} is {value}; leave out what was not graded or not finite"
            )
        checked.append(float(value))
    return checked


def most_varied(returns: Sequence[float], count: int) -> list[int]:
    r"""Indices of ``count`` attempts whose returns vary most, in order.

    .. math:: \arg\max_{|S| = m} \mathrm{Var}(\{R_i : i \in S\})

    Such a set is always some of the lowest and some of the highest, so that m + 1 sets are looked
    at. Biased: what is left out is not missing at random, and advantages are taken within the set.

    Args:
        returns: Return of each attempt at one task, all finite.
        count: How many to keep, at least 2; all of them if there are no more.

    Raises:
        ValueError: If ``count`` is below 2, or a return is None or not finite.

    Source:
        Xu et al. 2025, arXiv:2504.13818, max-variance down-sampling.

    Tests:
        tests/math/test_group_credit.py
    """
    if count < 2:
        raise ValueError(f"count must be at least 2, got {count}")
    if count >= len(returns):
        return list(range(len(returns)))
    data = _checked(returns, "most_varied")
    order = sorted(range(len(data)), key=lambda index: (data[index], index))
    sets = [order[:low] + order[len(order) - (count - low) :] for low in range(count)]
    sets.append(order[:count])
    return sorted(max(sets, key=lambda chosen: pvariance([data[index] for index in chosen])))


def _checked(returns: Sequence[float], name: str) -> list[float]:
    if len(returns) < 2:
        raise ValueError(f"{name} needs at least 2 returns, got {len(returns)}")
    return check_returns(returns, name)


def _all_equal(values: Sequence[float]) -> bool:
    return min(values) == max(values)
