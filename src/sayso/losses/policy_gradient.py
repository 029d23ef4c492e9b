r"""Policy-gradient losses: pure functions of tensors, no model, no options.

Dimensions: n = positions of one packed row. All log-probabilities are in nats. ``advantage``,
``logprob_sampled`` and ``weight`` never carry gradient, whatever is passed.

Every loss divides a plain sum by a count of the whole optimiser step, so any split into
micro-batches gives the same gradient. A per-sequence mean (GRPO as first published) is the same
sum with ``weight`` = 1 / actions of the sequence and the number of episodes as the count.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sayso.losses.loss import Loss, bounded_exp, check_count, mean_over, where_action
from sayso.metrics import Mean


def reinforce(
    logprob: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    num_in_step: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Score-function policy gradient.

    .. math:: -\tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\; w_i A_i \log\pi_i

    Args:
        logprob: Log-probability of each token under the policy being trained.
        advantage: Advantage of each token, in reward units.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        num_in_step: N: episodes, or action tokens, of the whole optimiser step.
        weight: Factor per token, for example a truncated importance weight. Default 1.

    Returns:
        The loss, with metric ``policy/logprob``.

    Raises:
        ValueError: If ``num_in_step`` is not positive and finite, or shapes differ.

    Source:
        Williams 1992, Machine Learning 8, 229-256. With N = episodes the expectation is the exact
        gradient of the expected return. With N = action tokens sampled in the step it is not: a
        step of long texts is scaled down.

    Tests:
        tests/math/test_policy_gradient_exact.py, tests/math/test_losses.py
    """
    check_count("num_in_step", num_in_step)
    live = where_action(logprob, is_action)
    value = -(_credit(advantage, is_action, weight) * live).sum() / num_in_step
    return Loss(value, {"policy/logprob": mean_over(live, is_action)})


