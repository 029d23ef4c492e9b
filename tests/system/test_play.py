"""``sayso play`` and ``sayso list envs --bounds``, with standard input as a pipe."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sayso.cli.main import app, call
from sayso.cli.media import picture
from sayso.cli.play import _person
from sayso.envs.media_rows import sound_of
from sayso.envs.recommend import RecommendEnv
from sayso.envs.scripted import play
from sayso.envs.sound import SoundEnv
from sayso.envs.vision_tasks import SCENES, tasks
from sayso.seeds import generator


def said(arguments: str, capsys: pytest.CaptureFixture[str], *, code: int = 0) -> str:
    assert call(partial(app, arguments.split())) == code
    shown = capsys.readouterr()
    return shown.out if code == 0 else shown.err


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_number_is_its_choice_and_every_part_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = RecommendEnv()
    _, info = env.reset(seed=0, options={"task": "train-00003"})
    _, reward, _, _, told = env.step(info["choices"][1])
    typed(monkeypatch, "2\n")
    shown = said("play sayso/Recommend-v0 --task train-00003", capsys)
    assert shown.startswith("sayso/Recommend-v0, task train-00003 (train)\n")
    assert f"  2: {info['choices'][1]}" in shown
    parts = ", ".join(f"{name} {value:.3f}" for name, value in told["reward_parts"].items())
    assert f"reward {reward:.3f} ({parts})" in shown
    assert shown.endswith(f"left after 1 turn, return {reward:.3f} (range 0 to 1)\n")


def test_where_the_choices_are_numbers_themselves_a_number_is_what_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed(monkeypatch, "1\n3\n")
    assert _person(("2", "1", "x")) == "1"
    assert _person(("2", "1", "x")) == "x"


def test_text_is_taken_as_it_is_and_the_game_ends_where_it_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "\nnothing\n99\nWhat do you feel like?\n0\nmore\n")
    shown = said("play sayso/Recommend-v0 --split unseen", capsys)
    assert shown.count("Which film do you mean?") == 4
    assert ", less " in shown
    assert "terminated after 5 turns, return 0.000" in shown


def test_a_backslash_n_is_a_new_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    step = RecommendEnv.step

    def noted(self: RecommendEnv, action: str) -> object:
        seen.append(action)
        return step(self, action)

    monkeypatch.setattr(RecommendEnv, "step", noted)
    typed(monkeypatch, "one\\ntwo\n")
    said("play sayso/Recommend-v0", capsys)
    assert seen == ["one\ntwo"]


def test_a_scripted_player_plays_as_it_does_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    env = RecommendEnv()
    task = env.tasks("held_out")[5]
    game = play(env, task, env.scripted["random"].act, seed=7)
    shown = said(
        f"play sayso/Recommend-v0 --split held_out --task {task.id} --player random --seed 7",
        capsys,
    )
    actions = [line[8:] for line in shown.splitlines() if line.startswith("random> ")]
    assert actions == [move.action for move in game.moves]
    assert f"terminated after 5 turns, return {game.return_:.3f}" in shown


def test_turns_that_run_out_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said("play sayso/Maze-v0 --player random --set max_moves=3 --seed 1", capsys)
    assert "truncated after 3 turns" in shown


def test_what_a_pipe_types_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "\x1b[31mred\n")
    assert "\x1b" not in said("play sayso/Wordle-v0", capsys)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("play sayso/Recomend-v0", "Did you mean 'sayso/Recommend-v0'"),
        ("play sayso/Recommend-v0 --split test", "has no tasks"),
        ("play sayso/Maze-v0 --task start-99-99", "does not exist"),
        ("play sayso/Recommend-v0 --player orakel", "does not exist"),
        ("play sayso/Maze-v0 --set starts=some", "'split' or 'all'"),
        ("list models --bounds 5", "has no effect on models"),
    ],
)
def test_bad_input_is_explained(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in said(arguments, capsys, code=2)


def test_bounds_are_measured_for_each_split(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sayso.envs import registry

    monkeypatch.setattr(registry, "ids", lambda: ["sayso/Recommend-v0", "sayso/TinyLang-v0"])
    rows = json.loads(said("list envs --bounds 8 --json", capsys))["envs"]
    assert rows[0]["splits"] == {"train": 4000, "held_out": 1000, "unseen": 1000}
    assert rows[0]["range"] == [0.0, 1.0]
    assert set(rows[0]["bounds"]["oracle"]) == {"train", "held_out", "unseen"}
    means = {name: found["unseen"]["mean"] for name, found in rows[0]["bounds"].items()}
    assert means["random"] < means["oracle"]
    assert set(rows[1]["bounds"]["reference"]) == {"train"}
    text = said("list envs --bounds 8", capsys)
    assert f"oracle: train {rows[0]['bounds']['oracle']['train']['mean']:.3f} [" in text


def test_without_bounds_nothing_is_played(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sayso.envs import scripted

    monkeypatch.setattr(scripted, "bounds", lambda *a, **k: pytest.fail("played"))
    assert "bounds" not in said("list envs --json", capsys)


def test_a_picture_is_drawn_and_a_sound_written_to_be_listened_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tasks("train", tuple(SCENES))[4]
    thing = task.payload["objects"][0]
    typed(monkeypatch, f"{thing['shape']}\n")
    lines = said(f"play sayso/Vision-v0 --task {task.id}", capsys).splitlines()
    assert lines[2:4] == ["user: <image>", f"Which shape is {thing['colour']}?"]
    assert {len(line) for line in lines[4:28]} == {48}
    row, column = thing["y"] * 24 // 1000, thing["x"] * 48 // 1000
    assert lines[4 + row][column] == thing["colour"][0]
    assert lines[29].startswith("reward 1.000 (answer 1.000")
    assert lines[30].startswith("terminated after 1 turn"), "no empty message after the end"
    typed(monkeypatch, "\n")
    shown = said("play sayso/Sound-v0", capsys)
    path = re.search(r"dB of full scale: (\S+\.wav)", shown)
    assert path is not None
    env = SoundEnv()
    place = int(generator(0, "play", "train").integers(len(env.tasks("train"))))
    played, _ = env.reset(options={"task": env.tasks("train")[place].id})
    assert np.abs(sound_of(Path(path[1])).data - played[0].media[0].data).max() < 1e-4  # type: ignore[union-attr]


def test_colours_of_half_blocks_are_those_of_the_picture() -> None:
    data = np.zeros((2, 2, 3), np.uint8)
    data[0, 1], data[1, 0] = (255, 0, 0), (1, 2, 3)
    assert picture(data, in_colour=True) == (
        "\x1b[38;2;0;0;0m\x1b[48;2;1;2;3m▀\x1b[38;2;255;0;0m\x1b[48;2;0;0;0m▀\x1b[0m"
    )
