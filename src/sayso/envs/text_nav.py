"""``sayso/TextNav-v0``: an errand in a house, told in words; after LMRL-Gym's Text-Nav."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.scripted import Act, Scripted
from sayso.envs.text_nav_tasks import BOUND, ENV_ID, longest_way, tasks
from sayso.envs.text_nav_world import DIRECTIONS, House, State
from sayso.errors import EnvContractError, OptionValueError
from sayso.types import Task

RANDOM_SHARE = 0.64
"""Share of random commands of the player ``mixture``."""


def _shortest(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    house, state = cast("TextNavEnv", env).position
    return house.plan(state)[0]


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    house, state = cast("TextNavEnv", env).position
    commands = house.admissible(state)
    return commands[int(draws.integers(len(commands)))]


def mixture(random_share: float) -> Act:
    """Each command is random with this probability, else the first of a shortest plan."""

    def act(env: TextEnv, draws: np.random.Generator) -> str:
        chosen = _random if draws.random() < random_share else _shortest
        return chosen(env, draws)

    return act


class TextNavEnv(TextEnv):
    """Bring an object to a room of a house; commands ``go``, ``open``, ``take``, ``drop``.

    The command that drops the object in its room earns 1 and ends the task; every other earns 0.
    One object can be held. ``go north`` needs an open way, doors are opened with ``open red
    door``, and what cannot be done or read is answered, changes nothing and costs a turn. After
    ``max_turns`` commands the episode is truncated. Case and spaces do not matter; nothing else
    is forgiven. ``info["choices"]`` lists the commands that change something.

    Args:
        observation: ``"full"`` says in every turn where each exit leads, what the errand is and
            where the object lies; ``"partial"`` only what is seen in the room, and the errand in
            the first turn alone.
        max_turns: Commands of one episode, at least 12: no house needs more.
        step_cost: Taken from the reward of every command, at least 0.

    Source:
        Abdulhai et al. 2023, LMRL-Gym, arXiv:2311.18232 (Text-Nav). Houses, wording and errands
        are ours; theirs are TextWorld's. Its bounds 0 / .26 / 1 are therefore no anchors here.
    """

    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "shortest": Scripted(act=_shortest, about="shortest plan, by search", is_oracle=True),
            "random": Scripted(act=_random, about="uniform over what can be done"),
            "mixture": Scripted(
                act=mixture(RANDOM_SHARE),
                about=f"{RANDOM_SHARE:.0%} random, else shortest",
                is_oracle=True,
            ),
        }
    )

    def __init__(
        self,
        *,
        observation: Literal["full", "partial"] = "full",
        max_turns: int = 15,
        step_cost: float = 0.0,
    ) -> None:
        if observation not in ("full", "partial"):
            raise OptionValueError(
                where=f"{ENV_ID}, observation",
                problem=f"got {observation!r}.",
                fix="Use 'full' or 'partial'.",
            )
        if max_turns < BOUND[1]:
            raise OptionValueError(
                where=f"{ENV_ID}, max_turns",
                problem=f"got {max_turns}; some errands take {BOUND[1]} commands.",
                fix=f"Allow at least {BOUND[1]}.",
            )
        if not 0 <= step_cost < float("inf"):
            raise OptionValueError(
                where=f"{ENV_ID}, step_cost", problem=f"got {step_cost}.", fix="Use 0 or more."
            )
        self.observation, self.step_cost, self.max_turns = observation, step_cost, max_turns
        self.reward_low, self.reward_high = -step_cost * max_turns, 1.0 - step_cost
        self._house: House | None = None
        self._state: State | None = None
        self._num_turns = 0

    def tasks(self, split: str) -> Sequence[Task]:
        """Houses with an errand; ``unseen`` have more rooms in another shape."""
        return tasks(split, self.observation)

    def level(self, task: Task) -> int:
        """1 to 3: by the commands that are enough, 4 to 6, 7 to 9, 10 to 12."""
        return 1 + (longest_way(task.payload) - BOUND[0]) // 3

    @property
    def position(self) -> tuple[House, State]:
        """The house and where everything is now; what an oracle may see."""
        if self._house is None or self._state is None:
            raise EnvContractError(
                where=f"{ENV_ID}, step", problem="came before reset.", fix="Call reset first."
            )
        return self._house, self._state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Stand in the first room of the task's house."""
        super().reset(seed=seed)
        house = House(self.choose(seed, options).payload)
        self._house, self._state, self._num_turns = house, house.start, 0
        told = self._describe()
        if self.observation == "partial":
            told = f"{self._errand()} {told}"
        return told, {"choices": house.admissible(house.start)}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Try a command."""
        house, state = self.position
        command = " ".join(action.lower().split())
        reply = self._refusal(command)
        if not reply:
            self._state = house.after(state, command)
        self._num_turns += 1
        terminated = house.is_done(self.position[1])
        truncated = not terminated and self._num_turns >= (self.max_turns or 0)
        text = "Success." if terminated else f"{reply} {self._describe()}".lstrip()
        choices = house.admissible(self.position[1])
        reward = float(terminated) - self.step_cost
        return text, reward, terminated, truncated, {"choices": choices}

    def _refusal(self, command: str) -> str:
        """Why a command does nothing; empty: it can be done."""
        house, state = self.position
        if command in house.admissible(state):
            return ""
        verb, _, name = command.partition(" ")
        ways = house.exits[state.room]
        if verb == "go" and name in DIRECTIONS:
            return f"The {ways[name].door} is closed." if name in ways else "There is no way."
        if verb == "take" and name in state.here():
            return "Your hand is full."
        return "That cannot be done."

    def _errand(self) -> str:
        house, _ = self.position
        return f"Bring the {house.goal_object} to the {house.goal_room}."

    def _describe(self) -> str:
        """The room; with full observation, also what cannot be seen from it."""
        house, state = self.position
        is_full = self.observation == "full"
        exits = []
        for direction in DIRECTIONS:
            if way := house.exits[state.room].get(direction):
                leads = f" to the {way.to}" if is_full else ""
                is_shut = way.door and way.door not in state.opened
                door = f" ({way.door}, {'closed' if is_shut else 'open'})" if way.door else ""
                exits.append(f"{direction}{leads}{door}")
        said = [f"You are in the {state.room}.", f"Exits: {', '.join(exits)}."]
        if here := state.here():
            said.append(f"Here: {', '.join(here)}.")
        if state.held:
            said.append(f"You hold the {state.held}.")
        if not is_full:
            return " ".join(said)
        lies = dict(state.lying).get(house.goal_object)
        where = [f"It lies in the {lies}."] if lies else []
        return " ".join([*said, self._errand(), *where])
