"""Options of ``DPO``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class DPOOptions:
    """Options of ``DPO``; written in a run file under ``[algorithm]``.

    Attributes:
        beta: Price of leaving the reference, in reward units per nat: small goes far.
        loss: ``"sigmoid"`` (DPO), or ``"ipo"``, which asks for a bounded margin.
        label_smoothing: Probability that a preference is the wrong way round (cDPO).
    """

    type: Literal["dpo"] = "dpo"
    beta: float = 0.1
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_positive(beta=self.beta)
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError(
                f"label_smoothing has no effect with loss = 'ipo', got {self.label_smoothing}"
            )
