"""More episodes for a run that is there; nothing else of it can change."""

from __future__ import annotations

from collections.abc import Sequence

from sayso.app.config import RunConfig, load_config
from sayso.app.opening import config_of, env_source
from sayso.app.schedule import refuse_standstill
from sayso.config.load import flat, load_toml, override
from sayso.errors import OptionValueError, RunError
from sayso.runs.durable import replace_file
from sayso.runs.run import Run
from sayso.toml import dump_toml

GROWS = "train.total_episodes"


def extended(run: Run, settings: Sequence[str]) -> RunConfig:
    """A run's configuration with the settings of ``--resume RUN --set``; nothing is written.

    Args:
        run: The run to go on with.
        settings: Only ``train.total_episodes=N`` may be among them, and only a larger N.

    Raises:
        RunError: If a setting would make another run of it.
        OptionValueError: If N is less than before, or beyond the end of the learning rate.
    """
    config = config_of(run)
    if not settings:
        return config
    fixed = [path for path in flat(override({}, settings)) if path != GROWS]
    if fixed:
        raise RunError(
            where=f"--resume {run.path}",
            problem=f"a run goes on with its own options: {', '.join(fixed)} cannot change.",
            fix=f"Only {GROWS} can grow. Start a new run to change the rest.",
        )
    more = load_config(load_toml(run.config), source="--set", overrides=tuple(settings))
    _refuse_less(config, more)
    refuse_standstill(
        more, env_source(more.env),
        fix="Start a new run from what this one exports: --set model.name=DIRECTORY.",
    )  # fmt: skip
    return more


def remember(run: Run, config: RunConfig) -> None:
    """Let the run directory know of a larger total, so that a plain resume goes on to it.

    The caller holds the run's lock.
    """
    table = load_toml(run.config)
    if table["train"]["total_episodes"] < config.train.total_episodes:
        table["train"]["total_episodes"] = config.train.total_episodes
        replace_file(run.config, dump_toml(table).encode())


def _refuse_less(config: RunConfig, more: RunConfig) -> None:
    before, after = config.train.total_episodes, more.train.total_episodes
    if after < before:
        raise OptionValueError(
            where=f"--set, {GROWS}",
            problem=f"got {after}, less than the run's own {before}.",
            fix=f"Give {before} or more; it counts those already done.",
        )
