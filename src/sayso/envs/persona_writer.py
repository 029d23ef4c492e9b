"""Short texts in a wanted style, for ``sayso/Persona-v0``: likes, dislikes, scripted players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from sayso.envs.persona_taste import CLEAR, KINDS, LENGTHS, measure, pools
from sayso.rewards.text import lowered
from sayso.rewards.vocabulary import LIGHT_WORDS

Style = Mapping[str, str]
"""Pole by kind; a kind that is left out is left to chance, or absent."""
Poles = Mapping[str, Sequence[str]]
"""Poles by kind."""
NUM_TRIES = 40
WEAKEST = 0.75
"""Least score of a wanted pole that a text is kept with."""
SHARES = {"tone": 0.5, "vocabulary": 0.5, "structure": 0.4, "formality": 0.3, "theme": 0.4,
          "speech": 0.1, "number": 0.15, "name": 0.15}  # fmt: skip
"""How often a text has a pole of a kind that nobody asked for; length and person it always has."""


def pick(draws: np.random.Generator, items: Sequence[Any]) -> Any:
    """One of them."""
    return items[int(draws.integers(len(items)))]


def random_style(draws: np.random.Generator, fixed: Style, kinds: Poles = KINDS) -> dict[str, str]:
    """A style that has what is fixed; the rest is drawn from these kinds."""
    style = dict(fixed)
    for kind in ("length", "person"):
        style.setdefault(kind, pick(draws, kinds[kind]))
    for kind, share in SHARES.items():
        if kind in kinds and kind not in style and draws.random() < share:
            style[kind] = pick(draws, kinds[kind])
    if style["length"] == "short":  # there is no room for more than one of these
        bulky = [kind for kind in ("name", "number", "theme") if kind in style]
        kept = [kind for kind in bulky if kind in fixed]
        spare = [kind for kind in bulky if kind not in fixed]
        for kind in spare if kept else spare[:-1]:
            del style[kind]
    if "speech" in style and style.get("structure") in ("question", "exclamation"):
        del style["structure" if "structure" not in fixed else "speech"]
    return style


def write(
    draws: np.random.Generator,
    style: Style,
    topic: str,
    *,
    avoid: Style = MappingProxyType({}),
    kinds: Poles = KINDS,
) -> str | None:
    """A text about a topic that has a style, and not the poles to avoid; ``None``: not found.

    Args:
        draws: Decides the words.
        style: What it must have.
        topic: A noun, mentioned once.
        avoid: Poles that it must not have.
        kinds: Poles that may be drawn for the rest.
    """
    for _ in range(NUM_TRIES):
        drawn = random_style(draws, style, kinds)
        if any(drawn.get(kind) == pole for kind, pole in avoid.items()):
            continue
        text = _compose(draws, drawn, topic)
        heavy = [word for word in lowered(text) if word not in LIGHT_WORDS]
        if len(set(heavy)) < len(heavy):  # a repeated word is bad style, and costs
            continue
        scores = measure(text)
        has = all(scores[kind, pole] >= WEAKEST for kind, pole in style.items())
        if has and all(scores[kind, pole] <= WEAKEST - CLEAR for kind, pole in avoid.items()):
            return text
    return None


def _compose(draws: np.random.Generator, style: Style, topic: str) -> str:
    """One text; most of the time it has the style."""
    low, high = LENGTHS[style["length"]]
    first = _sentence(draws, style, topic)
    second = _second(draws, style) if style.get("structure") == "two sentences" else ""
    extras = _extras(draws, style)
    mark = {"question": "?", "exclamation": "!"}.get(style.get("structure", ""), ".")
    goal = int(draws.integers(low, high + 1))

    def num() -> int:
        return len(f"{first} {second}".split())

    for is_wanted, phrase in extras:
        if is_wanted or num() + len(phrase.split()) <= goal:
            first += f" {phrase}"
    text = f"{first}{mark} {second}".strip()
    return text[0].upper() + text[1:] if text[0] != '"' else text


def _words(draws: np.random.Generator, style: Style, name: str) -> Any:
    """A list of the pool for the vocabulary and, where it has one, the tone of a style."""
    found = pools()[name]
    if "plain" not in found:
        found = found[style.get("tone", "none")]
    return pick(draws, found[style.get("vocabulary") or pick(draws, ("plain", "plain", "rich"))])


def _subject(draws: np.random.Generator, style: Style) -> str:
    match style["person"]:
        case "first":
            return str(pick(draws, ("I", "we")))
        case "second":
            return "you"
    if style.get("name") and draws.random() < 0.5:
        return str(pick(draws, pools()["names"]))
    return str(pick(draws, ("he", "she", "they")) if draws.random() < 0.4
               else _words(draws, style, "people"))  # fmt: skip


def _place(draws: np.random.Generator, style: Style, noun: str) -> str:
    adjective = f"{_words(draws, style, 'adjectives')} " if draws.random() < 0.7 else ""
    return f"{pick(draws, pools()['prepositions'])} the {adjective}{noun}"


def _sentence(draws: np.random.Generator, style: Style, topic: str) -> str:
    """Subject, verb and the place that is the topic."""
    subject, place = _subject(draws, style), _place(draws, style, topic)
    base, past = _words(draws, style, "verbs")
    formality, structure = style.get("formality"), style.get("structure")
    if style.get("speech"):
        adverb = {"formal": "certainly ", "casual": "just "}.get(formality or "", "")
        return f'"{pick(draws, pools()["speech"])}," {subject} {adverb}said {place}'
    if structure == "question":
        opener = pick(draws, ("did", "why did", "when did"))
        adverb = {"formal": pick(draws, ("indeed ", "therefore ")), "casual": "just "}.get(
            formality or "", ""
        )
        return f"{opener} {subject} {adverb}{base} {place}"
    if formality == "casual":
        verb = pick(draws, (f"just {past}", f"really {past}", f"didn't {base}"))
        return f"{subject} {verb} {place}"
    if formality == "formal":
        opener = pick(draws, ("indeed, ", "moreover, ", "therefore, "))
        return f"{opener}{subject} {past} {place}"
    return f"{subject} {past} {place}"


def _second(draws: np.random.Generator, style: Style) -> str:
    """A second sentence."""
    _, past = _words(draws, style, "verbs")
    if style["length"] == "short":
        return f"It was {_words(draws, style, 'adjectives')}."
    subject = {"first": "We", "second": "You", "third": "They"}[style["person"]]
    return f"{subject} {past} {_place(draws, style, _words(draws, style, 'places'))}."


def _extras(draws: np.random.Generator, style: Style) -> list[tuple[bool, str]]:
    """Phrases that may follow, those that the style needs first."""
    found = pools()
    wanted = []
    if theme := style.get("theme"):
        wanted.append(pick(draws, found["theme"][theme]["phrases"]))
    if style.get("number"):
        wanted.append(f"for {pick(draws, found['numbers'])} hours")
    if style.get("name"):
        wanted.append(f"with {pick(draws, found['names'])}")
    spare = [_words(draws, style, "times")]
    _, past = _words(draws, style, "verbs")
    base, _ = _words(draws, style, "verbs")
    joined = base if style.get("structure") == "question" else past
    spare += [
        f"and {joined} {_place(draws, style, _words(draws, style, 'places'))}",
        str(pick(draws, ("once again", "without a word", "as usual", "for no reason"))),
        f"or {_place(draws, style, _words(draws, style, 'places'))}",
    ]
    return [(True, phrase) for phrase in wanted] + [(False, phrase) for phrase in spare]
