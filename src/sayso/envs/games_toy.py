"""Gymnasium's toy games in words: what they are, what is seen, what may be done."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

Describe = Callable[[Any, Any], str]
"""The bare environment and its observation, in words."""
MAX_NUMBERS = 64
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CORNERS = ("red", "green", "yellow", "blue")
MOVES = {"Left": (0, -1), "Down": (1, 0), "Right": (0, 1), "Up": (-1, 0)}
FROZEN_LAKE_SIZE, FROZEN_LAKE_UNSEEN = 5, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """A game that is known by its id.

    Attributes:
        actions: Names of the actions, in the order of their numbers.
        rules: What it is about, in two sentences.
        describe: What is seen.
        kwargs: Defaults of ``gymnasium.make``.
        unseen: What ``unseen`` changes of them; ``None``: there is no such split.
        vary: Arguments that a seed decides, if the game itself draws none; given the other ones.
        max_turns: Actions of one game.
        unreadable: What an action that names nothing earns: the worst of a step.
        high: Greatest return.
        ending: What is seen once the game is over; unset: as before.
        basic: Name of the action of a well-known rule of thumb, from the observation.
    """

    actions: tuple[str, ...]
    rules: str
    describe: Describe
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    unseen: Mapping[str, Any] | None = None
    vary: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None
    max_turns: int
    unreadable: float
    high: float
    ending: Describe | None = None
    basic: Callable[[Any], str] | None = None


def plain(env: Any, observation: Any) -> str:
    """Of a game that is not known: its own text, else the numbers of the observation.

    Raises:
        ValueError: If there are too many numbers to read.
    """
    if getattr(env, "render_mode", None) == "ansi":
        return ANSI.sub("", str(env.render())).rstrip()
    numbers = np.asarray(observation, dtype=np.float64).ravel()
    if numbers.size > MAX_NUMBERS:
        raise ValueError(
            f"the observation has {numbers.size} numbers; describe='module:function' puts it "
            "into words"
        )
    return f"You see: {', '.join(f'{number:.3g}' for number in numbers)}."


def _frozen_lake(env: Any, observation: Any) -> str:
    row, column = divmod(int(observation), env.ncol)
    goal = tuple(int(n) for n in np.argwhere(env.desc == b"G")[0])
    kinds = {b"F": "ice", b"S": "ice", b"H": "hole", b"G": "goal"}
    seen = []
    for name, (down, right) in MOVES.items():
        r, c = row + down, column + right
        is_inside = 0 <= r < env.nrow and 0 <= c < env.ncol
        seen.append(f"{name}: {kinds[bytes(env.desc[r, c])] if is_inside else 'edge'}.")
    place = (
        f"You are at row {row}, column {column}. The goal is at row {goal[0]}, column {goal[1]}."
    )
    rows = "/".join(b"".join(line).decode() for line in env.desc)
    return f"Map: {rows}. {place} {' '.join(seen)}"


def _some_lake(kwargs: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A lake drawn by the seed, unless the user named one; ``size`` is ours."""
    kept = {name: value for name, value in kwargs.items() if name != "size"}
    if kept.get("desc") is not None or kept.get("map_name") is not None:
        return kept
    size = int(kwargs.get("size", FROZEN_LAKE_SIZE))
    return {**kept, "desc": generate_random_map(size=size, seed=seed)}


def _taxi(env: Any, observation: Any) -> str:
    row, column, waits, goal = (int(n) for n in env.decode(int(observation)))

    def corner(number: int) -> str:
        r, c = env.locs[number]
        return f"the {CORNERS[number]} corner (row {r}, column {c})"

    passenger = "in the taxi" if waits == len(CORNERS) else f"at {corner(waits)}"
    mask = env.action_mask(int(observation))
    ways = [name for name, is_open in zip(TAXI_WAYS, mask, strict=False) if is_open]
    return (
        f"The taxi is at row {row}, column {column}. The passenger is {passenger} and wants to go "
        f"to {corner(goal)}. Open ways: {', '.join(ways)}."
    )


TAXI_WAYS = ("south", "north", "east", "west")


def _cliff(env: Any, observation: Any) -> str:
    row, column = divmod(int(observation), env.shape[1])
    last = env.shape[0] - 1
    return (
        f"You are at row {row}, column {column}. The goal is at row {last}, column "
        f"{env.shape[1] - 1}. The cliff is row {last}, columns 1 to {env.shape[1] - 2}."
    )


def _blackjack(env: Any, observation: Any) -> str:
    del env
    total, dealer, has_ace = (int(n) for n in observation)
    ace = " with an ace that may count as one" if has_ace else ""
    return f"Your cards make {total}{ace}. The dealer shows {'an ace' if dealer == 1 else dealer}."


def _blackjack_over(env: Any, observation: Any) -> str:
    """Both hands; one of which nothing was shown but a card."""
    total, held = int(observation[0]), [int(card) for card in env.dealer]
    soft = 10 if 1 in held and sum(held) <= 11 else 0
    cards = ", ".join("ace" if card == 1 else str(card) for card in held)
    return f"Your cards make {total}. The dealer has {cards}, which make {sum(held) + soft}."


def _basic_blackjack(observation: Any) -> str:
    """Basic strategy.

    A hard hand sticks at 17, at 13 against 2 to 6, at 12 against 4 to 6; a soft one at 19, and at
    18 against 2 to 8.
    """
    total, dealer, has_ace = (int(n) for n in observation)
    if has_ace:
        return "stick" if total >= (18 if 2 <= dealer <= 8 else 19) else "hit"
    low = 12 if 4 <= dealer <= 6 else 13 if 2 <= dealer <= 6 else 17
    return "stick" if total >= low else "hit"


TOYS: Mapping[str, Toy] = {
    "FrozenLake": Toy(
        actions=("left", "down", "right", "up"),
        rules="Cross the ice to the goal. A hole ends the game.",
        describe=_frozen_lake,
        kwargs={"is_slippery": False, "size": FROZEN_LAKE_SIZE, "map_name": None},
        unseen={"size": FROZEN_LAKE_UNSEEN},
        vary=_some_lake,
        max_turns=30,
        unreadable=-0.05,
        high=1.0,
    ),
    "Taxi": Toy(
        actions=(*TAXI_WAYS, "pick up", "drop off"),
        rules="Pick up the passenger and drop the passenger off at the right corner.",
        describe=_taxi,
        unseen={"is_rainy": True},
        max_turns=40,
        unreadable=-10.0,
        high=20.0,
    ),
    "CliffWalking": Toy(
        actions=("up", "right", "down", "left"),
        rules="Walk to the goal. Each step costs 1, a fall off the cliff 100 and the way back.",
        describe=_cliff,
        max_turns=40,
        unreadable=-100.0,
        high=-13.0,
    ),
    "Blackjack": Toy(
        actions=("stick", "hit"),
        rules="Come closer to 21 than the dealer, and not above it.",
        describe=_blackjack,
        max_turns=12,
        unreadable=-1.0,
        high=1.0,
        ending=_blackjack_over,
        basic=_basic_blackjack,
    ),
}
"""By name without the version."""


def toy_of(game: str) -> Toy | None:
    """What is known of a game by its id; later versions are taken to be played alike."""
    return TOYS.get(game.rpartition("-v")[0])
