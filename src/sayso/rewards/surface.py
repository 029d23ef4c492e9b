"""Scorers that read nothing but the text: repetition, readability, form, length.

Each alone is easy to please (any varied text is distinct, any short words are readable), so they
look at one another, and belong behind a task: as small parts, or as gates of ``Sum``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from sayso.errors import OptionValueError
from sayso.rewards.constraints import near
from sayso.rewards.fluency import form, known_words, own_words
from sayso.rewards.grammar import grammar
from sayso.rewards.scorer import Scorer
from sayso.rewards.text import distinct, lowered, num_character_runs, repetition, sentences, words
from sayso.rewards.vocabulary import LIGHT_WORDS

VOWEL_RUN = re.compile(r"[aeiouy]+")
SILENT_E = re.compile(r"[^aeiouyl]e$|[aeiouy]le$")
SILENT_ED = re.compile(r"[^aeiouytd]ed$")
SILENT_ES = re.compile(r"[^aeiouyszxhcg]es$")
TWO_SOUNDS = re.compile(
    r"ia(?!l$|n$)|io(?!u|n)|(?<!p)eo|[^qg]ua(?!r)|uo|crea|(?:sc|qu|d|l)ie[nt]|[aeiouy]ing"
)


@dataclass(frozen=True, kw_only=True)
class Distinct(Scorer):
    """Share of n-grams that are distinct (distinct-n); 0 to 1, 0 for a text without words.

    Below ``min_words`` words the score shrinks with their number: two words are always distinct.

    Attributes:
        size: Length of an n-gram, in words.
        min_words: Words from which the score counts in full.

    Source: Li et al., 2016, "A Diversity-Promoting Objective Function", section 5; theirs is over
        a corpus, this one over one text.
    """

    size: int = 2
    min_words: int = 12

    def __post_init__(self) -> None:
        _require_positive(self, size=self.size, min_words=self.min_words)

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Distinct n-grams over all."""
        found = lowered(completion)
        share = distinct(found, self.size)
        return 0.0 if share is None else share * min(1.0, len(found) / self.min_words)


@dataclass(frozen=True, kw_only=True)
class Repetition(Scorer):
    """How little a text repeats words, pairs and marks; 1 for not at all, 0 for a loop, or nothing.

    Below ``min_words`` words the score shrinks with their number.

    Attributes:
        min_words: Words from which the score counts in full.
    """

    min_words: int = 6

    def __post_init__(self) -> None:
        _require_positive(self, min_words=self.min_words)

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """One less what repetition costs."""
        score = repetition(completion, light=LIGHT_WORDS) or 0.0
        return score * min(1.0, len(words(completion)) / self.min_words)


@dataclass(frozen=True, kw_only=True)
class Form(Scorer):
    """Whether a text is decent English: a gate for other scorers; 0 to 1, 0 without words.

    The product of capitals, marks, ending, spelling, main verbs, repetition and words of one's
    own, as ``sayso/Writing-v0`` uses it. Gibberish, lists of words, loops, markup, an echo of the
    prompt and talk about the task earn next to nothing. English only.

    Attributes:
        unfinished: Factor of a text that breaks off, in [0, 1].
        min_words: Words from which the score counts in full.
    """

    unfinished: float = 0.3
    min_words: int = 4

    def __post_init__(self) -> None:
        _require_positive(self, min_words=self.min_words)
        _require(self, 0 <= self.unfinished <= 1, "unfinished", "a factor in [0, 1]")

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Product of the checks."""
        raised = form(completion, unfinished=self.unfinished)
        if raised is None:
            return 0.0
        parts = (
            known_words(completion),
            grammar(completion),
            repetition(completion, light=LIGHT_WORDS),
            own_words(completion, prompt) if isinstance(prompt, str) else 1.0,
            min(1.0, (len(words(completion)) / self.min_words) ** 2),
        )
        return raised * math.prod(0.0 if part is None else part for part in parts)


@dataclass(frozen=True, kw_only=True)
class Length(Scorer):
    """Number of words within a range; 1 inside, falling to 0 at none and at 2.5 times the most.

    Any words will do, so it says nothing of what they are.

    Attributes:
        min_words, max_words: The range, in words, both included.
    """

    min_words: int
    max_words: int

    def __post_init__(self) -> None:
        _require_positive(self, min_words=self.min_words)
        _require(self, self.min_words <= self.max_words, "max_words", "at least min_words")

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Nearness of the number of words."""
        return near(len(words(completion)), self.min_words, self.max_words)


