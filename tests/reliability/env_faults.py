"""Playing ``BadEnv`` and judging what came of it; shared by the tests of rows 1 to 13."""

from __future__ import annotations

import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from badenv import BadEnv
from rollout_fakes import scripted_policy

from sayso.envs.prompts import PromptEnv
from sayso.envs.registry import EnvSource, source
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import pool_for
from sayso.rollout.workers import WorkerPool
from sayso.types import Episode, Failure

DEADLINE_S = 2.0
LIMITS = RolloutLimits(num_workers=2)


def bad(fault: str, **options: Any) -> EnvSource:
    return source(BadEnv, fault=fault, **options)


def play(
    env: EnvSource, *, group_size: int = 2, limits: RolloutLimits = LIMITS, first_sample: int = 0
) -> list[Episode]:
    policy, engine = scripted_policy()
    episodes = collect(
        policy, env.open().tasks("train"), env, group_size=group_size, seed=3, path=("rollout", 0),
        limits=limits, first_sample=first_sample,
    )  # fmt: skip
    assert not engine.held, "a session was left open"
    return episodes


@lru_cache(maxsize=4)
def sound(group_size: int = 2) -> list[Episode]:
    return play(source(BadEnv), group_size=group_size)


def assert_only_bad_ones_failed(
    episodes: list[Episode], kind: str, *, bad_tasks: tuple[str, ...] = ("t1",)
) -> list[Failure]:
    """State kept: all others are what they are without the fault. Counted: by kind."""
    expected = sound(len(episodes) // 4)
    others = [e for e in episodes if e.task.id not in bad_tasks]
    assert others == [e for e in expected if e.task.id not in bad_tasks]
    failures = [e.failure for e in episodes if e.failure is not None]
    num_bad = len(episodes) - len(others)
    assert num_bad > 0
    assert Counter(failure.kind for failure in failures) == {kind: num_bad}
    return failures


def workers_of(env: EnvSource, limits: RolloutLimits = LIMITS) -> WorkerPool:
    pool = pool_for(env, limits)
    assert isinstance(pool, WorkerPool)
    return pool


def alive(pool: WorkerPool) -> list[int]:
    return [pid for host in pool.hosts if (pid := host.pid) and is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Zombies are dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(check: Any, timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def judged(env: PromptEnv, limits: RolloutLimits = LIMITS) -> list[Episode]:
    """Every prompt once."""
    policy, engine = scripted_policy()
    opened = source(env)
    episodes = collect(
        policy, opened.open().tasks("train"), opened, group_size=1, seed=3, path=(), limits=limits
    )
    assert not engine.held
    return episodes
