"""When a run must stop by itself, and what it says then."""

from __future__ import annotations

from collections import Counter

from sayso.algorithms.base import Update
from sayso.errors import GuardError
from sayso.training.progress import WINDOW, Progress

MAX_SKIPS_IN_A_ROW = 3
MAX_SKIPS_IN_WINDOW = 5
MIN_EPISODES_FOR_BUDGET = 20
MAX_IDLE_STEPS = 10
MAX_UNGRADED_STEPS = 5


def check_failure_budget(progress: Progress, budget: float) -> None:
    """Stop when too many of the last 100 episodes were invalid.

    Raises:
        GuardError: Naming the commonest cause. Fewer than 20 episodes are too few to tell,
            unless every one of them failed and nothing is left to train on.
    """
    recent = progress.recent_invalid
    failed = [kind for kind in recent if kind]
    if len(recent) < MIN_EPISODES_FOR_BUDGET and len(failed) < len(recent):
        return
    if recent and len(failed) > budget * len(recent):
        kind, count = Counter(failed).most_common(1)[0]
        raise GuardError(
            where=f"step {progress.step}",
            problem=(
                f"{len(failed)} of the last {len(recent)} episodes were invalid "
                f"(budget {budget:.0%}); the commonest cause is {kind} ({count})."
            ),
            fix=(
                "Mend the environment or reward: the run's episodes/ log holds each failure with "
                "its traceback. Then `sayso train --resume`."
            ),
        )


def check_fatal(progress: Progress, update: Update) -> None:
    """Stop when the learner found that going on is pointless.

    Raises:
        GuardError: With the learner's own words.
    """
    if update.fatal is not None:
        raise GuardError(
            where=f"step {progress.step}", problem=update.fatal.problem, fix=update.fatal.fix
        )


def check_idle(progress: Progress) -> None:
    """Stop after 10 steps in a row without anything to train on: such a run would never end.

    Raises:
        GuardError: Saying why a step can come to nothing.
    """
    if progress.num_idle_steps >= MAX_IDLE_STEPS:
        raise GuardError(
            where=f"step {progress.step}",
            problem=(
                f"{progress.num_idle_steps} steps in a row had nothing to train on: in every "
                "group all rewards were equal, or no attempt could be graded."
            ),
            fix=(
                "Make the reward finer, the tasks easier or harder, `algorithm.group_size` larger; "
                "or set `algorithm.resample_rounds = 0` to keep such groups."
            ),
        )


def check_ungraded(progress: Progress) -> None:
    """Stop after 5 steps in a row in which no reward was given at all.

    Raises:
        GuardError: Saying what is probably wrong.
    """
    if progress.num_ungraded_steps >= MAX_UNGRADED_STEPS:
        raise GuardError(
            where=f"step {progress.step}",
            problem=f"{progress.num_ungraded_steps} steps in a row without a single graded episode "
            "(every reward is None): there is nothing to learn from.",
            fix="Look at the reward: a function without `return` returns None. Then "
            "`sayso train --resume`.",
        )


def check_skips(progress: Progress, reason: str) -> None:
    """Stop after 3 refused optimiser steps in a row, or 5 among the last 100.

    Raises:
        GuardError: Weights and optimiser are those of the last step that was taken.
    """
    recent = progress.recent_skips
    in_a_row = 0
    for skipped in reversed(recent):
        if not skipped:
            break
        in_a_row += 1
    if in_a_row >= MAX_SKIPS_IN_A_ROW or sum(recent) >= MAX_SKIPS_IN_WINDOW:
        raise GuardError(
            where=f"step {progress.step}",
            problem=(
                f"{sum(recent)} of the last {len(recent)} optimiser steps (window {WINDOW}) were "
                f"refused, {in_a_row} in a row: {reason}."
            ),
            fix=(
                "The offending episodes are saved in the run's bad/ folder; the last good "
                "checkpoint is kept. Lower `optim.lr` or look at the rewards."
            ),
        )