@dataclass(frozen=True, kw_only=True)
class Readability(Scorer):
    """Flesch reading ease within a band; 0 to 1, 0 for a text without words.

    1 inside the band, falling linearly to 0 at ``width`` outside it, times spelling and
    repetition: strings of short syllables are "easy" and no text. At least ``min_words`` words.

    Attributes:
        min_ease, max_ease: The band. 90 reads like a children's book, 60 like plain English, 30
            like a law.
        width: How far outside the band the score reaches 0, in units of the ease.
        min_words: Words from which the score counts in full.

    Source: Flesch, 1948, "A New Readability Yardstick". Syllables are counted by rules on
        vowels, not by a dictionary: right for about nine words in ten.
    """

    min_ease: float = 60.0
    max_ease: float = 100.0
    width: float = 30.0
    min_words: int = 8

    def __post_init__(self) -> None:
        _require_positive(self, min_words=self.min_words, width=self.width)
        _require(self, self.min_ease <= self.max_ease, "max_ease", "at least min_ease")

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Nearness of the reading ease to the band."""
        ease = flesch(completion)
        if ease is None:
            return 0.0
        off = max(self.min_ease - ease, ease - self.max_ease, 0.0)
        shares = (
            max(0.0, 1.0 - off / self.width),
            min(1.0, len(words(completion)) / self.min_words),
            known_words(completion) or 0.0,
            repetition(completion, light=LIGHT_WORDS) or 0.0,
        )
        return math.prod(shares)


def flesch(text: str) -> float | None:
    """Flesch reading ease: ``206.835 - 1.015 words/sentence - 84.6 syllables/word``.

    Returns:
        About 0 (hard) to 121 (one syllable a word); below 0 for monsters; ``None`` without words.
    """
    found = [word for word in lowered(text) if word[0].isalpha()]
    if not found:
        return None
    num_syllables = sum(syllables(word) for word in found)
    per_sentence = len(found) / max(1, len(sentences(text)))
    return 206.835 - 1.015 * per_sentence - 84.6 * num_syllables / len(found)


def syllables(word: str) -> int:
    """Syllables of an English word in lower case, by rules on its vowels; at least 1."""
    total = 0
    for part in re.split(r"[-\u2019']", word):
        if not part:
            continue
        count = len(VOWEL_RUN.findall(part)) + len(TWO_SOUNDS.findall(part))
        if part.endswith("e") and SILENT_E.search(part) and not re.search(r"[^aeiouy]le$", part):
            count -= 1
        count -= bool(SILENT_ED.search(part)) + bool(SILENT_ES.search(part))
        total += max(1, count) if VOWEL_RUN.search(part) else 0
    return max(1, total)


def loops(text: str) -> float:
    """Factor in [0, 1] that a loop of words or characters costs; 0 without words."""
    score = repetition(text, light=LIGHT_WORDS)
    return 0.0 if score is None else score * max(0.0, 1.0 - 0.1 * num_character_runs(text))


def _require_positive(scorer: Scorer, **options: float) -> None:
    for name, value in options.items():
        _require(scorer, 0 < value < math.inf, name, "a positive number")


def _require(scorer: Scorer, is_fine: bool, name: str, wanted: str) -> None:  # noqa: FBT001
    if not is_fine:
        raise OptionValueError(
            where=f"reward {type(scorer).__name__}.{name}",
            problem=f"is {getattr(scorer, name)!r}.",
            fix=f"Use {wanted}.",
        )
