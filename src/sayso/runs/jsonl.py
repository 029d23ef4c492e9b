"""Append-only JSON lines: a torn tail is repaired, damage in the middle is reported.

One record is one line of ASCII JSON that ends in a newline, so a record is whole exactly when
its newline, or its closing brace, is there. Bytes are read, never decoded text: a cut may fall
anywhere.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from sayso.errors import LogError
from sayso.runs.durable import write_all
from sayso.runs.failpoints import Failpoint, fp

BUFFER_BYTES = 16 * 2**20
"""Records kept in memory while the disk is full; later ones are dropped and counted."""
METRICS_POINTS = (Failpoint.LOG_BEFORE, Failpoint.LOG_HALF, Failpoint.LOG_AFTER)
EPISODES_POINTS = (Failpoint.EPISODES_BEFORE, Failpoint.EPISODES_HALF, Failpoint.EPISODES_AFTER)
_CHUNK = 2**16


class JsonlLog:
    """Writes one log. Opening it repairs a torn tail, so that no later record is swallowed.

    When the disk refuses a record, training goes on: records wait in memory and are written in
    order when it accepts them again; beyond ``buffer_bytes`` they are dropped. ``num_buffered``
    and ``num_dropped`` tell, and the first refusal warns.

    Attributes:
        path: The file.
        num_dropped: Records lost for good.
    """

    def __init__(
        self,
        path: Path,
        *,
        points: tuple[Failpoint, Failpoint, Failpoint] = METRICS_POINTS,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        """Open for appending, making the file if absent.

        Args:
            path: The file.
            points: Failpoints passed before, in the middle of and after each append.
            buffer_bytes: Bytes of records kept while the disk refuses them.

        Raises:
            OSError: If the file cannot be opened or repaired.
        """
        self.path = path
        self.num_dropped = 0
        self._points = points
        self._buffer_bytes = buffer_bytes
        self._waiting: deque[bytes] = deque()
        self._num_waiting_bytes = 0
        self._has_warned = False
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o666)
        try:
            self._size = _repair(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def offset(self) -> int:
        """Bytes of whole records in the file; what ``truncate`` takes after a resume."""
        return self._size

    @property
    def num_buffered(self) -> int:
        """Records that wait in memory because the disk refused them."""
        return len(self._waiting)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record. A full disk does not raise; see the class.

        Args:
            record: JSON values. Numbers must be finite: a reader could not tell NaN from damage.

        Raises:
            ValueError: If a number is not finite; names the key.
            TypeError: If a value is not a JSON value.
        """
        line = to_line(record)
        self._waiting.append(line)
        self._num_waiting_bytes += len(line)
        if not self._drain():
            self._make_room()

    def flush(self) -> bool:
        """Write what waits in memory and fsync: call it before a checkpoint records ``offset``.

        Returns:
            True when every record is on the disk; False if the disk refused, which warns once.
        """
        if not self._drain():
            return False
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._warn(error)
            return False
        return True

    def truncate(self, offset: int) -> None:
        """Drop everything from byte ``offset`` on, also what waits in memory.

        Args:
            offset: An earlier value of the property ``offset``.

        Raises:
            LogError: If the file is shorter, or no record ends there.
            OSError: If the disk refuses.
        """
        if offset > self._size:
            raise LogError(
                where=str(self.path),
                problem=f"has {self._size} bytes, but the checkpoint was saved at {offset}.",
                fix="Restore the log from a backup, or resume from an earlier checkpoint.",
            )
        if offset and os.pread(self._descriptor, 1, offset - 1) != b"\n":
            raise LogError(
                where=str(self.path),
                problem=f"no record ends at byte {offset}, where the checkpoint was saved.",
                fix="The log is not the one the checkpoint belongs to; restore it.",
            )
        os.ftruncate(self._descriptor, offset)
        self._size = offset
        self._waiting.clear()
        self._num_waiting_bytes = 0
        fp(Failpoint.LOG_TRUNCATED, self.path)

    def close(self) -> None:
        """Write what waits, then close. What the disk still refuses counts as dropped."""
        if self._descriptor < 0:
            return
        self.flush()
        self.num_dropped += len(self._waiting)
        self._waiting.clear()
        self._num_waiting_bytes = 0
        os.close(self._descriptor)
        self._descriptor = -1

    def _drain(self) -> bool:
        """Write what waits, in order; False as soon as the disk refuses."""
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._num_waiting_bytes -= len(self._waiting.popleft())
                fp(self._points[2], self.path)
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _write(self, line: bytes) -> None:
        before, half, _ = self._points
        fp(before, self.path)
        view = memoryview(line)
        middle = len(line) // 2
        try:
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            write_all(self._descriptor, view[:middle])
            fp(half, self.path)
            write_all(self._descriptor, view[middle:])
        except OSError as error:
            error.filename = error.filename or str(self.path)
            # Shortening needs no space. Should it fail, the next write overwrites the torn record
            # from its start, and a reader drops it as a torn tail.
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    def _make_room(self) -> None:
        """Drop the newest records beyond the limit: what is kept has no gap but at its end."""
        while self._num_waiting_bytes > self._buffer_bytes and self._waiting:
            self._num_waiting_bytes -= len(self._waiting.pop())
            self.num_dropped += 1

    def _warn(self, error: OSError) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            f"{self.path}: the disk refuses records ({error.strerror}, errno {error.errno}). "
            f"Training goes on; up to {self._buffer_bytes / 2**20:.0f} MB wait in memory, later "
            f"records are dropped and counted. Free some space.",
            RuntimeWarning,
            stacklevel=4,
        )


