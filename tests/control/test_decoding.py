"""Settings of the sampler from an action, and what they do to the next token's probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from sayso.control.decoding import Knobs, decoded_logprobs, knobs_of, neutral
from sayso.control.options import KNOBS


def test_the_ends_of_the_box_are_the_ends_of_the_ranges() -> None:
    low, high = knobs_of([-1] * 4, KNOBS), knobs_of([1] * 4, KNOBS)
    assert (low.temperature, low.top_p, low.repetition) == pytest.approx((0.2, 0.5, 1.0))
    assert (high.temperature, high.top_p, high.repetition) == pytest.approx((2.0, 1.0, 1.5))
    assert (low.guidance, high.guidance) == pytest.approx((0.5, 3.0))
    assert knobs_of([0.0], ["temperature"]).temperature == pytest.approx(math.sqrt(0.4))
    assert knobs_of([0.0], ["top_p"]).top_p == pytest.approx(0.75)


def test_the_neutral_action_turns_every_knob_to_one() -> None:
    found = knobs_of(neutral(KNOBS), KNOBS)
    assert (found.temperature, found.top_p, found.repetition, found.guidance) == pytest.approx(
        (1, 1, 1, 1)
    )


def test_plain_knobs_leave_the_models_own_probabilities() -> None:
    logits = torch.tensor([[1.0, 0.0, -2.0]])
    assert torch.equal(decoded_logprobs(logits, [[0]], [Knobs()]), logits.log_softmax(-1))


def test_a_repeated_token_loses_on_either_side_of_zero() -> None:
    logits = torch.tensor([[3.0, -3.0, 0.5]])
    found = decoded_logprobs(logits, [[0, 1, 0]], [Knobs(repetition=1.5)])
    expected = torch.tensor([[2.0, -4.5, 0.5]]).log_softmax(-1)
    torch.testing.assert_close(found, expected)


def test_temperature_and_top_p_are_each_rows_own() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    knobs = [Knobs(temperature=0.5), Knobs(top_p=0.6)]
    found = decoded_logprobs(logits, [[], []], knobs).exp()
    torch.testing.assert_close(found[0], torch.tensor([4.0, 2.0, 0.0]).softmax(-1))
    # The likeliest has 0.665, which is enough by itself.
    torch.testing.assert_close(found[1], torch.tensor([1.0, 0.0, 0.0]))


def test_guidance_extrapolates_from_the_unprompted_model() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    found = decoded_logprobs(logits, [[]], [Knobs(guidance=3.0, is_guided=True)])
    # Against a uniform model, guidance multiplies the logits.
    torch.testing.assert_close(found, torch.tensor([[3.0, 0.0]]).log_softmax(-1))
    free = decoded_logprobs(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), [[]], [Knobs(guidance=0.0)])
    torch.testing.assert_close(free, torch.tensor([[0.0, 2.0]]).log_softmax(-1))
