"""``sayso/BabyAI-v0``: MiniGrid's and BabyAI's rooms in words; needs the extra ``envs``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import gymnasium
import numpy as np

from sayso.envs.base import Observation, TextEnv, in_play
from sayso.envs.cut import cut_tasks
from sayso.envs.extras import extra_module, unheard
from sayso.envs.games_view import LIFTED, LOCKED, View, in_words, view_of
from sayso.envs.games_words import action_named
from sayso.envs.media import IMAGE, Media
from sayso.envs.scripted import Scripted
from sayso.envs.spaces import Chat, Message
from sayso.envs.tasks import LazyTasks
from sayso.errors import OptionValueError
from sayso.seeds import generator
from sayso.types import Task

ENV_ID = "sayso/BabyAI-v0"
NUM_TASKS = {"train": 4_000, "held_out": 1_000, "unseen": 1_000}
WORDS = ("turn left", "turn right", "go forward", "pick up", "drop", "open", "done")
LEFT, RIGHT, FORWARD, PICK_UP, DROP, OPEN, DONE = range(7)


def _bot(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    return cast("BabyAIEnv", env).advice()


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    choices = cast("BabyAIEnv", env).choices
    return choices[int(draws.integers(len(choices)))]


def _forward(env: TextEnv, draws: np.random.Generator) -> str:
    del env, draws
    return WORDS[FORWARD]


class BabyAIEnv(TextEnv):
    """Rooms with coloured objects and a mission, partly observed: walk, turn, pick up, open.

    In every turn the agent is told its mission, what it holds, every object in its view of 7 by 7
    cells with its place, and the distance to the walls ahead and on both sides; nothing else. An
    action is one of ``turn left``, ``turn right``, ``go forward``, ``pick up``, ``drop``, ``open``
    (and ``done`` in MiniGrid's own games); a text that does not name exactly one of them is
    answered, does nothing, costs a step and earns ``unreadable``. ``info["choices"]`` lists the
    actions that change something. ``picture()`` is the same view as an image.

    The reward is MiniGrid's: 0 until the mission is done, then ``1 - 0.9 * steps / max_turns``,
    which ends the game. A mission can also fail for good, with 0. Reward parts, which add up to
    it: ``mission``, ``unreadable``.

    Args:
        levels: Ids of BabyAI or MiniGrid; tasks take turns among them.
        unseen: Levels of the split ``unseen``.
        max_turns: Steps after which the game is cut off.
        unreadable: Reward of a text that names no action, at most 0.
        picture: Show ``picture()`` before the words in every turn, as an image in the message.

    Source:
        Chevalier-Boisvert et al. 2019, BabyAI, arXiv:1810.08272; games, bot and reward are those
        of the package ``minigrid``, the words are ours.
    """

    parts_are_summed = True

    def __init__(
        self,
        *,
        levels: Sequence[str] = ("BabyAI-GoToLocalS6N2-v0",),
        unseen: Sequence[str] = ("BabyAI-GoToLocalS8N4-v0",),
        max_turns: int = 32,
        unreadable: float = -0.05,
        picture: bool = False,
    ) -> None:
        extra_module("minigrid", extra="envs", where=ENV_ID)
        self.levels, self.unseen, self.max_turns = tuple(levels), tuple(unseen), max_turns
        for level in (*self.levels, *self.unseen):
            if not level.startswith(("BabyAI-", "MiniGrid-")) or level not in gymnasium.registry:
                raise OptionValueError(
                    where=f"{ENV_ID}, levels",
                    problem=f"got {level!r}.",
                    fix="Use ids of BabyAI or MiniGrid, such as 'BabyAI-GoToLocal-v0'.",
                )
        if not -1.0 <= unreadable <= 0.0:
            raise OptionValueError(
                where=f"{ENV_ID}, unreadable", problem=f"got {unreadable}.", fix="Use -1 to 0."
            )
        self.unreadable, self.has_picture = unreadable, picture
        if picture:
            self.observation_space = Chat(media=True)
        self.reward_low, self.reward_high = unreadable * max_turns, 1.0
        shared = set(self.levels) & set(self.unseen)
        if not self.levels or shared or max_turns < 1:
            raise OptionValueError(
                where=ENV_ID,
                problem=f"got levels {self.levels}, unseen {self.unseen}, max_turns {max_turns}.",
                fix="Name a level to train on, others for unseen, and allow a turn.",
            )
        self._inner: Any = None
        self._view = View(cells={}, held=None)
        self._has_done = False
        self._made: dict[str, gymnasium.Env[Any, Any]] = {}
        self._advisor: Any = None
        self._last: int | None = None
        self._is_over = True
        players = {
            "random": Scripted(act=_random, about="uniform over what changes something"),
            "forward": Scripted(act=_forward, about="always `go forward`"),
        }
        if all(level.startswith("BabyAI-") for level in (*self.levels, *self.unseen)):
            about = "BabyAI's bot, which knows the rules and sees what the agent sees"
            players["bot"] = Scripted(act=_bot, about=about, is_oracle=True)
        self.scripted = players

    def tasks(self, split: str) -> Sequence[Task]:
        """Rooms drawn by seeds, cut by mission and room."""
        levels = self.unseen if split == "unseen" else self.levels
        return _tasks(split, levels, self.max_turns or 1) if levels and split in NUM_TASKS else ()

    def why_empty(self, split: str) -> str:
        """Levels to be named."""
        return "unseen=[...] names levels for it." if split == "unseen" else ""

    @property
    def inner(self) -> Any:
        """MiniGrid's own environment; what an oracle may see."""
        return in_play(self._inner, is_over=self._is_over, where=ENV_ID)

    @property
    def choices(self) -> list[str]:
        """Actions that change something, as far as the view tells."""
        if not self._view.cells:
            return []
        return [WORDS[number] for number in useful(self._view, has_done=self._has_done)]

    def advice(self) -> str:
        """What BabyAI's bot does now; it must be asked in every turn."""
        if self._advisor is None:
            bots = extra_module("minigrid.utils.baby_ai_bot", extra="envs", where=ENV_ID)
            self._advisor = bots.BabyAIBot(self.inner)
        number = int(self._advisor.replan(self._last))
        return WORDS[LEFT] if number == DONE else WORDS[number]

    def picture(self, tile: int = 8) -> np.ndarray:
        """The view as an image, uint8 [7 tile, 7 tile, 3].

        Args:
            tile: Pixels of a cell.
        """
        drawn: np.ndarray = self.inner.get_pov_render(tile)
        return drawn

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Enter the task's room."""
        super().reset(seed=seed)
        task = self.choose(seed, options)
        level = str(task.payload["level"])
        if level not in self._made:
            self._made[level] = make(level, self.max_turns or 1)
        self._inner = self._made[level].unwrapped
        with unheard():  # it prints when it draws a room once more
            seen, _ = self._inner.reset(seed=int(task.payload["seed"]))
        self._view = view_of(seen["image"])
        chance = int(self.np_random.integers(2**31)) if seed is None else seed
        self._inner.np_random = generator(chance, ENV_ID, task.id)
        self._advisor, self._last, self._is_over = None, None, False
        self._has_done = level.startswith("MiniGrid-")
        return self._shown(self._told()), {"choices": self.choices}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do what the words say; other words pass the time."""
        inner = self.inner
        name = action_named(action, WORDS if self._has_done else WORDS[:DONE])
        is_read = name is not None
        if name is not None:
            self._last = WORDS.index(name)
            seen, reward, terminated, truncated, _ = inner.step(self._last)
            self._view = view_of(seen["image"])
        else:
            self._last, reward, terminated = DONE, 0.0, False  # what the bot is told
            inner.step_count += 1
            truncated = inner.step_count >= inner.max_steps
        told = self._told() if is_read else f"There is no such action. {self._told()}"
        shown = self._shown(told)
        choices = self.choices
        self._is_over = bool(terminated or truncated)
        parts = {"mission": float(reward), "unreadable": 0.0 if is_read else self.unreadable}
        info = {"reward_parts": parts, "choices": choices}
        is_cut = bool(truncated) and not terminated
        return shown, sum(parts.values()), bool(terminated), is_cut, info

    def close(self) -> None:
        """Close every level."""
        for env in self._made.values():
            env.close()

    def _shown(self, told: str) -> Observation:
        if not self.has_picture:
            return told
        seen = Media("image", np.asarray(self.picture(), dtype=np.uint8))
        return (Message("user", f"{IMAGE}\n{told}", (seen,)),)

    def _told(self) -> str:
        said = ", ".join(self.choices)
        return f"Mission: {self.inner.mission}. {in_words(self._view)} Say one of: {said}."


def useful(view: View, *, has_done: bool) -> list[int]:
    """Numbers of the actions that change something, as far as the view tells."""
    front, held = view.front, view.held
    found = [LEFT, RIGHT]
    if front.can_be_entered:
        found.append(FORWARD)
    if front.kind in LIFTED and held is None:
        found.append(PICK_UP)
    if front.kind == "empty" and held is not None:
        found.append(DROP)
    has_key = held is not None and held.kind == "key" and held.colour == front.colour
    if front.kind == "box" or (front.kind == "door" and (front.state != LOCKED or has_key)):
        found.append(OPEN)
    return [*found, DONE] if has_done else found


def make(level: str, max_turns: int) -> gymnasium.Env[Any, Any]:
    """A level with this many steps."""
    return gymnasium.make(level, disable_env_checker=True, max_steps=max_turns)


@lru_cache(maxsize=16)
def _tasks(split: str, levels: tuple[str, ...], max_turns: int) -> LazyTasks:
    """Shared by all environments of the same levels."""
    made: dict[str, gymnasium.Env[Any, Any]] = {}

    def pose(index: int, seed: int) -> tuple[dict[str, Any], str]:
        level = levels[index % len(levels)]
        if level not in made:
            made[level] = make(level, max_turns)
        inner: Any = made[level].unwrapped
        with unheard():
            inner.reset(seed=seed)
        return {"level": level}, f"{inner.mission}\n{inner.pprint_grid()}"

    return cut_tasks(ENV_ID, split, NUM_TASKS[split], pose)
