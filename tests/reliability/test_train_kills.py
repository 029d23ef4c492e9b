"""SIGKILL at random moments and at every failpoint: the resumed run is the unbroken one.

The unbroken run's digest covers weights, optimiser, cursors, metrics without clocks, episodes and
evaluations. A control without the optimiser's moments must fail, or the test could not tell.
"""

from __future__ import annotations

import os
import random
import signal
import time
from functools import lru_cache
from pathlib import Path

import pytest
from kill_harness import (
    STORE_POINTS,
    TRAINER_POINTS,
    Outcome,
    first_and_last,
    kill_at,
    run_forked,
    start_forked,
)
from train_scenarios import SCENARIOS, STORED, run_training

from sayso.algorithms.optim import Optimiser
from sayso.runs.digest import digest_run
from sayso.runs.failpoints import Failpoint
from sayso.runs.jsonl import EPISODES_POINTS

POINTS = [
    point
    for point in (*STORE_POINTS, *TRAINER_POINTS)
    if point not in (Failpoint.EXPORT, Failpoint.CHECKPOINT_REPLACED_MOVED)
]
"""Those that a training run passes. EXPORT is killed in tests/system; a checkpoint is replaced only
when a run is interrupted, which ``test_store_kills`` covers."""


LATER = ("filtered_bc", "token_dqn", "warm")
"""Killed at random by `make test`, and at every failpoint by `make test-slow`: their parts are also
those of other scenarios."""


@lru_cache(maxsize=8)
def unbroken(scenario: str, base: Path) -> tuple[dict[str, str], Outcome, float]:
    """Digest, failpoint counts and seconds of a run that nobody disturbed."""
    path = base / f"unbroken-{scenario}"
    start = time.monotonic()
    outcome = run_forked(lambda: run_training(path, scenario))
    assert outcome.exit_code == 0, outcome.error
    return digest_run(path), outcome, time.monotonic() - start


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unbroken")


def finish(path: Path, scenario: str) -> dict[str, str]:
    outcome = run_forked(lambda: run_training(path, scenario))
    assert outcome.exit_code == 0, outcome.error
    return digest_run(path)


def kill_at_random(path: Path, scenario: str, rng: random.Random, seconds: float) -> bool:
    """Start or resume, kill after a random time; True if the run was still going."""
    child = start_forked(lambda: run_training(path, scenario))
    time.sleep(rng.uniform(0.0, seconds))
    os.kill(child.pid, signal.SIGKILL)
    return child.wait().is_killed


QUICK = ("reinforce", "candidate_dqn")
"""What remembers nothing, and what remembers most; the others are in `make test`."""


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(s, marks=() if s in QUICK else pytest.mark.medium) for s in SCENARIOS],
)
def test_two_unbroken_runs_have_the_same_digest(scenario: str, base: Path, tmp_path: Path) -> None:
    expected, _, _ = unbroken(scenario, base)
    assert finish(tmp_path / "again", scenario) == expected


def test_another_seed_has_another_digest(base: Path, tmp_path: Path) -> None:
    expected, _, _ = unbroken("reinforce", base)
    outcome = run_forked(lambda: run_training(tmp_path / "run", "reinforce", seed=1))
    assert outcome.exit_code == 0, outcome.error
    assert digest_run(tmp_path / "run")["weights"] != expected["weights"]


@pytest.mark.parametrize(
    ("scenario", "num_kills"),
    [pytest.param(s, 20, marks=pytest.mark.medium) for s in QUICK]
    + [pytest.param(s, 5, marks=pytest.mark.medium) for s in SCENARIOS if s not in QUICK]
    + [pytest.param(s, 20, marks=pytest.mark.slow) for s in SCENARIOS if s not in QUICK],
)
def test_row_31_random_kills_change_no_bit(
    scenario: str, num_kills: int, base: Path, tmp_path: Path
) -> None:
    """Twenty kills per algorithm."""
    kill_at_random_times(num_kills, scenario, base, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["token_dqn", "candidate_dqn"])
def test_sixty_kills_with_memory_targets_and_epsilon(
    scenario: str, base: Path, tmp_path: Path
) -> None:
    """Other moments than those of row 31."""
    kill_at_random_times(60, scenario, base, tmp_path, series="sixty")


def kill_at_random_times(
    num_wanted: int, scenario: str, base: Path, tmp_path: Path, *, series: str = ""
) -> None:
    """Kill runs, three times in a row where one lives that long; each ends as the unbroken one."""
    expected, _, seconds = unbroken(scenario, base)
    rng = random.Random(f"kills of {scenario} {series}".strip())
    num_kills, attempt = 0, 0
    while num_kills < num_wanted:
        attempt += 1
        path = tmp_path / f"run-{attempt}"
        num_kills += sum(kill_at_random(path, scenario, rng, seconds) for _ in range(3))
        assert finish(path, scenario) == expected, f"attempt {attempt}"
        assert attempt < 3 * num_wanted, f"only {num_kills} kills landed"


@pytest.mark.medium
@pytest.mark.parametrize(
    ("scenario", "point"),
    [
        pytest.param(
            scenario,
            point,
            id=f"{scenario}-{point.value}",
            marks=pytest.mark.slow if scenario in LATER else (),
        )
        for scenario in SCENARIOS
        for point in POINTS
        if not (scenario in STORED and point in EPISODES_POINTS)
    ],
)
def test_a_kill_at_each_failpoint_changes_no_bit(
    scenario: str, point: Failpoint, base: Path, tmp_path: Path
) -> None:
    expected, counted, _ = unbroken(scenario, base)
    for hit in first_and_last(point, counted):
        path = tmp_path / f"hit-{hit}"
        assert kill_at(point, hit, lambda path=path: run_training(path, scenario)).is_killed
        assert finish(path, scenario) == expected, f"{point.value}, hit {hit}"


@pytest.mark.medium
def test_the_control_without_optimiser_moments_fails(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _, _ = unbroken("grpo", base)
    assert kill_at(Failpoint.BACKWARD, 20, lambda: run_training(tmp_path / "run", "grpo")).is_killed
    load = Optimiser.load_tensors
    monkeypatch.setattr(
        Optimiser, "load_tensors", lambda self, _, num_steps: load(self, {}, num_steps=num_steps)
    )
    assert finish(tmp_path / "run", "grpo")["weights"] != expected["weights"]
