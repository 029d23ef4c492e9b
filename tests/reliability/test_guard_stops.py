"""A run that a guard stops, or whose checkpoints are gone: what was done is kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from train_scenarios import SCENARIOS, run_training

from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import load_config
from sayso.app.opening import create_run
from sayso.envs.registry import source
from sayso.envs.tinylang import TinyLangEnv
from sayso.errors import CheckpointError, GuardError
from sayso.runs import failpoints
from sayso.runs.commit import steps
from sayso.runs.jsonl import read
from sayso.runs.ledger import read_episodes
from sayso.runs.run import Run
from sayso.training.callbacks import Callback
from sayso.training.logs import RunLogs, write_evaluation
from sayso.training.loop import Training, TrainResult, train
from sayso.types import EndReason


def test_fault_22_a_run_whose_checkpoints_are_gone_is_refused_and_its_logs_are_kept(
    tmp_path: Path,
) -> None:
    run_training(tmp_path / "run", "reinforce")
    shutil.rmtree(tmp_path / "run/checkpoints")
    files = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=r"6 steps are logged.*Put checkpoints/ back"):
        run_training(tmp_path / "run", "reinforce")
    assert {p: p.read_bytes() for p in files} == files


class Turning(TinyLangEnv):
    """Answers as TinyLang does until it is told otherwise."""

    mode = "sound"

    def step(self, action: str) -> Any:
        if Turning.mode == "raise":
            raise RuntimeError("the grader is down")
        observation, reward, *rest = super().step(action)
        return observation, None if Turning.mode == "ungraded" else reward, *rest


def job(path: Path, **train_options: Any) -> Training:
    table = json.loads(json.dumps(SCENARIOS["reinforce"]))
    table["train"] = {"total_episodes": 96, "checkpoint_every": 100} | train_options
    config = load_config(table, source="test")
    run = Run.open(path) if path.exists() else create_run(config, path)
    learner = build_learner(config, build_lm(config))
    return assemble(config, run, learner=learner, env=source(Turning))


def turn_after(step: int, mode: str) -> Any:
    """The environment changes its mind after this step."""

    class Turn(Callback):
        def on_step(self, context: Any, report: Any) -> None:
            if report.step == step:
                Turning.mode = mode

    return Turn()


def stopped(path: Path, mode: str) -> str:
    Turning.mode = "sound"
    with pytest.raises(GuardError) as raised:
        train(dataclasses.replace(job(path), callbacks=[turn_after(6, mode)]))
    Turning.mode = "sound"
    return str(raised.value)


def test_fault_08_at_the_budget_the_last_whole_step_is_saved_with_the_evidence(
    tmp_path: Path,
) -> None:
    said = stopped(tmp_path / "run", "raise")
    assert "the commonest cause is env_raised" in said
    num_steps = len(list(read(tmp_path / "run/metrics.jsonl")))
    assert steps(tmp_path / "run/checkpoints")[-1] == num_steps
    result = train(job(tmp_path / "run"))
    assert isinstance(result, TrainResult)
    assert result.stopped_by == "done"
    assert result.progress.num_invalid["env_raised"] > 0
    failed = [
        e
        for _, e in read_episodes(tmp_path / "run/episodes/episodes.jsonl")
        if e.end is EndReason.FAILED
    ]
    assert len(failed) == result.progress.num_invalid["env_raised"]
    assert all("the grader is down" in e.failure.message for e in failed if e.failure)


def test_a_reward_that_never_grades_stops_the_run_and_it_can_go_on(tmp_path: Path) -> None:
    said = stopped(tmp_path / "run", "ungraded")
    assert "step 11: 5 steps in a row without a single graded episode" in said
    assert "a function without `return` returns None" in said
    assert steps(tmp_path / "run/checkpoints")[-1] == 11
    assert train(job(tmp_path / "run")).stopped_by == "done"


def test_fault_20_a_report_that_cannot_be_written_costs_the_report_and_not_the_run(
    tmp_path: Path,
) -> None:
    failpoints.arm("train.eval:2:enospc")
    try:
        result = run_training(tmp_path / "run", "reinforce")
    finally:
        failpoints.disarm()
    assert result.stopped_by == "done"
    reports = sorted(p.name for p in (tmp_path / "run/eval").iterdir())
    assert reports == ["step-00000000.json", "step-00000006.json"]
    (note,) = (tmp_path / "run/notes.jsonl").read_text().splitlines()
    assert "step 3: the evaluation could not be written" in note


def test_a_folder_of_reports_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    config = load_config(SCENARIOS["reinforce"], source="test")
    run = create_run(config, tmp_path / "run")
    run.eval.rmdir()
    write_evaluation(run, 12, {"mean": 1.0})
    assert json.loads((tmp_path / "run/eval/step-00000012.json").read_text())["step"] == 12


def test_notes_and_bad_batches_are_no_reason_to_end(tmp_path: Path) -> None:
    config = load_config(SCENARIOS["reinforce"], source="test")
    logs = RunLogs(create_run(config, tmp_path / "run"), {})
    (tmp_path / "run/bad").write_text("in the way")
    (tmp_path / "run/notes.jsonl").mkdir()
    logs.save_bad_batch(3, [], "a reason")
    logs.note("a sentence")
    logs.close()
