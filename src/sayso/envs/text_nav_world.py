"""The world of ``sayso/TextNav-v0``: a house, what can be done in it, and shortest plans."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
DIRECTIONS = tuple(OPPOSITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A way out of a room.

    Attributes:
        to: The room it leads to.
        door: Name of the door in it; empty: an open way.
    """

    to: str
    door: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where everything is.

    Attributes:
        room: The player's.
        lying: Room of each object that lies somewhere.
        held: The object in hand; empty: none. There is one hand.
        opened: Doors that are open; they stay open.
    """

    room: str
    lying: tuple[tuple[str, str], ...]
    held: str = ""
    opened: frozenset[str] = frozenset()

    def here(self) -> list[str]:
        """Objects that lie in the player's room."""
        return [thing for thing, room in self.lying if room == self.room]


class House:
    """A house and an errand in it: bring an object to a room and drop it there.

    Args:
        content: ``links``, a list of ``[room, direction, room, door]`` (door ``""``: none);
            ``objects``, room by object; ``start``, a room; ``goal``, ``[object, room]``.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.exits: dict[str, dict[str, Exit]] = {}
        for one, direction, other, door in content["links"]:
            self.exits.setdefault(one, {})[direction] = Exit(to=other, door=door)
            self.exits.setdefault(other, {})[OPPOSITE[direction]] = Exit(to=one, door=door)
        self.goal_object, self.goal_room = content["goal"]
        self.start = State(room=content["start"], lying=tuple(sorted(content["objects"].items())))

    def is_done(self, state: State) -> bool:
        """Does the object lie in its room?"""
        return (self.goal_object, self.goal_room) in state.lying

    def admissible(self, state: State) -> list[str]:
        """Commands that change something, in a fixed order."""
        exits = self.exits[state.room]
        ways = [(d, exits[d]) for d in DIRECTIONS if d in exits]
        is_open = {d: not way.door or way.door in state.opened for d, way in ways}
        commands = [f"go {d}" for d, _ in ways if is_open[d]]
        commands += [f"open {way.door}" for d, way in ways if not is_open[d]]
        if state.held:
            return [*commands, f"drop {state.held}"]
        return commands + [f"take {thing}" for thing in state.here()]

    def after(self, state: State, command: str) -> State:
        """What an admissible command leads to."""
        verb, _, name = command.partition(" ")
        if verb == "go":
            return replace(state, room=self.exits[state.room][name].to)
        if verb == "open":
            return replace(state, opened=state.opened | {name})
        if verb == "take":
            rest = tuple(entry for entry in state.lying if entry[0] != name)
            return replace(state, lying=rest, held=name)
        return replace(
            state, lying=tuple(sorted((*state.lying, (name, state.room)))), held=""
        )  # drop

    @cached_property
    def shortest(self) -> int:
        """Fewest commands from the start to the end."""
        return len(self.plan(self.start))

    def plan(self, state: State) -> list[str]:
        """A shortest list of commands to the end, by breadth-first search; the first of equals.

        Two commands are left out, for no shortest plan has them: taking another object, and
        dropping the right one elsewhere, since it has to be taken again.
        """
        useless = {f"take {thing}" for thing, _ in state.lying if thing != self.goal_object}
        found: dict[State, tuple[State, str] | None] = {state: None}
        queue = deque([state])
        while queue:
            here = queue.popleft()
            if self.is_done(here):
                return _back(found, here)
            for command in self.admissible(here):
                is_early = command == f"drop {self.goal_object}" and here.room != self.goal_room
                if is_early or command in useless:
                    continue
                there = self.after(here, command)
                if there not in found:
                    found[there] = (here, command)
                    queue.append(there)
        raise ValueError(f"the {self.goal_object} cannot be brought to the {self.goal_room}")


def _back(found: Mapping[State, tuple[State, str] | None], state: State) -> list[str]:
    """The commands that led to a state."""
    commands = []
    while (step := found[state]) is not None:
        state, command = step
        commands.append(command)
    return commands[::-1]
