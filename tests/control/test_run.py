"""Runs of agents: what lies in the directory, what a resume brings back, what is never executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from control_cases import letters_controller

from sayso.control.controller import Controller
from sayso.control.fitting import weights_digest
from sayso.control.learner import AgentTrainOptions, LearnerOptions
from sayso.errors import CheckpointError, OptionValueError
from sayso.runs import commit, interrupt
from sayso.runs.run import Run

pytest.importorskip("stable_baselines3")
from sayso.control.run import make_agent, train_agent
from sayso.control.store import restore

OPTIONS = AgentTrainOptions(
    total_steps=80, log_every=20, checkpoint_every=40, eval_episodes=8, eval_split="held_out"
)


def new_run(path: Path) -> Run:
    return Run.create(path, config={"control": {}}, meta={})


def moved() -> Controller:
    return letters_controller("steer", strength=2.0, num_dims=2, max_new_tokens=4)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["sac", "ppo"])
def test_a_run_holds_metrics_checkpoints_and_both_evaluations(kind: str, tmp_path: Path) -> None:
    run, controller = new_run(tmp_path / "run"), moved()
    learner = LearnerOptions(type=kind, num_envs=4)  # type: ignore[arg-type]
    before = weights_digest(controller.lm)
    result = train_agent(run, controller, learner, OPTIONS, seed=0)
    assert weights_digest(controller.lm) == before  # T-26
    assert result.num_steps >= 80
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines][:4] == [20, 40, 60, 80]
    assert lines[-1]["control/episodes"] == lines[-1]["step"]
    assert 0 <= lines[0]["control/return_mean"] <= 1
    assert any(key.startswith("train/") for key in lines[-1])
    assert commit.steps(run.checkpoints)[-1] == result.num_steps
    reports = sorted(path.name for path in run.eval.iterdir())
    assert reports == ["step-00000000.json", f"step-{result.num_steps:08d}.json"]
    assert result.before is not None
    assert json.loads((run.eval / reports[0]).read_text())["mean"]["mean"] == pytest.approx(
        result.before.mean.mean
    )


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["sac", "td3", "dqn", "ppo"])
def test_a_checkpoint_brings_back_weights_optimisers_replay_and_steps(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "run")
    controller = (
        letters_controller("candidates", num_candidates=2, max_new_tokens=4)
        if kind == "dqn"
        else moved()
    )
    settings = {"ent_coef": "auto"} if kind == "sac" else {}
    learner = LearnerOptions(type=kind, num_envs=4, settings=settings)  # type: ignore[arg-type]
    trained = train_agent(
        run, controller, learner, AgentTrainOptions(total_steps=80, eval_episodes=0), seed=0
    ).model
    fresh = make_agent(controller, learner, seed=99)
    assert not same(weights(fresh), weights(trained))
    found = commit.newest(run.checkpoints)
    assert found is not None

    def refuse(data: bytes) -> None:
        raise AssertionError("a pickle was run")

    monkeypatch.setattr("cloudpickle.loads", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    restore(fresh, found)
    assert same(weights(fresh), weights(trained))
    assert fresh.num_timesteps == trained.num_timesteps
    if kind == "sac":
        assert torch.equal(fresh.log_ent_coef, trained.log_ent_coef)
        assert not torch.equal(fresh.log_ent_coef, torch.zeros(1))
    if kind != "ppo":
        ours, theirs = fresh.replay_buffer, trained.replay_buffer
        assert (ours.pos, ours.full) == (theirs.pos, theirs.full) == (20, False)
        np.testing.assert_array_equal(ours.observations, theirs.observations)
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.dones, theirs.dones)
    if kind == "ppo":
        moments = fresh.policy.optimizer.state_dict()["state"]
        assert moments
        assert all(int(one["step"]) > 0 for one in moments.values())


@pytest.mark.medium
def test_a_resumed_run_goes_on_with_its_directions_and_its_log(tmp_path: Path) -> None:
    run, learner = new_run(tmp_path / "run"), LearnerOptions(num_envs=4)
    short = AgentTrainOptions(total_steps=40, log_every=20, eval_episodes=0)
    controller = moved()
    train_agent(run, controller, learner, short, seed=0)
    longer = AgentTrainOptions(total_steps=80, log_every=20, eval_episodes=0)
    result = train_agent(run, controller, learner, longer, seed=0)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60, 80]
    assert lines[-1]["control/episodes"] == result.num_episodes == 80
    found = commit.newest(run.checkpoints)
    assert found is not None
    from sayso.control.store import fitted_of

    np.testing.assert_array_equal(fitted_of(found)["directions"], controller.fitted["directions"])
    # Asked for what is done already, it learns nothing more.
    again = train_agent(run, controller, learner, longer, seed=0)
    assert again.num_steps == 80


@pytest.mark.medium
def test_a_signal_stops_between_steps_after_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    from sayso.control import run as module

    run, controller = new_run(tmp_path / "run"), moved()
    real = module._Watch.__call__

    def signalled(self: Any, *args: Any) -> bool:
        if self._model.num_timesteps == 48:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *args)

    monkeypatch.setattr(module._Watch, "__call__", signalled)
    with pytest.raises(interrupt.Interrupted):
        train_agent(run, controller, LearnerOptions(num_envs=4), OPTIONS, seed=0)
    assert commit.steps(run.checkpoints)[-1] == 48


def test_what_cannot_be_made_says_why() -> None:
    with pytest.raises(OptionValueError, match=r"learner\.settings"):
        make_agent(moved(), LearnerOptions(settings={"nonsense": 1}), seed=0)
    with pytest.raises(OptionValueError, match="takes the mode's actions"):
        make_agent(moved(), LearnerOptions(type="dqn"), seed=0)


def test_a_checkpoint_of_another_agent_is_refused(tmp_path: Path) -> None:
    from sayso.control.store import files_of

    model = make_agent(moved(), LearnerOptions(num_envs=2), seed=0)
    files = files_of(model, {}, {"num_steps": 0})
    found = commit.commit(tmp_path, 0, files)
    other = make_agent(moved(), LearnerOptions(type="td3", num_envs=2), seed=0)
    with pytest.raises(CheckpointError, match="does not fit this agent"):
        restore(other, found)
