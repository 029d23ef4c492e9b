"""The tables of bounds in docs/environments.md are what the lines below them print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/environments.md").read_text(encoding="utf-8")
SECTIONS = {text.split("\n")[0]: text for text in PAGE.split("\n### ")[1:]}


@pytest.mark.medium
@pytest.mark.parametrize("name", ["Wordle-v0", "RandomWalks-v0", "Maze-v0"])
def test_the_table_of_bounds_is_what_its_line_prints(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    section = SECTIONS[name]
    (line,) = re.findall(r'python -c "(.*)"\n', section)
    exec(line, {})  # noqa: S102
    found: dict[str, list[str]] = {}
    for printed in capsys.readouterr().out.splitlines():
        _, player, interval = printed.split(" ", 2)
        found.setdefault(player, []).append(interval)
    rows = re.findall(r"^\| `(\w+)`: [^|]*\| (.*) \|$", section, re.MULTILINE)
    assert {player: cells.split(" | ") for player, cells in rows} == found
