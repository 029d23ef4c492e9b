"""docs/scenarios/games.md: its code runs, and its tables of bounds are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from sayso.envs import games_arena_play
from sayso.envs.games_arena_table import LEGAL, ONE_PLAYER, REFUSED, TWO_PLAYERS
from sayso.envs.games_families import EASY, NO_REFERENCE
from sayso.envs.games_families import REFUSED as REFUSED_FAMILIES
from sayso.envs.registry import source
from sayso.envs.scripted import bounds

PAGE = (Path(__file__).parents[2] / "docs/scenarios/games.md").read_text(encoding="utf-8")
TABLES = re.findall(
    r"\nMean return \(95 %\) of `(sayso/[\w-]+)`(?: with `(.*?)`)?, (\d+) games of each player:\n\n"
    r"\| player \|(.*?)\|\n\|[-|]+\|\n((?:\|.*\|\n)+)",
    PAGE,
)
NEEDS = {
    "sayso/BabyAI-v0": "minigrid", "sayso/ReasoningGym-v0": "reasoning_gym",
    "sayso/TextArena-v0": "textarena", "sayso/TextWorld-v0": "textworld",
}  # fmt: skip


@pytest.mark.medium
def test_the_code_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    namespace: dict[str, Any] = {"__name__": "games_page"}
    try:
        for number, block in enumerate(blocks):
            exec(compile(block, f"games.md block {number}", "exec"), namespace)  # noqa: S102
        assert namespace["env"].scripted.keys() == {"random", "first"}
    finally:
        gymnasium.registry.pop("mine/Line-v0", None)
        games_arena_play.OPPONENTS.pop("careful", None)


def test_there_is_a_table_for_each_environment() -> None:
    assert {env for env, *_ in TABLES} == {"sayso/Gym-v0", *NEEDS}


def cost(env_id: str) -> pytest.MarkDecorator:
    """TextWorld takes a minute to make its houses: too long for `make test`."""
    return pytest.mark.slow if env_id == "sayso/TextWorld-v0" else pytest.mark.medium


@pytest.mark.parametrize(
    "table", [pytest.param(t, id=" ".join(t[:2]), marks=cost(t[0])) for t in TABLES]
)
def test_the_tables_of_bounds_are_true(table: tuple[str, ...]) -> None:
    env_id, kwargs, num_games, splits, rows = table
    if env_id in NEEDS:
        pytest.importorskip(NEEDS[env_id])
    named = dict(re.findall(r'(\w+)="(.*?)"', kwargs))
    env = source(env_id, **named).open()
    told = {
        player: cells.split(" | ")
        for player, cells in re.findall(r"^\| `(\w+)`[^|]* \| (.*) \|$", rows, re.MULTILINE)
    }
    found: dict[str, list[str]] = {player: [] for player in told}
    for split in (name.strip() for name in splits.split("|")):
        for player, interval in bounds(env, split=split, num_games=int(num_games)).items():
            found[player].append(str(interval))
    assert found == told


def test_what_the_page_says_of_games_and_families_is_so() -> None:
    assert f"{len(ONE_PLAYER)} games for one player, {len(TWO_PLAYERS)} for two" in PAGE
    assert f"Refused: {len(REFUSED)} of the {len(REFUSED) + len(ONE_PLAYER + TWO_PLAYERS)}" in PAGE
    for name in (*LEGAL, *NO_REFERENCE, *REFUSED_FAMILIES):
        assert name in PAGE, name
    assert len(EASY) == 7
