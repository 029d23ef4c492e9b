"""Finished runs of a benchmark in a file, one line each: what takes hours may be interrupted."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sayso.errors import OptionValueError

SIDES = ("ours", "peer")
Row = dict[str, Any]


class Record:
    """Finished runs; with a file they outlive this process, and the next one goes on.

    The first line of the file says what was measured, on what; each further line is one run.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any]) -> None:
        """Read what is there.

        Raises:
            OptionValueError: If the file is of other settings or another machine.
        """
        self.path = path
        rows = _read(path)
        self.header: Row = rows[0] if rows else dict(header)
        differing = [key for key, value in header.items() if self.header.get(key) != value]
        if differing:
            raise OptionValueError(
                where="--out",
                problem=f"{path} holds runs with other values of {', '.join(differing)}.",
                fix="Name another file, or ask for what its first line says.",
            )
        self._runs = {(row["side"], row["number"]): row for row in rows[1:]}
        if not rows:
            self._append(self.header)

    def run(self, side: str, number: int, measure: Callable[[], Row]) -> Row:
        """A run that is there already, or a fresh one.

        Args:
            side: Whose.
            number: Which of that side: a seed, or the place of a pair.
            measure: Makes the fresh one.
        """
        if (side, number) not in self._runs:
            row = {"side": side, "number": number, "commit": commit(), **measure()}
            self._append(row)
            self._runs[side, number] = row
        return self._runs[side, number]

    def has_all(self, count: int) -> bool:
        """Nothing is left to run."""
        return all((side, number) in self._runs for side in SIDES for number in range(count))

    def _append(self, row: Mapping[str, Any]) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _read(path: Path | None) -> list[Row]:
    """Whole lines; a last one that was torn is cut off, so that nothing is appended to it."""
    if path is None or not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def first_line(path: Path | None) -> Row:
    """What an earlier process raced; empty if there is no such file."""
    rows = _read(path)
    return rows[0] if rows else {}


def commit() -> str:
    """The commit that is measured, with ``+`` where files differ from it; empty without git."""
    git = shutil.which("git")
    if git is None:
        return ""

    def said(*arguments: str) -> str:
        here = str(Path(__file__).parent)
        done = subprocess.run(  # noqa: S603  # the command is ours
            [git, "-C", here, *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    found = said("rev-parse", "--short=12", "HEAD")
    return found + ("+" if found and said("status", "--porcelain", "--", ".") else "")
