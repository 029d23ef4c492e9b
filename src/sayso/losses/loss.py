"""What a loss returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.metrics import Mean

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to ± this before ``exp``: e^20 is already far outside every trust region,
while e^89 overflows fp32 and ``0 * inf`` would then poison even clipped terms."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A differentiable scalar and what to log about it.

    Attributes:
        value: Scalar to call ``backward`` on. Add it up over micro-batches, never average it.
        metrics: Exact partial means, keyed ``"<group>/<name>_<unit>"``.
    """

    value: Float[Tensor, ""]
    metrics: Mapping[str, Mean] = field(default_factory=dict)


def masked(values: Float[Tensor, " n"], is_action: Bool[Tensor, " n"]) -> Float[Tensor, " n"]:
    """``values`` where an action stands, exact zeros (and zero gradients) elsewhere, NaN included."""
    return torch.where(is_action, values, torch.zeros_like(values))


def log_ratio(
    logprob: Float[Tensor, " n"],
    logprob_sampled: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """``logprob - logprob_sampled`` at actions, 0 elsewhere, clamped before anyone takes ``exp``."""
    difference = masked(logprob, is_action) - masked(logprob_sampled.detach(), is_action)
    return difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def mean_at(values: Float[Tensor, " n"], is_action: Bool[Tensor, " n"]) -> Mean:
    """Exact partial mean over actions, for metrics."""
    return Mean(float(masked(values.detach(), is_action).sum()), float(is_action.sum()))


def require_positive(count: float, name: str) -> None:
    """Refuse an empty step.

    Raises:
        ValueError: A silent zero loss would hide the caller's bug.
    """
    if not count > 0:
        raise ValueError(f"{name} must be positive, got {count}")
