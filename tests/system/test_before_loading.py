"""What can be told before a model is loaded is told before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from sayso.cli import demo, train
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
