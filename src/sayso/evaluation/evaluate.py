"""Measuring a policy: its own seeds, no state, so training is the same with or without it."""

from __future__ import annotations

from sayso.envs.registry import EnvSource
from sayso.errors import EnvContractError
from sayso.evaluation.report import EvalReport, Sample, report_of
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy
from sayso.stats.intervals import Interval, paired_difference
from sayso.types import Episode

__all__ = ["EvalReport", "Sample", "evaluate", "paired"]


def evaluate(
    policy: Policy,
    source: EnvSource,
    *,
    split: str,
    num_episodes: int,
    seed: int,
    limits: RolloutLimits,
) -> EvalReport:
    """Play the first tasks of a split, in order, once each; then once more each, and so on.

    Args:
        policy: Who acts.
        source: Opens the environment.
        split: Which tasks.
        num_episodes: How many episodes; with fewer tasks than that, tasks repeat with other draws.
        seed: Same seed, same policy: same report.
        limits: Where episodes are cut off.

    Raises:
        EnvContractError: If the split has no tasks.
    """
    tasks = source.open().tasks(split)
    if not len(tasks):
        raise EnvContractError(
            where=f"{source.id}, split {split!r}",
            problem="has no tasks.",
            fix="Name another split.",
        )
    episodes: list[Episode] = []
    sample = 0
    while len(episodes) < num_episodes:
        count = min(len(tasks), num_episodes - len(episodes))
        episodes += collect(
            policy,
            [tasks[i] for i in range(count)],
            source,
            group_size=1,
            seed=seed,
            path=("eval", split),
            limits=limits,
            first_sample=sample,
        )
        sample += 1
    return report_of(split, episodes)


def paired(before: EvalReport, after: EvalReport) -> Interval:
    """Interval of the mean difference over the tasks that both reports graded."""
    keys = [key for key in before.returns if key in after.returns]
    return paired_difference(
        [before.returns[key] for key in keys], [after.returns[key] for key in keys]
    )
