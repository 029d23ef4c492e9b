"""Soft values, residuals and Q# on TinyLang, where the optimum has a closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sayso.credit.soft import path_residuals, soft_policy, soft_to_go, soft_value
from sayso.envs.tinylang import fixture
from sayso.envs.tinylang_math import (
    LETTERS,
    expected_return,
    kl,
    prefixes,
    probability,
    reference,
    sequences,
    soft_optimum,
)
from sayso.losses.histogram import histogram_loss, two_hot
from sayso.losses.soft_q import soft_bellman, soft_trajectory
from sayso.losses.value import value_loss
from sayso.models.return_head import ReturnHead

BETAS = [0.5, 0.1]
REF, REWARDS, CONTEXTS = reference(), sequences(), prefixes()
both_betas = pytest.mark.parametrize("beta", BETAS)


def optimum(beta: float) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """V* and Q* of every context, by ``credit.soft`` alone."""
    value: dict[str, float] = dict(REWARDS)
    q: dict[str, np.ndarray] = {}
    for prefix in sorted(CONTEXTS, key=len, reverse=True):
        q[prefix] = np.array([value[prefix + x] for x in LETTERS])
        value[prefix] = soft_value(q[prefix], REF[prefix], beta=beta)
    return value, q


@both_betas
def test_t5_the_soft_backup_is_the_log_mean_exp_over_whole_sentences(beta: float) -> None:
    value, q = optimum(beta)
    over_sentences = beta * math.log(
        sum(probability(REF, y) * math.exp(r / beta) for y, r in REWARDS.items())
    )
    assert value[""] == pytest.approx(over_sentences, abs=1e-10)
    policy = {p: soft_policy(q[p], REF[p], beta=beta) for p in CONTEXTS}
    for y, r in REWARDS.items():  # Gibbs
        gibbs = probability(REF, y) * math.exp((r - value[""]) / beta)
        assert probability(policy, y) == pytest.approx(gibbs, abs=1e-10)
    objective = expected_return(policy) - beta * kl(policy, REF)
    assert objective == pytest.approx(value[""], abs=1e-10)
    known = soft_optimum(REF, beta)
    assert value[""] == pytest.approx(known.objective, abs=1e-12)
    for prefix in CONTEXTS:
        assert policy[prefix] == pytest.approx(known.policy[prefix], abs=1e-12)


@both_betas
def test_t5_the_numbers_of_the_fixture(beta: float) -> None:
    value, q = optimum(beta)
    expected = fixture()["expected"]["root_gamma_1"][f"soft_beta_{beta}"]
    assert value[""] == pytest.approx(expected["V"], abs=1e-6)
    assert soft_policy(q[""], REF[""], beta=beta) == pytest.approx(expected["pi"], abs=1e-6)
    if "Q" in expected:
        assert q[""] == pytest.approx(expected["Q"], abs=1e-6)


def test_a_soft_value_ignores_what_the_prior_excludes_and_survives_a_tiny_beta() -> None:
    assert soft_value([0.2, 100.0], [1.0, 0.0], beta=0.1) == pytest.approx(0.2, abs=1e-15)
    assert soft_policy([0.2, 100.0], [1.0, 0.0], beta=0.1).tolist() == [1.0, 0.0]
    assert soft_value([0.3, 1.0], [0.5, 0.5], beta=1e-4) == pytest.approx(1.0, abs=1e-3)
    assert soft_value([0.3, 1.0], [0.5, 0.5], beta=1e4) == pytest.approx(0.65, abs=1e-4)
    with pytest.raises(ValueError, match="beta must be positive"):
        soft_value([1.0], [1.0], beta=0.0)
    with pytest.raises(ValueError, match="no action"):
        soft_value([1.0], [0.0], beta=1.0)
    with pytest.raises(ValueError, match="differ in shape"):
        soft_value([1.0, 2.0], [1.0], beta=1.0)


@both_betas
def test_t7_returns_of_the_reference_alone_give_the_soft_q_of_every_token(beta: float) -> None:
    _, q = optimum(beta)
    for prefix in CONTEXTS:
        for letter, soft_q in zip(LETTERS, q[prefix], strict=True):
            start = prefix + letter
            after = {y: probability(REF, y) / probability_of_prefix(start)
                     for y in REWARDS if y.startswith(start)}  # fmt: skip
            assert sum(after.values()) == pytest.approx(1, abs=1e-12)
            told = soft_value([REWARDS[y] for y in after], list(after.values()), beta=beta)
            assert told == pytest.approx(soft_q, abs=1e-12)


def probability_of_prefix(prefix: str) -> float:
    product = 1.0
    for place, letter in enumerate(prefix):
        product *= REF[prefix[:place]][LETTERS.index(letter)]
    return product


@both_betas
def test_t7_with_success_and_failure_the_weight_is_one_plus_p_times_exp_minus_one(
    beta: float,
) -> None:
    p = np.array([0.3, 0.9, 0.01])
    prior = np.array([0.6, 0.3, 0.1])
    q = [soft_value([0.0, 1.0], [1 - chance, chance], beta=beta) for chance in p]
    weighted = prior * (1 + p * (math.exp(1 / beta) - 1))
    assert soft_policy(q, prior, beta=beta) == pytest.approx(weighted / weighted.sum(), abs=1e-12)


def path(y: str, policy: dict[str, Any], value: dict[str, float]) -> tuple[list[float], ...]:
    """Rewards, log-ratios, and values of the contexts and of the end."""
    ratios = [
        math.log(policy[y[:i]][LETTERS.index(x)] / REF[y[:i]][LETTERS.index(x)])
        for i, x in enumerate(y)
    ]
    return [0.0] * (len(y) - 1) + [REWARDS[y]], ratios, [value[y[:i]] for i in range(len(y))] + [0]


@both_betas
def test_t6_every_sub_path_is_consistent_at_the_optimum_and_at_no_other_point(beta: float) -> None:
    value, _ = optimum(beta)
    policy = soft_optimum(REF, beta).policy
    for y in REWARDS:
        rewards, ratios, values = path(y, policy, value)
        residuals = path_residuals(rewards, ratios, values, beta=beta)
        assert np.abs(residuals).max() < 1e-12
        assert residuals.shape == (len(y) + 1, len(y) + 1)
        assert soft_to_go(rewards, ratios, beta=beta) == pytest.approx(values[:-1], abs=1e-12)
        for place in range(len(y)):
            moved = [v + 0.01 * (i == place) for i, v in enumerate(values)]
            assert path_residuals(rewards, ratios, moved, beta=beta)[place, -1] == pytest.approx(
                0.01, abs=1e-12
            )
            other = [x + 0.01 * (i == place) for i, x in enumerate(ratios)]
            residuals = path_residuals(rewards, other, values, beta=beta)
            is_over = np.zeros_like(residuals, dtype=bool)
            is_over[: place + 1, place + 1 :] = True  # the sub-paths that hold this decision
            assert residuals[is_over] == pytest.approx(0.01 * beta, abs=1e-12)
            assert np.abs(residuals[~is_over]).max() < 1e-12


def losses_of_every_sub_path(
    logprob: Tensor, ref: Tensor, values: Tensor, rewards: Tensor, beta: float
) -> dict[tuple[int, int], float]:
    """Each sub-path as one decision that looks ahead, and as a trajectory of its own."""
    num, found = len(logprob), {}
    ratio = logprob - ref
    for i in range(num):
        for j in range(i + 1, num + 1):
            target = rewards[i:j].sum() - beta * ratio[i + 1 : j].sum() + values[j]
            here = slice(i, i + 1)
            found[i, j] = float(soft_bellman(
                logprob[here], ref[here], values[here], target[None], torch.tensor([True]),
                beta=beta, num_in_step=1.0,
            ).value)  # fmt: skip
            whole = float(soft_trajectory(
                logprob[i:j], ref[i:j], values[here], (rewards[i:j].sum() + values[j])[None],
                torch.ones(j - i, dtype=torch.bool), sequence=torch.zeros(j - i, dtype=torch.long),
                beta=beta, num_in_step=1.0,
            ).value)  # fmt: skip
            assert whole == pytest.approx(found[i, j], abs=1e-12)
    return found


@both_betas
def test_t6_the_losses_of_every_sub_path_are_zero_at_the_optimum_only(beta: float) -> None:
    value, _ = optimum(beta)
    policy = soft_optimum(REF, beta).policy
    for y in REWARDS:
        rewards, ratios, values = (torch.tensor(n, dtype=torch.float64)
                                   for n in path(y, policy, value))  # fmt: skip
        ref = torch.randn(len(y), dtype=torch.float64)  # any: only the ratio counts
        found = losses_of_every_sub_path(ref + ratios, ref, values, rewards, beta)
        assert max(found.values()) < 1e-20
        for place in range(len(y)):
            moved = ratios + 0.01 * torch.eye(len(y), dtype=torch.float64)[place]
            found = losses_of_every_sub_path(ref + moved, ref, values, rewards, beta)
            for (i, j), loss in found.items():
                right = (0.01 * beta) ** 2 / (2 * beta) if i <= place < j else 0
                assert loss == pytest.approx(right, rel=1e-6, abs=1e-20)
            raised = values + 0.01 * torch.eye(len(values), dtype=torch.float64)[place]
            found = losses_of_every_sub_path(ref + ratios, ref, raised, rewards, beta)
            assert found[place, len(y)] == pytest.approx(1e-4 / (2 * beta), rel=1e-6)


class EverySentence:
    """All sentences of TinyLang in one row, each weighted by its chance under the reference."""

    def __init__(self) -> None:
        sentences = list(REWARDS)
        self.context = torch.tensor(
            [CONTEXTS.index(y[:i]) for y in sentences for i in range(len(y))]
        )
        self.token = torch.tensor([LETTERS.index(x) for y in sentences for x in y])
        self.sequence = torch.tensor([n for n, y in enumerate(sentences) for _ in y])
        self.returns = torch.tensor([REWARDS[y] for y in sentences], dtype=torch.float64)
        chance = [probability(REF, y) for y in sentences]
        self.chance = torch.tensor(chance, dtype=torch.float64)
        self.is_last = torch.cat([self.sequence[1:] != self.sequence[:-1], torch.tensor([True])])
        self.first = torch.cat([torch.tensor([0]), self.is_last.nonzero()[:-1, 0] + 1])
        same = self.sequence[:, None] == self.sequence
        self.ahead = torch.triu(same.double())  # adds up what comes, in one's own sentence
        self.ref = torch.tensor([REF[c] for c in CONTEXTS], dtype=torch.float64).log()

    def loss(
        self, mode: str, logits: Tensor, values: Tensor, behind: Tensor, beta: float
    ) -> Tensor:
        """What SoftQ minimises, in expectation over the reference's sentences: an old data set."""
        logprob = logits.log_softmax(-1)[self.context, self.token]
        ref, value = self.ref[self.context, self.token], values[self.context]
        is_action = torch.ones_like(self.is_last)
        cost = beta * (logprob - ref).detach()
        reward = torch.where(self.is_last, self.returns[self.sequence], 0.0)
        target = self.ahead @ (reward - cost)
        if mode == "td":
            after = torch.where(self.is_last, 0.0, behind[self.context.roll(-1)])
            target = reward + after - cost
        weight = self.chance[self.sequence]
        if mode == "trajectory":
            actor = soft_trajectory(
                logprob, ref, value[self.first].detach(), self.returns, is_action,
                sequence=self.sequence, beta=beta, num_in_step=1.0, weight=self.chance,
            )  # fmt: skip
        else:
            actor = soft_bellman(logprob, ref, value.detach(), target + cost, is_action,
                                 beta=beta, num_in_step=1.0, weight=weight)  # fmt: skip
        critic = value_loss(value, target, is_action, num_actions_in_step=1.0, weight=weight)
        return actor.value + critic.value / beta


