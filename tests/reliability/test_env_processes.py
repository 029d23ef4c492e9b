"""Environment processes: how many, how long, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from badenv import BadEnv
from env_faults import (
    alive,
    assert_only_bad_ones_failed,
    is_alive,
    play,
    sound,
    wait_until,
    workers_of,
)
from rollout_fakes import ScriptedEngine

from sayso.envs.registry import register, source
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.sampling.base import Engine


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


@pytest.mark.medium
def test_another_number_of_processes_gives_the_same_episodes() -> None:
    for num_workers in (1, 2, 4):
        limits = RolloutLimits(num_workers=num_workers, env_timeout_s=60)
        env = source(BadEnv)
        assert play(env, limits=limits) == sound()
        pool = workers_of(env, limits)
        assert len(alive(pool)) == min(num_workers, 8)
        shutdown_pools()
        assert not alive(pool)


@pytest.mark.medium
def test_environments_share_a_process_and_processes_are_kept_between_rollouts() -> None:
    env = source(BadEnv, timeout_s=60)
    play(env)
    pids = alive(workers_of(env))
    play(source(BadEnv, timeout_s=60))
    assert alive(workers_of(env)) == pids
    assert len(set(pids)) == 2


@pytest.mark.medium
@pytest.mark.parametrize("during", ["rest", "hang"])
def test_no_process_outlives_a_killed_trainer(during: str, tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys, threading, time
        sys.path[:0] = sys.argv[2:]
        from badenv import BadEnv
        from sayso.envs.registry import source
        from sayso.rollout.limits import RolloutLimits
        from sayso.rollout.pool import pool_for

        env = source(BadEnv, fault="hold_gil", at=1, timeout_s=300)
        pool = pool_for(env, RolloutLimits(num_workers=1))
        pool.reset([("a", env.open().tasks("train")[1], 1)])
        print(pool.hosts[0].pid, flush=True)
        if sys.argv[1] == "hang":
            threading.Thread(target=pool.step, args=([("a", "go")],), daemon=True).start()
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", script, during, str(here), str(here.parent)],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        timeout=200,
    )
    assert done.returncode == -9
    pid = int(done.stdout)
    assert wait_until(lambda: not is_alive(pid)), "an orphan is left"


@pytest.mark.medium
def test_a_pause_of_trainer_and_environment_together_is_no_hang() -> None:
    script = textwrap.dedent(
        """
        import sys
        sys.path[:0] = sys.argv[1:]
        from badenv import BadEnv
        from sayso.envs.registry import source
        from sayso.rollout.limits import RolloutLimits
        from sayso.rollout.pool import pool_for

        env = source(BadEnv, fault="nap", at=1, timeout_s=3)
        pool = pool_for(env, RolloutLimits(num_workers=1))
        pool.reset([("a", env.open().tasks("train")[1], 1)])
        print(pool.hosts[0].pid, flush=True)
        result, = pool.step([("a", "go")])
        print(pool.num_killed, result, flush=True)
        """
    )
    here = Path(__file__).parent
    trainer = subprocess.Popen(
        [sys.executable, "-c", script, str(here), str(here.parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert trainer.stdout is not None
    with trainer:
        pids = [int(trainer.stdout.readline()), trainer.pid]
        time.sleep(0.2)
        for number, pause_s in ((signal.SIGSTOP, 5), (signal.SIGCONT, 0)):
            for pid in pids:
                os.kill(pid, number)
            time.sleep(pause_s)
        said = trainer.stdout.readline()
    assert said.startswith("0 Outcome("), said
    assert trainer.returncode == 0


@pytest.mark.medium
def test_an_id_registered_in_this_process_only_opens_in_another() -> None:
    register("test/Registered-v0", "badenv:BadEnv", fault="raise", at=1)
    episodes = play(source("test/Registered-v0", timeout_s=60))
    assert_only_bad_ones_failed(episodes, "env_raised")


def test_scripted_engine_is_an_engine() -> None:
    assert isinstance(ScriptedEngine(), Engine)


class ClosingEnv(BadEnv):
    """Leaves a line in a file when it is closed; hangs instead anywhere but in one process."""

    def __init__(self, told: str = "", hangs_but_in: int = 0, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.told, self.hangs_but_in = told, hangs_but_in

    def close(self) -> None:
        if self.hangs_but_in not in {0, os.getpid()}:
            time.sleep(1e6)
        with Path(self.told).open("a") as file:
            file.write("closed\n")


@pytest.mark.medium
def test_environments_in_processes_are_closed_at_the_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    env = source("test_env_processes:ClosingEnv", told=str(told), timeout_s=60)
    play(env)
    pids = alive(workers_of(env))
    told.unlink(missing_ok=True)  # the one that was opened to look at it
    shutdown_pools()
    assert told.read_text().count("closed") >= len(set(pids))
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.medium
def test_an_environment_that_does_not_end_closing_is_killed(tmp_path: Path) -> None:
    env = source(
        "test_env_processes:ClosingEnv", told=str(tmp_path / "told"), hangs_but_in=os.getpid(),
        timeout_s=60,
    )  # fmt: skip
    play(env)
    pids = alive(workers_of(env))
    shutdown_pools()
    assert pids
    assert not any(is_alive(pid) for pid in pids)
