"""A run with a curriculum: it goes on bit for bit, tells its shares, and is refused where moot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import load_config
from sayso.app.opening import create_run, require_playable
from sayso.envs.registry import source
from sayso.errors import OptionValueError, UnusedOptionError
from sayso.runs.digest import digest_run
from sayso.runs.jsonl import read
from sayso.runs.ledger import read_episodes
from sayso.runs.run import Run
from sayso.training.callbacks import Callback
from sayso.training.loop import train

RUN: dict[str, Any] = {
    "model": {"name": "tiny", "tiny": {"tokens": ["a", "b"], "width": 16, "layers": 1, "heads": 2}},
    "env": {"id": "levelled_words:LevelledWords"},
    "sampling": {"max_new_tokens": 3},
    "algorithm": {"type": "rloo", "tasks_per_step": 3, "group_size": 4},
    "optim": {"lr": 3e-3},
    "train": {"total_episodes": 96, "checkpoint_every": 2, "curriculum": "medium"},
}


class StopAt(Callback):
    """Stops after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, context: Any, report: Any) -> bool | None:
        return report.step != self.step


def run_it(path: Path, *, stop_at: int | None = None, **changes: Any) -> None:
    """Start the run, or go on with it."""
    torch.set_num_threads(1)
    config = load_config({**RUN, **changes}, source="test")
    run = Run.open(path) if path.exists() else create_run(config, path)
    with run.lock():
        learner = build_learner(config, build_lm(config))
        stops = () if stop_at is None else (StopAt(stop_at),)
        train(assemble(config, run, learner=learner, callbacks=stops))


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    run_it(tmp_path / "whole")
    for step in (3, 5):
        run_it(tmp_path / "parts", stop_at=step)
    run_it(tmp_path / "parts")
    assert digest_run(tmp_path / "parts") == digest_run(tmp_path / "whole")
    (newest,) = sorted((tmp_path / "whole/checkpoints").glob("step-*"))[-1:]
    counts = json.loads((newest / "state.json").read_text())["progress"]["curriculum"]
    assert set(counts) == {"1", "2", "3"}


def test_the_shares_of_the_levels_are_logged_and_are_those_that_were_played(tmp_path: Path) -> None:
    run_it(tmp_path / "run")
    episodes = list(read_episodes(Run.open(tmp_path / "run").episodes))
    for line in read(Run.open(tmp_path / "run").metrics):
        played = [e.task.id[1] for step, e in episodes if step == line["step"]]
        for level in "123":
            assert line[f"curriculum/level_{level}_frac"] == played.count(level) / len(played)
            assert 0 < line[f"curriculum/level_{level}_success"] < 1


def test_a_curriculum_without_levels_is_refused_before_a_model_is_loaded() -> None:
    config = load_config({**RUN, "env": {"id": "sayso/TinyLang-v0"}}, source="test")
    with pytest.raises(OptionValueError, match="a level of difficulty of each task"):
        require_playable(config, source("sayso/TinyLang-v0"))


def test_a_curriculum_of_stored_episodes_is_refused() -> None:
    table = {**RUN, "algorithm": {"type": "bc"}, "data": {"path": "x.jsonl"}, "sampling": {}}
    config = load_config(table, source="test")
    with pytest.raises(UnusedOptionError, match=r"train\.curriculum: has no effect"):
        require_playable(config, source("levelled_words:LevelledWords"))
