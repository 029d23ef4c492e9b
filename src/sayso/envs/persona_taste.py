"""What a reader of ``sayso/Persona-v0`` may like: measurable features of a text.

A preference is a kind and one of its poles (``tone``: ``gloomy``). Each pole is scored in [0, 1];
the poles of a kind exclude each other or share what is there, so that one text cannot please
everybody. A text without words pleases nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from sayso.rewards.constraints import ends_with, stem
from sayso.rewards.text import lowered, sentences, words
from sayso.rewards.vocabulary import CONTRACTIONS, FUNCTION_WORDS, NUMBER_WORDS

LENGTHS = {"short": (3, 8), "medium": (10, 13), "long": (16, 24)}
"""Fewest and most words."""
LENGTH_SLOPE = 0.25
"""Lost with each word outside."""
PLAIN_LETTERS, RICH_LETTERS = 4.7, 6.5
"""Mean letters of a content word at which vocabulary is wholly plain, wholly rich."""
FIRST = frozenset({"i", "we", "me", "us", "my", "our", "mine", "ours", "myself", "i'm", "i've",
                   "i'll", "i'd", "we're", "we've", "we'll", "we'd"})  # fmt: skip
SECOND = frozenset({"you", "your", "yours", "yourself", "you're", "you've", "you'll", "you'd"})
KINDS: Mapping[str, tuple[str, ...]] = {
    "length": ("short", "medium", "long"),
    "tone": ("cheerful", "gloomy", "calm"),
    "vocabulary": ("plain", "rich"),
    "structure": ("question", "exclamation", "two sentences"),
    "person": ("first", "second", "third"),
    "formality": ("casual", "formal"),
    "theme": ("animals", "weather", "food", "sea", "music", "plants", "machines", "sky", "clothes"),
    "speech": ("speech",),
    "number": ("number",),
    "name": ("name",),
}
Preference = Mapping[str, Any]
"""``{"kind": …, "pole": …, "weight": …}``: weights are positive, in any unit."""


@lru_cache(maxsize=1)
def pools() -> Mapping[str, Any]:
    """Words and phrases: ``envs/data/persona.json``."""
    path = files("sayso.envs").joinpath("data", "persona.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=1)
def _sets() -> Mapping[str, Mapping[str, frozenset[str]]]:
    found = pools()
    return {
        "tone": {pole: frozenset(listed) for pole, listed in found["tone"].items()},
        "formality": {pole: frozenset(listed) for pole, listed in found["formality"].items()},
        "theme": {pole: frozenset(topic["words"]) for pole, topic in found["theme"].items()},
        "topics": {"all": frozenset(found["topics"])},
        "names": {"all": frozenset(found["names"])},
    }


def measure(text: str) -> dict[tuple[str, str], float]:
    """How far a text has each pole of each kind, in [0, 1]; empty for a text without words."""
    found = lowered(text)
    if not found:
        return {}
    told = lowered(re.sub(r"[\"“][^\"“”]*[\"”]", " ", text))
    scores: dict[tuple[str, str], float] = {}
    for pole, (low, high) in LENGTHS.items():
        outside = max(low - len(found), len(found) - high, 0)
        scores["length", pole] = max(0.0, 1.0 - LENGTH_SLOPE * outside)
    scores |= {("tone", p): s for p, s in _shares(found, _sets()["tone"], enough=2).items()}
    letters = _mean_letters(text)
    span = RICH_LETTERS - PLAIN_LETTERS
    richness = 0.5 if letters is None else min(1.0, max(0.0, (letters - PLAIN_LETTERS) / span))
    scores["vocabulary", "plain"], scores["vocabulary", "rich"] = 1.0 - richness, richness
    scores |= _structure(text)
    scores |= _person(told)
    formality = [*found, *("just" for word in found if word in CONTRACTIONS)]
    shares = _shares(formality, _sets()["formality"], enough=1)
    scores |= {("formality", pole): share for pole, share in shares.items()}
    stems = [stem(word) if stem(word) in _all_theme_words() else word for word in found]
    scores |= {("theme", p): s for p, s in _shares(stems, _sets()["theme"], enough=1).items()}
    scores["speech", "speech"] = float(bool(re.search(r"[\"“][^\"“”]*[a-z][,.!?][\"”]", text)))
    has_number = any(word[0].isdigit() or word in NUMBER_WORDS for word in found)
    scores["number", "number"] = float(has_number)
    scores["name", "name"] = float(any(word in _sets()["names"]["all"] for word in words(text)))
    return scores


def utility(text: str, preferences: Sequence[Preference]) -> tuple[float, dict[str, float]]:
    """What a reader thinks of a text: the weighted mean of their preferences.

    Args:
        text: Any text.
        preferences: At least one.

    Returns:
        The utility in [0, 1], and the score of each preference by its kind.
    """
    scores = measure(text)
    parts = {p["kind"]: scores.get((p["kind"], p["pole"]), 0.0) for p in preferences}
    total = sum(p["weight"] for p in preferences)
    return sum(p["weight"] * parts[p["kind"]] for p in preferences) / total, parts


def inferred(liked: Sequence[str], disliked: Sequence[str]) -> list[Preference]:
    """The preferences that tell what was liked from what was not, all of weight 1.

    A pole counts when every liked text has clearly more of it than every disliked one.
    """
    good, bad = [measure(text) for text in liked], [measure(text) for text in disliked]
    found: dict[str, tuple[float, str]] = {}
    for kind, poles in KINDS.items():
        for pole in poles:
            gap = min(m.get((kind, pole), 0.0) for m in good) - max(
                m.get((kind, pole), 0.0) for m in bad
            )
            if gap >= CLEAR and gap > found.get(kind, (0.0, ""))[0]:
                found[kind] = (gap, pole)
    return [{"kind": kind, "pole": pole, "weight": 1} for kind, (_, pole) in found.items()]


CLEAR = 0.4
"""Least gap between the worst of the liked and the best of the disliked."""


def _shares(
    found: Sequence[str], sets: Mapping[str, frozenset[str]], *, enough: int
) -> dict[str, float]:
    """Each pole's share of the words that belong to any, times how near it is to ``enough``."""
    counts = {pole: sum(word in listed for word in found) for pole, listed in sets.items()}
    total = sum(counts.values())
    return {
        pole: (count / total) * min(1.0, (1 + count) / (1 + enough)) if count else 0.0
        for pole, count in counts.items()
    }


