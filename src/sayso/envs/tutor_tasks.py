"""The tasks of ``sayso/Tutor-v0``: students and curricula drawn by rule, split by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.envs.tutor_student import prior, states, traced
from sayso.seeds import generator

ENV_ID = "sayso/Tutor-v0"
NUM_TASKS = {"train": 4_000, "held_out": 1_000, "unseen": 1_000}
NEEDS: Mapping[str, tuple[str, ...]] = {
    "carrying": ("adding",),
    "borrowing": ("subtracting",),
    "multiplying": ("adding",),
    "multiplying tens": ("multiplying", "carrying"),
    "dividing": ("multiplying",),
    "negatives": ("subtracting",),
    "percentages": ("multiplying",),
    "thousands": ("carrying",),
}
"""What must be mastered before a skill can be learned; a curriculum leaves out what it lacks."""
CURRICULA: Mapping[str, tuple[str, ...]] = {
    "sums": ("adding", "carrying", "subtracting", "borrowing"),
    "tables": ("adding", "multiplying", "dividing"),
    "columns": ("adding", "carrying", "multiplying", "multiplying tens"),
    "fork": ("adding", "carrying", "multiplying"),
    "signs": ("subtracting", "borrowing", "negatives"),
    "shares": ("multiplying", "dividing", "percentages"),
    "large": ("adding", "carrying", "thousands", "multiplying"),
}
UNSEEN_CURRICULA = ("signs", "shares", "large")
"""Curricula that are never trained on: each has a skill that no other has."""
KINDS: Mapping[str, Mapping[str, float]] = {
    "steady": {"init": 0.35, "learn": 0.25, "guess": 0.15, "slip": 0.08},
    "quick": {"init": 0.35, "learn": 0.35, "guess": 0.20, "slip": 0.10},
    "slow": {"init": 0.25, "learn": 0.16, "guess": 0.10, "slip": 0.05},
    "guesser": {"init": 0.35, "learn": 0.25, "guess": 0.45, "slip": 0.08},
    "careless": {"init": 0.45, "learn": 0.25, "guess": 0.10, "slip": 0.30},
}
"""Mean rates of kinds of students; those of one student lie within a fifth of them."""
UNSEEN_KINDS = ("guesser", "careless")
"""Kinds that are never trained on."""
ROOT = 1.5
"""How much likelier a skill that needs no other is mastered at the start."""
NUM_TURNS = {3: 10, 4: 13}
"""Turns of a lesson, by the number of its skills."""


def _one(rng: np.random.Generator, pool: Sequence[str]) -> str:
    return pool[int(rng.integers(len(pool)))]


def _skills(rng: np.random.Generator, curriculum: str, kind: str) -> list[dict[str, Any]]:
    """The curriculum's skills with this student's rates."""
    names = CURRICULA[curriculum]
    found: list[dict[str, Any]] = []
    for name in names:
        needs = [names.index(need) for need in NEEDS.get(name, ()) if need in names]
        rates = {k: round(v * float(rng.uniform(0.8, 1.2)), 3) for k, v in KINDS[kind].items()}
        rates["init"] = round(rates["init"] * (1.0 if needs else ROOT), 3)
        found.append({"name": name, "needs": needs, **rates})
    return found


def draw(rng: np.random.Generator, *, unseen: bool) -> dict[str, Any]:
    """A student and a curriculum; ``unseen`` has the one, the other or both of a new kind."""
    curricula = [name for name in CURRICULA if name not in UNSEEN_CURRICULA]
    kinds = [name for name in KINDS if name not in UNSEEN_KINDS]
    which = _one(rng, ("curriculum", "kind", "both")) if unseen else ""
    curriculum = _one(rng, UNSEEN_CURRICULA if which in {"curriculum", "both"} else curricula)
    kind = _one(rng, UNSEEN_KINDS if which in {"kind", "both"} else kinds)
    rows = _skills(rng, curriculum, kind)
    chances = prior(traced(rows))
    chosen = states(len(rows))[int(rng.choice(len(chances), p=chances))]
    return {
        "curriculum": curriculum,
        "kind": kind,
        "skills": rows,
        "mastered": [bool(value) for value in chosen],
        "num_turns": NUM_TURNS[len(rows)],
    }


def content_of(split: str, index: int) -> dict[str, Any]:
    """The task of this place: the first that is drawn and belongs to the split."""
    rng = generator(0, ENV_ID, split, index)
    while True:
        content = draw(rng, unseen=split == "unseen")
        if split == "unseen" or (bucket(content) == 0) is (split == "held_out"):
            return content


@lru_cache(maxsize=4)
def tasks(split: str) -> LazyTasks:
    """Tasks of a split, made when looked at; none for an unknown split."""
    return numbered_tasks(ENV_ID, split, NUM_TASKS.get(split, 0), partial(content_of, split))
