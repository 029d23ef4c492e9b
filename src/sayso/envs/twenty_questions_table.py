"""The table of ``sayso/TwentyQuestions-v0``: what is true of what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Table:
    """Things, questions and answers.

    Attributes:
        things: With their article: ``"a cat"``, ``"bread"``.
        categories: Of each thing.
        unseen: Categories that are never trained on.
        names: Short names of the questions.
        questions: Their wording.
        rows: Answers, bool [things, questions].
    """

    things: tuple[str, ...]
    categories: tuple[str, ...]
    unseen: frozenset[str]
    names: tuple[str, ...]
    questions: tuple[str, ...]
    rows: NDArray[np.bool_]

    @cached_property
    def guesses(self) -> tuple[str, ...]:
        """The wording of a guess of each thing."""
        return tuple(f"Is it {thing}?" for thing in self.things)

    @cached_property
    def question_places(self) -> dict[str, int]:
        """Place of a question by its normal form."""
        return {normal(text): place for place, text in enumerate(self.questions)}

    @cached_property
    def guess_places(self) -> dict[str, int]:
        """Place of a thing by the normal form of its guess."""
        return {normal(text): place for place, text in enumerate(self.guesses)}


def normal(text: str) -> str:
    """Lower case, no punctuation, single spaces: all that matching forgives."""
    kept = "".join(c if c.isalnum() else " " for c in text.casefold())
    return " ".join(kept.split())


@lru_cache(maxsize=1)
def table() -> Table:
    """``envs/data/twenty_questions.json``: what holds for all of a category, then exceptions."""
    found = data()
    things, categories, rows = [], [], []
    names = tuple(found["questions"])
    for category, listed in found["categories"].items():
        for thing, exceptions in listed["things"].items():
            holds = _changed(listed["all"].split(), exceptions.split(), thing)
            things.append(thing)
            categories.append(category)
            rows.append([name in holds for name in names])
            if unknown := holds - set(names):
                raise ValueError(f"{thing}: no such question: {sorted(unknown)}")
    return Table(
        things=tuple(things),
        categories=tuple(categories),
        unseen=frozenset(found["unseen"]),
        names=names,
        questions=tuple(found["questions"].values()),
        rows=np.array(rows),
    )


def data() -> dict[str, Any]:
    """The file as it is written; ``implies`` are its rules, which the tests hold it to."""
    path = files("sayso.envs").joinpath("data", "twenty_questions.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _changed(general: list[str], exceptions: list[str], thing: str) -> set[str]:
    """What holds for a thing; an exception that changes nothing is a slip of the pen."""
    holds = set(general)
    for exception in exceptions:
        sign, name = exception[0], exception[1:]
        if sign not in "+-" or (name in holds) is (sign == "+"):
            raise ValueError(f"{thing}: the exception {exception!r} changes nothing")
        holds ^= {name}
    return holds


@lru_cache(maxsize=4)
def best_mean(num_things: int) -> float:
    r"""No player of any table has a greater mean return over all of its things.

    .. math:: f(n) = n - 1 + \min\big(f(n - 1),\; 1 + \min_a f(a) + f(n - a)\big), \quad f(1) = 0

    is the least total number of turns that are not the right guess, when every division of the
    n things that are still possible may be asked for: a guess costs all but its own thing a turn,
    a question costs all of them one. Returned is ``-f(num_things) / num_things``.

    Args:
        num_things: At least 1; each as likely as another.

    Source:
        Dynamic programming over the number of things left; ours.

    Tests:
        tests/unit/test_twenty_questions_env.py
    """
    total = np.zeros(num_things + 1)
    for n in range(2, num_things + 1):
        parts = total[1:n]
        total[n] = n - 1 + min(total[n - 1], 1 + (parts + parts[::-1]).min())
    return float(-total[num_things] / num_things)
