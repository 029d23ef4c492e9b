"""The list of a checkpoint's files with their checksums, and the checks against it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sayso.errors import CheckpointError

MANIFEST = "MANIFEST.json"
SCHEMA = 1
"""Version of the checkpoint layout. What reads an older one migrates it in memory."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class NewerSchemaError(CheckpointError):
    """A checkpoint was written by a newer sayso; it is sound, but not for this version."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    Attributes:
        sha256: Hex digest of its content.
        size_bytes: Its length.
    """

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a checkpoint holds.

    Attributes:
        step: Optimiser step.
        schema: Version of the layout.
        sayso: Version that wrote it.
        files: Entries by plain file name.
    """

    step: int
    schema: int
    sayso: str
    files: Mapping[str, Entry]

    @classmethod
    def of(cls, step: int, files: Mapping[str, bytes], *, schema: int = SCHEMA) -> Manifest:
        """Describe ``files``.

        Raises:
            CheckpointError: If a name is not a plain one, or two differ in case only.
            ValueError: If ``step`` is negative.
        """
        if step < 0:
            raise ValueError(f"step must not be negative, got {step}")
        _check_names(list(files), where=f"checkpoint of step {step}")
        entries = {
            name: Entry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()
        }
        return cls(step=step, schema=schema, sayso=_version(), files=entries)

    def to_bytes(self) -> bytes:
        """JSON with a checksum of itself; the checksum rule holds for every schema."""
        body = {
            "files": {
                name: {"sha256": entry.sha256, "size": entry.size_bytes}
                for name, entry in sorted(self.files.items())
            },
            "sayso": self.sayso,
            "schema": self.schema,
            "step": self.step,
        }
        return (json.dumps({**body, "sha256": _checksum(body)}, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, where: Path) -> Manifest:
        """Parse and check the manifest itself.

        Raises:
            NewerSchemaError: If it is sound but of a newer schema.
            CheckpointError: If it is damaged; a missing checksum counts as damage.
        """
        try:
            body = json.loads(data)
            found = body.pop("sha256")
            is_sound = isinstance(found, str) and found == _checksum(body)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            is_sound = False
            body = {}
        if not is_sound:
            raise _damaged(where, f"{MANIFEST} is damaged or has no checksum.")
        _check_schema(body, where)
        try:
            entries = {
                name: Entry(str(entry["sha256"]), int(entry["size"]))
                for name, entry in body["files"].items()
            }
            manifest = cls(
                step=int(body["step"]),
                schema=int(body["schema"]),
                sayso=str(body["sayso"]),
                files=entries,
            )
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise _damaged(where, f"{MANIFEST} lacks an entry or a checksum ({error}).") from error
        _check_names(list(entries), where=str(where))
        return manifest

    def check(self, directory: Path) -> None:
        """Compare the files in ``directory`` with the entries.

        Raises:
            CheckpointError: At the first file that is missing, a link, or changed; names it.
        """
        for name, entry in self.files.items():
            _compare(directory / name, entry)

    def read(self, directory: Path, name: str) -> bytes:
        """Content of a listed file, checked.

        Raises:
            CheckpointError: If it is not listed, missing or changed.
        """
        entry = self.files.get(name)
        if entry is None:
            raise CheckpointError(
                where=str(directory),
                problem=f"has no file {name!r}; it holds {', '.join(sorted(self.files))}.",
                fix="Resume with the sayso version that wrote it.",
            )
        data = read_regular(directory / name)
        _check_size(directory / name, len(data), entry)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise _changed(directory / name)
        return data


def read_regular(path: Path) -> bytes:
    """Content of a regular file; links are not followed.

    Raises:
        CheckpointError: If it is missing, a link, not a regular file, or cannot be read.
    """
    with os.fdopen(_open(path), "rb") as file:
        try:
            return file.read()
        except OSError as error:
            raise _damaged(path, f"{path.name} cannot be read ({error.strerror}).") from error


def _compare(path: Path, entry: Entry) -> None:
    with os.fdopen(_open(path), "rb") as file:
        _check_size(path, os.fstat(file.fileno()).st_size, entry)
        try:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _damaged(path, f"{path.name} cannot be read ({error.strerror}).") from error
    if digest != entry.sha256:
        raise _changed(path)


def _open(path: Path) -> int:
    _status(path)
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise _damaged(path, f"{path.name} cannot be opened ({error.strerror}).") from error


def _status(path: Path) -> os.stat_result:
    try:
        status = path.lstat()
    except OSError as error:
        raise _damaged(path, f"{path.name} is missing ({error.strerror}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(path, f"{path.name} is a link or not a regular file.")
    return status


def _check_size(path: Path, size_bytes: int, entry: Entry) -> None:
    if size_bytes != entry.size_bytes:
        raise _damaged(path, f"{path.name} has {size_bytes} bytes, not {entry.size_bytes}.")


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _check_schema(body: Mapping[str, Any], where: Path) -> None:
    schema = body.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(
            where=str(where),
            problem=f"schema {schema} is newer than {SCHEMA}, the newest this version reads.",
            fix=f"It needs sayso >= {body.get('sayso')}; this is {_version()}. Upgrade sayso.",
        )


def _check_names(names: list[str], *, where: str) -> None:
    seen = {MANIFEST.casefold()}
    for name in names:
        if not _NAME.fullmatch(name) or name.casefold() in seen:
            raise CheckpointError(
                where=where,
                problem=f"{name!r} is not a plain file name of its own.",
                fix="Use letters, digits, '_', '-' and '.', and no name twice.",
            )
        seen.add(name.casefold())


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        where=str(path), problem=problem, fix="Restore it from a backup or delete its directory."
    )


def _changed(path: Path) -> CheckpointError:
    return _damaged(path, f"{path.name} does not match its sha256.")


def _version() -> str:
    try:
        return metadata.version("sayso")
    except metadata.PackageNotFoundError:
        return "unknown"
