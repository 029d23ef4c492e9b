"""Chance, opponents and look-ahead for TextArena's games."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from sayso.calls import named
from sayso.envs.games_arena_table import Legal
from sayso.errors import OptionValueError

Opponent = Callable[[str, tuple[str, ...], np.random.Generator], str]
"""Everything its seat was told, the actions it may choose from (empty: not known), and where its
luck comes from, to its action."""
MAX_LOOKED_AHEAD = 80
NUM_CONTINUATIONS = 12


def at_random(told: str, choices: tuple[str, ...], draws: np.random.Generator) -> str:
    """Any of the actions that the game accepts."""
    del told
    return choices[int(draws.integers(len(choices)))]


def first(told: str, choices: tuple[str, ...], draws: np.random.Generator) -> str:
    """Always the first of them."""
    del told, draws
    return choices[0]


OPPONENTS: dict[str, Opponent] = {"random": at_random, "first": first}
NEED_CHOICES = ("random", "first")


def register_opponent(name: str, play: Opponent) -> None:
    """Make an opponent known by name in this process; the same name again replaces it.

    Games that are on go on with the one they began with. That is how a policy plays its former
    self: see the page on games.

    Args:
        name: For ``opponent=`` of ``sayso/TextArena-v0``.
        play: Its rule.
    """
    if name in NEED_CHOICES:
        raise OptionValueError(
            where="register_opponent", problem=f"{name!r} is built in.", fix="Choose another name."
        )
    OPPONENTS[name] = play


def opponent(name: str) -> Opponent:
    """An opponent by its name, or ``"module:function"``.

    Raises:
        UnknownNameError: If there is none.
    """
    if name in OPPONENTS:
        return OPPONENTS[name]
    there = f"There are: {', '.join(OPPONENTS)}; or register one, or name a 'module:function'."
    found: Opponent = named(name, where=f"sayso/TextArena-v0, opponent {name!r}", fix=there)
    return found


class Luck:
    """The stream of Python's own ``random`` that a game draws from, apart from everyone else's."""

    def __init__(self, seed: int) -> None:
        self._state = random.Random(seed).getstate()  # noqa: S311  # games, not secrets

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Inside, the module ``random`` goes on where this stream stopped."""
        outside = random.getstate()
        random.setstate(self._state)
        try:
            yield
        finally:
            self._state = random.getstate()
            random.setstate(outside)


def canonical(value: Any, depth: int = 6) -> str:
    """A value as text that is the same in every process, whatever order its sets have.

    Of objects it takes what they hold, of functions and what lies deeper only the kind.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist())
    kind = type(value).__name__
    if depth == 0 or callable(value):
        return kind
    if isinstance(value, list | tuple):
        return f"{kind}[{', '.join(canonical(item, depth - 1) for item in value)}]"
    if not isinstance(value, Mapping | set | frozenset):
        value = dict(getattr(value, "__dict__", {}))
    items = value.items() if isinstance(value, Mapping) else value
    return f"{kind}{{{', '.join(sorted(canonical(item, depth - 1) for item in items))}}}"


def copied(game: Any) -> Any:
    """A game as it stands, without what was said so far."""
    logs, told = game.state.logs, game.state.observations
    game.state.logs, game.state.observations = [], {seat: [] for seat in told}
    try:
        return copy.deepcopy(game)
    finally:
        game.state.logs, game.state.observations = logs, told


def looked_ahead(game: Any, legal: Legal, draws: np.random.Generator) -> str:
    """The action whose random continuations earn most on average; it sees all that is hidden.

    Args:
        game: Where the player to move is.
        legal: What may be played.
        draws: Of the continuations.
    """
    seat = game.state.current_player_id
    luck = Luck(int(draws.integers(2**31)))

    def worth(action: str) -> float:
        total = 0.0
        for _ in range(NUM_CONTINUATIONS):
            total += _continued(copied(game), action, legal, seat, draws)
        return total

    with luck.drawn():
        return max(legal(game), key=worth)


def _continued(
    game: Any, action: str, legal: Legal, seat: int, draws: np.random.Generator
) -> float:
    """What a random game after an action earns a seat; 0 if it has no end in sight."""
    is_over, _ = game.step(action)
    for _ in range(MAX_LOOKED_AHEAD):
        if is_over:
            break
        choices = legal(game)
        is_over, _ = game.step(choices[int(draws.integers(len(choices)))])
    rewards, _ = game.close()
    return float(rewards[seat]) if is_over and rewards else 0.0
