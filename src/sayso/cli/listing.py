"""``sayso list``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sayso.cli import recipes
from sayso.errors import ExtraMissingError, OptionValueError, UnknownNameError

if TYPE_CHECKING:
    from sayso.envs.base import TextEnv

Rows = list[dict[str, Any]]


def run(what: str, *, as_json: bool, num_games: int = 0) -> None:
    """Print one table; of environments, with what their scripted players earn if asked to."""
    kinds: dict[str, Callable[[], Rows]] = {
        "envs": partial(_envs, num_games),
        "algorithms": _algorithms,
        "models": _models,
        "recipes": _recipes,
        "rewards": _rewards,
        "options": _options,
    }
    if what not in kinds:
        near = difflib.get_close_matches(what, kinds, n=1)
        fix = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(kinds)}."
        raise UnknownNameError(where=f"sayso list {what}", problem="no such list.", fix=fix)
    if num_games and what != "envs":
        raise OptionValueError(
            where="--bounds", problem=f"has no effect on {what}.", fix="Use `sayso list envs`."
        )
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
        for player, found in row.get("bounds", {}).items():
            means = "  ".join(f"{split} {_mean(interval)}" for split, interval in found.items())
            print(f"{'':{width}}    {player}: {means}")


def _envs(num_games: int) -> Rows:
    from sayso.envs import registry

    rows: Rows = []
    for name in registry.ids():
        try:
            about, splits = registry.describe(name)
        except ExtraMissingError as missing:
            about = f"not installed. {missing.fix}"
            rows.append({"name": name, "about": about, "splits": {}, "players": {}})
            continue
        sizes = ", ".join(f"{split} {count}" for split, count in splits.items())
        env = registry.source(name).open()
        players = {n: p.about for n, p in env.scripted.items()}
        told = f"; players: {', '.join(players)}" if players else ""
        row = {"name": name, "about": f"{about} [{sizes}{told}]", "splits": splits,
               "players": players, "range": [env.reward_low, env.reward_high]}  # fmt: skip
        if num_games:
            row["bounds"] = _bounds(env, splits, num_games)
        rows.append(row)
    return rows


def _bounds(env: TextEnv, splits: dict[str, int], num_games: int) -> dict[str, dict[str, Any]]:
    """Mean return of each scripted player in each split that has tasks."""
    from sayso.envs.scripted import bounds

    found: dict[str, dict[str, Any]] = {player: {} for player in env.scripted}
    for split in (split for split, count in splits.items() if count):
        for player, interval in bounds(env, split=split, num_games=num_games).items():
            found[player][split] = interval.to_json()
    return found


def _mean(interval: dict[str, Any]) -> str:
    if interval["low"] is None or interval["high"] is None:
        return f"{interval['mean']:.3f}"
    return f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


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
        kind = recipes.other_kind(table)
        if kind == "reward_model":
            about = f"a reward model over {table['model']['name']} from {table['data']['path']}"
            rows.append({"name": name, "about": about})
            continue
        if kind == "control":
            about = (
                f"{table['learner']['type']} steers a frozen {table['model']['name']} on "
                f"{table['env']['id']}, mode {table['control']['mode']}"
            )
            rows.append({"name": name, "about": about})
            continue
        where = table.get("env", {}).get("id", "stored data")
        about = f"{table['algorithm']['type']} on {where} with {table['model']['name']}"
        rows.append({"name": name, "about": about})
    return rows


def _rewards() -> Rows:
    from sayso.rewards.library import LIBRARY

    rows: Rows = []
    for name, entry in LIBRARY.items():
        scorer = entry.scorer
        about = (scorer.__doc__ or "").strip().split("\n")[0]
        told = f"[{scorer.low:g} to {scorer.high:g}; {entry.cost}]"
        needs = f" extra: {entry.extra}" if entry.extra else ""
        rows.append(
            {"name": name, "about": f"{about} {told}{needs}", "class": scorer.__name__,
             "low": scorer.low, "high": scorer.high, "cost": entry.cost, "extra": entry.extra}
        )  # fmt: skip
    return rows


def _options() -> Rows:
    from sayso.cli import options

    return options.rows()
