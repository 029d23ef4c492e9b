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
INT8_MAX_MEAN_GAP, INT8_MIN_ESS_FRAC = 0.5, 0.5


@dataclass(slots=True)
class ParityMeter:
    """Compares recorded log-probabilities with the trainer's own of the same tokens.

    Attributes:
        is_exact: Whether the sampler computes what the trainer does; a quantised one does not, is
            weighted for it and may differ more.
        total_gap: Sum of absolute differences, in nats.
        max_gap: Largest one.
        num_outside: Tokens whose probability ratio is outside [0.9, 1.1].
        num_tokens: Tokens compared.
        total_kl: Sum of recorded minus own log-probabilities: KL(sampler, trainer) per token.
        total_ratio, total_square: Sums of the ratios and of their squares.
    """

    is_exact: bool = True
    total_gap: float = 0.0
    max_gap: float = 0.0
    num_outside: int = 0
    num_tokens: int = 0
    total_kl: float = 0.0
    total_ratio: float = 0.0
    total_square: float = 0.0

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
        self.total_kl -= float(signed.sum())
        self.total_ratio += float(ratio.sum())
        self.total_square += float(ratio.square().sum())

    def metrics(self) -> dict[str, Mean]:
        """``parity/mean_gap``, ``max_gap``, ``kl`` (nats), ``outside_frac``, ``ess_frac``."""
        if not self.num_tokens:
            return {}
        return {
            "parity/mean_gap": Mean(self.total_gap, self.num_tokens),
            "parity/max_gap": Mean(self.max_gap, 1),
            "parity/outside_frac": Mean(self.num_outside, self.num_tokens),
            "parity/kl": Mean(self.total_kl, self.num_tokens),
            "parity/ess_frac": Mean(self.ess_frac, 1),
        }

    @property
    def ess_frac(self) -> float:
        """Effective sample size of the importance weights, as a share of the tokens (Kish 1965)."""
        if not self.num_tokens or not self.total_square:
            return 1.0
        return self.total_ratio**2 / (self.total_square * self.num_tokens)

    def fatal(self) -> Fatal | None:
        """Why training must stop: it would optimise another policy than the one that acts."""
        if self.num_tokens < MIN_TOKENS:
            return None
        gap, outside = self.total_gap / self.num_tokens, self.num_outside / self.num_tokens
        if not self.is_exact:
            return self._fatal_int8(gap)
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

    def _fatal_int8(self, gap: float) -> Fatal | None:
        if gap <= INT8_MAX_MEAN_GAP and self.ess_frac >= INT8_MIN_ESS_FRAC:
            return None
        return Fatal(
            problem=(
                f"int8 sampling is too far from the trained policy: mean gap {gap:.3g} nats "
                f"(allowed {INT8_MAX_MEAN_GAP}), effective sample size {self.ess_frac:.0%} of the "
                f"tokens (at least {INT8_MIN_ESS_FRAC:.0%})."
            ),
            fix="Set sampling.precision = 'exact'.",
        )
