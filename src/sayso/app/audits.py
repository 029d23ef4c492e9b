"""Is the critic of an agent any good? ``sayso.audit(agent)``."""

from __future__ import annotations

from typing import Any

from sayso.app.facade import Agent
from sayso.app.opening import rollout_limits
from sayso.app.refusals import require_critic
from sayso.envs.registry import source
from sayso.errors import OptionValueError
from sayso.evaluation.audit import NUM_CONTINUATIONS, AuditReport
from sayso.evaluation.audit import audit as measure


def audit(
    model: Agent,
    env: Any = None,
    *,
    split: str = "held_out",
    num_prefixes: int = 64,
    num_continuations: int = NUM_CONTINUATIONS,
    seed: int = 0,
) -> AuditReport:
    """Values of an agent's critic against returns of episodes played on from the same places.

    Args:
        model: What ``PPO(...)``, ``ILQL(...)`` and their relatives make.
        env: Another environment than the one it was made with.
        split: ``"train"``, ``"held_out"`` or ``"unseen"``.
        num_prefixes: How many places, each in an episode of its own.
        num_continuations: Episodes played on from each.
        seed: Same seed, same weights: same report.

    Raises:
        OptionValueError: If it is no agent, its algorithm has no critic, the critic was not saved
            with it, or a number is below 1.
    """
    if not isinstance(model, Agent):
        raise OptionValueError(
            where="audit",
            problem=f"got {model!r}, which is no agent.",
            fix="Make one: sayso.ILQL(model, env), or sayso.Agent.load(directory).",
        )
    require_critic(model.config.algorithm.type, where="audit")
    if model.lacks_critic:
        raise OptionValueError(
            where="audit",
            problem=f"asks a critic, and that of {model.config.algorithm.type} is not saved with "
            f"algorithm.trunk = {getattr(model.config.algorithm, 'trunk', '')!r}: the one that "
            "this agent has knows nothing.",
            fix="Audit the run instead, whose checkpoints hold it: sayso eval RUN --audit 64; or "
            "let the agent learn on first.",
        )
    for name, number in (("num_prefixes", num_prefixes), ("num_continuations", num_continuations)):
        if number < 1:
            raise OptionValueError(
                where=f"audit, {name}", problem=f"got {number}.", fix="Use 1 or more."
            )
    opened = model.source if env is None else source(env)
    opened.open().require_tasks(split, where=opened.id)
    learner: Any = model.learner
    return measure(
        learner, opened, split=split, num_prefixes=num_prefixes,
        num_continuations=num_continuations, seed=seed, limits=rollout_limits(model.config.env),
    )  # fmt: skip
