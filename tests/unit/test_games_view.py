"""A MiniGrid view in words, from encodings made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sayso.envs.games_babyai import WORDS, useful
from sayso.envs.games_view import COLOURS, KINDS, in_words, view_of

EMPTY = (KINDS.index("empty"), 0, 0)


def coded(kind: str, colour: str = "red", state: int = 0) -> tuple[int, int, int]:
    return KINDS.index(kind), COLOURS.index(colour), state


def image(**cells: tuple[int, int, int]) -> np.ndarray:
    """An empty view with things at ``a<ahead>r<right>``, ``l`` for left."""
    made = np.tile(np.array(EMPTY), (7, 7, 1))
    for place, what in cells.items():
        ahead, side = int(place[1]), int(place[3]) * (1 if place[2] == "r" else -1)
        made[3 + side, 6 - ahead] = what
    return made


def test_objects_are_told_with_their_places_from_the_nearest_on() -> None:
    made = image(
        a2r1=coded("ball"), a1l2=coded("key", "blue"), a3r0=coded("door", "grey", 2),
        a5r0=coded("goal", "green"), a0r2=coded("box", "purple"), a4l3=coded("lava"),
    )  # fmt: skip
    assert in_words(view_of(made)) == (
        "You hold nothing. You see a purple box 2 right; a blue key 1 ahead and 2 left; a red ball "
        "2 ahead and 1 right; a locked grey door 3 ahead; the goal 5 ahead; lava 4 ahead and 3 "
        "left. Walls: none in view."
    )


def test_an_open_door_takes_the_right_article() -> None:
    told = in_words(view_of(image(a1r0=coded("door", "red", 0), a2r0=coded("door", "red", 1))))
    assert "an open red door 1 ahead; a closed red door 2 ahead" in told


def test_the_nearest_walls_and_what_is_hidden() -> None:
    made = image(a4r0=coded("wall"), a0l1=coded("wall"), a0l2=coded("wall"), a2r2=coded("wall"))
    made[6, :] = 0  # not seen
    told = in_words(view_of(made))
    assert told == "You hold nothing. You see no objects. Walls: 4 ahead, 1 left."


def test_what_is_held_is_read_from_ones_own_cell() -> None:
    view = view_of(image(a0r0=coded("key", "yellow")))
    assert in_words(view).startswith("You hold a yellow key. You see no objects.")
    assert (0, 0) not in view.cells


@pytest.mark.parametrize(
    ("front", "held", "more"),
    [
        (EMPTY, None, ["go forward"]),
        (EMPTY, coded("ball"), ["go forward", "drop"]),
        (coded("ball"), None, ["pick up"]),
        (coded("ball"), coded("key"), []),
        (coded("box"), None, ["pick up", "open"]),
        (coded("wall"), None, []),
        (coded("goal"), None, ["go forward"]),
        (coded("door", "red", 0), None, ["go forward", "open"]),
        (coded("door", "red", 1), None, ["open"]),
        (coded("door", "red", 2), None, []),
        (coded("door", "red", 2), coded("key", "blue"), []),
        (coded("door", "red", 2), coded("key", "red"), ["open"]),
    ],
)
def test_what_changes_something(
    front: tuple[int, int, int], held: tuple[int, int, int] | None, more: list[str]
) -> None:
    cells = {"a1r0": front} | ({"a0r0": held} if held else {})
    found = [WORDS[number] for number in useful(view_of(image(**cells)), has_done=False)]
    assert found == ["turn left", "turn right", *more]


def test_kinds_and_colours_are_numbered_as_minigrid_does() -> None:
    constants = pytest.importorskip("minigrid.core.constants")
    assert list(KINDS) == [constants.IDX_TO_OBJECT[n] for n in range(len(KINDS))]
    assert list(COLOURS) == [constants.IDX_TO_COLOR[n] for n in range(len(COLOURS))]
