"""Data sets of episodes: read from files or Python, written to files.

Reading goes record by record; what is wrong is collected and told at once, with file and line.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sayso.data.encode import Encoder
from sayso.data.options import IN_PYTHON, DataOptions
from sayso.data.preferences import games_of, preference_of
from sayso.data.records import FIELDS, Kind, game_of, game_to_json, kind_of
from sayso.envs.scripted import Game
from sayso.errors import DataError, SaysoError
from sayso.runs.durable import fsync_directory
from sayso.runs.ledger import episode_from_json, episode_to_json
from sayso.types import Episode

ENDINGS = (".jsonl", ".csv")
NUM_TOLD = 10
"""Problems that are spelt out; the others are counted."""
ONE_A_LINE = "See docs/data.md for what a record looks like; a file of JSON holds one a line."


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Stored episodes, as one model's tokens.

    Attributes:
        episodes: In the order of the files.
        digest: Hex sha256 of what was read: a run goes on only with the data it began with.
        notes: What was left out, cut off or not used, in sentences.
    """

    episodes: Sequence[Episode]
    digest: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    """One reading in progress."""

    encoder: Encoder
    options: DataOptions
    episodes: list[Episode] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    num_problems: int = 0
    unused: dict[str, None] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)
    notes: list[str] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        limit = self.options.limit
        return limit is not None and len(self.episodes) >= limit

    def wrong(self, where: str, problem: str) -> None:
        """Keep a problem, or count it."""
        self.num_problems += 1
        if len(self.problems) < NUM_TOLD:
            self.problems.append(f"{where}: {problem.rstrip('.')}.")

    def take(self, where: str, make: Callable[[], Episode | Sequence[Episode] | None]) -> None:
        """Add an episode, or several that belong together, or their problem."""
        try:
            made = make()
        except SaysoError as error:
            self.wrong(where, f"{error.where} {error.problem}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = (
                str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
            )
            self.wrong(where, told)
        else:
            self.episodes += [] if made is None else [made] if isinstance(made, Episode) else made

    def record(self, where: str, record: Mapping[str, Any], kind: Kind) -> None:
        """Add the episode of a record of a kind."""
        for name in record.keys() - FIELDS[kind]:
            self.unused.setdefault(str(name))
        if kind == "episodes":
            self.take(where, lambda: self.encoder.recorded(episode_from_json(record["episode"])))
        elif kind == "preferences":
            self.take(where, lambda: self._pair(record))
        else:
            self.take(where, lambda: self.encoder.encode(game_of(record, kind)))

    def _pair(self, record: Mapping[str, Any]) -> list[Episode]:
        """Both answers of a preference, or none if one does not fit the context."""
        made = [self.encoder.encode(game) for game in games_of(preference_of(record))]
        whole = [episode for episode in made if episode is not None]
        return whole if len(whole) == len(made) else []


def read_data(given: Any, options: DataOptions, encoder: Encoder) -> DataSet:
    """Read a data set.

    Args:
        given: Path or pattern; or a sequence of mappings (a Hugging Face ``Dataset`` is one),
            ``Episode`` or ``Game``.
        options: Format and limit; the path is ``given``.
        encoder: Makes episodes of text; a fresh one, it counts.

    Raises:
        DataError: Listing what is wrong, or if nothing is left to learn from.
    """
    reading = _Reading(encoder, options)
    if isinstance(given, str | Path):
        where = str(given)
        for path in files(where, notes=reading.notes):
            _read_file(reading, path)
    else:
        where = IN_PYTHON
        _read_python(reading, given)
    require_right(where, reading.problems, reading.num_problems)
    notes = [*reading.notes, *encoder.notes()]
    if reading.unused:
        notes.append(f"Fields of the data set that are not used: {', '.join(reading.unused)}.")
    if not reading.episodes:
        raise DataError(
            where=where,
            problem=" ".join(["holds no episode to learn from.", *notes]),
            fix="Name another file, or write one: sayso demos.",
        )
    return DataSet(episodes=reading.episodes, digest=reading.digest.hexdigest(), notes=tuple(notes))


def require_right(where: str, problems: Sequence[str], num_problems: int) -> None:
    """Tell what is wrong with records, all at once.

    Args:
        where: The data set.
        problems: The first of them.
        num_problems: How many there are.

    Raises:
        DataError: If there is one.
    """
    if not num_problems:
        return
    more = num_problems - len(problems)
    listed = "\n".join([*problems, *([f"... and {more} more."] if more else [])])
    told = "record is" if num_problems == 1 else "records are"
    raise DataError(
        where=where, problem=f"{num_problems} {told} wrong:\n{listed}\n", fix=ONE_A_LINE
    )


def files(pattern: str, *, notes: list[str] | None = None) -> list[Path]:
    """The files that a path stands for: itself, a run's ledger, a directory's, a pattern's.

    Args:
        pattern: As written under ``data.path``.
        notes: What is passed over is added here.

    Raises:
        DataError: If there is none, or one cannot be read by sayso.
    """
    path = Path(pattern)
    ledger = path / "episodes" / "episodes.jsonl"
    if path.is_file():
        found = [path]
    elif ledger.is_file():
        found = [ledger]
    else:
        inside = path.iterdir() if path.is_dir() else map(Path, glob.glob(pattern))  # noqa: PTH207
        every = sorted(each for each in inside if each.is_file())
        found = [each for each in every if each.suffix in ENDINGS]
        if notes is not None and len(every) > len(found) > 0:
            notes.append(f"{len(every) - len(found)} files of other endings were passed over.")
    if not found:
        raise DataError(
            where=f"data.path, {pattern}",
            problem="is no file, and no directory or pattern with .jsonl or .csv files.",
            fix="Check the path; sayso demos writes a data set.",
        )
    if (ending := found[0].suffix) in {".parquet", ".arrow", ".json", ".gz", ".zst"}:
        raise DataError(
            where=f"data.path, {found[0]}",
            problem=f"sayso does not read {ending}.",
            fix="Write one record a line (JSONL), or pass the rows from Python: data=dataset.",
        )
    return found


