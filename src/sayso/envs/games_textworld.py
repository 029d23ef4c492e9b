"""``sayso/TextWorld-v0``: TextWorld's generated text adventures; needs the extra ``textworld``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from sayso.envs.base import TextEnv, in_play
from sayso.envs.extras import extra_module, unheard
from sayso.envs.games_textworld_make import Size, game_file
from sayso.envs.scripted import Scripted
from sayso.envs.tasks import LazyTasks
from sayso.errors import OptionValueError
from sayso.seeds import derive
from sayso.types import Task

ENV_ID = "sayso/TextWorld-v0"
NUM_HELD_OUT = 10
REFUSED = "That cannot be done."


def _expert(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    plan = cast("TextWorldEnv", env).state.policy_commands
    return str(plan[0]) if plan else "look"


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    choices = cast("TextWorldEnv", env).choices
    return choices[int(draws.integers(len(choices)))]


def _look(env: TextEnv, draws: np.random.Generator) -> str:
    del env, draws
    return "look"


class TextWorldEnv(TextEnv):
    """A quest in a generated house: read, walk, open, take, put, in the game's own commands.

    The first observation tells the objective and the room, every other what the game answers. An
    action is one of the commands that the game admits now, which ``info["choices"]`` lists; case
    and spaces do not matter. Any other text is answered, does not reach the game (whose
    interpreter knows ``undo``, ``save`` and ``restart`` as well), costs a turn and earns
    ``unreadable``. The reward is
    the game's score, as a share of what can be reached: in a game with one quest, 1 for the
    command that fulfils it. A quest can be lost for good, which ends the game.

    A game is made when it is first played, which takes some seconds, and is kept in sayso's cache.
    ``held_out`` are other seeds, ``unseen`` larger houses with longer quests.

    Reward parts, which add up to it: ``score``, ``unreadable``.

    Args:
        rooms, objects, quest: Size of the houses and length of the quest, in commands.
        quests: Quests at the same time; each is a share of the score.
        num_games: Houses to train on.
        unseen: ``{"rooms": …, "objects": …, "quest": …}`` of the split ``unseen``.
        max_turns: Commands of one game.
        unreadable: Reward of a text that the game does not admit, at most 0.

    Source:
        Côté et al. 2018, TextWorld, arXiv:1806.11532.
    """

    parts_are_summed = True
    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "expert": Scripted(act=_expert, about="the game's own winning plan", is_oracle=True),
            "random": Scripted(act=_random, about="any admitted command"),
            "look": Scripted(act=_look, about="always `look`"),
        }
    )

    def __init__(
        self,
        *,
        rooms: int = 2,
        objects: int = 4,
        quest: int = 2,
        quests: int = 1,
        num_games: int = 50,
        unseen: Mapping[str, int] | None = None,
        max_turns: int = 20,
        unreadable: float = -0.05,
    ) -> None:
        extra_module("textworld", extra="textworld", where=ENV_ID)
        size = Size(rooms=rooms, objects=objects, quest=quest, quests=quests)
        larger = {"rooms": rooms + 3, "objects": objects + 4, "quest": quest + 1, **(unseen or {})}
        if unseen is not None and set(unseen) - {"rooms", "objects", "quest"}:
            raise OptionValueError(
                where=f"{ENV_ID}, unseen",
                problem=f"got {dict(unseen)}.",
                fix="Use rooms, objects and quest.",
            )
        self._sizes = {"train": size, "unseen": Size(**larger, quests=quests)}
        if num_games < 1 or max_turns < quest or self._sizes["unseen"] == size:
            raise OptionValueError(
                where=ENV_ID,
                problem=f"got num_games {num_games}, max_turns {max_turns}, quest {quest}, "
                f"unseen {larger}.",
                fix="Make one game or more, allow enough turns, and another size for unseen.",
            )
        self.num_games, self.max_turns, self._limit = num_games, max_turns, max_turns
        if not -1.0 <= unreadable <= 0.0:
            raise OptionValueError(
                where=f"{ENV_ID}, unreadable", problem=f"got {unreadable}.", fix="Use -1 to 0."
            )
        self.unreadable = unreadable
        self.reward_low, self.reward_high = unreadable * max_turns, 1.0
        self._env: Any = None
        self._state: Any = None
        self._score, self._num_turns, self._is_over = 0.0, 0, True

    def tasks(self, split: str) -> Sequence[Task]:
        """Houses by seed; nothing is made yet."""
        counts = {"train": self.num_games, "held_out": NUM_HELD_OUT, "unseen": NUM_HELD_OUT}
        size = self._sizes["unseen" if split == "unseen" else "train"]
        return _tasks(split, size, counts[split]) if split in counts else ()

    @property
    def state(self) -> Any:
        """TextWorld's game state; what an oracle may see."""
        return in_play(self._state, is_over=self._is_over, where=ENV_ID)

    @property
    def choices(self) -> list[str]:
        """Commands that the game admits now, in order."""
        return sorted(self._state.admissible_commands) if self._state else []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Enter the task's house."""
        super().reset(seed=seed)
        task = self.choose(seed, options)
        size = Size(**{name: int(task.payload[name]) for name in Size.__dataclass_fields__})
        path = game_file(size, int(task.payload["seed"]))
        self.close()
        world = extra_module("textworld", extra="textworld", where=ENV_ID)
        wanted = world.EnvInfos(
            admissible_commands=True, policy_commands=True, description=True, objective=True,
            score=True, max_score=True, won=True, lost=True,
        )  # fmt: skip
        with unheard():  # its interpreter does not know the game, which is new
            self._env = world.start(str(path), wanted)
            self._state = self._env.reset()
        self._score, self._num_turns, self._is_over = 0.0, 0, False
        told = f"{clean(self._state.objective)}\n{clean(self._state.description)}"
        return told, {"choices": self.choices}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Give a command."""
        command = " ".join(action.lower().split())
        self._num_turns += 1
        told, parts = REFUSED, {"score": 0.0, "unreadable": self.unreadable}
        if command in {choice.lower() for choice in self.state.admissible_commands}:
            self._state, _, _ = self._env.step(command)
            told = clean(self._state.feedback)
            score = float(self._state.score) / float(self._state.max_score)
            parts, self._score = {"score": score - self._score, "unreadable": 0.0}, score
        terminated = bool(self._state.won or self._state.lost)
        truncated = not terminated and self._num_turns >= self._limit
        self._is_over = terminated or truncated
        info = {"reward_parts": parts, "choices": self.choices}
        return told, sum(parts.values()), terminated, truncated, info

    def close(self) -> None:
        """Close the interpreter."""
        if self._env is not None:
            self._env.close()
            self._env = None


def clean(text: str) -> str:
    """What the game said, without blank lines, prompts and the score at the margin."""
    lines = (line.strip() for line in text.replace(">", " ").split("\n"))
    return "\n".join(line for line in lines if line and not line.startswith("Your score has"))


@lru_cache(maxsize=16)
def _tasks(split: str, size: Size, count: int) -> LazyTasks:
    """Shared by all environments of the same size."""

    def make(index: int) -> Task:
        seed = derive(0, ENV_ID, split, index) & 0x7FFF_FFFF
        payload = {**size.to_json(), "seed": seed}
        return Task(id=f"{split}-{index:05d}", env=ENV_ID, split=split, payload=payload)

    return LazyTasks(count, make)
