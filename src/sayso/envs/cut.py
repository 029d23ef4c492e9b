"""Tasks that a seed poses, divided by what they pose: for generators of other packages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from sayso.envs.tasks import HELD_OUT_ONE_IN, LazyTasks
from sayso.errors import EnvContractError
from sayso.seeds import derive
from sayso.types import Task

MAX_DRAWS = 300
"""Seeds tried for one task; with a fifth held out, one in 10**29 lists of distinct contents
has a task that needs more."""
Pose = Callable[[int, int], tuple[dict[str, Any], str]]
"""Index of the task and a seed to payload and content; a pure function. The content is what makes
two problems the same: the question, or all that a game begins with."""


def is_held_out(content: str) -> bool:
    """Whether a content belongs to the fifth that is never trained on, whatever seed posed it."""
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % HELD_OUT_ONE_IN == 0


def digest_of(content: str) -> str:
    """Sixteen hex digits of its sha256."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def cut_tasks(env: str, split: str, count: int, pose: Pose) -> LazyTasks:
    """The tasks of a split, made when looked at: the first seed of each that poses its content.

    ``held_out`` and ``train`` are cut by a hash of the content. ``unseen`` takes every content: its
    families are others.

    Args:
        env: Name of the environment, for ids and seeds.
        split: ``"train"``, ``"held_out"`` or ``"unseen"``.
        count: How many tasks.
        pose: What a seed poses.
    """

    def make(index: int) -> Task:
        for draw in range(MAX_DRAWS):
            seed = derive(0, env, split, index, draw) & 0x7FFF_FFFF
            payload, content = pose(index, seed)
            if split == "unseen" or is_held_out(content) is (split == "held_out"):
                payload = {**payload, "seed": seed, "content_sha256": digest_of(content)}
                return Task(id=f"{split}-{index:05d}", env=env, split=split, payload=payload)
        raise EnvContractError(
            where=f"{env}, split {split!r}, task {index}",
            problem=f"{MAX_DRAWS} seeds posed no content that the split may hold.",
            fix="Choose a game or level that varies more with its seed.",
        )

    def find(task_id: str) -> int | None:
        number = task_id.removeprefix(f"{split}-")
        is_ours = number.isdecimal() and task_id == f"{split}-{int(number):05d}"
        return int(number) if is_ours and int(number) < count else None

    return LazyTasks(count, make, find)
