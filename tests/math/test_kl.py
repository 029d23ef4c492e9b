"""KL estimators: value, direction and expected gradient, by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sayso.credit.group import leave_one_out
from sayso.credit.kl_reward import kl_in_reward
from sayso.credit.returns import reward_to_go
from sayso.losses.kl import k1, k2, k3, kl_loss, kl_metrics
from sayso.losses.policy_gradient import reinforce

ALL = torch.ones(5, dtype=torch.bool)


def bandit(seed: int) -> tuple[Tensor, Tensor]:
    """Policy logits (differentiable) and reference log-probabilities over five tokens."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, dtype=torch.float64, generator=generator).requires_grad_()
    return logits, torch.randn(5, dtype=torch.float64, generator=generator).log_softmax(0)


def reverse_kl(logits: Tensor, ref: Tensor) -> Tensor:
    """KL(policy ‖ reference)."""
    return (logits.softmax(0) * (logits.log_softmax(0) - ref)).sum()


def forward_kl(logits: Tensor, ref: Tensor) -> Tensor:
    """KL(reference ‖ policy)."""
    return (ref.exp() * (ref - logits.log_softmax(0))).sum()


def expected_gradient(
    logits: Tensor, per_token: Callable[[Tensor], Tensor], chance: Tensor | None = None
) -> Tensor:
    """Gradient of a per-token loss, averaged over the tokens the policy draws."""
    chance = logits.softmax(0).detach() if chance is None else chance
    return torch.autograd.grad((chance * per_token(logits.log_softmax(0))).sum(), logits)[0]


def of_loss(estimator: Any, ref: Tensor, chance: Tensor) -> Callable[[Tensor], Tensor]:
    """``kl_loss`` over all five tokens, each weighted by its chance."""
    return lambda logprob: (
        kl_loss(
            logprob, ref, ALL, estimator=estimator, num_actions_in_step=1.0, weight=chance
        ).value
    )


def gradient_of_loss(logits: Tensor, ref: Tensor, estimator: Any) -> Tensor:
    chance = logits.softmax(0).detach()
    value = of_loss(estimator, ref, chance)(logits.log_softmax(0))
    return torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("seed", range(3))
def test_row_07_k2_as_loss_has_the_gradient_of_policy_to_reference(seed: int) -> None:
    logits, ref = bandit(seed)
    (expected,) = torch.autograd.grad(reverse_kl(logits, ref), logits)
    actual = gradient_of_loss(logits, ref, "k2")
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_row_07_k3_as_loss_has_the_gradient_of_reference_to_policy(seed: int) -> None:
    logits, ref = bandit(seed)
    (expected,) = torch.autograd.grad(forward_kl(logits, ref), logits)
    actual = gradient_of_loss(logits, ref, "k3")
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)
    (other,) = torch.autograd.grad(reverse_kl(logits, ref), logits)
    assert (actual - other).norm() > 0.05 * other.norm(), "and not of the other direction"


def test_row_07_k1_as_loss_has_no_gradient_and_is_refused() -> None:
    logits, ref = bandit(0)
    gradient = expected_gradient(logits, lambda logprob: k1(logprob, ref))
    assert gradient.abs().max().item() < 1e-15
    refused: Any = "k1"
    with pytest.raises(ValueError, match="expected gradient of k1 as a loss is 0"):
        kl_loss(ref, ref, ALL, estimator=refused, num_actions_in_step=1.0)


def test_row_07_unknown_estimator_is_refused() -> None:
    unknown: Any = "k4"
    with pytest.raises(ValueError, match="must be 'k2' or 'k3' in the loss, got 'k4'"):
        kl_loss(torch.zeros(5), torch.zeros(5), ALL, estimator=unknown, num_actions_in_step=1.0)


@pytest.mark.parametrize("beta", [0.1, 0.5])
@pytest.mark.parametrize("style", ["sum_over_sequence", "to_go"])
def test_row_07_k1_in_reward_gives_the_gradient_of_return_minus_sequence_kl(
    tinylang: Any, beta: float, style: str
) -> None:
    logits, reference = tinylang.random_logits(0), tinylang.reference_logits()
    objective = tinylang.expected_return(logits) - beta * tinylang.sequence_kl(logits, reference)
    expected = tinylang.gradient(objective, logits)

    def shaped(sequence: str) -> list[float]:
        rewards = [0.0] * (len(sequence) - 1) + [tinylang.reward[sequence]]
        return kl_in_reward(
            rewards,
            tinylang.logprobs(logits, sequence).tolist(),
            tinylang.logprobs(reference, sequence).tolist(),
            coef=beta,
        ).tolist()

    def whole(group: tuple[str, ...]) -> list[list[float]]:
        numbers = leave_one_out([math.fsum(shaped(sequence)) for sequence in group])
        return [[n] * len(y) for n, y in zip(numbers, group, strict=True)]

    def to_go(group: tuple[str, ...]) -> list[list[float]]:
        return [
            reward_to_go(shaped(y), turn_ends=[False] * (len(y) - 1) + [True]).tolist()
            for y in group
        ]

    advantages, size = (whole, 2) if style == "sum_over_sequence" else (to_go, 1)
    actual = tinylang.expected_step(logits, advantages, group_size=size)
    assert ((actual - expected).norm() / expected.norm()).item() < 1e-8


