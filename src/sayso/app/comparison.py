"""Runs of a comparison, one after another or several at a time; done ones are not done again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sayso.app.arms import Arm
from sayso.app.plan import CompareOptions, Plan
from sayso.app.trial import result_path, run_trial
from sayso.errors import SaysoError
from sayso.runs import interrupt

POLL_S = 0.2
Tell = Callable[[str], None]
"""Takes a line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTrial:
    """A run that has no result.

    Attributes:
        arm: Name of its arm.
        env: Its environment.
        seed: Its seed.
        reason: What was said last.
    """

    arm: str
    env: str
    seed: int
    reason: str

    def __str__(self) -> str:
        return f"{self.arm} on {self.env}, seed {self.seed}: {self.reason}"


@dataclass(frozen=True, slots=True)
class _Child:
    arm: Arm
    seed: int
    process: subprocess.Popen[bytes]
    log: TextIO


def folder_of(plan: Plan, options: CompareOptions) -> Path:
    """Where the comparison lies: asked for, or named by what is compared."""
    if options.out:
        return Path(options.out)
    names = "-vs-".join(dict.fromkeys(arm.key for arm in plan.arms))[:60].rstrip("-")
    return Path("runs") / f"compare-{names}-{plan.digest()}"


def run_all(
    folder: Path, plan: Plan, *, seeds: Sequence[int], jobs: int, tell: Tell
) -> list[FailedTrial]:
    """Every arm with every seed, whole seeds first, so that what is there can be paired.

    Args:
        folder: Holds the plan.
        plan: What is to be done.
        seeds: Of the runs.
        jobs: At a time; 1: in this process.
        tell: Takes a line of progress.

    Returns:
        The runs that failed; the others are finished. Asked again, only those are tried.
    """
    wanted = [(arm, seed) for seed in seeds for arm in plan.arms]
    left = [pair for pair in wanted if not result_path(folder, *pair).is_file()]
    if len(left) < len(wanted):
        tell(f"{len(wanted) - len(left)} of {len(wanted)} runs are done already.")
    for arm, _ in left:
        (folder / arm.key).mkdir(exist_ok=True)
    if jobs == 1:
        return _one_by_one(folder, plan, left, tell)
    return _side_by_side(folder, left, jobs, tell)


def results(folder: Path, plan: Plan, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """What the finished runs found."""
    return [
        run_trial(folder, plan, arm, seed)
        for arm in plan.arms
        for seed in seeds
        if result_path(folder, arm, seed).is_file()
    ]


def _one_by_one(
    folder: Path, plan: Plan, left: Sequence[tuple[Arm, int]], tell: Tell
) -> list[FailedTrial]:
    failed = []
    for number, (arm, seed) in enumerate(left, start=1):
        started = time.monotonic()
        try:
            run_trial(folder, plan, arm, seed)
        except SaysoError as error:
            failed.append(_failed(arm, seed, str(error)))
        tell(_line(number, len(left), arm, seed, time.monotonic() - started, failed))
    return failed


def _side_by_side(
    folder: Path, left: Sequence[tuple[Arm, int]], jobs: int, tell: Tell
) -> list[FailedTrial]:
    """Processes of their own; a signal to this one lets each save its last whole step."""
    failed: list[FailedTrial] = []
    running: list[_Child] = []
    waiting, number, started = list(left), 0, time.monotonic()
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    try:
        with interrupt.listen():
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(_start(folder, *waiting.pop(0), threads=threads))
                time.sleep(POLL_S)
                for child in [c for c in running if c.process.poll() is not None]:
                    running.remove(child)
                    number += 1
                    failed += _ended(folder, child)
                    seconds = time.monotonic() - started
                    tell(_line(number, len(left), child.arm, child.seed, seconds, failed))
    finally:
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGTERM)
        for child in running:
            child.process.wait()
            child.log.close()
    return failed


def _ended(folder: Path, child: _Child) -> list[FailedTrial]:
    """Close the log of a process that has ended; why it has no result, if it has none."""
    child.log.close()
    if result_path(folder, child.arm, child.seed).is_file():
        return []
    return [_failed(child.arm, child.seed, _last_line(child.log.name))]


def _start(folder: Path, arm: Arm, seed: int, *, threads: str) -> _Child:
    log = result_path(folder, arm, seed).with_suffix(".log").open("w")
    process = subprocess.Popen(  # noqa: S603  # this interpreter, our own module
        [sys.executable, "-m", "sayso.app.trial", str(folder), arm.key, str(seed)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={"OMP_NUM_THREADS": threads, **os.environ},
        process_group=0,  # Ctrl-C reaches this process alone, which passes one signal on
    )
    return _Child(arm, seed, process, log)


def _failed(arm: Arm, seed: int, reason: str) -> FailedTrial:
    return FailedTrial(arm=arm.name, env=arm.env, seed=seed, reason=reason)


def _last_line(path: str) -> str:
    lines = Path(path).read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'its process ended without a word'} (all of it: {path})"


def _line(
    number: int, total: int, arm: Arm, seed: int, seconds: float, failed: Sequence[FailedTrial]
) -> str:
    state = (
        "failed"
        if any((f.arm, f.env, f.seed) == (arm.name, arm.env, seed) for f in failed)
        else "done"
    )
    return f"{number}/{total}  {arm.name} on {arm.env}, seed {seed}: {state} after {seconds:.0f} s"
