"""The tasks of ``sayso/Persona-v0``: a reader with hidden preferences, and what they liked.

``train`` and ``held_out`` are one distribution cut by the hash of reader and topic; a task of
``unseen`` has a kind of preference, a theme, or a pair of kinds that ``train`` never has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sayso.envs.persona_taste import KINDS, inferred, pools
from sayso.envs.persona_writer import pick, write
from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.seeds import generator

ENV_ID = "sayso/Persona-v0"
NUM_TASKS = {"train": 4000, "held_out": 1000, "unseen": 1000}
FAMILIES = ("kind", "theme", "pair")
"""What is new in a task of ``unseen``."""
UNSEEN_KINDS = ("speech", "number", "name")
UNSEEN_THEMES = ("machines", "sky", "clothes")
UNSEEN_PAIRS = (("tone", "structure"), ("person", "theme"))
TRAINED: Mapping[str, tuple[str, ...]] = {
    kind: tuple(pole for pole in poles if pole not in UNSEEN_THEMES)
    for kind, poles in KINDS.items()
    if kind not in UNSEEN_KINDS
}
"""Poles that texts of ``train`` and ``held_out`` may have, liked or not."""
NEEDS_ROOM = frozenset({"theme", "number", "name", "speech"})
"""Kinds of which a short text holds one at most."""
Preferences = list[dict[str, Any]]


def _kinds(draws: np.random.Generator, family: str) -> list[str]:
    """Two kinds of preferences, or three, that a task of this family has."""
    fixed: tuple[str, ...] = {
        "kind": (str(pick(draws, UNSEEN_KINDS)),), "theme": ("theme",),
        "pair": pick(draws, UNSEEN_PAIRS),
    }.get(family, ())  # fmt: skip
    others = [kind for kind in TRAINED if kind not in fixed]
    count = (2 if draws.random() < 0.7 else 3) - len(fixed)
    return [*fixed, *(str(kind) for kind in draws.permutation(others)[:count])]


def _preferences(draws: np.random.Generator, family: str) -> Preferences:
    """Preferences that one text can meet, in the order of ``KINDS``."""
    while True:
        kinds = _kinds(draws, family)
        if family != "pair" and any(set(pair) <= set(kinds) for pair in UNSEEN_PAIRS):
            continue
        poles = {}
        for kind in kinds:
            is_new = family == "theme" and kind == "theme"
            known = UNSEEN_THEMES if is_new else TRAINED.get(kind, KINDS[kind])
            poles[kind] = str(pick(draws, known))
        is_crowded = poles.get("length") == "short" and len(NEEDS_ROOM & set(kinds)) > 1
        is_spoken = "speech" in kinds and poles.get("structure") in ("question", "exclamation")
        if not is_crowded and not is_spoken:
            return [
                {"kind": kind, "pole": poles[kind], "weight": int(draws.integers(1, 3))}
                for kind in KINDS
                if kind in poles
            ]


def _others(
    draws: np.random.Generator, wanted: Mapping[str, str], known: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """The style of a disliked text: other poles than the wanted ones, or none."""
    style = {}
    for kind, pole in wanted.items():
        rest = [other for other in known.get(kind, ()) if other != pole]
        if rest and (kind in ("length", "person", "vocabulary") or draws.random() < 0.6):
            style[kind] = str(pick(draws, rest))
    return style


def examples(
    draws: np.random.Generator, preferences: Preferences, *, num: int, is_unseen: bool = False
) -> tuple[list[str], list[str]] | None:
    """Liked and disliked texts from which exactly the preferences can be told.

    Every liked text meets all of them and no disliked one meets any; nothing else tells the two
    apart (``inferred`` finds the preferences and no more). ``None``: this draw found none.

    Args:
        draws: Decides the texts.
        preferences: Of the reader.
        num: How many of each.
        is_unseen: Texts may have what ``train`` never has.
    """
    known = KINDS if is_unseen else TRAINED
    wanted = {p["kind"]: p["pole"] for p in preferences}
    topics = [str(topic) for topic in draws.permutation(pools()["topics"])]
    liked = [write(draws, wanted, topics[i], kinds=known) for i in range(num)]
    disliked = [
        write(draws, _others(draws, wanted, known), topics[-1 - i], avoid=wanted, kinds=known)
        for i in range(num)
    ]
    good, bad = [t for t in liked if t], [t for t in disliked if t]
    if len(good) < num or len(bad) < num:
        return None
    told = {p["kind"]: p["pole"] for p in inferred(good, bad)}
    return (good, bad) if told == wanted else None


def render(topic: str, liked: Sequence[str], disliked: Sequence[str]) -> str:
    """The prompt: what was liked and disliked, in turn, then the topic and the size."""
    told = [f"Liked: {good}\nDisliked: {bad}" for good, bad in zip(liked, disliked, strict=True)]
    asked = f'Write one or two short sentences with the word "{topic}" that this reader will like.'
    return "\n".join([*told, asked])


def _payload(split: str, index: int, num_pairs: int) -> dict[str, Any]:
    """One task's content; draws again until it belongs to the split."""
    attempt = 0
    while True:
        draws = generator(0, ENV_ID, split, num_pairs, index, attempt)
        attempt += 1
        family = FAMILIES[index % len(FAMILIES)] if split == "unseen" else "train"
        preferences = _preferences(draws, family)
        topic = str(pick(draws, pools()["topics"]))
        is_held_out = bucket([topic, preferences]) == 0
        if split != "unseen" and is_held_out is not (split == "held_out"):
            continue
        found = examples(draws, preferences, num=num_pairs, is_unseen=split == "unseen")
        if found is None:
            continue
        liked, disliked = found
        return {
            "topic": topic, "preferences": preferences, "liked": liked, "disliked": disliked,
            "family": family, "prompt": render(topic, liked, disliked),
        }  # fmt: skip


@lru_cache(maxsize=8)
def tasks(split: str, num_pairs: int = 2) -> LazyTasks:
    """All tasks of a split in a fixed order, made when looked at; none for an unknown split."""

    def payload(index: int) -> dict[str, Any]:
        return _payload(split, index, num_pairs)

    return numbered_tasks(ENV_ID, split, NUM_TASKS.get(split, 0), payload, digits=4)
