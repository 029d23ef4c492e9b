"""Options of an ensemble of critics."""

from __future__ import annotations

from dataclasses import dataclass

from sayso.algorithms.checks import check_weights

FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleOptions:
    """An ensemble of critics; written under ``[algorithm.ensemble]``.

    Attributes:
        heads: Members.
        prior_scale: Standard deviation of the random function that each member keeps, in reward
            units: about the spread of returns. 0: members differ by their data alone.
        bootstrap: Share of the decisions that a member learns from, in (0, 1]; drawn once for each
            decision and member. 1: all learn from all.
        bonus: Of ``explore = "ucb"``: standard deviations added to the mean. At least 0.
    """

    heads: int = 10
    prior_scale: float = 1.0
    bootstrap: float = 0.5
    bonus: float = 1.0

    def __post_init__(self) -> None:
        if self.heads < FEWEST:
            raise ValueError(f"heads must be at least {FEWEST}, got {self.heads}")
        check_weights(prior_scale=self.prior_scale, bonus=self.bonus)
        if not 0 < self.bootstrap <= 1:
            raise ValueError(f"bootstrap must be in (0, 1], got {self.bootstrap}")
        if self.prior_scale == 0 and self.bootstrap == 1:
            raise ValueError(
                "prior_scale = 0 with bootstrap = 1 leaves no difference between the heads"
            )
