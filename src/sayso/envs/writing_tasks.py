"""The tasks of ``sayso/Writing-v0``: drawn by rule, split by content.

A task is a genre, a length range and two or three further constraints, with the prompt that
asks for them. ``train`` and ``held_out`` are one distribution cut by the hash of the
constraints; ``unseen`` asks for kinds, counts and words that ``train`` never has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from sayso.seeds import generator
from sayso.types import Task

ENV_ID = "sayso/Writing-v0"
NUM_TASKS = {"train": 4000, "held_out": 1000, "unseen": 1000}
HELD_OUT_ONE_IN = 5
Constraint = dict[str, Any]

GENRES = ("story", "poem", "news")
EXTRAS = {
    "story": ("use", "use", "use", "avoid", "ending", "first_word", "setting", "setting"),
    "poem": ("use", "use", "use", "avoid", "first_word", "setting", "setting"),
    "news": ("use", "use", "use", "avoid", "first_word", "setting", "setting"),
}
"""Kinds beyond the length, as often as they are listed."""
UNSEEN_KINDS = ("last_word", "number", "name", "two_sentences", "three_lines")
MARKS = {"?": "question mark", "!": "exclamation mark"}
PAIRS_OF_LENGTH = ((7, 11), (8, 12), (8, 14), (9, 13), (10, 14), (10, 16))


@lru_cache(maxsize=1)
def pools() -> Mapping[str, Any]:
    """Words, settings and names that tasks draw from: ``envs/data/writing.json``."""
    path = files("sayso.envs").joinpath("data", "writing.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _pick(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


def _setting(rng: np.random.Generator, genre: str) -> Constraint:
    """A tone, a place or a time, with the words that show it; news has no tone."""
    kind = _pick(rng, ("place", "time") if genre == "news" else ("tone", "place", "time"))
    topics = pools()[kind]
    if kind == "time" and genre != "news":
        topics = {name: found for name, found in topics.items() if not name.endswith("day")}
    name = _pick(rng, sorted(topics))
    return {"kind": kind, "label": name, "words": topics[name]}


def _draw_extra(rng: np.random.Generator, kind: str, genre: str, *, pool: str) -> Constraint:
    """One constraint of a kind beyond the length."""
    found = pools()
    if kind == "use":
        size = 1 if rng.random() < 0.7 else 2
        first = _pick(rng, found[pool])
        second = _pick(rng, [word for word in found[pool] if word != first])
        return {"kind": "use", "words": [first, second][:size]}
    if kind == "avoid":
        return {"kind": "avoid", "words": [_pick(rng, found["avoid"])]}
    if kind == "ending":
        return {"kind": "ending", "mark": _pick(rng, ("?", "!"))}
    if kind == "first_word":
        return {"kind": "first_word", "word": _pick(rng, found["first"])}
    return _setting(rng, genre)


def _draw_unseen(rng: np.random.Generator, kind: str) -> Constraint:
    """The constraint that ``train`` never asks for."""
    found = pools()
    if kind == "last_word":
        return {"kind": "last_word", "word": _pick(rng, found["use_unseen"])}
    if kind == "name":
        return {"kind": "name", "words": [_pick(rng, found["names"])]}
    if kind == "two_sentences":
        return {"kind": "sentences", "count": 2}
    if kind == "three_lines":
        return {"kind": "lines", "count": 3}
    return {"kind": "number"}


def _settle(constraints: list[Constraint], rng: np.random.Generator) -> list[Constraint]:
    """Make the constraints agree: a question starts like one; nothing asked for is avoided."""
    by_kind = {constraint["kind"]: constraint for constraint in constraints}
    if "first_word" in by_kind and by_kind.get("ending", {}).get("mark") == "?":
        by_kind["first_word"]["word"] = _pick(rng, pools()["first_question"])
    wanted = {by_kind.get("first_word", {}).get("word", "").lower()}
    for kind in ("use", "tone", "place", "time", "name"):
        wanted.update(by_kind.get(kind, {}).get("words", ()))
    avoided = by_kind.get("avoid")
    if avoided and wanted & set(avoided["words"]):
        avoided["words"] = [_pick(rng, [w for w in pools()["avoid"] if w not in wanted])]
    return constraints


def _constraints(rng: np.random.Generator, genre: str, unseen: str | None) -> list[Constraint]:
    """Length and lines or sentences of the genre, then two or three drawn kinds."""
    low, high = _pick(rng, PAIRS_OF_LENGTH)
    drawn: list[Constraint] = [{"kind": "length", "low": low, "high": high}]
    if genre == "poem":
        drawn.append({"kind": "lines", "count": 2})
    else:
        drawn.append({"kind": "sentences", "count": 1})
    if unseen is not None:
        special = _draw_unseen(rng, unseen)
        drawn = [c for c in drawn if c["kind"] != special["kind"]] + [special]
    num_extras = (2 if rng.random() < 0.7 else 3) - (unseen is not None)
    pool = "use" if unseen is None else "use_unseen"
    chosen: list[str] = []
    while len(chosen) < num_extras:
        kind = _pick(rng, EXTRAS[genre])
        if kind not in chosen and not (unseen == "last_word" and kind in {"ending", "use"}):
            chosen.append(kind)
    drawn += [_draw_extra(rng, kind, genre, pool=pool) for kind in chosen]
    return _settle(drawn, rng)


def _quote(listed: Sequence[str]) -> str:
    return " and ".join(f'"{word}"' for word in listed)


def _opening(genre: str, by_kind: Mapping[str, Constraint]) -> str:
    """The first sentence of the prompt: genre, setting, first word, length."""
    length = by_kind["length"]
    tone = by_kind["tone"]["label"] + " " if "tone" in by_kind else ""
    where = "".join(
        f" set {by_kind[kind]['label']}" for kind in ("place", "time") if kind in by_kind
    )
    start = (
        f' that starts with "{by_kind["first_word"]["word"]}"' if "first_word" in by_kind else ""
    )
    if genre == "poem":
        count = {2: "two", 3: "three"}[by_kind["lines"]["count"]]
        thing = f"a {tone}poem{where} in {count} lines"
    else:
        count = {1: "one sentence", 2: "two sentences"}[by_kind["sentences"]["count"]]
        thing = f"{count} of a {tone}story{where}"
        if genre == "news":
            thing = f"a news item{where} in {count}"
    return f"Write {thing}{start}, {length['low']} to {length['high']} words."


def render(genre: str, constraints: Sequence[Constraint]) -> str:
    """The prompt for a genre and its constraints, in plain English, under 60 tokens."""
    by_kind = {constraint["kind"]: constraint for constraint in constraints}
    said = [_opening(genre, by_kind)]
    for constraint in constraints:
        match constraint:
            case {"kind": "use", "words": [word]}:
                said.append(f'Use the word "{word}".')
            case {"kind": "use", "words": words}:
                said.append(f"Use the words {_quote(words)}.")
            case {"kind": "avoid", "words": words}:
                said.append(f"Do not use the word {_quote(words)}.")
            case {"kind": "ending", "mark": mark}:
                said.append(f"End with {'an' if mark == '!' else 'a'} {MARKS[mark]}.")
            case {"kind": "last_word", "word": word}:
                said.append(f'End with the word "{word}".')
            case {"kind": "name", "words": [name]}:
                said.append(f"It is about {name}.")
            case {"kind": "number"}:
                said.append("It mentions a number.")
    return " ".join(said)


def _bucket(payload: Mapping[str, Any]) -> int:
    """Which fifth of all tasks a content belongs to; wording plays no part in it."""
    key = json.dumps([payload["genre"], payload["constraints"]], sort_keys=True)
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % HELD_OUT_ONE_IN


def _payload(rng: np.random.Generator, *, unseen: bool) -> dict[str, Any]:
    kind = _pick(rng, UNSEEN_KINDS) if unseen else None
    genre = "poem" if kind == "three_lines" else _pick(rng, GENRES)
    if kind == "two_sentences" and genre == "poem":
        genre = "story"
    constraints = _constraints(rng, genre, kind)
    return {"genre": genre, "constraints": constraints, "prompt": render(genre, constraints)}


def _belongs(payload: Mapping[str, Any], split: str) -> bool:
    return split == "unseen" or (_bucket(payload) == 0) is (split == "held_out")


@lru_cache(maxsize=3)
def tasks(split: str) -> tuple[Task, ...]:
    """All tasks of a split in a fixed order, no content twice; empty for an unknown split."""
    rng = generator(0, ENV_ID, split)
    found: dict[str, Task] = {}
    while len(found) < NUM_TASKS.get(split, 0):
        payload = _payload(rng, unseen=split == "unseen")
        task = Task(id=f"{split}-{len(found):04d}", env=ENV_ID, split=split, payload=payload)
        if _belongs(payload, split):
            found.setdefault(task.content_hash, task)
    return tuple(found.values())
