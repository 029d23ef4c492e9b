"""How long a learning rate lasts: its schedule ends where the run does, unless told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sayso.app.config import RunConfig
from sayso.envs.registry import EnvSource
from sayso.errors import OptionValueError

if TYPE_CHECKING:
    from sayso.algorithms.base import Learner
    from sayso.algorithms.core import Core

LEAVE_OUT = (
    "Leave it out (optim.total_steps=none): the schedule then ends with train.total_episodes."
)


def num_optimiser_steps(config: RunConfig, env: EnvSource) -> int:
    """Optimiser steps that a run's episodes come to, if none fails and no pass is cut short."""
    algorithm: Any = config.algorithm
    num_kept, num_updates = config.data.batch_episodes, _num_updates(config, env)
    if config.data.path is None:
        num_tasks = min(algorithm.tasks_per_step, len(env.open().tasks(config.train.split)))
        num_kept = num_tasks * (getattr(algorithm, "train_on", None) or algorithm.group_size)
    own = getattr(algorithm, "num_optimiser_steps", None)
    if own is not None:  # steps that do not go with the episodes of an update
        return int(own(num_updates))
    minibatches = min(getattr(algorithm, "minibatches", 1), max(1, num_kept))
    return int(num_updates) * _passes(algorithm) * int(minibatches)


def _refuse_endless_warm_up(config: RunConfig, env: EnvSource) -> None:
    """Refuse a run in which the policy never trains: its critic learns first."""
    warm_up = getattr(config.algorithm, "warmup_updates", 0)
    num_updates = _num_updates(config, env)
    if warm_up and warm_up >= num_updates:
        raise OptionValueError(
            where="algorithm.warmup_updates",
            problem=f"is {warm_up}, and the run makes {num_updates} updates: only the critic would "
            "learn.",
            fix="Set fewer, or raise train.total_episodes.",
        )


def _num_updates(config: RunConfig, env: EnvSource) -> int:
    """Updates that a run's episodes come to."""
    algorithm: Any = config.algorithm
    per_update = config.data.batch_episodes
    if config.data.path is None:
        num_tasks = min(algorithm.tasks_per_step, len(env.open().tasks(config.train.split)))
        per_update = max(1, num_tasks * algorithm.group_size)
    return -(-config.train.total_episodes // per_update)


def _passes(algorithm: Any) -> int:
    """How often an update goes over a batch, or draws one."""
    return int(getattr(algorithm, "epochs", 1)) * int(getattr(algorithm, "updates_per_step", 1))


def refuse_standstill(config: RunConfig, env: EnvSource, *, fix: str = LEAVE_OUT) -> None:
    """Refuse steps at a learning rate of 0, and a warm-up that the run does not outlast.

    Args:
        config: The run's configuration.
        env: Its tasks decide how many episodes a step takes.
        fix: What to do about a total that is too small.

    Raises:
        OptionValueError: With both numbers of steps.
    """
    _refuse_endless_warm_up(config, env)
    optim = config.optim
    if optim.schedule == "constant":
        return
    num_steps, end = num_optimiser_steps(config, env), optim.total_steps
    if end is None and optim.warmup_steps >= num_steps:
        raise OptionValueError(
            where="optim.warmup_steps",
            problem=f"got {optim.warmup_steps}, and the run takes {num_steps} optimiser steps.",
            fix="Set fewer, or raise train.total_episodes.",
        )
    if end is not None and num_steps > end:
        raise OptionValueError(
            where="optim.total_steps",
            problem=f"the run takes {num_steps} optimiser steps, but the learning rate is 0 after "
            f"{end}.",
            fix=fix,
        )


def follow_schedule(config: RunConfig, learner: Learner, env: EnvSource, *, is_new: bool) -> None:
    """Tell a learner how long its run is.

    Args:
        config: The run's configuration.
        learner: Whose optimiser follows the schedule; one without a ``Core`` is left alone.
        env: Its tasks decide how many episodes a step takes.
        is_new: The run begins: so does its schedule, whatever the learner has learnt before.
    """
    core: Core | None = getattr(learner, "core", None)
    if core is not None and config.optim.schedule != "constant":
        core.optimiser.follow(num_optimiser_steps(config, env), is_new=is_new)
