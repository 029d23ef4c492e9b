"""The tasks of ``sayso/Summary-v0``: short reports with known key facts among filler.

``train`` and ``held_out`` are one distribution over six kinds of reports, cut by the hash of the
report; ``unseen`` are three kinds that are never trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

import numpy as np

from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.rewards.text import words
from sayso.seeds import generator

ENV_ID = "sayso/Summary-v0"
NUM_TASKS = {"train": 4000, "held_out": 1000, "unseen": 1000}
NUM_FILLER = (3, 5)
"""Fewest and most sentences that tell no key fact."""
SPARE_WORDS = 7
"""What the budget leaves beyond a summary that tells everything, before rounding up to 5."""
SHORTEST_RATIO = 2.0
"""A document has at least so many words for each word of the budget: copying it never pays."""
LEAD_SHARE = 0.5
"""How often a report opens with its first key fact."""


@lru_cache(maxsize=1)
def pools() -> Mapping[str, Any]:
    """Kinds of reports: ``envs/data/summary.json``."""
    path = files("sayso.envs").joinpath("data", "summary.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def domains(split: str) -> tuple[str, ...]:
    """Kinds of reports of a split."""
    unseen = pools()["unseen"]
    return tuple(name for name in pools()["domains"] if (name in unseen) is (split == "unseen"))


def _draw(draws: np.random.Generator, slots: Mapping[str, Any]) -> dict[str, str]:
    """Values of the slots, no two alike."""
    found: dict[str, str] = {}
    for name, spec in slots.items():
        while True:
            if isinstance(spec, str):
                pool = pools()["pools"][spec]
                value = str(pool[int(draws.integers(len(pool)))])
            else:
                first, last, step = spec
                number = first + step * int(draws.integers((last - first) // step + 1))
                value = f"{number:,}"
            used = {word for other in found.values() for word in other.split()}
            if not used & set(value.split()):
                break
        found[name] = value
    return found


def _more(values: Mapping[str, str]) -> dict[str, str]:
    """Values said in other ways: last names, ``3 to 1``, and the score turned round."""
    found = dict(values)
    for name, value in values.items():
        if " " in value:
            found[f"{name}_last"] = value.split()[-1]
    if "score" in values:
        won, lost = values["score"].split("-")
        found |= {"score_to": f"{won} to {lost}", "score_back": f"{lost} to {won}"}
    return found


def _filled(given: Any, values: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> Any:
    """A fact with its slots filled; ``["@name"]`` is a list of the variant."""
    if isinstance(given, dict):
        return {key: _filled(value, values, lists) for key, value in given.items()}
    if isinstance(given, list):
        if len(given) == 1 and isinstance(given[0], str) and given[0].startswith("@"):
            return list(lists[given[0][1:]])
        return [_filled(value, values, lists) for value in given]
    return given.format(**values) if isinstance(given, str) else given


def report(draws: np.random.Generator, domain: str) -> dict[str, Any]:
    """One report: ``document``, ``facts``, a ``summary`` that tells all of them, ``budget``."""
    kind = pools()["domains"][domain]
    variants = kind.get("variants", [{}])
    variant = variants[int(draws.integers(len(variants)))]
    lists = {name: value for name, value in variant.items() if isinstance(value, list)}
    values = _more(_draw(draws, kind["slots"]))
    values |= {name: value for name, value in variant.items() if isinstance(value, str)}

    def said(wordings: Sequence[str]) -> str:
        text = wordings[int(draws.integers(len(wordings)))].format(**values)
        return text[0].upper() + text[1:]

    key = [said(group) for group in kind["key"]]
    num = int(draws.integers(NUM_FILLER[0], NUM_FILLER[1] + 1))
    filler = [said([kind["filler"][int(i)]]) for i in draws.permutation(len(kind["filler"]))[:num]]
    document = " ".join(_shuffled(draws, key, filler))
    summary = said(kind["summaries"])
    budget = 5 * -(-(len(words(summary)) + SPARE_WORDS) // 5)
    return {
        "domain": domain, "document": document, "summary": summary, "budget": budget,
        "facts": _filled(kind["facts"], values, lists),
    }  # fmt: skip


def _shuffled(draws: np.random.Generator, key: Sequence[str], filler: Sequence[str]) -> list[str]:
    """Key facts keep their order, for they refer to each other; filler goes between them."""
    opens = draws.random() < LEAD_SHARE
    places = draws.permutation(len(key) + len(filler) - opens)[: len(key) - opens]
    chosen = {int(place) + opens for place in places} | ({0} if opens else set())
    rest, told = iter(filler), iter(key)
    return [next(told if i in chosen else rest) for i in range(len(key) + len(filler))]


def render(document: str, budget: int, aspect: str = "") -> str:
    """The prompt: what is asked, then the document; small models lose what stands before it."""
    details = "" if aspect else ": who, what, when, how much"
    asked = f"Summarise {aspect or 'this report'} in one or two sentences, at most {budget} words"
    return f"{asked}{details}.\n\n{document}"


def _payload(split: str, index: int) -> dict[str, Any]:
    """One task's content; draws again until it belongs to the split."""
    kinds = domains(split)
    attempt = 0
    while True:
        draws = generator(0, ENV_ID, split, index, attempt)
        attempt += 1
        drawn = report(draws, kinds[index % len(kinds)])
        is_held_out = bucket(drawn["document"]) == 0
        is_long = len(words(drawn["document"])) >= SHORTEST_RATIO * drawn["budget"]
        if is_long and (split == "unseen" or is_held_out is (split == "held_out")):
            return {**drawn, "prompt": render(drawn["document"], drawn["budget"])}


@lru_cache(maxsize=3)
def tasks(split: str) -> LazyTasks:
    """All tasks of a split in a fixed order, made when looked at; none for an unknown split."""
    count = NUM_TASKS.get(split, 0)
    return numbered_tasks(ENV_ID, split, count, partial(_payload, split), digits=4)
