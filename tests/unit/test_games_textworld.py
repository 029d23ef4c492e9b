"""TextWorld: a quest played by its expert, by chance and by cheats."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.envs import games_textworld_make as making
from sayso.envs.games_textworld import TextWorldEnv, clean
from sayso.envs.games_textworld_make import Size, game_file
from sayso.envs.scripted import play
from sayso.errors import EnvContractError, OptionValueError

pytest.importorskip("textworld")
pytestmark = pytest.mark.medium
META = ("undo", "restart", "save", "restore", "quit", "transcript on", "script", "verbose", "")


@pytest.fixture(scope="module", autouse=True)
def games_are_kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAYSO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def env() -> TextWorldEnv:
    return TextWorldEnv(num_games=2)


def test_the_expert_fulfils_the_quest_and_earns_one_at_its_end(env: TextWorldEnv) -> None:
    for task in env.tasks("train"):
        game = play(env, task, env.scripted["expert"].act, seed=0)
        assert game.terminated
        assert game.return_ == pytest.approx(1.0)
        assert len(game.moves) <= 4
        assert [move.reward for move in game.moves[:-1]] == [0.0] * (len(game.moves) - 1)


def test_what_is_shown_and_what_may_be_done(env: TextWorldEnv) -> None:
    shown, info = env.reset(options={"task": "train-00000"})
    assert "-=" in shown
    assert ">" not in shown
    assert "look" in info["choices"]
    assert info["choices"] == sorted(set(info["choices"]))
    before = env.state.description
    told, reward, terminated, truncated, _ = env.step("  LOOK ")
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert clean(before).split("\n")[-1] in told


@pytest.mark.parametrize("command", META)
def test_no_command_of_the_interpreter_gets_through(
    env: TextWorldEnv, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env.reset(options={"task": "train-00000"})
    moves = env.state.moves
    told, reward, terminated, truncated, _ = env.step(command)
    assert (told, reward, terminated, truncated) == ("That cannot be done.", -0.05, False, False)
    assert env.state.moves == moves
    assert list(tmp_path.iterdir()) == []


def test_the_objective_repeated_or_several_commands_at_once_earn_nothing(env: TextWorldEnv) -> None:
    shown, info = env.reset(options={"task": "train-00001"})
    plan = list(env.state.policy_commands)
    for text in (shown, ". ".join(plan), "\n".join(plan), " ".join(info["choices"]), "You win!"):
        assert env.step(text)[:2] == ("That cannot be done.", -0.05)


def test_it_can_be_copied_before_a_game(env: TextWorldEnv) -> None:
    assert copy.deepcopy(TextWorldEnv(num_games=2)).reset(options={"task": "train-00000"}) == (
        env.reset(options={"task": "train-00000"})
    )


def test_turns_run_out(env: TextWorldEnv) -> None:
    env.reset(options={"task": "train-00000"})
    ends = [env.step("look")[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]
    with pytest.raises(EnvContractError, match="no game is on"):
        env.step("look")


def test_a_game_is_made_once(env: TextWorldEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    env.reset(options={"task": "train-00000"})
    monkeypatch.setattr(making, "_make", lambda *a: pytest.fail("made again"))
    again = TextWorldEnv(num_games=2)
    assert again.reset(options={"task": "train-00000"}) == env.reset(
        options={"task": "train-00000"}
    )


def test_a_game_that_cannot_be_made_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(world: Any, size: Size, seed: int, path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("compiler")

    monkeypatch.setattr(making, "_make", fails)
    size = Size(rooms=1, objects=2, quest=1, quests=1)
    with pytest.raises(RuntimeError, match="compiler"):
        game_file(size, 77)
    monkeypatch.undo()
    assert not [p for p in making.cache_folder().rglob("*") if p.name.startswith(".making")]


def test_tasks_are_listed_without_making_a_game() -> None:
    env = TextWorldEnv(num_games=1_000)
    assert [len(env.tasks(s)) for s in ("train", "held_out", "unseen", "test")] == [
        1_000,
        10,
        10,
        0,
    ]
    every = [task.payload["seed"] for s in ("train", "held_out", "unseen") for task in env.tasks(s)]
    assert len(set(every)) == 1_020
    sizes = {s: env.tasks(s)[0].payload["rooms"] for s in ("train", "held_out", "unseen")}
    assert sizes == {"train": 2, "held_out": 2, "unseen": 5}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rooms": 0}, {"num_games": 0}, {"max_turns": 1}, {"unseen": {"colour": 3}},
        {"unreadable": 1.0}, {"unseen": {"rooms": 2, "objects": 4, "quest": 2}},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionValueError, match="sayso/TextWorld-v0"):
        TextWorldEnv(**wrong)


def test_it_keeps_the_contract() -> None:
    report = sayso.check_text_env("sayso/TextWorld-v0", num_seeds=2, num_games=2)
    assert max(report.exploits.values()) == pytest.approx(-1.0)
