"""Where weights and environment of an agent came from, as far as its configuration cannot say.

Lies beside what it explains: in ``meta.json`` of a run made in Python, in ``sayso.json`` of a
saved model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sayso.app.config import RunConfig, load_config, needs_base
from sayso.app.opening import env_source
from sayso.config.load import to_table
from sayso.envs.registry import EnvSource
from sayso.errors import ModelMissingError, RunError, UnknownNameError
from sayso.runs.run import Run

SAVED_CONFIG = "sayso.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known of an agent beside its configuration.

    Attributes:
        base_model: Name of the model that the first weights came from.
        unnamed: Which of ``"model"``, ``"env"`` and ``"data"`` only Python code can make.
        model_seed: Decided the random weights of a tiny model; unset: the configuration's seed.
        num_learns: How often it had learned before; a run with more than 0 began with trained
            weights.
    """

    base_model: str
    unnamed: tuple[str, ...] = ()
    model_seed: int | None = None
    num_learns: int = 0

    def after_learning(self) -> Origin:
        """The same, with one more time that it learned."""
        return dataclasses.replace(self, num_learns=self.num_learns + 1)

    def can_stand_for(self, other: Origin | None, config: RunConfig) -> bool:
        """Whether a run of a pair can go on with what was saved of it: the base is not needed.

        With adapters or a KL reference it would go on over trained weights, as if they were it.
        """
        return (
            other is not None
            and "model" in other.unnamed
            and "model" not in self.unnamed
            and other.base_model == self.base_model
            and config.model.lora is None
            and not needs_base(config)
        )


def origin_of(run: Run) -> Origin | None:
    """What a run made in Python left in ``meta.json``; ``None`` for one of the command line."""
    return _read(run.meta())


def origin_or_plain(run: Run, config: RunConfig) -> Origin:
    """The same; of a run of the command line the configuration says everything."""
    return origin_of(run) or Origin(base_model=config.model.name)


def write_saved(directory: Path, config: RunConfig, origin: Origin) -> None:
    """What ``read_saved`` needs, beside a saved model."""
    table = {**to_table(config), "origin": dataclasses.asdict(origin)}
    (directory / SAVED_CONFIG).write_text(json.dumps(table, indent=1))


def read_saved(directory: Path) -> tuple[RunConfig, Origin]:
    """Configuration and origin of a saved model.

    Raises:
        ModelMissingError: If the directory holds no agent of sayso.
    """
    path = directory / SAVED_CONFIG
    if not directory.is_dir():
        raise ModelMissingError(
            where=str(directory),
            problem="does not exist.",
            fix="Pass the directory given to save().",
        )
    if not path.is_file():
        raise ModelMissingError(
            where=str(directory),
            problem=f"holds no {SAVED_CONFIG}, so it was not written by save().",
            fix="Pass the directory given to save(), or use it as a model: GRPO(it, env).",
        )
    table = json.loads(path.read_text())
    origin = _read(table)
    config = load_config({k: v for k, v in table.items() if k != "origin"}, source=str(path))
    return config, origin or Origin(base_model=config.model.name)


def env_name(env: Any, opened: EnvSource) -> str | None:
    """How a run file names an environment; ``None`` if only Python code can make it.

    Args:
        env: What the user passed.
        opened: What ``source`` made of it.
    """
    if isinstance(env, str):
        return env
    spec = opened.spec
    return str(spec["env"]) if spec is not None and not spec["kwargs"] else None


def with_env(
    config: RunConfig, origin: Origin, opened: EnvSource, env: Any
) -> tuple[RunConfig, Origin]:
    """Configuration and origin with the environment that the user passed."""
    name = env_name(env, opened)
    options = dataclasses.replace(config.env, id=name or opened.id, kwargs={})
    unnamed = {*origin.unnamed} - {"env"} | ({"env"} if name is None else set())
    return (
        dataclasses.replace(config, env=options),
        dataclasses.replace(origin, unnamed=tuple(sorted(unnamed))),
    )


def saved_env(config: RunConfig, origin: Origin, directory: Path) -> EnvSource:
    """The environment that a saved agent was made with.

    Raises:
        UnknownNameError: If only Python code can make it.
    """
    hint = f"Pass it: sayso.Agent.load({str(directory)!r}, env=...)."
    where = f"environment {config.env.id!r}"
    if "env" in origin.unnamed:
        raise UnknownNameError(
            where=where, problem="was made in Python: no file says how to make it again.", fix=hint
        )
    try:
        return env_source(config.env)
    except UnknownNameError as error:
        raise UnknownNameError(
            where=where, problem=error.problem, fix=f"{error.fix} {hint}"
        ) from error


def require_named(run: Run, *parts: str) -> None:
    """Refuse what cannot be opened by its name.

    Args:
        run: The run to open.
        *parts: ``"model"``, ``"env"``, ``"data"``.

    Raises:
        RunError: If one of them was made in Python and no file says how.
    """
    origin = origin_of(run)
    what = {
        "model": "its (model, tokenizer) pair",
        "env": "its environment",
        "data": "its data set",
    }
    missing = [part for part in parts if origin is not None and part in origin.unnamed]
    if missing:
        raise RunError(
            where=str(run.path),
            problem=f"{what[missing[0]]} was made in Python: no file says how to make it again.",
            fix=f"In Python, make the agent as before and learn(..., run={str(run.path)!r}) goes "
            "on. One that was saved is loaded with sayso.Agent.load(directory, env=...).",
        )


def _read(table: Mapping[str, Any]) -> Origin | None:
    found = table.get("origin")
    if not isinstance(found, Mapping):
        return None
    known = {field.name for field in dataclasses.fields(Origin)}
    values = {name: value for name, value in found.items() if name in known}
    return Origin(**{**values, "unnamed": tuple(values.get("unnamed", ()))})