def _mean_letters(text: str) -> float | None:
    """Mean length of the content words; topics and names, which are asked for, do not count."""
    fixed = FUNCTION_WORDS | _sets()["topics"]["all"] | NUMBER_WORDS
    lengths = [
        len(word)
        for word in words(text)
        if word[0].isalpha() and word.lower() not in fixed and word not in _sets()["names"]["all"]
    ]
    return sum(lengths) / len(lengths) if lengths else None


def _structure(text: str) -> dict[tuple[str, str], float]:
    num = len(sentences(text))
    is_open = not text.rstrip().endswith(("?", "!"))
    return {
        ("structure", "question"): ends_with(text, mark="?") * (num == 1),
        ("structure", "exclamation"): ends_with(text, mark="!") * (num == 1),
        ("structure", "two sentences"): float(num == 2 and is_open),
    }


def _person(told: Sequence[str]) -> dict[tuple[str, str], float]:
    first, second = sum(w in FIRST for w in told), sum(w in SECOND for w in told)
    total = first + second
    return {
        ("person", "first"): first / total if total else 0.0,
        ("person", "second"): second / total if total else 0.0,
        ("person", "third"): float(not total),
    }


@lru_cache(maxsize=1)
def _all_theme_words() -> frozenset[str]:
    return frozenset().union(*_sets()["theme"].values())
