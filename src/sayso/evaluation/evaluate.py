"""Measuring a policy: its own seeds, no state, so training is the same with or without it."""

from __future__ import annotations

from sayso.envs.registry import EnvSource
from sayso.errors import EnvContractError
from sayso.evaluation.report import EvalReport, Sample, observations, report_of
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
    group_size: int = 1,
) -> EvalReport:
    """Play the first tasks of a split, in order; then all of them once more, and so on.

    Args:
        policy: Who acts, at its own temperature.
        source: Opens the environment.
        split: Which tasks.
        num_episodes: How many episodes; with fewer tasks than that, tasks repeat with other draws.
        seed: Same seed, same policy: same report.
        limits: Where episodes are cut off.
        group_size: Attempts at a task before the next one is taken.

    Raises:
        ValueError: If ``num_episodes`` is no positive multiple of ``group_size``.
        EnvContractError: If the split has no tasks.
    """
    if group_size < 1 or num_episodes < 1 or num_episodes % group_size:
        raise ValueError(
            f"num_episodes must be a positive multiple of group_size, got {num_episodes} and "
            f"{group_size}"
        )
    env = source.open()
    tasks = env.tasks(split)
    if not len(tasks):
        raise EnvContractError(
            where=f"{source.id}, split {split!r}",
            problem="has no tasks.",
            fix="Name another split.",
        )
    episodes: list[Episode] = []
    first_sample = 0
    while len(episodes) < num_episodes:
        count = min(len(tasks), (num_episodes - len(episodes)) // group_size)
        episodes += collect(
            policy,
            [tasks[i] for i in range(count)],
            source,
            group_size=group_size,
            seed=seed,
            path=("eval", split),
            limits=limits,
            first_sample=first_sample,
        )
        first_sample += group_size
    return report_of(
        split, episodes, total=(env.reward_low, env.reward_high), part=(env.part_low, env.part_high)
    )


def paired(before: EvalReport, after: EvalReport) -> Interval:
    """Interval of the mean difference over the episodes that both reports graded.

    An episode that failed in either is in neither mean. Attempts at a task are averaged
    first, as in ``observations``; ``n`` tells of how many tasks they are.

    Raises:
        ValueError: If the two share no episode, or are of different splits.
    """
    if before.split != after.split:
        raise ValueError(f"cannot pair the split {before.split!r} with {after.split!r}")
    keys = [key for key in before.returns if key in after.returns]
    if not keys:
        raise ValueError(
            f"nothing to pair: of {len(before.returns)} and {len(after.returns)} graded episodes, "
            "no task and sample are the same"
        )
    return paired_difference(
        observations({key: before.returns[key] for key in keys}, among=keys),
        observations({key: after.returns[key] for key in keys}, among=keys),
    )
