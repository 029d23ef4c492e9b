"""Truncated importance weights undo what a quantised sampler gets wrong."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from learner_cases import VARIANTS, learner, mixed_batch, shifted, tiny_lm

from sayso.algorithms.anchor import MAX_SAMPLING_WEIGHT, sampling_weight
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.parity import ParityMeter
from sayso.kernels.library import library
from sayso.losses.policy_gradient import reinforce
from sayso.sampling.base import Request
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


def weights(precision: str, logprob: torch.Tensor, recorded: torch.Tensor) -> Any:
    core: Any = SimpleNamespace(sampling=SimpleNamespace(precision=precision))
    row: Any = SimpleNamespace(logprob_sampled=recorded)
    scores: Any = SimpleNamespace(logprob=logprob)
    return sampling_weight(core, row, scores)


def test_an_exact_sampler_gets_no_weight() -> None:
    assert weights("exact", torch.zeros(3), torch.ones(3)) is None


def test_the_gradient_under_another_sampler_is_the_policys_own_by_enumeration() -> None:
    """Sum over all tokens of mu(a) · w(a) · A(a) · grad log pi(a) = sum of pi · A · grad log pi."""
    logits = torch.tensor([0.3, -0.5, 1.1, 0.0], dtype=torch.float64, requires_grad=True)
    sampler = (logits.detach() + torch.tensor([0.1, -0.2, 0.15, 0.05])).log_softmax(-1)
    advantage = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    logprob = logits.log_softmax(-1)
    weight = weights("int8", logprob, sampler)
    assert not weight.requires_grad
    assert float(weight.max()) < MAX_SAMPLING_WEIGHT
    everything = torch.ones(4, dtype=torch.bool)
    loss = reinforce(logprob, sampler.exp() * advantage, everything, num_in_step=1.0, weight=weight)
    (got,) = torch.autograd.grad(loss.value, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(-(logprob.exp() * advantage).sum(), logits, retain_graph=True)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-9)
    plain = reinforce(logprob, sampler.exp() * advantage, everything, num_in_step=1.0)
    (biased,) = torch.autograd.grad(plain.value, logits)
    assert float((biased - expected).abs().max()) > 0.01


def test_weights_are_truncated_above_only() -> None:
    logprob = torch.tensor([-1.0, -1.0, -5.0])
    recorded = torch.tensor([-1.0, -4.0, -1.0])
    expected = torch.tensor([1.0, MAX_SAMPLING_WEIGHT, math.exp(-4.0)])
    torch.testing.assert_close(weights("int8", logprob, recorded), expected)


def test_the_meter_reports_distance_and_effective_sample_size() -> None:
    meter = ParityMeter(is_exact=False)
    gaps = torch.tensor([math.log(2.0), -math.log(2.0)] * 10, dtype=torch.float64)
    meter.add(-1 + gaps, torch.full((20,), -1.0, dtype=torch.float64))
    metrics = meter.metrics()
    assert metrics["parity/kl"].value == pytest.approx(0.0, abs=1e-12)
    # Ratios 2 and 1/2: (2.5 / 2)² / (4.25 / 2).
    assert metrics["parity/ess_frac"].value == pytest.approx(1.25**2 / 2.125)
    fatal = meter.fatal()
    assert fatal is not None
    assert "int8 sampling is too far" in fatal.problem


def test_a_small_difference_stops_an_exact_run_but_not_one_in_int8() -> None:
    for is_exact in (True, False):
        meter = ParityMeter(is_exact=is_exact)
        meter.add(torch.full((20,), -1.0), torch.full((20,), -1.1))
        assert (meter.fatal() is not None) is is_exact


CLIPPED = ("grpo", "dr_grpo", "dapo", "gspo", "cispo", "reinforce_pp", "ppo")


def off_by(name: str, gap: float, **options: Any) -> tuple[Any, list[Episode], list[Episode]]:
    """A learner that samples in int8, what it sampled, and that with other recorded numbers."""
    if name == "ppo":
        options["value_coef"] = 0.0
    made = learner(name, sampling=SamplingOptions(precision="int8"), **options)
    episodes = mixed_batch(made.lm)
    return made, episodes, shifted(episodes, gap)


@pytest.mark.medium
@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize("options", [{"epochs": 1}, {"epochs": 2, "minibatches": 2}])
def test_what_the_sampler_gets_wrong_is_weighed_and_never_clipped(
    name: str, options: dict[str, int]
) -> None:
    """Recorded numbers 0.3 nats too high: every ratio against them would be 0.74, past all bounds.

    At a rate of nearly 0 nothing moves, so nothing is clipped; the gradient shrinks by the weight.
    """
    still = OptimOptions(lr=1e-12, max_grad_norm=1e9)
    norms = {}
    for gap in (0.0, 0.3):
        made, _, episodes = off_by(name, gap, optim=still, **options)
        update = made.update(episodes, seed=0)
        assert update.num_optimiser_steps == options["epochs"] * options.get("minibatches", 1)
        assert update.metrics["policy/clipped_frac"].value == 0.0
        assert update.metrics["policy/approx_kl"].value == pytest.approx(0.0, abs=1e-12)
        assert update.metrics["policy/ratio"].value == pytest.approx(1.0)
        norms[gap] = update.metrics["optim/grad_norm"].value
    assert norms[0.0] > 0
    assert norms[0.3] == pytest.approx(norms[0.0] * math.exp(-0.3), rel=1e-6)


@pytest.mark.medium
def test_target_kl_counts_how_far_the_policy_moves_not_what_the_sampler_gets_wrong() -> None:
    made, _, episodes = off_by("ppo", 0.3, epochs=3, target_kl=1e-3, optim=OptimOptions(lr=1e-12))
    assert made.update(episodes, seed=0).num_optimiser_steps == 3


@pytest.mark.medium
@pytest.mark.skipif(not library().has_int8, reason="this processor multiplies no bytes")
@pytest.mark.parametrize("name", VARIANTS)
def test_training_samples_in_int8_and_what_is_measured_is_exact(name: str) -> None:
    sampling = SamplingOptions(precision="int8", max_new_tokens=4)
    lm = tiny_lm(dtype="float32")
    made = learner(name, lm, sampling=sampling)
    assert "int8" in made.sampler().engine.path
    assert "float32" in made.policy().engine.path

    def said() -> list[float]:
        engine = made.policy().engine
        engine.submit(Request(session="a", new_ids=(0, 1), seed=5, max_new_tokens=4))
        (completion,) = engine.poll()
        engine.close("a")
        return list(completion.logprobs)

    before = said()
    assert said() == before
    made.update(mixed_batch(lm), seed=0)
    assert said() != before  # the weights that are measured are the new ones
