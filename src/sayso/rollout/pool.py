"""Many environments at once: in this process, or in processes of their own."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Sequence
from typing import Protocol

from sayso.envs.base import TextEnv
from sayso.envs.registry import EnvSource
from sayso.errors import EnvContractError
from sayso.rollout.boundary import Bounds, Outcome, open_env, reset_env, step_env
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.workers import WorkerPool
from sayso.types import Failure, Task

Result = Outcome | Failure
_MAX_KEPT = 4


class EnvPool(Protocol):
    """Plays sessions; each has its own environment, named by a key."""

    max_turns: int | None

    def reset(self, calls: Sequence[tuple[str, Task, int]]) -> list[Result]:
        """Start sessions: (key, task, seed). Results in the order of the calls."""
        ...

    def step(self, calls: Sequence[tuple[str, str]]) -> list[Result]:
        """Play one action in each: (key, action)."""
        ...

    def close(self, key: str) -> None:
        """End a session. Unknown ones are ignored."""
        ...

    def shutdown(self) -> None:
        """Free everything."""
        ...


class InProcessPool:
    """Environments as plain objects; one that is done is used again, one that failed is not.

    Args:
        source: Opens more.
        bounds: What their answers are held against.
        first: One that is open already.
    """

    def __init__(self, source: EnvSource, bounds: Bounds, *, first: TextEnv) -> None:
        self.max_turns = first.max_turns
        self._source, self._bounds = source, bounds
        self._free: list[TextEnv] = [first]
        self._playing: dict[str, tuple[TextEnv, Task]] = {}

    def reset(self, calls: Sequence[tuple[str, Task, int]]) -> list[Result]:
        """One after another."""
        return [self._reset(key, task, seed) for key, task, seed in calls]

    def step(self, calls: Sequence[tuple[str, str]]) -> list[Result]:
        """One after another."""
        return [
            self._kept(key, step_env(*self._playing[key], action, self._bounds))
            for key, action in calls
        ]

    def close(self, key: str) -> None:
        """Keep the environment for the next session."""
        if key in self._playing:
            self._free.append(self._playing.pop(key)[0])

    def shutdown(self) -> None:
        """Close them all."""
        for env in [*self._free, *(env for env, _ in self._playing.values())]:
            _close(env)
        self._free.clear()
        self._playing.clear()

    def _reset(self, key: str, task: Task, seed: int) -> Result:
        env = self._free.pop() if self._free else open_env(self._source.open, task)
        if isinstance(env, Failure):
            return env
        self._playing[key] = (env, task)
        return self._kept(key, reset_env(env, task, seed, self._bounds))

    def _kept(self, key: str, result: Result) -> Result:
        if isinstance(result, Failure):
            _close(self._playing.pop(key)[0])
        return result


_kept: list[tuple[EnvSource, RolloutLimits, int, EnvPool]] = []
"""Newest last: source, limits, the process it belongs to, pool."""


def pool_for(source: EnvSource, limits: RolloutLimits) -> EnvPool:
    """The pool an environment asks for, kept for the next call with the same source and limits.

    Raises:
        EnvContractError: If it asks for a process of its own but cannot be opened in one.
    """
    for kept in _kept:
        # Another source may hold newer code, but processes are worth keeping.
        is_same = kept[0] is source or (
            isinstance(kept[3], WorkerPool) and kept[0].spec == source.spec
        )
        if is_same and kept[1] == limits and kept[2] == os.getpid():
            _kept.remove(kept)
            _kept.append(kept)
            return kept[3]
    pool = _open_pool(source, limits)
    _kept.append((source, limits, os.getpid(), pool))
    while len(_kept) > _MAX_KEPT:
        _forget(*_kept.pop(0)[2:])
    return pool


def shutdown_pools() -> None:
    """End every environment process and close every kept environment."""
    while _kept:
        _forget(*_kept.pop()[2:])


atexit.register(shutdown_pools)


def _open_pool(source: EnvSource, limits: RolloutLimits) -> EnvPool:
    bounds = Bounds(max_reward=limits.max_reward, max_chars=limits.max_observation_chars)
    first = source.open()
    timeout_s = limits.env_timeout_s
    if timeout_s is None:
        timeout_s = first.timeout_s
    if timeout_s is None:
        return InProcessPool(source, bounds, first=first)
    if source.spec is None:
        raise EnvContractError(
            where=source.id,
            problem=f"asks for timeouts ({timeout_s:g} s), but only this process can open it.",
            fix=(
                "Pass its id, 'module:Class' or the class itself (defined in a module that can be "
                "imported), so that a process of its own can; a reward as 'module:function'."
            ),
        )
    try:
        json.dumps(source.spec)
    except TypeError as error:
        raise EnvContractError(
            where=source.id,
            problem=f"its arguments cannot be sent to another process ({error}).",
            fix="Use JSON values, for functions a string 'module:function'.",
        ) from error
    max_turns = first.max_turns
    _close(first)
    return WorkerPool(
        source.spec, bounds, timeout_s=timeout_s, num_workers=limits.num_workers,
        max_turns=max_turns,
    )  # fmt: skip


def _forget(pid: int, pool: EnvPool) -> None:
    """What a parent process opened is not ours to close after a fork."""
    if pid == os.getpid():
        pool.shutdown()


def _close(env: TextEnv) -> None:
    """Nothing that an environment does while it is thrown away is of interest."""
    with contextlib.suppress(Exception):
        env.close()
