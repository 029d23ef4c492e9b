"""What an evaluation found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sayso.stats.intervals import Interval, bounded_interval
from sayso.types import EndReason, Episode

Range = tuple[float | None, float | None]
"""Least and greatest value, where known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One episode's last words.

    Attributes:
        task_id: Which task.
        sample_index: Which attempt at it.
        observation: What was asked last.
        action: What was answered.
        reward: Return of the episode.
    """

    task_id: str
    sample_index: int
    observation: str
    action: str
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """Mean return with its interval, and what lies behind it.

    Attributes:
        split: Which tasks.
        mean: Mean return of the graded episodes, 95 % interval, inside the reward's range; see
            ``observations`` for what is observed.
        parts: The same for each part of the reward, summed over an episode.
        returns: Return by (task id, sample index), for pairing.
        num_failed: Invalid episodes by kind; they are in no mean.
        first_failure: What was wrong with the first of them; empty if there is none.
        num_ungraded: Valid episodes without any reward; they are in no mean.
        num_truncated: Valid episodes that were cut off.
        mean_tokens: Mean number of action tokens of an episode.
        samples: Every graded episode's last turn.
    """

    split: str
    mean: Interval
    parts: Mapping[str, Interval]
    returns: Mapping[tuple[str, int], float]
    num_failed: Mapping[str, int]
    first_failure: str
    num_ungraded: int
    num_truncated: int
    mean_tokens: float
    samples: Sequence[Sample]

    @property
    def num_tasks(self) -> int:
        """Different tasks among the graded episodes."""
        return len({task for task, _ in self.returns})

    def to_json(self) -> dict[str, Any]:
        """Stable form, documented in docs/cli.md."""
        return {
            "split": self.split,
            "mean": self.mean.to_json(),
            "parts": {name: part.to_json() for name, part in self.parts.items()},
            "num_failed": dict(self.num_failed),
            "first_failure": self.first_failure,
            "num_ungraded": self.num_ungraded,
            "num_truncated": self.num_truncated,
            "mean_tokens": self.mean_tokens,
            "num_episodes": len(self.returns),
            "num_tasks": self.num_tasks,
            "returns": [
                {"task": task, "sample": sample, "return": value}
                for (task, sample), value in self.returns.items()
            ],
        }

    def __str__(self) -> str:
        episodes, tasks = _count(len(self.returns), "episode"), _count(self.num_tasks, "task")
        lines = [f"{self.split}: mean return {self.mean} over {episodes} of {tasks}"]
        what = "task" if self.num_tasks > 1 else "episode"
        for name, part in self.parts.items():  # not every task has every part
            over = f" over {_count(part.n, what)}" if part.n != self.mean.n else ""
            lines.append(f"  {name}: {part}{over}")
        if self.num_failed:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.num_failed.items())
            lines.append(f"  left out, invalid: {kinds}; the first: {self.first_failure}")
        if self.num_truncated:
            lines.append(f"  cut off: {self.num_truncated}")
        return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def observations(
    values: Mapping[tuple[str, int], float], *, among: Collection[tuple[str, int]]
) -> list[float]:
    """What is independent among numbers by (task id, attempt): one mean for each task.

    Attempts at a task share its difficulty: as observations of their own they would make an
    interval too narrow (it held the true mean in 52 % of cases where ten tasks differed twice as
    much as ten attempts at each). Where all episodes are of one task, there is nothing to be said
    of others, and its attempts are the observations.

    Args:
        values: The numbers.
        among: Task and attempt of every episode; a part of the reward may be of a few tasks only.
    """
    if len({task for task, _ in among}) == 1:
        return list(values.values())
    tasks: dict[str, list[float]] = {}
    for (task, _), value in values.items():
        tasks.setdefault(task, []).append(value)
    return [math.fsum(found) / len(found) for found in tasks.values()]


def report_of(
    split: str,
    episodes: Sequence[Episode],
    *,
    total: Range = (None, None),
    part: Range = (None, None),
) -> EvalReport:
    """Sum up episodes.

    Args:
        split: Which tasks they are of.
        episodes: Graded, ungraded and failed ones.
        total: Least and greatest return, where known: Student's interval has no such ends.
        part: The same of each part of the reward.
    """
    valid = [e for e in episodes if e.end is not EndReason.FAILED]
    graded = {(e.task.id, e.sample_index): e for e in valid if e.return_ is not None}
    returns = {key: float(e.return_ or 0.0) for key, e in graded.items()}
    totals: dict[str, dict[tuple[str, int], float]] = {}
    for key, episode in graded.items():
        parts: dict[str, float] = {}
        for turn in episode.turns:
            for name, value in turn.reward_parts.items():
                if value is not None:
                    parts[name] = parts.get(name, 0.0) + value
        for name, value in parts.items():
            totals.setdefault(name, {})[key] = value
    return EvalReport(
        split=split,
        mean=bounded_interval(observations(returns, among=returns), *total),
        parts={
            name: bounded_interval(observations(values, among=returns), *part)
            for name, values in sorted(totals.items())
        },
        returns=returns,
        first_failure=next((e.failure.message for e in episodes if e.failure is not None), ""),
        num_failed=dict(Counter(e.failure.kind for e in episodes if e.failure is not None)),
        num_ungraded=len(valid) - len(graded),
        num_truncated=sum(e.end is EndReason.TRUNCATED for e in valid),
        mean_tokens=sum(e.num_action_tokens for e in valid) / max(len(valid), 1),
        samples=tuple(
            Sample(
                task_id=e.task.id,
                sample_index=e.sample_index,
                observation=e.turns[-1].observation,
                action=e.turns[-1].action,
                reward=returns[key],
            )
            for key, e in graded.items()
        ),
    )
