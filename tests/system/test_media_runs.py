"""Runs with pictures: an interrupted one goes on bit for bit, and a small model learns to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from media_models import ColourEnv

import sayso
from sayso.envs.scripted import play_many, scripted
from sayso.runs.digest import digest_run

TINY: dict[str, Any] = {
    "tiny": {"tokens": "rgb\n", "width": 32, "layers": 2, "heads": 4, "context": 64},
    "media": {"image": "patches", "grid": 2, "size": 16},
    "max_new_tokens": 2,
}


def agent(**options: Any) -> sayso.Agent:
    """A small model with small eyes."""
    return sayso.RLOO("tiny", ColourEnv, **TINY, group_size=4, tasks_per_step=4, lr=1e-3, **options)


@pytest.mark.medium
def test_a_run_with_pictures_goes_on_bit_for_bit(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    agent().learn(64, run=whole, progress_bar=False, checkpoint_every=1)
    agent().learn(32, run=parts, progress_bar=False, checkpoint_every=1)
    agent().learn(64, run=parts, progress_bar=False, checkpoint_every=1)
    assert digest_run(whole) == digest_run(parts)
    kept = [sorted(path.name for path in (run / "media").iterdir()) for run in (whole, parts)]
    assert kept[0] == kept[1]
    assert 0 < len(kept[0]) <= 16


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cloning_a_little_then_rloo_learns_to_name_colours(seed: int, tmp_path: Path) -> None:
    """24 pictures of 96 are shown with their answers; rewards do the rest. Always one answer: 1/3.

    Measured on held-out pictures: 0.52, 0.48, 0.56 after cloning, 0.92 each after RLOO.
    """
    torch.set_num_threads(1)
    env = ColourEnv()
    games = play_many(env, scripted(env, "oracle").act, split="train", num_games=24, seed=seed)
    cloned = sayso.BC("tiny", data=games, **TINY, lr=2e-3, batch_episodes=24, seed=seed)
    cloned.learn(480, run=tmp_path / "bc", progress_bar=False)
    cloned.save(tmp_path / "cloned")
    begun = sayso.RLOO(
        str(tmp_path / "cloned"), ColourEnv, max_new_tokens=2, group_size=8, tasks_per_step=8,
        lr=2e-3, seed=seed,
    )  # fmt: skip
    before = begun.evaluate(split="held_out", num_episodes=48).mean.mean
    begun.learn(2560, run=tmp_path / "rl", progress_bar=False)
    after = begun.evaluate(split="held_out", num_episodes=48).mean.mean
    assert before is not None
    assert after is not None
    assert 1 / 3 < before < 0.7
    assert after >= 0.85
