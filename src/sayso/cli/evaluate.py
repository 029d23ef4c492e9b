"""``sayso eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sayso.cli.restore import restore
from sayso.envs.listed import num_tasks
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.envs.registry import EnvSource


def run(
    path: Path, *, split: str | None, episodes: int, checkpoint: str, seed: int, as_json: bool
) -> None:
    """Evaluate a run's policy and print the report."""
    from sayso.app.assemble import config_of, env_source, rollout_limits
    from sayso.app.origin import require_named
    from sayso.evaluation.evaluate import evaluate

    opened = Run.open(path)
    require_named(opened, "env")
    env = env_source(config_of(opened).env)
    split = split or first_with_tasks(env)
    env.open().require_tasks(split, where=env.id)  # before the model is loaded
    config, learner, step = restore(path, checkpoint)
    report = evaluate(
        learner.policy(),
        env,
        split=split,
        num_episodes=episodes,
        seed=seed,
        limits=rollout_limits(config.env),
    )
    if as_json:
        print(json.dumps({"run": str(path), "step": step, **report.to_json()}))
        return
    print(f"{path} at step {step}, {report}")


def first_with_tasks(env: EnvSource) -> str:
    """Held-out tasks say most; games such as TinyLang have none."""
    opened = env.open()
    return next((s for s in ("held_out", "unseen") if num_tasks(opened, s)), "train")
