"""Little things that a new user meets first."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.cli import main, train
from sayso.envs.tinylang import TinyLangEnv
from sayso.errors import EnvContractError, ModelMissingError, RunError

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
    assert (
        "In 2 of 2 steps the reward taught nothing: all rewards of the step were equal, or" in said
    )


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code = main.call(lambda **options: main.app(args=["--version"], **options))
    assert code == 0
    assert capsys.readouterr().out == f"sayso {sayso.__version__}\n"


def test_a_run_of_other_options_names_them_with_what_was_and_what_is(tmp_path: Path) -> None:
    made: dict[str, Any] = {**TINY, "tasks_per_step": 1, "group_size": 2}
    sayso.RLOO("tiny", "sayso/TinyLang-v0", **made, lr=1e-3).learn(
        2, run=tmp_path / "run", progress_bar=False
    )
    other = sayso.RLOO("tiny", "sayso/TinyLang-v0", **made, lr=2e-3, lora={"rank": 4})
    with pytest.raises(RunError, match="other options") as raised:
        other.learn(2, run=tmp_path / "run", progress_bar=False, checkpoint_every=3)
    said = str(raised.value)
    assert "optim.lr was 0.001 and is 0.002" in said
    assert "train.checkpoint_every was 10 and is 3" in said
    assert "model.lora.rank was unset and is 4" in said


@pytest.mark.parametrize("where", ["nowhere", "a/b/c"])
def test_a_directory_that_is_not_there_is_said_not_to_be_there(where: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="does not exist"):
        sayso.GRPO.load(tmp_path / where)
    with pytest.raises(ModelMissingError, match="no such directory") as raised:
        sayso.GRPO(str(tmp_path / where), "sayso/TinyLang-v0")
    assert "hub's cache" not in str(raised.value)


def test_a_class_can_be_registered() -> None:
    sayso.register("mine/Colours-v0", Colours)
    sayso.register("mine/Colours-v0", Colours)
    assert sayso.check_text_env("mine/Colours-v0", exploits=False).problems == []
    with pytest.raises(EnvContractError, match="'module:Class', or the class itself"):
        sayso.register("mine/Odd-v0", 3)  # type: ignore[arg-type]


class Colours(TinyLangEnv):
    """A class at the top of a module that a fresh process can import."""
