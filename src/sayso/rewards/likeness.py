"""Scorers against reference texts, by their packages (the extra ``metrics``), and sentiment.

Overlap of words is not meaning: a list of the reference's words scores high in all of them, and
word order counts in ``Rouge`` of kind ``rougeL``, ``Bleu`` and ``ChrF`` only. Put ``Form`` in front
of them as a gate.
"""

from __future__ import annotations

import functools
import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

from sayso.errors import OptionValueError
from sayso.rewards.scorer import Scorer, needs, references
from sayso.rewards.surface import loops
from sayso.rewards.text import lowered

LANGUAGE = re.compile(r"\w")


@dataclass(frozen=True, kw_only=True)
class Rouge(Scorer):
    """ROUGE against a reference, the best of several; 0 to 1, 0 for a text without words.

    The F-measure, so that neither a word nor a flood is rewarded.

    Attributes:
        column: Column with the reference, or a list.
        kind: ``"rougeL"`` (longest common subsequence), ``"rouge1"``, ``"rouge2"``.
    """

    column: str = "reference"
    kind: Literal["rouge1", "rouge2", "rougeL"] = "rougeL"

    def __post_init__(self) -> None:
        _require_one_of(self, "kind", ("rouge1", "rouge2", "rougeL"))

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """F-measure."""
        scorer = _rouge(self.kind)
        texts = references(columns, self.column, self)
        return max(float(scorer.score(text, completion)[self.kind].fmeasure) for text in texts)


@dataclass(frozen=True, kw_only=True)
class Bleu(Scorer):
    """Sentence BLEU against the references, of sacrebleu; 0 to 1, 0 for a text without words.

    Smoothed (``exp``) and with effective order, sacrebleu's own defaults for sentences.

    Attributes:
        column: Column with the reference, or a list.
    """

    column: str = "reference"

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """BLEU / 100."""
        texts = references(columns, self.column, self)
        if not LANGUAGE.search(completion):
            return 0.0
        bleu = _sacrebleu("BLEU", effective_order=True)
        return min(1.0, float(bleu.sentence_score(completion, texts).score) / 100)


@dataclass(frozen=True, kw_only=True)
class ChrF(Scorer):
    """Character n-gram F-score (chrF++) of sacrebleu; 0 to 1, 0 without words.

    Attributes:
        column: Column with the reference, or a list.
        word_order: Longest word n-gram; 0: characters only, 2: chrF++.
    """

    column: str = "reference"
    word_order: int = 2

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """ChrF / 100."""
        texts = references(columns, self.column, self)
        if not LANGUAGE.search(completion):
            return 0.0
        chrf = _sacrebleu("CHRF", word_order=self.word_order)
        return min(1.0, float(chrf.sentence_score(completion, texts).score) / 100)


@dataclass(frozen=True, kw_only=True)
class Sentiment(Scorer):
    """How positive (or negative) a text sounds, by VADER's word list; 0 to 1, 0 without words.

    The part of VADER's compound score on the wanted side, so that plain text earns 0 (neutral: one
    less its size). Times repetition, and less where more than ``max_share`` of the words carry
    feeling: "great wonderful lovely" is no text.

    Attributes:
        wanted: ``"positive"``, ``"negative"`` or ``"neutral"``.
        max_share: Share of words with feeling from which the score falls.
        min_words: Words from which the score counts in full.
    """

    wanted: Literal["positive", "negative", "neutral"] = "positive"
    max_share: float = 0.34
    min_words: int = 6

    def __post_init__(self) -> None:
        _require_one_of(self, "wanted", ("positive", "negative", "neutral"))
        if not 0 < self.max_share <= 1 or self.min_words < 1:
            raise OptionValueError(
                where="reward Sentiment",
                problem=f"max_share is {self.max_share!r}, min_words {self.min_words!r}.",
                fix="Use a share in (0, 1] and at least one word.",
            )

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Strength of the wanted feeling."""
        vader, found = _vader(), lowered(completion)
        if not found:
            return 0.0
        compound = float(vader.polarity_scores(completion)["compound"])
        strength = {
            "positive": max(0.0, compound),
            "negative": max(0.0, -compound),
            "neutral": 1.0 - abs(compound),
        }[self.wanted]
        share = sum(word in vader.lexicon for word in found) / len(found)
        stuffed = 1.0 if share <= self.max_share else (self.max_share / share) ** 2
        return strength * stuffed * min(1.0, len(found) / self.min_words) * loops(completion)


@functools.lru_cache(maxsize=8)
def _rouge(kind: str) -> Any:
    module = needs("rouge_score.rouge_scorer", extra="metrics", of="Rouge")
    return module.RougeScorer([kind], use_stemmer=True)


@functools.lru_cache(maxsize=8)
def _sacrebleu(kind: str, **options: Any) -> Any:
    module = needs("sacrebleu.metrics", extra="metrics", of={"BLEU": "Bleu"}.get(kind, "ChrF"))
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # warns at each short sentence
    return getattr(module, kind)(**options)


@functools.lru_cache(maxsize=1)
def _vader() -> Any:
    module = needs("vaderSentiment.vaderSentiment", extra="metrics", of="Sentiment")
    return module.SentimentIntensityAnalyzer()


def _require_one_of(scorer: Scorer, name: str, known: tuple[str, ...]) -> None:
    if getattr(scorer, name) not in known:
        raise OptionValueError(
            where=f"reward {type(scorer).__name__}.{name}",
            problem=f"is {getattr(scorer, name)!r}.",
            fix=f"Use one of: {', '.join(known)}.",
        )
