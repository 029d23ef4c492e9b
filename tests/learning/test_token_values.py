"""T-28: what learners of token values say after a log of 4 000 sentences, and after practice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import flat, tiny_lm
from tinylang_values import (
    all_at_once,
    greedy_sentence,
    in_log,
    learnt_from_log,
    learnt_online,
    logged,
)
from value_cases import NO_MEMORY, spoken, value_learner

from sayso.algorithms.value_steps import _step
from sayso.credit.backups import value_iteration
from sayso.data.replay import Drawn
from sayso.envs.tinylang_math import sequences

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, int]] = {
    "returns": ("mc_returns", {}, {"backup": "sarsa"}, "aE", 900),
    "sarsa": ("ilql", {"backup": "sarsa"}, {"backup": "sarsa"}, "aE", 900),
    "tau 0.5": ("ilql", {"tau": 0.5}, {"backup": "expectile", "tau": 0.5}, "aE", 900),
    "tau 0.7": ("ilql", {"tau": 0.7}, {"backup": "expectile", "tau": 0.7}, "abE", 900),
    "tau 0.9": ("ilql", {"tau": 0.9}, {"backup": "expectile", "tau": 0.9}, "abE", 1500),
    "tau 0.99": ("ilql", {"tau": 0.99}, {"backup": "expectile", "tau": 0.99}, "bab", 2500),
    "maximum": ("token_dqn", {}, {"backup": "max"}, "bab", 900),
}
"""Learner, its options, the exact backup, the sentence, steps."""


def best_sentence(seed: int, backup: dict[str, Any]) -> str:
    """What the exact values of the log say."""
    values, said = value_iteration(in_log(seed), **backup), ""
    while said not in sequences():
        said += "abE"[int(np.argmax(values.action[said]))]
    return said


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("case", list(CASES))
def test_t28_a_log_teaches_exactly_what_the_backup_can_stitch(case: str, seed: int) -> None:
    """A log is a sample: in some others the values of two sentences change places."""
    name, options, backup, sentence, num_steps = CASES[case]
    assert best_sentence(seed, backup) == sentence
    target = {} if name == "mc_returns" else {"target_rate": 0.3}
    made = learnt_from_log(name, seed=seed, num_steps=num_steps, **target, **options)
    assert greedy_sentence(made) == sentence


def test_equal_episodes_once_and_weighted_have_the_gradient_of_the_whole_log() -> None:
    lm = tiny_lm()
    counts = {y: min(count, 3) for y, count in logged(0).items()}
    every = [spoken(lm, y) for y, count in counts.items() for _ in range(count)]
    once = [spoken(lm, y) for y in counts]
    weights = np.array(list(counts.values())) * len(counts) / len(every)
    found = []
    for drawn in (
        Drawn(episodes=every, weights=np.ones(len(every)), serials=[]),
        Drawn(episodes=once, weights=weights, serials=[]),
    ):
        made = value_learner("mc_returns", lm, replay=NO_MEMORY)
        seen: list[torch.Tensor] = []

        def note(made: Any = made, seen: list[torch.Tensor] = seen) -> tuple[dict[str, Any], None]:
            own = made.core.optimiser.parameters
            seen.append(flat({n: p.grad.clone() for n, p in own.items() if p.grad is not None}))
            return {}, None

        made.core.optimiser.step = note
        _step(made.core, drawn, made._terms)
        found.append(seen[0])
    # The token count is that of the batch: a factor that both have alike.
    tokens = [sum(len(e.turns[0].action_ids) for e in part) for part in (every, once)]
    whole = found[0] * tokens[0] / len(every)
    parts = found[1] * tokens[1] / len(once)
    assert (whole - parts).abs().max() <= 1e-12 * whole.abs().max()
    assert all_at_once(lm, 0).weights.sum() == pytest.approx(15)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ilql", "token_dqn"])
def test_practice_reaches_the_best_sentence_on_nine_of_ten_seeds(name: str) -> None:
    runs = [learnt_online(name, seed=seed) for seed in range(10)]
    assert sum(run.expected_return >= 0.95 * run.optimum for run in runs) >= 9, runs
