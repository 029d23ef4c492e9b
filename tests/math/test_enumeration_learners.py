"""Each learner's expected gradient, over all 15 sentences of TinyLang, against the exact one.

Nothing is sampled: a learner sees every possible batch, and what it would have stepped along is
weighted by the batch's probability. So a test fails for a factor of 1.0001 as surely as for a sign.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from learner_cases import (
    END,
    SOFT_MODES,
    flat,
    gradient_of,
    learner,
    perturb,
    plain_logprobs,
    randomise_critic,
    tiny_lm,
    written,
)
from torch import Tensor

from sayso.algorithms.options.kl import KLOptions
from sayso.envs.tinylang_math import sequences
from sayso.models.lm import LanguageModel
from sayso.types import Episode

REWARDS = sequences()
IDS = {y: [END, *("abE".index(letter) for letter in y)] for y in REWARDS}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def logprobs(lm: LanguageModel) -> dict[str, Tensor]:
    """Log-probability of every sentence, with gradient, by plain forwards."""
    return {y: plain_logprobs(lm, ids).sum() for y, ids in IDS.items()}


def exact_gradient(lm: LanguageModel, *, ref: dict[str, float] | None = None, beta: float = 0.0,
                   reward: dict[str, float] = REWARDS) -> Tensor:  # fmt: skip
    """Autograd of J − β KL, written as the sum over sentences."""
    objective = torch.zeros((), dtype=torch.float64)
    for y, logprob in logprobs(lm).items():
        value = logprob.exp() * reward[y]
        if ref is not None:
            value = value - beta * logprob.exp() * (logprob - ref[y])
        objective = objective + value
    named = {n: p for n, p in lm.network.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(objective, list(named.values()))
    return flat(dict(zip(named, found, strict=True)))


def sentence(lm: LanguageModel, y: str, *, sample: int = 0, task: str = "word",
             reward: float | None = None) -> Episode:  # fmt: skip
    """An attempt that said ``y``."""
    earned = REWARDS[y] if reward is None else reward
    return written(lm, [(IDS[y][:1], IDS[y][1:], earned)], task=task, sample=sample)


def expected_gradient(made: Any, *, group: int = 1, factor: str = "") -> Tensor:
    """Ascent direction of an update, averaged over all batches of ``group`` attempts.

    An update does not know which attempt came first, so a batch stands for all its orders.
    """
    lm = made.lm
    with torch.no_grad():
        chances = {y: float(p.exp()) for y, p in logprobs(lm).items()}
    assert sum(chances.values()) == pytest.approx(1, abs=1e-12)
    total = torch.zeros(())
    attempts = {(y, i): sentence(lm, y, sample=i) for y in REWARDS for i in range(group)}
    for batch in itertools.combinations_with_replacement(REWARDS, group):
        orders = math.factorial(group)
        for count in Counter(batch).values():
            orders //= math.factorial(count)
        chance = orders * math.prod(chances[y] for y in batch)
        episodes = [attempts[y, i] for i, y in enumerate(batch)]
        gradient = flat(gradient_of(made, episodes), policy_only=True)
        if factor == "tokens":
            gradient = gradient * sum(len(y) for y in batch)
        total = total - chance * gradient
    return total


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def test_reinforce_without_baseline_follows_the_exact_gradient() -> None:
    made = learner("reinforce_none")
    assert relative_error(expected_gradient(made), exact_gradient(made.lm)) < 1e-8


@pytest.mark.parametrize("constant", [0.0, 0.37, -2.0])
def test_a_moving_average_from_earlier_batches_leaves_the_gradient_exact(constant: float) -> None:
    made = learner("reinforce_average")
    total = torch.zeros(())
    with torch.no_grad():
        chances = {y: float(p.exp()) for y, p in logprobs(made.lm).items()}
    for y, chance in chances.items():  # the average is what earlier batches left, for every y
        made.average.load_state({"total": constant, "weight": 1.0})
        total = total - chance * flat(gradient_of(made, [sentence(made.lm, y)]))
    assert relative_error(total, exact_gradient(made.lm)) < 1e-8


def test_the_moving_average_lowers_the_advantage_and_not_only_its_state() -> None:
    made = learner("reinforce_average")
    made.average.load_state({"total": REWARDS["bab"], "weight": 1.0})
    assert flat(gradient_of(made, [sentence(made.lm, "bab")])).abs().max() == 0


def test_batch_mean_as_a_baseline_shrinks_the_gradient_to_one_half_for_two() -> None:
    made = learner("reinforce_batch")
    exact = exact_gradient(made.lm)
    assert relative_error(expected_gradient(made, group=2), 0.5 * exact) < 1e-8


def test_rloo_follows_the_exact_gradient() -> None:
    made = learner("rloo")
    assert relative_error(expected_gradient(made, group=2), exact_gradient(made.lm)) < 1e-8


def test_dr_grpo_follows_exactly_half_the_gradient_with_groups_of_two() -> None:
    made = learner("dr_grpo")
    exact = exact_gradient(made.lm)
    assert relative_error(expected_gradient(made, group=2), 0.5 * exact) < 1e-8


def test_a2c_with_lambda_one_follows_the_exact_gradient_whatever_the_critic_says() -> None:
    made = learner("a2c", lam=1.0, value_coef=0.0)
    randomise_critic(made.lm)
    assert relative_error(expected_gradient(made), exact_gradient(made.lm)) < 1e-8


def test_a2c_with_lambda_below_one_and_a_wrong_critic_is_biased() -> None:
    made = learner("a2c", lam=0.5, value_coef=0.0)
    randomise_critic(made.lm)
    assert relative_error(expected_gradient(made), exact_gradient(made.lm)) > 0.01


def test_ppo_first_epoch_follows_the_gradient_divided_by_the_tokens_of_the_batch() -> None:
    made = learner("ppo", lam=1.0, value_coef=0.0, whiten="none", epochs=1)
    randomise_critic(made.lm)
    exact = exact_gradient(made.lm)
    assert relative_error(expected_gradient(made, factor="tokens"), exact) < 1e-8
    # Without the factor short texts weigh more than they should, and a critic is no mere baseline.
    assert relative_error(expected_gradient(made), exact) > 0.01


def test_ppo_is_a2c_divided_by_tokens_on_any_batch() -> None:
    lm = tiny_lm()
    batch = [sentence(lm, y, sample=i) for i, y in enumerate(("E", "aab", "bbE"))]
    a2c = learner("a2c", lm, lam=1.0, value_coef=0.0)
    ppo = learner("ppo", lm, lam=1.0, value_coef=0.0, whiten="none", epochs=1)
    randomise_critic(lm)
    one, other = flat(gradient_of(a2c, batch)), flat(gradient_of(ppo, batch))
    assert relative_error(other * 7, one * 3) < 1e-10


@pytest.mark.parametrize(
    ("name", "group", "beta"),
    [("reinforce_none", 1, 0.1), ("reinforce_none", 1, 0.5), ("rloo", 2, 0.5), ("a2c", 1, 0.5)],
)
def test_kl_in_the_reward_gives_the_exact_gradient_of_return_minus_kl(
    name: str, group: int, beta: float
) -> None:
    more = {"value_coef": 0.0} if name == "a2c" else {}
    made = learner(name, kl=KLOptions(coef=beta), **more)
    with torch.no_grad():
        ref = {y: float(p) for y, p in logprobs(made.lm).items()}
    perturb(made.lm)
    if name == "a2c":
        randomise_critic(made.lm)
    exact = exact_gradient(made.lm, ref=ref, beta=beta)
    assert relative_error(exact, exact_gradient(made.lm)) > 0.01  # KL is felt
    assert relative_error(expected_gradient(made, group=group), exact) < 1e-8


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_in_the_loss_has_the_same_expected_gradient_on_samples_of_an_older_policy(
    estimator: str,
) -> None:
    """One decision, reward 0: KL alone. The ratio to the policy that sampled corrects the rest."""
    lm = tiny_lm()
    made = learner("reinforce_none", lm, kl=KLOptions(coef=1.0, place="loss", estimator=estimator))
    perturb(lm, seed=1, scale=0.05)
    older = [written(lm, [([END], [token], 0.0)]) for token in range(3)]
    perturb(lm, seed=2, scale=0.05)
    newer = [written(lm, [([END], [token], 0.0)]) for token in range(3)]

    def expected(episodes: Sequence[Episode]) -> Tensor:
        chances = [math.exp(episode.turns[0].action_logprobs[0]) for episode in episodes]
        assert sum(chances) == pytest.approx(1, abs=1e-12)
        parts = [flat(gradient_of(made, [e])) * p for e, p in zip(episodes, chances, strict=True)]
        return torch.stack(parts).sum(0)

    assert expected(newer).norm() > 1e-3
    assert relative_error(expected(older), expected(newer)) < 1e-8


def hidden_of(lm: LanguageModel, prefixes: Sequence[str]) -> Tensor:
    """State of each context, by plain forwards."""
    rows = []
    for prefix in prefixes:
        ids = torch.tensor([[END, *("ab".index(letter) for letter in prefix)]])
        rows.append(lm.network(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1])
    return torch.stack(rows).detach()


def teach(made: Any, values: dict[str, float]) -> None:
    """Let the critic, and the target of one that has it, say exactly these values."""
    hidden = hidden_of(made.lm, list(values))
    with_one = torch.cat([hidden, torch.ones(len(hidden), 1).double()], dim=1)
    wanted = torch.tensor(list(values.values()), dtype=torch.float64)
    solved = torch.linalg.lstsq(with_one, wanted[:, None], driver="gelsd").solution[:, 0]
    for head in (made.lm.value_head, made.target):
        if head is not None:
            head.project.weight.data.copy_(solved[None, :-1])
            head.project.bias.data.copy_(solved[-1:])
    torch.testing.assert_close(made.lm.values(hidden), wanted, rtol=0, atol=1e-10)


def log_ratios(made: Any) -> dict[str, list[float]]:
    """Log-ratio of policy and reference at each token of every sentence."""
    found = {}
    with torch.no_grad():
        for y, ids in IDS.items():
            own = plain_logprobs(made.lm, ids)
            reference = made.lm._frozen_copy(input_ids=torch.tensor([ids])).logits[0, :-1]
            ref = reference.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
            found[y] = (own - ref).tolist()
    return found


def moved_soft(name: str, **options: Any) -> tuple[Any, dict[str, float]]:
    """A learner whose policy has left its reference, and the reference's log-probabilities."""
    made = learner(name, **options)
    with torch.no_grad():
        ref = {y: float(p) for y, p in logprobs(made.lm).items()}
    perturb(made.lm)
    return made, ref


