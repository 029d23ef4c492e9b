"""``sayso/Gym-v0``: any Gymnasium environment with numbered actions, played in words."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from sayso.calls import named
from sayso.envs.base import TextEnv, in_play
from sayso.envs.cut import cut_tasks
from sayso.envs.games_plan import best_actions
from sayso.envs.games_toy import Describe, Toy, plain, toy_of
from sayso.envs.games_words import action_named
from sayso.envs.scripted import Scripted
from sayso.envs.tasks import LazyTasks
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import generator
from sayso.types import Task

ENV_ID = "sayso/Gym-v0"
NUM_TASKS = {"train": 2_000, "held_out": 500, "unseen": 500}
NUM_LOOKED_AT = 40
"""Seeds after which a game that always begins alike is taken to have one beginning."""
PLAIN = Toy(actions=(), rules="", describe=plain, max_turns=100, unreadable=-1.0, high=float("inf"))


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    choices = cast("GymTextEnv", env).choices
    return choices[int(draws.integers(len(choices)))]


def _first(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    return cast("GymTextEnv", env).choices[0]


def _optimal(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    game = cast("GymTextEnv", env)
    return game.actions[int(best_actions(game.inner)[int(game.inner.s)])]


def _basic(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    return cast("GymTextEnv", env).by_rule_of_thumb()


class GymTextEnv(TextEnv):
    """Any Gymnasium environment with Discrete actions: what is seen and done is put into words.

    The reward is the game's own. A text that does not name exactly one of ``actions`` is not
    played: it is answered, costs a turn, and earns ``unreadable``, which must be no better than any
    step of the game, or saying nothing would be a way to play.
    ``info["choices"]`` lists the actions, or those that the game's own mask allows.

    The toy games (FrozenLake, Taxi, CliffWalking, Blackjack) have names, rules and descriptions
    of ours; FrozenLake draws a map for each task and does not slip unless told to. Tasks are
    seeds, cut into ``train`` and ``held_out`` by how the game begins; a game that always begins
    alike has one task. What chance does later follows the seed of ``reset``.

    Reward parts, which add up to it: ``game``, ``unreadable``.

    Args:
        game: An id of Gymnasium's registry; ``"module:Id"`` imports the module first.
        kwargs: Given to ``gymnasium.make``.
        unseen: What the split ``unseen`` changes of them; unset: what the toy game says.
        actions: Names in the order of the numbers; needed where none are known.
        describe: ``"module:function"`` that gets the bare environment and its observation and
            returns what is seen. Unset: the toy game's words, else the game's ansi picture,
            else the numbers of the observation.
        rules: What is said first; unset: the toy game's.
        max_turns: Actions of one episode.
        unreadable: Reward of an action that names nothing.
    """

    parts_are_summed = True

    def __init__(
        self,
        *,
        game: str = "FrozenLake-v1",
        kwargs: Mapping[str, Any] | None = None,
        unseen: Mapping[str, Any] | None = None,
        actions: Sequence[str] = (),
        describe: str | None = None,
        rules: str | None = None,
        max_turns: int | None = None,
        unreadable: float | None = None,
    ) -> None:
        toy = toy_of(game) or PLAIN
        self.game, self._toy = game, toy
        self._unseen = toy.unseen if unseen is None else unseen
        self._kwargs = {**toy.kwargs, **(kwargs or {})}
        self._describe = _function(describe) if describe else toy.describe
        self.rules = toy.rules if rules is None else rules
        self._limit = self.max_turns = toy.max_turns if max_turns is None else max_turns
        self.unreadable = toy.unreadable if unreadable is None else unreadable
        self.actions = tuple(actions) or toy.actions
        _require(self.max_turns >= 1, "max_turns", max_turns, "Use 1 or more.")
        self._made: dict[str, tuple[str, gymnasium.Env[Any, Any]]] = {}
        self._env = self._game_with("play", self._kwargs_of("train", 0))
        self._check_actions()
        if toy is not PLAIN:
            self.reward_low, self.reward_high = self.unreadable * self.max_turns, toy.high
        players = {
            "random": Scripted(act=_random, about="uniform over what may be done"),
            "first": Scripted(act=_first, about="always the first that may be done"),
        }
        if hasattr(self._env.unwrapped, "P"):
            about = "by value iteration over the game's own table, discount 0.99"
            players["optimal"] = Scripted(act=_optimal, about=about, is_oracle=True)
        if toy.basic is not None:
            players["basic"] = Scripted(act=_basic, about="a well-known rule of thumb")
        self.scripted = players
        self._observation: Any = None
        self._info: Mapping[str, Any] = {}
        self._num_turns, self._is_over = 0, True

    @property
    def inner(self) -> Any:
        """The game itself, as a player sees it who may look behind the words."""
        return self._env.unwrapped

    @property
    def choices(self) -> list[str]:
        """What may be done now."""
        mask = self._info.get("action_mask")
        if mask is None or not any(mask):
            return list(self.actions)
        return [name for name, is_open in zip(self.actions, mask, strict=True) if is_open]

    def by_rule_of_thumb(self) -> str:
        """What the toy game's rule of thumb does now; what is seen decides."""
        if self._toy.basic is None:
            raise EnvContractError(
                where=ENV_ID,
                problem=f"there is no rule of thumb for {self.game}.",
                fix="Use others.",
            )
        return self._toy.basic(self._observation)

    def tasks(self, split: str) -> Sequence[Task]:
        """Seeds of the game; of a game that begins always alike, one."""
        if split not in NUM_TASKS or (split == "unseen" and self._unseen is None):
            return ()
        merged = {**self._kwargs, **(self._unseen or {})} if split == "unseen" else self._kwargs
        return _tasks(self.game, split, json.dumps(merged, sort_keys=True, default=repr), self)

    def why_empty(self, split: str) -> str:
        """Held out are other beginnings, unseen is another variant."""
        if split == "unseen":
            return f"unseen={{...}} names the arguments of {self.game} that are new there."
        return f"{self.game} always begins alike." if split == "held_out" else ""

    def beginning(self, split: str, seed: int) -> str:
        """All that a seed decides before the first action: arguments, and what is seen."""
        kwargs = self._kwargs_of(split, seed)
        env = self._game_with("scout", kwargs)
        observation, _ = env.reset(seed=seed)
        seen = self._describe(env.unwrapped, observation)
        return f"{json.dumps(kwargs, sort_keys=True, default=repr)} {seen}"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin as the task's seed says; chance then follows ``seed``."""
        super().reset(seed=seed)
        task = self.choose(seed, options)
        begins = int(task.payload["seed"])
        self._env = self._game_with("play", self._kwargs_of(task.split, begins))
        self._observation, self._info = self._env.reset(seed=begins)
        chance = int(self.np_random.integers(2**31)) if seed is None else seed
        self._env.unwrapped.np_random = generator(chance, ENV_ID, task.id)
        self._num_turns, self._is_over = 0, False
        told = " ".join(part for part in (self.rules, self._seen()) if part)
        return told, {"choices": self.choices}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play an action by its name."""
        game = in_play(self._env, is_over=self._is_over, where=ENV_ID)
        self._num_turns += 1
        name = action_named(action, self._numbers)
        is_read = name is not None
        earned, terminated, truncated = 0.0, False, False
        if name is not None:
            number = self._numbers[name]
            self._observation, reward, terminated, truncated, self._info = game.step(number)
            earned = float(reward)
            self._check_reward(earned)
        parts = {"game": earned, "unreadable": 0.0 if is_read else self.unreadable}
        truncated = bool(truncated) or (not terminated and self._num_turns >= self._limit)
        self._is_over = bool(terminated) or truncated
        seen = self._ended() if terminated else self._seen()
        told = seen if is_read else f"There is no such action. {seen}"
        info = {"reward_parts": parts, "choices": self.choices}
        return told, sum(parts.values()), bool(terminated), truncated and not terminated, info

    def close(self) -> None:
        """Close the games."""
        for _, env in self._made.values():
            env.close()

    def _seen(self) -> str:
        seen = self._describe(self._env.unwrapped, self._observation)
        return f"{seen} Say one of: {', '.join(self.choices)}."

    def _ended(self) -> str:
        """What is seen once nothing can be done any more."""
        return (self._toy.ending or self._describe)(self._env.unwrapped, self._observation)

    def _game_with(self, use: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
        """A game with these arguments; the one of before if it had them, for some are dear."""
        told = json.dumps(kwargs, sort_keys=True, default=repr)
        if use not in self._made or self._made[use][0] != told:
            if use in self._made:
                self._made[use][1].close()
            self._made[use] = (told, make(self.game, kwargs, self._toy))
        return self._made[use][1]

    def _kwargs_of(self, split: str, seed: int) -> dict[str, Any]:
        merged = {**self._kwargs, **(self._unseen or {})} if split == "unseen" else self._kwargs
        return self._toy.vary(merged, seed) if self._toy.vary else dict(merged)

    def _check_actions(self) -> None:
        space = self._env.action_space
        if not isinstance(space, Discrete):
            raise OptionValueError(
                where=f"{ENV_ID}, game",
                problem=f"{self.game} has the action space {space}.",
                fix="Use a game whose actions are Discrete.",
            )
        if not self.actions:
            self.actions = tuple(f"action {number}" for number in range(int(space.n)))
        names = {" ".join(name.lower().split()): n for n, name in enumerate(self.actions)}
        _require(
            len(names) == len(self.actions) == int(space.n) and "" not in names,
            "actions",
            self.actions,
            f"Name each of the {int(space.n)} actions of {self.game} once.",
        )
        self._numbers = {name: int(space.start) + number for name, number in names.items()}

    def _check_reward(self, earned: float) -> None:
        """Raises if saying nothing would be better than a step was."""
        if earned < self.unreadable:
            raise EnvContractError(
                where=f"{ENV_ID}, unreadable",
                problem=f"a step of {self.game} earned {earned:g}, less than the "
                f"{self.unreadable:g} of an action that names nothing.",
                fix=f"Set unreadable to {earned:g} or less.",
            )


def make(game: str, kwargs: Mapping[str, Any], toy: Toy) -> gymnasium.Env[Any, Any]:
    """The game, with its picture in characters if that is how it is described."""
    module, _, name = game.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        env = gymnasium.make(name, disable_env_checker=True, **kwargs)
        can_draw = "ansi" in env.metadata.get("render_modes", ())
        if toy is PLAIN and can_draw and "render_mode" not in kwargs:
            env.close()
            env = gymnasium.make(name, disable_env_checker=True, render_mode="ansi", **kwargs)
    except Exception as error:
        raise OptionValueError(
            where=f"{ENV_ID}, game",
            problem=f"{game!r} with {dict(kwargs)} cannot be made: {type(error).__name__}: {error}",
            fix="Use an id of Gymnasium's registry, and arguments that it takes.",
        ) from error
    return env


@lru_cache(maxsize=16)
def _listed(game: str, split: str, kwargs: str, words: int) -> list[LazyTasks]:
    """Where the tasks of equal environments are kept; filled by ``_tasks``."""
    del game, split, kwargs, words
    return []


def _tasks(game: str, split: str, kwargs: str, env: GymTextEnv) -> Sequence[Task]:
    """Tasks of a split, shared by all environments of the same game and words."""
    kept = _listed(game, split, kwargs, hash(env._describe))  # noqa: SLF001
    if not kept:
        first, others = env.beginning(split, 0), range(1, NUM_LOOKED_AT)
        payload = {"game": game, "kwargs": kwargs}
        if any(env.beginning(split, seed) != first for seed in others):
            scout = env

            def pose(index: int, seed: int) -> tuple[dict[str, Any], str]:
                del index
                return payload, scout.beginning(split, seed)

            kept.append(cut_tasks(ENV_ID, split, NUM_TASKS[split], pose))
        else:
            task = Task(id=split, env=ENV_ID, split=split, payload={**payload, "seed": 0})
            kept.append(LazyTasks(0 if split == "held_out" else 1, lambda _: task))
    return kept[0]


def _function(name: str) -> Describe:
    found: Describe = named(name, where=f"{ENV_ID}, describe")
    return found


def _require(is_sound: bool, option: str, value: Any, fix: str) -> None:  # noqa: FBT001
    if not is_sound:
        raise OptionValueError(where=f"{ENV_ID}, {option}", problem=f"got {value!r}.", fix=fix)
