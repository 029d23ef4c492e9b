"""The reward of ``sayso/Summary-v0``.

``fluency * length * faithfulness * (BASE + (1 - BASE) * content)``. Content is the share of the key
facts that are stated, or ROUGE-L against a reference where no facts are known. The products matter:
a copied document is too long, a made-up number or an exchanged winner costs its share of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sayso.envs.summary_facts import coverage, faithfulness
from sayso.rewards.compose import gated, product
from sayso.rewards.overlap import rouge_l
from sayso.rewards.grammar import grammar
from sayso.rewards.quality import quality
from sayso.rewards.text import lowered, sentences, words
from sayso.rewards.vocabulary import FUNCTION_WORDS, is_known

BASE = 0.02
"""Share of the reward that faithful text of the right length earns without a key fact."""
FULL_OVERLAP = 0.6
"""ROUGE-L at which a summary without known facts counts as complete: references differ as much."""
LENGTH_SLOPE = 1.5
"""How many times the budget may be exceeded until nothing is left."""


LEAST_USUAL = 0.3
"""Least grammar of a document that a summary's is divided by."""


def within(text: str, budget: int) -> float:
    """1 up to the budget of words, then falling linearly to 0 at 2.5 times as many."""
    over = max(0, len(words(text)) - budget)
    return max(0.0, 1.0 - over / (LENGTH_SLOPE * budget)) if words(text) else 0.0


def spelling(text: str, document: str) -> float:
    """1 when all words are known or the document's, 0 when a third are neither."""
    found, source = words(text), set(lowered(document))
    unknown = sum(not is_known(w) and w.lower().replace("\u2019", "'") not in source for w in found)
    return max(0.0, 1.0 - 3.0 * unknown / len(found)) if found else 0.0


def neutral(text: str, document: str) -> str:
    """A summary without what rules on prose trip over: names and numbers of its document.

    Inside a sentence, names that the document has are one lower-case word each (``Anna Parker`` is
    ``parker``), and numbers are ``several``.
    """
    source = set(words(document))
    pairs = set(re.findall(r"\b[A-Z][\w'-]* [A-Z][\w'-]*", document))

    def one(match: re.Match[str]) -> str:
        first, last = match.group().split()
        is_pair = match.group() in pairs and first.lower() not in FUNCTION_WORDS
        return last if is_pair else match.group()

    def lower(match: re.Match[str]) -> str:
        return match.group().lower() if match.group() in source else match.group()

    single = re.sub(r"\b[A-Z][\w'-]* [A-Z][\w'-]*", one, text)
    single = re.sub(r"\bscore(?=d?\b)", "close", single)
    raised = re.sub(r"(?<=[^.!?]\s)[A-Z][\w'-]*", lower, single)
    return re.sub(r"(?<=[^.!?]\s)\d[\d,]*(?:\.\d+)?(?:[-\u2013]\d+)?(?!\w)", "several", raised)


@lru_cache(maxsize=256)
def _usual_grammar(document: str) -> float:
    """Mean grammar of a document's own sentences: rules made for plain prose are strict with
    other prose."""
    found = [grammar(neutral(sentence, document)) or 0.0 for sentence in sentences(document)]
    return max(LEAST_USUAL, sum(found) / max(1, len(found)))


def fluency(text: str, document: str, instruction: str, budget: int) -> dict[str, float]:
    """Quality parts of a summary. Copying from the document is allowed, from the instruction not.

    Names that stand in the document are no capitals out of place, its words are spelled right, and
    grammar is held against that of its own sentences.
    """
    parts = quality(
        neutral(text, document), prompt=instruction, low=min(8, budget), high=budget
    )
    usual = min(1.0, parts["grammar"] / _usual_grammar(document))
    return {**parts, "grammar": usual, "spelling": spelling(text, document)}


def score(text: str, payload: Mapping[str, Any]) -> tuple[float, dict[str, float | None]]:
    """Reward of a summary for a task, and its parts.

    Args:
        text: What the policy wrote.
        payload: The task's payload.

    Returns:
        The reward in [0, 1] and its parts by name: ``coverage`` (``None`` where no facts are known),
        ``rouge_l`` (``None`` without a reference; it counts only where no facts are known),
        ``length``, ``faithfulness`` with its parts, ``fluency`` with its parts.
    """
    document, budget, facts = payload["document"], payload["budget"], payload["facts"]
    reference = payload.get("summary")
    instruction = payload["prompt"][len(document) :]
    # A reference may say what only the whole paper does: then it is a source as well.
    source = document if facts or not reference else f"{document} {reference}"
    gates = fluency(text, source, instruction, budget)
    true = faithfulness(text, source, facts)
    stated = coverage(text, facts)
    covered = sum(stated.values()) / len(stated) if stated else None
    overlap = rouge_l(text, reference) if reference else None
    content = min(1.0, (overlap or 0.0) / FULL_OVERLAP) if covered is None else covered
    size = within(text, budget)
    gate = product(gates.values()) * product(true.values()) * size
    parts: dict[str, float | None] = {
        "coverage": covered, "rouge_l": overlap, "length": size,
        "faithfulness": product(true.values()), **true, "fluency": product(gates.values()), **gates,
    }  # fmt: skip
    return gated(content, gate=gate, base=BASE), parts