@pytest.mark.parametrize("name", ["soft_pcl", "soft_trajectory"])
@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_residuals_to_the_end_give_the_exact_gradient_of_return_minus_kl_whatever_the_critic_says(
    name: str, beta: float
) -> None:
    made, ref = moved_soft(name, beta=beta, alpha=0.0, value_coef=0.0)
    randomise_critic(made.lm)
    exact = exact_gradient(made.lm, ref=ref, beta=beta)
    assert relative_error(exact, exact_gradient(made.lm)) > 0.01  # KL is felt
    assert relative_error(expected_gradient(made), exact) < 1e-8


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_one_step_residuals_give_the_exact_gradient_with_the_policys_own_soft_values(
    beta: float,
) -> None:
    made, ref = moved_soft("soft_td", beta=beta, alpha=0.0, value_coef=0.0)
    exact = exact_gradient(made.lm, ref=ref, beta=beta)
    assert relative_error(expected_gradient(made), exact) > 0.01  # a critic that says 0
    with torch.no_grad():
        chances = {y: plain_logprobs(made.lm, ids).exp().tolist() for y, ids in IDS.items()}
    ratios, values = log_ratios(made), dict[str, float]()
    for prefix in ("aa", "ab", "ba", "bb", "a", "b", ""):
        after = {prefix + x: next(y for y in IDS if y.startswith(prefix + x)) for x in "abE"}
        values[prefix] = sum(
            chances[y][len(prefix)]
            * ((values[start] if start in values else REWARDS[start])
               - beta * ratios[y][len(prefix)])
            for start, y in after.items()
        )  # fmt: skip
    teach(made, values)
    assert relative_error(expected_gradient(made), exact) < 1e-8


