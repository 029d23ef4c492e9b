"""Recipes: TOML files in the package, or the user's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.config.load import load_toml, override
from sayso.config.problems import Problems
from sayso.control.options import ONLY_IN
from sayso.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    from sayso.app.config import RunConfig
    from sayso.app.control import ControlConfig


MADE_BY = "made_by"
"""Key of a recipe, no option: the command that makes the data set that it learns from, or the
model it begins with; it ends on its name."""
_MOOT: tuple[tuple[str, str, tuple[str, ...], float | None], ...] = (
    ("model", "name", ("tiny",), None),
    ("env", "id", ("kwargs",), None),
    ("train", "eval_every", ("eval_split", "eval_episodes", "patience"), 0),
    ("kl", "coef", ("place", "estimator", "target", "horizon"), 0),
    ("control", "mode", tuple(ONLY_IN), None),
    ("control", "observation", ("num_components", "num_states"), None),
    ("learner", "type", ("settings",), None),
)
"""Section, key, the options that mean nothing once it is changed, and to which value (any)."""


def names() -> list[str]:
    """Recipes that come with sayso."""
    folder = resources.files("sayso.cli") / "recipe_files"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


KINDS = {"control": "a control run", "reward_model": "a run of a reward model"}
"""Tables by which a recipe is known as one of another kind, and what its runs are called."""


def other_kind(table: Mapping[str, Any]) -> str | None:
    """Which table makes a recipe one of another kind than the ordinary one; ``None``: none."""
    return next((kind for kind in KINDS if kind in table), None)


def read(recipe: str) -> tuple[dict[str, Any], str]:
    """A recipe's table and its name.

    Raises:
        UnknownNameError: If it is neither a recipe's name nor a TOML file.
    """
    if recipe.endswith(".toml") or Path(recipe).is_file():
        path = Path(recipe)
        if not path.is_file():
            raise UnknownNameError(
                where=recipe, problem="no such file.", fix=f"Recipes: {', '.join(names())}."
            )
        return {"name": path.stem, **load_toml(path)}, path.name
    if recipe not in names():
        near = difflib.get_close_matches(recipe, names(), n=1)
        fix = f"Did you mean `{near[0]}`?" if near else f"Recipes: {', '.join(names())}."
        raise UnknownNameError(where=recipe, problem="no such recipe.", fix=fix)
    with resources.as_file(
        resources.files("sayso.cli") / "recipe_files" / f"{recipe}.toml"
    ) as path:
        return {"name": recipe, **load_toml(path)}, f"{recipe}.toml"


def config(recipe: str, overrides: Sequence[str], *, seed: int | None = None) -> RunConfig:
    """The configuration of a recipe with overrides; every problem is reported at once.

    Raises:
        ConfigError: Listing the problems; also if the seed is given in two ways.
    """
    from sayso.app.config import load_config
    from sayso.app.refusals import refuse_unused

    table, source = _prepared(recipe, overrides, seed)
    other = other_kind(table)
    if other == "control":
        raise ConfigError(
            where=source,
            problem="is a control recipe: an agent of Stable-Baselines3 steers a frozen model.",
            fix=f"It is for `sayso train {recipe}`, `eval`, `doctor` and `compare`.",
        )
    if other is not None:
        raise ConfigError(
            where=source,
            problem="is a recipe of a reward model.",
            fix=f"It is for `sayso train {recipe}`, and then `sayso eval`.",
        )
    return load_config(table, source=source, overrides=tuple(overrides), also=refuse_unused)


def control_config(
    recipe: str, overrides: Sequence[str], *, seed: int | None = None
) -> ControlConfig:
    """As ``config``, of a recipe with ``[control]``."""
    from sayso.app import control

    table, source = _prepared(recipe, overrides, seed)
    return control.control_config(table, source=source, overrides=overrides)


def any_config(recipe: str, overrides: Sequence[str]) -> RunConfig | ControlConfig:
    """As ``config``, of a recipe of either kind."""
    is_of_control = other_kind(read(recipe)[0]) == "control"
    return control_config(recipe, overrides) if is_of_control else config(recipe, overrides)


def _prepared(
    recipe: str, overrides: Sequence[str], seed: int | None
) -> tuple[dict[str, Any], str]:
    """A recipe's own options, less those that the overrides leave no meaning, and its name."""
    table, source = read(recipe)
    table.pop(MADE_BY, None)
    table.pop("tune", None)  # says what `sayso tune` may change, and decides no run
    changes = override({}, overrides, Problems("told below"))
    if seed is not None:
        if "seed" in changes:
            raise ConfigError(
                where="--seed",
                problem="is given by --set seed=... as well.",
                fix="Use one of them.",
            )
        table["seed"] = seed
    return _without_moot(table, changes), source


def require_made(recipe: str, config: RunConfig) -> None:
    """Say how the data set that a recipe learns from, or the model it begins with, is made.

    Raises:
        DataError: With the command, where it is missing.
    """
    table, source = read(recipe)
    command = str(table.get(MADE_BY, ""))
    name, where, chosen = _own(table, "data", "path"), "data.path", config.data.path
    if not name:
        name, where, chosen = _own(table, "model", "name"), "model.name", config.model.name
        if name not in command.split():  # a name that is known everywhere
            return
    if command and name == chosen and not Path(name).exists():
        raise DataError(
            where=f"{source}, {where}", problem=f"there is no {name} here yet.",
            fix=f"Make it: {command}",
        )  # fmt: skip


def _own(table: Mapping[str, Any], section: str, key: str) -> str:
    found = table.get(section)
    value = found.get(key) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else ""


def _without_moot(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without those of its own options that the user's changes leave no meaning.

    Another model has another shape, another environment other arguments, and what is switched off
    has no details. Options that the user sets are not touched: those are checked.
    """
    kept = {k: dict(v) if isinstance(v, Mapping) else v for k, v in table.items()}
    for section, key, moot, only_if in _MOOT:
        wanted, own = changes.get(section), kept.get(section)
        if not isinstance(wanted, Mapping) or not isinstance(own, dict) or key not in wanted:
            continue
        if wanted[key] != own.get(key) and only_if in (None, wanted[key]):
            for name in moot:
                own.pop(name, None)
    _drop_foreign(kept, changes)
    return kept


def _drop_foreign(kept: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Leave out what another algorithm has no such option for, and how to play where none does."""
    from sayso.app.config import option_names, options_of
    from sayso.app.refusals import ONLINE, UNPLAYED

    own, wanted, data = kept.get("algorithm"), changes.get("algorithm"), changes.get("data")
    if not isinstance(own, dict):
        return
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    record = options_of(kind if isinstance(kind, str) else own.get("type"))
    if record is None:  # told where all options are checked
        return
    unplayed = isinstance(data, Mapping) and data.get("path", "none") != "none"
    online = (*ONLINE, *getattr(record, "online", ())) if unplayed else ()
    for name in [n for n in own if n in online or n not in option_names(record)]:
        own.pop(name)
    for name in UNPLAYED if unplayed and isinstance(kept.get("train"), dict) else ():
        kept["train"].pop(name, None)
