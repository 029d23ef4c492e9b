"""Rows of a user's own for environments that can pose them: a JSON Lines file, split by content."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sayso.envs.base import SPLITS
from sayso.envs.tasks import bucket
from sayso.errors import DataError
from sayso.types import Task

MOST_TOLD = 10
Check = Callable[[dict[str, Any]], str]
"""What is wrong with a row, in a sentence; empty when nothing is."""


def read_rows(path: str | Path, check: Check) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file, in order; empty lines are skipped.

    Args:
        path: One JSON object a line.
        check: Looks at each.

    Raises:
        DataError: If the file cannot be read, is empty, or a row is wrong; tells up to ten.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            where=f"data={str(path)!r}", problem=f"{error}.", fix="Name a JSON Lines file."
        ) from error
    rows, wrong = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, problem = _row(line, check)
        if problem:
            wrong.append(f"line {number}: {problem}")
        rows.append(row)
    if wrong or not rows:
        told = "; ".join(wrong[:MOST_TOLD]) or "has no rows"
        more = f"; and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
        raise DataError(
            where=str(path), problem=f"{told}{more}.", fix="Mend the rows; see docs/scenarios."
        )
    return rows


def _row(line: str, check: Check) -> tuple[dict[str, Any], str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        return {}, f"is no JSON ({error})"
    if not isinstance(row, dict):
        return {}, "is no JSON object"
    split = row.get("split", "train")
    if split not in SPLITS:
        return row, f"`split` is {split!r}; use one of {', '.join(SPLITS)}"
    return row, check(row)


def tasks_of_rows(
    rows: Sequence[Mapping[str, Any]],
    env_id: str,
    *,
    key: Callable[[Mapping[str, Any]], Any],
    payload: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> dict[str, tuple[Task, ...]]:
    """Tasks by split; what has the same key is always in the same split, each content once.

    A row's own ``split`` decides, that of the first row with its key; without one, one key in five
    is held out by its hash.

    Args:
        rows: As ``read_rows`` returns them.
        env_id: Of the tasks.
        key: What must not be in two splits: a document, a reader.
        payload: Row to payload.
    """
    homes: dict[str, str] = {}
    found: dict[str, dict[str, Task]] = {split: {} for split in SPLITS}
    for row in rows:
        name = json.dumps(key(row), sort_keys=True)
        chance = "held_out" if bucket(key(row)) == 0 else "train"
        split = homes.setdefault(name, row.get("split", chance))
        content = payload(row)
        draft = Task(id="", env=env_id, split=split, payload=content)
        task = Task(id=draft.content_hash[:16], env=env_id, split=split, payload=content)
        found[split].setdefault(task.id, task)
    return {split: tuple(tasks.values()) for split, tasks in found.items()}
