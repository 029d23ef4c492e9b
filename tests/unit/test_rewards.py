"""Facts about texts, composition and constraints, checked against literal examples."""

from __future__ import annotations

import pytest

from sayso.rewards import compose, constraints, text
from sayso.rewards.vocabulary import LIGHT_WORDS

# --- facts about a text ---------------------------------------------------------------------


def test_words_keep_hyphens_and_apostrophes_and_drop_marks() -> None:
    assert text.words("Don't stop, old-timer: 3.5 miles!") == [
        "Don't",
        "stop",
        "old-timer",
        "3.5",
        "miles",
    ]


def test_curly_apostrophes_are_straightened_when_lowered() -> None:
    assert text.lowered("It\u2019s LATE") == ["it's", "late"]


def test_lines_are_counted_without_the_empty_ones() -> None:
    assert text.lines("one \n\n  two\n") == ["one", "two"]


def test_sentences_split_at_stops_but_not_at_titles_or_inside_numbers() -> None:
    assert text.sentences("Mr. Hall paid 3.50 today. Why? He left") == [
        "Mr. Hall paid 3.50 today.",
        "Why?",
        "He left",
    ]


def test_line_breaks_do_not_end_a_sentence() -> None:
    assert text.sentences("The sea is calm\nand the boats are home.") == [
        "The sea is calm and the boats are home."
    ]


def test_distinct_counts_ngrams() -> None:
    assert text.distinct(["a", "b", "a", "b"], 1) == 0.5
    assert text.distinct(["a", "b", "a", "b"], 2) == pytest.approx(2 / 3)
    assert text.distinct(["a"], 2) is None


def test_longest_run_and_shared_run() -> None:
    assert text.longest_run(["a", "b", "b", "b", "a"]) == 3
    assert text.longest_run([]) == 0
    assert text.shared_run(["x", "one", "two", "three", "y"], ["one", "two", "three", "four"]) == 3
    assert text.shared_run(["a"], ["b"]) == 0


def test_character_runs_ignore_one_ellipsis() -> None:
    assert text.num_character_runs("Wait... what?") == 0
    assert text.num_character_runs("What?? Nooo!!!") == 3


def test_repetition_is_free_for_light_words_and_costs_for_others() -> None:
    assert text.repetition("The cat saw the dog by the sea.", light=LIGHT_WORDS) == 1.0
    assert text.repetition("A cat met a cat.", light=LIGHT_WORDS) == pytest.approx(0.45)
    assert text.repetition("", light=LIGHT_WORDS) is None


def test_each_kind_of_repetition_costs_by_itself() -> None:
    def cost(answer: str) -> float:
        score = text.repetition(answer, light=LIGHT_WORDS)
        assert score is not None
        return round(1.0 - score, 9)

    assert cost("The cat saw another cat.") == 0.3
    assert cost("The cat and the dog and the cow and the pig.") == 0.45
    assert cost("She was in the sea in the rain.") == 0.1
    assert cost("It was very very cold.") == 0.4
    assert cost("The rain is here!!") == 0.35
    assert cost("The rain is here.") == 0.0


def test_a_loop_has_no_repetition_score_however_long() -> None:
    for times in (3, 12, 100):
        assert text.repetition("My dog ran. Your cat sat. " * times, light=LIGHT_WORDS) == 0.0


# --- composing --------------------------------------------------------------------------------


def test_weighted_mean_leaves_out_parts_that_do_not_apply() -> None:
    weights = {"a": 1.0, "b": 3.0, "c": 100.0}
    assert compose.weighted_mean({"a": 1.0, "b": 0.0, "c": None}, weights) == 0.25
    assert compose.weighted_mean({"c": None}, weights) is None


def test_a_part_without_a_weight_is_an_error() -> None:
    with pytest.raises(KeyError):
        compose.weighted_mean({"a": 1.0}, {})


def test_product_skips_parts_that_do_not_apply() -> None:
    assert compose.product([0.5, None, 0.5]) == 0.25
    assert compose.product([]) == 1.0


def test_a_closed_gate_leaves_nothing_and_an_open_one_leaves_the_base() -> None:
    assert compose.gated(1.0, gate=0.0, base=0.2) == 0.0
    assert compose.gated(0.0, gate=1.0, base=0.2) == 0.2
    assert compose.gated(0.5, gate=0.5, base=0.2) == pytest.approx(0.3)
    assert compose.gated(None, gate=0.7, base=0.2) == pytest.approx(0.7)


# --- constraints: what holds, what does not -----------------------------------------------------

