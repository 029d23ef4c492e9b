"""From a configuration to the objects that train."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sayso.algorithms.base import Learner
from sayso.algorithms.registry import ALGORITHMS
from sayso.app.config import EnvOptions, RunConfig, load_config
from sayso.config.load import load_toml, to_table
from sayso.envs.registry import EnvSource, source
from sayso.errors import RunError, UnusedOptionError
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.preflight import require_sound
from sayso.runs.meta import collect
from sayso.runs.run import Run
from sayso.sampling.make import make_engine
from sayso.training.callbacks import Callback
from sayso.training.loop import Training


def env_source(options: EnvOptions) -> EnvSource:
    """Where episodes come from."""
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
    return load(model or config.model.name, config.model, seed=config.seed)


def build_learner(config: RunConfig, lm: LanguageModel) -> Learner:
    """The algorithm, around the model, with its engine.

    Raises:
        UnusedOptionError: If an option has no effect for this algorithm.
    """
    refuse_unused(config)
    learner_class = ALGORITHMS[config.algorithm.type]
    learner: Learner = learner_class(
        lm,
        make_engine(lm, config.sampling),
        config.algorithm,
        sampling=config.sampling,
        optim=config.optim,
        kl=config.kl,
        seed=config.seed,
    )
    return learner


def refuse_unused(config: RunConfig) -> None:
    """Refuse options that would be ignored: a setting without effect is a broken promise.

    Raises:
        UnusedOptionError: Naming the option and what would make it count.
    """
    defaults = type(config.kl)()
    if config.kl.coef == 0 and config.kl != defaults:
        changed = [
            f.name
            for f in dataclasses.fields(config.kl)
            if getattr(config.kl, f.name) != getattr(defaults, f.name)
        ]
        raise UnusedOptionError(
            where="kl." + ", kl.".join(changed),
            problem="has no effect while kl.coef is 0.",
            fix="Set kl.coef above 0, or leave the option out.",
        )


def require_playable(config: RunConfig, env: EnvSource) -> None:
    """Play a little of every split that training will need, before a run directory is made.

    Raises:
        EnvContractError: Listing what is wrong.
    """
    splits = [config.train.split]
    if config.train.eval_every:
        splits.append(config.train.eval_split)
    for split in dict.fromkeys(splits):
        require_sound(env, seed=config.seed, split=split, limits=rollout_limits(config.env))


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
    return load_config(load_toml(run.config), source=str(run.config))


def meta(config: RunConfig, command: Sequence[str]) -> dict[str, Any]:
    """What was run with what: versions, platform, command, seed."""
    return collect(seed=config.seed, argv=command)


def open_or_create_run(config: RunConfig, path: Path, *, command: Sequence[str] = ()) -> Run:
    """The run at ``path``: a fresh one, or the one to go on with if its options are the same.

    Raises:
        RunError: If the run there was started with other options.
    """
    if not path.exists():
        return create_run(config, path, command=command)
    run = Run.open(path)
    asked, there = to_table(config), load_toml(run.config)
    asked_train, there_train = asked.pop("train", {}), there.pop("train", {})
    asked_train.pop("total_episodes", None)
    there_train.pop("total_episodes", None)
    if (asked, asked_train) != (there, there_train):
        differing = [k for k in asked if asked.get(k) != there.get(k)]
        if asked_train != there_train:
            differing.append("train")
        raise RunError(
            where=str(path),
            problem=f"holds a run with other options (in {', '.join(differing)}).",
            fix="Name another run directory, or resume it with its own options.",
        )
    return run


def assemble(
    config: RunConfig,
    run: Run,
    *,
    learner: Learner,
    env: EnvSource | None = None,
    callbacks: Sequence[Callback] = (),
) -> Training:
    """Everything that ``train`` needs."""
    run.annotate(sampler=learner.sampler().engine.path)
    return Training(
        learner=learner,
        source=env or env_source(config.env),
        run=run,
        options=config.train,
        seed=config.seed,
        limits=rollout_limits(config.env),
        callbacks=callbacks,
    )
