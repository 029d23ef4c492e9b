"""``sayso train control-sac`` and what follows it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sayso.cli import recipes
from sayso.cli.main import app, call
from sayso.errors import ConfigError

pytest.importorskip("stable_baselines3")
NAMES = [name for name in recipes.names() if name.startswith("control-")]
SMALL = [
    "model.name=tiny", "control.max_new_tokens=4", "control.num_components=4",
    "control.num_states=16", "control.num_probes=16", "learner.num_envs=4",
    "train.total_steps=72", "train.log_every=24", "train.eval_episodes=4",
]  # fmt: skip


def say(*words: str) -> int:
    return call(partial(app, list(words)))


def settings(*more: str) -> list[str]:
    return [word for setting in (*SMALL, *more) for word in ("--set", setting)]


def test_the_recipes_of_the_issue_are_there_and_sound() -> None:
    from sayso.app.control import control_config

    assert NAMES == ["control-ddpg", "control-dqn", "control-ppo", "control-sac", "control-td3"]
    for name in NAMES:
        table, told = recipes.read(name)
        config = control_config(table, source=told)
        assert config.name == name
        assert f"control-{config.learner.type}" == name


def test_every_problem_of_a_recipe_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "control-sac", "--set", "control.mode=stear", "--set", "learner.num_envs=0",
             "--set", "train.total_episodes=4"]  # fmt: skip
    assert say(*words) == 2
    told = capsys.readouterr().err
    assert "3 problems" in told
    assert "'stear'" in told
    assert "num_envs must be at least 1" in told


def test_other_commands_say_what_a_control_recipe_is_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError, match="is for `sayso train control-sac`"):
        recipes.config("control-sac", ())
    assert say("list", "recipes") == 0
    assert "sac steers a frozen smollm2 on sayso/Writing-v0, mode steer" in capsys.readouterr().out


def test_a_changed_mode_drops_what_the_recipe_had_for_its_own() -> None:
    acts = recipes.control_config("control-dqn", ["env.id=sayso/Maze-v0", "control.mode=acts"])
    assert (acts.control.num_candidates, acts.control.observation) == (8, "pca")
    seen = recipes.control_config("control-sac", ["control.observation=hidden"])
    assert seen.control.num_components == 64
    with pytest.raises(ConfigError, match="num_components has no effect"):  # what is typed counts
        recipes.control_config(
            "control-sac", ["control.observation=hidden", "control.num_components=3"]
        )


@pytest.mark.medium
def test_the_doctor_tries_all_of_a_control_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert say("doctor", "control-sac", *settings()) == 0
    told = capsys.readouterr().out
    for line in ("options: sac, mode steer, valid", "learner: SAC", "environment: sayso/Writing-v0",
                 "model: tiny", "control: observations of 4 numbers",
                 "first steps: 4 answers"):  # fmt: skip
        assert f"ok    {line}" in told
    assert "stable-baselines3" in told
    assert "optuna" in told
    assert say("doctor", "control-sac", *settings("train.eval_split=nowhere")) == 2
    assert "FAIL  environment: " in (told := capsys.readouterr().out)
    assert "no tasks. Splits with tasks: train (4000)" in told
    assert say("doctor", "control-dqn", *settings("control.mode=acts")) == 2
    assert "FAIL  control:" in (told := capsys.readouterr().out)
    assert "lists no actions" in told


@pytest.mark.medium
def test_the_documented_command_for_acts_runs_with_a_random_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer components than the recipe asks for, and talks longer than the context."""
    monkeypatch.chdir(tmp_path)
    words = ["env.id=sayso/Maze-v0", "control.mode=acts", "learner.type=maskable_ppo",
             "model.name=tiny", "train.total_steps=64", "train.eval_episodes=4",
             "learner.num_envs=4"]  # fmt: skip
    assert say("train", "control-sac", *(w for s in words for w in ("--set", s)), "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["after"]["n"] == 4
    (report,) = (tmp_path / "runs/control-sac-1/eval").glob("step-000*[1-9].json")
    assert json.loads(report.read_text())["num_failed"] == {}


@pytest.mark.medium
def test_a_recipe_trains_goes_on_and_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert say("train", "control-sac", *settings(), "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["run"], told["steps"], told["episodes"]) == ("runs/control-sac-1", 72, 72)
    assert told["before"]["n"] == told["after"]["n"] == told["gain"]["n"] == 4
    run = Path(told["run"])
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert say("train", "--resume", str(run), "--set", "train.total_steps=96", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 96
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4
    assert say("eval", str(run), "--split", "unseen", "--episodes", "4", "--json") == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["step"], report["split"], report["num_episodes"]) == (96, "unseen", 4)
    assert say("eval", str(run), "--episodes", "4", "--checkpoint", "base") == 0
    assert "at step 0" in capsys.readouterr().out
    assert say("eval", str(run), "--beta", "0,1") == 2
    assert say("train", "--resume", str(run), "--set", "learner.num_envs=2") == 2
    assert say("export", str(run), "model") == 2
    assert "only train.total_steps=N can change" in (told_off := capsys.readouterr().err)
    assert "is a control run" in told_off
    from stable_baselines3 import SAC

    assert SAC.load(next(run.glob("checkpoints/step-*/model.zip"))).gamma == 0.0


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert say("train", name, *settings("train.eval_episodes=0")) == 0
    assert (tmp_path / f"runs/{name}-1/metrics.jsonl").is_file()


@pytest.mark.medium
def test_acts_of_a_maze_are_chosen_under_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sb3_contrib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maze.toml").write_text(
        'model = { name = "tiny" }\nenv = { id = "sayso/Maze-v0" }\n'
        'control = { mode = "acts", context = "turn", max_turns = 6, max_new_tokens = 24 }\n'
        'learner = { type = "maskable_ppo", num_envs = 4, settings = { n_steps = 16 } }\n'
        "train = { total_steps = 64, eval_episodes = 4 }\n"
    )
    assert say("train", "maze.toml") == 0
    report = json.loads((tmp_path / "runs/maze-1/eval/step-00000064.json").read_text())
    assert report["num_failed"] == {}
