"""Scorers of form and of answers, against literal values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from sayso import rewards
from sayso.errors import EnvContractError, OptionValueError
from sayso.rewards.answers import boxes, final_number
from sayso.rewards.surface import flesch, syllables

GOOD = "The old harbour was quiet, and the boats rested under a pale moon."
TEXT_SCORERS = [
    rewards.Distinct(),
    rewards.Repetition(),
    rewards.Form(),
    rewards.Readability(),
    rewards.Length(min_words=8, max_words=20),
]


@pytest.mark.parametrize("scorer", TEXT_SCORERS, ids=lambda s: type(s).__name__)
def test_a_good_sentence_has_the_full_score_and_no_words_the_least(scorer: Any) -> None:
    assert scorer("Write about the sea.", GOOD) == pytest.approx(1.0)
    for nothing in ("", " \n", "...", "?! -"):
        assert scorer("Write about the sea.", nothing) == scorer.low == 0.0


@pytest.mark.parametrize("scorer", TEXT_SCORERS, ids=lambda s: type(s).__name__)
def test_scores_stay_in_their_range(scorer: Any) -> None:
    for text in (
        GOOD * 40,
        "a",
        "A b c d.",
        "\ud800",
        "x" * 5_000,
        "1 2 3",
        "東京は大きい。",
        GOOD,
    ):
        assert scorer.low <= scorer("Say.", text) <= scorer.high


# --- repetition and readability --------------------------------------------------------------


def test_distinct_counts_pairs_once() -> None:
    score = rewards.Distinct(size=2, min_words=1)
    assert score("", "a b a b") == pytest.approx(2 / 3)  # ab, ba, ab
    assert rewards.Distinct(size=1, min_words=1)("", "a b a b") == 0.5


def test_few_words_are_distinct_and_earn_little() -> None:
    assert rewards.Distinct(size=1, min_words=12)("", "Rain fell.") == pytest.approx(2 / 12)


SYLLABLES = {
    1: "the cat sat on a mat walked makes boxed friend quick strength eye",
    2: "harbour quiet table science being wanted boxes going little open river city people apple",
    3: "area radio beautiful important yesterday family created audience animal remember",
    4: "usually information education independent",
}


def test_syllables_are_right_for_nine_words_in_ten() -> None:
    listed = [(word, count) for count, text in SYLLABLES.items() for word in text.split()]
    right = sum(syllables(word) == count for word, count in listed)
    assert right >= 0.9 * len(listed), [w for w, n in listed if syllables(w) != n]


def test_flesch_is_the_published_formula() -> None:
    # 6 words, 1 sentence, 6 syllables.
    assert flesch("The cat sat on the mat.") == pytest.approx(206.835 - 1.015 * 6 - 84.6)
    assert flesch("...") is None


def test_readability_falls_outside_the_band_on_both_sides() -> None:
    hard = (
        "Institutional considerations necessitated comprehensive investigation of administrative "
        "irregularities throughout municipal organisations."
    )
    assert rewards.Readability()("", hard) == 0.0
    assert rewards.Readability(min_ease=0, max_ease=50)("", GOOD) < 0.1


# --- exact, numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["Paris", " paris. ", '"PARIS"', "Paris!"])
def test_exact_passes_over_case_marks_and_spaces(said: str) -> None:
    assert rewards.Exact()("", said, answer="Paris") == 1.0
    assert rewards.Exact()("", said, answer=["Rome", "Paris"]) == 1.0


def test_exact_to_the_letter_when_asked() -> None:
    strict = rewards.Exact(ignore_case=False, ignore_marks=False)
    assert strict("", "Paris", answer="Paris") == 1.0
    assert strict("", "paris", answer="Paris") == 0.0
    assert strict("", "Paris.", answer="Paris") == 0.0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("So it is 42.", 42.0),
        ("3 and 4 make 7", 7.0),
        ("It costs $1,250.50 in all.", 1250.5),
        ("x = -3", -3.0),
        ("the temperature is \u22125 degrees", -5.0),
        ("10-4", 4.0),
        ("a half is 1/2", 0.5),
        ("\\boxed{12} since 3 * 4", 12.0),
        ("\\boxed{\\frac{84}{2}}", 42.0),
        ("\\boxed{\\text{about } 6}", 6.0),
        ("#### 8\nbut 9 is near", 8.0),
        ("The answer is 42. I tried 3 ways.", 42.0),
        ("50%", 50.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("no number", None),
        ("v2 of x3", None),
        ("1/0", None),
        ("9" * 50, None),
        ("1e999", None),
        ("the answer is 41 or 42", None),
        ("\\boxed{41, 42}", None),
        ("\\boxed{}", None),
    ],
)
def test_the_number_a_text_ends_on(text: str, number: float | None) -> None:
    assert final_number(text) == number


def test_tolerances_are_of_the_number_and_of_its_size() -> None:
    assert rewards.Numeric(tolerance=0.5)("", "3.4", answer=3) == 1.0
    assert rewards.Numeric(tolerance=0.5)("", "3.6", answer=3) == 0.0
    assert rewards.Numeric(relative_tolerance=0.1)("", "109", answer="100") == 1.0
    assert rewards.Numeric(relative_tolerance=0.1)("", "111", answer="100") == 0.0


@pytest.mark.parametrize("wrong", ["none", "1 or 2", float("nan"), ""])
def test_a_right_answer_that_is_no_number_is_an_error_and_not_a_zero(wrong: Any) -> None:
    with pytest.raises(EnvContractError, match="not one number"):
        rewards.Numeric()("", "3", answer=wrong)


# --- words to use -----------------------------------------------------------------------------


def test_words_of_a_column_count_by_their_share_and_as_whole_words() -> None:
    score = rewards.Uses()
    assert score("", "The Lantern by the river.", words=["lantern", "river"]) == 1.0
    assert score("", "The lantern.", words="lantern river") == 0.5
    assert score("", "The lanterns.", words="lantern") == 0.8
    assert score("", "A lanternfish.", words="lantern") == 0.0
    assert score("", "", words="lantern") == 0.0
    with pytest.raises(EnvContractError, match="no text and no list"):
        score("", "x", words=[])


# --- patterns ---------------------------------------------------------------------------------


def test_a_pattern_matches_the_whole_answer_unless_told_otherwise() -> None:
    assert rewards.Regex(pattern=r"\d{3}-\d{4}")("", " 555-1234 ") == 1.0
    assert rewards.Regex(pattern=r"\d{3}-\d{4}")("", "call 555-1234") == 0.0
    assert rewards.Regex(pattern=r"\d{3}-\d{4}", whole=False)("", "call 555-1234") == 1.0
    assert rewards.Regex(pattern=r".*")("", "") == 0.0


def test_a_pattern_that_backtracks_for_ever_is_stopped_and_the_next_call_works() -> None:
    pattern = r"(a+)+$"
    assert rewards.Regex(pattern=pattern, timeout_s=0.2)("", "a" * 50 + "!") == 0.0
    assert rewards.Regex(pattern=pattern, timeout_s=30)("", "aaa") == 1.0


def test_a_pattern_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(OptionValueError, match="no regular expression"):
        rewards.Regex(pattern="(")


# --- what all scorers share -------------------------------------------------------------------


def test_a_missing_column_is_an_error_that_names_it() -> None:
    with pytest.raises(EnvContractError, match="reads the column 'answer'; the row has: reference"):
        rewards.Exact()("", "Paris", reference="Paris")


def test_a_copy_of_a_scorer_is_itself() -> None:
    scorer = rewards.Form()
    assert copy.deepcopy({"reward": scorer})["reward"] is scorer


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: rewards.Distinct(size=0),
        lambda: rewards.Repetition(min_words=0),
        lambda: rewards.Form(unfinished=2.0),
        lambda: rewards.Length(min_words=9, max_words=3),
        lambda: rewards.Readability(width=0),
        lambda: rewards.Readability(min_ease=90, max_ease=10),
        lambda: rewards.Numeric(tolerance=-1.0),
        lambda: rewards.Code(timeout_s=0),
        lambda: rewards.Code(isolation="none"),  # type: ignore[arg-type]
        lambda: rewards.Math(timeout_s=0),
    ],
)
def test_options_out_of_range_are_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(OptionValueError):
        wrong()


def test_boxes_are_whole_whatever_braces_they_hold() -> None:
    text = r"\boxed{\frac{1}{2}} then \boxed{3} and \boxed{4"
    assert [text[place] for place in boxes(text)] == [r"\frac{1}{2}", "3", "4"]
    assert boxes("} 3 {") == []
    assert len(boxes(r"\boxed{" * 100_000)) == 100_000  # in one pass


def test_a_right_number_that_no_float_holds_is_told_of() -> None:
    with pytest.raises(EnvContractError, match="reward Numeric, column 'answer'"):
        rewards.Numeric()("", "3", answer=10**400)
