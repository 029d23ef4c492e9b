"""Weights in half precision: float32 masters take the steps, so that small ones add up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner_cases import learner, mixed_batch, perturb, same_bits, tiny_lm
from torch import nn

from sayso.algorithms.optim import Optimiser
from sayso.algorithms.options.optim import OptimOptions

STEPS = 40
LR = 1e-5


def walked(dtype: torch.dtype, *, lr: float = LR) -> tuple[Optimiser, torch.Tensor]:
    """A parameter after many steps of a gradient that never changes, from values around 1."""
    parameter = nn.Parameter(torch.linspace(0.5, 1.5, 101).to(dtype))
    optimiser = Optimiser({"w": parameter}, OptimOptions(lr=lr, max_grad_norm=1e9))
    start = parameter.detach().clone()
    for _ in range(STEPS):
        parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    return optimiser, (parameter.detach() - start).float()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_many_steps_too_small_for_the_weights_add_up_in_their_masters(dtype: torch.dtype) -> None:
    optimiser, _ = walked(dtype)
    tensors = optimiser.state_tensors()
    start = torch.linspace(0.5, 1.5, 101).to(dtype).float()
    moved = tensors["optimiser.w.master"] - start
    assert moved.dtype == tensors["optimiser.w.exp_avg"].dtype == torch.float32
    torch.testing.assert_close(moved, torch.full_like(moved, -STEPS * LR), rtol=0.01, atol=0)
    _, far = walked(dtype, lr=1e-3)  # each step is below half a unit in the last place of bfloat16
    torch.testing.assert_close(far, torch.full_like(far, -STEPS * 1e-3), rtol=0, atol=0.005)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_in_full_precision_are_stepped_as_they_are(dtype: torch.dtype) -> None:
    optimiser, _ = walked(dtype)
    expected = nn.Parameter(torch.linspace(0.5, 1.5, 101).to(dtype))
    plain = torch.optim.AdamW([expected], lr=LR, weight_decay=0.0)
    for _ in range(STEPS):
        expected.grad = torch.ones_like(expected)
        plain.step()
    assert torch.equal(optimiser.parameters["w"], expected)
    assert optimiser.state_tensors().keys() == {
        "optimiser.w.step", "optimiser.w.exp_avg", "optimiser.w.exp_avg_sq"
    }  # fmt: skip


def test_a_run_in_bfloat16_goes_on_bit_for_bit_from_its_state() -> None:
    optim = OptimOptions(lr=1e-4)
    whole = learner("rloo", tiny_lm(dtype="bfloat16"), optim=optim)
    episodes = mixed_batch(whole.lm)
    for seed in range(3):
        whole.update(episodes, seed=seed)
    saved = whole.state()
    kept = type(saved)(
        tensors={n: t.clone() for n, t in saved.tensors.items()}, values=dict(saved.values)
    )
    resumed = learner("rloo", tiny_lm(dtype="bfloat16", seed=1), optim=optim)
    resumed.load_state(kept)
    for made in (whole, resumed):
        for seed in range(3, 6):
            made.update(episodes, seed=seed)
    assert any(name.endswith(".master") for name in kept.tensors)
    assert same_bits(dict(whole.state().tensors), dict(resumed.state().tensors))


def test_weights_that_somebody_else_changed_are_where_the_next_step_starts() -> None:
    made = learner("rloo", tiny_lm(dtype="bfloat16"), optim=OptimOptions(lr=1e-6))
    episodes = mixed_batch(made.lm)
    made.update(episodes, seed=0)
    perturb(made.lm, scale=0.5)
    moved = {n: p.detach().clone() for n, p in made.lm.trainable().items()}
    made.update(episodes, seed=1)
    for name, parameter in made.lm.trainable().items():
        torch.testing.assert_close(parameter.detach(), moved[name], rtol=0.01, atol=1e-4)


def test_a_gradient_that_is_not_finite_changes_no_bit_of_weights_or_masters() -> None:
    optimiser, _ = walked(torch.bfloat16)
    before = {n: t.clone() for n, t in optimiser.state_tensors().items()}
    weights = optimiser.parameters["w"].detach().clone()
    optimiser.parameters["w"].grad = torch.full_like(weights, float("nan"))
    _, skipped = optimiser.step()
    assert skipped is not None
    assert optimiser.parameters["w"].grad is None
    assert same_bits(dict(optimiser.state_tensors()), before)
    assert torch.equal(optimiser.parameters["w"], weights)


def test_a_saved_step_count_goes_where_the_weights_are() -> None:
    """The fused step reads it there; on a GPU a count left on the CPU would be another's memory."""
    moved: list[torch.device] = []

    class Saved(torch.Tensor):
        def to(self, *where: Any, **how: Any) -> torch.Tensor:
            moved.append(where[0])
            return self.as_subclass(torch.Tensor).to(*where, **how)

    optimiser = Optimiser({"w": torch.nn.Parameter(torch.zeros(2))}, OptimOptions())
    tensors = {
        f"optimiser.w.{name}": torch.ones(2 if name != "step" else ()).as_subclass(Saved)
        for name in ("step", "exp_avg", "exp_avg_sq")
    }
    optimiser.load_tensors(tensors, num_steps=1)
    assert moved == [torch.device("cpu")] * 3
