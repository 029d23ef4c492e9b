"""Is a list of tasks one that a run can train on and write down?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sayso.errors import EnvContractError, SaysoError, in_a_line
from sayso.runs.ledger import payload_problem
from sayso.types import Task

MAX_LISTED, MAX_MADE, MAX_TOLD = 100_000, 200, 3
"""Most tasks looked at of a plain list, and of one that makes them; most that are named."""


def places(tasks: Sequence[Any], *, most: int = MAX_LISTED) -> range:
    """Evenly spread places of a list to look at; fewer of a list that makes what is looked at."""
    if not isinstance(tasks, list | tuple):
        most = min(most, MAX_MADE)
    return range(0, len(tasks), -(-len(tasks) // most) or 1)


def list_problems(tasks: Sequence[Any], split: str) -> list[str]:
    """What is wrong with the tasks of a split, in sentences; empty when nothing is.

    Long lists are looked at in evenly spread places.

    Args:
        tasks: What ``tasks(split)`` returned.
        split: Its name.
    """
    looked_at: list[tuple[int, Any]] = [(place, tasks[place]) for place in places(tasks)]
    found = [told for place, task in looked_at if (told := _odd(task, place, split))]
    if found:
        return _some(found)
    counts = Counter(task.id for _, task in looked_at)
    return _some(
        [
            f"the id {name!r} stands for {count} tasks of {split!r}; ids must be unique, for "
            "attempts that share one form a group"
            for name, count in counts.items()
            if count > 1
        ]
    )


def _odd(task: Any, place: int, split: str) -> str:
    """What is wrong with one task by itself."""
    if not isinstance(task, Task):
        return f"tasks({split!r}) holds {task!r}, which is no sayso.Task"
    task_id: Any = task.id
    if not isinstance(task_id, str):
        kind = type(task_id).__name__
        return f"task {place} of {split!r} has the id {task_id!r} ({kind}); use text: str(id)"
    if problem := payload_problem(task):
        return f"task {task_id!r} of {split!r}, {problem}"
    return ""


def _some(found: list[str]) -> list[str]:
    more = len(found) - MAX_TOLD
    return found[:MAX_TOLD] + ([f"and {more} more like these"] if more > 0 else [])


class SplitRaisesError(EnvContractError):
    """``tasks`` raised instead of returning a list, as for a split that it does not know."""


def tasks_of(env: Any, split: str) -> Sequence[Task]:
    """The tasks of a split, as a sequence.

    Raises:
        SplitRaisesError: If ``tasks`` raises.
        EnvContractError: If it returns something else.
    """
    where = type(env).__name__
    try:
        tasks = env.tasks(split)
    except SaysoError:
        raise
    except Exception as error:
        raise SplitRaisesError(
            where=where,
            problem=f"tasks({split!r}) raises {in_a_line(error)}.",
            fix="Return [] for a split that does not exist.",
        ) from error
    if hasattr(tasks, "__len__") and hasattr(tasks, "__getitem__"):
        found: Sequence[Task] = tasks
        return found
    raise EnvContractError(
        where=where,
        problem=f"tasks({split!r}) returned a {type(tasks).__name__}.",
        fix="Write tasks(self, split) so that it returns a list of sayso.Task.",
    )


def num_tasks(env: Any, split: str) -> int:
    """How many tasks a split has; one that ``tasks`` raises for has none."""
    try:
        return len(tasks_of(env, split))
    except EnvContractError:
        return 0
