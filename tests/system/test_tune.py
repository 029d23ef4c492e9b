"""``sayso tune``: trials under one budget, a study that goes on, a winner that is a recipe."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sayso.app.space import Range, Space
from sayso.app.tune import FIRST_SEED, Tuned, TuneOptions, tune
from sayso.cli import recipes
from sayso.cli.compare import parse_arm
from sayso.errors import ExtraMissingError, GuardError, RunError
from sayso.runs.jsonl import read

pytest.importorskip("optuna", reason="the extra tune is not installed")
pytestmark = pytest.mark.medium
SMALL = ["model.tiny.width=16", "model.tiny.layers=1", "algorithm.group_size=8"]
SPACE: Space = {"optim.lr": Range(low=1e-4, high=1e-1, log=True), "algorithm.group_size": (8, 16)}


def tuned(folder: Path, **changes: Any) -> Tuned:
    options = {"trials": 2, "seeds": 1, "budget": "episodes=32", "episodes": 8, "out": folder}
    chosen = TuneOptions(**{**options, **changes})
    return tune(recipes.config("tinylang", SMALL), SPACE, chosen, recipe="tinylang", tell=print)


def test_the_recipe_is_tried_first_and_every_trial_has_the_same_budget(tmp_path: Path) -> None:
    found = tuned(tmp_path / "s", trials=3)
    assert found.trials[0].values == {"optim.lr": 3e-3, "algorithm.group_size": 8}
    assert found.trials[1].values != found.trials[2].values
    for number in range(3):
        (log,) = (tmp_path / "s").glob(f"trial-{number:04d}/*/seed-{FIRST_SEED}/metrics.jsonl")
        assert [line["progress/episodes"] for line in read(log)][-1] == 32
    assert found.best.mean == max(t.mean for t in found.trials)
    arm = parse_arm(f"{found.recipe},name=tuned")
    assert arm.resolved().optim.lr == found.best.values["optim.lr"]
    assert arm.resolved().model == recipes.config("tinylang", SMALL).model


def test_a_study_goes_on_as_if_it_had_not_stopped(tmp_path: Path, monkeypatch: Any) -> None:
    whole = tuned(tmp_path / "whole", trials=3)
    import sayso.app.trial as module

    plain, calls = module.run_trial, []

    def cut(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(module, "run_trial", cut)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "cut", trials=2)
    monkeypatch.setattr(module, "run_trial", plain)
    again = tuned(tmp_path / "cut", trials=3)
    assert [t.to_json() for t in again.trials] == [t.to_json() for t in whole.trials]
    assert tuned(tmp_path / "cut", trials=3).best == again.best, "nothing is left to try"
    with pytest.raises(RunError, match="holds a study of other options"):
        tuned(tmp_path / "cut", budget="episodes=64")


def test_options_that_cannot_train_are_a_result_and_no_end(
    tmp_path: Path, monkeypatch: Any
) -> None:
    import sayso.app.trial as module

    plain = module.run_trial

    def fails_at_first(folder: Path, *rest: Any) -> Any:
        if folder.name == "trial-0000":
            raise GuardError(where="step 3", problem="not finite.", fix="Lower lr.")
        return plain(folder, *rest)

    monkeypatch.setattr(module, "run_trial", fails_at_first)
    found = tuned(tmp_path / "s")
    assert math.isnan(found.trials[0].mean)
    assert "not finite" in found.trials[0].reason
    assert found.best.number == 1
    assert json.dumps([t.to_json() for t in found.trials], allow_nan=False)

    def fails(*_: Any) -> Any:
        raise GuardError(where="step 3", problem="not finite.", fix="Lower lr.")

    monkeypatch.setattr(module, "run_trial", fails)
    with pytest.raises(GuardError, match="every trial failed"):
        tuned(tmp_path / "other", trials=1)


def test_what_is_not_the_options_doing_is_no_result_of_theirs(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """The same command given twice: the second stops, and the trial is tried when it goes on."""
    import sayso.app.trial as module

    plain = module.run_trial

    def in_use(*_: Any) -> Any:
        raise RunError(where="seed-1000", problem="is used by process 12.", fix="Wait.")

    monkeypatch.setattr(module, "run_trial", in_use)
    with pytest.raises(RunError, match="process 12"):
        tuned(tmp_path / "s", trials=1)
    monkeypatch.setattr(module, "run_trial", plain)
    (tried,) = tuned(tmp_path / "s", trials=1).trials
    assert (tried.number, tried.reason) == (0, "")
    assert tried.values == {"optim.lr": 3e-3, "algorithm.group_size": 8}


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ExtraMissingError, match=r"pip install 'sayso\[tune\]'"):
        tuned(tmp_path / "s")
