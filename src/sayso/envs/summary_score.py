"""The reward of ``sayso/Summary-v0``.

``fluency * length * faithfulness * (BASE + (1 - BASE) * content)``. Content is the share of the key
facts that are stated, or ROUGE-L against a reference where no facts are known. The products matter:
a copied document is too long, a made-up number or an exchanged winner costs its share of all.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sayso.envs.summary_facts import REPORTING, coverage, faithfulness, is_number, tokens
from sayso.rewards.compose import gated, product
from sayso.rewards.grammar import grammar
from sayso.rewards.overlap import rouge_l
from sayso.rewards.quality import quality
from sayso.rewards.text import lowered, ngrams, sentences, words
from sayso.rewards.tokens import COMMA, END
from sayso.rewards.tokens import tokens as tokens_and_pauses
from sayso.rewards.vocabulary import (
    COORDINATORS,
    FUNCTION_WORDS,
    is_known,
    lexicon,
    verb_forms,
)

BASE = 0.05
"""Share of the reward that faithful text of the right length earns without a key fact."""
FULL_OVERLAP = 0.6
"""ROUGE-L at which a summary without known facts counts as complete: references differ as much."""
LENGTH_SLOPE = 1.0
"""How many times the budget may be exceeded until nothing is left."""


ADJECTIVES = ("large", "fresh", "plain", "round", "green", "young", "clean", "sharp")
PASTS = ("closed", "opened", "started", "finished", "moved", "filled")
"""What numbers, and pasts that no list has, become for rules on prose."""
MOST_CHARACTERS = 25
"""For each word of the budget; what is longer earns nothing, and its parts are those of a start."""
FREE_JOINS, MOST_JOINS = 0.18, 0.36
FREE_SEAMS, SEAM = 1, 0.6
LEAST_USUAL = 0.3
"""Least grammar of a document that a summary's is divided by."""


def within(text: str, budget: int) -> float:
    """1 up to the budget of words, then falling linearly to 0 at twice as many."""
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
    ``parker``), a score is ``once``, another number an adjective; a past that the lists of verbs
    lack (``scored``) is one that they have.
    """
    source = set(words(document))
    pairs = set(re.findall(r"\b[A-Z][\w'-]* [A-Z][\w'-]*", document))
    adjectives, pasts = itertools.cycle(ADJECTIVES), itertools.cycle(PASTS)

    def one(match: re.Match[str]) -> str:
        first, last = match.group().split()
        is_pair = match.group() in pairs and first.lower() not in FUNCTION_WORDS
        return last if is_pair else match.group()

    def lower(match: re.Match[str]) -> str:
        return match.group().lower() if match.group() in source else match.group()

    def past(match: re.Match[str]) -> str:
        word = match.group()
        is_verb = {word[:-1], word[:-2]} & lexicon() and word not in verb_forms()
        return next(pasts) if is_verb else word

    def counted(match: re.Match[str]) -> str:
        return "once" if re.search(r"[-\u2013]", match.group()) else next(adjectives)

    text = re.sub(r"\b[A-Z][\w'-]* [A-Z][\w'-]*", one, text)
    text = re.sub(r"\b[a-z]{3,}ed\b", past, text)
    text = re.sub(r"(?<=[^.!?]\s)[A-Z][\w'-]*", lower, text)
    return re.sub(r"(?<=[^.!?]\s)\d[\d,]*(?:\.\d+)?(?:[-\u2013]\d+)?(?!\w)", counted, text)


def joins(text: str) -> float:
    """How little a text is a list.

    1 while at most 18 % of its words are coordinators or come with a comma, 0 from 36 %; and each
    bare conjunct (``and Sunday and 59 percent``) beyond the first costs.
    """
    found = tokens_and_pauses(text)
    num = sum(token not in {END, COMMA} for token in found)
    if not num:
        return 0.0
    lists = sum(token in COORDINATORS | {COMMA} for token in found)
    share = (MOST_JOINS - lists / num) / (MOST_JOINS - FREE_JOINS)
    return max(0.0, min(1.0, share)) * SEAM ** max(0, _num_bare(found) - 1)


def _num_bare(found: Sequence[str]) -> int:
    """Conjuncts without a verb, preposition or adverb: a name, a number, a noun alone."""
    ends = [i for i, token in enumerate(found) if token in COORDINATORS | {COMMA, END}]
    stretches = zip(ends, [*ends, len(found)][1:], strict=True)
    return sum(
        found[start] in COORDINATORS
        and not any(_joins_words(token) for token in found[start + 1 : stop])
        for start, stop in stretches
    )


def seams(text: str, document: str) -> float:
    """1 with at most one new pair of neighbours that are nouns or names; each more costs.

    Words of the document set side by side are no sentence: "Oxford sales mayor Dover". A pair over
    a pause is none, and a number may stand before any noun.
    """
    known = {pair for s in sentences(document) for pair in ngrams(tokens(s), 2)}
    new = sum(
        pair not in known
        and not is_number(pair[0])
        and not any(map(_joins_words, pair))
        and pair[0] not in {"percent", "million"}
        for sentence in sentences(text)
        for stretch in re.split(r"[,;:](?!\d)|\s[-\u2013\u2014]\s", sentence)
        for pair in ngrams(tokens(stretch), 2)
    )
    return SEAM ** max(0, new - FREE_SEAMS)


def _joins_words(token: str) -> bool:
    """Whether a word may stand beside any: function words, verbs, adverbs."""
    is_form = token.endswith(("ed", "ing", "ly")) or token in verb_forms()
    return is_form or token in FUNCTION_WORDS | REPORTING | {"score"}


@lru_cache(maxsize=256)
def _usual_grammar(document: str) -> float:
    """Mean grammar of a document's own sentences; rules for plain prose are strict with others."""
    found = [grammar(neutral(sentence, document)) or 0.0 for sentence in sentences(document)]
    return max(LEAST_USUAL, sum(found) / max(1, len(found)))


