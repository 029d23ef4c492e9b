"""Facts about a text: its words, sentences, lines, and how much it repeats itself.

Everything here is a pure function of a string. Scores lie in [0, 1], 1 is best.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

WORD = re.compile(r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*|\d+(?:[.,:]\d+)*", re.UNICODE)
SENTENCE_END = re.compile(r"[.!?\u2026]+[\"\u201d\u2019')\]]*(?=\s|$)")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|vs|a\.m|p\.m|No)\.$")
CHARACTER_RUN = re.compile(r"([^\W\d_])\1{2,}|([^\w\s])\2+|\s{3,}")


def words(text: str) -> list[str]:
    """Words and numbers in order, as written; hyphenated words and contractions count as one."""
    return WORD.findall(text)


def lowered(text: str) -> list[str]:
    """Words in lower case, with straight apostrophes."""
    return [word.lower().replace("\u2019", "'") for word in words(text)]


def lines(text: str) -> list[str]:
    """Non-empty lines, stripped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(text: str) -> list[str]:
    """Sentences split at ``. ! ?``; an unfinished rest counts as one, line breaks are spaces."""
    flat = " ".join(text.split())
    found, start = [], 0
    for mark in SENTENCE_END.finditer(flat):
        piece = flat[start : mark.end()].strip()
        if ABBREVIATION.search(piece):
            continue
        if words(piece):
            found.append(piece)
        start = mark.end()
    rest = flat[start:].strip()
    return [*found, rest] if words(rest) else found


def ngrams(items: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """All runs of ``size`` neighbours, in order."""
    return [tuple(items[i : i + size]) for i in range(len(items) - size + 1)]


def distinct(items: Sequence[str], size: int) -> float | None:
    """Distinct n-grams over all n-grams; ``None`` when there are none."""
    grams = ngrams(items, size)
    return len(set(grams)) / len(grams) if grams else None


def longest_run(items: Iterable[str]) -> int:
    """Length of the longest run of equal neighbours; 0 for nothing."""
    longest, current, previous = 0, 0, None
    for item in items:
        current = current + 1 if item == previous else 1
        longest, previous = max(longest, current), item
    return longest


def num_character_runs(text: str) -> int:
    """Letters three times in a row, marks twice in a row (``??``), or wide gaps.

    The three dots of an ellipsis are one mark when they stand alone.
    """
    return len(CHARACTER_RUN.findall(re.sub(r"(?<!\.)\.\.\.(?!\.)", "…", text)))


def shared_run(text: Sequence[str], other: Sequence[str]) -> int:
    """Length in words of the longest run that both word lists contain."""
    best = 0
    previous = [0] * (len(other) + 1)
    for word in text:
        current = [0] * (len(other) + 1)
        for j, candidate in enumerate(other, start=1):
            if word == candidate:
                current[j] = previous[j - 1] + 1
                best = max(best, current[j])
        previous = current
    return best


def repetition(text: str, *, light: frozenset[str]) -> float | None:
    """How little a text repeats itself: 1 for none, towards 0 for a loop.

    Each further use of a word outside ``light``, each repeated pair of neighbours (of light
    words: less) and each run of equal words or marks costs; a light word may stand three times,
    or once in five words.

    Args:
        text: Any text.
        light: Words that good prose repeats (articles, prepositions …), in lower case.

    Returns:
        A score in [0, 1]; ``None`` for a text without words.
    """
    found = lowered(text)
    if not found:
        return None
    counts = Counter(found)
    allowed = max(3, len(found) // 5 + 1)
    heavy = sum(count - 1 for word, count in counts.items() if word not in light)
    excess = sum(max(0, count - allowed) for word, count in counts.items() if word in light)
    echoes = 0.0
    for pair, count in Counter(ngrams(found, 2)).items():
        echoes += (count - 1) * (0.1 if set(pair) <= light else 0.25)
    stutter = longest_run(found) - 1
    cost = 0.3 * heavy + 0.25 * excess + echoes + 0.4 * stutter
    # A long text repeats a little by nature; the cost is per 15 words, never less.
    cost /= max(1.0, len(found) / 15)
    cost += 0.35 * num_character_runs(text)
    return max(0.0, 1.0 - cost)
