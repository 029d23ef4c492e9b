"""Verifiable constraints on a text: each a function to [0, 1], 1 when it holds.

Partial credit is given where a policy can come closer step by step (length, several words);
the rest is yes or no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sayso.rewards.text import lines, lowered, sentences, words
from sayso.rewards.vocabulary import INVERTED, NUMBER_WORDS, QUESTION_WORDS


def near(count: int, low: int, high: int) -> float:
    """1 within [low, high]; below falls as the square of the share, above linearly to 0 at 2.5×."""
    if count < low:
        return (count / low) ** 2
    if count > high:
        return max(0.0, 1.0 - (count - high) / (1.5 * high))
    return 1.0


def stem(word: str) -> str:
    """A word without its plural or verb ending, for telling "lantern" from "lanterns" loosely."""
    for ending in ("'s", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def length(text: str, *, low: int, high: int) -> float:
    """Number of words within [low, high]."""
    return near(len(words(text)), low, high)


def num_lines(text: str, *, count: int) -> float:
    """Exactly ``count`` non-empty lines; 0.4 for one too many, 0.1 for one too few."""
    over = len(lines(text)) - count
    return {0: 1.0, 1: 0.4, -1: 0.1}.get(over, 0.0) if text.strip() else 0.0


def num_sentences(text: str, *, count: int) -> float:
    """Exactly ``count`` sentences; a third for one off."""
    off = abs(len(sentences(text)) - count)
    return {0: 1.0, 1: 1 / 3}.get(off, 0.0) if text.strip() else 0.0


def uses(text: str, *, words: Sequence[str]) -> float:
    """Share of the words that occur, as whole words; a plural or possessive counts 0.8."""
    found = lowered(text)
    stems = {stem(word) for word in found}
    scores = [
        1.0 if word.lower() in found else 0.8 if stem(word.lower()) in stems else 0.0
        for word in words
    ]
    return sum(scores) / len(scores)


def avoids(text: str, *, words: Sequence[str]) -> float:
    """1 when none of the words occurs in a text that has words."""
    found = set(lowered(text))
    return float(bool(found) and not any(word.lower() in found for word in words))


def is_question(sentence: str) -> bool:
    """Whether a sentence is built like a question: it, or a clause after a comma, opens like one.

    "When" and "where" open a question only when an auxiliary follows at once.
    """
    for clause in re.split(r"[,;:—]|\b(?:and|but|or)\b", sentence):
        found = lowered(clause)[:2]
        if not found or (found[0] in {"when", "where"} and found[-1] not in INVERTED):
            continue
        if found[0] in QUESTION_WORDS or found[0] in INVERTED:
            return True
    return False


def ends_with(text: str, *, mark: str) -> float:
    """The last character, closing quotes aside, is ``mark`` and it stands alone.

    A question mark after what is not built like a question earns 0.4.
    """
    ending = text.rstrip().rstrip("\"\u201d\u2019'")
    if not words(ending) or not ending.endswith(mark) or re.search(r"[.!?…,;:]{2,}$", ending):
        return 0.0
    return 1.0 if mark != "?" or is_question(sentences(ending)[-1]) else 0.4


def last_word(text: str, *, word: str) -> float:
    """The last word is ``word``."""
    found = lowered(text)
    return float(bool(found) and found[-1] == word.lower())


def first_word(text: str, *, word: str) -> float:
    """The first word is ``word``, whatever its case."""
    found = lowered(text)
    return float(bool(found) and found[0] == word.lower())


def mentions(text: str, *, words: Sequence[str]) -> float:
    """Any of the words occurs, or its plural: a place, a time, a tone."""
    found = lowered(text)
    seen = {*found, *(stem(word) for word in found)}
    return float(any(word.lower() in seen for word in words))


def has_number(text: str) -> float:
    """A number from two up, in digits or in words."""
    found = lowered(text)
    return float(any(word[0].isdigit() or word in NUMBER_WORDS for word in found))


CONSTRAINTS: Mapping[str, Callable[..., float]] = {
    "length": length,
    "lines": num_lines,
    "sentences": num_sentences,
    "use": uses,
    "avoid": avoids,
    "ending": ends_with,
    "first_word": first_word,
    "last_word": last_word,
    "tone": mentions,
    "place": mentions,
    "time": mentions,
    "name": uses,
    "number": has_number,
}
"""Check by kind, as tasks name them."""


def check(text: str, constraint: Mapping[str, Any]) -> float:
    """Score one constraint: its ``kind``, perhaps a ``label``, the arguments of its check.

    Raises:
        KeyError: If the kind is unknown.
    """
    arguments = {name: value for name, value in constraint.items() if name not in {"kind", "label"}}
    return CONSTRAINTS[constraint["kind"]](text, **arguments)