def test_row_07_off_policy_k2_needs_the_ratio_as_weight() -> None:
    logits, ref = bandit(1)
    sampler = torch.tensor([0.5, -0.5, 0.2, 0.0, 1.0], dtype=torch.float64).log_softmax(0)
    (expected,) = torch.autograd.grad(reverse_kl(logits, ref), logits)
    ratio = (logits.log_softmax(0) - sampler).exp().detach()

    def gradient(weight: Tensor) -> Tensor:
        loss = kl_loss(
            logits.log_softmax(0), ref, ALL, estimator="k2", num_actions_in_step=1.0, weight=weight
        )
        return torch.autograd.grad(loss.value, logits)[0]

    torch.testing.assert_close(gradient(sampler.exp() * ratio), expected, rtol=1e-10, atol=1e-14)
    assert (gradient(sampler.exp()) - expected).norm() > 0.05 * expected.norm()


@pytest.mark.parametrize("estimator", [k1, k3])
def test_row_08_k1_and_k3_estimate_policy_to_reference_without_bias(
    estimator: Callable[[Tensor, Tensor], Tensor],
) -> None:
    logits, ref = bandit(2)
    logprob = logits.detach().log_softmax(0)
    mean = (logprob.exp() * estimator(logprob, ref)).sum().item()
    exact = reverse_kl(logits.detach(), ref).item()
    assert mean == pytest.approx(exact, rel=1e-12)
    assert mean > 0
    assert mean != pytest.approx(forward_kl(logits.detach(), ref).item(), rel=1e-3)


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_row_08_distance_to_itself_is_zero(
    estimator: Callable[[Tensor, Tensor], Tensor],
) -> None:
    logprob = bandit(3)[1]
    assert (estimator(logprob, logprob) == 0).all()


def test_row_08_k2_and_k3_are_never_negative() -> None:
    logprob, ref = torch.randn(2, 1000, dtype=torch.float64) * 3
    assert (k2(logprob, ref) >= 0).all()
    assert (k3(logprob, ref) >= 0).all()


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_row_08_prompt_and_observation_tokens_contribute_nothing(estimator: Any) -> None:
    live = torch.tensor([False, True, False, True, False])
    logprob = torch.tensor([-9.0, -1.0, -7.0, -2.0, -8.0], dtype=torch.float64)
    ref = torch.tensor([-1.0, -1.5, -1.0, -1.0, -1.0], dtype=torch.float64)
    row = kl_loss(logprob, ref, live, estimator=estimator, num_actions_in_step=2.0)
    alone = kl_loss(
        logprob[live], ref[live], live[live], estimator=estimator, num_actions_in_step=2.0
    )
    assert row.value.item() == alone.value.item()
    assert row.metrics == alone.metrics
    assert row.metrics["kl/mean"].count == 2
    assert row.metrics["kl/mean"].value == pytest.approx((0.5 - 1.0) / 2)
    assert kl_metrics(logprob, ref, live) == row.metrics


def test_kl_loss_is_the_mean_of_its_estimator() -> None:
    logprob = torch.tensor([-1.0, -2.0], dtype=torch.float64)
    ref = torch.tensor([-1.5, -1.0], dtype=torch.float64)
    live = torch.tensor([True, True])
    two = kl_loss(logprob, ref, live, estimator="k2", num_actions_in_step=4.0).value.item()
    three = kl_loss(logprob, ref, live, estimator="k3", num_actions_in_step=4.0).value.item()
    assert two == pytest.approx((0.125 + 0.5) / 4, rel=1e-14)
    assert three == pytest.approx((math.exp(-0.5) - 0.5 + math.e - 2) / 4, rel=1e-14)


@pytest.mark.parametrize("gap", [-1e4, -25.0, 25.0, 1e4])
def test_fault_16_k3_never_pushes_a_policy_further_away(gap: float) -> None:
    """Beyond the clamp the gradient may vanish; it must not change sign."""
    logprob = torch.tensor([gap], dtype=torch.float32, requires_grad=True)
    (slope,) = torch.autograd.grad(k3(logprob, torch.zeros(1)).sum(), logprob)
    assert slope.item() == (1.0 if gap > 0 else 0.0)


def test_kl_in_reward_is_the_reward_minus_coef_times_k1() -> None:
    shaped = kl_in_reward([0.0, 2.0], [-1.0, -3.0], [-4.0, -2.0], coef=0.1)
    assert shaped.tolist() == pytest.approx([-0.3, 2.1])
    assert kl_in_reward([1.0], [-1.0], [-9.0], coef=0.0).tolist() == [1.0]


def test_kl_in_reward_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="logprob has 1 entries, but there are 2 action tokens"):
        kl_in_reward([0.0, 1.0], [-1.0], [-1.0, -1.0], coef=0.1)
    with pytest.raises(ValueError, match="logprob_ref: entry 0 is nan"):
        kl_in_reward([0.0], [-1.0], [math.nan], coef=0.1)
    with pytest.raises(ValueError, match="coef must be at least 0"):
        kl_in_reward([0.0], [-1.0], [-1.0], coef=-0.1)


def test_row_07_k1_in_reward_on_one_decision_is_policy_to_reference() -> None:
    """The same fact without TinyLang: the score-function gradient of −k1 as reward."""
    logits, ref = bandit(4)
    (expected,) = torch.autograd.grad(-reverse_kl(logits, ref), logits)
    logprob = logits.log_softmax(0)
    reward = kl_in_reward([0.0] * 5, logprob.tolist(), ref.tolist(), coef=1.0)
    chance = logprob.detach().exp()
    loss = reinforce(logprob, torch.from_numpy(reward), ALL, num_in_step=1.0, weight=chance)
    (actual,) = torch.autograd.grad(-loss.value, logits)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)
