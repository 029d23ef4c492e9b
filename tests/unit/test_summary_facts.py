"""Key facts: what states them, what contradicts them, what is made up."""

from __future__ import annotations

from typing import Any

import pytest

from sayso.envs.summary_facts import coverage, faithfulness, tokens
from sayso.envs.summary_tasks import pools
from sayso.rewards.compose import product

DOCUMENT = (
    "Oxford beat Derby 3-1 in the cup. The car park holds 300 cars. About 4,200 fans had come to "
    "the old ground on Friday. Anna Parker scored the last goal after a long run. The next match "
    "there will be on Sunday."
)
VALUES = {
    "winner": "Oxford", "loser": "Derby", "score": "3-1", "score_to": "3 to 1",
    "score_back": "1 to 3", "day": "Friday", "next": "Sunday", "crowd": "4,200",
    "scorer": "Anna Parker", "scorer_last": "Parker",
}  # fmt: skip


def filled(given: Any) -> Any:
    if isinstance(given, dict):
        return {key: filled(value) for key, value in given.items()}
    if isinstance(given, list):
        return [filled(value) for value in given]
    return given.format(**VALUES) if isinstance(given, str) else given


FACTS = filled(pools()["domains"]["match"]["facts"])
KINDS = {"result", "score", "when", "scorer", "crowd"}


def stated(text: str) -> set[str]:
    return {kind for kind, value in coverage(text, FACTS).items() if value}


def faith(text: str) -> float:
    return product(faithfulness(text, DOCUMENT, FACTS).values())


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (DOCUMENT, KINDS),
        (
            "Oxford beat Derby 3-1 on Friday before 4,200 fans.",
            {"result", "score", "when", "crowd"},
        ),
        ("Derby lost 3-1 to Oxford.", {"result", "score"}),
        ("Derby were beaten by Oxford on Friday evening.", {"result", "when"}),
        ("Derby was defeated by Oxford.", {"result"}),
        ("Oxford defeated Derby 3 to 1.", {"result", "score"}),
        ("A crowd of 4200 saw Parker score the last goal.", {"crowd", "scorer"}),
        ("The last goal came from Anna Parker.", {"scorer"}),
        ("On Friday 4,200 spectators came.", {"when", "crowd"}),
        ("Oxford won.", set()),
        ("The teams met.", set()),
        ("Parker was there. A goal fell.", set()),  # the parts of a fact stand in one sentence
        ("There were 4,200 of them.", set()),
    ],
)
def test_facts_are_found_in_other_words(text: str, facts: set[str]) -> None:
    assert stated(text) == facts


@pytest.mark.parametrize(
    "text",
    [
        DOCUMENT,
        "Oxford beat Derby 3-1 on Friday before 4,200 fans.",
        "Derby lost to Oxford; Anna Parker scored the last goal.",
        "The next match will be on Sunday, said the report.",
        "The car park holds 300 cars.",
    ],
)
def test_what_the_document_says_is_faithful(text: str) -> None:
    assert faith(text) >= 0.9


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Derby beat Oxford 3-1 on Friday.", "facts"),  # exchanged
        ("Oxford lost to Derby on Friday.", "facts"),
        ("Oxford was beaten by Derby on Friday.", "facts"),
        ("Derby won the cup on Friday.", "facts"),
        ("Oxford beat Derby on Sunday.", "facts"),  # the day of another match
        ("Oxford beat Derby before 300 fans.", "facts"),  # the number of the cars
        ("Oxford beat Derby, and the car park holds 4,200 cars.", "facts"),
        ("Oxford did not beat Derby 3-1.", "facts"),
        ("Oxford never won against Derby 3-1.", "facts"),
        ("Oxford beat Derby 1 to 3.", "facts"),
        ("Oxford beat Derby 1-3 on Friday.", "numbers"),
        ("Oxford beat Derby before 5,000 fans.", "numbers"),
        ("Oxford beat Derby before fifty fans.", "numbers"),
        ("Oxford beat Milton 3-1 on Friday.", "names"),
        ("Oxford beat Derby on Tuesday.", "names"),
        ("Oxford beat Derby, and Peter Hughes scored the last goal.", "names"),
        ("Bristol beat Derby 3-1 on Friday.", "names"),
        ("A dragon slept under the garden while a wizard sang an ancient ballad.", "claims"),
    ],
)
def test_what_it_does_not_say_costs_more_than_half(text: str, part: str) -> None:
    parts = faithfulness(text, DOCUMENT, FACTS)
    assert parts[part] <= 0.5, parts
    assert product(parts.values()) <= 0.5


def test_an_exchanged_or_negated_fact_is_not_stated() -> None:
    assert "result" not in stated("Derby beat Oxford 3-1 on Friday.")
    assert stated("Oxford did not beat Derby 3-1 on Friday.") == set()


def test_the_direction_nearest_to_the_number_counts() -> None:
    fact = {"kind": "change", "all": [["12"], ["rose", "grew"]], "wrong": ["fell"],
            "units": ["percent"]}  # fmt: skip
    document = "Sales rose by 12 percent. Costs fell."
    assert coverage("Sales rose by 12 percent.", [fact]) == {"change": 1.0}
    assert coverage("Sales fell by 12 percent, while hopes rose.", [fact]) == {"change": 0.0}
    assert faithfulness("Sales fell by 12 percent.", document, [fact])["facts"] == pytest.approx(
        0.3
    )
    assert faithfulness("Sales rose by 12 percent.", document, [fact])["facts"] == 1.0


def test_a_list_of_words_states_no_place_and_no_day() -> None:
    facts = filled([{"kind": "when", "all": [["{day}"]], "attached": [0]}])
    assert coverage("It was on Friday.", facts) == {"when": 1.0}
    assert coverage("It was Oxford and Friday and Derby.", facts) == {"when": 0.0}


def test_numbers_in_words_and_with_commas_are_one() -> None:
    assert tokens("4,200 fans") == tokens("4200 fan") == ["4200", "fan"]
    assert tokens("Twelve, twenty-two") == ["12", "22"]
    assert tokens("3-1, 3\u20131") == ["3-1", "3-1"]
    assert tokens("one of them") == ["one", "of", "them"]


def test_nothing_is_faithful_to_nothing() -> None:
    assert set(faithfulness("", DOCUMENT, FACTS).values()) == {0.0}
    assert set(faithfulness("?!", DOCUMENT, FACTS).values()) == {0.0}
