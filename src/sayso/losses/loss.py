"""What every loss returns, and the guards that every loss shares.

Dimensions: n = positions of one packed row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sayso.metrics import Mean

LOG_RATIO_LIMIT = 20.0
"""Log-ratios (nats) are clamped to ± this before ``exp``.

``exp(89)`` is infinite in fp32, and ``0 * inf`` is NaN, so one such token used to end a run even
where a mask or a clip should have removed it. ``exp(20)`` is 4.9e8: far above any ratio at which an
importance weight still means anything, and far below overflow even after it is multiplied by an
advantage of 1e6 and summed over 1e6 tokens.
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """A differentiable scalar and what to log about it.

    Attributes:
        value: Scalar to call ``backward`` on. Add it up over micro-batches, never average it.
        metrics: Exact partial means, keyed ``"<group>/<name>"``.
    """

    value: Float[Tensor, ""]
    metrics: dict[str, Mean] = field(default_factory=dict)


def check_count(name: str, count: float) -> None:
    """Refuse a normaliser that is not a positive, finite number.

    Raises:
        ValueError: An empty step is the caller's bug; a silent zero loss would hide it.
    """
    if not (count > 0 and math.isfinite(count)):
        raise ValueError(f"{name} must be positive and finite, got {count}")


def where_action(values: Float[Tensor, " n"], is_action: Bool[Tensor, " n"]) -> Float[Tensor, " n"]:
    """``values`` at action positions, exactly 0 elsewhere, NaN or not.

    Applied to every *input* of a loss, so that nothing computed from a masked position exists in
    the graph: its gradient is exactly 0 and not ``0 * NaN``.

    Raises:
        ValueError: If the shapes differ; broadcasting would pair values with the wrong tokens.
    """
    if values.shape != is_action.shape:
        raise ValueError(f"shapes differ: {tuple(values.shape)} and {tuple(is_action.shape)}")
    return torch.where(is_action, values, 0.0)


def bounded_exp(log_ratio: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """``exp(log_ratio)``, clamped to ``LOG_RATIO_LIMIT`` in log space first.

    Past the limit the gradient is 0. A log-ratio that is not finite gives NaN, also where ``exp``
    would give a harmless-looking 0: a token of probability 0 that was nevertheless sampled is a
    fault that the guard before the optimiser step must see.
    """
    bounded = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return torch.where(log_ratio.isfinite(), bounded, torch.nan).exp()


def mean_over(
    values: Float[Tensor, " n"] | Bool[Tensor, " n"], is_action: Bool[Tensor, " n"]
) -> Mean:
    """Exact partial mean over action positions, for metrics."""
    return Mean(float(values.detach()[is_action].sum()), float(is_action.sum()))
