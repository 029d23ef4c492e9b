"""Little things that a new user meets first."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.cli import train

TINY: dict[str, Any] = {
    "tiny": {"tokens": ["a", "b"], "width": 8, "layers": 1, "heads": 1}, "max_new_tokens": 2,
}  # fmt: skip


def test_few_tasks_are_told_with_the_group_size_that_makes_up_for_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = sayso.PromptEnv(prompts=["a", "b"], held_out=["c"], reward=lambda prompt, completion: 1.0)
    agent = sayso.PPO("tiny", env, tasks_per_step=8, **TINY)
    with caplog.at_level(logging.WARNING):
        agent.learn(4, run=tmp_path / "run", progress_bar=False)
    assert (
        "Split 'train' has 2 tasks, fewer than tasks_per_step = 8: a step trains on 2 * 1 = 2 "
        "episodes. For the 8 that were asked for, set group_size = 4." in caplog.text
    )


def test_one_task_is_one_task(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env = sayso.PromptEnv(prompts=["a", "b"], reward=lambda prompt, completion: 1.0)
    agent = sayso.RLOO("tiny", env, tasks_per_step=8, group_size=4, **TINY)
    with caplog.at_level(logging.WARNING):
        agent.learn(4, run=tmp_path / "run", progress_bar=False)
    assert "Split 'train' has 1 task, fewer than" in caplog.text


def test_a_run_that_taught_nothing_says_so_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dull.py").write_text(
        "import sayso\n"
        "from sayso.envs.tinylang import TinyLangEnv\n"
        "class Dull(TinyLangEnv):\n"
        "    def step(self, action):\n"
        "        return '', 0.5, True, False, {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = ["env.id=dull:Dull", "train.total_episodes=64", "train.eval_every=0"]
    train.run("tinylang", overrides=settings, resume=None, path=None, seed=None,
              tensorboard=False, as_json=False)  # fmt: skip
    said = capsys.readouterr().out
    assert "2 of 2 steps taught nothing: all rewards of the step were equal, or none was" in said