@pytest.mark.parametrize("name", SOFT_MODES)
def test_t6_a_transformer_that_is_optimal_for_its_rewards_has_no_gradient_on_any_sentence(
    name: str,
) -> None:
    """Whoever said it: every sentence alone. And every perturbation is felt."""
    beta, at_start = 0.3, 0.4
    made, _ = moved_soft(name, beta=beta, alpha=0.0)
    ratios, values = log_ratios(made), {"": at_start}
    for y, numbers in ratios.items():
        for place in range(1, len(y)):
            values[y[:place]] = at_start + beta * sum(numbers[:place])
    rewards = {y: at_start + beta * sum(numbers) for y, numbers in ratios.items()}
    teach(made, values)
    for y in REWARDS:
        right = sentence(made.lm, y, reward=rewards[y])
        assert flat(gradient_of(made, [right])).abs().max() < 1e-9
        wrong = sentence(made.lm, y, reward=rewards[y] + 0.01)
        assert flat(gradient_of(made, [wrong])).abs().max() > 1e-4
    longest = [sentence(made.lm, y, reward=rewards[y]) for y in ("aaa", "bab")]
    teach(made, values | {"a": values["a"] + 0.01, "b": values["b"] + 0.01})
    assert flat(gradient_of(made, longest)).abs().max() > 1e-4
    teach(made, values)
    perturb(made.lm, seed=9, scale=0.01)
    assert flat(gradient_of(made, longest)).abs().max() > 1e-4


