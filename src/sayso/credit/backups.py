"""Exact action values of a small problem: the truth that value-based losses are held against.

A problem is a table: for each state its actions, each with the probability that the behaviour
policy gives it, its reward, and the state it leads to. A state is any hashable name. There are no
samples: every expectation is a sum.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Backup = Literal["sarsa", "expectile", "max", "soft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action of a state.

    Attributes:
        probability: Under the behaviour (or reference) policy.
        reward: What it earns at once.
        to: State it leads to; ``None`` ends the task, and nothing follows.
        discount: Of what follows.
    """

    probability: float
    reward: float
    to: Hashable | None
    discount: float = 1.0


Problem = Mapping[Hashable, Sequence[Action]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Fixed point of a backup.

    Attributes:
        action: Value of each action of each state.
        state: Value of each state.
    """

    action: dict[Hashable, list[float]]
    state: dict[Hashable, float]


def value_iteration(
    problem: Problem,
    *,
    backup: Backup,
    tau: float = 0.5,
    beta: float = 1.0,
    tolerance: float = 1e-13,
    max_sweeps: int = 100_000,
) -> Values:
    r"""The values that a backup repeats.

    .. math:: Q(h, a) = r + \gamma V(h'), \qquad V(h) = \begin{cases}
        \sum_a \pi(a|h) Q(h, a) & \text{sarsa} \\
        \operatorname{expectile}_\tau^{a \sim \pi} Q(h, a) & \text{expectile} \\
        \max_{\pi(a|h) > 0} Q(h, a) & \text{max} \\
        \beta \log \sum_a \pi(a|h) e^{Q(h, a) / \beta} & \text{soft}
        \end{cases}

    Actions of probability 0 enter none of the four: nothing is known of them.

    Args:
        problem: The table. Every state that is led to must be in it.
        backup: Which.
        tau: Of the expectile, in (0, 1); 0.5 is the mean.
        beta: Of the soft backup, in reward units. Positive.
        tolerance: Stop when no value of a sweep moved further than this.
        max_sweeps: Give up after so many.

    Raises:
        ValueError: If it does not converge: a cycle without a discount.

    Source:
        Sutton & Barto 2018, sec. 4.4; expectile: Kostrikov et al. 2021, arXiv:2110.06169, eq. 5;
        soft: Levine 2018, arXiv:1805.00909, sec. 2, with a prior.

    Tests:
        tests/math/test_backups.py
    """
    state = dict.fromkeys(problem, 0.0)
    for _ in range(max_sweeps):
        moved = 0.0
        for name, actions in problem.items():
            value = _backed_up(actions, _values(actions, state), backup, tau=tau, beta=beta)
            moved, state[name] = max(moved, abs(value - state[name])), value
        if moved <= tolerance:
            found = {name: _values(actions, state) for name, actions in problem.items()}
            return Values(action=found, state=state)
    raise ValueError(
        f"no fixed point within {max_sweeps} sweeps: is there a cycle with discount 1?"
    )


def expectile(values: Sequence[float], weights: Sequence[float], tau: float) -> float:
    r"""The e with :math:`\sum_i w_i\, |\tau - 1[x_i < e]|\, (x_i - e) = 0`, exactly.

    Args:
        values: x, in any unit.
        weights: w, at least 0; not all 0.
        tau: In (0, 1): 0.5 is the mean, near 1 the largest value of positive weight.

    Raises:
        ValueError: If τ is out of range or nothing has weight.

    Source:
        Newey & Powell 1987, eq. 2.4.

    Tests:
        tests/math/test_backups.py
    """
    if not 0 < tau < 1:
        raise ValueError(f"tau must be in (0, 1), got {tau}")
    pairs = sorted((x, w) for x, w in zip(values, weights, strict=True) if w > 0)
    if not pairs:
        raise ValueError("an expectile needs a value of positive weight")
    for num_below in range(len(pairs)):
        scaled = [
            (x, w * (1 - tau if place < num_below else tau)) for place, (x, w) in enumerate(pairs)
        ]
        found = sum(x * w for x, w in scaled) / sum(w for _, w in scaled)
        if num_below == len(pairs) - 1 or found <= pairs[num_below][0]:
            return found
    raise AssertionError("unreachable: the loop returns at its last turn")


def _values(actions: Sequence[Action], state: Mapping[Hashable, float]) -> list[float]:
    return [a.reward + (0.0 if a.to is None else a.discount * state[a.to]) for a in actions]


def _backed_up(
    actions: Sequence[Action], values: Sequence[float], backup: Backup, *, tau: float, beta: float
) -> float:
    """Value of a state from those of its actions."""
    known = [(a.probability, q) for a, q in zip(actions, values, strict=True) if a.probability > 0]
    best = max(q for _, q in known)
    if backup == "max":
        return best
    if backup == "sarsa":
        return sum(p * q for p, q in known)
    if backup == "expectile":
        return expectile([q for _, q in known], [p for p, _ in known], tau)
    return best + beta * math.log(sum(p * math.exp((q - best) / beta) for p, q in known))
