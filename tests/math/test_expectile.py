from __future__ import annotations

import pytest
import torch

from sayso.losses.expectile import expectile_loss

EVERY = torch.ones(2, dtype=torch.bool)


@pytest.mark.parametrize(("tau", "expected"), [(0.5, 0.5), (0.9, 0.9), (0.99, 0.99), (0.1, 0.1)])
def test_the_minimiser_over_two_equally_likely_values_of_0_and_1_is_tau(
    tau: float, expected: float
) -> None:
    """(1 - tau) v = tau (1 - v)."""
    v = torch.zeros((), dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for _ in range(400):
        (slope,) = torch.autograd.grad(
            expectile_loss(v.expand(2), target, tau, EVERY, num_in_step=2).value, v
        )
        v = (v - slope).detach().requires_grad_()
    assert v.item() == pytest.approx(expected, abs=1e-6)


def test_values_and_slopes_by_hand() -> None:
    prediction = torch.tensor([1.0, 1.0, 7.0], requires_grad=True)
    target = torch.tensor([3.0, 0.0, float("nan")], requires_grad=True)
    is_action = torch.tensor([True, True, False])
    loss = expectile_loss(prediction, target, 0.75, is_action, num_in_step=4)
    assert loss.value.item() == pytest.approx((0.75 * 4 + 0.25 * 1) / 4)
    assert loss.metrics["value/above_frac"].value == 0.5
    loss.value.backward()  # type: ignore[no-untyped-call]
    assert prediction.grad is not None
    assert prediction.grad.tolist() == pytest.approx([-0.75, 0.125, 0.0])
    assert target.grad is None


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.5])
def test_a_tau_that_is_no_expectile_is_refused(tau: float) -> None:
    with pytest.raises(ValueError, match="tau"):
        expectile_loss(torch.zeros(2), torch.zeros(2), tau, EVERY, num_in_step=2)
