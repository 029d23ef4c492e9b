"""The tasks of ``sayso/TextNav-v0``: houses drawn by rule, split by content."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.envs.text_nav_world import OPPOSITE
from sayso.seeds import generator

ENV_ID = "sayso/TextNav-v0"
NUM_TASKS = {"train": 4_000, "held_out": 1_000, "unseen": 1_000}
BOUND = (4, 12)
"""Least and greatest length of the way with every door closed again on the second leg; no
shortest plan is longer."""
ROOMS = (
    "attic", "balcony", "bathroom", "bedroom", "cellar", "garage", "garden", "hall", "kitchen",
    "laundry", "library", "lounge", "nursery", "office", "pantry", "porch", "stable", "studio",
    "study", "workshop",
)  # fmt: skip
OBJECTS = (
    "apple", "basket", "book", "candle", "cup", "hammer", "hat", "key", "lamp", "letter", "mirror",
    "ring", "rope", "spoon", "umbrella", "vase",
)  # fmt: skip
DOORS = ("blue door", "glass door", "green door", "iron door", "oak door", "red door")
STEPS = {"north": (-1, 0), "south": (1, 0), "east": (0, 1), "west": (0, -1)}
Cell = tuple[int, int]
Link = tuple[Cell, str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of layouts.

    Attributes:
        rows, columns: The grid that rooms lie on.
        num_rooms: How many of its cells are rooms.
        num_extra: Links beyond a tree, if there is place for them.
        num_doors: Most links that have a closed door.
        num_objects: Objects that lie about; one is wanted.
    """

    rows: int
    columns: int
    num_rooms: int
    num_extra: int
    num_doors: int
    num_objects: int


KNOWN = Family(rows=4, columns=4, num_rooms=10, num_extra=2, num_doors=3, num_objects=3)
UNSEEN = Family(rows=2, columns=8, num_rooms=14, num_extra=3, num_doors=4, num_objects=4)


def content_of(split: str, index: int) -> dict[str, Any]:
    """The house of a task: the first that is drawn and belongs to the split."""
    family = UNSEEN if split == "unseen" else KNOWN
    rng = generator(0, ENV_ID, split, index)
    while True:
        content = draw(rng, family)
        is_held_out = bucket(content) == 0
        is_ours = split == "unseen" or is_held_out is (split == "held_out")
        if is_ours and BOUND[0] <= longest_way(content) <= BOUND[1]:
            return content


def draw(rng: np.random.Generator, family: Family) -> dict[str, Any]:
    """A house: links, objects, start and goal, as ``House`` takes them."""
    cells, links = _layout(rng, family)
    names = _some(rng, ROOMS, len(cells))
    room = dict(zip(cells, names, strict=True))
    doors: list[str] = ["" for _ in links]
    num_doors = int(rng.integers(family.num_doors + 1))
    for place, door in zip(
        rng.permutation(len(links))[:num_doors], _some(rng, DOORS, num_doors), strict=True
    ):
        doors[int(place)] = door
    objects = {thing: _one(rng, names) for thing in _some(rng, OBJECTS, family.num_objects)}
    wanted = next(iter(objects))
    others = [name for name in names if name != objects[wanted]]
    return {
        "links": [
            [room[one], direction, room[other], door]
            for (one, direction, other), door in zip(links, doors, strict=True)
        ],
        "objects": objects,
        "start": _one(rng, names),
        "goal": [wanted, _one(rng, others)],
    }


def longest_way(content: Mapping[str, Any]) -> int:
    """Commands of the errand when both legs open every door on their way; an upper bound."""
    near: dict[str, list[tuple[str, int]]] = {}
    for one, _, other, door in content["links"]:
        near.setdefault(one, []).append((other, 2 if door else 1))
        near.setdefault(other, []).append((one, 2 if door else 1))
    thing, target = content["goal"]
    lies = content["objects"][thing]
    return _way(near, content["start"], lies) + 1 + _way(near, lies, target) + 1


def _way(near: Mapping[str, Sequence[tuple[str, int]]], start: str, end: str) -> int:
    """Length of a shortest way, by Dijkstra's rule."""
    queue, seen = [(0, start)], set[str]()
    while queue:
        length, room = heapq.heappop(queue)
        if room == end:
            return length
        if room not in seen:
            seen.add(room)
            for other, cost in near[room]:
                heapq.heappush(queue, (length + cost, other))
    raise ValueError(f"no way from the {start} to the {end}")


def _layout(rng: np.random.Generator, family: Family) -> tuple[list[Cell], list[Link]]:
    """Rooms grown one by one from a corner cell, then some links more."""
    cells: list[Cell] = [(0, 0)]
    links: list[Link] = []
    while len(cells) < family.num_rooms:
        one = cells[int(rng.integers(len(cells)))]
        direction = tuple(STEPS)[int(rng.integers(4))]
        other = (one[0] + STEPS[direction][0], one[1] + STEPS[direction][1])
        is_inside = 0 <= other[0] < family.rows and 0 <= other[1] < family.columns
        if is_inside and other not in cells:
            cells.append(other)
            links.append((one, direction, other))
    known = set(links) | {(b, OPPOSITE[d], a) for a, d, b in links}
    spare = [
        (cell, d, (cell[0] + STEPS[d][0], cell[1] + STEPS[d][1]))
        for cell in cells
        for d in ("south", "east")
    ]
    spare = [link for link in spare if link[2] in cells and link not in known]
    chosen = rng.permutation(len(spare))[: family.num_extra]
    return cells, links + [spare[int(place)] for place in chosen]


def _some(rng: np.random.Generator, pool: Sequence[str], count: int) -> list[str]:
    return [pool[int(place)] for place in rng.permutation(len(pool))[:count]]


def _one(rng: np.random.Generator, pool: Sequence[str]) -> str:
    return pool[int(rng.integers(len(pool)))]


@lru_cache(maxsize=16)
def tasks(split: str, observation: str) -> LazyTasks:
    """Tasks of a split, made when looked at; none for an unknown split."""

    def payload(index: int) -> dict[str, Any]:
        return {**content_of(split, index), "observation": observation}

    return numbered_tasks(ENV_ID, split, NUM_TASKS.get(split, 0), payload)
