"""Many environments at once: in this process, or in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from sayso.envs.base import TextEnv
from sayso.envs.registry import EnvSource
from sayso.errors import EnvContractError
from sayso.rollout.boundary import Outcome, reset_env, step_env
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.workers import WorkerPool
from sayso.types import Failure, Task

Result = Outcome | Failure


class EnvPool(Protocol):
    """Plays sessions; each has its own environment, named by a key."""

    def reset(self, calls: Sequence[tuple[str, Task, int]]) -> list[Result]:
        """Start sessions: (key, task, seed). Results in the order of the calls."""
        ...

    def step(self, calls: Sequence[tuple[str, str]]) -> list[Result]:
        """Play one action in each: (key, action)."""
        ...

    def close(self, key: str) -> None:
        """End a session."""
        ...


class InProcessPool:
    """Environments as plain objects; one that is done is used again."""

    def __init__(self, source: EnvSource, limits: RolloutLimits, *, first: TextEnv) -> None:
        self._source = source
        self._limits = {
            "max_reward": limits.max_reward,
            "max_chars": limits.max_observation_chars,
        }
        self._free: list[TextEnv] = [first]
        self._playing: dict[str, tuple[TextEnv, Task]] = {}

    def reset(self, calls: Sequence[tuple[str, Task, int]]) -> list[Result]:
        """One after another."""
        results: list[Result] = []
        for key, task, seed in calls:
            env = self._free.pop() if self._free else self._source.open()
            self._playing[key] = (env, task)
            results.append(
                reset_env(env, task, seed, max_reward=self._limits["max_reward"],
                          max_chars=int(self._limits["max_chars"]))
            )  # fmt: skip
        return results

    def step(self, calls: Sequence[tuple[str, str]]) -> list[Result]:
        """One after another."""
        return [
            step_env(*self._playing[key], action, max_reward=self._limits["max_reward"],
                     max_chars=int(self._limits["max_chars"]))
            for key, action in calls
        ]  # fmt: skip

    def close(self, key: str) -> None:
        """Keep the environment for the next session."""
        if key in self._playing:
            self._free.append(self._playing.pop(key)[0])


_worker_pools: dict[str, WorkerPool] = {}


def pool_for(source: EnvSource, limits: RolloutLimits) -> EnvPool:
    """The pool an environment asks for; worker processes are kept for the next call.

    Raises:
        EnvContractError: If it asks for a process of its own but cannot be opened in one.
    """
    first = source.open()
    timeout_s = limits.env_timeout_s or first.timeout_s
    if timeout_s is None:
        return InProcessPool(source, limits, first=first)
    if source.spec is None:
        raise EnvContractError(
            where=source.id,
            problem=f"asks for timeouts ({timeout_s:g} s), but only this process can open it.",
            fix=(
                "Pass its id, 'module:Class' or the class itself (defined in a module that can be "
                "imported), so that a process of its own can."
            ),
        )
    try:
        key = json.dumps([source.spec, timeout_s, limits.num_workers, limits.max_reward])
    except TypeError as error:
        raise EnvContractError(
            where=source.id,
            problem=f"its arguments cannot be sent to another process ({error}).",
            fix="Use JSON values, for functions a string 'module:function'.",
        ) from error
    if key not in _worker_pools:
        _worker_pools[key] = WorkerPool(source.spec, limits, timeout_s=timeout_s)
    return _worker_pools[key]