def fluency(text: str, document: str, instruction: str, budget: int) -> dict[str, float]:
    """Quality parts of a summary. Copying from the document is allowed, from the instruction not.

    Names that stand in the document are no capitals out of place, and grammar is held against that
    of its own sentences.
    """
    parts = quality(neutral(text, document), prompt=instruction, low=min(8, budget), high=budget)
    usual = min(1.0, parts["grammar"] / _usual_grammar(document))
    return {
        **parts, "grammar": usual, "joins": joins(text), "seams": seams(text, document),
    }  # fmt: skip


def score(text: str, payload: Mapping[str, Any]) -> tuple[float, dict[str, float | None]]:
    """Reward of a summary for a task, and its parts.

    Args:
        text: What the policy wrote.
        payload: The task's payload.

    Returns:
        The reward in [0, 1] and its parts by name: ``coverage`` (``None`` where no facts are
        known), ``rouge_l`` (``None`` without a reference; counts only without facts), ``length``,
        ``faithfulness`` with its parts, ``fluency`` with its parts.
    """
    document, budget, facts = payload["document"], payload["budget"], payload["facts"]
    reference = payload.get("summary")
    instruction = payload["prompt"].replace(document, "")
    # A reference may say what only the whole paper does: then it is a source as well.
    source = document if facts or not reference else f"{document} {reference}"
    size = within(text, budget)
    text = text[: MOST_CHARACTERS * budget]
    wordings = " ".join(w for fact in facts for group in fact["all"] for w in group)
    gates = fluency(text, source, instruction, budget)
    gates["spelling"] = spelling(text, f"{source} {wordings}")
    true = faithfulness(text, source, facts)
    stated = coverage(text, facts)
    covered = sum(stated.values()) / len(stated) if stated else None
    overlap = rouge_l(text, reference) if reference else None
    content = min(1.0, (overlap or 0.0) / FULL_OVERLAP) if covered is None else covered
    gate = product(gates.values()) * product(true.values()) * size
    parts: dict[str, float | None] = {
        "coverage": covered, "rouge_l": overlap, "length": size,
        "faithfulness": product(true.values()), **true, "fluency": product(gates.values()), **gates,
    }  # fmt: skip
    return gated(content, gate=gate, base=BASE), parts
