"""Against what a probability ratio is taken, where the sampler is a little off its policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sayso.algorithms.core import Core
from sayso.algorithms.step import score_row
from sayso.data.batch import Batch, PackedRow
from sayso.losses.loss import bounded_exp
from sayso.models.scoring import Scores

MAX_SAMPLING_WEIGHT = 2.0


class Anchor(NamedTuple):
    """Where a policy stood when an update began.

    Attributes:
        logprob: Log-probability (nats) of each token then: a ratio is taken against it.
        weight: Factor per token for having been sampled by another policy; ``None`` is 1.
    """

    logprob: Tensor
    weight: Tensor | None


def anchor(
    core: Core, row: PackedRow, scores: Scores, start: Sequence[Tensor] | None, number: int
) -> Anchor:
    r"""What the ratios of a clipped loss are against.

    .. math:: \min(\pi_0 / \mu, C) \cdot \frac{\pi}{\pi_0}

    with π₀ the policy when the update began and μ the sampler: what clipping bounds is how far the
    policy moves, never what the sampler gets wrong. An exact sampler is π₀ itself, and its recorded
    numbers serve. On a single pass π is π₀, so the pass gives it; for several it was computed
    before the first.

    Args:
        core: The learner's parts.
        row: A packed row.
        scores: Its scores now.
        start: Log-probabilities when the update began, by row, where there are several passes.
        number: Which row.

    Source:
        Hilton et al. 2022, arXiv:2110.00641, sec. 3 (decoupled objective); the truncation as in
        ``sampling_weight``.

    Tests:
        tests/math/test_sampling_weight.py
    """
    if core.sampling.precision == "exact":
        return Anchor(row.logprob_sampled, None)
    logprob = scores.logprob.detach() if start is None else start[number]
    return Anchor(logprob, _truncated(logprob, row))


def sampling_weight(core: Core, row: PackedRow, scores: Scores) -> Tensor | None:
    r"""Truncated importance weights of a sampler that is a little off the policy it samples for.

    .. math:: \min(\pi(a) / \mu(a), C)

    for each token, from the training pass itself: no second pass is made. ``None`` where the
    sampler is exact. For losses of a single pass without a ratio.

    Source:
        Truncated importance sampling: Ionides 2008, J. Comp. Graph. Stat. 17(2); for samplers of
        lower precision: Yao et al. 2025, "Your efficient RL framework secretly brings you
        off-policy RL training". C = 2 as there.

    Tests:
        tests/math/test_sampling_weight.py
    """
    return None if core.sampling.precision == "exact" else _truncated(scores.logprob.detach(), row)


def _truncated(logprob: Tensor, row: PackedRow) -> Tensor:
    return bounded_exp(logprob - row.logprob_sampled).clamp(max=MAX_SAMPLING_WEIGHT)


@torch.no_grad()
def start_logprobs(core: Core, batch: Batch) -> list[Tensor]:
    """Log-probability of each action token under the policy as it is now, per row."""
    return [score_row(core.lm, row, core.distribution).logprob for row in batch.rows]
