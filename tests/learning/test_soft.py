"""SoftQ and Q# reach the KL-regularised optimum of TinyLang, online and from logged episodes."""

from __future__ import annotations

import pytest
from learner_cases import SOFT
from soft_training import greedy_in_q, train_offline, train_online
from tinylang_training import described, policy_table, reference_lm

from sayso.envs.tinylang_math import reference, soft_optimum

SAYS = {0.5: "abE", 0.1: "bab"}
"""The sentence of the greatest soft Q: rewards 0.9 and 1.0."""
every_learner = pytest.mark.parametrize("name", list(SOFT))
both_betas = pytest.mark.parametrize("beta", [0.5, 0.1])


@both_betas
def test_the_optimum_says_this_and_the_reference_is_far_from_it(beta: float) -> None:
    best = soft_optimum(reference(), beta)
    assert greedy_in_q(best.policy) == SAYS[beta]
    start = described(policy_table(reference_lm()), beta)
    assert start.objective < 0.9 * best.objective


@pytest.mark.medium
@every_learner
@both_betas
def test_one_seed_reaches_the_optimum(name: str, beta: float) -> None:
    run = described(train_online(name, beta=beta, seed=0), beta)
    assert run.objective >= 0.95 * run.optimum, run


@pytest.mark.slow
@pytest.mark.timeout(1800)
@every_learner
@both_betas
def test_nine_of_ten_seeds_reach_the_optimum(name: str, beta: float) -> None:
    runs = [described(train_online(name, beta=beta, seed=seed), beta) for seed in range(10)]
    shares = [run.objective / run.optimum for run in runs]
    print(name, beta, [round(share, 4) for share in shares])
    assert sum(share >= 0.95 for share in shares) >= 9


@pytest.mark.slow
@pytest.mark.timeout(1800)
@every_learner
@both_betas
def test_t28_four_thousand_logged_episodes_of_the_reference_are_enough(
    name: str, beta: float
) -> None:
    for seed in range(3):
        table = train_offline(name, beta=beta, seed=seed)
        assert greedy_in_q(table) == SAYS[beta], seed
        run = described(table, beta)
        assert run.objective >= 0.95 * run.optimum, (seed, run)
