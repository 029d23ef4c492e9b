"""Players that follow a rule: they bound what can be learned, and write data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sayso.envs.base import Observation, TextEnv
from sayso.errors import UnknownNameError
from sayso.seeds import generator
from sayso.stats.intervals import Interval, bounded_interval
from sayso.types import Task

Act = Callable[[Any, np.random.Generator], str]
"""The next action of a game in progress; the first argument is the player's own environment.

An oracle looks at what the environment hides.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A player that follows a rule.

    Attributes:
        act: Chooses the next action.
        about: What it does, in a few words, for tables.
        is_oracle: It looks at what a player cannot see.
    """

    act: Act
    about: str
    is_oracle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One decision of a played game.

    Attributes:
        observation: What was shown.
        action: What was done.
        reward: What it earned; ``None``: not graded.
        parts: Parts of that.
        choices: Actions that were listed.
    """

    observation: Observation
    action: str
    reward: float | None
    parts: dict[str, float | None]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """A played task.

    Attributes:
        task: What was played.
        moves: Decisions in order.
        last: What was shown after the last one.
        terminated: The task ended; else it was cut off.
        last_choices: Actions that were listed after the last one.
    """

    task: Task
    moves: tuple[Move, ...]
    last: Observation
    terminated: bool
    last_choices: tuple[str, ...] = ()

    @property
    def return_(self) -> float:
        """Sum of the rewards."""
        return float(sum(move.reward or 0.0 for move in self.moves))


def scripted(env: TextEnv, name: str | None) -> Scripted:
    """A scripted player of an environment by its name.

    Raises:
        UnknownNameError: With those there are.
    """
    known = env.scripted
    if name is None or name not in known:
        raise UnknownNameError(
            where=f"{env.called}, scripted player{'' if name is None else f' {name!r}'}",
            problem="is not named." if name is None else "does not exist.",
            fix=f"There are: {', '.join(known) or 'none'}.",
        )
    return known[name]


def play(env: TextEnv, task: Task, act: Act, *, seed: int, sample: int = 0) -> Game:
    """Play a task to its end, or to ``env.max_turns``.

    Args:
        env: Where.
        task: One of its tasks.
        act: Who.
        seed: Decides the player's draws, with the task's id and ``sample``.
        sample: Which attempt at the task.
    """
    draws = generator(seed, "scripted", task.id, sample)
    env_seed = int(generator(seed, "scripted", task.id, "env").integers(2**31))
    shown, info = env.reset(seed=env_seed, options={"task": task.id, "split": task.split})
    moves: list[Move] = []
    while True:
        action = act(env, draws)
        earned: Any  # gymnasium says float; here None is "not graded"
        after, earned, terminated, truncated, told = env.step(action)
        moves.append(
            Move(
                observation=shown,
                action=action,
                reward=None if earned is None else float(earned),
                parts=dict(told.get("reward_parts", {})),
                choices=_choices(info),
            )
        )
        out_of_turns = env.max_turns is not None and len(moves) >= env.max_turns
        if terminated or truncated or out_of_turns:
            return Game(
                task=task, moves=tuple(moves), last=after, terminated=bool(terminated),
                last_choices=_choices(told),
            )  # fmt: skip
        shown, info = after, told


def play_many(env: TextEnv, act: Act, *, split: str, num_games: int, seed: int) -> Sequence[Game]:
    """Games over the tasks of a split in order, then all of them once more, and so on."""
    return list(games(env, act, split=split, num_games=num_games, seed=seed))


def games(env: TextEnv, act: Act, *, split: str, num_games: int, seed: int) -> Iterator[Game]:
    """As ``play_many``, one at a time: for more games than memory holds."""
    tasks = env.require_tasks(split)
    for i in range(num_games):
        yield play(env, tasks[i % len(tasks)], act, seed=seed, sample=i // len(tasks))


def bounds(env: TextEnv, *, split: str, num_games: int, seed: int = 0) -> dict[str, Interval]:
    """Mean return of every scripted player of an environment, with 95 % intervals.

    The games are those of ``play_many``: with a multiple of the number of tasks, every task counts
    alike. An interval takes them as independent; over several rounds of the same tasks it is a
    little wide, never narrow. Where all returns are equal, it leaves room for one that was not
    seen, as the intervals of ``sayso.evaluate`` do.

    Args:
        env: Where; empty if it has no players.
        split: Which tasks.
        num_games: Games of each player.
        seed: Decides their draws.

    Raises:
        ValueError: If ``num_games`` is below 1.
        UnknownNameError: If the split has no tasks.
    """
    if num_games < 1:
        raise ValueError(f"num_games must be positive, got {num_games}")
    found = {}
    for name, player in env.scripted.items():
        games = play_many(env, player.act, split=split, num_games=num_games, seed=seed)
        returns = [game.return_ for game in games]
        found[name] = bounded_interval(returns, env.reward_low, env.reward_high)
    return found


def _choices(info: dict[str, Any]) -> tuple[str, ...]:
    return tuple(info.get("choices", ()))