def clipped_surrogate(  # noqa: PLR0913  # nine symbols of one formula
    logprob: Float[Tensor, " n"],
    logprob_sampled: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    clip_low: float,
    clip_high: float,
    num_actions_in_step: float,
    dual_clip: float | None = None,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Pessimistic importance-weighted policy gradient (PPO), per token.

    Minimises, with :math:`\rho = \exp(\text{logprob} - \text{logprob\_sampled})`,

    .. math:: -\tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\; w_i
        \min(\rho_i A_i,\; \mathrm{clip}(\rho_i, 1 - c_{low}, 1 + c_{high}) A_i)

    and with ``dual_clip`` = c, where A < 0, :math:`\max(\min(\ldots), c A)` in place of the min.

    Args:
        logprob: Log-probability of each token under the policy being trained.
        logprob_sampled: The same under the policy that sampled it, recorded by the sampler.
        advantage: Advantage of each token, in reward units.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        clip_low: The ratio is not pushed below ``1 - clip_low``. In (0, 1].
        clip_high: The ratio is not pushed above ``1 + clip_high``. Positive.
        num_actions_in_step: N: what the sum is divided by, counted over the whole optimiser step;
            its action tokens, unless ``weight`` already averages.
        dual_clip: Bound above 1 on the ratio where the advantage is negative, so that one token
            with a huge ratio cannot dominate; None for plain PPO.
        weight: Factor per token, at least 0. Default 1.

    Returns:
        The loss, with metrics ``policy/ratio``, ``policy/clipped_frac`` (tokens whose gradient a
        bound removed) and ``policy/approx_kl`` (nats per token, k3 estimate of KL(sampled ‖
        trained)).

    Raises:
        ValueError: If a count or bound is out of range, or shapes differ.

    Source:
        Schulman et al. 2017, arXiv:1707.06347, eq. 7; asymmetric bounds: Yu et al. 2025,
        arXiv:2503.14476, sec. 3.1; dual clip: Ye et al. 2019, arXiv:1912.09729, eq. 5. Differs in
        the normaliser (see the module) and in that the log-ratio is clamped to ±20 before ``exp``.

    Tests:
        tests/math/test_losses.py, tests/math/test_policy_gradient_exact.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    _check_bounds(clip_low, clip_high)
    if dual_clip is not None and not dual_clip > 1:
        raise ValueError(f"dual_clip must be above 1, got {dual_clip}")
    log_ratio = _log_ratio(logprob, logprob_sampled, is_action)
    ratio = bounded_exp(log_ratio)
    credit = _credit(advantage, is_action, weight)
    objective, is_clipped = _pessimistic(ratio, credit, clip_low, clip_high, dual_clip)
    value = -objective.sum() / num_actions_in_step
    return Loss(value, _ratio_metrics(log_ratio, ratio, is_clipped, is_action))


def sequence_clipped_surrogate(  # noqa: PLR0913  # nine symbols of one formula
    logprob: Float[Tensor, " n"],
    logprob_sampled: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    sequence: Int[Tensor, " n"],
    clip_low: float,
    clip_high: float,
    num_episodes_in_step: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""Clipped surrogate with one length-normalised ratio per sequence (GSPO).

    With :math:`s = \exp\bigl(\tfrac{1}{|y|} \sum_{i \in y} (\text{logprob}_i -
    \text{logprob\_sampled}_i)\bigr)` over the action tokens of a sequence y, minimises

    .. math:: -\tfrac{1}{E} \sum_y \tfrac{1}{|y|} \sum_{i \in y} w_i
        \min(s A_i,\; \mathrm{clip}(s, 1 - c_{low}, 1 + c_{high}) A_i)

    where the gradient of s at token i is taken through that token (GSPO-token). When the tokens of
    a sequence share one advantage, value and gradient are those of plain GSPO.

    Args:
        logprob: Log-probability of each token under the policy being trained.
        logprob_sampled: The same under the policy that sampled it, recorded by the sampler.
        advantage: Advantage of each token, in reward units.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        sequence: Number of the sequence each token belongs to, from 0; any number outside
            ``is_action``. All action tokens of a sequence must be in this row: the ratio of a part
            is not the ratio of the whole.
        clip_low: The ratio is not pushed below ``1 - clip_low``. In (0, 1].
        clip_high: The ratio is not pushed above ``1 + clip_high``. Positive. These ratios vary far
            less than per-token ones; the paper uses 3e-4 and 4e-4.
        num_episodes_in_step: E: sequences of the whole optimiser step.
        weight: Factor per token, at least 0. Default 1.

    Returns:
        The loss, with metrics ``policy/ratio``, ``policy/clipped_frac`` (both over sequences, one
        being clipped by the share of its tokens that are) and ``policy/approx_kl`` (over tokens).

    Raises:
        ValueError: If a count or bound is out of range, or shapes differ.

    Source:
        Zheng et al. 2025, arXiv:2507.18071, eq. 5 to 7 (GSPO), eq. 13 and 14 (GSPO-token). Differs
        in the ±20 clamp of the mean log-ratio.

    Tests:
        tests/math/test_losses.py
    """
    check_count("num_episodes_in_step", num_episodes_in_step)
    _check_bounds(clip_low, clip_high)
    log_ratio = _log_ratio(logprob, logprob_sampled, is_action)
    credit = _credit(advantage, is_action, weight)
    segment = torch.where(is_action, sequence, 0)
    lengths = _per_sequence(is_action.to(log_ratio.dtype), segment)
    # A number that nobody uses has length 0; the clamp keeps 1/0 out.
    share = torch.where(is_action, 1 / lengths.clamp(min=1)[segment], 0.0)
    mean = _per_sequence(log_ratio.detach() * share, segment)
    # The same number for every token of a sequence, differentiable through its own log-prob only.
    ratio = bounded_exp(mean[segment] + log_ratio - log_ratio.detach())
    objective, is_clipped = _pessimistic(ratio, credit, clip_low, clip_high, None)
    value = -(share * objective).sum() / num_episodes_in_step
    metrics = _ratio_metrics(log_ratio, ratio, is_clipped, is_action)
    num_sequences = float((lengths > 0).sum())
    metrics["policy/ratio"] = Mean(float((share * ratio.detach()).sum()), num_sequences)
    metrics["policy/clipped_frac"] = Mean(float((share * is_clipped).sum()), num_sequences)
    return Loss(value, metrics)


def cispo(
    logprob: Float[Tensor, " n"],
    logprob_sampled: Float[Tensor, " n"],
    advantage: Float[Tensor, " n"],
    is_action: Bool[Tensor, " n"],
    *,
    clip_low: float,
    clip_high: float,
    num_actions_in_step: float,
    weight: Float[Tensor, " n"] | None = None,
) -> Loss:
    r"""REINFORCE with a clipped, detached importance weight (CISPO).

    .. math:: -\tfrac{1}{N} \sum_i 1[\text{is\_action}_i]\; w_i\,
        \mathrm{sg}[\mathrm{clip}(\rho_i, 1 - c_{low}, 1 + c_{high})]\, A_i \log\pi_i

    Unlike ``clipped_surrogate``, a token past a bound keeps its gradient, at the bound's weight.

    Args:
        logprob: Log-probability of each token under the policy being trained.
        logprob_sampled: The same under the policy that sampled it, recorded by the sampler.
        advantage: Advantage of each token, in reward units.
        is_action: True where the policy chose the token. Everything else is ignored, NaN included.
        clip_low: The weight is at least ``1 - clip_low``. In (0, 1]; 1 means no lower bound, as
            the paper trains it.
        clip_high: The weight is at most ``1 + clip_high``. Positive.
        num_actions_in_step: N: action tokens of the whole optimiser step.
        weight: Factor per token. Default 1.

    Returns:
        The loss, with metrics ``policy/ratio``, ``policy/clipped_frac`` (tokens whose weight a
        bound changed) and ``policy/approx_kl``.

    Raises:
        ValueError: If a count or bound is out of range, or shapes differ.

    Source:
        MiniMax 2025, arXiv:2506.13585, eq. 4 and 5. Differs in the ±20 clamp of the log-ratio.

    Tests:
        tests/math/test_losses.py
    """
    check_count("num_actions_in_step", num_actions_in_step)
    _check_bounds(clip_low, clip_high)
    log_ratio = _log_ratio(logprob, logprob_sampled, is_action)
    ratio = bounded_exp(log_ratio).detach()
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    credit = _credit(advantage, is_action, weight)
    value = -(bounded * credit * where_action(logprob, is_action)).sum() / num_actions_in_step
    return Loss(value, _ratio_metrics(log_ratio, ratio, bounded != ratio, is_action))


def _check_bounds(clip_low: float, clip_high: float) -> None:
    if not 0 < clip_low <= 1:
        raise ValueError(f"clip_low must be in (0, 1], got {clip_low}")
    if not clip_high > 0:
        raise ValueError(f"clip_high must be positive, got {clip_high}")


def _log_ratio(logprob: Tensor, logprob_sampled: Tensor, is_action: Tensor) -> Tensor:
    """Log importance ratio at action positions, 0 elsewhere."""
    sampled = where_action(logprob_sampled.detach(), is_action)
    return where_action(logprob, is_action) - sampled


def _credit(advantage: Tensor, is_action: Tensor, weight: Tensor | None) -> Tensor:
    """Advantage times weight at action positions, 0 elsewhere; no gradient."""
    credit = where_action(advantage.detach(), is_action)
    return credit if weight is None else credit * where_action(weight.detach(), is_action)


def _pessimistic(
    ratio: Tensor, credit: Tensor, clip_low: float, clip_high: float, dual_clip: float | None
) -> tuple[Tensor, Tensor]:
    """The smaller of the free and the clipped objective, and where a bound decided."""
    free = ratio * credit
    objective = torch.minimum(free, ratio.clamp(1 - clip_low, 1 + clip_high) * credit)
    if dual_clip is not None:
        floor = dual_clip * credit
        objective = torch.where(credit < 0, torch.maximum(objective, floor), objective)
    return objective, (objective != free).detach()


def _per_sequence(values: Tensor, segment: Tensor) -> Tensor:
    """Sum of ``values`` by sequence number."""
    num_sequences = int(segment.max()) + 1 if segment.numel() else 0
    return values.new_zeros(num_sequences).index_add(0, segment, values)


def _ratio_metrics(
    log_ratio: Tensor, ratio: Tensor, is_clipped: Tensor, is_action: Tensor
) -> dict[str, Mean]:
    """Mean ratio, clipped share, and the k3 estimate of KL(sampled ‖ trained)."""
    gap = log_ratio.detach()
    return {
        "policy/ratio": mean_over(ratio, is_action),
        "policy/clipped_frac": mean_over(is_clipped, is_action),
        "policy/approx_kl": mean_over(bounded_exp(gap) - 1 - gap, is_action),
    }
