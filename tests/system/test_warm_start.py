"""A warm start, whole: a model imitates a scripted player, then its run begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sayso
from sayso.app.warm import FOLDER, GAMES, RUN
from sayso.cli import train
from sayso.cli.restore import restore
from sayso.errors import CheckpointError, OptionValueError, UnknownNameError, UnusedOptionError
from sayso.runs import failpoints
from sayso.runs.jsonl import read
from sayso.runs.run import Run

RECIPE = """
[model]
name = "tiny"
tiny = { tokens = ["a", "b"], width = 16, layers = 1, heads = 2 }
[env]
id = "sayso/TinyLang-v0"
[sampling]
max_new_tokens = 3
[algorithm]
type = "rloo"
tasks_per_step = 1
group_size = 8
[kl]
coef = 0.1
[train]
total_episodes = 16
checkpoint_every = 1
[warm_start]
player = "reference"
games = 96
epochs = 2
batch_episodes = 8
lr = 2e-2
"""
COLD = RECIPE.split("[warm_start]", maxsplit=1)[0]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warm.toml").write_text(RECIPE)
    (tmp_path / "cold.toml").write_text(COLD)
    return tmp_path


def run_train(recipe: str | None, path: Path | None = None, **changes: Any) -> None:
    options: dict[str, Any] = {
        "overrides": [], "resume": None, "seed": None, "tensorboard": False, "as_json": True,
    }  # fmt: skip
    train.run(recipe, path=path, **{**options, **changes})


def weights(path: Path, checkpoint: str) -> torch.Tensor:
    """All of the policy of a run, in a row."""
    lm: Any = restore(path, checkpoint)[1]
    return torch.cat([p.detach().flatten() for p in lm.core.lm.network.parameters()])


@pytest.mark.medium
def test_a_run_begins_where_imitation_ended(workplace: Path) -> None:
    """The policy before training is the one that imitated, and so is the KL reference."""
    run_train("warm.toml", workplace / "warm")
    run_train("cold.toml", workplace / "cold")
    imitated = Run.open(workplace / "warm" / FOLDER / RUN)
    assert len((workplace / "warm" / FOLDER / GAMES).read_text().splitlines()) == 96
    surprisal = [line["imitation/surprisal"] for line in read(imitated.metrics)]
    assert len(surprisal) == 24  # 96 games, twice, 8 a step
    assert surprisal[-1] < surprisal[0] - 0.05
    assert torch.equal(weights(workplace / "warm", "base"), weights(imitated.path, "last"))
    assert not torch.equal(weights(workplace / "warm", "base"), weights(workplace / "cold", "base"))
    first = next(iter(read(Run.open(workplace / "warm").metrics)))
    assert first["kl/mean"] == pytest.approx(0.0, abs=1e-6)
    assert not (workplace / "cold" / FOLDER).exists()


@pytest.mark.medium
def test_a_run_whose_warm_start_broke_off_goes_on_there(workplace: Path) -> None:
    failpoints.arm("train.backward:9:raise")
    try:
        with pytest.raises(failpoints.FailpointError):
            run_train("warm.toml", workplace / "run")
    finally:
        failpoints.disarm()
    with pytest.raises(CheckpointError, match=r"of the warm start are done.*--resume"):
        restore(workplace / "run", "base")
    run_train(None, resume=workplace / "run")
    run_train("warm.toml", workplace / "unbroken")
    assert torch.equal(weights(workplace / "run", "last"), weights(workplace / "unbroken", "last"))


@pytest.mark.medium
def test_arms_of_a_comparison_begin_alike(workplace: Path) -> None:
    compared = sayso.compare(
        "warm.toml:rloo", "warm.toml:grpo", seeds=1, budget="episodes=16", episodes=4, points=1,
        out=workplace / "c",
    )  # fmt: skip
    rloo, grpo = (compared.path / f"warm-{arm}/seed-0-{FOLDER}/{RUN}" for arm in ("rloo", "grpo"))
    assert torch.equal(weights(rloo, "last"), weights(grpo, "last"))


def test_what_cannot_be_is_refused_before_anything_is_made(workplace: Path) -> None:
    with pytest.raises(UnknownNameError, match="There are: reference"):
        run_train("warm.toml", workplace / "run", overrides=["warm_start.player=expert"])
    with pytest.raises(UnusedOptionError, match="player is unset"):
        run_train("cold.toml", workplace / "run", overrides=["warm_start.games=7"])
    with pytest.raises(OptionValueError, match="In Python imitate first"):
        sayso.RLOO("tiny", "sayso/TinyLang-v0", warm_start={"player": "reference"})
    assert not (workplace / "run").exists()
