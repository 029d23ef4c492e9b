"""How well a reward model predicts preferences: accuracy, calibration, agreement with the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sayso.data.preferences import Preference
from sayso.stats.intervals import Interval, bounded_interval
from sayso.stats.rank import MIN_PAIRS, rank_interval

NUM_BINS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Pairs of which the model was about as sure.

    Attributes:
        low, high: Ends of the predicted probability of the better-looking side, from 0.5 to 1.
        num_pairs: How many.
        confidence: Mean of that probability; NaN without pairs.
        accuracy: Share of pairs in which that side was preferred; NaN without pairs.
    """

    low: float
    high: float
    num_pairs: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceReport:
    """What a reward model makes of preferences that it did not learn from.

    Attributes:
        accuracy: Share of pairs whose chosen side gets more, a tie counting one half, with its 95 %
            interval over prompts.
        loss: Mean -log σ(r⁺ - r⁻), in nats; a model that knows nothing has 0.693.
        ece: Expected calibration error, see ``judge_preferences``.
        table: The reliability table behind it.
        truth: Spearman's rank correlation of r⁺ - r⁻ with the true difference, where it is known.
        num_pairs: How many.
    """

    accuracy: Interval
    loss: float
    ece: float
    table: tuple[Bin, ...]
    truth: Interval | None
    num_pairs: int

    def to_json(self) -> dict[str, Any]:
        """Stable form; numbers that are not finite are ``None``."""
        return {
            "num_pairs": self.num_pairs,
            "accuracy": self.accuracy.to_json(),
            "loss": self.loss,
            "ece": self.ece,
            "truth": None if self.truth is None else self.truth.to_json(),
            "reliability": [
                {
                    "low": b.low, "high": b.high, "num_pairs": b.num_pairs,
                    "confidence": b.confidence if b.num_pairs else None,
                    "accuracy": b.accuracy if b.num_pairs else None,
                }
                for b in self.table
            ],
        }  # fmt: skip

    def __str__(self) -> str:
        first = f"accuracy {self.accuracy} over {self.num_pairs} held-out pairs, "
        first += f"loss {self.loss:.3f} (knowing nothing: {math.log(2):.3f}), "
        lines = [first + f"calibration error {self.ece:.3f}"]
        if self.truth is not None:
            lines.append(f"  rank correlation with the true difference: {self.truth}")
        lines.append("  predicted     pairs  sure of  was right")
        lines += [
            f"  {b.low:.1f} to {b.high:.1f}  {b.num_pairs:>8}"
            + (f"  {b.confidence:>7.3f}  {b.accuracy:>9.3f}" if b.num_pairs else "")
            for b in self.table
        ]
        return "\n".join(lines)


def judge_preferences(
    preferences: Sequence[Preference],
    gaps: Sequence[float],
    *,
    seed: int = 0,
    num_bins: int = NUM_BINS,
) -> PreferenceReport:
    r"""Accuracy and calibration of a reward model.

    With the predicted probability :math:`p_i = \sigma(|r^+_i - r^-_i|) \ge 1/2` that the side that
    gets more is the preferred one, and equal bins of [1/2, 1]:

    .. math:: \text{ECE} = \sum_b \frac{n_b}{n} \bigl| \text{right}_b - \overline{p}_b \bigr|

    Args:
        preferences: Pairs that were not learnt from.
        gaps: r⁺ - r⁻ of each.
        seed: Of the bootstrap behind the interval of the rank correlation.
        num_bins: Bins of the reliability table.

    Raises:
        ValueError: If there are no pairs, or lengths differ.

    Source:
        Guo et al. 2017, arXiv:1706.04599, eq. 3, for two classes.

    Tests:
        tests/unit/test_preference_report.py
    """
    if len(preferences) != len(gaps) or not preferences:
        raise ValueError(f"got {len(preferences)} preferences and {len(gaps)} gaps")
    gap = np.asarray(gaps, np.float64)
    right = (np.sign(gap) + 1) / 2
    sure = 1 / (1 + np.exp(-np.abs(gap)))
    by_prompt: dict[Any, list[float]] = {}
    for preference, one in zip(preferences, right.tolist(), strict=True):
        by_prompt.setdefault(preference.prompt, []).append(one)
    means = [sum(ones) / len(ones) for ones in by_prompt.values()]
    place = np.minimum(((sure - 0.5) * 2 * num_bins).astype(int), num_bins - 1)
    table = tuple(
        _bin(number, num_bins, sure, right, place == number) for number in range(num_bins)
    )
    known = [i for i, p in enumerate(preferences) if p.gap is not None]
    truth = None
    if len(known) >= MIN_PAIRS:
        true = [preferences[i].gap or 0.0 for i in known]
        truth = rank_interval(gap[known].tolist(), true, seed=seed)
    return PreferenceReport(
        accuracy=bounded_interval(means, 0.0, 1.0),
        loss=float(np.logaddexp(0.0, -gap).mean()),
        ece=sum(
            b.num_pairs / len(gap) * abs(b.accuracy - b.confidence) for b in table if b.num_pairs
        ),
        table=table,
        truth=truth,
        num_pairs=len(gap),
    )


def _bin(number: int, num_bins: int, sure: Any, right: Any, inside: Any) -> Bin:
    num_pairs = int(inside.sum())
    width = 0.5 / num_bins
    return Bin(
        low=0.5 + number * width,
        high=0.5 + (number + 1) * width,
        num_pairs=num_pairs,
        confidence=float(sure[inside].mean()) if num_pairs else math.nan,
        accuracy=float(right[inside].mean()) if num_pairs else math.nan,
    )
