"""The one definition of the sampling distribution, against a plain one written token by token."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sayso.models.distribution import inverse_cdf, token_logprobs
from sayso.models.filters import Distribution


def plain(logits: list[float], how: Distribution) -> list[float]:
    """Probabilities by the textbook: sort, cut, renormalise after each filter."""
    weight = {i: math.exp((x - max(logits)) / how.temperature) for i, x in enumerate(logits)}
    order = sorted(weight, key=lambda i: (-logits[i], i))

    def normalised(kept: list[int]) -> dict[int, float]:
        total = sum(weight[i] for i in kept)
        return {i: weight[i] / total for i in kept}

    kept = order[: how.top_k] if how.top_k else order
    if how.top_p < 1:
        share, mass, nucleus = normalised(kept), 0.0, []
        for i in kept:
            if mass < how.top_p:
                nucleus.append(i)
            mass += share[i]
        kept = nucleus
    if how.min_p:
        share = normalised(kept)
        kept = [i for i in kept if share[i] >= how.min_p * max(share.values())]
    share = normalised(kept)
    return [share.get(i, 0.0) for i in range(len(logits))]


# Distinct logits on a coarse grid, and odd cut-offs that no sum of shares meets: no near ties.
logit_rows = st.lists(st.integers(-40, 40), min_size=1, max_size=12, unique=True)
distributions = st.builds(
    Distribution,
    temperature=st.sampled_from([0.25, 0.7, 1.0, 2.0, 31.0]),
    top_k=st.integers(0, 14),
    top_p=st.sampled_from([0.1234567, 0.5512345, 0.9012345, 1.0]),
    min_p=st.sampled_from([0.0, 0.0512345, 0.4123456]),
)


@given(logits=logit_rows, how=distributions)
@settings(max_examples=100, deadline=None)
def test_every_combination_of_filters_equals_the_textbook(
    logits: list[int], how: Distribution
) -> None:
    row = [x / 8 for x in logits]
    ours = token_logprobs(torch.tensor([row], dtype=torch.float64), how).exp()[0]
    torch.testing.assert_close(ours, torch.tensor(plain(row, how), dtype=torch.float64))


def test_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[0.0, 1.0, 3.0]])
    for temperature in (0.5, 1.0, 2.0):
        ours = token_logprobs(logits, Distribution(temperature=temperature))
        torch.testing.assert_close(ours, torch.log_softmax(logits / temperature, -1))


def test_filters_see_the_tempered_distribution_not_the_raw_one() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    cold = token_logprobs(logits, Distribution(temperature=0.1, top_p=0.9))
    hot = token_logprobs(logits, Distribution(temperature=10.0, top_p=0.9))
    assert (cold != -torch.inf).sum() == 1
    assert (hot != -torch.inf).sum() == 3


def test_ties_do_not_let_more_than_k_tokens_through() -> None:
    ours = token_logprobs(torch.zeros(4, 9), Distribution(top_k=3))
    assert ((ours != -torch.inf).sum(-1) == 3).all()
    torch.testing.assert_close(ours.exp().sum(-1), torch.ones(4))


def test_the_likeliest_token_always_survives() -> None:
    logits = torch.tensor([[0.0, 30.0, 1.0]])
    for how in (Distribution(top_k=1), Distribution(top_p=1e-9), Distribution(min_p=0.999)):
        assert token_logprobs(logits, how)[0].tolist() == [-math.inf, 0.0, -math.inf]


def test_top_p_keeps_the_token_that_crosses_the_threshold() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    kept = token_logprobs(logits, Distribution(top_p=0.6)).exp()[0]
    torch.testing.assert_close(kept, torch.tensor([0.625, 0.375, 0.0], dtype=torch.float64))


def test_min_p_keeps_a_token_exactly_at_the_floor() -> None:
    logits = torch.tensor([[0.0, -1.0, -1.1]], dtype=torch.float64)
    kept = token_logprobs(logits, Distribution(min_p=math.exp(-1.0) * (1 - 1e-12)))
    assert (kept[0] != -torch.inf).tolist() == [True, True, False]


def test_half_precision_is_normalised_in_single() -> None:
    logits = torch.randn(3, 500, generator=torch.Generator().manual_seed(0)).bfloat16()
    ours = token_logprobs(logits, Distribution(temperature=0.7))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, torch.log_softmax(logits.float() / 0.7, -1))


@pytest.mark.parametrize(
    "how",
    [Distribution(temperature=0.5), Distribution(top_k=3), Distribution(top_p=0.8, min_p=0.05)],
)
def test_gradients_match_finite_differences_and_stay_inside_the_kept_set(how: Distribution) -> None:
    logits = torch.tensor([[1.3, -0.4, 0.9, 0.1, -2.0]], dtype=torch.float64, requires_grad=True)

    def total(x: torch.Tensor) -> torch.Tensor:
        found = token_logprobs(x, how)
        return torch.where(found == -torch.inf, 0.0, found).sum()

    assert torch.autograd.gradcheck(total, (logits,))
    total(logits).backward()
    kept = token_logprobs(logits, how) != -torch.inf
    assert (logits.grad[~kept] == 0).all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0}, {"temperature": -1.0}, {"temperature": math.nan},
        {"temperature": math.inf}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1},
        {"top_p": math.nan}, {"min_p": -0.1}, {"min_p": 1.0}, {"min_p": math.nan},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Distribution(**wrong)


@given(logits=logit_rows, how=distributions, uniform=st.floats(0, 1, exclude_max=True))
@settings(max_examples=80, deadline=None)
def test_a_filtered_token_is_never_drawn(
    logits: list[int], how: Distribution, uniform: float
) -> None:
    logprobs = token_logprobs(torch.tensor([[x / 8 for x in logits]]), how)
    drawn = inverse_cdf(logprobs, torch.tensor([uniform], dtype=torch.float64))
    assert logprobs[0, drawn[0]] > -torch.inf
