"""The tasks of ``sayso/Recommend-v0``: sessions drawn by rule, split by content and by genre."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from sayso.envs.recommend_catalogue import ENV_ID, Catalogue, from_file, procedural, some
from sayso.envs.recommend_movielens import ML_100K, session_of, users_of
from sayso.envs.recommend_user import MARKED, Item, squashed, verdict
from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.seeds import generator
from sayso.types import Task

NUM_TASKS = {"train": 4_000, "held_out": 1_000, "unseen": 1_000}
NUM_TURNS = 5
LEVELS = {1: (4, 3), 2: (4, 4), 3: (0, 4)}
"""By the level of a task: films seen before, and films on offer in each turn."""
NUM_GENRES = 6
"""Most genres of one session; a third of them is liked, a third disliked, and so with traits."""
USUAL, OF_GENRE, OF_TRAIT, OF_STARS = -0.7, 1.3, 0.3, 0.1
"""Appetite for a film that nothing speaks for or against; the most that its genre and trait add or
take; what each star above 3.5 adds."""
BOREDOM, DRIFT = (0.2, 0.9), (0.1, 0.4)
"""Ranges of the hidden β and δ of a viewer, see ``Viewer``."""


def catalogue_of(name: str) -> Catalogue:
    """The invented films, or those of a file."""
    return procedural() if name == "procedural" else from_file(name)


def content_of(split: str, index: int, name: str) -> dict[str, Any]:
    """The session of a task: the first that is drawn and belongs to the split."""
    found = catalogue_of(name)
    rng = generator(0, ENV_ID, name, split, index)
    while True:
        content = draw(rng, found, found.unseen if split == "unseen" else found.genres)
        if split == "unseen" or (bucket(content) == 0) is (split == "held_out"):
            return content


def draw(rng: np.random.Generator, catalogue: Catalogue, among: Sequence[str]) -> dict[str, Any]:
    """A viewer with a taste, what they saw before, and what is on offer in each turn."""
    genres = some(rng, among, NUM_GENRES)
    films = [film for genre in genres for film in catalogue.of_genre[genre]]
    traits = some(rng, sorted({film.tags[0] for film in films}), len(films))
    taste = {**_tastes(rng, genres), **_tastes(rng, traits)}
    level = int(rng.integers(1, len(LEVELS) + 1))
    history, slates = _shown(rng, films, taste, level)
    return {
        "level": level,
        "taste": taste,
        "boredom": round(float(rng.uniform(*BOREDOM)), 2),
        "drift": round(float(rng.uniform(*DRIFT)), 2),
        "history": [
            [film.title, list(film.tags), verdict(squashed(_appetite(film, taste)))]
            for film in history
        ],
        "slates": [
            [replace(film, appetite=_appetite(film, taste)).to_json() for film in slate]
            for slate in slates
        ],
    }


def _shown(
    rng: np.random.Generator, films: Sequence[Item], taste: Mapping[str, float], level: int
) -> tuple[list[Item], list[list[Item]]]:
    """History and offers: half of the one, and one film of each other, is of a liked genre."""
    num_seen, size = LEVELS[level]
    num_liked = num_seen // 2
    liked = some(rng, [f for f in films if taste[f.tags[1]] >= MARKED], num_liked + NUM_TURNS)
    rest = some(rng, [f for f in films if taste[f.tags[1]] < MARKED], num_seen + NUM_TURNS * size)
    history = some(rng, [*liked[:num_liked], *rest[: num_seen - num_liked]], num_seen)
    found, others = liked[num_liked:], rest[num_seen - num_liked :]
    slates = [
        some(rng, [found[turn], *others[turn * (size - 1) :][: size - 1]], size)
        for turn in range(NUM_TURNS)
    ]
    return history, slates


def _tastes(rng: np.random.Generator, tags: Sequence[str]) -> dict[str, float]:
    """A third is liked, a third disliked, the others lie between."""
    third = max(1, len(tags) // 3)
    signs = [1.0] * third + [-1.0] * third + [0.0] * (len(tags) - 2 * third)
    return {
        tag: round(sign * float(rng.uniform(0.7, 1.0)) + float(rng.uniform(-0.1, 0.1)), 2)
        for tag, sign in zip(tags, signs, strict=False)
    }


def _appetite(film: Item, taste: Mapping[str, float]) -> float:
    trait, genre = film.tags
    wanted = USUAL + OF_GENRE * taste[genre] + OF_TRAIT * taste[trait]
    return round(wanted + OF_STARS * (film.stars - 3.5), 3)


@lru_cache(maxsize=16)
def tasks(split: str, catalogue: str) -> Sequence[Task]:
    """Tasks of a split, made when looked at; none for an unknown split."""
    if catalogue == ML_100K:
        return _real(split)
    catalogue_of(catalogue)  # a file that cannot be read is refused now

    def payload(index: int) -> dict[str, Any]:
        return {**content_of(split, index, catalogue), "catalogue": catalogue}

    return numbered_tasks(ENV_ID, split, NUM_TASKS.get(split, 0), payload)


def _real(split: str) -> LazyTasks:
    """One session per user of MovieLens."""
    users = users_of(split)

    def make(index: int) -> Task:
        payload = {**session_of(users[index]), "catalogue": ML_100K}
        return Task(id=f"user-{users[index]}", env=ENV_ID, split=split, payload=payload)

    places = {f"user-{user}": place for place, user in enumerate(users)}
    return LazyTasks(len(users), make, places.get)
