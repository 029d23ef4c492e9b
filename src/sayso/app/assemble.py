"""From a configuration to the objects that train."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sayso.algorithms.base import Learner
from sayso.algorithms.registry import ALGORITHMS
from sayso.app.config import EnvOptions, RunConfig, load_config
from sayso.app.refusals import (
    is_one_step,
    is_steered,
    refuse_changed,
    refuse_unused,
    refuse_unused_by_values,
    refuse_unused_kl,
)
from sayso.app.schedule import follow_schedule
from sayso.app.stored import build_data, require_data, same_data, without_memory
from sayso.config.load import flat, load_toml, to_table
from sayso.data.datasets import DataSet
from sayso.envs.nothing import NO_ENV, NoEnv
from sayso.envs.registry import EnvSource, source
from sayso.errors import ConfigError, RunError
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.preflight import require_sound
from sayso.runs.commit import steps
from sayso.runs.meta import collect
from sayso.runs.run import Run, next_name
from sayso.sampling.make import make_engine
from sayso.training.callbacks import Callback
from sayso.training.curriculum import medium_order
from sayso.training.loop import Training

_log = logging.getLogger("sayso")


def env_source(options: EnvOptions) -> EnvSource:
    """Where episodes come from."""
    if options.id == NO_ENV:
        return EnvSource(id=NO_ENV, opener=NoEnv, spec=None)
    return source(options.id, **options.kwargs)


def rollout_limits(options: EnvOptions) -> RolloutLimits:
    """Limits of one episode."""
    return options.limits()


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


def require_playable(config: RunConfig, env: EnvSource, *, is_new: bool = True) -> None:
    """What must hold before a run directory is made: every option counts, every split plays.

    A little of each split that training will need is played, under the run's own limits. A run
    that is gone on with keeps the options it was started with, and a warning says what is odd.

    Raises:
        UnusedOptionError: If an option would be ignored.
        OptionValueError: If there is nothing that a curriculum could go by.
        EnvContractError: Listing what is wrong with the environment.
    """
    try:
        refuse_unused(config)
    except ConfigError as error:
        if is_new:
            raise
        _log.warning("%s The run goes on as it was started.", error)
    require_data(config)
    splits = [config.train.split] if config.data.path is None else []
    if config.train.eval_every:
        splits.append(config.train.eval_split)
    for split in dict.fromkeys(splits):
        require_sound(env, seed=config.seed, split=split, limits=rollout_limits(config.env))
    if config.train.curriculum == "medium" and config.data.path is None:
        opened = env.open()
        medium_order(opened, opened.tasks(config.train.split), 1, seed=config.seed, counts={})
    if config.env.timeout_s is None and env.open().timeout_s is None:
        refuse_changed(
            config.env, "env", ("num_workers",),
            reason="on an environment that runs in this process",
            fix="Set env.timeout_s, which gives it processes of its own",
        )  # fmt: skip


def require_room(config: RunConfig, path: Path | None) -> None:
    """What ``create_run`` would refuse, asked before a model is loaded.

    Raises:
        RunError: If there is something at the path, or the configuration cannot name a run.
    """
    if path is None:
        next_name(Path("runs"), config.name)
    else:
        Run.require_free(path)


def create_run(
    config: RunConfig, path: Path | None, *, name: str = "", command: Sequence[str] = ()
) -> Run:
    """A fresh run directory that holds the resolved configuration.

    Args:
        config: The run's configuration.
        path: Where; unset makes ``runs/<name>-<n>``.
        name: Unset: the configuration's own.
        command: What the user typed.
    """
    table, about = to_table(config), meta(config, command)
    if path is None:
        return Run.create_next(Path("runs"), name or config.name, config=table, meta=about)
    return Run.create(path, config=table, meta=about)


def config_of(run: Run) -> RunConfig:
    """The configuration that a run was started with."""
    table = load_toml(run.config)
    if "control" in table:
        raise RunError(
            where=str(run.path),
            problem="is a control run: an agent of Stable-Baselines3 learned, the model is frozen.",
            fix=f"Use sayso eval {run.path}; the agent lies in checkpoints/step-*/model.zip.",
        )
    return load_config(table, source=str(run.config))


def meta(config: RunConfig, command: Sequence[str]) -> dict[str, Any]:
    """What was run with what: versions, platform, command, seed."""
    return collect(seed=config.seed, argv=command)


def open_or_create_run(config: RunConfig, path: Path, *, command: Sequence[str] = ()) -> Run:
    """The run at ``path``: a fresh one, or the one to go on with if its options are the same.

    Raises:
        RunError: If the run there was started with other options.
    """
    if Run.is_free(path):
        return create_run(config, path, command=command)
    run = Run.open(path)
    require_same(path, to_table(config), to_table(config_of(run)), but="train.total_episodes")
    return run


def require_same(
    path: Path, asked: Mapping[str, Any], there: Mapping[str, Any], *, but: str
) -> None:
    """Options of a run that is to be gone on with must be those it was started with.

    Args:
        path: Of the run.
        asked: Options that it is to have.
        there: Options that it was started with.
        but: The dotted name of the one that may change.

    Raises:
        RunError: If another differs.
    """
    wanted, known = flat(asked), flat(there)
    differing = [
        f"{name} was {known.get(name, 'unset')} and is {wanted.get(name, 'unset')}"
        for name in sorted(wanted.keys() | known.keys())
        if wanted.get(name) != known.get(name) and name != but
    ]
    if differing:
        raise RunError(
            where=str(path),
            problem=f"holds a run with other options: {', '.join(differing)}.",
            fix="Name another run directory, or resume it with its own options.",
        )


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