def write_games(path: Path | str, games: Iterable[Game]) -> int:
    """Write games, one a line, as they come; the file is there when it is whole.

    Returns:
        How many.

    Raises:
        DataError: If a game cannot be written down; no file is left behind.
    """
    return write_rows(Path(path), map(game_to_json, games))


def write_episodes(path: Path | str, episodes: Iterable[Episode]) -> int:
    """Write episodes with their tokens, as a run's ledger does: for models of one tokeniser.

    Returns:
        How many.
    """
    return write_rows(Path(path), ({"step": 0, "episode": episode_to_json(e)} for e in episodes))


def write_rows(path: Path, records: Iterator[dict[str, Any]]) -> int:
    """Write records, one a line, as they come; the file is there when it is whole.

    Returns:
        How many.

    Raises:
        DataError: If one cannot be written down; no file is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    count = 0
    try:
        with temporary.open("w", encoding="ascii") as file:
            for record in records:
                line = json.dumps(record, allow_nan=False, separators=(",", ":"))
                file.write(f"{line}\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except ValueError as error:
        raise DataError(
            where=f"{path}, record {count + 1}", problem=f"{error}.", fix="Mend the environment."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)
    return count


def _read_file(reading: _Reading, path: Path) -> None:
    kind: Kind | None = None if reading.options.format == "auto" else reading.options.format
    before = reading.num_problems + len(reading.episodes)
    if reading.encoder.chat.media is not None:  # a run's ledger refers to what lies beside it
        reading.encoder.chat.media.look_in(path.parent.parent / "media")
    any_row = False
    for where, record in rows_of(path, reading.digest):
        any_row = True
        if isinstance(record, str):
            if kind == "episodes" and record == TORN:
                reading.notes.append(f"{where} was never finished and is left out.")
                continue
            reading.wrong(where, record)
            continue
        try:
            kind = kind or kind_of(record)
        except ValueError as error:
            reading.wrong(where, str(error))
            continue
        if not is_of(record, kind):
            reading.wrong(where, f"is no record of {kind}, as the others of this file are")
            continue
        reading.record(where, record, kind)
        if reading.is_full:
            return
    if not any_row and before == reading.num_problems + len(reading.episodes):
        reading.wrong(str(path), "is empty")


TORN = "is cut off in the middle"


def is_of(record: Mapping[str, Any], kind: Kind) -> bool:
    """Whether a record is of a kind."""
    try:
        return kind_of(record) == kind
    except ValueError:
        return False


def rows_of(path: Path, digest: Any) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Place and record of each line of a file; in its stead what is wrong with it.

    Args:
        path: JSON lines, or CSV by its ending.
        digest: A hash that is told what is read.
    """
    yield from (_csv_rows if path.suffix == ".csv" else _json_rows)(digest, path)


def _json_rows(digest: Any, path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            digest.update(line)
            where = f"{path}, line {number}"
            try:
                record = json.loads(line, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                is_torn = not line.endswith(b"\n") and line.strip()
                told = "is empty" if not line.strip() else f"is not JSON ({error})"
                yield where, TORN if is_torn else told
                continue
            is_record = isinstance(record, dict)
            yield where, record if is_record else f"is no record: {line[:40]!r}"


def _csv_rows(digest: Any, path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, strict=True)
        while True:
            where = f"{path}, line {rows.line_num + 1}"
            try:
                row = next(rows)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError) as error:
                yield where, f"is not CSV ({error})"
                return
            digest.update(repr(row).encode())
            if None in row or None in row.values():
                yield where, f"does not have the {len(rows.fieldnames or ())} columns of line 1"
                continue
            yield where, row


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _read_python(reading: _Reading, given: Any) -> None:
    try:
        items = iter(() if isinstance(given, Mapping) else given)
    except TypeError:
        items = None
    if items is None or isinstance(given, Mapping):
        raise DataError(
            where="data", problem=f"got {type(given).__name__}, no sequence of records.",
            fix="Pass a path, or a list of mappings, episodes or games.",
        )  # fmt: skip
    for number, item in enumerate(items):
        where, num_before = f"data, item {number}", len(reading.episodes)
        if isinstance(item, Episode):
            reading.take(where, lambda item=item: reading.encoder.recorded(item))  # type: ignore[misc]
        elif isinstance(item, Game):
            reading.take(where, lambda item=item: reading.encoder.encode(item))  # type: ignore[misc]
        elif isinstance(item, Mapping):
            _python_record(reading, where, item)
        else:
            reading.wrong(where, f"is {type(item).__name__}, no mapping, Episode or Game")
        for episode in reading.episodes[num_before:]:
            _add(reading.digest, episode)
        if reading.is_full:
            return


def _python_record(reading: _Reading, where: str, item: Mapping[str, Any]) -> None:
    wanted = reading.options.format
    try:
        kind = kind_of(item) if wanted == "auto" else wanted
    except ValueError as error:
        reading.wrong(where, str(error))
        return
    reading.record(where, item, kind)


def _add(digest: Any, episode: Episode) -> None:
    rewards = [np.nan if turn.reward is None else turn.reward for turn in episode.turns]
    lengths = [len(ids) for t in episode.turns for ids in (t.observation_ids, t.action_ids)]
    digest.update(np.asarray([*episode.ids(), -1, *lengths], np.int64).tobytes())
    digest.update(np.asarray(rewards, np.float64).tobytes())
    digest.update(f"{episode.task.id} {episode.end.value}".encode())
