"""``sayso list``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable

from sayso.cli import recipes
from sayso.errors import UnknownNameError

Rows = list[dict[str, object]]


def run(what: str, *, as_json: bool) -> None:
    """Print one table."""
    kinds: dict[str, Callable[[], Rows]] = {
        "envs": _envs,
        "algorithms": _algorithms,
        "models": _models,
        "recipes": _recipes,
        "options": _options,
    }
    if what not in kinds:
        near = difflib.get_close_matches(what, kinds, n=1)
        fix = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(kinds)}."
        raise UnknownNameError(where=f"sayso list {what}", problem="no such list.", fix=fix)
    rows = kinds[what]()
    if as_json:
        print(json.dumps({what: rows}))
        return
    width, section = max(len(str(row["name"])) for row in rows), ""
    for row in rows:
        if row.get("section", "") != section:
            section = str(row["section"])
            print(f"\n{section}")
        told = f"{row['type']} = {row['default']}  " if "type" in row else ""
        print(f"{row['name']!s:{width}}  {told}{row['about']}")


def _envs() -> Rows:
    from sayso.envs import registry

    rows: Rows = []
    for name in registry.ids():
        about, splits = registry.describe(name)
        sizes = ", ".join(f"{split} {count}" for split, count in splits.items())
        players = {n: p.about for n, p in registry.source(name).open().scripted.items()}
        told = f"; players: {', '.join(players)}" if players else ""
        rows.append(
            {"name": name, "about": f"{about} [{sizes}{told}]", "splits": splits,
             "players": players}
        )  # fmt: skip
    return rows


def _algorithms() -> Rows:
    from sayso.algorithms.registry import ALGORITHMS

    return [
        {"name": name, "about": (learner.__doc__ or "").strip().split("\n")[0]}
        for name, learner in ALGORITHMS.items()
    ]


def _models() -> Rows:
    from sayso.models.load import KNOWN_MODELS

    rows: Rows = [{"name": name, "about": about} for name, about in KNOWN_MODELS.items()]
    rows.append(
        {
            "name": "<hub id or directory>",
            "about": "any causal LM that AutoModelForCausalLM loads, from safetensors",
        }
    )
    return rows


def _recipes() -> Rows:
    rows: Rows = []
    for name in recipes.names():
        table, _ = recipes.read(name)
        if recipes.is_control(table):
            about = (
                f"{table['learner']['type']} steers a frozen {table['model']['name']} on "
                f"{table['env']['id']}, mode {table['control']['mode']}"
            )
            rows.append({"name": name, "about": about})
            continue
        about = (
            f"{table['algorithm']['type']} on {table['env']['id']} with {table['model']['name']}"
        )
        rows.append({"name": name, "about": about})
    return rows


def _options() -> Rows:
    from sayso.cli import options

    return options.rows()
