"""The blocked sum draws what a plain cumulative sum over the vocabulary would."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sayso.models.distribution import inverse_cdf


def plain(logprobs: torch.Tensor, uniform: float) -> int:
    cumulative = np.cumsum(np.exp(logprobs.double().numpy()))
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))


@pytest.mark.parametrize("num_tokens", [1, 2, 5, 255, 256, 257, 1000, 49_152])
@pytest.mark.parametrize("kept_frac", [1.0, 0.05])
def test_draws_equal_those_of_a_plain_cumulative_sum(num_tokens: int, kept_frac: float) -> None:
    generator = torch.Generator().manual_seed(num_tokens)
    logits = 3 * torch.randn(40, num_tokens, generator=generator, dtype=torch.float64)
    dropped = torch.rand(logits.shape, generator=generator) > kept_frac
    dropped[:, num_tokens // 2] = False
    logprobs = logits.masked_fill(dropped, -torch.inf).log_softmax(-1)
    uniform = torch.rand(40, generator=generator, dtype=torch.float64)
    drawn = inverse_cdf(logprobs, uniform)
    assert drawn.tolist() == [plain(p, u.item()) for p, u in zip(logprobs, uniform, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_tokens", [5, 256, 1000])
def test_the_ends_of_the_interval_draw_the_first_and_the_last_possible_token(
    dtype: torch.dtype, num_tokens: int
) -> None:
    logits = torch.zeros(1, num_tokens, dtype=dtype)
    logits[0, 0] = logits[0, -1] = -torch.inf
    logprobs = logits.log_softmax(-1)
    assert inverse_cdf(logprobs, torch.tensor([0.0], dtype=torch.float64)).tolist() == [1]
    almost_one = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert inverse_cdf(logprobs, almost_one).tolist() == [num_tokens - 2]


def test_a_number_on_a_boundary_draws_the_token_after_it() -> None:
    logprobs = torch.tensor([[0.25, 0.0, 0.25, 0.5]], dtype=torch.float64).log()
    uniform = [0.0, 0.2499, 0.25, 0.4999, 0.5, 0.9999]
    drawn = [int(inverse_cdf(logprobs, torch.tensor([u], dtype=torch.float64))) for u in uniform]
    assert drawn == [0, 0, 2, 2, 3, 3]


def test_a_total_that_is_off_one_changes_no_draw() -> None:
    logprobs = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64).log().expand(50, -1)
    uniform = torch.linspace(0, 0.999, 50, dtype=torch.float64)
    drawn = inverse_cdf(logprobs, uniform)
    assert drawn.unique().tolist() == [0, 1, 2]
    assert torch.equal(inverse_cdf(logprobs - 0.5, uniform), drawn)


def test_one_token_with_all_the_mass_is_always_drawn() -> None:
    logprobs = torch.full((9, 700), -torch.inf)
    logprobs[:, 511] = 0.0
    uniform = torch.linspace(0, 1 - 2**-53, 9, dtype=torch.float64)
    assert inverse_cdf(logprobs, uniform).unique().tolist() == [511]


def test_not_a_number_draws_inside_the_vocabulary_for_the_caller_to_report() -> None:
    drawn = inverse_cdf(torch.full((2, 300), torch.nan), torch.tensor([0.1, 0.9]).double())
    assert drawn.max() < 300
