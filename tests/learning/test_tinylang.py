"""Every algorithm reaches what is reachable on TinyLang, where that is known in closed form."""

from __future__ import annotations

import pytest
from learner_cases import VARIANTS
from tinylang_training import (
    Trained,
    described,
    fitted_weights,
    policy_table,
    reference_lm,
    train_tinylang,
)

from sayso.envs.tinylang_math import kl, reference, soft_optimum
from sayso.kernels.library import library


def is_optimal(run: Trained, beta: float) -> bool:
    """95 % of the closed-form optimum; without KL a return of 0.9, of 1.0 at most."""
    if beta:
        return run.objective >= 0.95 * run.optimum
    return run.expected_return >= 0.9


def test_the_model_starts_as_the_reference_policy_and_that_is_not_enough() -> None:
    assert fitted_weights()
    table = policy_table(reference_lm())
    assert kl(reference(), table) < 1e-6
    for beta in (0.5, 0.1, 0.0):
        assert not is_optimal(described(table, beta), beta)


@pytest.mark.parametrize("beta", [0.5, 0.1])
def test_the_closed_form_optimum_passes_its_own_bar_and_is_no_bar_that_anything_passes(
    beta: float,
) -> None:
    best = soft_optimum(reference(), beta)
    assert is_optimal(described(best.policy, beta), beta)
    greedy = described(soft_optimum(reference(), 1e-3).policy, beta)  # all return, KL ignored
    assert greedy.expected_return > 0.99
    assert not is_optimal(greedy, beta)


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["rloo", "grpo", "ppo"])
@pytest.mark.parametrize("beta", [0.5, 0.0])
def test_two_seeds_reach_the_optimum(name: str, beta: float, seed: int) -> None:
    run = train_tinylang(name, beta=beta, seed=seed)
    assert is_optimal(run, beta), run


@pytest.mark.medium
@pytest.mark.skipif(not library().has_int8, reason="this processor multiplies no bytes")
@pytest.mark.parametrize("name", ["rloo", "grpo", "ppo"])
def test_sampling_in_int8_reaches_the_same_optimum(name: str) -> None:
    run = train_tinylang(name, beta=0.1, seed=0, precision="int8")
    assert is_optimal(run, 0.1), run


@pytest.mark.slow
@pytest.mark.parametrize("name", list(VARIANTS))
@pytest.mark.parametrize("beta", [0.5, 0.1, 0.0])
def test_nine_of_ten_seeds_reach_the_optimum(name: str, beta: float) -> None:
    runs = [train_tinylang(name, beta=beta, seed=seed) for seed in range(10)]
    for seed, run in enumerate(runs):
        print(f"{name} beta {beta} seed {seed}: {run.says} ({run.says_reward}) "
              f"J - beta KL {run.objective:.4f} of {run.optimum:.4f}")  # fmt: skip
    assert sum(is_optimal(run, beta) for run in runs) >= 9
