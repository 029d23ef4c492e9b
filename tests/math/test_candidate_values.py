"""Values of decisions among candidates, and their losses: closed forms and invariances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from candidate_cases import ids_of, small_critic
from learner_cases import END, tiny_lm
from tinylang_training import reference_lm
from torch import Tensor

from sayso.credit.candidates import boltzmann, double_max, mixed, policy_value, soft_max
from sayso.envs.tinylang_math import probability, reference, sequences, soft_optimum
from sayso.losses.candidates import candidate_actor
from sayso.models.filters import Distribution
from sayso.models.slates import Read, Slate, SlateReader
from sayso.sampling.candidates import CandidateMaker
from sayso.sampling.decisions import Asked
from sayso.sampling.make import make_engine
from sayso.sampling.options import CandidateOptions, SamplingOptions

INF = float("inf")
SENTENCES = tuple(sequences())


def asked(**more: Any) -> Asked:
    given = {"context": (END,), "observation": (END,), "choices": (), "seed": 0}
    return Asked(**{**given, "max_new_tokens": 3, **more})


def maker(lm: Any, **options: Any) -> CandidateMaker:
    engine = make_engine(lm, SamplingOptions(max_new_tokens=3))
    return CandidateMaker(lm, engine, CandidateOptions(**options), Distribution())


@pytest.mark.parametrize(("num", "bias"), [(2, 0.5642), (10, 1.5388)])
def test_t_11_the_maximum_of_noisy_values_is_too_large_and_the_double_estimate_is_not(
    num: int, bias: float
) -> None:
    rng = np.random.default_rng(num)
    one, other = rng.normal(size=(2, 40_000, num))
    single, double = double_max(one, one), double_max(one, other)
    for found, expected in ((single, bias), (double, 0.0)):
        assert abs(found.mean() - expected) < 3 * found.std() / math.sqrt(len(found))


def test_the_double_estimate_is_the_judges_number_for_the_choosers_best() -> None:
    chooser = np.array([[1.0, 3.0, 2.0], [5.0, 4.0, -INF]])
    judge = np.array([[10.0, 20.0, 30.0], [0.5, 0.25, -INF]])
    assert double_max(chooser, judge).tolist() == [20.0, 0.5]


@pytest.mark.medium
@pytest.mark.parametrize("alpha", [2.0, 10.0])
def test_t_24_over_enumerated_candidates_the_soft_value_with_the_models_prior_is_exact(
    alpha: float,
) -> None:
    """β log Σ p e^{R/β} over the fifteen sentences, p by the model itself: the closed form."""
    texts = tuple(s.removesuffix("E") for s in SENTENCES)
    made = maker(reference_lm(), prior="lm")
    (gathered,) = made.gather([asked(choices=texts)])
    assert gathered.ids == tuple(map(ids_of, SENTENCES))
    slate = made.slate(asked(choices=texts), gathered.ids, gathered.num_listed)
    ref = [probability(reference(), s) for s in SENTENCES]
    assert np.exp(slate.logprior) == pytest.approx(ref, abs=2e-3)
    rewards = np.array([list(sequences().values())])
    found = soft_max(rewards, np.log([ref]), alpha=alpha)[0]
    expected = soft_optimum(reference(), 1 / alpha).objective
    assert found == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx({2.0: 0.254685, 10.0: 0.572076}[alpha], abs=1e-6)
    by_model = soft_max(rewards, np.array([slate.logprior]), alpha=alpha)[0]
    assert by_model == pytest.approx(expected, abs=5e-3)


def test_t_24_over_sampled_candidates_it_is_the_log_mean_exp_of_the_draws() -> None:
    """exp(α V) is unbiased for E_LM exp(α Q), duplicates merged with their counts."""
    alpha, num, trials = 4.0, 5, 3000
    rng = np.random.default_rng(0)
    ref = np.array([probability(reference(), s) for s in SENTENCES])
    truth = float(ref @ np.exp(alpha * np.array(list(sequences().values()))))
    made, found = maker(tiny_lm()), []
    for _ in range(trials):
        drawn = rng.choice(15, size=num, p=ref / ref.sum())
        slate = made.slate(asked(), [ids_of(SENTENCES[i]) for i in drawn], 0)
        assert len(slate.candidates) == len(set(drawn.tolist()))
        assert math.fsum(np.exp(slate.logprior)) == pytest.approx(1)
        values = np.array([[sequences()[SENTENCES[i]] for i in dict.fromkeys(drawn.tolist())]])
        soft = soft_max(values, np.array([slate.logprior]), alpha=alpha)[0]
        mean = np.exp([alpha * sequences()[SENTENCES[i]] for i in drawn]).mean()
        assert soft == pytest.approx(math.log(mean) / alpha, abs=1e-12)
        found.append(math.exp(alpha * soft))
    assert abs(np.mean(found) - truth) < 3 * np.std(found) / math.sqrt(trials)


def test_padding_and_what_has_no_prior_change_no_soft_value() -> None:
    values, prior = np.array([[0.2, 0.7]]), np.log([[0.25, 0.75]])
    plain = soft_max(values, prior, alpha=3.0)
    padded = soft_max(
        np.array([[0.2, 9.0, 0.7, -INF]]), np.log([[0.25, 1e-300, 0.75, 1e-300]]), alpha=3.0
    )
    assert padded == pytest.approx(plain, abs=1e-12)
    gone = np.array([[np.log(0.25), -INF, np.log(0.75), -INF]])
    assert soft_max(np.array([[0.2, 9.0, 0.7, -INF]]), gone, alpha=3.0) == plain


def test_t_23_the_policy_and_the_soft_value_of_discrete_sac() -> None:
    q, temperature = np.array([[0.0, 1.0, 2.0]]), 0.5
    log_pi = boltzmann(q, np.zeros_like(q), alpha=1 / temperature)
    assert np.exp(log_pi[0]) == pytest.approx([0.015876, 0.117310, 0.866813], abs=1e-6)
    assert policy_value(q, log_pi, temperature=temperature)[0] == pytest.approx(2.071466, abs=1e-6)
    padded = np.array([[0.0, 1.0, 2.0, -INF]])
    wide = boltzmann(padded, np.array([[0.0, 0.0, 0.0, -INF]]), alpha=2.0)
    assert wide[0, -1] == -INF
    assert policy_value(padded, wide, temperature=0.5)[0] == pytest.approx(2.071466, abs=1e-6)


def test_t_23_the_actors_gradient_is_exact_and_does_not_depend_on_padding() -> None:
    """For a softmax: π (τ log π − Q − Σ π (τ log π − Q)), whatever the number of actions."""
    q, tau = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64), 0.5
    grads = []
    for width in (3, 5, 40):
        logits = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64, requires_grad=True)
        pad = torch.full((1, width - 3), -INF, dtype=torch.float64)
        logprob = torch.cat([logits, pad], 1).log_softmax(-1)
        values = torch.cat([q, torch.full_like(pad, float("nan"))], 1)
        loss = candidate_actor(
            logprob, values, torch.ones(1).double(), temperature=tau, num_in_step=1.0
        )
        loss.value.backward()
        assert logits.grad is not None
        grads.append(logits.grad)
    log_pi = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64).log_softmax(-1)
    worth = tau * log_pi - q
    expected = log_pi.exp() * (worth - (log_pi.exp() * worth).sum())
    for grad in grads:
        torch.testing.assert_close(grad, expected, atol=1e-12, rtol=0)
    entropy = -(log_pi.exp() * log_pi).sum()
    assert loss.metrics["policy/entropy"].value == pytest.approx(float(entropy))


def test_greedy_is_the_prior_over_the_best_and_epsilon_mixes_the_prior_in() -> None:
    values = np.array([[1.0, 1.0, 0.0, 7.0]])
    prior = np.array([[np.log(0.2), np.log(0.6), np.log(0.2), -INF]])
    greedy = boltzmann(values, prior, alpha=INF)
    assert np.exp(greedy[0]) == pytest.approx([0.25, 0.75, 0, 0])
    some = np.exp(mixed(greedy, prior, epsilon=0.5))[0]
    assert some == pytest.approx([0.225, 0.675, 0.1, 0])
    soft = np.exp(boltzmann(values, prior, alpha=2.0))[0]
    weights = np.array([0.2 * math.e**2, 0.6 * math.e**2, 0.2, 0])
    assert soft == pytest.approx(weights / weights.sum())


def read_all(lm: Any, slates: list[Slate]) -> Read:
    (read,) = SlateReader(lm, None, max_tokens=lambda: 1024).read(slates)
    return read


def slate_of(state: tuple[int, ...], *actions: tuple[int, ...]) -> Slate:
    return Slate(state=state, candidates=actions, logprior=(0.0,) * len(actions))


def test_t_24_values_are_permuted_with_the_candidates_and_know_nothing_of_each_other() -> None:
    lm = tiny_lm()
    critic = small_critic(lm, twins="min")
    actions = ((0, 1, END), (1, END), (END,), (0, 0, 0))
    order = (2, 0, 3, 1)
    shuffled = tuple(actions[i] for i in order)

    def values(*slates: Slate) -> Tensor:
        with torch.no_grad():
            found: Tensor = critic(read_all(lm, list(slates)))
        return found

    one = values(slate_of((END, 0), *actions))[0]
    torch.testing.assert_close(values(slate_of((END, 0), *shuffled))[0], one[list(order)])
    torch.testing.assert_close(values(slate_of((END, 0), *actions[:2]))[0], one[:2])
    both = values(slate_of((END, 0), *actions), slate_of((END, 1), *actions[:2]))
    torch.testing.assert_close(both[0], one)
    assert both[1, 2:].tolist() == [-INF, -INF]
    assert not torch.allclose(both[1, :2], one[:2])


def test_a_new_critic_says_0_of_everything_and_its_heads_differ_inside() -> None:
    lm = tiny_lm()
    critic = small_critic(lm, twins="average", is_random=False)
    read = read_all(lm, [slate_of((END,), (0, END), (1, 1, END))])
    assert critic(read).tolist() == [[0.0, 0.0]]
    one, other = critic.heads
    assert not torch.equal(one.inner.weight, other.inner.weight)


@pytest.mark.parametrize(("twins", "agree"), [("average", "mean"), ("min", "amin")])
def test_twins_agree_on_the_average_or_the_smaller(twins: Any, agree: str) -> None:
    lm = tiny_lm()
    critic = small_critic(lm, twins=twins)
    read = read_all(lm, [slate_of((END,), (0, END), (1, 1, END))])
    each = critic.each(read)
    assert each.shape == (2, 1, 2)
    assert not torch.allclose(each[0], each[1])
    torch.testing.assert_close(critic(read), getattr(each, agree)(0))
