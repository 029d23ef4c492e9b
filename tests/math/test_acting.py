"""T-9: how values steer decoding, exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from learner_cases import END, tiny_lm
from value_cases import exact, table_of, value_learner

from sayso.algorithms.acting import Actable, steered
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.envs.registry import source
from sayso.envs.tinylang_math import prefixes, reference, soft_optimum
from sayso.errors import OptionValueError
from sayso.models.seeding import seeded
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy, Request
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions

LEARNERS = ("mc_returns", "ilql")
"""Whose advantage is ``min_i Q_i - V``; TokenDQN centres its own: ``test_token_dqn``."""


def reference_logits() -> torch.Tensor:
    table = reference()
    return torch.tensor([table[prefix] for prefix in prefixes()], dtype=torch.float64).log()


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def test_t9_nothing_learnt_and_no_weight_are_the_model_bit_for_bit() -> None:
    logits = numbers(5, 7)
    assert torch.equal(steered(logits, torch.zeros(5, 7), ActingOptions(beta=16.0)), logits)
    assert torch.equal(steered(logits, numbers(5, 7, seed=1), ActingOptions(beta=0.0)), logits)


def test_t9_the_value_of_the_context_cancels_unless_advantages_are_clipped() -> None:
    logits, action, context = numbers(5, 7), numbers(5, 7, seed=1), numbers(5, 1, seed=2)
    free, clipped = ActingOptions(beta=3.0), ActingOptions(beta=3.0, adv_clip_max=0.0)

    def policy(advantage: torch.Tensor, options: ActingOptions) -> torch.Tensor:
        return steered(logits, advantage, options).softmax(-1)

    gap = (policy(action - context, free) - policy(action, free)).abs().max()
    assert gap < 1e-14
    assert (policy(action - context, clipped) - policy(action, clipped)).abs().max() > 1e-2


def test_t9_soft_values_with_the_inverse_temperature_are_the_soft_optimum() -> None:
    for beta in (0.5, 0.1):
        action = table_of(exact("soft", beta=beta))
        found = steered(reference_logits(), action, ActingOptions(beta=1 / beta)).softmax(-1)
        optimum = soft_optimum(reference(), beta).policy
        for row, prefix in zip(found.tolist(), prefixes(), strict=True):
            assert row == pytest.approx(optimum[prefix], abs=1e-12)


def test_t9_a_clip_at_0_raises_no_token_and_one_in_reward_units_bounds_what_is_added() -> None:
    logits, advantage = numbers(50, 7), numbers(50, 7, seed=1)
    added = steered(logits, advantage, ActingOptions(beta=16.0, adv_clip_max=0.0)) - logits
    assert bool((added <= 0).all())
    assert bool((added < 0).any())
    added = steered(logits, advantage, ActingOptions(beta=16.0, adv_clip_max=0.25)) - logits
    assert added.max().item() == pytest.approx(4.0)


def test_t9_the_likeliest_before_and_after_are_two_things() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    advantage = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    before = steered(logits, advantage, ActingOptions(beta=10.0, topk_before=2))
    assert before[0, 2] == -math.inf
    assert torch.equal(before[0, :2], logits[0, :2])
    assert steered(logits, advantage, ActingOptions(beta=10.0)).argmax().item() == 2
    tied = steered(torch.zeros(1, 4), torch.zeros(1, 4), ActingOptions(topk_before=2))
    assert int((tied > -math.inf).sum()) == 2
    assert not torch.isneginf(steered(logits, advantage, ActingOptions(topk_before=3))).any()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"beta": -1.0}, "beta"), ({"beta": math.inf}, "beta"), ({"topk_before": -1}, "topk_before"),
     ({"adv_clip_max": math.nan}, "adv_clip_max")],
)  # fmt: skip
def test_options_of_acting_are_checked(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ActingOptions(**options)


def said(policy: Policy, *, num: int = 20) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """What a policy draws from fixed seeds, with the probabilities it recorded."""
    found = []
    for seed in range(num):
        policy.engine.submit(
            Request(session=f"s{seed}", new_ids=(END,), seed=seed, max_new_tokens=3)
        )
    while len(found) < num:
        found += policy.engine.poll()
    for done in found:
        policy.engine.close(done.session)
    return [(c.ids, c.logprobs) for c in sorted(found, key=lambda c: int(c.session[1:]))]


def randomised(name: str, **more: Any) -> Any:
    """A learner whose heads say something else of every token."""
    made = value_learner(name, tiny_lm(dtype="float32"), **more)
    with seeded(3), torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.normal_()
    return made


@pytest.mark.parametrize("name", LEARNERS)
def test_t9_an_untrained_learner_says_what_its_model_says(name: str) -> None:
    made = value_learner(name, tiny_lm(dtype="float32"))
    sampling = SamplingOptions(max_new_tokens=3, engine="torch")
    plain = made.core.acting(make_engine(made.lm, sampling))
    assert said(made.sampler()) == said(made.policy()) == said(plain)
    other = randomised(name)
    assert said(other.acting_as(beta=0.0)) == said(plain)
    assert said(other.policy()) != said(plain)
    assert said(other.acting_as(beta=1.0)) != said(other.policy())


@pytest.mark.parametrize("name", LEARNERS)
def test_greedy_decoding_takes_the_likeliest_of_what_values_make_of_the_model(name: str) -> None:
    made = randomised(name, acting=ActingOptions(beta=1.0))
    assert isinstance(made, Actable)
    for ids, logprobs in said(made.acting_as(greedy=True), num=3):
        assert logprobs == (0.0,) * len(ids)
        text = [END]
        for token in ids:
            context = torch.tensor([text])
            with torch.no_grad():
                output = made.lm.network(input_ids=context, output_hidden_states=True)
                hidden = output.hidden_states[-1][0, -1:]
                least = torch.stack([head(hidden) for head in made.heads.heads()]).amin(0)
            assert int((output.logits[0, -1:] + least).argmax()) == token
            text.append(token)


@pytest.mark.parametrize("name", LEARNERS)
def test_recorded_probabilities_are_those_of_the_steered_policy(name: str) -> None:
    made = randomised(name, acting=ActingOptions(beta=1.0, adv_clip_max=0.1, topk_before=2))
    words = source("sayso/TinyLang-v0")
    episodes = collect(made.sampler(), words.open().tasks("train"), words, group_size=8, seed=0,
                       path=("rollout",), limits=RolloutLimits())  # fmt: skip
    for episode in episodes:
        (turn,) = episode.turns
        text = list(turn.observation_ids)
        for token, logprob in zip(turn.action_ids, turn.action_logprobs, strict=True):
            with torch.no_grad():
                output = made.lm.network(input_ids=torch.tensor([text]), output_hidden_states=True)
                hidden = output.hidden_states[-1][0, -1:]
                logits = output.logits[0, -1:]
                least = torch.stack([head(hidden) for head in made.heads.heads()]).amin(0)
                advantage = (least - made.heads.values(hidden)[:, None]).clamp(max=0.1)
            moved = (logits + advantage)[0]
            moved[logits[0].argmin()] = -math.inf
            assert logprob == pytest.approx(moved.log_softmax(-1)[token].item(), abs=1e-5)
            text.append(token)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_values_cannot_steer_is_refused(name: str) -> None:
    with pytest.raises(OptionValueError, match=r"sampling\.precision"):
        value_learner(name, sampling=SamplingOptions(precision="int8"))
    made = value_learner(name)
    with pytest.raises(OptionValueError, match=r"kl\.coef"):
        type(made)(made.lm, None, made.options, sampling=made.core.sampling,
                   optim=made.core.optimiser.options, kl=KLOptions(coef=0.1), seed=0)  # fmt: skip
