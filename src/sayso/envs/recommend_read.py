"""How ``sayso/Recommend-v0`` reads an answer: one title, or one question, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sayso.rewards.fluency import known_words
from sayso.rewards.text import lowered, repetition
from sayso.rewards.vocabulary import LIGHT_WORDS

MAX_WORDS = 30
"""Longest answer that is read, in words."""
MOOD = "What do you feel like?"
_LIKE = re.compile(r"do you like (?P<tag>.+?)(?: films| movies)?")
REFUSALS = frozenset(
    ("not", "no", "never", "nor", "don't", "doesn't", "didn't", "won't", "wouldn't", "shouldn't",
     "can't", "cannot", "avoid", "skip", "hate", "worst", "except")
)  # fmt: skip
"""With one of these beside a title it is not clear that the title is recommended."""

Problem = Literal["", "nothing", "several", "unclear", "too long"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an answer says.

    Attributes:
        title: The film named, as the caller spelled it; empty: none, or none that counts.
        question: ``MOOD``, or the tag that was asked about; empty: no question.
        problem: Why neither was found.
        clarity: Share of the reward that the words around the title leave, in [0, 1].
    """

    title: str = ""
    question: str = ""
    problem: Problem = ""
    clarity: float = 1.0


def normal(text: str) -> str:
    """Lower case, no punctuation, single spaces, one at each end: all that matching forgives."""
    kept = "".join(c if c.isalnum() else " " for c in text.casefold())
    return f" {' '.join(kept.split())} "


def read(text: str, titles: Iterable[str], tags: Iterable[str]) -> Said:
    """What an answer says.

    A title counts where all its words stand in order. An answer with two titles recommends
    neither, whichever they are: a list of everything would always hold the best one. A title
    that is part of a longer one in the same place is not named.

    Args:
        text: The answer.
        titles: Every title that was shown so far.
        tags: Tags that can be asked about.
    """
    if len(text) > 100 * MAX_WORDS or len(text.split()) > MAX_WORDS:
        return Said(problem="too long")
    found = _named(text, titles)
    if len(found) > 1:
        return Said(problem="several")
    if not found:
        question = _asked(text, tags)
        return Said(question=question, problem="" if question else "nothing")
    around = _around(text, found[0])
    if REFUSALS & set(lowered(around)):
        return Said(problem="unclear")
    return Said(title=found[0], clarity=_clarity(around))


def _named(text: str, titles: Iterable[str]) -> list[str]:
    """Titles in the text, the longest first, one as often as it stands there."""
    rest, found = normal(text), []
    known = {normal(title): title for title in titles}
    for words in sorted(known, key=len, reverse=True):
        while words in rest:
            found.append(known[words])
            rest = rest.replace(words, " | ", 1)
    return found


def _asked(text: str, tags: Iterable[str]) -> str:
    """The question that the text is, as in ``Said``; empty: none."""
    said = normal(text)
    if said == normal(MOOD):
        return MOOD
    asked = _LIKE.fullmatch(said.strip())
    by_name = {normal(tag).strip(): tag for tag in tags}
    return by_name.get(asked["tag"], "") if asked else ""


def _around(text: str, title: str) -> str:
    """The text without the title's words."""
    words = r"[\W_]+".join(map(re.escape, normal(title).split()))
    return re.sub(words, " ", text, count=1, flags=re.IGNORECASE)


def _clarity(around: str) -> float:
    """1 for a title alone or in plain English; less for unknown words and repetition."""
    known, fresh = known_words(around), repetition(around, light=LIGHT_WORDS)
    return (1.0 if known is None else known) * (1.0 if fresh is None else fresh)
