"""Files that are whole or absent: write, fsync, rename, fsync the directory."""

from __future__ import annotations

import os
from pathlib import Path

from sayso.runs.failpoints import Failpoint, fp


def write_new(
    path: Path, data: bytes, *, points: tuple[Failpoint, Failpoint, Failpoint] | None = None
) -> None:
    """Write a file that does not exist yet and fsync it.

    Args:
        path: Where; must not exist.
        data: Content.
        points: Failpoints passed when half is written, when all is written, after the fsync.

    Raises:
        OSError: As the operating system reports it, with the path. After a failed fsync the
            file must not be trusted: write another one, do not retry this one.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        view = memoryview(data)
        half = len(view) // 2
        write_all(descriptor, view[:half])
        _pass(points, 0, path)
        write_all(descriptor, view[half:])
        _pass(points, 1, path)
        os.fsync(descriptor)
        _pass(points, 2, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: memoryview) -> None:
    """``os.write`` until everything is written: one call may write less."""
    while data:
        data = data[os.write(descriptor, data) :]


def fsync_directory(path: Path) -> None:
    """Make renames, creations and deletions inside ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` at once: a reader sees the old content or the new one.

    Raises:
        OSError: As the operating system reports it; the old content is then intact.
    """
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        write_new(temporary, data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def _pass(points: tuple[Failpoint, ...] | None, index: int, path: Path) -> None:
    if points is not None:
        fp(points[index], path)
