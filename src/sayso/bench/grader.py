"""Scores of ``sayso/Writing-v0`` for another process: ``python -m sayso.bench.grader``.

One JSON object a line in, one out, in order: ``{"task": [id, ...], "text": [...]}`` is answered by
``{"reward": [...]}``; what cannot be scored by ``{"error": "..."}``, and the grader goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache

from sayso.envs.writing_score import score
from sayso.envs.writing_tasks import tasks
from sayso.types import Task


def answers(lines: Iterable[str]) -> Iterator[str]:
    """The answer to each line."""
    for line in lines:
        try:
            asked = json.loads(line)
            pairs = zip(asked["task"], asked["text"], strict=True)
            rewards = [score(text, _task(name).payload)[0] for name, text in pairs]
        except (KeyError, TypeError, ValueError) as error:
            yield json.dumps({"error": f"{type(error).__name__}: {error}"})
        else:
            yield json.dumps({"reward": rewards})


def _task(name: str) -> Task:
    return _tasks()[name]


@cache
def _tasks() -> dict[str, Task]:
    return {task.id: task for split in ("train", "held_out") for task in tasks(split)}


def main() -> None:
    """Answer standard input until it ends."""
    for answer in answers(sys.stdin):
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
