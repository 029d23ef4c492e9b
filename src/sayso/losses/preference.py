"""Losses on pairs of which one side was preferred. Dimensions: p = pairs of one packed row."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from sayso.losses.loss import Loss, check_count
from sayso.metrics import Mean


def bradley_terry(
    chosen: Float[Tensor, " p"],
    rejected: Float[Tensor, " p"],
    *,
    num_pairs_in_step: float,
    margin: Float[Tensor, " p"] | None = None,
    centre_coef: float = 0.0,
) -> Loss:
    r"""Negative log-likelihood of preferences under the model of Bradley and Terry.

    .. math:: \tfrac{1}{P} \sum_i -\log \sigma(r^+_i - r^-_i - m_i)
        + c\,(r^+_i + r^-_i)^2

    Args:
        chosen: Reward r⁺ of the text that was preferred, in nats of odds.
        rejected: r⁻ of the other one.
        num_pairs_in_step: P: pairs of the whole optimiser step.
        margin: By how much the chosen one should be better; unset: 0. Carries no gradient.
        centre_coef: c, at least 0: the likelihood knows differences alone, and this holds the sum
            of a pair near 0.

    Returns:
        The loss, with metrics ``reward_model/loss`` (the first term), ``reward_model/accuracy`` (a
        tie counts one half), ``reward_model/margin``, ``reward_model/chosen`` and
        ``reward_model/rejected``, all means over pairs.

    Raises:
        ValueError: If the count is not positive and finite, shapes differ, or c is negative.

    Source:
        Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1; the margin: Touvron et
        al. 2023, arXiv:2307.09288, eq. 2; the centring term: Eisenstein et al. 2023,
        arXiv:2312.09244, sec. 2 (TRL's ``center_rewards_coefficient``). Differs in that the sum is
        divided by a count that the caller passes.

    Tests:
        tests/math/test_preference.py
    """
    check_count("num_pairs_in_step", num_pairs_in_step)
    _check_alike(chosen, rejected)
    if not centre_coef >= 0:
        raise ValueError(f"centre_coef must be at least 0, got {centre_coef}")
    gap = chosen - rejected
    if margin is not None:
        _check_alike(gap, margin)
    fit = -logsigmoid(gap if margin is None else gap - margin.detach())
    value = fit.sum()
    if centre_coef:
        value = value + centre_coef * (chosen + rejected).square().sum()
    metrics = {
        "reward_model/loss": _mean(fit),
        "reward_model/accuracy": _mean(won(gap)),
        "reward_model/margin": _mean(gap),
        "reward_model/chosen": _mean(chosen),
        "reward_model/rejected": _mean(rejected),
    }
    return Loss(value / num_pairs_in_step, metrics)


def direct_preference(
    chosen: Float[Tensor, " p"],
    rejected: Float[Tensor, " p"],
    *,
    beta: float,
    num_pairs_in_step: float,
    kind: Literal["sigmoid", "ipo"] = "sigmoid",
    label_smoothing: float | Float[Tensor, " p"] = 0.0,
) -> Loss:
    r"""Preferences as a loss of the policy itself; no reward model.

    With the log-ratios :math:`\delta = \log\pi(y|x) - \log\pi_{ref}(y|x)` of whole texts and
    :math:`h = \delta^+ - \delta^-`:

    .. math:: \text{sigmoid:}\quad \tfrac{1}{P} \sum_i
        -(1-\epsilon_i) \log\sigma(\beta h_i) - \epsilon_i \log\sigma(-\beta h_i)

    .. math:: \text{ipo:}\quad \tfrac{1}{P} \sum_i \bigl(h_i - \tfrac{1}{2\beta}\bigr)^2

    Where preferences follow Bradley and Terry with a reward r, and every pair is met, the minimum
    of the first is :math:`\pi \propto \pi_{ref}\, e^{r/\beta}`: the optimum of the mean reward less
    β times KL(π ‖ π_ref).

    Args:
        chosen: δ⁺ of the preferred text, in nats, summed over its tokens.
        rejected: δ⁻ of the other one.
        beta: β, positive: the price of leaving the reference, in reward units per nat.
        num_pairs_in_step: P: pairs of the whole optimiser step.
        kind: Which.
        label_smoothing: ε in [0, 1]: probability that a preference is the wrong way round, of all
            or of each pair. Of ``"sigmoid"`` alone.

    Returns:
        The loss, with metrics ``dpo/accuracy``, ``dpo/margin`` (β h), ``dpo/reward_chosen`` (β δ⁺)
        and ``dpo/reward_rejected``: the rewards that the policy implies, up to a number for each
        prompt.

    Raises:
        ValueError: If the count or β is not positive and finite, shapes differ, or IPO is asked to
            smooth.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290, eq. 7 (its optimum: eq. 4); ε: Mitchell 2023, "A
        note on DPO with noisy preferences" (cDPO); ipo: Azar et al. 2023, arXiv:2310.12036,
        eq. 17, with the log-ratios of whole texts as there (TRL averages them over tokens).

    Tests:
        tests/math/test_preference.py
    """
    check_count("num_pairs_in_step", num_pairs_in_step)
    check_count("beta", beta)
    _check_alike(chosen, rejected)
    gap = chosen - rejected
    smoothing = torch.as_tensor(label_smoothing, dtype=gap.dtype, device=gap.device)
    if bool(((smoothing < 0) | (smoothing > 1)).any()):
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if kind == "sigmoid":
        fit = -(1 - smoothing) * logsigmoid(beta * gap) - smoothing * logsigmoid(-beta * gap)
    elif bool(smoothing.any()):
        raise ValueError("label_smoothing has no effect on ipo, whose margin is bounded by itself")
    else:
        fit = (gap - 1 / (2 * beta)).square()
    metrics = {
        "dpo/accuracy": _mean(won(gap)),
        "dpo/margin": _mean(beta * gap),
        "dpo/reward_chosen": _mean(beta * chosen),
        "dpo/reward_rejected": _mean(beta * rejected),
    }
    return Loss(fit.sum() / num_pairs_in_step, metrics)


def won(gap: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    """1 where the chosen side is ahead, one half where both are even, else 0."""
    return ((gap.detach().sign() + 1) / 2).to(gap.dtype)


def _mean(values: Float[Tensor, " p"]) -> Mean:
    return Mean(float(values.detach().sum()), float(len(values)))


def _check_alike(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise ValueError(f"shapes differ: {tuple(one.shape)} and {tuple(other.shape)}")