HOLDS = [
    ({"kind": "length", "low": 3, "high": 5}, "One two three."),
    ({"kind": "length", "low": 3, "high": 5}, "One two three four five."),
    ({"kind": "lines", "count": 2}, "One,\n\ntwo."),
    ({"kind": "sentences", "count": 2}, "He came. She left."),
    ({"kind": "use", "words": ["lantern", "river"]}, "The RIVER took my lantern."),
    ({"kind": "avoid", "words": ["night"]}, "A nightly nightmare."),
    ({"kind": "ending", "mark": "!"}, 'He cried, "Run!"'),
    ({"kind": "ending", "mark": "?"}, "Who is there?"),
    ({"kind": "ending", "mark": "?"}, "When the rain stops, will you come?"),
    ({"kind": "first_word", "word": "When"}, '"When will it end?" she asked.'),
    ({"kind": "last_word", "word": "sea"}, 'He loved the "Sea".'),
    ({"kind": "tone", "label": "sad", "words": ["tear"]}, "Two tears fell."),
    ({"kind": "place", "label": "at sea", "words": ["ship"]}, "The ship sank."),
    ({"kind": "time", "label": "on Monday", "words": ["monday"]}, "It rained on Monday."),
    ({"kind": "name", "words": ["Anna"]}, "Nobody saw Anna."),
    ({"kind": "number"}, "Seven boats came."),
    ({"kind": "number"}, "It sold for 40 pounds."),
]
FAILS = [
    ({"kind": "length", "low": 3, "high": 5}, "One two."),
    ({"kind": "length", "low": 3, "high": 5}, "One two three four five six."),
    ({"kind": "lines", "count": 2}, "One two."),
    ({"kind": "sentences", "count": 2}, "He came, she left."),
    ({"kind": "use", "words": ["lantern", "river"]}, "The river took my lamp."),
    ({"kind": "use", "words": ["art"]}, "The party started."),
    ({"kind": "avoid", "words": ["night"]}, "A dark Night."),
    ({"kind": "avoid", "words": ["night"]}, ""),
    ({"kind": "ending", "mark": "!"}, "Run!!"),
    ({"kind": "ending", "mark": "!"}, "Run."),
    ({"kind": "ending", "mark": "?"}, "A silent clock?"),
    ({"kind": "ending", "mark": "?"}, "?"),
    ({"kind": "ending", "mark": "?"}, "When the night came to the sea?"),
    ({"kind": "first_word", "word": "When"}, "Whenever it rains."),
    ({"kind": "first_word", "word": "When"}, "Tell me when."),
    ({"kind": "last_word", "word": "sea"}, "The sea is calm."),
    ({"kind": "tone", "label": "sad", "words": ["tear"]}, "The teardrop fell."),
    ({"kind": "place", "label": "at sea", "words": ["ship"]}, "Their friendship ended."),
    ({"kind": "time", "label": "on Monday", "words": ["monday"]}, "It rained on Sunday."),
    ({"kind": "name", "words": ["Anna"]}, "Nobody saw Annabel."),
    ({"kind": "number"}, "Someone came."),
]


@pytest.mark.parametrize(("constraint", "answer"), HOLDS)
def test_a_constraint_that_holds_scores_one(constraint: dict[str, object], answer: str) -> None:
    assert constraints.check(answer, constraint) == 1.0


@pytest.mark.parametrize(("constraint", "answer"), FAILS)
def test_a_constraint_that_fails_scores_below_one(
    constraint: dict[str, object], answer: str
) -> None:
    assert constraints.check(answer, constraint) < 0.9


def test_every_kind_of_constraint_has_an_example_that_holds_and_one_that_fails() -> None:
    assert {str(c["kind"]) for c, _ in HOLDS} == set(constraints.CONSTRAINTS)
    assert {str(c["kind"]) for c, _ in FAILS} == set(constraints.CONSTRAINTS)


def test_length_rises_towards_its_range_from_both_sides() -> None:
    counts = [constraints.near(count, 8, 14) for count in range(60)]
    assert counts[8:15] == [1.0] * 7
    assert counts[:9] == sorted(counts[:9])
    assert counts[0] == 0.0
    assert counts[14:] == sorted(counts[14:], reverse=True)
    assert counts[40] == 0.0
    assert counts[4] == 0.25
    assert counts[17] == pytest.approx(1 - 3 / 21)


def test_using_one_of_two_words_earns_half_and_a_plural_nearly_all() -> None:
    assert constraints.uses("A lantern.", words=["lantern", "river"]) == 0.5
    assert constraints.uses("Two lanterns.", words=["lantern"]) == 0.8
