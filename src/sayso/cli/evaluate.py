"""``sayso eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.cli.restore import restore
from sayso.envs.listed import num_tasks
from sayso.errors import OptionValueError
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.envs.registry import EnvSource
    from sayso.evaluation.audit import AuditReport
    from sayso.rollout.limits import RolloutLimits


def run(
    path: Path,
    *,
    split: str | None,
    episodes: int,
    checkpoint: str,
    seed: int,
    as_json: bool,
    audit: int = 0,
) -> None:
    """Evaluate a run's policy and print the report; with ``audit``, check its critic as well."""
    from sayso.app.assemble import config_of, env_source, rollout_limits
    from sayso.app.origin import require_named
    from sayso.evaluation.evaluate import evaluate

    opened = Run.open(path)
    require_named(opened, "env")
    env = env_source(config_of(opened).env)
    split = split or first_with_tasks(env)
    env.open().require_tasks(split, where=env.id)  # before the model is loaded
    if audit:
        require_critic(config_of(opened).algorithm.type)
    config, learner, step = restore(path, checkpoint)
    report = evaluate(
        learner.policy(),
        env,
        split=split,
        num_episodes=episodes,
        seed=seed,
        limits=rollout_limits(config.env),
    )
    checked = audited(learner, env, split, audit, seed, rollout_limits(config.env))
    if as_json:
        told = {} if checked is None else {"audit": checked.to_json()}
        print(json.dumps({"run": str(path), "step": step, **report.to_json(), **told}))
        return
    print(f"{path} at step {step}, {report}")
    if checked is not None:
        print(f"  {checked}")


def require_critic(algorithm: str) -> None:
    """Refuse to check what is not there, before a model is loaded.

    Raises:
        OptionValueError: If the algorithm has no critic.
    """
    from sayso.algorithms.registry import ALGORITHMS

    if not hasattr(ALGORITHMS[algorithm], "action_values"):
        raise OptionValueError(
            where="--audit",
            problem=f"checks a critic, and {algorithm} has none.",
            fix="Leave it out.",
        )


def audited(
    learner: Any, env: EnvSource, split: str, num_prefixes: int, seed: int, limits: RolloutLimits
) -> AuditReport | None:
    """The critic's report, if one was asked for."""
    from sayso.evaluation.audit import audit

    if not num_prefixes:
        return None
    return audit(learner, env, split=split, num_prefixes=num_prefixes, seed=seed, limits=limits)


def first_with_tasks(env: EnvSource) -> str:
    """Held-out tasks say most; games such as TinyLang have none."""
    opened = env.open()
    return next((s for s in ("held_out", "unseen") if num_tasks(opened, s)), "train")
