"""A reward model from preferences to a reward: the run, its resume, the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import sayso
from sayso.app.reward_model import build_trainer, create_reward_run, reward_config
from sayso.cli.main import app
from sayso.data.preference_files import read_preferences, read_set, write_preferences
from sayso.errors import CheckpointError, DataError, UnknownOptionError
from sayso.runs import interrupt
from sayso.runs.jsonl import read
from sayso.runs.run import Run
from sayso.seeds import generator
from sayso.training.reward_model import train_reward_model

TINY = {"tokens": "ab", "width": 16, "layers": 1, "heads": 2, "context": 32}


def rows(num: int = 80) -> list[dict[str, Any]]:
    """More of the letter a is better; prompts say nothing."""
    found = []
    for i in range(num):
        draws = generator(0, "row", i)
        texts = {"".join("ab"[k] for k in draws.integers(2, size=4)) for _ in range(9)}
        one, other = sorted(texts, key=lambda t: (t.count("a"), t))[:: len(texts) - 1]
        prompt = "".join("ab"[k] for k in draws.integers(2, size=6))
        scores = {"score_chosen": other.count("a"), "score_rejected": one.count("a")}
        found.append({"prompt": prompt, "chosen": other, "rejected": one, **scores})
    return found


def table(path: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": {"name": "tiny", "tiny": TINY}, "reward_model": {"head_lr": 0.03, **more},
        "data": {"path": str(path)}, "optim": {"lr": 3e-3},
        "train": {"epochs": 3, "batch_pairs": 8, "checkpoint_every": 4},
    }  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    path = tmp_path / "pairs.jsonl"
    assert write_preferences(path, rows()) == 80
    return path


def trained(data: Path, where: Path, **more: Any) -> Any:
    config = reward_config(table(data, **more), source="test")
    trainer = build_trainer(config, read_set(data))
    run = create_reward_run(config, where) if Run.is_free(where) else Run.open(where)
    return trainer, train_reward_model(run, trainer, config.train)


@pytest.mark.parametrize("trains", ["all", "head"])
def test_it_learns_what_was_preferred_and_tells_how_sure_it_may_be(
    data: Path, tmp_path: Path, trains: str
) -> None:
    more = {} if trains == "all" else {"trains": "head"}
    config = table(data, **more)
    if trains == "head":
        del config["optim"]
    made = reward_config(config, source="test")
    trainer = build_trainer(made, read_set(data))
    report = train_reward_model(
        create_reward_run(made, tmp_path / "rm"), trainer, made.train
    ).report
    assert report.accuracy.mean >= 0.9
    assert report.truth is not None
    assert report.truth.mean > 0.3
    written = list(read(tmp_path / "rm" / "metrics.jsonl"))
    assert written[-1]["reward_model/loss"] < written[0]["reward_model/loss"]
    assert written[0]["reward_model/loss"] == pytest.approx(0.6931, abs=1e-4)
    told = json.loads(next((tmp_path / "rm" / "eval").glob("*.json")).read_text())
    assert told["accuracy"]["mean"] == report.accuracy.mean


def test_a_run_that_was_stopped_ends_with_the_same_bits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = trained(data, tmp_path / "whole")
    from sayso.training.reward_model import RewardTrainer

    step = RewardTrainer.step

    def stopping(self: Any, index: int, batch_pairs: int) -> Any:
        if index == 6:
            raise interrupt.Interrupted(2)
        return step(self, index, batch_pairs)

    monkeypatch.setattr(RewardTrainer, "step", stopping)
    with pytest.raises(interrupt.Interrupted):
        trained(data, tmp_path / "cut")
    monkeypatch.undo()
    again, _ = trained(data, tmp_path / "cut")
    one, other = (t.optimiser.parameters for t in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    files = [tmp_path / name / "metrics.jsonl" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    write_preferences(data, rows(79))
    with pytest.raises(CheckpointError, match="preferences have changed"):
        trained(data, tmp_path / "cut")


def test_the_gradient_does_not_depend_on_the_micro_batch(data: Path) -> None:
    found = []
    for budget in (1, 64, 4096):
        config = table(data, centre_coef=0.01)
        config["model"]["dtype"], config["optim"] = "float64", {"micro_batch_tokens": budget}
        made = reward_config(config, source="test")
        trainer = build_trainer(made, read_set(data))
        with torch.no_grad():
            trainer.network.head.weight.fill_(0.1)
        trainer.step(0, 8)
        found.append(
            torch.cat([p.detach().flatten() for p in trainer.optimiser.parameters.values()])
        )
    assert (found[0] - found[2]).abs().max() < 1e-12
    assert (found[1] - found[2]).abs().max() < 1e-12


def test_margins_are_asked_for(data: Path) -> None:
    losses = []
    for use in (False, True):
        made = reward_config(table(data, use_margins=use), source="test")
        pairs = [{**row, "margin": 2.0} for row in rows(20)]
        trainer = build_trainer(made, read_set(pairs))
        losses.append(trainer.step(0, 8).metrics["reward_model/loss"].value)
    assert losses == pytest.approx([0.6931, 2.1269], abs=1e-3)  # -log σ(0), -log σ(-2)


def test_python_and_the_reward_of_an_environment(data: Path, tmp_path: Path) -> None:
    made = sayso.RewardModel("tiny", tiny=TINY, lr=3e-3, head_lr=0.03)
    made.learn(data, run=tmp_path / "rm", epochs=3, batch_pairs=8)
    assert made.report is not None
    assert made.report.accuracy.mean >= 0.9
    best, worst = made.score("ab", ["aaaa", "bbbb"])
    assert best > worst
    env = sayso.RewardedBy("sayso/TinyLang-v0", sayso.rewards.ModelReward(str(tmp_path / "rm")))
    env.reset(seed=0)
    _, reward, _, _, info = env.step("bab")
    assert reward == info["reward_parts"]["model"]
    assert info["reward_parts"]["true"] == 1.0
    again = sayso.RewardModel.load(tmp_path / "rm")
    assert again.score("ab", ["aaaa"]) == pytest.approx([best], abs=1e-5)
    with pytest.raises(UnknownOptionError, match="`head_lr`"):
        sayso.RewardModel("tiny", haed_lr=1.0)


def test_the_command_line_trains_measures_and_refuses(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        f'[model]\nname = "tiny"\n[model.tiny]\ntokens = "ab"\nwidth = 16\nlayers = 1\nheads = 2\n'
        f'[reward_model]\nhead_lr = 0.03\n[data]\npath = "{data}"\n[train]\nbatch_pairs = 16\n'
    )
    invoke = CliRunner().invoke
    done = invoke(app, ["train", str(recipe), "--run", "rm", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["run"] == "rm"
    measured = invoke(app, ["eval", "rm", "--json"])
    assert measured.exit_code == 0, measured.output
    assert json.loads(measured.stdout)["accuracy"]["mean"] == told["accuracy"]["mean"]
    for command, problem in (
        (["chat", "rm"], "no policy"),
        (["eval", "rm", "--decode", "greedy"], "no effect"),
        (["train", "--resume", "rm", "--set", "train.epochs=2"], "own options"),
    ):
        refused = invoke(app, command)
        assert problem in f"{refused.output}{refused.exception}", command
    assert invoke(app, ["train", "--resume", "rm"]).exit_code == 0


def test_a_file_with_a_wrong_row_names_it(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f'{json.dumps(rows(1)[0])}\n{{"prompt": "a", "chosen": "b"}}\n')
    with pytest.raises(DataError, match=r"line 2: has no rejected"):
        read_preferences(path)
    with pytest.raises(DataError, match="nothing in the split held_out"):
        read_set([{"prompt": "a", "chosen": "a", "rejected": "b", "split": "train"}])