@pytest.mark.medium
@both_betas
@pytest.mark.parametrize("mode", ["pcl", "trajectory", "td"])
def test_t6_from_the_references_own_sentences_the_losses_lead_to_the_optimum(
    mode: str, beta: float
) -> None:
    every = EverySentence()
    logits, values = every.ref.clone().requires_grad_(), torch.zeros(7, dtype=torch.float64)
    values.requires_grad_()
    behind = torch.zeros(7, dtype=torch.float64)
    optimiser = torch.optim.Adam([logits, values], lr=0.03)
    for _ in range(3000):
        optimiser.zero_grad()
        every.loss(mode, logits, values, behind, beta).backward()
        optimiser.step()
        behind.lerp_(values.detach(), 0.05)
    best, found = soft_optimum(REF, beta), logits.detach().softmax(-1)
    table = dict(zip(CONTEXTS, found.tolist(), strict=True))
    distance = sum(abs(probability(table, y) - probability(best.policy, y)) for y in REWARDS) / 2
    assert distance < 1e-2
    assert values[0].item() == pytest.approx(best.objective, abs=1e-2)


def test_soft_to_go_ends_in_the_value_of_a_cut_off() -> None:
    found = soft_to_go([0.0, 1.0], [2.0, -1.0], beta=0.5, final_value=3.0)
    assert found.tolist() == [3.5, 4.5]
    with pytest.raises(ValueError, match="log_ratios has 1 entries"):
        soft_to_go([0.0, 1.0], [2.0], beta=0.5)