def read(path: Path, *, offset: int | None = None) -> Iterator[dict[str, Any]]:
    """Records of a log, in order; changes nothing on disk.

    Args:
        path: The file; an absent one has no records.
        offset: Stop at this byte; ``None`` reads to the end, where a torn record is dropped.

    Yields:
        One record per line.

    Raises:
        LogError: If a line is damaged; names its number.
    """
    if not path.exists():
        return
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            if offset is not None and position > offset:
                return
            record = parse_line(line)
            if record is None and not line.endswith(b"\n"):
                return
            if record is None:
                raise LogError(
                    where=f"{path}, line {number}",
                    problem=f"not a record: {line[:40]!r}.",
                    fix="Restore the line or delete it; the other lines are intact.",
                )
            yield record


def to_line(record: Mapping[str, Any]) -> bytes:
    """One record as a line of ASCII JSON, newline included.

    Raises:
        ValueError: If a number is not finite; names the key.
        TypeError: If a value is not a JSON value.
    """
    try:
        text = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise ValueError(_not_finite(record, "") or str(error)) from error
    return text.encode("ascii") + b"\n"


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The record on a line, with or without its newline; ``None`` if there is none."""
    try:
        record = json.loads(line.decode("ascii"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _not_finite(value: object, where: str) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{where or 'record'} is {value}; a log holds finite numbers only"
    if isinstance(value, Mapping):
        items = [(f"{where}.{key}" if where else str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(f"{where}[{index}]", item) for index, item in enumerate(value)]
    else:
        return ""
    return next(filter(None, (_not_finite(item, name) for name, item in items)), "")


def _repair(descriptor: int) -> int:
    """Cut a torn last record off, or give a whole one its newline; returns the size in bytes."""
    size = os.fstat(descriptor).st_size
    start = _last_line_start(descriptor, size)
    if start == size:
        return size
    tail = os.pread(descriptor, size - start, start)
    if parse_line(tail) is None:
        os.ftruncate(descriptor, start)
        return start
    os.pwrite(descriptor, b"\n", size)
    return size + 1


def _last_line_start(descriptor: int, size: int) -> int:
    """Offset just after the last newline; 0 if there is none."""
    end = size
    while end > 0:
        begin = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