def test_the_further_kl_pulls_every_token_of_the_batch_to_the_reference() -> None:
    found = []
    for alpha in (0.0, 0.3):
        made, _ = moved_soft("soft_pcl", alpha=alpha, value_coef=0.0)
        batch = [sentence(made.lm, y, sample=i) for i, y in enumerate(("E", "aab", "bbE"))]
        found.append(flat(gradient_of(made, batch), policy_only=True))
    total = torch.zeros((), dtype=torch.float64)
    for y in ("E", "aab", "bbE"):
        own = plain_logprobs(made.lm, IDS[y])
        ref = own.detach() - torch.tensor(log_ratios(made)[y], dtype=torch.float64)
        total = total + 0.3 * (own - ref).square().sum() / (2 * 3)
    named = {n: p for n, p in made.lm.network.named_parameters() if p.requires_grad}
    pull = torch.autograd.grad(total, list(named.values()))
    assert relative_error(found[1] - found[0], flat(dict(zip(named, pull, strict=True)))) < 1e-8


def coefficients(made: Any, batch: Sequence[str], reward: dict[str, float] | None = None,
                 ) -> list[float]:  # fmt: skip
    """By how much an update raises the log-probability of each of its sentences."""
    lm = made.lm
    episodes = [
        sentence(lm, y, sample=i, reward=(reward or REWARDS)[y]) for i, y in enumerate(batch)
    ]
    gradient = -flat(gradient_of(made, episodes), policy_only=True)
    named = {n: p for n, p in lm.network.named_parameters() if p.requires_grad}
    columns = []
    for y in batch:
        found = torch.autograd.grad(plain_logprobs(lm, IDS[y]).sum(), list(named.values()))
        columns.append(flat(dict(zip(named, found, strict=True))))
    matrix = torch.stack(columns, dim=1)
    solved = torch.linalg.lstsq(matrix, gradient[:, None]).solution[:, 0]
    assert relative_error(matrix @ solved, gradient) < 1e-8
    return [float(number) for number in solved]


GOOD_SHORT_AND_LONG = {"E": 1.0, "aaa": 1.0, "bba": 0.0, "bbb": 0.0}


@pytest.mark.parametrize("name", ["grpo", "gspo"])
def test_a_mean_over_tokens_rewards_short_good_texts_three_times_as_much_as_long_ones(
    name: str,
) -> None:
    short, long, *bad = coefficients(learner(name), list(GOOD_SHORT_AND_LONG), GOOD_SHORT_AND_LONG)
    assert short / long == pytest.approx(3, rel=1e-8)
    assert all(number == pytest.approx(-long, rel=1e-5) for number in bad)


@pytest.mark.parametrize("name", ["dr_grpo", "rloo", "dapo", "cispo", "reinforce_batch"])
def test_a_sum_over_tokens_has_no_length_bias_within_a_batch(name: str) -> None:
    short, long, *_ = coefficients(learner(name), list(GOOD_SHORT_AND_LONG), GOOD_SHORT_AND_LONG)
    assert short / long == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "cispo", "reinforce_pp"])
def test_dividing_by_the_spread_forgets_how_much_rewards_differ(name: str) -> None:
    made, batch = learner(name), list(GOOD_SHORT_AND_LONG)
    large = coefficients(made, batch, GOOD_SHORT_AND_LONG)
    small = coefficients(made, batch, {y: 0.01 * r for y, r in GOOD_SHORT_AND_LONG.items()})
    assert small == pytest.approx(large, rel=1e-3)


@pytest.mark.parametrize("name", ["dr_grpo", "rloo", "reinforce_none"])
def test_without_a_spread_a_tenth_of_the_reward_is_a_tenth_of_the_step(name: str) -> None:
    made, batch = learner(name), list(GOOD_SHORT_AND_LONG)
    large = coefficients(made, batch, GOOD_SHORT_AND_LONG)
    small = coefficients(made, batch, {y: 0.1 * r for y, r in GOOD_SHORT_AND_LONG.items()})
    assert small == pytest.approx([0.1 * number for number in large], rel=1e-8, abs=1e-12)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["grpo", "gspo", "reinforce_pp"])
def test_row_01_biased_methods_do_not_follow_the_exact_gradient_but_point_upwards(
    name: str,
) -> None:
    made = learner(name)
    exact, found = exact_gradient(made.lm), expected_gradient(made, group=2)
    best = (torch.dot(found, exact) / exact.square().sum()) * exact
    assert relative_error(found, best) > 0.05  # not even a multiple of it
    assert torch.dot(found, exact) > 0
