"""Scorers that stand on other packages: what they give, what fools them, and without them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sayso import rewards
from sayso.errors import EnvContractError, ExtraMissingError, OptionValueError
from sayso.rewards import answers, likeness

REFERENCE = "The ship left the harbour at dawn with forty sailors on board."
PROMPT = "Write one sentence about a ship that leaves the harbour."
LITTLE = 0.35


def behind_form(scorer: Any, text: str, **columns: Any) -> float:
    shown = rewards.Sum({"it": scorer}, gates={"form": rewards.Form()})(PROMPT, text, **columns)
    return sum(value for value in shown.values() if value is not None)


# --- references (extra metrics) ---------------------------------------------------------------

OVERLAP = ["rougeL", "bleu", "chrf"]


def overlap(name: str) -> Any:
    pytest.importorskip("rouge_score" if name.startswith("rouge") else "sacrebleu")
    return {
        "rougeL": rewards.Rouge(),
        "rouge1": rewards.Rouge(kind="rouge1"),
        "bleu": rewards.Bleu(),
        "chrf": rewards.ChrF(),
    }[name]


@pytest.mark.parametrize("name", [*OVERLAP, "rouge1"])
def test_the_reference_itself_has_1_and_nothing_has_0(name: str) -> None:
    scorer = overlap(name)
    assert scorer(PROMPT, REFERENCE, reference=REFERENCE) == pytest.approx(1.0)
    assert scorer(PROMPT, REFERENCE, reference=["Fish.", REFERENCE]) == pytest.approx(1.0)
    for nothing in ("", " ", "...", "?!"):
        assert scorer(PROMPT, nothing, reference=REFERENCE) == 0.0
    for odd in ("\ud800", "x" * 3_000, "東京", "<|im_end|>"):
        assert 0.0 <= scorer(PROMPT, odd, reference=REFERENCE) < LITTLE


def test_rouge_is_the_published_f_measure() -> None:
    # "the cat" of 2 and 6 words: precision 1, recall 1/3.
    score = overlap("rouge1")(PROMPT, "The cat", reference="The cat sat on the mat")
    assert score == pytest.approx(0.5)


ATTACKS = {
    "gibberish": "sdf kjh wer sdfl kjs dfkl wer xcv",
    "a word for ever": "harbour " * 40,
    "articles": "the the the the the the",
    "echo": PROMPT,
    "the words, sorted": " ".join(sorted(REFERENCE.lower().strip(".").split())),
    "the words, twice over": "dawn sailors harbour ship board forty left on with at the the " * 2,
    "another text": "My aunt keeps three goats behind the bakery.",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", [*OVERLAP, "rouge1"])
def test_overlap_is_not_earned_by_tricks_behind_the_gate(name: str, attack: str) -> None:
    assert behind_form(overlap(name), ATTACKS[attack], reference=REFERENCE) <= LITTLE


@pytest.mark.parametrize("name", [*OVERLAP, "rouge1"])
def test_overlap_behind_the_gate_is_earned_by_a_good_sentence(name: str) -> None:
    text = "The ship left the harbour at dawn with its sailors on board."
    assert behind_form(overlap(name), text, reference=REFERENCE) > 2 * LITTLE


def test_rouge1_alone_is_fooled_by_a_list_of_words_and_says_so() -> None:
    assert overlap("rouge1")(PROMPT, ATTACKS["the words, sorted"], reference=REFERENCE) == 1.0
    assert "list of the reference's words" in (likeness.__doc__ or "").replace("\n", " ")


def test_a_reference_without_text_is_an_error_and_not_a_zero() -> None:
    for wrong in ("", [], [""], None, 3):
        with pytest.raises(EnvContractError, match="no text and no list"):
            overlap("chrf")(PROMPT, "x", reference=wrong)


# --- sentiment (extra metrics) ----------------------------------------------------------------


def test_sentiment_has_a_side_and_plain_text_has_none() -> None:
    pytest.importorskip("vaderSentiment")
    happy = "I love this wonderful cafe, and the staff were kind to my dog."
    angry = "I hate this awful place and its rude staff, never again."
    plain = "The train leaves at nine from the second platform."
    positive, negative = rewards.Sentiment(), rewards.Sentiment(wanted="negative")
    assert positive(PROMPT, happy) > 0.8
    assert negative(PROMPT, angry) > 0.8
    assert positive(PROMPT, angry) == negative(PROMPT, happy) == positive(PROMPT, plain) == 0.0
    assert rewards.Sentiment(wanted="neutral")(PROMPT, plain) == 1.0
    assert positive(PROMPT, "") == rewards.Sentiment(wanted="neutral")(PROMPT, "") == 0.0


@pytest.mark.parametrize(
    "stuffed",
    [
        "great wonderful lovely amazing happy joy love superb",
        "Great! Great! Great! Great! Great! Great!",
        "Thank you, thank you, thank you, thank you so much!",
        "Love.",
        "Please please please, kind kind sir, great great joy",
        "GREAT GREAT WONDERFUL!!!!!!!!!!!! :) :) :)",
        "love " * 200,
    ],
)
def test_sentiment_is_not_earned_by_stuffing(stuffed: str) -> None:
    pytest.importorskip("vaderSentiment")
    assert rewards.Sentiment()(PROMPT, stuffed) <= LITTLE


# --- JSON (extra structured) ------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "earned"),
    [
        ('{"name": "Ann", "age": 3}', 1.0),
        ('```json\n{"name": "Ann", "age": 3}\n```', 1.0),
        (' {"age": 3,\n"name": ""} ', 1.0),
        ('{"name": "Ann"}', 0.325),
        ('{"name": "Ann", "age": "3"}', 0.325),
        ('{"name": "Ann", "age": -3}', 0.325),
        ("{}", 0.1),
        ("[]", 0.1),
        ("3", 0.1),
        ('"name age"', 0.1),
        ("", 0.0),
        ("name: Ann, age: 3", 0.0),
        ('Sure! {"name": "Ann", "age": 3}', 0.0),
        ('{"name": "Ann", "age": 3} {"name": "Bob", "age": 4}', 0.0),
        ('{"name": "Ann", "age": 3, "age": 4}', 0.0),
        ('{"name": "Ann", "age": NaN}', 0.0),
        ("[" * 100_000, 0.0),
        ('{"name": "Ann", "a": 1, "b": 1, "c": 1, "d": 1}', 0.1),
        (str(SCHEMA).replace("'", '"').replace("False", "false"), 0.1),
    ],
)
def test_json_earns_by_its_fit(text: str, earned: float) -> None:
    pytest.importorskip("jsonschema")
    assert rewards.JsonSchema(schema=SCHEMA)(PROMPT, text) == pytest.approx(earned)


def test_a_schema_may_come_with_each_row() -> None:
    pytest.importorskip("jsonschema")
    scorer = rewards.JsonSchema(schema_column="shape")
    assert scorer.columns == ("shape",)
    assert scorer(PROMPT, "3", shape={"type": "integer"}) == 1.0
    assert scorer(PROMPT, "3", shape='{"type": "string"}') == 0.1


def test_a_pattern_of_a_schema_that_never_ends_is_stopped_and_the_next_is_judged() -> None:
    pytest.importorskip("jsonschema")
    slow = {"type": "string", "pattern": "^(a+)+$"}
    scorer = rewards.JsonSchema(schema=slow, timeout_s=0.5)
    assert scorer(PROMPT, '"' + "a" * 40 + '!"') == 0.0
    assert rewards.JsonSchema(schema=slow)(PROMPT, '"aaa"') == 1.0
    assert rewards.JsonSchema(schema=slow)(PROMPT, '"b"') == 0.1


NESTED = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"multipleOf": 0.5}, "1e400"),
        ({"multipleOf": 0.5}, "1" + "0" * 400),
        (NESTED, "[" * 300 + "]" * 300),
        (NESTED, "[" * 990 + "]" * 990),
    ],
)
def test_json_on_which_the_check_breaks_is_worth_nothing(schema: Any, text: str) -> None:
    """Never an invalid episode: it is the text's doing."""
    pytest.importorskip("jsonschema")
    assert rewards.JsonSchema(schema=schema)(PROMPT, text) == 0.0
    assert rewards.JsonSchema(schema=NESTED)(PROMPT, "[[]]") == 1.0


