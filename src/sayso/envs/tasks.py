"""Lists of tasks that are made when they are looked at, and the rule that holds some out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, overload

from sayso.types import Task


class LazyTasks(Sequence[Task]):
    """Tasks computed from their index, in a fixed order.

    Args:
        count: How many there are.
        make: Index to task; a pure function.
        find: Task id to index, ``None`` for an unknown one; without it, ids are searched.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[int], Task],
        find: Callable[[str], int | None] | None = None,
    ) -> None:
        self._count, self._find = count, find
        self._make = lru_cache(maxsize=4096)(make)
        self._places: dict[str, int] | None = None

    def index_of(self, task_id: str) -> int | None:
        """Where the task with this id is, if it is here."""
        if self._find is not None:
            return self._find(task_id)
        if self._places is None:
            self._places = {task.id: index for index, task in enumerate(self)}
        return self._places.get(task_id)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"task {index} of {self._count}")
        return self._make(index % self._count)


HELD_OUT_ONE_IN = 5
"""One content in so many is never trained on."""


def bucket(content: Any) -> int:
    """Which of ``HELD_OUT_ONE_IN`` parts a content (JSON values) falls into; part 0 is held out."""
    text = json.dumps(content, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % HELD_OUT_ONE_IN


def numbered_tasks(
    env: str,
    split: str,
    count: int,
    payload: Callable[[int], Mapping[str, Any]],
    *,
    digits: int = 5,
) -> LazyTasks:
    """Tasks with the ids ``train-00000``, ``train-00001``, ...

    Args:
        env: Id of the environment.
        split: Which; part of the ids.
        count: How many there are.
        payload: Number to payload; a pure function.
        digits: Of the number in an id, at least.
    """

    def name_of(number: int) -> str:
        return f"{split}-{number:0{digits}d}"

    def make(index: int) -> Task:
        return Task(id=name_of(index), env=env, split=split, payload=dict(payload(index)))

    def find(task_id: str) -> int | None:
        number = task_id.removeprefix(f"{split}-")
        is_ours = number.isdecimal() and task_id == name_of(int(number))
        return int(number) if is_ours and int(number) < count else None

    return LazyTasks(count, make, find)


SEED_SPLITS = {"train": (0, 100_000), "held_out": (100_000, 101_000), "unseen": (0, 0)}
"""First seed and first seed after, per split, of environments whose tasks are seeds."""


@lru_cache(maxsize=64)
def seed_tasks(env: str, split: str) -> LazyTasks:
    """Tasks of an environment that knows nothing but seeds: disjoint ranges per split."""
    first, after = SEED_SPLITS.get(split, (0, 0))

    def make(index: int) -> Task:
        seed = first + index
        return Task(id=f"seed-{seed}", env=env, split=split, payload={"seed": seed})

    def find(task_id: str) -> int | None:
        number = task_id.removeprefix("seed-")
        is_ours = number.isdecimal() and task_id == f"seed-{int(number)}"
        return int(number) - first if is_ours and first <= int(number) < after else None

    return LazyTasks(after - first, make, find)
