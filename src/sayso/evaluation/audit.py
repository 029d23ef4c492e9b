"""Is a critic worth asking? Its values against what really comes of playing on.

Learned critics of language models often order alternative steps hardly better than chance
(Kazemnejad et al. 2024, arXiv:2410.01679), and no loss shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sayso.algorithms.base import ActionValues, HasValues
from sayso.algorithms.grading import token_rewards, turn_ends
from sayso.credit.returns import reward_to_go
from sayso.envs.registry import EnvSource
from sayso.errors import EnvContractError
from sayso.rollout.collect import collect, go_on
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.script import script_of
from sayso.sampling.base import Policy
from sayso.seeds import generator
from sayso.stats.intervals import Interval, mean_interval
from sayso.stats.rank import rank_interval
from sayso.types import EndReason, Episode

NUM_CONTINUATIONS = 8


class Audited(HasValues, Protocol):
    """A learner with a critic."""

    def policy(self) -> Policy:
        """Who acts when it counts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a critic says against what came of it.

    Attributes:
        split: Of which tasks.
        kind: ``"q"``: values of what was said; ``"v"``: of contexts.
        correlation: Spearman's rank correlation of values and returns, bootstrap interval; NaN if
            one of the two is the same everywhere.
        bias: Mean of value minus return, in reward units.
        num_continuations: Returns that each mean is over.
        num_truncated: Continuations that were cut off; what would have followed counts 0.
        values: What the critic said at each prefix.
        returns: Mean discounted return from there.
    """

    split: str
    kind: str
    correlation: Interval
    bias: Interval
    num_continuations: int
    num_truncated: int
    values: Sequence[float]
    returns: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        """Stable form, documented in docs/cli.md."""
        return {
            "split": self.split,
            "kind": self.kind,
            "rank_correlation": self.correlation.to_json(),
            "bias": self.bias.to_json(),
            "num_prefixes": len(self.values),
            "num_continuations": self.num_continuations,
            "num_truncated": self.num_truncated,
            "values": list(self.values),
            "returns": list(self.returns),
        }

    def __str__(self) -> str:
        return (
            f"critic ({self.kind}): rank correlation with returns {self.correlation}, "
            f"bias {self.bias}, over {len(self.values)} prefixes, "
            f"{self.num_continuations} continuations of each"
        )


def audit(
    learner: Audited,
    source: EnvSource,
    *,
    split: str,
    num_prefixes: int,
    seed: int,
    limits: RolloutLimits,
    num_continuations: int = NUM_CONTINUATIONS,
) -> AuditReport:
    """Rank correlation of a critic's values with Monte-Carlo returns from the same prefixes.

    One prefix of each of so many episodes, drawn among the places where the critic says something:
    ends of turns, and inside an utterance where it speaks of tokens. The environment is played up
    to there again, then the policy goes on by itself, several times.

    The environment's own randomness is that of its seed: what it would draw afterwards is the same
    in each continuation.

    Args:
        learner: Has a critic and a policy.
        source: Opens the environment, which must answer the same to the same.
        split: Which tasks.
        num_prefixes: Episodes to play; those that fail or are not graded are left out.
        seed: Same seed, same weights: same report.
        limits: Where episodes are cut off.
        num_continuations: Of each prefix.

    Raises:
        ValueError: If a number is below 1.
        EnvContractError: If the environment is not deterministic, or no episode could be used.

    Tests:
        tests/learning/test_audit.py
    """
    if num_prefixes < 1 or num_continuations < 1:
        raise ValueError(
            "num_prefixes and num_continuations must be positive, got "
            f"{num_prefixes} and {num_continuations}"
        )
    policy = learner.policy()
    begun = []
    for episode in _episodes(policy, source, split, num_prefixes, seed, limits):
        told = learner.action_values(episode)
        places = np.flatnonzero(np.isfinite(told.values))
        if len(places):
            draw = generator(seed, "audit", episode.task.id, episode.sample_index)
            begun.append((episode, told, int(places[draw.integers(len(places))])))
    scripts = [(e, script_of(e, place + (told.kind == "q"))) for e, told, place in begun]
    played = go_on(policy, scripts, source, num_each=num_continuations, seed=seed, limits=limits)
    values, returns, num_truncated = list[float](), list[float](), 0
    for (_, told, place), continuations in zip(begun, played, strict=True):
        whole = [episode for episode in continuations if _is_whole(episode, source)]
        if whole:
            num_truncated += sum(e.end is EndReason.TRUNCATED for e in whole)
            values.append(float(told.values[place]))
            returns.append(float(np.mean([_return(e, told, place) for e in whole])))
    if not values:
        raise EnvContractError(
            where=f"{source.id}, split {split!r}",
            problem="gave no graded episode in which the critic said something.",
            fix="Look at why episodes fail: sayso eval without --audit tells.",
        )
    return AuditReport(
        split=split,
        kind=begun[0][1].kind,
        correlation=rank_interval(values, returns, seed=seed),
        bias=mean_interval([v - r for v, r in zip(values, returns, strict=True)]),
        num_continuations=num_continuations,
        num_truncated=num_truncated,
        values=values,
        returns=returns,
    )


def _episodes(
    policy: Policy,
    source: EnvSource,
    split: str,
    count: int,
    seed: int,
    limits: RolloutLimits,
) -> list[Episode]:
    """Graded ones; tasks in order, repeated where they are few."""
    tasks = source.open().tasks(split)
    if not len(tasks):
        raise EnvContractError(
            where=f"{source.id}, split {split!r}", problem="has no tasks.", fix="Name another."
        )
    episodes: list[Episode] = []
    first_sample = 0
    while len(episodes) < count:
        these = [tasks[i] for i in range(min(len(tasks), count - len(episodes)))]
        episodes += collect(
            policy, these, source, group_size=1, seed=seed, path=("audit", split), limits=limits,
            first_sample=first_sample,
        )  # fmt: skip
        first_sample += 1
    return [e for e in episodes if e.end is not EndReason.FAILED and e.return_ is not None]


def _is_whole(episode: Episode, source: EnvSource) -> bool:
    """Whether a continuation counts.

    Raises:
        EnvContractError: If the environment did not answer as before: its returns would be those
            of another episode.
    """
    failure = episode.failure
    if failure is not None and failure.kind == "not_deterministic":
        raise EnvContractError(
            where=source.id,
            problem=f"cannot be played again: {failure.message}.",
            fix="Draw everything random from the seed that reset() gets.",
        )
    return failure is None and episode.return_ is not None


def _return(episode: Episode, told: ActionValues, place: int) -> float:
    to_go = reward_to_go(
        token_rewards(episode), turn_ends=turn_ends(episode), gamma_token=told.gamma_token,
        gamma_turn=told.gamma_turn,
    )  # fmt: skip
    return float(to_go[place])