def test_two_hot_keeps_the_mean_and_is_exact_on_an_outcome() -> None:
    outcomes = torch.linspace(-1, 2, 7, dtype=torch.float64)
    returns = torch.tensor([-1.0, 0.5, 0.6, 1.99, 2.0], dtype=torch.float64)
    found = two_hot(returns, outcomes)
    assert found.sum(-1) == pytest.approx([1.0] * 5, abs=1e-12)
    assert found @ outcomes == pytest.approx(returns, abs=1e-12)
    assert (found > 0).sum(-1).tolist() == [1, 1, 2, 2, 1]
    assert found[2].tolist() == pytest.approx([0, 0, 0, 0.8, 0.2, 0, 0], abs=1e-12)


@pytest.mark.parametrize(("beta", "width"), [(0.1, 0.02), (0.1, 0.1), (0.5, 0.1)])
def test_a_histogram_says_too_much_by_the_square_of_width_over_beta_at_most(
    beta: float, width: float
) -> None:
    outcomes = torch.arange(0, 1 + width / 2, width, dtype=torch.float64)
    returns = torch.linspace(0, 1, 301, dtype=torch.float64)
    hot = two_hot(returns, outcomes)
    told = beta * torch.logsumexp(hot.log() + outcomes / beta, dim=-1)
    excess = told - returns
    assert excess.min() > -1e-9
    assert 0.5 < excess.max() / (beta * (width / beta) ** 2 / 8) < 1.01


