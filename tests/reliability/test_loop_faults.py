"""What the loop does when numbers, disks, checkpoints or users misbehave."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from kill_harness import run_forked
from train_scenarios import SCENARIOS, TINYLANG, run_training

from sayso.algorithms.optim import Optimiser
from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import load_config
from sayso.app.opening import create_run
from sayso.envs.registry import source
from sayso.envs.tinylang import TinyLangEnv
from sayso.errors import CheckpointError, GuardError, RunError
from sayso.runs import failpoints
from sayso.runs.digest import digest_run
from sayso.runs.jsonl import read
from sayso.runs.run import Run
from sayso.training.callbacks import Callback
from sayso.training.loop import Training, train


def training(path: Path, **sections: Any) -> Training:
    """A run of the small GRPO scenario with some options changed."""
    table = json.loads(json.dumps(SCENARIOS["grpo"]))
    for section, options in sections.items():
        table.setdefault(section, {}).update(options)
    config = load_config(table, source="test")
    learner = build_learner(config, build_lm(config))
    return assemble(config, create_run(config, path), learner=learner)


def changed(job: Training, **fields: Any) -> Training:
    """The same run with other parts."""
    return dataclasses.replace(job, **fields)


def lines(path: Path) -> list[dict[str, Any]]:
    return list(read(path / "metrics.jsonl"))


def spoil_gradients(monkeypatch: pytest.MonkeyPatch, when: Any) -> None:
    """Put a NaN into one gradient at the steps that ``when`` picks."""
    step, calls = Optimiser.step, [0]

    def spoiled(self: Optimiser) -> Any:
        calls[0] += 1
        if when(calls[0]):
            next(p for p in self.parameters.values() if p.grad is not None).grad.view(-1)[0] = (
                math.nan
            )
        return step(self)

    monkeypatch.setattr(Optimiser, "step", spoiled)


def test_fault_15_a_refused_step_changes_no_bit_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_gradients(monkeypatch, lambda call: call == 3)
    job = training(tmp_path / "run", algorithm={"epochs": 1, "minibatches": 1})
    seen: list[dict[str, torch.Tensor]] = []

    class Keep(Callback):
        def on_rollout_end(self, context: Any, episodes: Any) -> None:
            state = context.learner.state().tensors
            seen.append({n: t.clone() for n, t in state.items()})

    result = train(changed(job, callbacks=[Keep()]))
    assert all(torch.equal(seen[2][n], t) for n, t in seen[3].items())
    assert any(not torch.equal(seen[3][n], t) for n, t in seen[4].items())
    assert [line["update/skipped"] for line in lines(tmp_path / "run")] == [0, 0, 1, 0, 0, 0]
    saved = json.loads((tmp_path / "run/bad/step-00000003.json").read_text())
    assert "is not finite" in saved["reason"]
    assert len(saved["episodes"]) == 8
    assert result.stopped_by == "done"
    assert any("refused" in kind for kind in result.progress.warnings)


@pytest.mark.parametrize(
    ("when", "step", "says"),
    [
        (lambda call: call >= 3, 5, "3 in a row"),
        (lambda call: call % 2 == 0, 10, "5 of the last 10"),
    ],
)
def test_fault_15_three_in_a_row_or_five_in_a_hundred_stop_the_run(
    when: Any, step: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_gradients(monkeypatch, when)
    job = training(
        tmp_path / "run",
        algorithm={"epochs": 1, "minibatches": 1},
        train={"total_episodes": 160, "eval_every": 0},
    )
    with pytest.raises(GuardError, match=says):
        train(job)
    assert len(lines(tmp_path / "run")) == step
    for name, tensor in job.learner.state().tensors.items():
        assert bool(torch.isfinite(tensor.double()).all()), name
    assert (tmp_path / "run/checkpoints").exists()


def test_a_reward_that_always_fails_stops_the_run_with_its_cause(tmp_path: Path) -> None:
    job = training(tmp_path / "run")

    def fail(self: Any, action: str) -> Any:
        raise RuntimeError("the grader is down")

    broken = changed(job, source=source(type("Broken", (TinyLangEnv,), {"step": fail})))
    before = {n: t.clone() for n, t in job.learner.state().tensors.items()}
    with pytest.raises(GuardError, match="commonest cause is env_raised"):
        train(broken)
    assert all(torch.equal(before[n], t) for n, t in job.learner.state().tensors.items())
    logged = (tmp_path / "run/episodes/episodes.jsonl").read_text()
    assert "the grader is down" in logged


def test_fault_20_checkpoints_that_fail_are_retried_and_the_third_failure_stops(
    tmp_path: Path,
) -> None:
    once = run_forked(
        lambda: run_training(tmp_path / "once", "grpo"), spec="checkpoint.tmpdir_made:2:enospc"
    )
    assert once.exit_code == 0, once.error
    clean = run_forked(lambda: run_training(tmp_path / "clean", "grpo"))
    assert clean.exit_code == 0, clean.error
    assert digest_run(tmp_path / "once") == digest_run(tmp_path / "clean")
    assert "no checkpoint could be written" in (tmp_path / "once/notes.jsonl").read_text()
    always = run_forked(
        lambda: run_training(tmp_path / "always", "grpo"), spec="checkpoint.tmpdir_made:2+:enospc"
    )
    assert always.exit_code == 1
    assert "GRD-001" in always.error
    assert "3 checkpoints in a row" in always.error
    assert len(list((tmp_path / "always/checkpoints").glob("step-*"))) == 1


@pytest.mark.medium
def test_fault_22_a_damaged_checkpoint_is_passed_over_and_the_run_ends_the_same(
    tmp_path: Path,
) -> None:
    clean = run_forked(lambda: run_training(tmp_path / "clean", "ppo"))
    assert clean.exit_code == 0, clean.error
    cut = run_forked(
        lambda: run_training(tmp_path / "cut", "ppo"), spec="train.rollout_done:6:kill"
    )
    assert cut.is_killed
    newest = max((tmp_path / "cut/checkpoints").glob("step-*"))
    tensors = newest / "learner.safetensors"
    damaged = bytearray(tensors.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    tensors.write_bytes(bytes(damaged))
    resumed = run_forked(lambda: run_training(tmp_path / "cut", "ppo"))
    assert resumed.exit_code == 0, resumed.error
    notes = (tmp_path / "cut/notes.jsonl").read_text()
    assert newest.name in notes
    assert "learner.safetensors" in notes
    assert digest_run(tmp_path / "cut") == digest_run(tmp_path / "clean")


def test_fault_22_when_no_checkpoint_verifies_nothing_is_trained(tmp_path: Path) -> None:
    assert run_forked(lambda: run_training(tmp_path / "run", "reinforce")).exit_code == 0
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    for tensors in (tmp_path / "run/checkpoints").glob("*/learner.safetensors"):
        tensors.write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"learner\.safetensors"):
        run_training(tmp_path / "run", "reinforce")
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


def test_fault_23_a_run_that_is_being_trained_cannot_be_trained_twice(tmp_path: Path) -> None:
    assert run_forked(lambda: run_training(tmp_path / "run", "reinforce")).exit_code == 0
    with Run.open(tmp_path / "run").lock():
        second = run_forked(lambda: run_training(tmp_path / "run", "reinforce"))
    assert second.exit_code == 1
    assert "RUN-001" in second.error
    with pytest.raises(RunError, match="already"):
        create_run(load_config(SCENARIOS["grpo"], source="x"), tmp_path / "run")


def test_row_32_evaluating_changes_nothing_and_leaves_no_trace_in_the_ledger(
    tmp_path: Path,
) -> None:
    with_evals = training(tmp_path / "with", train={"eval_every": 1})
    without = training(tmp_path / "without", train={"eval_every": 0})
    train(with_evals)
    train(without)
    ours, theirs = with_evals.learner.state().tensors, without.learner.state().tensors
    assert all(torch.equal(ours[n], t) for n, t in theirs.items())
    ledgers = [
        (tmp_path / name / "episodes/episodes.jsonl").read_bytes() for name in ("with", "without")
    ]
    assert ledgers[0] == ledgers[1]
    assert b'"eval"' not in ledgers[0]


def test_row_37_a_run_whose_actions_are_all_cut_says_so_and_what_to_do(tmp_path: Path) -> None:
    job = training(tmp_path / "run", sampling={"max_new_tokens": 2})
    said: list[str] = []

    class Listen(Callback):
        def on_step(self, context: Any, report: Any) -> None:
            said.extend(report.warnings)

    job.learner.lm.causal_lm.get_output_embeddings().weight.data[2] -= 50  # never the end token
    train(changed(job, callbacks=[Listen()]))
    (warning,) = [s for s in said if "cut off at 2 tokens" in s]
    assert "100%" in warning
    assert "sampling.max_new_tokens" in warning


def test_early_stopping_goes_back_to_the_best_checkpoint_which_is_never_pruned(
    tmp_path: Path,
) -> None:
    job = training(
        tmp_path / "run",
        optim={"lr": 0.5},
        train={"total_episodes": 800, "eval_every": 1, "patience": 4, "checkpoint_every": 1},
    )
    result = train(job)
    assert result.stopped_by == "patience"
    best = result.progress.best_step
    assert result.progress.step == best + 4
    assert (tmp_path / f"run/checkpoints/step-{best:08d}").is_dir()
    assert job.learner.state().values["num_steps"] <= best * 4


def test_dynamic_sampling_replaces_tied_groups_and_counts_what_it_used(tmp_path: Path) -> None:
    """Every reward is 0.5: two fresh rounds are tried a step, then nothing is trained on."""
    job = training(
        tmp_path / "run",
        algorithm={"variant": "dapo", "resample_rounds": 2},
        train={"eval_every": 0},
    )
    flat = type("Flat", (TinyLangEnv,), {"step": lambda *_: ("", 0.5, True, False, {})})
    train(changed(job, source=source(flat), callbacks=[_StopAfter(2)]))
    steps = lines(tmp_path / "run")
    assert [s["update/steps"] for s in steps] == [0, 0]
    assert [s["progress/episodes"] for s in steps] == [0, 0]
    assert len((tmp_path / "run/episodes/episodes.jsonl").read_text().splitlines()) == 2 * 3 * 8


def test_a_run_in_which_every_group_ties_ends_and_says_why(tmp_path: Path) -> None:
    job = training(
        tmp_path / "run",
        algorithm={"variant": "dapo", "resample_rounds": 1},
        train={"eval_every": 0},
    )
    flat = type("Flat", (TinyLangEnv,), {"step": lambda *_: ("", 0.5, True, False, {})})
    with pytest.raises(GuardError, match=r"10 steps in a row had nothing.*resample_rounds = 0"):
        train(changed(job, source=source(flat)))
    assert len(lines(tmp_path / "run")) == 10


def test_resampling_never_takes_a_task_twice_in_a_step(tmp_path: Path) -> None:
    """One of three tasks ties for ever; the two others are kept and must not come again."""
    job = training(
        tmp_path / "run",
        algorithm={"variant": "dapo", "resample_rounds": 3, "tasks_per_step": 3},
        train={"eval_every": 0, "total_episodes": 64},
    )
    seen: list[list[str]] = []

    class Look(Callback):
        def on_rollout_end(self, context: Any, episodes: Any) -> None:
            seen.append([e.task.id for e in episodes])

    train(changed(job, source=source(Ties), callbacks=[Look(), _StopAfter(2)]))
    for step in seen:
        assert step.count("t-1") == 8
        assert step.count("t-2") == 8
        assert step.count("t-0") == 4 * 8


class Ties(TinyLangEnv):
    """Three tasks; the first one's rewards are all equal, the others' alternate."""

    num_plays = 0

    def tasks(self, split: str) -> Any:
        return [dataclasses.replace(t, id=f"t-{n}") for t in super().tasks(split) for n in range(3)]

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.ties = options["task"] == "t-0"
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> Any:
        Ties.num_plays += 1
        return "", 0.5 if self.ties else float(Ties.num_plays % 2), True, False, {}


def test_a_split_with_fewer_tasks_than_a_step_asks_for_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = training(tmp_path / "run", algorithm={"tasks_per_step": 5}, train={"total_episodes": 8})
    train(job)
    assert "fewer than tasks_per_step = 5" in caplog.text


@pytest.mark.parametrize("algorithm", ["reinforce", "reinforce_pp", "ppo", "grpo"])
def test_rewards_that_are_all_equal_are_told_once_whatever_the_algorithm(
    tmp_path: Path, algorithm: str
) -> None:
    config = json.loads(json.dumps(SCENARIOS["grpo"]))
    config["algorithm"] = {"type": algorithm, "tasks_per_step": 1, "group_size": 8}
    config["train"] |= {"total_episodes": 24, "eval_every": 0}
    loaded = load_config(config, source="test")
    learner = build_learner(loaded, build_lm(loaded))
    job = assemble(loaded, create_run(loaded, tmp_path / "run"), learner=learner)
    flat = type("Flat", (TinyLangEnv,), {"step": lambda *_: ("", 0.5, True, False, {})})
    said: list[str] = []

    class Hear(Callback):
        def on_step(self, context: Any, report: Any) -> None:
            said.extend(report.warnings)

    train(changed(job, source=source(flat), callbacks=[Hear()]))
    assert sum("All rewards" in sentence for sentence in said) == 1


def test_a_callback_that_cannot_start_leaves_no_other_one_open(tmp_path: Path) -> None:
    ended = []

    class Opened(Callback):
        def on_training_end(self, context: Any) -> None:
            ended.append("opened")

    class Broken(Callback):
        def on_training_start(self, context: Any) -> None:
            raise RuntimeError("no display")

        def on_training_end(self, context: Any) -> None:
            ended.append("broken")

    job = training(tmp_path / "run")
    with pytest.raises(RuntimeError, match="no display"):
        train(changed(job, callbacks=[Opened(), Broken()]))
    assert ended == ["opened"]


class _StopAfter(Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self, context: Any, report: Any) -> bool:
        return report.step < self.steps


def test_failpoints_used_here_exist() -> None:
    names = {point.value for point in failpoints.Failpoint}
    assert {"checkpoint.tmpdir_made", "train.rollout_done"} <= names
    assert TINYLANG["train"]["checkpoint_every"] == 2
