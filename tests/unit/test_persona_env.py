"""Persona-v0: contract, tasks, players, readers of a user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gymnasium.utils.env_checker import check_env

from sayso.envs.persona import PersonaEnv
from sayso.envs.persona_score import BASE, fresh, score
from sayso.envs.persona_tasks import (
    NUM_TASKS,
    TRAINED,
    UNSEEN_KINDS,
    UNSEEN_PAIRS,
    UNSEEN_THEMES,
    tasks,
)
from sayso.envs.persona_taste import KINDS, inferred
from sayso.envs.scripted import bounds
from sayso.envs.tasks import bucket
from sayso.errors import DataError, EnvContractError, OptionValueError
from sayso.rollout.check import check_text_env


def wanted(payload: Any) -> dict[str, str]:
    return {p["kind"]: p["pole"] for p in payload["preferences"]}


def test_a_prompt_reads_like_this() -> None:
    env = PersonaEnv()
    prompt, _ = env.reset(options={"task": "train-0000", "split": "train"})
    payload = env.task.payload
    lines = prompt.splitlines()
    assert lines[0] == f"Liked: {payload['liked'][0]}"
    assert lines[3] == f"Disliked: {payload['disliked'][1]}"
    assert lines[4].startswith(
        f'Write one or two short sentences with the word "{payload["topic"]}"'
    )
    assert len(prompt.split()) <= 110


def test_an_answer_ends_the_episode_and_shows_its_parts() -> None:
    env = PersonaEnv()
    env.reset(options={"task": "train-0000", "split": "train"})
    asked = set(wanted(env.task.payload))
    _, reward, terminated, truncated, info = env.step("The lamp stood by the door.")
    parts = info["reward_parts"]
    assert (terminated, truncated) == (True, False)
    assert {kind for kind in KINDS if parts[kind] is not None} == asked
    met = max(0.1, parts["on_topic"]) * parts["utility"]
    assert reward == pytest.approx(parts["fluency"] * (BASE + (1 - BASE) * met))
    with pytest.raises(EnvContractError, match="no task is posed"):
        env.step("Too late.")


@pytest.mark.medium
def test_thousands_of_tasks_no_content_twice_and_no_reader_in_two_splits() -> None:
    found = {split: list(tasks(split)) for split in NUM_TASKS}
    for split, listed in found.items():
        assert len({task.content_hash for task in listed}) == NUM_TASKS[split]
    for split in ("train", "held_out"):
        for task in found[split]:
            key = [task.payload["topic"], task.payload["preferences"]]
            assert (bucket(key) == 0) is (split == "held_out")


def news(payload: Any) -> set[str]:
    """What a task has that ``train`` never has: a kind, a theme, a pair of kinds."""
    style = wanted(payload)
    kinds = {"kind" for kind in style if kind in UNSEEN_KINDS}
    themes = {"theme" for pole in style.values() if pole in UNSEEN_THEMES}
    pairs = {"pair" for pair in UNSEEN_PAIRS if set(pair) <= set(style)}
    return kinds | themes | pairs


def test_every_unseen_reader_has_a_taste_that_no_trained_one_has() -> None:
    for index in range(30):
        assert news(tasks("train")[index].payload) == set()
        assert news(tasks("held_out")[index].payload) == set()
        payload = tasks("unseen")[index].payload
        assert payload["family"] in news(payload)
    families = [tasks("unseen")[index].payload["family"] for index in range(30)]
    assert {families.count(family) for family in ("kind", "theme", "pair")} == {10}


def test_texts_of_trained_readers_show_nothing_that_is_unseen() -> None:
    from sayso.envs.persona_taste import measure

    unseen = [(kind, KINDS[kind][0]) for kind in UNSEEN_KINDS]
    unseen += [("theme", theme) for theme in UNSEEN_THEMES]
    for index in range(30):
        payload = tasks("train")[index].payload
        for text in (*payload["liked"], *payload["disliked"]):
            scores = measure(text)
            assert all(scores[pole] == 0.0 for pole in unseen), text
    assert set(TRAINED) == set(KINDS) - set(UNSEEN_KINDS)


@pytest.mark.parametrize("split", ["train", "held_out", "unseen"])
def test_the_examples_tell_exactly_the_hidden_taste(split: str) -> None:
    for index in range(30):
        payload = tasks(split)[index].payload
        told = {p["kind"]: p["pole"] for p in inferred(payload["liked"], payload["disliked"])}
        assert told == wanted(payload)


def test_ids_find_their_tasks_and_no_others() -> None:
    listed = tasks("held_out")
    assert listed.index_of(listed[3].id) == 3
    assert [listed.index_of(x) for x in ("held_out-1000", "held_out-3", "train-0003")] == [None] * 3
    assert len(tasks("nowhere")) == 0


def test_more_pairs_show_more_texts_of_other_tasks() -> None:
    four = PersonaEnv(num_pairs=4).tasks("train")[0].payload
    assert (len(four["liked"]), len(four["disliked"])) == (4, 4)
    for wrong in (1, 9):
        with pytest.raises(OptionValueError, match="num_pairs"):
            PersonaEnv(num_pairs=wrong)


@pytest.mark.medium
def test_the_players_stand_in_order() -> None:
    found = {
        name: x.mean for name, x in bounds(PersonaEnv(), split="held_out", num_games=60).items()
    }
    assert found["random"] < 0.15
    assert 0.15 < found["any_style"] < 0.4
    assert 0.15 < found["one_style"] < 0.45
    assert found["infers"] > 0.95
    assert found["knows"] > 0.95


@pytest.mark.medium
def test_both_checkers_accept_it_on_200_seeds_and_find_no_exploit() -> None:
    check_env(PersonaEnv(), skip_render_check=True)
    assert not check_text_env("sayso/Persona-v0", num_seeds=200, exploits=False).problems
    report = check_text_env("sayso/Persona-v0", num_seeds=10)
    assert max(report.exploits.values()) <= 0.05


def test_fresh_counts_runs_of_three_words_from_one_text() -> None:
    shown = ["one two three four five six", "a b c d e f"]
    assert fresh("one two three four five six", shown) == 0.0
    assert fresh("seven eight nine ten", shown) == 1.0
    assert fresh("one two three v w x y z", shown) == 1.0  # one run in six is free
    assert fresh("one two three four x y", shown) == pytest.approx(0.25)
    assert fresh("one two", shown) == 1.0


READER = {
    "topic": "bridge",
    "liked": ["Did you see the boat?", "Did the dog run?"],
    "disliked": ["The boat was red.", "A dog ran."],
    "preferences": [{"kind": "structure", "pole": "question", "weight": 2}],
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_own_readers_are_posed_and_judged_by_their_preferences(tmp_path: Path) -> None:
    env = PersonaEnv(data=write(tmp_path / "x.jsonl", {**READER, "split": "unseen"}))
    (task,) = env.tasks("unseen")
    assert not env.tasks("train")
    assert score("Who built the old bridge by the mill?", task.payload)[0] >= 0.9
    assert score("They built the old bridge by the mill.", task.payload)[0] <= 0.1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"topic": ""}, "`topic` is no text"),
        ({"liked": ["One."]}, "as many texts"),
        ({"liked": [], "disliked": []}, "as many texts"),
        ({"preferences": []}, "no list of preferences"),
        ({"preferences": [{"kind": "tone"}]}, "not just kind, pole and weight"),
        ({"preferences": [{"kind": "tone", "pole": "x", "weight": 1}]}, "'x' is not known"),
        ({"preferences": [{**READER["preferences"][0], "weight": 0}]}, "is not positive"),  # type: ignore[index]
        ({"preferences": READER["preferences"] * 2}, "preferred twice"),  # type: ignore[operator]
    ],
)
def test_wrong_readers_are_refused(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        PersonaEnv(data=write(tmp_path / "x.jsonl", {**READER, **change}))
    assert "line 1" in str(raised.value)
    assert told in str(raised.value)
