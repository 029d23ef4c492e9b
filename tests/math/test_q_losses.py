"""Losses of action values: hand-computed numbers, fixed points, no normaliser of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sayso.credit.backups import expectile
from sayso.losses.imitation import imitation
from sayso.losses.q_learning import conservatism, expectile_loss, td_loss

TRUE = torch.ones(3, dtype=torch.bool)


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def minimised(start: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Where a convex loss is least."""
    found = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [found], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of(found)
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return found.detach()


def test_the_squared_error_is_halved_summed_and_divided_by_the_count_it_is_given() -> None:
    value = double(1.0, 2.0, 5.0).requires_grad_()
    loss = td_loss(value, double(0.0, 2.0, 3.0), TRUE, num_actions_in_step=10)
    assert loss.value.item() == pytest.approx((0.5 + 0.0 + 2.0) / 10)
    loss.value.backward()
    assert value.grad is not None
    assert value.grad.tolist() == pytest.approx([0.1, 0.0, 0.2])
    assert loss.metrics["q/td_error"].value == 1.0
    assert loss.metrics["q/td_error"].count == 3
    assert loss.metrics["q/mean"].value == pytest.approx(8 / 3)
    assert loss.metrics["q/target"].value == pytest.approx(5 / 3)


def test_huber_grows_linearly_beyond_delta() -> None:
    value = double(0.5, 3.0, -3.0).requires_grad_()
    loss = td_loss(value, double(0, 0, 0), TRUE, num_actions_in_step=1, kind="huber", delta=2.0)
    assert loss.value.item() == pytest.approx(0.125 + 2 * (3 - 1) + 2 * (3 - 1))
    loss.value.backward()
    assert value.grad is not None
    assert value.grad.tolist() == [0.5, 2.0, -2.0]


def test_targets_and_weights_carry_no_gradient_and_masked_tokens_no_nan() -> None:
    inputs = [double(1.0, 2.0, torch.nan).requires_grad_() for _ in range(3)]
    value, target, weight = inputs
    is_action = torch.tensor([True, True, False])
    losses = [
        td_loss(value, target, is_action, num_actions_in_step=2, weight=weight),
        expectile_loss(value, target, is_action, num_actions_in_step=2, tau=0.9, weight=weight),
        conservatism(value, 2 * value, is_action, num_actions_in_step=2, weight=weight),
        imitation(value, is_action, num_in_step=2, weight=weight),
    ]
    sum(loss.value for loss in losses).backward()  # type: ignore[union-attr]
    assert target.grad is None
    assert weight.grad is None
    assert value.grad is not None
    assert bool(value.grad.isfinite().all())
    assert value.grad[2] == 0


def test_weights_multiply_each_token() -> None:
    value, target, weight = double(1.0, 2.0, 3.0), double(0.0, 0.0, 0.0), double(2.0, 0.0, 1.0)
    counted = {"num_actions_in_step": 4.0, "weight": weight}
    assert td_loss(value, target, TRUE, **counted).value.item() == (1.0 + 4.5) / 4  # type: ignore[arg-type]
    half = expectile_loss(value, target, TRUE, tau=0.5, **counted)  # type: ignore[arg-type]
    assert half.value.item() == (1.0 + 4.5) / 4
    cloned = imitation(value, TRUE, num_in_step=4.0, weight=weight)
    assert cloned.value.item() == -(2.0 + 3.0) / 4
    pushed = conservatism(value, target, TRUE, **counted)  # type: ignore[arg-type]
    assert pushed.value.item() == -(2.0 + 3.0) / 4
    assert pushed.metrics["q/cross_entropy"].value == -2.0


def test_over_candidates_the_cross_entropy_ignores_padding() -> None:
    values = double(1.0, 2.0, -torch.inf).requires_grad_()
    pushed = conservatism(
        values[:1], values.logsumexp(-1, keepdim=True), TRUE[:1], num_actions_in_step=1
    )
    pushed.value.backward()  # type: ignore[no-untyped-call]
    assert pushed.value.item() == pytest.approx(1.3132617, abs=1e-6)
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([-0.731059, 0.731059, 0], abs=1e-5)


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.7, 0.9, 0.99])
def test_the_least_expectile_loss_is_at_the_expectile(tau: float) -> None:
    shown, weight = double(0.0, 0.2, 1.0), double(0.5, 0.2, 0.3)

    def loss_of(value: Tensor) -> Tensor:
        return expectile_loss(
            value.expand(3), shown, TRUE, num_actions_in_step=1, tau=tau, weight=weight
        ).value

    found = minimised(double(0.3), loss_of)
    wanted = expectile(shown.tolist(), weight.tolist(), tau)
    assert found.item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "fixed"),
    [
        (0.1, [0.078729, 0.993779, 1.546288]),
        (1.0, [0.456092, 0.662627, 0.275568]),
        (10.0, [0.808653, 0.270263, -0.662707]),
    ],
)
def test_t10_the_cross_entropy_moves_the_fixed_point_as_derived(
    alpha: float, fixed: list[float]
) -> None:
    policy, wanted = double(0.6, 0.3, 0.1), double(0.0, 1.0, 2.0)

    def loss_of(value: Tensor) -> Tensor:
        td = td_loss(value, wanted, TRUE, num_actions_in_step=1, weight=policy).value
        total = value.logsumexp(-1).expand(3)
        pushed = conservatism(value, total, TRUE, num_actions_in_step=1, weight=policy).value
        return td + alpha * pushed

    found = minimised(torch.zeros(3, dtype=torch.float64), loss_of)
    assert found.tolist() == pytest.approx(fixed, abs=1e-5)
    implied = wanted + alpha * (1 - found.softmax(-1) / policy)
    assert found.tolist() == pytest.approx(implied.tolist(), abs=1e-5)


VALUE = double(1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: td_loss(VALUE, VALUE, TRUE, num_actions_in_step=1, delta=0.0), "delta"),
        (lambda: expectile_loss(VALUE, VALUE, TRUE, num_actions_in_step=1, tau=1.0), "tau"),
        (lambda: td_loss(VALUE, VALUE, TRUE, num_actions_in_step=0), "num_actions"),
    ],
)
def test_numbers_without_a_meaning_are_refused(call: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()
