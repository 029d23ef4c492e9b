"""TwentyQuestions: the table is sound, nothing leaks, nothing fuzzy scores, bounds hold."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sayso
from sayso.envs.base import SPLITS
from sayso.envs.scripted import play, play_many
from sayso.envs.twenty_questions import TwentyQuestionsEnv
from sayso.envs.twenty_questions_table import _changed, best_mean, data, normal, table
from sayso.errors import EnvContractError, OptionValueError
from sayso.stats.intervals import bounded_interval

PAGE = (Path(__file__).parents[2] / "docs/environments.md").read_text(encoding="utf-8")
KNOWN = table()
DONT_KNOW = "I don't know."


def answers(thing: str) -> dict[str, bool]:
    row = KNOWN.rows[KNOWN.things.index(thing)]
    return {name: bool(answer) for name, answer in zip(KNOWN.names, row, strict=True)}


def posed(thing: str, **kwargs: Any) -> TwentyQuestionsEnv:
    env = TwentyQuestionsEnv(**kwargs)
    env.reset(options={"task": thing.replace(" ", "-"), "split": "train"})
    return env


def test_the_table_is_as_large_as_the_docstring_says_and_no_two_things_are_alike() -> None:
    assert KNOWN.rows.shape == (367, 70)
    assert "367 things" in (TwentyQuestionsEnv.__doc__ or "")
    assert len(set(KNOWN.things)) == 367
    assert len({row.tobytes() for row in KNOWN.rows}) == 367


def test_every_question_is_true_of_some_things_and_not_of_others() -> None:
    counts = KNOWN.rows.sum(axis=0)
    assert counts.min() >= 3
    assert counts.max() <= 0.6 * len(KNOWN.things)


def test_the_table_keeps_its_own_rules() -> None:
    rules = data()["implies"]
    assert len(rules) > 25
    broken = [
        (thing, first, then)
        for thing in KNOWN.things
        for first, listed in rules.items()
        for then in listed.split()
        if answers(thing)[first] and answers(thing)[then.removeprefix("!")] is then.startswith("!")
    ]
    assert broken == []


def test_what_everyone_knows() -> None:
    cat = {"animal", "mammal", "four_legs", "fur", "pet", "meat", "fast"}
    assert {name for name, holds in answers("a cat").items() if holds} == cat
    facts = {
        "an ostrich": "bird !flies africa", "a bat": "mammal flies !bird",
        "a whale": "mammal water big", "a lemon": "fruit yellow !sweet",
        "a bicycle": "wheels !engine", "a submarine": "water !flies", "a knife": "cuts metal",
        "a snowman": "white !animal", "the moon": "round light !made",
    }  # fmt: skip
    for thing, claimed in facts.items():
        for name in claimed.split():
            assert answers(thing)[name.removeprefix("!")] is not name.startswith("!"), (thing, name)


def test_an_exception_that_changes_nothing_is_refused() -> None:
    assert _changed(["a", "b"], ["+c", "-a"], "x") == {"b", "c"}
    for slip in ("+a", "-c", "*c"):
        with pytest.raises(ValueError, match="changes nothing"):
            _changed(["a", "b"], [slip], "x")


def test_no_two_wordings_are_the_same_turn() -> None:
    worded = [*KNOWN.question_places, *KNOWN.guess_places]
    assert len(set(worded)) == len(KNOWN.questions) + len(KNOWN.things)


def test_questions_cost_one_are_answered_from_the_table_and_the_right_guess_costs_nothing() -> None:
    env = posed("a lion")
    asked = ["Is it an animal?", "Can it fly?", "Is it a cat?", "Is it a lion?"]
    steps = [env.step(action) for action in asked]
    assert [s[0] for s in steps] == ["Yes.", "No.", "No.", "Yes."]
    assert [s[1] for s in steps] == [-1.0, -1.0, -1.0, 0.0]
    assert [s[2] for s in steps] == [False, False, False, True]
    assert not any(s[3] for s in steps)


def test_every_answer_of_every_question_is_the_tables() -> None:
    for place, thing in enumerate(KNOWN.things):
        env = TwentyQuestionsEnv(num_turns=100)
        env._thing = place
        replies = [env.step(question)[0] == "Yes." for question in KNOWN.questions]
        assert replies == KNOWN.rows[place].tolist()
        assert np.flatnonzero(env.possible).tolist() == [place]
        assert env.step(f"Is it {thing}?")[:3] == ("Yes.", 0.0, True)


def test_the_twentieth_turn_ends_the_game_right_or_wrong() -> None:
    env = posed("a lion")
    steps = [env.step("Is it a cat?") for _ in range(20)]
    assert [s[2] for s in steps] == [False] * 19 + [True]
    assert sum(s[1] for s in steps) == -20.0
    assert not any(s[3] for s in steps)
    env = posed("a lion")
    steps = [env.step(a) for a in ["Is it a cat?"] * 19 + ["Is it a lion?"]]
    assert sum(s[1] for s in steps) == -19.0
    assert steps[-1][2] is True


@pytest.mark.parametrize(
    "said", ["is it a lion", "  IS IT\ta LION ?!\n", "Is it a lion.", "¿Is it a-lion?"]
)
def test_case_punctuation_and_spaces_do_not_matter(said: str) -> None:
    assert posed("a lion").step(said)[:3] == ("Yes.", 0.0, True)


@pytest.mark.parametrize(
    "said",
    [
        "", " ", "?", "Yes.", "No.", DONT_KNOW, "lion", "a lion", "animal", "a-lion", "Is it a",
        "Is it a lion? Yes.", "Is it a cat? Is it a lion?", "Is it a lion? Is it an animal?",
        "Is it an animal\nCan it fly?", "I think: Is it a lion?", "Is it an lion?", "Is it lion?",
        "Is it a lions?", "Is it a liоn?", "Is it a li\u200bon?", "Is it a l i o n?",
        "Is it a-lion-or-a-cat?", "\ud800🙂 东\x00", "Is it a lion? " * 5_000, "Is it a " * 50_000,
    ],
)  # fmt: skip
def test_anything_else_is_not_known_costs_a_turn_and_tells_nothing(said: str) -> None:
    env = posed("a lion")
    fresh = posed("a lion")._info()
    assert env.step(said) == (DONT_KNOW, -1.0, False, False, fresh)
    assert env.possible.all()


def test_all_guesses_in_one_text_do_not_score() -> None:
    env = posed("a lion")
    assert env.step(" ".join(KNOWN.guesses))[:2] == (DONT_KNOW, -1.0)
    assert env.step(" ".join(KNOWN.questions))[:2] == (DONT_KNOW, -1.0)


def test_what_is_shown_before_the_first_turn_is_the_same_for_all_things() -> None:
    env = TwentyQuestionsEnv()
    shown = {
        str(env.reset(seed=0, options={"task": task.id, "split": split}))
        for split in SPLITS
        for task in env.tasks(split)
    }
    assert len(shown) == 1


def test_choices_are_unasked_questions_then_also_the_guesses_that_agree() -> None:
    env = posed("a lion")
    info = env._info()
    assert info["choices"] == list(KNOWN.questions)
    for question in ("Is it an animal?", "Does it have fur?", "Does it live wild in Africa?"):
        info = env.step(question)[4]
    guesses = [c for c in info["choices"] if c in KNOWN.guesses]
    agreeing = [
        f"Is it {t}?"
        for t in KNOWN.things
        if answers(t)["animal"] and answers(t)["fur"] and answers(t)["africa"]
    ]
    assert guesses == agreeing
    assert 2 <= len(guesses) <= 20
    assert len(info["choices"]) == 67 + len(guesses)
    wrong = next(guess for guess in guesses if guess != "Is it a lion?")
    assert wrong not in env.step(wrong)[4]["choices"]
    assert posed("a lion", list_choices=False).step("Can it fly?")[4] == {}


def test_the_questions_can_be_told() -> None:
    text, _ = TwentyQuestionsEnv(tell_questions=True).reset(seed=0)
    assert all(question in text for question in KNOWN.questions)
    assert "Can it fly?" not in TwentyQuestionsEnv().reset(seed=0)[0]


def test_splits_share_no_thing_and_no_unseen_category_is_trained_on() -> None:
    env = TwentyQuestionsEnv()
    things = {s: {t.payload["thing"] for t in env.tasks(s)} for s in SPLITS}
    assert all(not a & b for a, b in itertools.combinations(things.values(), 2))
    assert set.union(*things.values()) == set(KNOWN.things)
    assert {s: len(found) for s, found in things.items()} == {
        "train": 273, "held_out": 61, "unseen": 33,
    }  # fmt: skip
    category = dict(zip(KNOWN.things, KNOWN.categories, strict=True))
    assert {category[thing] for thing in things["unseen"]} == {"clothes", "instrument"}
    assert not {category[thing] for thing in things["train"]} & {"clothes", "instrument"}
    assert env.tasks("test") == ()


def test_no_player_can_beat_the_bound_over_all_things() -> None:
    assert [best_mean(n) for n in (1, 2, 3, 4)] == [0.0, -0.5, -1.0, -1.5]
    env = TwentyQuestionsEnv()
    act = env.scripted["information_gain"].act
    tasks = [task for split in SPLITS for task in env.tasks(split)]
    returns = [play(env, task, act, seed=0).return_ for task in tasks]
    assert best_mean(367) - 0.7 < sum(returns) / 367 <= best_mean(367)
    assert min(returns) > -20


def test_a_game_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    env = TwentyQuestionsEnv()
    task, act = env.tasks("train")[0], env.scripted["mixture"].act
    one, two, other = (play(env, task, act, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.moves != other.moves


def test_normal_forms() -> None:
    assert normal("  Is it a YO-YO?!") == "is it a yo yo"
    assert normal("_¿?_") == ""


def test_a_step_before_reset_and_a_game_without_turns_are_refused() -> None:
    with pytest.raises(EnvContractError, match="came before reset"):
        TwentyQuestionsEnv().step("Can it fly?")
    with pytest.raises(OptionValueError, match="num_turns"):
        TwentyQuestionsEnv(num_turns=0)


@pytest.mark.medium
@pytest.mark.parametrize("tell_questions", [False, True])
def test_it_keeps_the_contract_with_two_hundred_seeds(tell_questions: bool) -> None:
    report = sayso.check_text_env(
        "sayso/TwentyQuestions-v0", num_seeds=200, tell_questions=tell_questions
    )
    assert set(report.exploits.values()) == {-20.0}


@pytest.mark.parametrize("player", ["information_gain", "mixture", "random"])
def test_the_pages_bounds_are_those_of_its_line(player: str) -> None:
    env = TwentyQuestionsEnv()
    row = rf"^\| `TwentyQuestions` \| `{player}` \| (.*?) \| (.*?) \| (.*?) \|$"
    (told,) = re.findall(row, PAGE, re.MULTILINE)
    for split, interval in zip(SPLITS, told, strict=True):
        games = play_many(
            env, env.scripted[player].act, split=split, num_games=len(env.tasks(split)), seed=0
        )
        found = bounded_interval([game.return_ for game in games], -20.0, 0.0)
        assert interval == str(found)
    assert f"{best_mean(367):.2f}" in PAGE
