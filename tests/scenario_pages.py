"""What the pages of scenarios share: a table of bounds, and the line that measures it."""

from __future__ import annotations

import re

import pytest

Bounds = dict[str, list[str]]


def bounds_of(page: str, capsys: pytest.CaptureFixture[str]) -> tuple[Bounds, Bounds]:
    """Intervals of each player, split by split: those of the table, and those its line prints."""
    (line,) = re.findall(r'python -c "(.*)"\n', page)
    exec(line, {})  # noqa: S102
    found: Bounds = {}
    for printed in capsys.readouterr().out.splitlines():
        _, player, interval = printed.split(" ", 2)
        found.setdefault(player, []).append(interval)
    rows = re.findall(r"^\| `(\w+)`: [^|]*\| (.*) \|$", page, re.MULTILINE)
    return {player: cells.split(" | ") for player, cells in rows}, found
