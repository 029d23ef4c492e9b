r"""Policy-gradient losses: pure functions of tensors, no model, no configuration.

All of them are *sums over a count of the whole optimiser step*, so any split into micro-batches
gives the same gradient. Dimensions: n = token positions of one packed row.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sayso.losses.loss import Loss, log_ratio, masked, mean_at, require_positive
from sayso.metrics import Mean


def reinforce(
    logprob: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_in_step: float,
) -> Loss:
    r"""The plain policy gradient, ``-1/N * sum A log pi``.

    Args:
        logprob: Log-probability (nats) of each token under the policy being trained.
        advantage: Advantage of each token, in reward units. Carries no gradient.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        num_in_step: What the sum is divided by, counted over the whole optimiser step: episodes
            for the gradient of the expected return, action tokens for a token mean.

    Raises:
        ValueError: If ``num_in_step`` is not positive.

    Source:
        Williams 1992, "Simple statistical gradient-following algorithms", eq. 11.

    Tests:
        tests/math/test_policy_gradient.py
    """
    require_positive(num_in_step, "num_in_step")
    weighted = masked(advantage.detach(), is_action) * masked(logprob, is_action)
    return Loss(-weighted.sum() / num_in_step)


def clipped_surrogate(
    logprob: Float[Tensor, " n"],
    logprob_sampled: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    clip_low: float,
    clip_high: float,
    num_in_step: float,
    dual_clip: float | None = None,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Pessimistic importance-weighted policy gradient.

    Minimises, with ``rho = exp(logprob - logprob_sampled)``,

    .. math:: -\tfrac{1}{N} \sum_n w_n \min(\rho A,\; \mathrm{clip}(\rho, 1-c_{low}, 1+c_{high}) A)

    Args:
        logprob: Log-probability (nats) of each token under the policy being trained.
        logprob_sampled: The same under the policy that sampled it, recorded by the sampler.
        advantage: Advantage of each token, in reward units. Carries no gradient.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        clip_low: The ratio is not pushed below ``1 - clip_low``. In (0, 1].
        clip_high: The ratio is not pushed above ``1 + clip_high``. Positive.
        num_in_step: What the sum is divided by, over the whole optimiser step.
        dual_clip: For a negative advantage the objective is not let below ``dual_clip * A``, so
            that one token with a huge ratio cannot dominate. Above 1, or ``None``.
        weight: Weight of each token, 1 if left out; ``1 / length`` makes a per-sequence mean.

    Returns:
        The loss, with ``policy/ratio``, ``policy/clipped_frac`` and ``policy/approx_kl``.

    Source:
        Schulman et al. 2017, arXiv:1707.06347, eq. 7; unequal bounds: Yu et al. 2025,
        arXiv:2503.14476, sec. 3.1; dual clip: Ye et al. 2019, arXiv:1912.09729, eq. 5. Differs in
        the normaliser, which the caller chooses.

    Tests:
        tests/math/test_policy_gradient.py
    """
    require_positive(num_in_step, "num_in_step")
    difference = log_ratio(logprob, logprob_sampled, is_action)
    ratio = difference.exp()
    gain = masked(advantage.detach(), is_action)
    free, bounded = ratio * gain, ratio.clamp(1 - clip_low, 1 + clip_high) * gain
    objective = torch.minimum(free, bounded)
    if dual_clip is not None:
        objective = torch.where(gain < 0, torch.maximum(objective, dual_clip * gain), objective)
    if weight is not None:
        objective = objective * masked(weight, is_action)
    return Loss(
        -objective.sum() / num_in_step,
        _ratio_metrics(difference, is_action, is_clipped=bounded < free),
    )


