"""What a run begins with, before a model is loaded: its environment, its checks, its directory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sayso.app.config import EnvOptions, RunConfig, load_config
from sayso.app.refusals import refuse_changed, refuse_unused
from sayso.app.stored import require_data
from sayso.config.load import flat, load_toml, to_table
from sayso.envs.nothing import NO_ENV, NoEnv
from sayso.envs.registry import EnvSource, source
from sayso.envs.rewarded import rewarded
from sayso.envs.scripted import scripted
from sayso.errors import ConfigError, RunError
from sayso.rewards.library import make
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.preflight import require_sound
from sayso.runs.meta import collect
from sayso.runs.run import Run, next_name
from sayso.training.curriculum import medium_order

_log = logging.getLogger("sayso")


def env_source(options: EnvOptions) -> EnvSource:
    """Where episodes come from."""
    if options.id == NO_ENV:
        return EnvSource(id=NO_ENV, opener=NoEnv, spec=None)
    return under_reward(source(options.id, **options.kwargs), options)


def under_reward(env: EnvSource, options: EnvOptions) -> EnvSource:
    """An environment under the reward that the options put in place of its own, if they do.

    Raises:
        UnknownNameError: If there is no such reward.
        OptionValueError: If it cannot be made.
    """
    if not options.reward:
        return env
    make(options.reward)  # what cannot be made shows before anything is loaded
    return rewarded(env, options.reward)


def rollout_limits(options: EnvOptions) -> RolloutLimits:
    """Limits of one episode."""
    return options.limits()


def config_of(run: Run) -> RunConfig:
    """The configuration that a run was started with."""
    table = load_toml(run.config)
    if "control" in table:
        raise RunError(
            where=str(run.path),
            problem="is a control run: an agent of Stable-Baselines3 learned, the model is frozen.",
            fix=f"Use sayso eval {run.path}; the agent lies in checkpoints/step-*/model.zip.",
        )
    if "reward_model" in table:
        raise RunError(
            where=str(run.path),
            problem="is a run of a reward model, which is no policy.",
            fix=f"Use sayso eval {run.path}; as a reward: --set env.reward.type=model "
            f"--set env.reward.model={run.path}.",
        )
    return load_config(table, source=str(run.config))


def require_room(config: RunConfig, path: Path | None) -> None:
    """What ``create_run`` would refuse, asked before a model is loaded.

    Raises:
        RunError: If there is something at the path, or the configuration cannot name a run.
    """
    if path is None:
        next_name(Path("runs"), config.name)
    else:
        Run.require_free(path)


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
    if config.warm_start.player is not None:
        scripted(env.open(), config.warm_start.player)
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


def meta(config: RunConfig, command: Sequence[str]) -> dict[str, Any]:
    """What was run with what: versions, platform, command, seed."""
    return collect(seed=config.seed, argv=command)
