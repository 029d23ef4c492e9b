"""The parity meter against hand computation; greedy decoding without exploration."""

from __future__ import annotations

import math

import pytest
import torch

import sayso
from sayso.algorithms.parity import MIN_TOKENS, ParityMeter
from sayso.models.distribution import token_logprobs
from sayso.models.filters import Distribution


def test_row_27_reported_mismatch_equals_a_hand_computation() -> None:
    """Gaps 0, ln 1.05, −ln 1.2 and ln 2: two of four ratios leave [0.9, 1.1]."""
    meter = ParityMeter()
    gaps = [0.0, math.log(1.05), -math.log(1.2), math.log(2.0)]
    sampled = torch.tensor([-1.0, -2.0, -3.0, -4.0], dtype=torch.float64)
    meter.add(sampled + torch.tensor(gaps, dtype=torch.float64), sampled)
    metrics = meter.metrics()
    assert metrics["parity/mean_gap"].value == pytest.approx(sum(map(abs, gaps)) / 4, abs=1e-12)
    assert metrics["parity/max_gap"].value == pytest.approx(math.log(2.0), abs=1e-12)
    assert metrics["parity/outside_frac"].value == 0.5


def test_row_27_half_precision_logits_are_normalised_in_fp32() -> None:
    logits = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    logprobs = token_logprobs(logits, Distribution())
    assert logprobs.dtype is torch.float32
    torch.testing.assert_close(logprobs, logits.float().log_softmax(-1), rtol=0, atol=0)
    assert logprobs.exp().sum(-1) == pytest.approx(torch.ones(4), abs=1e-5)


@pytest.mark.parametrize(("shift", "stops"), [(0.0, False), (0.04, False), (0.06, True)])
def test_a_run_stops_when_the_mean_gap_exceeds_its_tolerance(shift: float, *, stops: bool) -> None:
    meter = ParityMeter()
    sampled = torch.full((MIN_TOKENS,), -1.0)
    meter.add(sampled + shift, sampled)
    fatal = meter.fatal()
    assert (fatal is not None) is stops
    if fatal is not None:
        assert "0.06 nats (allowed 0.05)" in fatal.problem


def test_a_few_tokens_far_off_stop_a_run_even_when_the_mean_is_small() -> None:
    meter = ParityMeter()
    sampled = torch.full((100,), -1.0)
    logprob = sampled.clone()
    logprob[:6] += 0.2
    meter.add(logprob, sampled)
    fatal = meter.fatal()
    assert fatal is not None
    assert "6.0% of ratios outside" in fatal.problem


@pytest.fixture
def agent() -> sayso.RLOO:
    return sayso.RLOO(
        "tiny",
        "sayso/TinyLang-v0",
        tiny={"tokens": ["a", "b"], "width": 16, "layers": 1, "heads": 2},
        max_new_tokens=3,
    )


def test_row_46_greedy_answers_take_the_likeliest_token_whatever_the_seed(
    agent: sayso.RLOO,
) -> None:
    answers = {agent.predict("", deterministic=True, seed=seed) for seed in range(8)}
    assert len(answers) == 1
    assert len({agent.predict("", seed=seed) for seed in range(8)}) > 1
    ids = list(agent.lm.chat.prompt(""))
    said: list[int] = []
    while len(said) < 3:
        best = int(agent.lm.causal_lm(torch.tensor([ids + said])).logits[0, -1].argmax())
        said.append(best)
        if best in agent.lm.stop_ids:
            break
    assert answers == {agent.lm.chat.text(said)}


def test_row_46_an_evaluation_is_decided_by_its_seed(agent: sayso.RLOO) -> None:
    def returns(seed: int) -> object:
        report = sayso.evaluate(agent, split="train", num_episodes=12, seed=seed)
        return report.to_json()

    assert returns(0) == returns(0)
    assert returns(0) != returns(1)
