"""The head's log-probabilities and gradients against the plain computation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sayso.kernels.library import CompileError
from sayso.models import head
from sayso.models.head import head_logprobs


def plain(hidden: Tensor, weight: Tensor, target: Tensor, temperature: float) -> Tensor:
    logits = hidden @ weight.T / temperature
    return logits.log_softmax(-1).gather(-1, target[:, None]).squeeze(-1)


def both(
    *, num: int, vocabulary: int, dtype: torch.dtype, temperature: float, trains: bool
) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(num)
    hidden = torch.randn(num, 20, generator=generator, dtype=dtype) * 3
    weight = torch.randn(vocabulary, 20, generator=generator, dtype=dtype)
    target = torch.randint(vocabulary, (num,), generator=generator)
    factor = torch.randn(num, generator=generator, dtype=dtype)
    found = []
    for compute in (
        lambda h, w: head_logprobs(h, w, target, temperature=temperature),
        lambda h, w: plain(h, w, target, temperature),
    ):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(trains)
        logprob = compute(h, w)
        (logprob * factor).sum().backward()
        found.append([logprob.detach(), h.grad, *([w.grad] if trains else [])])
    return found[0], found[1]


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(("num", "vocabulary"), [(1, 7), (130, 37), (300, 1001)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_values_and_gradients_are_those_of_log_softmax(
    num: int, vocabulary: int, dtype: torch.dtype, tolerance: float, temperature: float,
    trains: bool,
) -> None:  # fmt: skip
    ours, expected = both(
        num=num, vocabulary=vocabulary, dtype=dtype, temperature=temperature, trains=trains
    )
    for got, wanted in zip(ours, expected, strict=True):
        scale = max(1.0, float(wanted.abs().max()))
        torch.testing.assert_close(got, wanted, atol=tolerance * scale, rtol=0)


def test_probabilities_beyond_the_memory_for_them_are_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "KEPT_BYTES", 8 * 37 * 130)  # one block of 128, not the other two
    ours, expected = both(num=300, vocabulary=37, dtype=torch.float64, temperature=0.7, trains=True)
    for got, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-10, rtol=1e-10)


def test_without_a_compiler_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise CompileError("none here")

    monkeypatch.setattr(head, "library", missing)
    ours, expected = both(num=130, vocabulary=37, dtype=torch.float32, temperature=0.7, trains=True)
    for got, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_logits_that_are_not_finite_give_a_logprob_that_is_not() -> None:
    hidden, weight = torch.ones(2, 3), torch.ones(9, 3)
    weight[4] = torch.nan
    assert head_logprobs(hidden, weight, torch.tensor([1, 4]), temperature=1.0).isnan().all()


def test_extreme_logits_do_not_overflow() -> None:
    hidden = torch.tensor([[1e4, -1e4]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    got = head_logprobs(hidden, weight, torch.tensor([0]), temperature=1.0)
    assert float(got) == 0.0
    got = head_logprobs(hidden, weight, torch.tensor([1]), temperature=1.0)
    assert float(got) == pytest.approx(-2e4)
