"""Plans and results of comparisons, made up by hand: what ``sayso compare`` would have stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ENV = "sayso/Writing-v0"
SPLITS = ("train", "held_out", "unseen")
RETURNS = {"train": 0.6, "held_out": 0.55, "unseen": 0.4}


def plan(
    names: Sequence[str] = ("grpo", "ppo"), *, envs: Sequence[str] = (ENV,), **changes: Any
) -> dict[str, Any]:
    """As ``Plan.to_json`` gives it."""
    arms = [
        {
            "name": name,
            "recipe": "writing",
            "config": {
                "env": {"id": env}, "model": {"name": "smollm2"},
                "algorithm": {"type": name, "group_size": 8}, "optim": {"lr": 1e-4 * (k + 1)},
            },
        }
        for env in envs
        for k, name in enumerate(names)
    ]  # fmt: skip
    found = {
        "arms": arms,
        "budget": {"axis": "env_tokens", "amount": 200_000.0},
        "splits": {env: list(SPLITS) for env in envs},
        "ranges": {env: [0.0, 1.0] for env in envs},
        "episodes": 8, "points": 5, "point_episodes": 4,
        "decode": ["sampled"], "adapt": [],
    }  # fmt: skip
    return found | changes


def result(
    arm: str,
    seed: int,
    *,
    env: str = ENV,
    gain: float = 0.0,
    returns: Mapping[str, Sequence[float]] | None = None,
    adapt: Sequence[int] = (),
) -> dict[str, Any]:
    """As ``run_trial`` gives it; ``returns`` are of each split's tasks, in order."""
    draw = np.random.default_rng([seed, len(arm)])
    shared = np.random.default_rng(seed).normal(0, 0.05)
    evals = []
    for split in SPLITS:
        level = RETURNS[split] + gain + shared + draw.normal(0, 0.02)
        values = (returns or {}).get(split)
        if values is None:
            values = np.clip(level + 0.02 * np.arange(-4, 4), 0, 1).tolist()
        evals.append(
            {
                "split": split, "decode": "sampled", "mean": float(np.mean(values)),
                "num_episodes": len(values), "num_failed": 0, "mean_tokens": 20.0,
                "returns": [[f"task-{k}", 0, value] for k, value in enumerate(values)],
            }
        )  # fmt: skip
    curve = [
        {
            "step": 5 * k, "mean": 0.1 + (0.45 + gain + shared) * (k / 5) ** 0.6,
            "num_episodes": 4, "num_failed": 0, "spent": spent(40_000.0 * k, len(arm)),
        }
        for k in range(6)
    ]  # fmt: skip
    found = {
        "arm": arm, "env": env, "seed": seed, "steps": 25, "stopped_by": "budget",
        "spent": spent(203_000.0, len(arm)), "num_invalid": {}, "curve": curve, "evals": evals,
        "kl": 0.05 + 0.01 * seed if arm != "candidate_dqn" else None,
        "samples": [
            {"task": "task-0", "observation": "Write one sentence about <the sea> & the sky.",
             "action": f"The {arm} sea sang <script>alert(1)</script> all night.", "reward": 0.75},
            {"task": "task-1", "observation": "Write a news item.",
             "action": "Every minute, the landscape transforms, providing a thrilling experience "
             "for wildlife.", "reward": 1.0},
        ],
    }  # fmt: skip
    if adapt:
        found["adaptation"] = {
            "points": [
                {"step": k, "mean": 0.4 + gain + 0.05 * k, "num_episodes": 8, "num_failed": 0,
                 "spent": spent(0.0, 4) | {"episodes": float(n)}}
                for k, n in enumerate(adapt)
            ],
            "train": {"mean": 0.5 + gain, "num_episodes": 8, "num_failed": 0},
            "kl": 0.2,
        }  # fmt: skip
    return found


def spent(tokens: float, factor: float) -> dict[str, float]:
    """On every axis; each arm learns at its own rate."""
    return {
        "env_tokens": tokens, "learner_tokens": tokens * factor, "wall_clock": tokens / 1000,
        "reward_queries": tokens / 50, "episodes": tokens / 50,
    }  # fmt: skip
