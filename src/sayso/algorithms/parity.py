"""Do sampler and trainer agree on what was sampled? Measured on every first pass, never assumed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sayso.algorithms.base import Fatal
from sayso.metrics import Mean

RATIO_LOW, RATIO_HIGH = 0.9, 1.1
MAX_MEAN_GAP = 0.05
MAX_OUTSIDE_FRAC = 0.05
MIN_TOKENS = 16


@dataclass(slots=True)
class ParityMeter:
    """Compares recorded log-probabilities with the trainer's own of the same tokens.

    Attributes:
        total_gap: Sum of absolute differences, in nats.
        max_gap: Largest one.
        num_outside: Tokens whose probability ratio is outside [0.9, 1.1].
        num_tokens: Tokens compared.
    """

    total_gap: float = 0.0
    max_gap: float = 0.0
    num_outside: int = 0
    num_tokens: int = 0

    def add(self, logprob: Tensor, logprob_sampled: Tensor) -> None:
        """Take in the first pass over one row, before any optimiser step.

        Where the trainer's own number is not finite there is nothing to compare: the step's guard
        refuses such a step, and one bad batch must not pass for a sampler that disagrees.
        """
        is_known = logprob.detach().isfinite()
        if not bool(is_known.any()):
            return
        signed = (logprob.detach().double() - logprob_sampled.double())[is_known]
        gap, ratio = signed.abs(), signed.exp()
        self.total_gap += float(gap.sum())
        self.max_gap = max(self.max_gap, float(gap.max()))
        self.num_outside += int(((ratio < RATIO_LOW) | (ratio > RATIO_HIGH)).sum())
        self.num_tokens += len(gap)

    def metrics(self) -> dict[str, Mean]:
        """``parity/mean_gap``, ``parity/max_gap`` (nats) and ``parity/outside_frac``."""
        if not self.num_tokens:
            return {}
        return {
            "parity/mean_gap": Mean(self.total_gap, self.num_tokens),
            "parity/max_gap": Mean(self.max_gap, 1),
            "parity/outside_frac": Mean(self.num_outside, self.num_tokens),
        }

    def fatal(self) -> Fatal | None:
        """Why training must stop: it would optimise another policy than the one that acts."""
        if self.num_tokens < MIN_TOKENS:
            return None
        gap, outside = self.total_gap / self.num_tokens, self.num_outside / self.num_tokens
        if gap <= MAX_MEAN_GAP and outside <= MAX_OUTSIDE_FRAC:
            return None
        return Fatal(
            problem=(
                f"sampler and trainer disagree: mean gap {gap:.3g} nats (allowed {MAX_MEAN_GAP}), "
                f"{outside:.1%} of ratios outside [{RATIO_LOW}, {RATIO_HIGH}] (allowed "
                f"{MAX_OUTSIDE_FRAC:.0%}), largest gap {self.max_gap:.3g}."
            ),
            fix=(
                "Use sampling.engine = 'hf' to see whether the engine is at fault, and float32 for "
                "both; please report the model's architecture."
            ),
        )
