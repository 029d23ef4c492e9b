"""The simulated viewer: utility by hand, drift, boredom, true answers; how answers are read."""

from __future__ import annotations

import math

import pytest

from sayso.envs.recommend_read import MOOD, read
from sayso.envs.recommend_user import FADE, Item, Viewer, squashed, verdict

WESTERN = Item(title="The Pale Road", tags=("slow", "western"), stars=3.0, appetite=0.2)
COMEDY = Item(title="The Blue Tide", tags=("slow", "comedy"), stars=4.0, appetite=-0.1)
TITLES = ["The Pale Road", "The Blue Tide", "The Blue Tide Turns", "Rosemary's Baby (1968)"]
TAGS = ["western", "slow", "spy story", "Film-Noir"]


def viewer(drift: float = 0.0, boredom: float = 0.0) -> Viewer:
    taste = {"slow": 0.3, "western": 0.9, "comedy": -0.8, "loud": 0.3}
    return Viewer(taste=taste, drift=drift, boredom=boredom)


def test_the_first_utility_is_the_logistic_of_four_times_the_appetite() -> None:
    assert viewer().utility(WESTERN) == pytest.approx(1 / (1 + math.exp(-0.8)))
    assert squashed(0.0) == 0.5


def test_what_pleased_is_wanted_more_and_what_disappointed_less() -> None:
    someone = viewer(drift=0.4)
    pleased = someone.watch(WESTERN)
    assert pleased == squashed(0.2)
    assert someone.liking("western") == pytest.approx(0.9 + 0.4 * (2 * pleased - 1))
    assert someone.utility(WESTERN) == pytest.approx(squashed(0.2 + 0.4 * (2 * pleased - 1)))
    before = someone.liking("comedy")
    assert someone.watch(Item(title="x", tags=("comedy",), stars=1.0, appetite=-1.0)) < 0.5
    assert someone.liking("comedy") < before


def test_boredom_grows_with_repetition_and_fades_with_other_films() -> None:
    someone = viewer(boredom=0.5)
    someone.watch(WESTERN)
    assert someone.utility(WESTERN) == pytest.approx(squashed(0.2 - 0.5))
    assert someone.utility(COMEDY) == pytest.approx(squashed(-0.1 - 0.25))
    someone.watch(WESTERN)
    assert someone.utility(WESTERN) == pytest.approx(squashed(0.2 - 0.5 * (1 + FADE)))
    someone.watch(Item(title="x", tags=("loud",), stars=3.0))
    assert someone.utility(WESTERN) == pytest.approx(squashed(0.2 - 0.5 * (1 + FADE) * FADE))


def test_answers_are_true_now_not_when_the_session_began() -> None:
    someone = viewer(boredom=1.0)
    assert (someone.likes("western"), someone.likes("comedy")) == ("Yes.", "No.")
    assert someone.mood() == ("western", "loud", "comedy")
    someone.watch(WESTERN)
    assert someone.likes("western") == "I do not mind."
    assert someone.mood() == ("loud", "western", "comedy")


@pytest.mark.parametrize(
    ("utility", "name"),
    [(1.0, "loved"), (0.8, "loved"), (0.79, "liked"), (0.55, "liked"), (0.54, "so-so"),
     (0.3, "so-so"), (0.29, "disliked"), (0.0, "disliked")],
)  # fmt: skip
def test_verdicts_say_how_much_a_film_pleased(utility: float, name: str) -> None:
    assert verdict(utility) == name


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("The Pale Road", "The Pale Road"),
        ("  the PALE road!\n", "The Pale Road"),
        ("I think you will love The Pale Road, a slow western.", "The Pale Road"),
        ("The Blue Tide Turns", "The Blue Tide Turns"),
        ("Watch Rosemary's Baby (1968).", "Rosemary's Baby (1968)"),
        ("Pale Road", ""),
        ("The Pale Roads", ""),
        ("The Road", ""),
        ("Rosemary's Baby", ""),
        ("", ""),
    ],
)
def test_a_title_counts_where_all_its_words_stand_in_order(text: str, title: str) -> None:
    said = read(text, TITLES, TAGS)
    assert (said.title, said.problem) == (title, "" if title else "nothing")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("The Pale Road or The Blue Tide", "several"),
        ("The Pale Road The Pale Road", "several"),
        ("The Blue Tide Turns and The Blue Tide", "several"),
        ("Do not watch The Pale Road", "unclear"),
        ("I don’t recommend The Pale Road", "unclear"),
        ("The Pale Road " + "very " * 40, "too long"),
        ("The Pale Road " + "x" * 5000, "too long"),
        ("What do you feel like? The weather?", "nothing"),
        ("Do you like polka films?", "nothing"),
    ],
)
def test_what_recommends_nothing_is_told_why(text: str, problem: str) -> None:
    said = read(text, TITLES, TAGS)
    assert (said.title, said.question, said.problem) == ("", "", problem)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        (MOOD, MOOD),
        ("what do you feel like", MOOD),
        ("Do you like western films?", "western"),
        ("do you like slow movies", "slow"),
        ("Do you like spy story?", "spy story"),
        ("Do you like film-noir?", "Film-Noir"),
    ],
)
def test_questions_are_read(text: str, about: str) -> None:
    assert read(text, TITLES, TAGS).question == about


def test_words_around_a_title_can_only_cost() -> None:
    assert read("The Pale Road", TITLES, TAGS).clarity == 1.0
    assert read("You would like The Pale Road.", TITLES, TAGS).clarity == 1.0
    assert read("xqz blorp The Pale Road zzkk vrrm", TITLES, TAGS).clarity == 0.0
    pleading = "please please please The Pale Road please please please"
    assert read(pleading, TITLES, TAGS).clarity == 0.0