@pytest.mark.parametrize("scorer", ["Regex", "JsonSchema", "Math"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_time_in_which_nothing_can_be_checked_is_refused(scorer: str, seconds: float) -> None:
    options = {"Regex": {"pattern": "a"}, "JsonSchema": {"schema": {}}, "Math": {}}[scorer]
    with pytest.raises(OptionValueError, match=f"reward {scorer}.timeout_s"):
        getattr(rewards, scorer)(**options, timeout_s=seconds)


def test_schemas_that_are_none_are_refused() -> None:
    pytest.importorskip("jsonschema")
    with pytest.raises(OptionValueError, match="no JSON schema"):
        rewards.JsonSchema(schema={"type": "integr"})
    with pytest.raises(OptionValueError, match="needs one of"):
        rewards.JsonSchema()


# --- mathematics (extra math) -----------------------------------------------------------------


@pytest.mark.medium  # a process imports sympy
def test_mathematics_is_compared_by_value() -> None:
    pytest.importorskip("math_verify")
    score = rewards.Math()
    for text, right in [
        ("$\\frac{1}{2}$", "1/2"),
        ("The answer is 0.5", "\\frac{1}{2}"),
        ("So it is $x^2+2x+1$", "(x+1)^2"),
        ("\\boxed{\\{1,2\\}}", "\\{2,1\\}"),
        ("\\boxed{4}", 4),
    ]:
        assert score(PROMPT, text, answer=right) == 1.0, text
    for text in (
        "",
        "\\boxed{3} or \\boxed{4}",
        "4 3 2 1",
        "$x=1$ or $x=4$",
        "{answer}",
        "$1$, $2$, $3$, $4$",
        "__import__('os').system('exit')",
        "correct",
        PROMPT,
    ):
        assert score(PROMPT, text, answer="4") == 0.0, text
    with pytest.raises(EnvContractError, match="no mathematics in it"):
        score(PROMPT, "4", answer="")


def test_boxes_that_only_begin_alike_are_a_hedge() -> None:
    two = r"\boxed{\frac{1}{2}} $\boxed{\frac{1}{3}}$"
    assert rewards.Math()(PROMPT, two, answer=r"\frac{1}{3}") == 0.0


@pytest.mark.medium
def test_boxes_that_say_the_same_are_none() -> None:
    pytest.importorskip("math_verify")
    same = r"So $\boxed{\frac{1}{3}}$, that is $\boxed{ \frac{1}{3}}$."
    assert rewards.Math()(PROMPT, same, answer="1/3") == 1.0


@pytest.mark.medium
def test_mathematics_that_never_ends_is_stopped_and_the_next_is_judged() -> None:
    pytest.importorskip("math_verify")
    assert rewards.Math(timeout_s=0.5)(PROMPT, "$5^{5^{5^{5^{5}}}}$", answer="4") == 0.0
    assert rewards.Math()(PROMPT, "4", answer="4") == 1.0


# --- without the packages ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("rouge_score", "metrics", lambda: rewards.Rouge(kind="rouge2")("", "a", reference="a")),
        ("sacrebleu", "metrics", lambda: rewards.ChrF(word_order=1)("", "a", reference="a")),
        ("jsonschema", "structured", lambda: rewards.JsonSchema(schema={"title": "none"})),
        ("vaderSentiment", "metrics", lambda: rewards.Sentiment()("", "a")),
    ],
)
def test_without_its_package_a_scorer_names_the_extra(
    module: str, extra: str, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    likeness._vader.cache_clear()
    answers._require_schema.cache_clear()
    with pytest.raises(ExtraMissingError, match=rf"sayso\[{extra}\]"):
        use()
