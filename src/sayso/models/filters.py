"""The record that names a sampling distribution; ``models/distribution.py`` computes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How next-token logits become the distribution that is sampled from and scored.

    Filters apply in the order temperature, top-k, top-p, min-p, each to what the one before
    left; the result is renormalised.

    Attributes:
        temperature: Divides the logits. Positive. Greedy decoding is ``top_k=1``.
        top_k: Keep the k likeliest tokens; 0 keeps all.
        top_p: Keep the smallest set of likeliest tokens with at least this probability;
            in (0, 1], 1.0 keeps all.
        min_p: Keep tokens at least this share as likely as the likeliest; in [0, 1), 0.0 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be positive and finite, got {self.temperature}; "
                "for greedy decoding set top_k = 1"
            )
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or positive, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"min_p must be in [0, 1), got {self.min_p}")

    @property
    def is_full(self) -> bool:
        """True when no token is filtered out."""
        return self.top_k == 0 and self.top_p == 1.0 and self.min_p == 0.0
