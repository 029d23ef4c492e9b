"""From episodes to numbers per action token: rewards, groups, advantages.

Group methods credit every action token of an episode with one advantage, that of its whole return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sayso.credit.group import most_varied
from sayso.errors import EpisodeError
from sayso.metrics import Mean
from sayso.types import Episode

Numbers = NDArray[np.float64]


def token_rewards(episode: Episode) -> Numbers:
    """Reward after each action token: a turn's sits on its last one; not graded counts nothing."""
    rewards = []
    for turn in episode.turns:
        rewards += [0.0] * (len(turn.action_ids) - 1) + [turn.reward or 0.0]
    return np.asarray(rewards, np.float64)


def turn_ends(episode: Episode) -> NDArray[np.bool_]:
    """True at the last action token of each turn."""
    ends = []
    for turn in episode.turns:
        ends += [False] * (len(turn.action_ids) - 1) + [True]
    return np.asarray(ends, np.bool_)


def sampled_logprobs(episode: Episode) -> Numbers:
    """The sampler's log-probability of each action token."""
    return np.asarray([p for turn in episode.turns for p in turn.action_logprobs], np.float64)


def spread(episodes: Sequence[Episode], advantages: Sequence[float]) -> list[Numbers]:
    """One advantage per episode, given to each of its action tokens."""
    return [
        np.full(episode.num_action_tokens, advantage, np.float64)
        for episode, advantage in zip(episodes, advantages, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """Episodes that can be trained on, and what had to stay out.

    Attributes:
        episodes: Graded, with at least one action token; members of a group stay in order.
        warnings: What the user should know.
        metrics: ``group/dead_frac``, ``group/ungraded_frac``, ``group/kept_frac``.
    """

    episodes: list[Episode]
    warnings: tuple[str, ...]
    metrics: dict[str, Mean]


def graded(
    episodes: Sequence[Episode], *, min_group: int = 1, train_on: int | None = None
) -> Graded:
    """Leave out what carries no reward, and groups that are too small to compare.

    Args:
        episodes: Valid episodes of one step.
        min_group: Fewest attempts at a task that a method can use; 2 where attempts are compared.
        train_on: Keep so many attempts at each task, those whose returns vary most; ``None``: all.

    Raises:
        EpisodeError: If attempts that are compared began with different prompts.
    """
    usable = [e for e in episodes if e.return_ is not None and e.num_action_tokens]
    by_task: dict[str, list[Episode]] = {}
    for episode in usable:
        by_task.setdefault(episode.task.id, []).append(episode)
    if min_group > 1:
        for task, group in by_task.items():
            if len({episode.turns[0].observation_ids for episode in group}) > 1:
                raise EpisodeError(
                    where=f"group of task {task}",
                    problem="mixes different prompts, so its attempts cannot be compared.",
                    fix="Give different problems different task ids.",
                )
    too_small = {task for task, group in by_task.items() if len(group) < min_group}
    kept = [e for e in usable if e.task.id not in too_small]
    groups = [group for task, group in by_task.items() if task not in too_small]
    dead = sum(len({e.return_ for e in group}) == 1 for group in groups if len(group) > 1)
    warnings = []
    if too_small:
        warnings.append(
            f"Groups with fewer than {min_group} graded attempts were left out: "
            f"{len(too_small)} in this step. A lone attempt has nothing to be compared with. Raise "
            "group_size, or look at why attempts fail."
        )
    if groups and min_group > 1 and dead == len(groups):
        warnings.append(
            "All rewards within every group are equal: the reward teaches nothing in this step. If "
            "that goes on, make the reward finer or the tasks easier."
        )
    num_graded = len(kept)
    if train_on is not None:
        chosen = {
            id(group[index])
            for group in groups
            for index in most_varied([e.return_ or 0.0 for e in group], train_on)
        }
        kept = [e for e in kept if id(e) in chosen]
    metrics = {"group/ungraded_frac": Mean(len(episodes) - len(usable), max(1, len(episodes)))}
    if groups and min_group > 1:
        metrics["group/dead_frac"] = Mean(dead, len(groups))
    if train_on is not None:
        metrics["group/kept_frac"] = Mean(len(kept), max(1, num_graded))
    return Graded(episodes=kept, warnings=tuple(warnings), metrics=metrics)


def by_group(
    episodes: Sequence[Episode],
    returns: Sequence[float],
    advantage: Callable[[Sequence[float]], Sequence[float]],
) -> list[float]:
    """Advantage of each episode within its group.

    Args:
        episodes: Graded episodes.
        returns: Return of each, in reward units (with KL taken off where that is in the reward).
        advantage: One of ``credit.group``.
    """
    places: dict[str, list[int]] = {}
    for index, episode in enumerate(episodes):
        places.setdefault(episode.task.id, []).append(index)
    found = [0.0] * len(episodes)
    for indices in places.values():
        for index, value in zip(indices, advantage([returns[i] for i in indices]), strict=True):
            found[index] = value
    return found
