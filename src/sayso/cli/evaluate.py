"""``sayso eval``."""

from __future__ import annotations

import json
from pathlib import Path

from sayso.cli.restore import restore


def run(
    path: Path, *, split: str, episodes: int, checkpoint: str, seed: int, as_json: bool
) -> None:
    """Evaluate a run's policy and print the report."""
    from sayso.app.assemble import env_source, rollout_limits
    from sayso.evaluation.evaluate import evaluate

    config, learner, step = restore(path, checkpoint)
    report = evaluate(
        learner.policy(),
        env_source(config.env),
        split=split,
        num_episodes=episodes,
        seed=seed,
        limits=rollout_limits(config.env),
    )
    if as_json:
        print(json.dumps({"run": str(path), "step": step, **report.to_json()}))
        return
    print(f"{path} at step {step}, {split}: {report}")
