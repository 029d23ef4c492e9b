"""A finished run goes on with more episodes, and ends like one that was asked for them at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sayso.cli import train
from sayso.cli.main import app, call
from sayso.config.load import load_toml
from sayso.runs.digest import digest_run

SMALL = ["algorithm.group_size=8", "train.eval_every=0"]


def command(*arguments: str) -> int:
    return call(lambda **options: app(args=list(arguments), **options))


def started(path: Path, total: int, *more: str) -> Path:
    settings = [*SMALL, f"train.total_episodes={total}", *more]
    train.run("tinylang", overrides=settings, resume=None, path=path, seed=None,
              tensorboard=False, as_json=True)  # fmt: skip
    return path


@pytest.mark.medium
def test_more_episodes_end_like_a_run_that_was_asked_for_them_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, whole = started(tmp_path / "run", 16), started(tmp_path / "whole", 48)
    capsys.readouterr()
    assert command("train", "--resume", str(run), "--set", "train.total_episodes=32") == 0
    said = capsys.readouterr().out
    assert "Done: 32 episodes in 4 steps." in said
    assert f"Longer: sayso train --resume {run} --set train.total_episodes=N" in said
    assert command("train", "--resume", str(run), "--set", "train.total_episodes=48", "--json") == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 48
    assert digest_run(run) == digest_run(whole)
    assert load_toml(run / "config.toml") == load_toml(whole / "config.toml")
    assert command("train", "--resume", str(run), "--json") == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 48
    assert digest_run(run) == digest_run(whole)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return started(tmp_path_factory.mktemp("runs") / "run", 16)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "optim.lr=1e-3"], "its own options: optim.lr cannot change. Only train.total_"),
        (
            ["--set", "train.total_episodes=32", "--set", "train.patience=2", "--set", "seed=3"],
            "train.patience, seed cannot change",
        ),
        (["--set", "train.total_episodes=8"], "got 8, less than the run's own 16"),
        (["--set", "train.total_episodes=many"], "got 'many', needs a whole number"),
        (["--seed", "3"], "--seed and --run are refused"),
    ],
)
def test_what_cannot_change_is_refused_and_nothing_is_written(
    finished: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def content() -> dict[str, Any]:
        return {p.name: p.read_bytes() for p in finished.rglob("*") if p.is_file()}

    before = content()
    assert command("train", "--resume", str(finished), *arguments) == 2
    assert says in capsys.readouterr().err
    assert content() == before


def test_steps_at_a_learning_rate_of_zero_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = started(
        tmp_path / "run", 16, "optim.schedule=linear", "optim.total_steps=3", "optim.warmup_steps=1"
    )
    options = ["train", "--resume", str(run), "--json", "--set"]
    assert command(*options, "train.total_episodes=40") == 2
    said = capsys.readouterr().err
    assert "takes 5 optimiser steps, but the learning rate is 0 after 3. Start a new run" in said
    assert command(*options, "train.total_episodes=32") == 2  # a warm-up makes it no longer
    assert command(*options, "train.total_episodes=24") == 0


def test_a_run_that_stopped_early_is_shown_by_its_best_and_goes_on_when_asked_for_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, more = tmp_path / "run", "train.total_episodes=4000"
    settings = ["algorithm.group_size=8", "train.eval_every=1", "train.patience=3", "optim.lr=0.5",
                "train.eval_episodes=8", "train.total_episodes=800"]  # fmt: skip
    train.run("tinylang", overrides=settings, resume=None, path=run, seed=None,
              tensorboard=False, as_json=False)  # fmt: skip
    said = capsys.readouterr().out
    assert "Stopped early" in said
    best = " --checkpoint best"
    for command_line in (
        f"eval {run}{best} ",
        f"chat {run}{best} ",
        f"export {run} my-model{best}",
    ):
        assert f"sayso {command_line}" in said
    assert command("train", "--resume", str(run), "--json") == 0
    before = json.loads(capsys.readouterr().out)
    assert before["stopped_by"] == "patience"
    assert command("train", "--resume", str(run), "--set", more, "--json") == 0
    after = json.loads(capsys.readouterr().out)
    assert after["steps"] >= before["steps"] + 3
    assert command("train", "--resume", str(run), "--set", more, "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == after["steps"]
