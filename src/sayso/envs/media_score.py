"""Judging what an answer says of a picture or a sound: facts named against facts that hold.

A task's ``asked`` says which: ``{"form": ..., "value": ...}``, with the forms below.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sayso.envs.one_turn import Graded
from sayso.rewards.answers import Exact
from sayso.rewards.compose import product, weighted_mean

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
SIDES = ("left", "right", "above", "below")
NOTES = ("C", "D", "E", "F", "G")
TRENDS = ("rising", "falling", "level")
LENGTHS = ("long", "short")
PLACES = ("first", "second", "third", "fourth")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBERS = (*DIGITS, "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
           "seventeen", "eighteen")  # fmt: skip
VALUES: Mapping[str, Mapping[str, str]] = {
    "colour": {colour: colour for colour in COLOURS} | {"violet": "purple"},
    "shape": {shape: shape for shape in SHAPES}
    | {f"{shape}s": shape for shape in SHAPES if shape != "cross"}
    | {"crosses": "cross"},
    "side": {side: side for side in SIDES} | {"over": "above", "under": "below"},
    "note": {note.lower(): note for note in NOTES},
    "trend": {trend: trend for trend in TRENDS}
    | {"rise": "rising", "rises": "rising", "fall": "falling", "falls": "falling"},
    "length": {length: length for length in LENGTHS},
    "place": {place: place for place in PLACES},
    "digit": {word: str(i) for i, word in enumerate(DIGITS)} | {str(i): str(i) for i in range(10)},
    "number": {word: str(i) for i, word in enumerate(NUMBERS)}
    | {str(i): str(i) for i in range(len(NUMBERS))},
}
"""What an answer may name, by kind: word to value."""
_DENYING = "no not never neither nor none without or either maybe perhaps isn aren doesn don"
DENIALS = frozenset(_DENYING.split())
_AROUND = (
    "a an the and is are there it its this that these i see hear of on in at to with picture "
    "image sound shape shapes colour color colours colors one note notes tone tones beep beeps "
    "digit digits number answer small large big say says then they shows contains spoken played"
)
LIGHT = frozenset(_AROUND.split())
"""Words that an answer may use around its facts, besides those of the question."""
SIZES = ("large", "small", "big", "little")
WEIGHTS = {"objects": 0.5, "colours": 0.25, "shapes": 0.25}
BUDGETS = {"one": 12, "object": 16, "objects": 40, "sequence": 16, "text": 40}
"""Words of an answer up to which length costs nothing, by form."""
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_EXACT = Exact()
Pair = tuple[str | None, str | None]
"""Colour and shape of an object; what is not named is ``None``."""


def score(action: str, payload: Mapping[str, Any]) -> Graded:
    """Reward of an answer to a task in [0, 1], and its parts.

    ``reward = direct * length * form * answer``. ``answer`` is judged by the task's form:

    - ``one``: exactly one value of its ``kind`` is named, and it is the right one: 1, else 0.
    - ``object``: the mean of the same for its colour and its shape; the object that the question
      names (``besides``) may be named once more.
    - ``objects``: multiset Jaccard index (shared over united) of what is named and what is there:
      half for objects, a quarter each for colours and shapes. What is not there costs.
    - ``sequence``: share ``p`` of the places that are right, of those there are or those named,
      whichever are more, corrected for chance (Cohen's kappa with uniform guesses over the ``k``
      values of the kind): ``max(0, (p - 1/k) / (1 - 1/k))``.
    - ``text``: one of the accepted texts, by ``sayso.rewards.Exact``; nothing else is judged.

    ``direct`` is 0 for an answer that denies or leaves open (no, not, or, maybe), else 1.
    ``length`` is 1 up to the form's budget of words and falls linearly to 0 at twice that.
    ``form`` is the share of words that belong to the answer's vocabulary, to the question or to
    ``LIGHT``. ``exact`` is 1 when nothing is missing and nothing wrong; it does not count.

    Args:
        action: What the player said.
        payload: With ``asked`` and ``prompt``.
    """
    asked = payload["asked"]
    if asked["form"] == "text":
        right = _EXACT("", action, answer=asked["value"])
        return right, {"answer": right, "exact": right}
    said = _tokens(action)
    parts = _answer(said, asked)
    answer = weighted_mean(parts, WEIGHTS) if asked["form"] == "objects" else None
    answer = sum(parts.values()) / len(parts) if answer is None else answer
    budget = BUDGETS[asked["form"]]
    guards: dict[str, float] = {
        "direct": float(not DENIALS & set(said)),
        "length": min(1.0, max(0.0, 2.0 - len(said) / budget)),
        "form": _form(said, payload["prompt"]),
    }
    shown = parts if len(parts) > 1 else {}
    found: dict[str, float | None] = {
        "answer": answer, "exact": float(answer == 1.0), **shown, **guards
    }  # fmt: skip
    return product([answer, *guards.values()]), found


def answer_of(asked: Mapping[str, Any]) -> str:
    """A short answer that is right; what the oracle says."""
    form, value = asked["form"], asked["value"]
    if form == "text":
        return str(value[0])
    if form == "sequence":
        return " ".join(value)
    if form == "object":
        return f"{_article(value[0])} {value[0]} {value[1]}"
    if form == "objects":
        counted = Counter(tuple(pair) for pair in value)
        listed = [_several(pair, count) for pair, count in counted.items()]
        return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
    return str(value)


def plural(shape: str) -> str:
    """Two of a shape."""
    return "crosses" if shape == "cross" else f"{shape}s"


def _several(pair: Sequence[str], count: int) -> str:
    colour, shape = pair
    if count == 1:
        return f"{_article(colour)} {colour} {shape}"
    return f"{NUMBERS[count]} {colour} {plural(shape)}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _tokens(text: str) -> list[str]:
    """Words and runs of digits in lower case; a hyphen, unlike in ``rewards.text``, parts words."""
    return _TOKEN.findall(text.lower())


def _answer(said: Sequence[str], asked: Mapping[str, Any]) -> dict[str, float]:
    """How far each asked fact is named, and no other."""
    form, value = asked["form"], asked["value"]
    if form == "one":
        return {"answer": float(set(_named(said, asked["kind"])) == {value})}
    if form == "sequence":
        return {"answer": _in_order(_named(said, asked["kind"]), value, asked["kind"])}
    found = _mentions(said)
    if form == "object":
        besides = tuple(asked.get("besides", ()))
        if besides in found:
            found.remove(besides)
        named = [{pair[i] for pair in found} - {None} for i in range(2)]
        return {name: float(named[i] == {value[i]}) for i, name in enumerate(("colours", "shapes"))}
    there: list[Pair] = [(colour, shape) for colour, shape in value]
    return {
        "objects": _jaccard(found, there),
        "colours": _jaccard([c for c, _ in found if c], [c for c, _ in there]),
        "shapes": _jaccard([s for _, s in found if s], [s for _, s in there]),
    }


def _named(said: Sequence[str], kind: str) -> list[str]:
    """Values of a kind in the order in which they are named; of digits every figure is one."""
    known = VALUES[kind]
    if kind == "digit":
        said = [part for word in said for part in (word if word.isdecimal() else [word])]
    return [known[word] for word in said if word in known]


def _in_order(named: Sequence[str], value: Sequence[str], kind: str) -> float:
    right = sum(one == two for one, two in zip(named, value, strict=False))
    share, chance = right / max(len(named), len(value)), 1 / len(set(VALUES[kind].values()))
    return max(0.0, (share - chance) / (1 - chance))


def _mentions(said: Sequence[str]) -> list[Pair]:
    """Objects named: "two large red circles", "the circle is red"; bare shapes and colours too."""
    found: list[Pair] = []
    colour: str | None = None
    count = 1
    for before, word in zip(("", *said), said, strict=False):
        if word in VALUES["shape"]:
            found += [(colour, VALUES["shape"][word])] * count
            colour, count = None, 1
            continue
        if word in SIZES:
            continue
        if colour is not None:
            found.append((colour, None))
        colour, is_said_of = VALUES["colour"].get(word), before in ("is", "are")
        if colour and is_said_of and found and found[-1][0] is None:
            found[-1], colour = (colour, found[-1][1]), None
        if not colour:
            count = max(1, int(VALUES["number"].get(word, 1)))
    return [*found, (colour, None)] if colour is not None else found


def _jaccard(one: Sequence[Any], two: Sequence[Any]) -> float:
    """Multiset Jaccard index; ``two`` is not empty."""
    left, right = Counter(one), Counter(two)
    return (left & right).total() / (left | right).total()


def _form(said: Sequence[str], prompt: str) -> float:
    """Share of the words that may stand in an answer; 0 for none."""
    known = LIGHT.union(_tokens(prompt), *VALUES.values())
    return sum(w in known or w.isdecimal() for w in said) / len(said) if said else 0.0