def sequence_clipped_surrogate(
    logprob: Float[Tensor, " n"],
    logprob_sampled: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    sequence: Int[Tensor, " n"],
    *,
    clip_low: float,
    clip_high: float,
    num_sequences_in_step: float,
) -> Loss:
    r"""Clipped surrogate with one ratio per sequence: the geometric mean of its token ratios.

    .. math:: s_i = \exp\Big(\tfrac{1}{|y_i|} \sum_t \log \rho_{i,t}\Big), \qquad
        -\tfrac{1}{S} \sum_i \min(s_i A_i,\; \mathrm{clip}(s_i, 1-c_{low}, 1+c_{high}) A_i)

    Args:
        logprob: As in ``clipped_surrogate``.
        logprob_sampled: As there.
        advantage: Advantage of each token; equal within a sequence (their mean is taken).
        is_action: As there.
        sequence: Which sequence each token belongs to; any integers. All tokens of a sequence
            must be in this call.
        clip_low: Lower bound distance; GSPO uses about 3e-4.
        clip_high: Upper bound distance; about 4e-4.
        num_sequences_in_step: Sequences of the whole optimiser step.

    Source:
        Zheng et al. 2025, arXiv:2507.18071, eq. 5 and 7.

    Tests:
        tests/math/test_policy_gradient.py
    """
    require_positive(num_sequences_in_step, "num_sequences_in_step")
    difference = log_ratio(logprob, logprob_sampled, is_action)
    # Tokens that are no action may carry any number here; they go to a bin of their own.
    _, place = torch.unique(torch.where(is_action, sequence, -1), return_inverse=True)
    size = int(place.max()) + 1
    count = difference.new_zeros(size).index_add(0, place, is_action.to(difference))
    total = difference.new_zeros(size).index_add(0, place, difference)
    gain = masked(advantage.detach(), is_action)
    gain = difference.new_zeros(size).index_add(0, place, gain) / count.clamp(min=1)
    ratio = (total / count.clamp(min=1)).exp()
    free, bounded = ratio * gain, ratio.clamp(1 - clip_low, 1 + clip_high) * gain
    is_sequence = count > 0
    metrics = {
        "policy/ratio": mean_at(ratio, is_sequence),
        "policy/clipped_frac": mean_at((bounded < free).to(ratio), is_sequence),
        "policy/approx_kl": mean_at(difference.exp() - 1 - difference, is_action),
    }
    objective = masked(torch.minimum(free, bounded), is_sequence)
    return Loss(-objective.sum() / num_sequences_in_step, metrics)


def cispo(
    logprob: Float[Tensor, " n"],
    logprob_sampled: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    clip_high: float,
    num_in_step: float,
) -> Loss:
    r"""REINFORCE with a clipped, detached importance weight: no token loses its gradient.

    .. math:: -\tfrac{1}{N} \sum_n \mathrm{sg}[\min(\rho, 1 + c_{high})]\, A \log \pi

    Args:
        logprob: As in ``clipped_surrogate``.
        logprob_sampled: As there.
        advantage: As there.
        is_action: As there.
        clip_high: The weight is at most ``1 + clip_high``.
        num_in_step: What the sum is divided by, over the whole optimiser step.

    Source:
        MiniMax 2025, arXiv:2506.13585, eq. 4; with no lower bound, as the paper trains it.

    Tests:
        tests/math/test_policy_gradient.py
    """
    require_positive(num_in_step, "num_in_step")
    difference = log_ratio(logprob, logprob_sampled, is_action)
    ratio = difference.exp().detach()
    weight = ratio.clamp(max=1 + clip_high)
    gain = masked(advantage.detach(), is_action)
    objective = weight * gain * masked(logprob, is_action)
    return Loss(
        -objective.sum() / num_in_step,
        _ratio_metrics(difference, is_action, is_clipped=weight < ratio),
    )


def _ratio_metrics(difference: Tensor, is_action: Tensor, *, is_clipped: Tensor) -> dict[str, Mean]:
    """How far the policy has moved from the one that sampled."""
    with torch.no_grad():
        ratio = difference.exp()
        return {
            "policy/ratio": mean_at(ratio, is_action),
            "policy/clipped_frac": mean_at(is_clipped.to(ratio), is_action),
            "policy/approx_kl": mean_at(ratio - 1 - difference, is_action),
        }
