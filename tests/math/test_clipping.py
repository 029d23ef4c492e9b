"""Which tokens a bound silences, and with what numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sayso.losses.entropy import entropy_bonus
from sayso.losses.policy_gradient import (
    cispo,
    clipped_surrogate,
    sequence_clipped_surrogate,
)
from sayso.losses.value import value_loss


def one(number: float) -> Tensor:
    return torch.tensor([number], dtype=torch.float64)


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


LIVE = torch.tensor([True])
BOUNDS = {"clip_low": 0.2, "clip_high": 0.5}
"""Ratios 0.8 and 1.5: log-ratios −0.223 and +0.405."""


@pytest.mark.parametrize(
    ("advantage", "log_ratio", "moves"),
    [
        (1.0, 0.41, False),
        (1.0, 0.40, True),
        (1.0, -0.5, True),
        (-1.0, 0.5, True),
        (-1.0, -0.22, True),
        (-1.0, -0.23, False),
    ],
)
def test_row_29_gradient_vanishes_only_past_the_bound_in_the_favoured_direction(
    advantage: float, log_ratio: float, moves: bool
) -> None:
    logprob = one(log_ratio).requires_grad_()
    loss = clipped_surrogate(
        logprob, one(0.0), one(advantage), LIVE, num_actions_in_step=1.0, **BOUNDS
    )
    (slope,) = torch.autograd.grad(loss.value, logprob)
    expected = -advantage * math.exp(log_ratio) if moves else 0.0
    assert slope.item() == pytest.approx(expected, rel=1e-14)
    assert loss.metrics["policy/clipped_frac"].value == float(not moves)
    assert loss.metrics["policy/ratio"].value == pytest.approx(math.exp(log_ratio))


@pytest.mark.parametrize(
    ("advantage", "ratio", "expected_loss", "expected_slope"),
    [
        (-2.0, 2.9, 5.8, 5.8),
        (-2.0, 3.1, 6.0, 0.0),
        (-2.0, 0.5, 1.6, 0.0),
        (2.0, 3.1, -3.0, 0.0),
        (2.0, 0.5, -1.0, -1.0),
    ],
)
def test_row_29_dual_clip_bounds_negative_advantages_only(
    advantage: float, ratio: float, expected_loss: float, expected_slope: float
) -> None:
    logprob = one(math.log(ratio)).requires_grad_()
    loss = clipped_surrogate(
        logprob, one(0.0), one(advantage), LIVE, dual_clip=3.0, num_actions_in_step=1.0, **BOUNDS
    )
    (slope,) = torch.autograd.grad(loss.value, logprob)
    assert loss.value.item() == pytest.approx(expected_loss, rel=1e-12)
    assert slope.item() == pytest.approx(expected_slope, rel=1e-12)
    assert loss.metrics["policy/clipped_frac"].value == float(expected_slope == 0)


@pytest.mark.parametrize(
    ("ratio", "weight"), [(1.2, 1.2), (1.6, 1.5), (9.0, 1.5), (0.9, 0.9), (0.3, 0.8)]
)
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_row_29_cispo_keeps_every_gradient_at_a_bounded_detached_weight(
    ratio: float, weight: float, advantage: float
) -> None:
    """Both semantics: a token past a bound still learns, and the weight has no gradient itself."""
    logprob = one(-3.0 + math.log(ratio)).requires_grad_()
    loss = cispo(logprob, one(-3.0), one(advantage), LIVE, num_actions_in_step=1.0, **BOUNDS)
    (slope,) = torch.autograd.grad(loss.value, logprob)
    assert slope.item() == pytest.approx(-weight * advantage, rel=1e-12)
    assert loss.value.item() == pytest.approx(-weight * advantage * logprob.item(), rel=1e-12)
    assert loss.metrics["policy/clipped_frac"].value == float(weight != ratio)


def test_row_29_cispo_with_clip_low_of_one_has_no_lower_bound() -> None:
    logprob = one(-5.0).requires_grad_()
    loss = cispo(
        logprob, one(0.0), one(1.0), LIVE, clip_low=1.0, clip_high=0.5, num_actions_in_step=1.0
    )
    (slope,) = torch.autograd.grad(loss.value, logprob)
    assert slope.item() == pytest.approx(-math.exp(-5.0), rel=1e-12)


def test_weight_scales_a_token_whether_or_not_it_is_clipped() -> None:
    logprob, weight = vector(0.1, 2.0), vector(0.25, 3.0)
    live, zero, advantage = torch.ones(2, dtype=torch.bool), vector(0, 0), vector(1.0, 1.0)
    loss = clipped_surrogate(
        logprob, zero, advantage, live, num_actions_in_step=2.0, weight=weight, **BOUNDS
    )
    assert loss.value.item() == pytest.approx(-(0.25 * math.exp(0.1) + 3.0 * 1.5) / 2)
    assert loss.metrics["policy/clipped_frac"].value == 0.5


def test_approx_kl_is_the_k3_estimate_from_sampled_to_trained() -> None:
    """Enumerated over a vocabulary of four, its mean is KL(sampled ‖ trained)."""
    trained = vector(0.5, -0.3, 0.1, 1.0).log_softmax(0)
    sampled = vector(-0.2, 0.4, 0.0, 0.3).log_softmax(0)
    mean = 0.0
    for index, probability in enumerate(sampled.exp().tolist()):
        loss = clipped_surrogate(
            trained[index : index + 1], sampled[index : index + 1], one(1.0), LIVE,
            num_actions_in_step=1.0, **BOUNDS,
        )  # fmt: skip
        estimate = loss.metrics["policy/approx_kl"].value
        assert estimate >= 0
        mean += probability * estimate
    exact = (sampled.exp() * (sampled - trained)).sum().item()
    assert mean == pytest.approx(exact, rel=1e-12)


def gspo_row() -> dict[str, Tensor]:
    """Sequence 0: log-ratios 0.3, masked, 0.1 (mean 0.2); sequence 1: −0.6; number 2 unused."""
    return {
        "logprob": vector(0.3, 50.0, 0.1, -0.6),
        "logprob_sampled": vector(0.0, 0.0, 0.0, 0.0),
        "advantage": vector(2.0, 99.0, 2.0, -1.0),
        "is_action": torch.tensor([True, False, True, True]),
        "sequence": torch.tensor([0, -1, 0, 2]),
    }


def test_gspo_uses_the_geometric_mean_ratio_of_each_sequence() -> None:
    row = gspo_row()
    row["logprob"].requires_grad_()
    loss = sequence_clipped_surrogate(**row, clip_low=0.2, clip_high=0.5, num_episodes_in_step=2.0)
    s = math.exp(0.2)
    # The second sequence fell below 0.8 with a negative advantage: clipped.
    assert loss.value.item() == pytest.approx(-(2.0 * s - 0.8) / 2, rel=1e-12)
    (slope,) = torch.autograd.grad(loss.value, row["logprob"])
    assert slope.tolist() == pytest.approx([-s / 2, 0.0, -s / 2, 0.0], rel=1e-12)
    assert loss.metrics["policy/ratio"].count == 2
    assert loss.metrics["policy/ratio"].value == pytest.approx((s + math.exp(-0.6)) / 2)
    assert loss.metrics["policy/clipped_frac"].value == 0.5
    assert loss.metrics["policy/approx_kl"].count == 3


def test_gspo_gradient_is_that_of_the_sequence_ratio_when_advantages_are_equal() -> None:
    """Plain GSPO, differentiated directly: the per-token form must not change it."""
    logprob = vector(0.05, -0.1, 0.2).requires_grad_()
    sampled, live = vector(0.0, 0.1, 0.15), torch.ones(3, dtype=torch.bool)
    (expected,) = torch.autograd.grad(-1.5 * (logprob - sampled).mean().exp(), logprob)
    loss = sequence_clipped_surrogate(
        logprob, sampled, vector(1.5, 1.5, 1.5), live, sequence=torch.zeros(3, dtype=torch.long),
        clip_low=0.2, clip_high=0.5, num_episodes_in_step=1.0,
    )  # fmt: skip
    (actual,) = torch.autograd.grad(loss.value, logprob)
    torch.testing.assert_close(actual, expected, rtol=1e-14, atol=0)


def test_gspo_gives_each_token_its_own_advantage() -> None:
    logprob = vector(0.0, 0.0).requires_grad_()
    loss = sequence_clipped_surrogate(
        logprob, vector(0.0, 0.0), vector(3.0, -1.0), torch.tensor([True, True]),
        sequence=torch.zeros(2, dtype=torch.long),
        clip_low=0.2, clip_high=0.5, num_episodes_in_step=1.0,
    )  # fmt: skip
    (slope,) = torch.autograd.grad(loss.value, logprob)
    assert slope.tolist() == [-1.5, 0.5]


@pytest.mark.parametrize(
    ("option", "number"), [("clip_low", 0.0), ("clip_low", 1.1), ("clip_high", 0.0)]
)
def test_bounds_out_of_range_are_refused(option: str, number: float) -> None:
    bounds = BOUNDS | {option: number}
    with pytest.raises(ValueError, match=f"{option} must be .*, got {number}"):
        clipped_surrogate(one(0), one(0), one(1), LIVE, num_actions_in_step=1.0, **bounds)
    with pytest.raises(ValueError, match=f"{option} must be"):
        cispo(one(0), one(0), one(1), LIVE, num_actions_in_step=1.0, **bounds)


def test_dual_clip_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dual_clip must be above 1, got 1\.0"):
        clipped_surrogate(
            one(0), one(0), one(1), LIVE, num_actions_in_step=1.0, dual_clip=1.0, **BOUNDS
        )


@pytest.mark.parametrize(
    ("value", "expected_loss", "expected_slope"),
    [
        # Before: 1.0, target: 3.0, clip: 0.5.
        (1.3, 0.5 * 1.7**2, -1.7),
        (2.0, 0.5 * 1.5**2, 0.0),
        (0.2, 0.5 * 2.8**2, -2.8),
        (6.0, 0.5 * 3.0**2, 3.0),
    ],
    ids=["inside", "too_far_towards_the_target", "away_from_it", "overshot"],
)
def test_row_23_clipped_value_loss_is_the_larger_of_the_two(
    value: float, expected_loss: float, expected_slope: float
) -> None:
    predicted = one(value).requires_grad_()
    clipped = value_loss(
        predicted, one(3.0), LIVE, num_actions_in_step=1.0, value_sampled=one(1.0), clip=0.5
    )
    (slope,) = torch.autograd.grad(clipped.value, predicted)
    assert clipped.value.item() == pytest.approx(expected_loss, rel=1e-12)
    assert slope.item() == pytest.approx(expected_slope, rel=1e-12)
    plain = value_loss(predicted, one(3.0), LIVE, num_actions_in_step=1.0)
    assert clipped.value.item() >= plain.value.item()
    assert clipped.metrics["value/clipped_frac"].value == float(expected_slope == 0)
    assert clipped.metrics["value/squared_error"].value == pytest.approx((value - 3.0) ** 2)
    assert clipped.metrics["value/mean"].value == value
    assert clipped.metrics["value/target"].value == 3.0


def test_row_23_clipped_value_loss_is_never_below_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    value, target, before = torch.randn(3, 500, 1, dtype=torch.float64, generator=generator)
    for v, y, b in zip(value, target, before, strict=True):
        plain = value_loss(v, y, LIVE, num_actions_in_step=1.0).value
        clipped = value_loss(v, y, LIVE, num_actions_in_step=1.0, value_sampled=b, clip=0.3).value
        assert clipped >= plain


def test_value_clipping_needs_both_its_arguments() -> None:
    with pytest.raises(ValueError, match="pass both clip"):
        value_loss(one(0), one(0), LIVE, num_actions_in_step=1.0, clip=0.2)
    with pytest.raises(ValueError, match="pass both clip"):
        value_loss(one(0), one(0), LIVE, num_actions_in_step=1.0, value_sampled=one(0))
    with pytest.raises(ValueError, match="clip must be positive, got -1"):
        value_loss(one(0), one(0), LIVE, num_actions_in_step=1.0, value_sampled=one(0), clip=-1)


def test_minimising_the_entropy_bonus_raises_the_entropy() -> None:
    logits = vector(2.0, 0.0, -1.0).requires_grad_()

    def entropy() -> Tensor:
        return -(logits.softmax(0) * logits.log_softmax(0)).sum().reshape(1)

    before = entropy()
    loss = entropy_bonus(before, LIVE, num_actions_in_step=2.0)
    assert loss.value.item() == pytest.approx(-before.item() / 2)
    assert loss.metrics["policy/entropy"].value == before.item()
    (slope,) = torch.autograd.grad(loss.value, logits)
    logits = (logits - 0.1 * slope).detach()
    assert entropy().item() > before.item()