def test_with_two_outcomes_the_histogram_loss_is_the_binary_cross_entropy() -> None:
    free = torch.randn(5, dtype=torch.float64)
    success = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.25], dtype=torch.float64)
    logits = torch.stack([torch.zeros(5, dtype=torch.float64), free], dim=1)
    is_action = torch.tensor([True, True, True, False, True])
    logits[3] = torch.nan
    loss = histogram_loss(
        logits, torch.stack([1 - success, success], dim=1), is_action, num_actions_in_step=8.0
    )
    binary = torch.nn.functional.binary_cross_entropy_with_logits(
        free[is_action], success[is_action], reduction="sum"
    )
    assert loss.value.item() == pytest.approx(binary.item() / 8, abs=1e-12)
    assert loss.metrics["critic/cross_entropy"].count == 4
    with pytest.raises(ValueError, match="shapes differ"):
        histogram_loss(logits, success[:, None], is_action, num_actions_in_step=8.0)


@pytest.mark.parametrize("rank", [0, 3])
def test_a_return_head_says_the_same_of_some_tokens_as_of_all_and_nothing_at_first(
    rank: int,
) -> None:
    head = ReturnHead(6, 9, num_outcomes=4, rank=rank, seed=1, dtype=torch.float64)
    hidden = torch.randn(5, 6, dtype=torch.float64)
    assert (head(hidden) == 0).all()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    ids = torch.tensor([[0, 8], [3, 3], [1, 2], [7, 0], [4, 5]])
    every = head(hidden)
    assert every.shape == (5, 9, 4)
    some = every.gather(1, ids[:, :, None].expand(-1, -1, 4))
    torch.testing.assert_close(head.of(hidden, ids), some, rtol=0, atol=1e-12)
    assert (every[..., 0] == 0).all()
    assert not torch.allclose(every[0], every[1])
    assert not torch.allclose(every[:, 0], every[:, 1])
