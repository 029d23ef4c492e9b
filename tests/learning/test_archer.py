"""ArCHer reaches the optimum where it is known; offline ArCHer what theory says of its data."""

from __future__ import annotations

import pytest
import torch
from archer_training import (
    TwoTurns,
    archer_on_tinylang,
    archer_on_two_turns,
    expectile,
    offline_on_tinylang,
    theory,
    two_turns_return,
)
from learner_cases import tiny_lm
from tinylang_training import fresh_lm

from sayso.envs.registry import source
from sayso.envs.tinylang_math import probability, reference, sequences
from sayso.evaluation.evaluate import evaluate
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions

LOG = {y: probability(reference(), y) for y in sequences()}


def test_expectiles_of_two_values_and_what_weighing_does_in_closed_form() -> None:
    assert expectile([0.0, 1.0], [0.5, 0.5], 0.9) == pytest.approx(0.9)
    assert expectile([0.0, 1.0], [0.5, 0.5], 0.5) == pytest.approx(0.5)
    assert theory(LOG, tau=0.9, scale=0.0) == pytest.approx(0.2068)
    assert theory(LOG, tau=0.9, scale=4.0) > 0.35
    # The largest weight keeps the best sentence from taking all.
    assert theory(LOG, tau=0.9, scale=60.0, most=2.0) < theory(LOG, tau=0.9, scale=60.0)


def test_the_return_of_the_game_by_enumeration_is_what_is_played() -> None:
    lm = tiny_lm(dtype="float32", width=16, context=32, loud=3.0)
    torch.set_num_threads(1)
    policy = Policy(engine=make_engine(lm, SamplingOptions(max_new_tokens=2)), chat=lm.chat,
                    max_new_tokens=2)  # fmt: skip
    report = evaluate(policy, source(TwoTurns), split="train", num_episodes=1000, seed=0,
                      limits=RolloutLimits(), group_size=1000)  # fmt: skip
    half = (report.mean.high - report.mean.low) / 2
    assert two_turns_return(lm) == pytest.approx(report.mean.mean, abs=2 * half)
    assert two_turns_return(fresh_lm()) < 0.5


@pytest.mark.medium
def test_archer_reaches_the_best_sentence() -> None:
    run = archer_on_tinylang(7)
    assert run.expected_return >= 0.95 * run.optimum, run


@pytest.mark.medium
def test_archer_waits_for_what_pays_later() -> None:
    assert archer_on_two_turns(0) >= 0.95


@pytest.mark.slow
def test_without_a_future_archer_takes_what_pays_at_once() -> None:
    """The same game with a discount of 0: the critic's look ahead is what the first answer needs.

    It gets b and then the best that is left: 0.1 + 0.4.
    """
    assert archer_on_two_turns(0, gamma_turn=0.0) < 0.6


@pytest.mark.slow
def test_offline_archer_reaches_what_weighing_the_data_gives() -> None:
    found, expected, behaviour = offline_on_tinylang(0, scale=4.0)
    assert expected > behaviour + 0.1
    assert found > behaviour + 0.1
    assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
def test_nine_of_ten_seeds_of_archer_reach_95_percent_of_the_optimum() -> None:
    runs = [archer_on_tinylang(seed) for seed in range(10)]
    assert sum(run.expected_return >= 0.95 * run.optimum for run in runs) >= 9, runs


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.5, 0.1])
def test_nine_of_ten_seeds_of_archer_with_kl_reach_95_percent(beta: float) -> None:
    runs = [archer_on_tinylang(seed, beta=beta, steps=90) for seed in range(10)]
    assert sum(run.objective >= 0.95 * run.optimum for run in runs) >= 9, runs


@pytest.mark.slow
def test_nine_of_ten_seeds_of_archer_wait_for_what_pays_later() -> None:
    returns = [archer_on_two_turns(seed) for seed in range(10)]
    assert sum(value >= 0.95 for value in returns) >= 9, returns


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_offline_archer_of_ten_seeds_beats_who_played_and_reaches_theory(scale: float) -> None:
    runs = [offline_on_tinylang(seed, scale=scale) for seed in range(10)]
    assert all(found > behaviour for found, _, behaviour in runs), runs
    assert sum(abs(found - expected) < 0.05 for found, expected, _ in runs) >= 9, runs
