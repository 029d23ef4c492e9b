"""Learning from a stored data set, whole: command line, façade, refusals, doctor, resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import sayso
from sayso.app.config import load_config
from sayso.app.opening import require_playable
from sayso.app.refusals import refuse_unused
from sayso.app.schedule import num_optimiser_steps
from sayso.cli import demos, doctor, listing, train
from sayso.cli.main import call
from sayso.envs.registry import source
from sayso.envs.scripted import play_many, scripted
from sayso.errors import ConfigError, DataError, OptionValueError, RunError, UnusedOptionError
from sayso.runs import jsonl
from sayso.runs.run import Run
from sayso.training.order import EpisodeOrder

TINY: dict[str, Any] = {
    "tiny": {"tokens": ["a", "b"], "width": 16, "layers": 1, "heads": 2},
    "max_new_tokens": 3,
    "lr": 3e-3,
}
RECIPE = """
[model]
name = "tiny"
tiny = { tokens = ["a", "b"], width = 16, layers = 1, heads = 2 }
[env]
id = "sayso/TinyLang-v0"
[sampling]
max_new_tokens = 3
[algorithm]
type = "bc"
[data]
path = "words.jsonl"
batch_episodes = 8
[train]
total_episodes = 32
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 60 words of the reference player and a recipe that learns from them."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    demos.run("sayso/TinyLang-v0", player="reference", num=60, split="train", seed=0,
              out=tmp_path / "words.jsonl", settings=[], as_json=True)  # fmt: skip
    (tmp_path / "own.toml").write_text(RECIPE)
    return tmp_path


