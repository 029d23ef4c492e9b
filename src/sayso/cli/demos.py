"""``sayso demos``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sayso.config.load import override, parse_value
from sayso.errors import ConfigError
from sayso.runs.terminal import printable


def run(
    env_id: str,
    *,
    player: str | None,
    num: int,
    split: str,
    seed: int,
    out: Path,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Play, write as it goes, say what the games are worth."""
    from sayso.data.datasets import write_games
    from sayso.envs.registry import source
    from sayso.envs.scripted import Game, games, scripted

    if out.is_dir():
        raise ConfigError(where=f"--out {out}", problem="is a directory.", fix="Name a file.")
    if out.exists():
        raise ConfigError(
            where=f"--out {out}",
            problem="is there already.",
            fix="Name another file, or remove it.",
        )
    env = source(env_id, **arguments(settings)).open()
    chosen = scripted(env, player)
    returns: list[float] = []

    def played() -> Iterator[Game]:
        for game in games(env, chosen.act, split=split, num_games=num, seed=seed):
            returns.append(game.return_)
            yield game

    count = write_games(out, played())
    mean = sum(returns) / len(returns)
    if as_json:
        print(json.dumps({"out": str(out), "games": count, "mean_return": mean}))
        return
    print(
        f"{count} games of {printable(str(player))} ({chosen.about}), mean return {mean:.3f}: {out}"
    )
    print(f"Learn from them: sayso train RECIPE --set data.path={out}")


def arguments(settings: Sequence[str]) -> dict[str, Any]:
    """``name=VALUE`` settings; a value is JSON, else what ``--set`` of other commands takes."""
    override({}, settings)  # refuses what does not read so
    found: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            found[name.strip()] = json.loads(text)
        except ValueError:
            found[name.strip()] = parse_value(text.strip())
    return found
