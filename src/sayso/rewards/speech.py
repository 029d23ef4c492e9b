"""Whether a line can be said to a person: the form and grammar of spoken sentences, in [0, 1].

``quality`` judges prose, in which "Sure!" and "Sorry about that." are slips. In a conversation
they are not: courtesies are made whole before the grammar is looked at, and nothing here minds
talk about the job.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sayso.rewards.fluency import MARKUP, ODD, capitals, is_finished, known_words, quotes, spacing
from sayso.rewards.grammar import grammar
from sayso.rewards.text import lines, repetition, words
from sayso.rewards.vocabulary import INVERTED, LIGHT_WORDS, base_verbs

COURTESIES = (
    (re.compile(r"(^|[.!?]\s+)please,? (?=[a-z])", re.IGNORECASE), r"\1You "),
    (re.compile(r"(^|[.!?]\s+)(?:many )?thanks?\b(?: you)?", re.IGNORECASE), r"\1I thank you"),
    (re.compile(r"(^|[.!?]\s+)(?:very |so )?sorry\b", re.IGNORECASE), r"\1I am sorry"),
    (
        re.compile(
            r"(^|[.!?]\s+)(?:sure|certainly|of course|all right|okay|hello|hi|good "
            r"(?:morning|day|afternoon|evening)|well done|good|right|exactly|yes|no|goodbye)"
            r"[,.!]\s+(?=\S)",
            re.IGNORECASE,
        ),
        r"\1",
    ),
)
"""Openings of spoken sentences, and the whole sentences that they stand for."""
REQUEST = re.compile(r"(^|[.!?]\s+)(can|could|would|will|may) (you|i|we)\b", re.IGNORECASE)
OPENING = re.compile(
    r"(^|[.!?]\s+)(?:(?:first|then|now|next|so),? )?([a-z]+)\b(?!\?)", re.IGNORECASE
)
"""The first word of a sentence, after a word of order."""
START = re.compile(r"(?:^|[.!?]\s+)[a-z]")
UNFINISHED = 0.5
"""Factor of a line without a stop at its end."""


def made_whole(text: str) -> str:
    """The text with its courtesies as sentences, requests as statements.

    "Please wait. May I ask?" becomes "You wait. I may ask?".
    """
    for pattern, whole in COURTESIES:
        text = pattern.sub(whole, text)
    text = REQUEST.sub(lambda found: f"{found[1]}{found[3]} {found[2].lower()}", text)
    return START.sub(lambda found: found[0].upper(), text)


def commands_whole(text: str) -> str:
    """The text with its commands as sentences: of "Add the ones." it makes "You add the ones.".

    For what is told to a pupil or a cook; elsewhere a list of nouns would pass for a command.
    """

    def whole(found: re.Match[str]) -> str:
        is_command = found[2].lower() in base_verbs() - INVERTED
        return f"{found[1]}You {found[2].lower()}" if is_command else found[0]

    return OPENING.sub(whole, text)


@lru_cache(maxsize=4096)  # scripted lines come again and again
def speech(text: str, *, most_words: int = 40) -> float:
    """How well a line can be said: spelling, form, grammar, no repetition, one line, no flood.

    The product of its parts, so that none can pay for another.

    Args:
        text: What was said.
        most_words: Beyond it the score falls, with the square of the share.

    Returns:
        A score in [0, 1]; 0 for a text without words, or of several lines.
    """
    count = len(words(text))
    if not count or len(lines(text)) > 1:
        return 0.0
    whole = made_whole(" ".join(text.split()))
    ending = 1.0 if is_finished(text) else UNFINISHED
    plain = (0.25 if MARKUP.search(text) else 1.0) * (0.4 if ODD.search(text) else 1.0)
    flood = min(1.0, most_words / count) ** 2
    form = (capitals(text) or 0.0) * quotes(text) * spacing(text) * plain * ending
    language = (grammar(whole) or 0.0) * (repetition(text, light=LIGHT_WORDS) or 0.0)
    return form * language * (known_words(text) or 0.0) * flood
