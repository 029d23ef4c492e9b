"""A schedule ends where the run does, or is refused before the run begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from learner_cases import learner, mixed_batch
from torch import nn

import sayso
from sayso.algorithms.optim import Optimiser
from sayso.algorithms.options.optim import OptimOptions
from sayso.cli.main import app, call
from sayso.config.load import load_toml
from sayso.errors import OptionValueError
from sayso.runs.durable import replace_file
from sayso.toml import dump_toml

LR = 1e-3
TINY = {"tokens": "ab", "width": 8, "layers": 1, "heads": 2}


def command(*arguments: str) -> int:
    return call(lambda **options: app(args=list(arguments), **options))


def start(path: Path, total: int, *more: str) -> int:
    """A run of 8 episodes a step."""
    settings = ("algorithm.group_size=8", "train.eval_every=0", f"optim.lr={LR}", *more)
    pairs = [word for s in (*settings, f"train.total_episodes={total}") for word in ("--set", s)]
    return command("train", "tinylang", "--run", str(path), "--json", *pairs)


def shares(run: Path) -> list[float]:
    """Learning rate of each step of a run, as a share of the full one."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [round(json.loads(line)["optim/lr"] / LR, 6) for line in lines]


def test_a_schedule_without_total_ends_with_the_episodes(tmp_path: Path) -> None:
    assert start(tmp_path / "run", 30, "optim.schedule=linear") == 0
    assert shares(tmp_path / "run") == [1.0, 0.75, 0.5, 0.25]
    assert start(tmp_path / "warm", 40, "optim.schedule=linear", "optim.warmup_steps=1") == 0
    assert shares(tmp_path / "warm") == [1.0, 1.0, 0.75, 0.5, 0.25]


def test_passes_and_minibatches_are_counted(tmp_path: Path) -> None:
    passes = ("algorithm.epochs=2", "algorithm.minibatches=4")
    assert start(tmp_path / "run", 16, "optim.schedule=linear", *passes) == 0
    found = shares(tmp_path / "run")  # means over the eight steps of each update
    assert found == [round(1 - 3.5 / 16, 6), round(1 - 11.5 / 16, 6)]


def test_a_total_that_ends_before_the_run_is_refused_at_its_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("optim.schedule=linear", "optim.warmup_steps=2", "optim.total_steps=3")
    assert start(tmp_path / "run", 32, *short) == 2
    said = capsys.readouterr().err
    assert "optim.total_steps" in said
    assert "4 optimiser steps, but the learning rate is 0 after 3" in said
    assert not (tmp_path / "run").exists()
    assert start(tmp_path / "run", 24, *short) == 0
    assert shares(tmp_path / "run") == [0.5, 1.0, 1.0]
    pairs = ("--set", "algorithm.group_size=8", "--set", "train.total_episodes=32")
    more = [word for setting in short for word in ("--set", setting)]
    assert command("doctor", "tinylang", *pairs, *more) == 2
    assert "the learning rate is 0 after 3" in capsys.readouterr().out


def test_a_warm_up_that_outlasts_the_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path / "run", 16, "optim.schedule=cosine", "optim.warmup_steps=2") == 2
    assert "optim.warmup_steps: got 2, and the run takes 2 optimiser steps" in (
        capsys.readouterr().err
    )


def test_a_longer_total_draws_the_schedule_anew_over_all_of_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert start(run, 16, "optim.schedule=linear") == 0
    assert command("train", "--resume", str(run), "--json") == 0  # nothing left to do
    longer = ("train", "--resume", str(run), "--json", "--set", "train.total_episodes=32")
    assert command(*longer) == 0
    assert shares(run) == [1.0, 0.5, 0.5, 0.25]


def test_an_older_run_whose_schedule_is_too_short_goes_on_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert start(run, 16, "optim.schedule=linear", "optim.total_steps=2") == 0
    table = load_toml(run / "config.toml")
    table["train"]["total_episodes"] = 24
    replace_file(run / "config.toml", dump_toml(table).encode())
    assert command("train", "--resume", str(run), "--json") == 0
    assert shares(run) == [1.0, 0.5, 0.0]
    assert "The learning rate is 0" in capsys.readouterr().err


def test_doctor_takes_a_schedule_without_total(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = ("--set", "optim.schedule=cosine", "--set", "train.eval_every=0")
    assert command("doctor", "tinylang", *pairs) == 0
    assert "ok    update" in capsys.readouterr().out


def agent(**options: Any) -> sayso.Agent:
    return sayso.RLOO(
        "tiny", "sayso/TinyLang-v0", tiny=TINY, tasks_per_step=1, group_size=8, max_new_tokens=3,
        lr=LR, schedule="linear", **options,
    )  # fmt: skip


def test_each_learn_has_a_schedule_of_its_own(tmp_path: Path) -> None:
    made = agent()
    made.learn(16, run=tmp_path / "one", progress_bar=False)
    made.learn(32, run=tmp_path / "two", progress_bar=False)
    assert shares(tmp_path / "one") == [1.0, 0.5]
    assert shares(tmp_path / "two") == [1.0, 0.75, 0.5, 0.25]
    made.learn(40, run=tmp_path / "two", progress_bar=False)
    assert shares(tmp_path / "two") == [1.0, 0.75, 0.5, 0.25, 0.2]


def test_learn_refuses_a_total_that_is_too_small_and_writes_nothing(tmp_path: Path) -> None:
    made = agent(total_steps=3)
    with pytest.raises(OptionValueError, match="8 optimiser steps, but the learning rate is 0"):
        made.learn(64, run=tmp_path / "run", progress_bar=False)
    assert not (tmp_path / "run").exists()
    made.learn(24, run=tmp_path / "run", progress_bar=False)
    with pytest.raises(OptionValueError, match="4 optimiser steps, but the learning rate is 0"):
        made.learn(32, run=tmp_path / "run", progress_bar=False)


def test_where_a_schedule_began_is_part_of_the_learners_state() -> None:
    options = OptimOptions(lr=1.0, schedule="linear")
    made, other = learner("rloo", optim=options), learner("rloo", optim=options)
    made.core.optimiser.follow(4)
    episodes = mixed_batch(made.lm)
    made.update(episodes, seed=0)
    made.core.optimiser.follow(4, is_new=True)
    made.update(episodes, seed=1)
    other.core.optimiser.follow(4)
    other.load_state(made.state())
    assert other.update(episodes, seed=2).metrics["optim/lr"].value == 0.75


def test_steps_beyond_a_schedule_that_was_worked_out_keep_its_last_rate() -> None:
    """Episodes that fail make a run longer than it was thought to be."""
    optimiser = Optimiser({"w": nn.Parameter(torch.ones(1))}, OptimOptions(schedule="linear", lr=1))
    optimiser.follow(4)
    rates = [optimiser.step()[0]["optim/lr"].value for _ in range(6)]
    assert rates == [1.0, 0.75, 0.5, 0.25, 0.25, 0.25]


def test_a_schedule_of_unknown_length_is_refused_where_nobody_can_know_it() -> None:
    optimiser = Optimiser({"w": nn.Parameter(torch.ones(1))}, OptimOptions(schedule="cosine"))
    with pytest.raises(ValueError, match=r"schedule = 'cosine' needs total_steps"):
        optimiser.step()
