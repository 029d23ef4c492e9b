"""Budgets: what is counted by hand, where a run stops, what is measured and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import load_config
from sayso.app.opening import create_run
from sayso.errors import ConfigError
from sayso.runs.jsonl import read
from sayso.runs.ledger import read_episodes
from sayso.runs.run import Run
from sayso.training.budget import AXES, Budget
from sayso.training.callbacks import Callback
from sayso.training.loop import train
from sayso.training.spending import UnderBudget, spent


def config(**algorithm: Any) -> Any:
    """Eight games of TinyLang a step."""
    table = {
        "env": {"id": "sayso/TinyLang-v0"},
        "model": {"name": "tiny", "tiny": {"tokens": "ab", "width": 16, "layers": 1}},
        "sampling": {"max_new_tokens": 3},
        "algorithm": {"type": "rloo", "tasks_per_step": 1, "group_size": 8, **algorithm},
        "train": {"total_episodes": 80},
    }
    return load_config(table, source="test")


def run_of(path: Path, *callbacks: Callback, **algorithm: Any) -> tuple[Run, Any]:
    """A run under callbacks: its directory, and how it ended."""
    chosen = config(**algorithm)
    run = create_run(chosen, path)
    learner = build_learner(chosen, build_lm(chosen))
    return run, train(assemble(chosen, run, learner=learner, callbacks=callbacks))


class Points:
    """Keeps what is measured."""

    def __init__(self) -> None:
        self.found: list[tuple[int, dict[Any, float]]] = []

    def __call__(self, step: int, used: dict[Any, float]) -> None:
        self.found.append((step, used))


def test_counters_are_what_the_ledger_says(tmp_path: Path) -> None:
    run, result = run_of(tmp_path / "run")
    episodes = [e for _, e in read_episodes(run.episodes)]
    found = spent(result.progress, run)
    assert found["episodes"] == len(episodes) == 80
    assert found["env_tokens"] == sum(len(e.ids()) for e in episodes)
    assert found["reward_queries"] == 80
    lines = list(read(run.metrics))
    assert found["wall_clock"] == pytest.approx(
        sum(m["time/rollout_s"] + m["time/update_s"] for m in lines)
    )
    last = lines[-1]
    for axis in ("env_tokens", "learner_tokens", "reward_queries"):
        assert last[f"progress/{axis}"] == found[axis]


def test_a_pass_with_its_gradient_reads_three_times_and_two_passes_twice_that(
    tmp_path: Path,
) -> None:
    """All eight share the prompt, one token; nobody's advantage is 0 where all is trained on."""
    once, twice = (
        run_of(tmp_path / f"{n}", type="reinforce_pp", epochs=n)[1].progress for n in (1, 2)
    )
    assert once.num_learner_tokens > 0
    assert once.num_learner_tokens % 3 == 0
    assert twice.num_learner_tokens > 1.5 * once.num_learner_tokens


@pytest.mark.parametrize("axis", AXES)
def test_a_run_stops_at_the_first_step_past_its_budget(axis: Any, tmp_path: Path) -> None:
    whole, result = run_of(tmp_path / "whole")
    total = spent(result.progress, whole)[axis]
    amount = {"wall_clock": 1e-9}.get(axis, 0.35 * total)
    points = Points()
    budget = Budget(axis=axis, amount=amount)
    run, found = run_of(tmp_path / "cut", UnderBudget(budget, points, at=budget.parts(4)))
    used = spent(found.progress, run)
    assert found.stopped_by == "callback"
    assert used[axis] >= amount
    lines = [line["step"] for line in read(run.metrics)]
    assert lines == list(range(1, found.progress.step + 1))
    assert points.found[0] == (0, dict.fromkeys(AXES, 0.0))
    assert points.found[-1][0] == found.progress.step
    assert points.found[-1][1][axis] == pytest.approx(used[axis])
    if axis != "wall_clock":
        before = [used[axis] for step, used in points.found[:-1]]
        assert all(x < amount for x in before), "the step before was still within it"
        assert 4 <= len(points.found) <= 5, "a start and at most four parts"


def test_a_run_that_goes_on_measures_only_what_is_left(tmp_path: Path) -> None:
    budget = Budget(axis="episodes", amount=64)
    first, second = Points(), Points()

    class Cut(Callback):
        def on_step(self, context: Any, report: Any) -> bool:
            return report.step < 3

    run, _ = run_of(tmp_path / "run", UnderBudget(budget, first, at=budget.parts(4)), Cut())
    assert [step for step, _ in first.found] == [0, 2]
    chosen = config()
    learner = build_learner(chosen, build_lm(chosen))
    again = UnderBudget(budget, second, at=budget.parts(4))
    result = train(assemble(chosen, run, learner=learner, callbacks=[again]))
    assert [step for step, _ in second.found] == [4, 6, 8]
    assert result.progress.num_episodes == 64


@pytest.mark.parametrize(
    ("text", "axis", "amount"),
    [("env_tokens=2e5", "env_tokens", 2e5), ("episodes=1_000", "episodes", 1000.0)],
)
def test_budgets_as_they_are_typed(text: str, axis: str, amount: float) -> None:
    found = Budget.parse(text)
    assert (found.axis, found.amount) == (axis, amount)


@pytest.mark.parametrize("text", ["tokens=5", "env_tokens", "env_tokens=", "episodes=-1", "=3"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="Write AXIS=NUMBER"):
        Budget.parse(text)
