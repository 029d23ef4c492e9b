"""The run directory and what it says about itself."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from sayso.errors import RunError
from sayso.runs import meta
from sayso.runs.run import Run, next_name


def test_a_new_run_holds_config_meta_and_directories(tmp_path: Path) -> None:
    config = {"seed": 3, "optim": {"lr": 1e-4, "betas": [0.9, 0.95]}}
    run = Run.create(tmp_path / "deep" / "run", config=config, meta=meta.collect(seed=3))
    assert tomllib.loads(run.config.read_text()) == config
    assert run.name == "run"
    assert run.checkpoints.is_dir()
    assert run.eval.is_dir()
    assert run.episodes == run.path / "episodes" / "episodes.jsonl"
    assert run.episodes.parent.is_dir()
    assert run.metrics == run.path / "metrics.jsonl"
    assert Run.open(run.path) == run
    found = run.meta()
    assert found["seed"] == 3
    assert set(found["versions"]) >= {"sayso", "torch", "transformers"}
    assert found["created"].endswith("+00:00")
    assert {"python", "platform", "argv", "git_commit"} <= set(found)
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_meta_reads_no_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "canary-5f1c")
    assert "canary-5f1c" not in json.dumps(meta.collect(seed=0, argv=["train"]))


def test_opening_what_is_no_run_says_why_and_what_is_near(tmp_path: Path) -> None:
    Run.create(tmp_path / "writing-1", config={}, meta={})
    with pytest.raises(RunError, match=r"no such run directory\. Runs in .*: writing-1\."):
        Run.open(tmp_path / "writing-2")
    (tmp_path / "half").mkdir()
    with pytest.raises(RunError, match=r"no meta\.json.* cut short"):
        Run.open(tmp_path / "half")


def test_damaged_meta_is_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config={}, meta={})
    for content in ("{", "[]"):
        (run.path / "meta.json").write_text(content)
        with pytest.raises(RunError, match=r"meta\.json: (is damaged|is not)"):
            run.meta()


def test_next_names_count_up_from_the_highest(tmp_path: Path) -> None:
    assert next_name(tmp_path / "none", "maze") == "maze-1"
    for name in ("maze-2", "maze-10", "maze-x", "maze-3-5", "writing-99", "maze-11.bak"):
        (tmp_path / name).mkdir()
    assert next_name(tmp_path, "maze") == "maze-11"
    assert next_name(tmp_path, "maze-3") == "maze-3-6"
    assert Run.create_next(tmp_path, "maze", config={}, meta={}).name == "maze-11"
    assert Run.create_next(tmp_path, "maze", config={}, meta={}).name == "maze-12"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", ".hidden", "x" * 49, "ä"])
def test_a_name_that_is_no_plain_word_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot name a run"):
        Run.create_next(tmp_path, name, config={}, meta={})
    assert list(tmp_path.iterdir()) == []


def test_the_git_commit_is_read_without_git_in_every_layout(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=tmp_path / "repo",
            capture_output=True,
            text=True,
            check=True,
        )
        return result.stdout.strip()

    (tmp_path / "repo" / "deep").mkdir(parents=True)
    assert meta.git_commit(tmp_path / "repo" / "deep") is None
    git("init", "-q")
    assert meta.git_commit(tmp_path / "repo") is None
    git("commit", "-q", "--allow-empty", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert meta.git_commit(tmp_path / "repo" / "deep") == head
    git("worktree", "add", "-q", "../tree", "-b", "other")
    assert meta.git_commit(tmp_path / "tree") == head
    git("pack-refs", "--all")
    assert meta.git_commit(tmp_path / "repo") == head
    assert meta.git_commit(tmp_path / "tree") == head
    git("checkout", "-q", "--detach")
    assert meta.git_commit(tmp_path / "repo") == head
    (tmp_path / "repo" / ".git" / "HEAD").write_bytes(b"\xff")
    assert meta.git_commit(tmp_path / "repo") is None


def test_an_empty_directory_may_become_a_run_and_any_other_is_not_called_one(
    tmp_path: Path,
) -> None:
    run = Run.create(tmp_path, config={}, meta={})
    assert Run.open(tmp_path) == run
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(RunError, match=r"holds other things \(thesis\.tex\).*another") as raised:
        Run.create(tmp_path / "mine", config={}, meta={})
    assert "--resume" not in str(raised.value)
    assert "rm -r" not in str(raised.value)
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["thesis.tex"]


def test_only_what_creation_left_is_to_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(RunError, match=r"not a run: it has no meta\.json") as raised:
        Run.open(tmp_path / "mine")
    assert "delete" not in str(raised.value)
    run = Run.create(tmp_path / "cut", config={}, meta={})
    (run.path / "meta.json").unlink()
    with pytest.raises(RunError, match=r"creation was cut short..*delete it"):
        Run.open(run.path)


@pytest.mark.parametrize("file", ["sayso.json", "config.json"])
def test_a_model_is_told_from_a_run(file: str, tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / file).touch()
    with pytest.raises(RunError, match="is a model, not a run") as raised:
        Run.open(tmp_path / "exported")
    assert "delete" not in str(raised.value)
