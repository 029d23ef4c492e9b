"""One rollout and one update, for ``sayso doctor``: what would stop training shows here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from sayso.algorithms.base import Learner
from sayso.envs.registry import EnvSource
from sayso.errors import GuardError
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.training.order import TaskOrder
from sayso.types import EndReason, Episode

MAX_TURNS = 8


def check_rollout(
    learner: Learner, source: EnvSource, seed: int, *, split: str, limits: RolloutLimits
) -> list[Episode]:
    """Play two tasks of the split, a group each, under the run's own limits; a few turns only.

    Raises:
        GuardError: If every episode failed, with the first cause.
    """
    order = TaskOrder(source.open().tasks(split), 2, seed=seed)
    turns = min(MAX_TURNS, limits.max_turns or MAX_TURNS)
    episodes = collect(
        learner.sampler(), order.block(0), source, group_size=max(2, learner.plan.group_size // 2),
        seed=seed, path=("doctor",), limits=dataclasses.replace(limits, max_turns=turns),
    )  # fmt: skip
    valid = [e for e in episodes if e.end is not EndReason.FAILED]
    if not valid:
        failure = episodes[0].failure
        raise GuardError(
            where="rollout",
            problem=f"every episode failed: {failure.message if failure else 'no cause'}",
            fix="Mend the environment or the reward.",
        )
    return valid


def check_update(learner: Learner, episodes: Sequence[Episode]) -> str:
    """Take one update and say what moved; the learner is thrown away afterwards.

    Raises:
        GuardError: If the update was refused, or nothing changed although rewards differ.
    """
    before = {n: t.detach().clone() for n, t in learner.lm.trainable().items()}
    update = learner.update(episodes, seed=0)
    if update.skipped:
        raise GuardError(
            where="update",
            problem=f"refused: {update.skipped[0].reason}.",
            fix="Look at the rewards.",
        )
    if update.fatal is not None:
        raise GuardError(where="update", problem=update.fatal.problem, fix=update.fatal.fix)
    moved = sum(not torch.equal(before[n], t) for n, t in learner.lm.trainable().items())
    returns = {e.return_ for e in episodes}
    if not moved and len(returns) > 1:
        raise GuardError(
            where="update",
            problem="no weight changed although rewards differ.",
            fix="Check that the learning rate is above 0 and that parameters are trainable.",
        )
    told = f"{moved} of {len(before)} tensors changed"
    if moved and any(".lora_A." in name for name in before):
        told += " (of the two matrices of an adapter one has no gradient before the first step)"
    if not moved:
        told = "no weight changed: all rewards of this small sample are equal"
    return ". ".join([told, *(warning.rstrip(".") for warning in update.warnings)])
