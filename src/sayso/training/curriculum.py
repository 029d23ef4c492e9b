"""Tasks of medium success more often than others: a curriculum over levels of difficulty."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence

import numpy as np

from sayso.envs.base import TextEnv
from sayso.errors import OptionValueError
from sayso.seeds import generator
from sayso.types import Episode, Task

FADE = 0.9
"""Share of the counts that is left after a step: the last ten steps or so speak."""
FLOOR = 0.1
"""Least share of the tasks that is drawn whatever their success: no level is ever given up."""
Counts = MutableMapping[str, list[float]]
"""Faded sums of success and of failure by level; part of every checkpoint."""


class MediumOrder:
    r"""Blocks of different tasks; levels that succeed half of the time are drawn most.

    With s and f the faded sums of success and failure at a level of n of all N tasks,

    .. math:: p = \frac{s + 1}{s + f + 2}, \qquad
        w \propto (1 - \phi)\,\frac{p (1 - p)}{\sum p (1 - p)} + \phi\,\frac{n}{N}

    is the probability that a place of the block is given to the level, φ = ``FLOOR``; among its
    tasks all are alike. Success is the return within the environment's range, so in [0, 1]. Draws
    are keyed by the run's seed and the block's number; the counts are the only state.

    Args:
        tasks: What to train on.
        levels: Level of each of them.
        block_size: Tasks per block, at most ``len(tasks)``.
        seed: The run's seed.
        counts: Sums to go on from; changed in place by ``note``.
        low: Least return.
        high: Greatest return.

    Source:
        p (1 - p) as the worth of a task: Tzannetos et al. 2023, "Proximal Curriculum for
        Reinforcement Learning Agents", arXiv:2304.12877, and Rutherford et al. 2024, "No Regrets",
        arXiv:2408.15099 (learnability). Theirs is per task; ours is per level, smoothed by a
        uniform Beta prior, because few tasks are met twice.

    Tests:
        tests/unit/test_curriculum.py
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        levels: Sequence[str],
        block_size: int,
        *,
        seed: int,
        counts: Counts,
        low: float,
        high: float,
    ) -> None:
        self.tasks, self.seed, self.counts = tasks, seed, counts
        self.low, self.high = low, high
        self.block_size = min(block_size, len(tasks))
        self.level_of = {task.id: level for task, level in zip(tasks, levels, strict=True)}
        self.places: dict[str, list[int]] = {}
        for place, level in enumerate(levels):
            self.places.setdefault(level, []).append(place)

    def success(self) -> dict[str, float]:
        """Smoothed success p of each level, in (0, 1)."""
        found = {}
        for level in self.places:
            good, bad = self.counts.get(level, (0.0, 0.0))
            found[level] = (good + 1) / (good + bad + 2)
        return found

    def shares(self) -> dict[str, float]:
        """Probability w of each level."""
        worth = {level: p * (1 - p) for level, p in self.success().items()}
        total = sum(worth.values())
        return {
            level: (1 - FLOOR) * worth[level] / total + FLOOR * len(places) / len(self.tasks)
            for level, places in self.places.items()
        }

    def block(self, index: int, *, but: Collection[str] = ()) -> list[Task]:
        """Tasks of block ``index``, all different, none of those whose ids are in ``but``.

        A level that runs out of tasks leaves its places to the others.
        """
        rng = generator(self.seed, "curriculum", index)
        left = {
            level: [place for place in places if self.tasks[place].id not in but] if but else places
            for level, places in self.places.items()
        }
        counts = _divided(rng, self.shares(), {k: len(v) for k, v in left.items()}, self.block_size)
        chosen = [
            left[level][int(place)]
            for level, count in counts.items()
            for place in rng.choice(len(left[level]), count, replace=False)
        ]
        return [self.tasks[chosen[int(place)]] for place in rng.permutation(len(chosen))]

    def note(self, episodes: Iterable[Episode]) -> dict[str, float]:
        """Count the valid, graded ones of all episodes of a step; metrics of the step."""
        drawn = dict.fromkeys(self.places, 0)
        for sums in self.counts.values():
            sums[:] = [FADE * value for value in sums]
        for episode in episodes:
            level = self.level_of[episode.task.id]
            drawn[level] += 1
            if episode.failure is not None or episode.return_ is None:
                continue
            within = (episode.return_ - self.low) / (self.high - self.low)
            success = min(1.0, max(0.0, within))
            sums = self.counts.setdefault(level, [0.0, 0.0])
            sums[:] = [sums[0] + success, sums[1] + 1 - success]
        total = max(1, sum(drawn.values()))
        found = {f"curriculum/level_{k}_frac": count / total for k, count in drawn.items()}
        return found | {f"curriculum/level_{k}_success": p for k, p in self.success().items()}


def _divided(
    rng: np.random.Generator, shares: Mapping[str, float], sizes: Mapping[str, int], count: int
) -> dict[str, int]:
    """How many of ``count`` places each level gets, never more than it has tasks."""
    given = dict.fromkeys(shares, 0)
    for _ in range(min(count, sum(sizes.values()))):
        levels = [level for level in shares if given[level] < sizes[level]]
        weights = np.array([shares[level] for level in levels])
        given[levels[int(rng.choice(len(levels), p=weights / weights.sum()))]] += 1
    return given


def medium_order(
    env: TextEnv, tasks: Sequence[Task], block_size: int, *, seed: int, counts: Counts
) -> MediumOrder:
    """A curriculum over the tasks of an environment.

    Raises:
        OptionValueError: If the tasks have no levels, or the range of the return is not known.
    """
    low, high = env.reward_low, env.reward_high
    if low is None or high is None or not low < high:
        raise _refused(
            f"the range of the return, and it is {low} to {high}", "reward_low and reward_high"
        )
    levels = [env.level(task) for task in tasks]
    known = sorted({level for level in levels if level is not None})
    if len(known) < 2 or None in levels:  # one level leaves nothing to choose
        raise _refused(
            f"a level of difficulty of each task, at least two; it found {known or 'none'}",
            "level(task), or a level in each payload",
        )
    return MediumOrder(
        tasks, [str(level) for level in levels], block_size,
        seed=seed, counts=counts, low=low, high=high,
    )  # fmt: skip


def _refused(needs: str, what: str) -> OptionValueError:
    return OptionValueError(
        where="train.curriculum",
        problem=f"'medium' needs {needs}.",
        fix=f"Give the environment {what}; or set train.curriculum = 'none'.",
    )
