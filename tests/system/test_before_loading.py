"""What can be told before a model is loaded is told before it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sayso.cli import demo, recipes, train
from sayso.config.load import to_table
from sayso.errors import RunError, UnusedOptionError
from sayso.runs.interrupt import Interrupted
from sayso.runs.run import Run


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(tmp_path)
    for module in ("weights", "assemble"):  # what imports first, and would keep the false one
        monkeypatch.setattr(f"sayso.app.{module}.build_lm", loaded)


def start(recipe: str, *overrides: str, path: Path | None = None) -> None:
    train.run(
        recipe, overrides=overrides, resume=None, path=path, seed=None, tensorboard=False,
        as_json=False,
    )  # fmt: skip


def test_the_demo_refuses_what_train_refuses() -> None:
    with pytest.raises(UnusedOptionError, match=r"train\.eval_episodes"):
        demo.run(seed=None, path=None, overrides=["train.eval_episodes=5"])


def test_a_run_that_exists_is_told(tmp_path: Path) -> None:
    Run.create(tmp_path / "there", config={}, meta={})
    with pytest.raises(RunError, match="exists already"):
        demo.run(seed=None, path=tmp_path / "there", overrides=[])
    with pytest.raises(RunError, match="exists already"):
        start("tinylang", path=tmp_path / "there")


def test_a_file_whose_name_cannot_name_a_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "my recipe.toml").write_text('[env]\nid = "sayso/TinyLang-v0"\n')
    with pytest.raises(RunError, match=r"'my recipe' cannot name a run.*--run"):
        start("my recipe.toml")


def test_a_demo_that_is_interrupted_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise Interrupted(2)

    monkeypatch.setattr("sayso.app.assemble.build_lm", lambda *_: None)
    monkeypatch.setattr("sayso.app.assemble.build_learner", lambda *_: FakeLearner())
    monkeypatch.setattr("sayso.app.assemble.assemble", lambda *_, **__: None)
    monkeypatch.setattr("sayso.evaluation.evaluate.evaluate", lambda *_, **__: FakeReport())
    monkeypatch.setattr("sayso.training.loop.train", interrupted)
    with pytest.raises(Interrupted) as raised:
        demo.run(seed=None, path=tmp_path / "it", overrides=[])
    told = " ".join(raised.value.__notes__)
    assert f"sayso train --resume {tmp_path}/it" in told
    assert f"sayso eval {tmp_path}/it --episodes 96 --checkpoint base" in told
    assert "--checkpoint last" in told


class FakeLearner:
    def policy(self) -> None:
        return None


class FakeReport:
    mean = "0.05"


ERRORS = [
    ("train maze_ilql", "[DAT-001]"),
    ("train maze_ilql --set algorithm.tau=1.5", "tau must be in (0, 1)"),
    ("train maze --set env.kwargs.layot=3", "Did you mean `layout`"),
    ("train maze --set algorithm.group_siz=3", "Did you mean `group_size`"),
    ("train control-sac --set control.num_prob=3", "no such option"),
    ("eval runs/nothing", "no such run directory"),
    ("eval there", "holds no checkpoint yet"),
    ("eval there --checkpoint x", "Use last, best, base or a step"),
    ("eval there --split nowhere", "has no tasks"),
    ("eval there --beta 4", "no values steer what grpo has learnt"),
    ("eval there --audit 4", "asks a critic, and grpo has none"),
    ("train --resume there --set optim.lr=1", "optim.lr cannot change"),
    ("compare tinylang:grpo tinylang:grpo", "are called 'grpo'"),
    ("tune tinylang --split nowhere", "has no tasks"),
]


def test_what_needs_no_computing_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    """In one fresh process, one command after the other: here torch is loaded already."""
    Run.create(tmp_path / "there", config=to_table(recipes.config("tinylang", ())), meta={})
    code = (
        "import io, json, sys\n"
        "from contextlib import redirect_stderr\n"
        "from functools import partial\n"
        "from sayso.cli.main import app, call\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    said = io.StringIO()\n"
        "    with redirect_stderr(said):\n"
        "        code = call(partial(app, line.split()))\n"
        "    heavy = {'torch', 'transformers', 'stable_baselines3', 'optuna'} & set(sys.modules)\n"
        "    print(json.dumps([code, sorted(heavy), said.getvalue()]))\n"
    )
    asked = json.dumps([line for line, _ in ERRORS])
    done = subprocess.run(
        [sys.executable, "-c", code, asked], check=True, cwd=tmp_path, capture_output=True,
        text=True,
    )  # fmt: skip
    for (line, says), told in zip(ERRORS, done.stdout.splitlines(), strict=True):
        code, heavy, said = json.loads(told)
        assert (code, heavy) == (2, []), line
        assert says in said, line
