"""Scorers of a text, composed by weights. Pure functions; no torch at import.

``from sayso import rewards`` gives the names below; each loads when first used. Docs: rewards.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sayso.models.lm_judges import Judge as Judge
    from sayso.models.lm_judges import Verdict as Verdict
    from sayso.models.lm_rewards import Perplexity as Perplexity
    from sayso.models.lm_rewards import Similarity as Similarity
    from sayso.models.model_reward import ModelReward as ModelReward
    from sayso.rewards.answers import Exact as Exact
    from sayso.rewards.answers import JsonSchema as JsonSchema
    from sayso.rewards.answers import Numeric as Numeric
    from sayso.rewards.answers import Regex as Regex
    from sayso.rewards.answers import Uses as Uses
    from sayso.rewards.code import Code as Code
    from sayso.rewards.library import make as make
    from sayso.rewards.likeness import Bleu as Bleu
    from sayso.rewards.likeness import ChrF as ChrF
    from sayso.rewards.likeness import Rouge as Rouge
    from sayso.rewards.likeness import Sentiment as Sentiment
    from sayso.rewards.maths import Math as Math
    from sayso.rewards.scorer import Scorer as Scorer
    from sayso.rewards.sums import Part as Part
    from sayso.rewards.sums import Sample as Sample
    from sayso.rewards.sums import Scale as Scale
    from sayso.rewards.sums import Sum as Sum
    from sayso.rewards.sums import calibrated as calibrated
    from sayso.rewards.surface import Distinct as Distinct
    from sayso.rewards.surface import Form as Form
    from sayso.rewards.surface import Length as Length
    from sayso.rewards.surface import Readability as Readability
    from sayso.rewards.surface import Repetition as Repetition
    from sayso.rewards.trl_form import trl as trl

_HOMES = {
    "Bleu": "rewards.likeness",
    "ChrF": "rewards.likeness",
    "Code": "rewards.code",
    "Distinct": "rewards.surface",
    "Exact": "rewards.answers",
    "Form": "rewards.surface",
    "JsonSchema": "rewards.answers",
    "Judge": "models.lm_judges",
    "Length": "rewards.surface",
    "Math": "rewards.maths",
    "ModelReward": "models.model_reward",
    "Numeric": "rewards.answers",
    "Part": "rewards.sums",
    "Perplexity": "models.lm_rewards",
    "Readability": "rewards.surface",
    "Regex": "rewards.answers",
    "Repetition": "rewards.surface",
    "Rouge": "rewards.likeness",
    "Sample": "rewards.sums",
    "Scale": "rewards.sums",
    "Scorer": "rewards.scorer",
    "Sentiment": "rewards.likeness",
    "Similarity": "models.lm_rewards",
    "Sum": "rewards.sums",
    "Uses": "rewards.answers",
    "Verdict": "models.lm_judges",
    "calibrated": "rewards.sums",
    "make": "rewards.library",
    "trl": "rewards.trl_form",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605  # one list of names, not two


def __getattr__(name: str) -> Any:
    """Load a public name from where it is defined."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sayso.rewards' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sayso.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
