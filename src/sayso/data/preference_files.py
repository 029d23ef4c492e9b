"""Files of preferences, as text: for whatever reads them with a tokenizer of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sayso.data.datasets import NUM_TOLD, files, require_right, rows_of, write_rows
from sayso.data.options import IN_PYTHON
from sayso.data.preferences import Preference, PreferenceSet, divided, preference_of, to_record
from sayso.data.records import RecordError
from sayso.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceOptions:
    """Preferences to learn from; written in a run file under ``[data]``.

    Attributes:
        path: A file, a directory of files or a pattern; see docs/preferences.md.
        held_out: The same, to measure on. Unset: one prompt in five of ``path``, by its content,
            or what its rows say under ``split``.
        limit: Read so many pairs of ``path``, then stop; unset: all.
    """

    path: str
    held_out: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ValueError("path must not be empty")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be positive, got {self.limit}")


def read_preferences(given: Any, *, limit: int | None = None) -> list[Preference]:
    """Read preferences.

    Args:
        given: Path or pattern; or records or ``Preference`` in a sequence.
        limit: Stop after so many.

    Raises:
        DataError: Listing what is wrong, with its place, or if there are none.
    """
    found: list[Preference] = []
    problems: list[str] = []
    num_problems, told = 0, str(given) if isinstance(given, str | Path) else IN_PYTHON
    for where, row in _rows(given):
        if limit is not None and len(found) >= limit:
            break
        try:
            if isinstance(row, str):
                raise RecordError(row)
            found.append(row if isinstance(row, Preference) else preference_of(row))
        except RecordError as error:
            num_problems += 1
            problems += [f"{where}: {error}."] if num_problems <= NUM_TOLD else []
    require_right(told, problems, num_problems)
    if not found:
        raise DataError(
            where=told, problem="holds no preference.",
            fix="Write some: sayso label ENV, or sayso.envs.comparisons.",
        )  # fmt: skip
    return found


def read_set(given: Any, held_out: Any = None, *, limit: int | None = None) -> PreferenceSet:
    """Preferences by split.

    Args:
        given: As for ``read_preferences``.
        held_out: The same, to measure on; unset: see ``PreferenceOptions``.
        limit: Of what is trained on.

    Raises:
        DataError: As ``read_preferences``; or if a split is empty.
    """
    kept = [] if held_out is None else read_preferences(held_out)
    found = divided(read_preferences(given, limit=limit), kept)
    for name, part in (("train", found.train), ("held_out", found.held_out)):
        if not part:
            raise DataError(
                where=str(given) if isinstance(given, str | Path) else IN_PYTHON,
                problem=f"leaves nothing in the split {name}: prompts are split, not pairs.",
                fix="Give more prompts, or other ones to measure on: data.held_out.",
            )
    return found


def write_preferences(
    path: Path | str, preferences: Iterable[Preference | Mapping[str, Any]]
) -> int:
    """Write preferences, one a line; rows as ``sayso.envs.comparisons`` makes them are kept whole.

    Returns:
        How many.

    Raises:
        RecordError: If a row is none.
        DataError: If one cannot be written down; no file is left behind.
    """

    def checked(row: Preference | Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(row, Preference):
            return to_record(row)
        preference_of(row)
        return dict(row)

    return write_rows(Path(path), map(checked, preferences))


def _rows(given: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(given, str | Path):
        for path in files(str(given)):
            yield from rows_of(path, hashlib.sha256())
        return
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise DataError(
            where="data", problem=f"got {type(given).__name__}, no sequence of preferences.",
            fix="Pass a path, or a list of records with prompt, chosen and rejected.",
        )  # fmt: skip
    for number, item in enumerate(given):
        is_row = isinstance(item, Preference | Mapping)
        yield f"data, item {number}", item if is_row else f"is {type(item).__name__}, no record"