def run_train(**changes: Any) -> None:
    options: dict[str, Any] = {
        "overrides": [], "resume": None, "path": None, "seed": None, "tensorboard": False,
        "as_json": True, "recipe": "own.toml",
    }  # fmt: skip
    train.run(**{**options, **changes})


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_demos_writes_games_that_train_learns_from(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos.run("sayso/TinyLang-v0", player="reference", num=7, split="train", seed=0,
              out=workplace / "few.jsonl", settings=[], as_json=True)  # fmt: skip
    assert json.loads(told(capsys))["games"] == 7
    assert len((workplace / "words.jsonl").read_text().splitlines()) == 60
    run_train(path=workplace / "run")
    assert json.loads(told(capsys))["episodes"] == 32
    run = Run.open(workplace / "run")
    steps = list(jsonl.read(run.metrics))
    assert [step["progress/episodes"] for step in steps] == [8, 16, 24, 32]
    assert steps[-1]["progress/epochs"] == 32 / 60
    assert all("data/return_mean" in step for step in steps)
    assert not [key for step in steps for key in step if key.startswith(("reward/", "episode/"))]
    assert not run.episodes.exists() or not run.episodes.read_text()
    assert run.meta()["data"]["episodes"] == 60


def test_the_same_seed_writes_the_same_games_and_another_one_others(workplace: Path) -> None:
    first = (workplace / "words.jsonl").read_bytes()
    for seed, is_same in ((0, True), (1, False)):
        demos.run("sayso/TinyLang-v0", player="reference", num=60, split="train", seed=seed,
                  out=workplace / f"{seed}.jsonl", settings=[], as_json=True)  # fmt: skip
        assert ((workplace / f"{seed}.jsonl").read_bytes() == first) is is_same
    with pytest.raises(ConfigError, match="there already"):  # and nothing is overwritten
        demos.run("sayso/TinyLang-v0", player="reference", num=1, split="train", seed=0,
                  out=workplace / "0.jsonl", settings=[], as_json=True)  # fmt: skip


def test_demos_refuses_what_it_cannot_play(workplace: Path) -> None:
    asked: dict[str, Any] = {
        "player": "reference", "num": 1, "split": "train", "seed": 0,
        "out": workplace / "x.jsonl", "settings": [], "as_json": False,
    }  # fmt: skip
    for wrong, says in (
        ({"player": "nobody"}, "There are: reference"),
        ({"split": "unseen"}, "has no tasks"),
        ({"settings": ["size"]}, "not of the form"),
        ({"settings": ["size=3"]}, "no such argument"),
        ({"out": workplace}, "is a directory"),
    ):
        with pytest.raises(Exception, match=says):
            demos.run("sayso/TinyLang-v0", **{**asked, **wrong})
    assert not (workplace / "x.jsonl").exists()


def test_the_list_of_environments_names_players(capsys: pytest.CaptureFixture[str]) -> None:
    listing.run("envs", as_json=False)
    (line,) = [line for line in told(capsys).splitlines() if line.startswith("sayso/TinyLang-v0")]
    assert "players: reference" in line


def test_a_resumed_run_goes_on_only_with_the_data_it_began_with(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_train(path=workplace / "run")
    longer = ["train.total_episodes=64"]
    words = workplace / "words.jsonl"
    kept = words.read_text()
    words.write_text("".join(kept.splitlines(keepends=True)[1:]))
    with pytest.raises(RunError, match="its data set has changed: 60 episodes then, 59 now"):
        run_train(recipe=None, resume=workplace / "run", overrides=longer)
    words.write_text(kept)
    told(capsys)
    run_train(recipe=None, resume=workplace / "run", overrides=longer)
    assert json.loads(told(capsys))["episodes"] == 64


def test_doctor_reads_the_data_and_takes_an_update(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys)
    doctor.run("own.toml", overrides=[], as_json=True)
    findings = {row["name"]: row for row in json.loads(told(capsys))["findings"]}
    assert findings["data"]["says"] == "60 episodes."
    assert "tensors changed" in findings["update"]["says"]
    assert "rollout" not in findings
    (workplace / "words.jsonl").write_text("{")
    with pytest.raises(typer.Exit):
        doctor.run("own.toml", overrides=[], as_json=True)
    findings = {row["name"]: row for row in json.loads(told(capsys))["findings"]}
    assert "line 1" in findings["data"]["says"]


def config(**table: Any) -> Any:
    base: dict[str, Any] = {
        "model": {"name": "tiny"}, "env": {"id": "sayso/TinyLang-v0"},
        "algorithm": {"type": "bc"}, "data": {"path": "x.jsonl"},
    }  # fmt: skip
    return load_config({**base, **table}, source="test")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    **{
        name: (
            {"algorithm": {"type": name}},
            f"data.path: {name} learns from episodes that its own policy has just sampled",
        )
        for name in ("grpo", "rloo", "reinforce", "reinforce_pp", "a2c", "ppo")
    },
    "bc needs data": ({"data": {}}, "data.path: is unset, and bc learns from stored episodes"),
    "awr needs data": ({"data": {}, "algorithm": {"type": "awr"}}, "and awr learns from stored"),
    "details of no data": (
        {"data": {"limit": 3, "batch_episodes": 9}, "algorithm": {"type": "rloo"}},
        "data.batch_episodes, data.limit: has no effect while data.path is unset",
    ),
    "a memory": (
        {"algorithm": {"type": "filtered_bc", "replay": {"capacity": 5}}},
        "algorithm.replay: has no effect with data.path",
    ),
    "playing": (
        {"algorithm": {"type": "filtered_bc", "group_size": 2, "draws": 3}},
        "algorithm.group_size, algorithm.draws: has no effect with data.path",
    ),
    "a split": ({"train": {"split": "unseen"}}, "train.split: has no effect with data.path"),
    "KL": ({"kl": {"coef": 0.1}}, "kl.coef: has no effect with bc"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_with_data_is_refused(case: str) -> None:
    table, says = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        refuse_unused(config(**table))
    assert says in str(caught.value)


def test_what_goes_with_data_passes() -> None:
    refuse_unused(config())
    refuse_unused(config(algorithm={"type": "filtered_bc", "top": 0.3}))
    refuse_unused(config(algorithm={"type": "filtered_bc"}, data={}))
    refuse_unused(config(algorithm={"type": "awr"}))


def test_an_environment_is_needed_unless_stored_episodes_are_all_there_is(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionValueError, match="env: is required but missing"):
        load_config({"model": {"name": "tiny"}}, source="test")
    blind = load_config({"algorithm": {"type": "bc"}, "data": {"path": "words.jsonl"}}, source="x")
    refuse_unused(blind)
    watched = load_config(
        {"algorithm": {"type": "bc"}, "data": {"path": "words.jsonl"}, "train": {"eval_every": 1}},
        source="x",
    )
    with pytest.raises(OptionValueError, match="there is no environment to evaluate in"):
        refuse_unused(watched)
    text = RECIPE.replace('[env]\nid = "sayso/TinyLang-v0"\n', "")
    (workplace / "blind.toml").write_text(text)
    told(capsys)
    run_train(recipe="blind.toml", path=workplace / "run")
    assert json.loads(told(capsys))["episodes"] == 32
    assert call(lambda standalone_mode: _evaluate(workplace / "run")) == 2
    assert "This run has no environment" in capsys.readouterr().err


def _evaluate(path: Path) -> None:
    from sayso.cli import evaluate

    evaluate.run(
        path, split=None, episodes=1, checkpoint="last", seed=0, beta=None, decode=None,
        audit=0, as_json=False,
    )  # fmt: skip


def test_missing_files_show_before_a_model_is_loaded() -> None:
    asked = config(data={"path": "nowhere/*.jsonl"})
    with pytest.raises(DataError, match="is no file"):
        require_playable(asked, source("sayso/TinyLang-v0"))


def test_a_schedule_lasts_as_long_as_the_data_is_learnt_from() -> None:
    asked = config(data={"path": "x", "batch_episodes": 10}, train={"total_episodes": 95})
    assert num_optimiser_steps(asked, source("sayso/TinyLang-v0")) == 10


def words(num: int = 40) -> Any:
    env = source("sayso/TinyLang-v0").open()
    return play_many(env, scripted(env, "reference").act, split="train", num_games=num, seed=0)


@pytest.mark.parametrize("kind", ["BC", "FilteredBC", "AWR"])
def test_the_facade_learns_from_records_saves_and_loads(kind: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = [{"prompt": "", "completion": g.moves[0].action or "a", "reward": g.return_}
            for g in words()]  # fmt: skip
    made = getattr(sayso, kind)("tiny", "sayso/TinyLang-v0", data=rows, batch_episodes=8, **TINY)
    before = {n: p.detach().clone() for n, p in made.lm.trainable().items()}
    made.learn(16, run=tmp_path / "run", progress_bar=False, eval_every=1, eval_split="train")
    assert any(not torch.equal(before[n], p) for n, p in made.lm.trainable().items())
    made.save(tmp_path / "saved")
    loaded = getattr(sayso, kind).load(tmp_path / "saved")
    assert loaded.predict("", deterministic=True) == made.predict("", deterministic=True)
    with pytest.raises(DataError, match="handed over in Python and is not at hand"):
        loaded.learn(8, run=tmp_path / "again", progress_bar=False)
    again = getattr(sayso, kind).load(tmp_path / "saved", data=rows)
    again.learn(8, run=tmp_path / "again", progress_bar=False)


def test_the_facade_takes_a_path_games_and_no_environment(workplace: Path) -> None:
    path = workplace / "words.jsonl"
    blind = sayso.BC("tiny", data=path, limit=20, batch_episodes=8, **TINY)
    assert blind.data is not None
    assert len(blind.data.episodes) == 20
    blind.learn(16, run=workplace / "blind", progress_bar=False)
    assert blind.predict("") is not None
    own = sayso.BC("tiny", None, data=words(), batch_episodes=8, **TINY)
    own.learn(16, run=workplace / "own", progress_bar=False)
    with pytest.raises(OptionValueError, match="only with data"):
        sayso.BC("tiny", **TINY)
    with pytest.raises(OptionValueError, match=r"data\.path: rloo learns from episodes"):
        sayso.RLOO("tiny", "sayso/TinyLang-v0", data=path, **TINY)
    with pytest.raises(OptionValueError, match=r"data\.path: is unset"):
        sayso.AWR("tiny", "sayso/TinyLang-v0", **TINY)
    with pytest.raises(UnusedOptionError, match=r"data\.limit"):
        sayso.FilteredBC("tiny", "sayso/TinyLang-v0", limit=3, **TINY)


def test_a_run_of_python_data_goes_on_in_python_only(workplace: Path) -> None:
    run = workplace / "run"
    options: dict[str, Any] = {"data": words(), "batch_episodes": 8, **TINY}
    sayso.BC("tiny", "sayso/TinyLang-v0", **options).learn(16, run=run, progress_bar=False)
    with pytest.raises(RunError, match="its data set was made in Python"):
        run_train(recipe=None, resume=run)
    whole = sayso.BC("tiny", "sayso/TinyLang-v0", **options)
    whole.learn(32, run=workplace / "whole", progress_bar=False)
    halves = sayso.BC("tiny", "sayso/TinyLang-v0", **options)
    halves.learn(32, run=run, progress_bar=False)
    for name, parameter in whole.lm.trainable().items():
        assert torch.equal(parameter, halves.lm.trainable()[name]), name
    other = sayso.BC("tiny", "sayso/TinyLang-v0", **{**options, "data": words(30)})
    with pytest.raises(RunError, match="data set has changed"):
        other.learn(48, run=run, progress_bar=False)


def test_awr_needs_rewards_and_bc_does_not(workplace: Path) -> None:
    rows = [{"prompt": "", "completion": "ab"}] * 8
    with pytest.raises(DataError, match="no episode has a reward, and awr learns from rewards"):
        sayso.AWR("tiny", None, data=rows, **TINY)
    made = sayso.BC("tiny", None, data=rows, batch_episodes=4, **TINY)
    made.learn(48, run=workplace / "run", progress_bar=False)  # more than five steps ungraded
    assert made.last_result.progress.num_ungraded_steps == 0


def test_filtered_bc_learns_from_the_best_of_the_whole_set(
    workplace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = sayso.FilteredBC("tiny", "sayso/TinyLang-v0", data=words(60), batch_episodes=4, top=0.1,
                            **TINY)  # fmt: skip
    made.learn(12, run=workplace / "run", progress_bar=False)
    returns = sorted((g.return_ for g in words(60)), reverse=True)
    kept = [r for r in returns if r >= returns[5]]
    assert f"Of 60 stored episodes, {len(kept)} are learnt from;" in caplog.text
    steps = list(jsonl.read(Run.open(workplace / "run").metrics))
    assert all(step["data/return_mean"] >= returns[5] for step in steps)
    assert made.learner.options.replay.capacity == 0


def test_without_data_filtered_bc_plays_and_remembers(workplace: Path) -> None:
    made = sayso.FilteredBC("tiny", "sayso/TinyLang-v0", tasks_per_step=1, group_size=8, **TINY)
    made.learn(24, run=workplace / "run", progress_bar=False)
    steps = list(jsonl.read(Run.open(workplace / "run").metrics))
    assert [step["replay/episodes"] for step in steps] == [8, 16, 24]
    assert "reward/mean" in steps[-1]


def numbers(order: EpisodeOrder, index: int) -> list[Any]:
    return list(order.batch(index))


def test_batches_are_pieces_of_epochs_that_follow_without_a_gap() -> None:
    items: Any = list(range(10))
    order = EpisodeOrder(items, 4, seed=3)
    row = [n for index in range(10) for n in numbers(order, index)]
    for epoch in range(4):
        assert sorted(row[epoch * 10 : epoch * 10 + 10]) == items
    assert row[:10] != row[10:20]
    assert numbers(EpisodeOrder(items, 4, seed=3), 7) == row[28:32]  # of its number alone
    assert numbers(EpisodeOrder(items, 4, seed=4), 0) != row[:4]
    assert sorted(numbers(EpisodeOrder(items[:3], 7, seed=0), 0)[:6]) == [0, 0, 1, 1, 2, 2]
    assert order.epoch(5) == 2.0
