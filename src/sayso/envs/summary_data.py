"""Documents that are not ours, for ``sayso/Summary-v0``: a user's file, and the package aclsum."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sayso.envs.rows import read_rows, tasks_of_rows
from sayso.envs.summary_tasks import ENV_ID, SHORTEST_RATIO, SPARE_WORDS, render
from sayso.errors import ExtraMissingError
from sayso.rewards.text import words
from sayso.types import Task

SHORTEST_BUDGET = 8
ASPECTS = {
    "challenge": "the problem that this text takes on",
    "approach": "the approach of this text",
    "outcome": "the outcome of this text",
}
"""Aspects of aclsum's summaries, as the prompt says them."""
UNSEEN_ASPECT = "outcome"
MOST_WORDS = 220
"""Longest abstract of aclsum that becomes a task."""


def budget_for(document: str, summary: str) -> int:
    """Words that a summary may have: those of the reference and a few, else a quarter.

    Never more than the document divided by 2, so that copying it cannot pay.
    """
    num = len(words(document))
    wanted = len(words(summary)) + SPARE_WORDS if summary else max(SHORTEST_BUDGET, num // 4)
    return min(5 * -(-wanted // 5), int(num / SHORTEST_RATIO))


def own_tasks(path: str | Path) -> dict[str, tuple[Task, ...]]:
    """Tasks by split from a file of a user's own; a document is in one split only.

    Raises:
        DataError: If the file cannot be read or a row is wrong.
    """
    rows = read_rows(path, _problem)
    return tasks_of_rows(rows, ENV_ID, key=lambda row: row["document"], payload=_payload)


def _payload(row: Mapping[str, Any]) -> dict[str, Any]:
    document, summary = row["document"].strip(), row.get("summary", "")
    budget = row.get("budget") or budget_for(document, summary)
    found = {
        "domain": "own", "document": document, "budget": budget,
        "facts": [_fact(i, fact) for i, fact in enumerate(row.get("facts", []))],
        "prompt": render(document, budget),
    }  # fmt: skip
    return {**found, "summary": summary} if summary else found


def _fact(index: int, given: Any) -> dict[str, Any]:
    """A fact from a text, a list of texts, or a list of lists of wordings."""
    parts = [given] if isinstance(given, str) else given
    return {
        "kind": f"fact_{index}",
        "all": [[part] if isinstance(part, str) else list(part) for part in parts],
    }


def _problem(row: dict[str, Any]) -> str:
    """What is wrong with a row of a user's own."""
    document, summary, facts = row.get("document"), row.get("summary", ""), row.get("facts", [])
    if not isinstance(document, str) or not document.strip():
        return "`document` is no text"
    if not isinstance(summary, str):
        return "`summary` is no text"
    if not isinstance(facts, list) or not all(map(_is_fact, facts)):
        return "`facts` is no list of texts, of lists of texts, or of lists of lists of wordings"
    if not summary.strip() and not facts:
        return "has neither `summary` nor `facts`, so nothing can be judged"
    return _budget_problem(row.get("budget", budget_for(document, summary)), document)


def _budget_problem(budget: Any, document: str) -> str:
    num = len(words(document))
    if not isinstance(budget, int) or isinstance(budget, bool):
        return f"`budget` is {budget!r}, no number of words"
    if budget < SHORTEST_BUDGET or num < SHORTEST_RATIO * budget:
        return (
            f"a document of {num} words with a budget of {budget}: it needs at least "
            f"{SHORTEST_BUDGET} and at most {int(num / SHORTEST_RATIO)}, or copying would pay"
        )
    return ""


def _is_fact(given: Any) -> bool:
    def is_text(part: Any) -> bool:
        return isinstance(part, str) and bool(words(part))

    if not isinstance(given, list):
        return is_text(given)
    return bool(given) and all(
        is_text(part) or (isinstance(part, list) and bool(part) and all(map(is_text, part)))
        for part in given
    )


@lru_cache(maxsize=1)
def aclsum_tasks() -> dict[str, tuple[Task, ...]]:
    """Abstracts of scientific papers with a summary of one aspect each, from the package aclsum.

    ``train`` and ``held_out`` are its ``train`` and ``val`` documents, aspects challenge and
    approach; ``unseen`` its ``test`` documents, the aspect outcome. Read where it is installed.

    Raises:
        ExtraMissingError: If the package is not installed.
    """
    spec = importlib.util.find_spec("aclsum")
    if spec is None or not spec.submodule_search_locations:
        raise ExtraMissingError(
            where=f"{ENV_ID}, data='aclsum'",
            problem="the package aclsum is not installed.",
            fix="Run: pip install 'sayso[summaries]' (or: pip install --no-deps aclsum)",
        )
    # The package is not imported: that would need what only its own training code uses.
    folder = Path(spec.submodule_search_locations[0]) / "dataset"
    found = {}
    for split, name in (("train", "train"), ("held_out", "val"), ("unseen", "test")):
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        made = [task for line in lines if line for task in _papers(json.loads(line), split)]
        found[split] = tuple(made)
    return found


def _papers(row: Mapping[str, Any], split: str) -> list[Task]:
    """Tasks of one paper; none if its abstract is too long, or too short for the reference."""
    document = " ".join(row["sentences"]["abstract"])
    for spaced, joined in ((" ,", ","), (" .", "."), ("( ", "("), (" )", ")"), (" ;", ";")):
        document = document.replace(spaced, joined)
    made = []
    for aspect, said in ASPECTS.items():
        summary = row["summary"].get(aspect, "")
        num, needed = len(words(document)), len(words(summary)) + SPARE_WORDS
        is_posed = (aspect == UNSEEN_ASPECT) is (split == "unseen") and bool(summary)
        if not is_posed or num > MOST_WORDS or num < SHORTEST_RATIO * needed:
            continue
        budget = budget_for(document, summary)
        payload = {
            "domain": "aclsum", "aspect": aspect, "document": document, "summary": summary,
            "budget": budget, "facts": [], "prompt": render(document, budget, said),
        }  # fmt: skip
        name = f"{row['id']}-{aspect}"
        made.append(Task(id=name, env=ENV_ID, split=split, payload=payload))
    return made
