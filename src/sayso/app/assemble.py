"""From a configuration to the objects that train."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from sayso.algorithms.base import Learner
from sayso.algorithms.registry import ALGORITHMS
from sayso.app.config import RunConfig
from sayso.app.opening import env_source, rollout_limits
from sayso.app.refusals import (
    is_one_step,
    is_steered,
    refuse_unused_by_values,
    refuse_unused_kl,
)
from sayso.app.schedule import follow_schedule
from sayso.app.stored import build_data, same_data, without_memory
from sayso.data.datasets import DataSet
from sayso.envs.registry import EnvSource
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.runs.commit import steps
from sayso.runs.run import Run
from sayso.sampling.make import make_engine
from sayso.training.callbacks import Callback
from sayso.training.loop import Training

_log = logging.getLogger("sayso")


def build_lm(config: RunConfig, model: Any = None) -> LanguageModel:
    """The language model of a run.

    Args:
        config: The run's configuration.
        model: Instead of ``config.model.name``: a ``(model, tokenizer)`` pair.
    """
    lm = load(model or config.model.name, config.model, seed=config.seed)
    if hasattr(config.algorithm, "trunk"):
        lm.saved_q_heads = {}  # they read another trunk than the weights beside them
    return lm


def build_learner(config: RunConfig, lm: LanguageModel) -> Learner:
    """The algorithm, around the model, with its engine.

    Raises:
        UnusedOptionError: If an option has no effect for this algorithm.
    """
    refuse_unused_kl(config)
    refuse_unused_by_values(config)
    learner_class = ALGORITHMS[config.algorithm.type]
    learner: Learner = learner_class(
        lm,
        None if is_steered(config) else make_engine(lm, config.sampling),  # else of their own
        without_memory(config),
        sampling=config.sampling,
        optim=config.optim,
        kl=config.kl,
        seed=config.seed,
    )
    return learner


def assemble(
    config: RunConfig,
    run: Run,
    *,
    learner: Learner,
    env: EnvSource | None = None,
    callbacks: Sequence[Callback] = (),
    data: DataSet | None = None,
) -> Training:
    """Everything that ``train`` needs.

    Args:
        config: The run's configuration.
        run: Its directory.
        learner: What ``build_learner`` made.
        env: Unset: what the configuration names.
        callbacks: Called in order.
        data: Unset: read from where the configuration says.

    Raises:
        DataError: If the data set cannot be read.
        RunError: If it is not the one that the run began with.
    """
    run.annotate(sampler=learner.sampler().engine.path)
    opened = env or env_source(config.env)
    is_new = not steps(run.checkpoints)
    data = data or build_data(config, learner.lm)
    if learner.lm.media is not None:  # after a data set, which keeps its own
        learner.lm.media.save_in(run.path / "media")
    if data is not None:
        same_data(run, data, is_new=is_new)
    follow_schedule(config, learner, opened, is_new=is_new)
    if is_new:
        _tell_whole_steps(config, learner, opened)
        _tell_same_variant(config)
        _tell_foreign(config, data)
    return Training(
        learner=learner,
        source=opened,
        run=run,
        options=config.train,
        seed=config.seed,
        limits=rollout_limits(config.env),
        callbacks=callbacks,
        data=None if data is None else data.episodes,
        batch_episodes=config.data.batch_episodes,
    )


def _tell_whole_steps(config: RunConfig, learner: Learner, env: EnvSource) -> None:
    """Say how many episodes will be trained on, where whole steps make more of them than asked."""
    asked = config.train.total_episodes
    if config.data.path is not None:
        per_step = config.data.batch_episodes
        if asked % per_step:
            _log.warning(
                "total_episodes is %d, a step takes %d stored episodes: %d will be learnt from.",
                asked, per_step, -(-asked // per_step) * per_step,
            )  # fmt: skip
        return
    num_tasks = min(learner.plan.tasks_per_step, len(env.open().tasks(config.train.split)))
    per_step = num_tasks * learner.plan.group_size
    if num_tasks and asked % per_step:
        num_steps = -(-asked // per_step)
        _log.warning(
            "total_episodes is %d, a step takes %d (tasks times attempts: %d * %d): %d %s, "
            "so %d episodes, will be run.",
            asked, per_step, num_tasks, learner.plan.group_size, num_steps,
            "step" if num_steps == 1 else "steps", num_steps * per_step,
        )  # fmt: skip


def _tell_foreign(config: RunConfig, data: DataSet | None) -> None:
    """Say so where an algorithm about the model's own episodes gets some of an unknown author."""
    if config.algorithm.type != "q_sharp" or data is None:
        return
    said = [p for e in data.episodes for turn in e.turns for p in turn.action_logprobs[:1]]
    if any(map(math.isnan, said)):
        _log.warning(
            "q_sharp learns what the model itself would earn. The data do not say with what "
            "probability it was said: if somebody else spoke, their returns are learnt instead."
        )


def _tell_same_variant(config: RunConfig) -> None:
    """Say so where a variant cannot differ from another: its ratios are all 1."""
    variant = getattr(config.algorithm, "variant", "")
    same = {"gspo": "grpo", "cispo": "dapo, but for its dynamic sampling"}
    if variant in same and is_one_step(config):
        _log.warning(
            "variant = %r takes one step on a batch: every ratio is 1, and it is the same as %s. "
            "Set algorithm.epochs or algorithm.minibatches above 1 to see a difference.",
            variant, same[variant],
        )  # fmt: skip
