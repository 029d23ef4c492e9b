"""Two runs in one directory: row 23 of the fault table."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kill_harness import Outcome, run_forked, start_forked, tree

from sayso.errors import RunError
from sayso.runs.run import Run, next_name

CONFIG = {"seed": 1, "optim": {"lr": 0.1}}


def _start_together(body: Callable[[], object], num_processes: int) -> list[Outcome]:
    """Fork all, let them go at the same moment, wait for all."""
    moment = time.monotonic() + 0.02 * num_processes + 0.1

    def at_the_moment() -> None:
        time.sleep(max(0.0, moment - time.monotonic()))
        body()

    children = [start_forked(at_the_moment) for _ in range(num_processes)]
    return [child.wait() for child in children]


@pytest.mark.parametrize("num_processes", [2, 20])
def test_fault_23_of_many_that_create_one_run_exactly_one_wins(
    tmp_path: Path, num_processes: int
) -> None:
    path = tmp_path / "run"

    def start() -> None:
        Run.create(path, config={"winner": os.getpid()}, meta={"pid": os.getpid()})

    outcomes = _start_together(start, num_processes)
    lost = [outcome for outcome in outcomes if outcome.exit_code == 1]
    assert len(lost) == num_processes - 1
    for outcome in lost:
        assert outcome.error.startswith("RunError: [RUN-001]")
        for choice in ("--resume", "--run", "delete"):
            assert choice in outcome.error
    run = Run.open(path)
    assert f"winner = {run.meta()['pid']}" in run.config.read_text()


@pytest.mark.parametrize("num_processes", [2, pytest.param(20, marks=pytest.mark.medium)])
def test_fault_23_of_many_that_lock_one_run_exactly_one_wins_and_is_named(
    tmp_path: Path, num_processes: int
) -> None:
    run = Run.create(tmp_path / "run", config=CONFIG, meta={})
    before = tree(run.path)

    def start() -> None:
        begin = time.monotonic()
        try:
            with run.lock():
                (tmp_path / "winner").write_text(str(os.getpid()))
                deadline = time.monotonic() + 20
                while len(list(tmp_path.glob("lost-*"))) < num_processes - 1:
                    assert time.monotonic() < deadline, "not all others lost"
                    time.sleep(0.01)
        except RunError:
            (tmp_path / f"lost-{os.getpid()}").write_text(str(time.monotonic() - begin))
            raise

    outcomes = _start_together(start, num_processes)
    lost = [outcome for outcome in outcomes if outcome.exit_code == 1]
    assert [outcome.exit_code for outcome in outcomes].count(0) == 1
    assert len(lost) == num_processes - 1
    winner = (tmp_path / "winner").read_text()
    for outcome in lost:
        assert re.search(rf"in use by process {winner} on \S+, started 20\d\d-", outcome.error)
        for choice in ("--resume", "--run", "copy"):
            assert choice in outcome.error
    assert max(float(path.read_text()) for path in tmp_path.glob("lost-*")) <= 1.0
    after = tree(run.path)
    after.pop("lock")
    assert after == before


def test_fault_23_a_stale_lock_is_recovered_and_its_owner_reported(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config=CONFIG, meta={})

    def die() -> None:
        with run.lock():
            os.kill(os.getpid(), signal.SIGKILL)

    assert run_forked(die).signal == signal.SIGKILL
    left = run.owner()
    assert left is not None
    with run.lock() as stale:
        assert stale == left
        owner = run.owner()
        assert owner is not None
        assert owner.pid == os.getpid()
    assert run.owner() is None
    with run.lock() as stale:
        assert stale is None


@pytest.mark.medium
def test_a_worker_that_outlives_a_killed_trainer_does_not_keep_the_run_locked(
    tmp_path: Path,
) -> None:
    run = Run.create(tmp_path / "run", config=CONFIG, meta={})

    def trainer() -> None:
        with run.lock():
            worker = os.fork()
            if worker == 0:
                os.closerange(3, 4096)
                time.sleep(30)
                os._exit(0)
            (tmp_path / "worker").write_text(str(worker))
            os.kill(os.getpid(), signal.SIGKILL)

    def trainer_keeping_descriptors() -> None:
        with run.lock():
            worker = os.fork()
            if worker == 0:
                time.sleep(2)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)

    assert run_forked(trainer).signal == signal.SIGKILL
    worker = int((tmp_path / "worker").read_text())
    try:
        with run.lock() as stale:
            assert stale is not None
    finally:
        os.kill(worker, signal.SIGKILL)
    assert run_forked(trainer_keeping_descriptors).signal == signal.SIGKILL
    with run.lock():
        pass


def test_one_process_cannot_lock_twice_and_the_attempt_does_not_unlock(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config=CONFIG, meta={})
    with run.lock():
        with pytest.raises(RunError, match=f"in use by process {os.getpid()} "), run.lock():
            pass
        outcome = run_forked(lambda: run.lock().__enter__())
        assert outcome.exit_code == 1
        assert "RUN-001" in outcome.error
    assert run_forked(lambda: run.lock().__enter__()).exit_code == 0


def test_fault_23_an_existing_directory_is_refused_with_three_choices_and_unchanged(
    tmp_path: Path,
) -> None:
    run = Run.create(tmp_path / "run", config=CONFIG, meta={"seed": 1})
    before = tree(run.path)
    with pytest.raises(RunError, match="exists already") as raised:
        Run.create(run.path, config={}, meta={})
    for choice in ("--resume", "--run", "delete"):
        assert choice in raised.value.fix
    assert tree(run.path) == before
    with run.lock(), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        Run.create(run.path, config={}, meta={})


@pytest.mark.medium
def test_twenty_that_ask_for_the_next_name_get_twenty_names(tmp_path: Path) -> None:

    def start() -> None:
        run = Run.create_next(tmp_path, "writing", config={}, meta={"pid": os.getpid()})
        assert run.meta()["pid"] == os.getpid()

    outcomes = _start_together(start, 20)
    assert [outcome.exit_code for outcome in outcomes] == [0] * 20
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"writing-{n}" for n in range(1, 21)
    )
    assert next_name(tmp_path, "writing") == "writing-21"
