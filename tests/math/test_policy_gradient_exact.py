"""Estimators against the exact policy gradient, by enumeration: no samples, no noise, float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from sayso.credit.baseline import MovingAverage, whitened
from sayso.credit.gae import gae
from sayso.credit.group import centred, leave_one_out, standardised
from sayso.credit.returns import n_step, reward_to_go
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import (
    cispo,
    clipped_surrogate,
    reinforce,
    sequence_clipped_surrogate,
)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def truth(lang: Any, logits: Tensor) -> Tensor:
    return lang.gradient(lang.expected_return(logits), logits)


def ppo(logprob: Tensor, advantage: Tensor, is_action: Tensor, **rest: Any) -> Loss:
    """Clipped surrogate on its first pass: the sampler was the policy itself."""
    count = rest.pop("num_in_step")
    return clipped_surrogate(
        logprob, logprob.detach(), advantage, is_action,
        clip_low=0.2, clip_high=0.3, dual_clip=3.0, num_actions_in_step=count, **rest,
    )  # fmt: skip


def cispo_first_pass(logprob: Tensor, advantage: Tensor, is_action: Tensor, **rest: Any) -> Loss:
    count = rest.pop("num_in_step")
    return cispo(
        logprob, logprob.detach(), advantage, is_action,
        clip_low=1.0, clip_high=0.3, num_actions_in_step=count, **rest,
    )  # fmt: skip


LOSSES = {"reinforce": reinforce, "ppo": ppo, "cispo": cispo_first_pass}


def test_fixture_has_the_return_and_values_stated_in_its_file(tinylang: Any) -> None:
    logits = tinylang.reference_logits()
    assert tinylang.expected_return(logits).item() == pytest.approx(0.2068, abs=1e-12)
    assert tinylang.values(logits)[0].item() == pytest.approx(0.2068, abs=1e-12)
    assert tinylang.probabilities(logits).sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_t16_score_function_policy_gradient_theorem_and_finite_difference_agree(
    tinylang: Any, seed: int
) -> None:
    logits = tinylang.random_logits(seed)
    policy = logits.detach().softmax(-1)
    score = torch.zeros(7, 3, dtype=torch.float64)
    visits = torch.zeros(7, dtype=torch.float64)
    probabilities = tinylang.probabilities(logits).detach()
    for probability, sequence in zip(probabilities, tinylang.sequences, strict=True):
        for context, token in zip(*tinylang.places(sequence), strict=True):
            grad_log = -policy[context].clone()
            grad_log[token] += 1
            score[context] += probability * tinylang.reward[sequence] * grad_log
            visits[context] += probability

    values = tinylang.values(logits.detach())
    theorem = torch.zeros(7, 3, dtype=torch.float64)
    for (c, context), (t, token) in itertools.product(
        enumerate(tinylang.contexts), enumerate(tinylang.tokens)
    ):
        after = context + token
        q = tinylang.reward[after] if after in tinylang.reward else values[
            tinylang.contexts.index(after)
        ]  # fmt: skip
        theorem[c, t] = visits[c] * policy[c, t] * (q - values[c])

    difference = torch.zeros(7, 3, dtype=torch.float64)
    for place in itertools.product(range(7), range(3)):
        bump = torch.zeros(7, 3, dtype=torch.float64)
        bump[place] = 1e-5
        up, down = (tinylang.expected_return(logits.detach() + s * bump) for s in (1, -1))
        difference[place] = (up - down) / 2e-5

    assert relative_error(score, theorem) < 1e-13
    assert relative_error(difference, theorem) < 1e-8
    assert relative_error(truth(tinylang, logits), theorem) < 1e-13


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("group_size", [2, 3])
def test_row_01_leave_one_out_with_a_constant_count_is_unbiased(
    tinylang: Any, name: str, group_size: int
) -> None:
    logits = tinylang.random_logits(group_size)
    step = tinylang.expected_step(
        logits, tinylang.per_sequence(leave_one_out), group_size=group_size, loss=LOSSES[name]
    )
    assert relative_error(step, truth(tinylang, logits)) < 1e-8


@pytest.mark.parametrize("group_size", [2, 3])
def test_row_01_centring_with_self_shortens_the_gradient_by_one_nth_exactly(
    tinylang: Any, group_size: int
) -> None:
    """Dr. GRPO, and REINFORCE against the mean of its own batch."""
    logits = tinylang.random_logits(7)
    step = tinylang.expected_step(logits, tinylang.per_sequence(centred), group_size=group_size)
    expected = truth(tinylang, logits) * (group_size - 1) / group_size
    assert relative_error(step, expected) < 1e-8


def moving_average_after_one_batch() -> Callable[[Sequence[float]], list[float]]:
    baseline = MovingAverage(decay=0.9)
    baseline.update([0.3, 0.9])
    assert baseline.value == pytest.approx(0.6)
    return baseline.advantages


@pytest.mark.parametrize(
    "credit",
    [list, lambda returns: [r - 5.0 for r in returns], moving_average_after_one_batch()],
    ids=["none", "constant", "moving_average"],
)
@pytest.mark.parametrize("name", LOSSES)
def test_row_01_reinforce_is_unbiased_with_any_baseline_fixed_before_the_batch(
    tinylang: Any, credit: Callable[[Sequence[float]], list[float]], name: str
) -> None:
    logits = tinylang.random_logits(1)
    step = tinylang.expected_step(
        logits, tinylang.per_sequence(credit), group_size=2, loss=LOSSES[name]
    )
    assert relative_error(step, truth(tinylang, logits)) < 1e-8


def test_row_01_mean_per_sequence_is_biased_towards_short_right_and_long_wrong_answers() -> None:
    """Four whole answers, equally likely: right or wrong, of 1 or 3 tokens."""
    reward, length = [1.0, 1.0, 0.0, 0.0], [1, 3, 1, 3]
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    def step(token_weight: Callable[[int], float]) -> list[float]:
        total = torch.zeros((), dtype=torch.float64)
        for pair in itertools.product(range(4), repeat=2):
            advantages = leave_one_out([reward[y] for y in pair])
            for y, advantage in zip(pair, advantages, strict=True):
                # The answer's log-probability, spread evenly over its tokens.
                logprob = (logits.log_softmax(0)[y] / length[y]).expand(length[y])
                row = torch.full((length[y],), 1.0, dtype=torch.float64)
                total = total + reinforce(
                    logprob, row * advantage, row.bool(),
                    num_in_step=2.0, weight=row * token_weight(length[y]),
                ).value / 16  # fmt: skip
        return (-torch.autograd.grad(total, logits)[0]).tolist()

    right_short, right_long, wrong_short, wrong_long = step(lambda _: 1.0)
    assert right_short == pytest.approx(right_long, abs=1e-15)
    assert wrong_short == pytest.approx(wrong_long, abs=1e-15)

    right_short, right_long, wrong_short, wrong_long = step(lambda num: 1 / num)
    assert right_short > right_long > 0
    assert 0 > wrong_long > wrong_short


def test_row_01_mean_per_sequence_does_not_point_along_the_gradient(tinylang: Any) -> None:
    logits = tinylang.random_logits(3)
    step = tinylang.expected_step(
        logits, tinylang.per_sequence(leave_one_out), group_size=2,
        token_weight=lambda sequence: 1 / len(sequence),
    )  # fmt: skip
    cosine = torch.cosine_similarity(step.flatten(), truth(tinylang, logits).flatten(), dim=0)
    assert 0 < cosine.item() < 0.999


def test_row_01_gspo_on_policy_is_the_mean_per_sequence_estimator(tinylang: Any) -> None:
    """So it shares that bias: its expectation is not the policy gradient."""
    logits = tinylang.random_logits(4)

    def gspo(logprob: Tensor, advantage: Tensor, is_action: Tensor, **rest: Any) -> Loss:
        lengths = [len(y) for g in itertools.product(tinylang.sequences, repeat=2) for y in g]
        sequence = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        return sequence_clipped_surrogate(
            logprob, logprob.detach(), advantage, is_action, sequence=sequence, clip_low=0.1,
            clip_high=0.1, num_episodes_in_step=rest["num_in_step"], weight=rest["weight"],
        )  # fmt: skip

    credit = tinylang.per_sequence(centred)
    step = tinylang.expected_step(logits, credit, group_size=2, loss=gspo)
    same = tinylang.expected_step(
        logits, credit, group_size=2, token_weight=lambda sequence: 1 / len(sequence)
    )
    assert relative_error(step, same) < 1e-12
    assert relative_error(step, truth(tinylang, logits) / 2) > 1e-2


@pytest.mark.parametrize("group_size", [2, 3])
def test_row_03_standardised_overweights_tasks_whose_rewards_hardly_differ(
    tinylang: Any, group_size: int
) -> None:
    """A task with a tenth of the rewards should count a tenth; over its std it counts full."""
    logits = tinylang.random_logits(5)

    def scaled(factor: float, credit: Callable[[Sequence[float]], list[float]]) -> Tensor:
        return tinylang.expected_step(
            logits,
            tinylang.per_sequence(lambda returns: credit([factor * r for r in returns])),
            group_size=group_size,
        )

    assert relative_error(scaled(0.1, centred), 0.1 * scaled(1.0, centred)) < 1e-12
    full, tenth = scaled(1.0, standardised), scaled(0.1, standardised)
    assert relative_error(tenth, full) < 1e-4
    expected = truth(tinylang, logits)
    cosine = torch.cosine_similarity(full.flatten(), expected.flatten(), dim=0).item()
    assert 0.5 < cosine < 0.999, "biased in direction too, though still uphill"


@pytest.mark.parametrize("group_size", [2, 3])
def test_row_03_batch_whitening_keeps_tasks_in_proportion(tinylang: Any, group_size: int) -> None:
    """REINFORCE++ scales all tasks of a batch alike; its own size and shift depend on the batch."""
    big, small = [1.0, 0.0] * group_size, [0.1, 0.0] * group_size
    white = whitened([r - sum(g) / len(g) for g in (big, small) for r in g])
    assert white[0] / white[len(big)] == pytest.approx(10.0, rel=1e-12)
    alone = [standardised(big)[0], standardised(small)[0]]
    assert alone[0] / alone[1] == pytest.approx(1.0, rel=1e-4)


def with_critic(
    lang: Any, values: Sequence[float], estimator: Callable[..., Sequence[float]]
) -> Callable[[tuple[str, ...]], list[list[float]]]:
    """Advantages of each sequence on its own, from a critic of contexts."""

    def advantages(group: tuple[str, ...]) -> list[list[float]]:
        result = []
        for sequence in group:
            contexts, _ = lang.places(sequence)
            num = len(sequence)
            rewards = [0.0] * (num - 1) + [lang.reward[sequence]]
            known = [values[context] for context in contexts]
            ends = [False] * (num - 1) + [True]
            result.append(list(estimator(rewards, known, ends)))
        return result

    return advantages


def gae_advantages(
    lam: float, rewards: Sequence[float], values: Sequence[float], ends: Sequence[bool]
) -> Sequence[float]:
    return gae(rewards, values, final_value=0.0, turn_ends=ends, lam=lam).advantages.tolist()


def n_step_advantages(
    n: int, rewards: Sequence[float], values: Sequence[float], ends: Sequence[bool]
) -> Sequence[float]:
    targets = n_step(rewards, values, n=n, final_value=0.0, turn_ends=ends)
    return [y - v for y, v in zip(targets.tolist(), values, strict=True)]


def to_go(
    rewards: Sequence[float], values: Sequence[float], ends: Sequence[bool]
) -> Sequence[float]:
    del values
    return reward_to_go(rewards, turn_ends=ends).tolist()


WRONG_CRITIC = [0.7, -0.3, 0.4, 1.5, 0.0, -2.0, 0.25]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "estimator",
    [partial(gae_advantages, 1.0), partial(n_step_advantages, 9), to_go],
    ids=["gae_lambda_1", "n_step_to_the_end", "reward_to_go"],
)
def test_row_01_returns_to_the_end_are_unbiased_whatever_the_critic_says(
    tinylang: Any, name: str, estimator: Callable[..., Sequence[float]]
) -> None:
    logits = tinylang.random_logits(6)
    step = tinylang.expected_step(
        logits, with_critic(tinylang, WRONG_CRITIC, estimator), group_size=1, loss=LOSSES[name]
    )
    assert relative_error(step, truth(tinylang, logits)) < 1e-8


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95])
def test_row_01_gae_is_unbiased_with_the_exact_critic_and_biased_with_a_wrong_one(
    tinylang: Any, lam: float
) -> None:
    logits = tinylang.random_logits(8)
    exact = tinylang.values(logits).tolist()
    estimator = partial(gae_advantages, lam)
    step = tinylang.expected_step(logits, with_critic(tinylang, exact, estimator), group_size=1)
    assert relative_error(step, truth(tinylang, logits)) < 1e-8
    wrong = tinylang.expected_step(
        logits, with_critic(tinylang, WRONG_CRITIC, estimator), group_size=1
    )
    assert relative_error(wrong, truth(tinylang, logits)) > 1e-2


def test_untruncated_importance_weights_are_unbiased_off_policy(tinylang: Any) -> None:
    """Row 28: with whole-sequence ratios (exp of the sum) another sampler gives the same mean."""
    logits = tinylang.random_logits(9)
    sampler = tinylang.random_logits(10).detach()
    ratio = {
        y: (tinylang.logprobs(logits, y) - tinylang.logprobs(sampler, y)).sum().exp().item()
        for y in tinylang.sequences
    }
    total = torch.zeros((), dtype=torch.float64)
    for probability, y in zip(
        tinylang.probabilities(sampler).tolist(), tinylang.sequences, strict=True
    ):
        row = torch.ones(len(y), dtype=torch.float64)
        total = total + reinforce(
            tinylang.logprobs(logits, y), row * tinylang.reward[y], row.bool(),
            num_in_step=1.0, weight=row * ratio[y] * probability,
        ).value  # fmt: skip
    assert relative_error(-tinylang.gradient(total, logits), truth(tinylang, logits)) < 1e-8
