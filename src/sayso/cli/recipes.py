"""Recipes: TOML files in the package, or the user's own."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.config.load import load_toml
from sayso.errors import UnknownNameError

if TYPE_CHECKING:
    from sayso.app.config import RunConfig


def names() -> list[str]:
    """Recipes that come with sayso."""
    folder = resources.files("sayso.cli") / "recipe_files"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


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
    """The configuration of a recipe with overrides; every problem is reported at once."""
    from sayso.app.config import load_config

    table, source = read(recipe)
    if seed is not None:
        table["seed"] = seed
    return load_config(table, source=source, overrides=tuple(overrides))
