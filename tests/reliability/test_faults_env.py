"""Environments that hang, raise, die or are broken: rows 1 to 4 of the fault table.

Each test asserts what is said, that the other episodes are untouched, that this process (or the
pool of processes) lives on, and that the failure is counted.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from badenv import NUM_TURNS, BadEnv
from env_faults import (
    DEADLINE_S,
    LIMITS,
    alive,
    assert_only_bad_ones_failed,
    bad,
    is_alive,
    play,
    sound,
    wait_until,
    workers_of,
)
from rollout_fakes import scripted_policy

from sayso.envs.registry import EnvSource, source
from sayso.errors import EnvContractError, GuardError, UnknownNameError
from sayso.rollout import workers
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.rollout.preflight import preflight, require_sound
from sayso.types import EndReason, Failure


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


# Row 1: env.step hangs


@pytest.mark.medium
@pytest.mark.parametrize("fault", ["sleep", "hold_gil"])
@pytest.mark.parametrize("at", [0, 2])
def test_fault_01_an_environment_that_hangs_is_killed_at_the_deadline(fault: str, at: int) -> None:
    env = bad(fault, at=at, timeout_s=DEADLINE_S)
    start = time.monotonic()
    episodes = play(env, group_size=1)
    taken = time.monotonic() - start
    failures = assert_only_bad_ones_failed(episodes, "env_timeout")
    for failure in failures:
        assert "test/Bad-v0, task t1" in failure.message
        assert "gave no answer within 2 s and was killed" in failure.message
    pool = workers_of(env)
    assert pool.num_killed == 1
    assert pool.num_died == 0
    assert taken < DEADLINE_S + 20

    again = play(source(BadEnv, fault=fault, at=at, timeout_s=DEADLINE_S), group_size=1)
    assert again == episodes
    assert pool.num_killed == 2
    assert workers_of(env) is pool


@pytest.mark.medium
def test_fault_01_a_fresh_process_is_there_within_five_seconds(tmp_path: Path) -> None:
    env = bad("sleep", timeout_s=DEADLINE_S, marker=str(tmp_path / "hung"), bad_tasks=["t0"], at=0)
    limits = RolloutLimits(num_workers=1)
    failed = play(env, group_size=1, limits=limits)
    assert [e.end is EndReason.FAILED for e in failed] == [True, False, False, False]
    assert failed[1:] == sound(1)[1:]
    pool = workers_of(env, limits)
    pool.hosts[0].kill()
    start = time.monotonic()
    pool.hosts[0].start()
    taken = time.monotonic() - start
    assert pool.hosts[0].incarnation == 3
    assert taken < 5 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.medium
def test_fault_01_a_kill_takes_the_environments_own_children_along(
    capfd: pytest.CaptureFixture[str],
) -> None:
    env = bad("grandchild", at=1, timeout_s=DEADLINE_S, bad_tasks=["t1"])
    episodes = play(env, group_size=1)
    assert_only_bad_ones_failed(episodes, "env_timeout")
    said = capfd.readouterr()
    pids = [int(pid) for pid in re.findall(r"GRANDCHILD (\d+)", said.err)]
    assert len(pids) == 1
    assert "GRANDCHILD" not in said.out
    assert wait_until(lambda: not is_alive(pids[0]))


@pytest.mark.medium
def test_fault_01_other_sessions_of_a_lost_process_are_played_again() -> None:
    limits = RolloutLimits(num_workers=1)
    env = bad("sleep", at=2, timeout_s=DEADLINE_S, bad_tasks=["t1"])
    episodes = play(env, limits=limits)
    assert_only_bad_ones_failed(episodes, "env_timeout")
    assert workers_of(env, limits).hosts[0].incarnation == 3


@pytest.mark.medium
def test_fault_01_a_replay_that_answers_differently_fails_instead_of_being_believed() -> None:
    limits = RolloutLimits(num_workers=1)
    env = bad("sleep", at=2, timeout_s=DEADLINE_S, bad_tasks=["t0"], seeded=False)
    episodes = play(env, limits=limits, group_size=1)
    kinds = [e.failure.kind if e.failure else "" for e in episodes]
    assert kinds[0] == "env_timeout"
    assert set(kinds[1:]) <= {"not_deterministic", ""}
    assert "not_deterministic" in kinds
    message = next(e.failure.message for e in episodes if e.failure and e.failure.kind == kinds[-1])
    assert "gave another answer" in message
    assert "self.np_random" in message
    assert alive(workers_of(env, limits))


# Row 2: env raises


@pytest.mark.parametrize("fault", ["raise", "raise_rudely", "sys_exit"])
@pytest.mark.parametrize("at", [0, NUM_TURNS])
def test_fault_02_an_environment_that_raises_loses_its_own_episode_only(
    fault: str, at: int
) -> None:
    failures = assert_only_bad_ones_failed(play(bad(fault, at=at)), "env_raised")
    names = {"raise": "RuntimeError: boom", "raise_rudely": "Rude", "sys_exit": "SystemExit: 0"}
    for sample, failure in enumerate(failures):
        assert f"raised {'badenv.' if fault == 'raise_rudely' else ''}{names[fault]}" in (
            failure.message
        )
        assert "test/Bad-v0, task t1" in failure.message
        turn = 0 if at == 0 else NUM_TURNS
        assert re.search(
            rf"\(sample {sample}, turn {turn}, environment seed \d+\)$", failure.message
        )
        assert 'reliability/badenv.py", line ' in failure.detail
        assert "\x1b" not in failure.message
    if at:
        assert f"action {sound()[2].turns[at - 1].action!r}" in failures[0].message


@pytest.mark.parametrize("at", [0, NUM_TURNS])
def test_row_35_an_exception_in_the_environment_surfaces_with_episode_and_seed(at: int) -> None:
    episode = play(bad("raise", at=at))[2]
    assert episode.failure is not None
    seed = re.search(r"environment seed (\d+)", episode.failure.message)
    assert seed is not None
    env = BadEnv(fault="raise", at=at)
    options = {"task": episode.task.id, "split": episode.task.split}

    def again() -> None:
        env.reset(seed=int(seed[1]), options=options)
        for turn in episode.turns:
            env.step(turn.action)

    with pytest.raises(RuntimeError, match="boom"):
        again()
    assert len(episode.turns) == at
    if at:
        assert episode.turns[-1].reward is None
        assert episode.turns[0].reward == 1.0


def test_fault_02_an_environment_that_failed_is_not_used_again() -> None:
    class Lasting(BadEnv):
        broken = False

        def step(self, action: str) -> Any:
            if self.broken or self.task_id == "t1":
                self.broken = True
                raise RuntimeError("broken for good")
            return super().step(action)

    env = source(Lasting)
    for _ in range(3):
        assert_only_bad_ones_failed(play(env), "env_raised")


def test_fault_02_ctrl_c_inside_an_environment_is_not_its_failure() -> None:
    class Interrupted(BadEnv):
        def step(self, action: str) -> Any:
            raise KeyboardInterrupt

    policy, engine = scripted_policy()
    env = source(Interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(
            policy, env.open().tasks("train"), env, group_size=1, seed=0, path=(), limits=LIMITS
        )
    assert not engine.held


@pytest.mark.medium
@pytest.mark.parametrize("fault", ["raise", "raise_rudely", "sys_exit"])
def test_fault_02_a_process_of_its_own_says_the_same_and_lives_on(fault: str) -> None:
    env = bad(fault, at=2, timeout_s=60)
    episodes = play(env)
    failures = assert_only_bad_ones_failed(episodes, "env_raised")
    here = [e.failure for e in play(bad(fault, at=2)) if e.failure]
    assert [f.message for f in failures] == [f.message for f in here]
    assert 'reliability/badenv.py", line ' in failures[0].detail
    pool = workers_of(env)
    assert len(alive(pool)) == 2
    assert [host.incarnation for host in pool.hosts] == [1, 1]


# Row 3: env process dies


@pytest.mark.medium
@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("os_exit", "exited with code 7"),
        ("segv", "died of SIGSEGV"),
        ("killed", "died of SIGKILL (often for lack of memory)"),
        ("close_descriptors", "exited with code 1"),
    ],
)
def test_fault_03_the_death_of_a_process_is_named_and_others_go_on(fault: str, how: str) -> None:
    env = bad(fault, at=2, timeout_s=60)
    failures = assert_only_bad_ones_failed(play(env), "env_died")
    for failure in failures:
        assert "task t1, action " in failure.message
        assert f"its process {how}" in failure.message
    pool = workers_of(env)
    assert pool.num_died == 2
    assert pool.num_killed == 0


@pytest.mark.medium
def test_fault_03_processes_that_keep_dying_stop_the_rollout() -> None:
    limits = RolloutLimits(num_workers=2)
    env = bad("os_exit", at=1, timeout_s=60, bad_tasks=["t0", "t1", "t2", "t3"])
    policy, engine = scripted_policy()
    tasks = env.open().tasks("train")
    with pytest.raises(GuardError) as raised:
        collect(policy, tasks, env, group_size=4, seed=0, path=(), limits=limits)
    message = str(raised.value)
    assert re.search(r"died 6 times in 10 minutes; the last time: .*exited with code 7", message)
    assert "--resume" in message
    assert not engine.held
    pool = workers_of(env, limits)
    assert pool.num_died == 6
    healthy = play(source(BadEnv))
    assert healthy == sound()


@pytest.mark.medium
def test_fault_03_five_deaths_are_survived_and_old_ones_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = RolloutLimits(num_workers=1)
    env = bad("os_exit", at=1, timeout_s=60)
    failures = assert_only_bad_ones_failed(play(env, group_size=5, limits=limits), "env_died")
    assert len(failures) == 5
    monkeypatch.setattr(workers, "DEATH_WINDOW_S", 0.0)
    assert_only_bad_ones_failed(play(env, group_size=5, limits=limits), "env_died")
    assert workers_of(env, limits).num_died == 10


@pytest.mark.medium
def test_fault_03_the_pool_is_of_use_after_an_interrupt() -> None:
    env = bad("sleep", at=1, timeout_s=60)
    pool = workers_of(env)
    task = env.open().tasks("train")[1]
    pool.reset([("a", task, 1)])

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.step([("a", "go")])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - start < 20
    pool.close("a")
    assert pool.num_killed == pool.num_died == 0
    good = env.open().tasks("train")[0]
    assert not isinstance(pool.reset([("b", good, 1)])[0], Failure)
    assert not isinstance(pool.step([("b", "go")])[0], Failure)


# Row 4: env broken from the start


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fault": "raise", "at": 0}, "RuntimeError: boom"),
        ({"fault": "none", "at": 0}, "reset returned None; return (observation, info)"),
        ({"fault": "old_gym", "at": 0}, "return (observation, info)"),
        ({"fault": "old_gym", "at": 1}, "return (observation, reward, terminated"),
        ({"fault": "observation_bytes", "at": 1}, "observation is b'look' (bytes)"),
        ({"fault": "nan", "at": 1}, "reward is nan"),
        ({"fault": "string", "at": 1}, "reward is '1.0' (str)"),
        ({"seeded": False}, "two different episodes"),
        ({"num_tasks": 0}, "split 'train': has no tasks. Splits with tasks: none"),
        ({"fault": "constructor_raises"}, "no constructor today"),
    ],
)
def test_fault_04_preflight_finds_it_within_seconds_and_changes_nothing(
    options: dict[str, Any], says: str
) -> None:
    env = source(BadEnv, bad_tasks=["t0", "t3"], **options)
    random_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    start = time.monotonic()
    problems = preflight(env, seed=0)
    assert time.monotonic() - start < 30
    assert len(problems) == 1
    assert says in problems[0]
    assert torch.equal(random_state[0], torch.random.get_rng_state())
    assert (random_state[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    with pytest.raises((EnvContractError, UnknownNameError)) as raised:
        require_sound(env, seed=0)
    assert says in str(raised.value)
    if isinstance(raised.value, EnvContractError):
        assert "does not play" in str(raised.value)
        assert "check_text_env" in str(raised.value)


def test_fault_04_preflight_passes_what_is_sound() -> None:
    assert preflight(source(BadEnv), seed=0) == []
    assert preflight(source("sayso/Maze-v0"), seed=0) == []
    assert preflight(source("sayso/TinyLang-v0"), seed=0) == []
    require_sound(source(BadEnv), seed=1)


def test_fault_04_preflight_finds_what_is_carried_over_from_the_episode_before() -> None:
    class Counting(BadEnv):
        num_episodes = 0

        def reset(self, **options: Any) -> Any:
            self.num_episodes += 1
            _, info = super().reset(**options)
            return f"episode {self.num_episodes}", info

    assert "nothing remain from the episode before" in preflight(source(Counting), seed=0)[0]


@pytest.mark.medium
def test_fault_04_preflight_has_a_deadline_where_the_environment_asks_for_one() -> None:
    start = time.monotonic()
    problems = preflight(bad("hold_gil", at=1, bad_tasks=["t0"], timeout_s=DEADLINE_S), seed=0)
    assert time.monotonic() - start < 30
    assert len(problems) == 1
    assert problems[0].startswith("env_timeout: test/Bad-v0, task t0, action ")


@pytest.mark.medium
def test_fault_04_a_process_that_cannot_import_the_environment_says_why(tmp_path: Path) -> None:
    spec = {"env": "no_such_module_anywhere:Env", "kwargs": {}}
    env = EnvSource(id="here", opener=lambda: BadEnv(timeout_s=5), spec=spec)
    with pytest.raises(EnvContractError) as raised:
        play(env)
    assert "no_such_module_anywhere" in str(raised.value)
    assert "'module:Class'" in str(raised.value)
    assert not alive(workers_of(env))


def test_fault_04_an_object_that_only_this_process_knows_cannot_have_timeouts() -> None:
    with pytest.raises(EnvContractError, match="only this process can open it"):
        play(source(lambda: BadEnv(timeout_s=5)))
    with pytest.raises(EnvContractError, match="cannot be sent to another process"):
        play(source(BadEnv, timeout_s=5, bad_tasks={"t1"}))
