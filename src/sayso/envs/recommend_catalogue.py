"""The films of ``sayso/Recommend-v0``: invented by rule, or read from a file of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sayso.envs.recommend_user import Item
from sayso.errors import OptionValueError
from sayso.seeds import generator

ENV_ID = "sayso/Recommend-v0"
GENRES = (
    "adventure", "biography", "comedy", "documentary", "drama", "fantasy", "musical", "mystery",
    "romance", "spy story", "thriller", "western",
)  # fmt: skip
UNSEEN_GENRES = ("cartoon", "epic", "fable", "heist story", "horror", "satire")
"""Genres that no task trained on shows."""
TRAITS = (
    "clever", "dark", "funny", "gentle", "grim", "loud", "quiet", "slow", "strange", "warm",
)  # fmt: skip
FILMS_PER_KIND = 15
"""Invented films of each trait and genre: 2 700 in all."""
STARS = (2.0, 4.9)
FEWEST_GENRES, FEWEST_FILMS = 6, 20
"""Genres of a catalogue of one's own, and films of each: enough for every offer to be full."""

_FIRST = (
    "Amber", "Ashen", "Bitter", "Blue", "Borrowed", "Broken", "Copper", "Crooked", "Distant",
    "Empty", "Endless", "Evening", "Faded", "Frozen", "Gilded", "Golden", "Hidden", "Hollow",
    "Humble", "Iron", "Ivory", "Last", "Little", "Lonely", "Lost", "Midnight", "Paper", "Pale",
    "Patient", "Quiet", "Restless", "Scarlet", "Second", "Secret", "Silent", "Silver", "Sleeping",
    "Stolen", "Sunken", "Velvet", "Wandering", "Winter",
)  # fmt: skip
_SECOND = (
    "Acre", "Anchor", "Apple", "Arrow", "Autumn", "Balcony", "Bell", "Bridge", "Candle", "Canyon",
    "Castle", "Circus", "Compass", "Cottage", "Crown", "Curtain", "Desert", "Door", "Engine",
    "Feather", "Ferry", "Fountain", "Garden", "Ghost", "Harbour", "Harvest", "Island", "Journey",
    "Kingdom", "Ladder", "Lantern", "Letter", "Library", "Lighthouse", "Machine", "Market",
    "Meadow", "Mirror", "Monsoon", "Morning", "Mountain", "Orchard", "Palace", "Parade", "Piano",
    "Portrait", "Promise", "Railway", "River", "Road", "Sailor", "Shadow", "Snowfall", "Stranger",
    "Summer", "Tailor", "Theatre", "Tide", "Tower", "Train", "Valley", "Violin", "Voyage",
    "Wedding", "Well", "Window",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Films and the genres they are divided by.

    Attributes:
        films: All of them; ``appetite`` is 0, for it is a viewer's.
        genres: Genres of ``train`` and ``held_out``.
        unseen: Genres of ``unseen``.
    """

    films: tuple[Item, ...]
    genres: tuple[str, ...]
    unseen: tuple[str, ...]

    @cached_property
    def of_genre(self) -> Mapping[str, Sequence[Item]]:
        """Films by their genre."""
        found: dict[str, list[Item]] = {}
        for film in self.films:
            found.setdefault(film.tags[1], []).append(film)
        return found


@lru_cache(maxsize=1)
def procedural() -> Catalogue:
    """2 700 films: every trait and genre 15 times, titles and stars drawn once and for all."""
    rng = generator(0, ENV_ID, "catalogue")
    titles = [f"The {first} {second}" for first, second in product(_FIRST, _SECOND)]
    order = rng.permutation(len(titles))
    kinds = list(product(TRAITS, GENRES + UNSEEN_GENRES)) * FILMS_PER_KIND
    films = tuple(
        Item(title=titles[int(order[place])], tags=kind, stars=round(float(rng.uniform(*STARS)), 1))
        for place, kind in enumerate(kinds)
    )
    return Catalogue(films=films, genres=GENRES, unseen=UNSEEN_GENRES)


@lru_cache(maxsize=4)
def from_file(path: str) -> Catalogue:
    """A catalogue of one's own: JSONL with ``title``, ``genre``, ``trait`` and perhaps ``stars``.

    The genres in alphabetical order; every third is never trained on.

    Raises:
        OptionValueError: If the file cannot be read, a line is no film, or there are too few.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _refused(path, f"cannot be read: {error}.") from error
    films = tuple(_film(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line)
    genres = sorted({film.tags[1] for film in films})
    unseen = tuple(genres[2::3])
    fewest = min((sum(film.tags[1] == genre for film in films) for genre in genres), default=0)
    if len(genres) < FEWEST_GENRES or fewest < FEWEST_FILMS:
        raise _refused(
            path,
            f"has {len(genres)} genres, one with {fewest} films; {FEWEST_GENRES} with "
            f"{FEWEST_FILMS} each are the least.",
        )
    if len({film.title.casefold() for film in films}) < len(films):
        raise _refused(path, "has a title twice.")
    return Catalogue(films=films, genres=tuple(g for g in genres if g not in unseen), unseen=unseen)


def _film(line: str, where: str) -> Item:
    try:
        row: Any = json.loads(line)
        title, genre, trait = (row[name] for name in ("title", "genre", "trait"))
        stars = float(row.get("stars", 3.5))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(where, f"is no film ({type(error).__name__}: {error}).") from error
    if not all(isinstance(text, str) and text.strip() for text in (title, genre, trait)):
        raise _refused(where, "has a title, genre or trait that is no text.")
    return Item(title=title, tags=(trait, genre), stars=stars)


def _refused(where: str, problem: str) -> OptionValueError:
    return OptionValueError(
        where=f"{ENV_ID}, catalogue {where}",
        problem=problem,
        fix='Write one film a line: {"title": "The Amber Tide", "genre": "western", "trait": '
        '"slow", "stars": 3.9}.',
    )


def some(rng: np.random.Generator, pool: Sequence[Any], count: int) -> list[Any]:
    """Different elements in a drawn order; fewer where there are not so many."""
    return [pool[int(place)] for place in rng.permutation(len(pool))[:count]]
