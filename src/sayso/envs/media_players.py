"""Scripted players of Vision-v0 and Sound-v0, and what can be known from the text alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.media_score import answer_of, score
from sayso.envs.scripted import Scripted
from sayso.types import Task

if TYPE_CHECKING:
    from sayso.envs.media_env import MediaEnv

NUM_LOOKED_AT = 1_600
"""Tasks of ``train`` from which ``blind`` learns what is most often right."""
MIN_SHARED = 20
"""Tasks with exactly the same question that make it one of its own for ``blind``."""
MAX_TRIED, MAX_GRADED = 30, 120
"""Answers tried for a question, and tasks on which each is graded."""


def _oracle(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    return answer_of(cast("MediaEnv", env).task.payload["asked"])


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    """What would be right for another task of the same family."""
    played = cast("MediaEnv", env)
    tasks, family = played.require_tasks("train"), played.task.payload["family"]
    for _ in range(200):
        drawn = tasks[int(draws.integers(len(tasks)))]
        if drawn.payload["family"] == family:
            return answer_of(drawn.payload["asked"])
    return ""


def _blind(env: TextEnv, draws: np.random.Generator) -> str:
    """The answer that pays best on average over the tasks of ``train`` with such a question."""
    del draws
    played = cast("MediaEnv", env)
    payload = played.task.payload
    if played.rows is None:
        kind: Any = type(played)
        best = _best(kind, played.families)
    else:
        best = best_answers(played.require_tasks("train"))
    by_text = best.get((payload["family"], payload["prompt"]))
    return by_text if by_text is not None else best.get((payload["family"], ""), "")


@lru_cache(maxsize=8)
def _best(kind: Any, families: tuple[str, ...]) -> dict[tuple[str, str], str]:
    tasks = kind(families=families).tasks("train")
    return best_answers(tasks)


def best_answers(tasks: Sequence[Task]) -> dict[tuple[str, str], str]:
    """The best constant answer by family and question; of a family, under the question ``""``.

    Args:
        tasks: Of ``train``; the first ``NUM_LOOKED_AT`` count.
    """
    groups: dict[tuple[str, str], list[Task]] = {}
    for task in tasks[:NUM_LOOKED_AT]:
        for text in ("", task.payload["prompt"]):
            groups.setdefault((task.payload["family"], text), []).append(task)
    return {
        key: _best_of(found)
        for key, found in groups.items()
        if not key[1] or len(found) >= MIN_SHARED
    }


def _best_of(tasks: Sequence[Task]) -> str:
    answers = [answer_of(task.payload["asked"]) for task in tasks]
    common = [text for text, _ in Counter(answers).most_common(MAX_TRIED // 2)]
    tried = list(dict.fromkeys([*common, *answers]))[:MAX_TRIED]

    def mean(answer: str) -> float:
        return sum(score(answer, task.payload)[0] for task in tasks[:MAX_GRADED])

    return max(tried, key=mean)


PLAYERS = {
    "random": Scripted(act=_random, about="the right answer of another task of the family"),
    "blind": Scripted(act=_blind, about="the best answer without looking or listening"),
    "oracle": Scripted(act=_oracle, about="reads what was drawn or played", is_oracle=True),
}
