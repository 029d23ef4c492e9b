"""What readers like: poles by example, that exclude each other; taste told from examples."""

from __future__ import annotations

import pytest

from sayso.envs.persona_taste import KINDS, inferred, measure, utility
from sayso.envs.persona_writer import write
from sayso.seeds import generator

HAS = [
    ("length", "short", "We slept well."),
    ("length", "medium", "The old man walked slowly down to the river to fetch water."),
    (
        "length",
        "long",
        "The old man walked " + "down the hill and up the hill " * 2 + "again today.",
    ),
    ("tone", "cheerful", "She laughed in the sunny street."),
    ("tone", "gloomy", "He wept in the cold and empty house."),
    ("tone", "calm", "They rested by the quiet wall."),
    ("vocabulary", "plain", "The man sat by the red door."),
    ("vocabulary", "rich", "The photographer disappeared throughout the celebration."),
    ("structure", "question", "Did you see the bridge?"),
    ("structure", "exclamation", "You saw the bridge!"),
    ("structure", "two sentences", "You saw the bridge. It was old."),
    ("person", "first", "We saw my uncle."),
    ("person", "second", "You saw your uncle."),
    ("person", "third", "She saw her uncle."),
    ("formality", "casual", "He didn't see it."),
    ("formality", "formal", "Indeed, he saw it."),
    ("theme", "animals", "A dog slept there."),
    ("theme", "weather", "Snow fell all day."),
    ("theme", "sky", "The moon was high."),
    ("speech", "speech", '"Come home," she said.'),
    ("number", "number", "He waited for three hours."),
    ("name", "name", "They met Anna there."),
]


@pytest.mark.parametrize(("kind", "pole", "text"), HAS)
def test_a_text_has_the_pole_that_it_shows(kind: str, pole: str, text: str) -> None:
    scores = measure(text)
    assert scores[kind, pole] >= 0.75
    assert all(scores[kind, other] <= 0.35 for other in KINDS[kind] if other != pole)


def test_every_score_lies_between_0_and_1_and_every_pole_has_one() -> None:
    draws = generator(0, "texts")
    for _ in range(200):
        text = write(draws, {}, "bridge")
        assert text is not None
        scores = measure(text)
        assert set(scores) == {(kind, pole) for kind, poles in KINDS.items() for pole in poles}
        assert all(0.0 <= value <= 1.0 for value in scores.values())


@pytest.mark.parametrize("text", ["", " \n", "...", "?!", "🙂"])
def test_no_words_please_nobody(text: str) -> None:
    assert measure(text) == {}
    for kind, poles in KINDS.items():
        wanted = [{"kind": kind, "pole": poles[-1], "weight": 1}]
        assert utility(text, wanted) == (0.0, {kind: 0.0})


def test_naming_every_theme_is_shared_among_them() -> None:
    """Hedging does not pay: the themes share what is there."""
    text = "The dog carried bread in the rain by the sea, near an oak and a violin."
    assert all(measure(text)["theme", pole] <= 0.2 for pole in KINDS["theme"])


def test_mixed_tones_persons_and_manners_are_shared_too() -> None:
    scores = measure("Indeed, I laughed and you didn't weep in the sunny but empty street.")
    assert max(scores["tone", pole] for pole in KINDS["tone"]) <= 0.5
    assert max(scores["person", pole] for pole in KINDS["person"]) <= 0.5
    assert max(scores["formality", pole] for pole in KINDS["formality"]) <= 0.5


@pytest.mark.parametrize("text", ["You saw it. Did you?", "You saw it. It was old!"])
def test_two_sentences_with_another_mark_have_no_structure(text: str) -> None:
    scores = measure(text)
    assert all(scores["structure", pole] == 0.0 for pole in KINDS["structure"])


def test_what_is_quoted_has_no_person() -> None:
    assert measure('"I know you," she said.')["person", "third"] == 1.0


def test_utility_is_the_weighted_mean() -> None:
    wanted = [
        {"kind": "length", "pole": "short", "weight": 3},
        {"kind": "person", "pole": "second", "weight": 1},
    ]
    assert utility("We slept well.", wanted) == (0.75, {"length": 1.0, "person": 0.0})
    assert utility("You slept well.", wanted)[0] == 1.0


def test_taste_is_what_tells_the_liked_from_the_disliked() -> None:
    liked = ["Did we see the dog?", "Did the old man walk down to the river to fetch some water?"]
    disliked = ["We saw the dog.", "The old man walked down to the river to fetch some water."]
    assert inferred(liked, disliked) == [{"kind": "structure", "pole": "question", "weight": 1}]
    assert inferred(liked, liked) == []
