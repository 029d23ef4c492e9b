"""DPO on TinyLang: from noisy preferences to the KL-regularised optimum, through the whole loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learner_cases import learner
from tinylang_training import policy_table, reference_lm

from sayso.app.assemble import assemble, create_run
from sayso.app.config import load_config
from sayso.app.stored import build_data
from sayso.data.preferences import Preference, games_of
from sayso.envs.comparisons import comparisons
from sayso.envs.registry import source
from sayso.envs.tinylang_math import expected_return, kl, reference, soft_optimum
from sayso.sampling.base import SamplingOptions
from sayso.training.loop import train

BETA = 0.5


def learnt(seed: int, where: Path) -> dict[str, list[float]]:
    """Pairs of the reference's sentences, preferred as Bradley and Terry say of the true reward."""
    torch.set_num_threads(1)
    env = source("sayso/TinyLang-v0").open()
    # As games: here the empty sentence is one of fifteen, in a file it would be a lost answer.
    games = [
        game
        for row in comparisons(env, 3_000, seed, ["reference"], temperature=1.0)
        for game in games_of(
            Preference(prompt=row["prompt"], chosen=row["chosen"], rejected=row["rejected"])
        )
    ]
    config = load_config(
        {
            "seed": seed, "env": {"id": "none"}, "model": {"name": "tiny"},
            "sampling": {"max_new_tokens": 3}, "algorithm": {"type": "dpo", "beta": BETA},
            "optim": {"lr": 3e-3, "schedule": "cosine"},
            "data": {"path": "(in Python)", "batch_episodes": 128},
            "train": {"total_episodes": 38_400},
        },
        source="dpo",
    )  # fmt: skip
    lm = reference_lm()
    made = learner(
        "dpo", lm, optim=config.optim, sampling=SamplingOptions(max_new_tokens=3), beta=BETA
    )
    data = build_data(config, lm, games)
    train(assemble(config, create_run(config, where), learner=made, data=data))
    return policy_table(lm)


def bar(table: dict[str, list[float]]) -> bool:
    """Where theory says, as far as 3 000 noisy pairs can tell."""
    best = soft_optimum(reference(), BETA)
    return kl(best.policy, table) < 0.1 and expected_return(table) > 0.9 * best.expected_return


def test_the_bar_tells_the_optimum_from_the_reference() -> None:
    assert bar(soft_optimum(reference(), BETA).policy)
    assert not bar(reference())
    assert not bar(soft_optimum(reference(), 5 * BETA).policy)


@pytest.mark.medium
def test_one_seed_reaches_the_regularised_optimum(tmp_path: Path) -> None:
    assert bar(learnt(0, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nine_of_ten_seeds_reach_it(tmp_path: Path) -> None:
    passed = [bar(learnt(seed, tmp_path / str(seed))) for seed in range(10)]
    assert sum(passed) >= 9, passed
