"""What is true of TinyLang, by enumeration: returns, optima, soft optima of any policy table.

A policy is a table from a prefix (``""``, ``"a"``, …) to the probabilities of ``a``, ``b``, ``E``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sayso.envs.tinylang import fixture

Table = Mapping[str, Sequence[float]]
LETTERS = ("a", "b", "E")


def prefixes() -> list[str]:
    """The seven contexts in which a letter is chosen."""
    return ["", "a", "b", "aa", "ab", "ba", "bb"]


def sequences() -> dict[str, float]:
    """The fifteen sentences with their rewards."""
    return {key: float(value) for key, value in fixture()["terminal_reward"].items()}


def reference() -> dict[str, list[float]]:
    """The fixture's reference policy."""
    return {key: [float(p) for p in row] for key, row in fixture()["reference_policy"].items()}


def probability(policy: Table, sequence: str) -> float:
    """Probability of a whole sentence."""
    product = 1.0
    for place, letter in enumerate(sequence):
        product *= policy[sequence[:place]][LETTERS.index(letter)]
    return product


def expected_return(policy: Table) -> float:
    """J: mean reward."""
    return sum(probability(policy, y) * reward for y, reward in sequences().items())


def kl(policy: Table, ref: Table) -> float:
    """KL(policy | ref) over sentences, in nats."""
    total = 0.0
    for y in sequences():
        p = probability(policy, y)
        if p > 0:
            total += p * (math.log(p) - math.log(probability(ref, y)))
    return total


@dataclass(frozen=True, slots=True)
class SoftOptimum:
    """The policy that maximises J − β KL, and what it reaches.

    Attributes:
        objective: J − β KL at the optimum, which is ``β log E_ref exp(R / β)``.
        policy: Table of the optimal policy.
        expected_return: Its J.
        kl: Its distance from the reference, in nats.
    """

    objective: float
    policy: dict[str, list[float]]
    expected_return: float
    kl: float


def soft_optimum(ref: Table, beta: float) -> SoftOptimum:
    """Closed form: ``π*(y) ∝ ref(y) exp(R(y) / β)``.

    Source:
        Levine 2018, arXiv:1805.00909, sec. 2; the soft Bellman backup with a prior.
    """
    value: dict[str, float] = {}
    policy: dict[str, list[float]] = {}
    rewards = sequences()
    for prefix in sorted(prefixes(), key=len, reverse=True):
        q = [
            rewards[prefix + x] if (x == "E" or len(prefix) == len("ab")) else value[prefix + x]
            for x in LETTERS
        ]
        best = max(q)
        weights = [p * math.exp((v - best) / beta) for p, v in zip(ref[prefix], q, strict=True)]
        value[prefix] = best + beta * math.log(sum(weights))
        policy[prefix] = [w / sum(weights) for w in weights]
    return SoftOptimum(
        objective=value[""],
        policy=policy,
        expected_return=expected_return(policy),
        kl=kl(policy, ref),
    )
