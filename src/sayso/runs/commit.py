"""Checkpoints that commit or did not happen.

Files are written to ``.tmp-<step>-<pid>/`` and fsynced; ``MANIFEST.json``, last, holds the
sha256 and size of each and a checksum of itself; then the directory is fsynced and renamed to
``step-<step>``, and the parent is fsynced. A reader takes the newest directory that verifies.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sayso.errors import CheckpointError
from sayso.runs.durable import fsync_directory, write_new
from sayso.runs.failpoints import Failpoint, fp
from sayso.runs.manifest import MANIFEST, SCHEMA, Entry, Manifest, NewerSchemaError, read_regular

_STEP = re.compile(r"step-(\d{8,})")
# A checkpoint that is being replaced by another of the same step keeps this name meanwhile.
_OLD = re.compile(r"\.old-step-(\d{8,})-\d+")
_LEFTOVER = re.compile(r"\.(tmp|del)-(?:step-)?\d+-(\d+)")
_FILE_POINTS = (
    Failpoint.CHECKPOINT_FILE_HALF,
    Failpoint.CHECKPOINT_FILE_WRITTEN,
    Failpoint.CHECKPOINT_FILE_FSYNCED,
)

_sound: dict[Path, tuple[tuple[str, int, int, int, int], ...]] = {}
"""Checkpoints that ``prune`` has hashed, with the state of their files at that moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A checkpoint whose every file matched its manifest.

    Attributes:
        path: Its directory.
        manifest: What it holds.
        damaged: Newer checkpoints that were passed over, newest first, each with the reason.
    """

    path: Path
    manifest: Manifest
    damaged: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """Optimiser step at which it was saved."""
        return self.manifest.step

    def read(self, name: str) -> bytes:
        """Content of one file, checked again: what is loaded is what was verified.

        Raises:
            CheckpointError: If the file is not part of the checkpoint or has changed.
        """
        return self.manifest.read(self.path, name)


def commit(
    parent: Path, step: int, files: Mapping[str, bytes], *, schema: int = SCHEMA
) -> Committed:
    """Save a checkpoint, all of it or nothing.

    A checkpoint of the same step is replaced; at every moment one of the two is found by
    ``newest``. Leftovers of dead processes are removed first.

    Args:
        parent: Directory of all checkpoints of the run; made if absent.
        step: Optimiser step, from 0.
        files: Content by plain file name.
        schema: Version of the layout, for tests of migration.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: If a file name is not a plain one.
        OSError: Disk full or input/output error, with path and errno. Earlier checkpoints are
            intact, nothing of this one is left, and it is not declared saved.
    """
    manifest = Manifest.of(step, files, schema=schema)
    parent.mkdir(parents=True, exist_ok=True)
    clean(parent)
    temporary = parent / f".tmp-{step}-{os.getpid()}"
    target = parent / f"step-{step:08d}"
    try:
        _write(temporary, files, manifest)
        _publish(temporary, target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Committed(path=target, manifest=manifest)


def _write(temporary: Path, files: Mapping[str, bytes], manifest: Manifest) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    fp(Failpoint.CHECKPOINT_TMPDIR_MADE, temporary)
    for name in sorted(files):
        write_new(temporary / name, files[name], points=_FILE_POINTS)
    write_new(temporary / MANIFEST, manifest.to_bytes(), points=_FILE_POINTS)
    fp(Failpoint.CHECKPOINT_MANIFEST_WRITTEN, temporary / MANIFEST)
    fsync_directory(temporary)


def _publish(temporary: Path, target: Path) -> None:
    """Rename into place. On failure the state before is restored, save what was damaged."""
    old = target.with_name(f".old-{target.name}-{os.getpid()}")
    if target.exists() and not _is_sound(target):
        _remove(target)
    has_old = target.exists()
    if has_old:
        target.rename(old)
    is_published = False
    try:
        if has_old:
            fp(Failpoint.CHECKPOINT_REPLACED_MOVED, old)
        fp(Failpoint.CHECKPOINT_BEFORE_RENAME, target)
        temporary.rename(target)
        is_published = True
        fp(Failpoint.CHECKPOINT_AFTER_RENAME, target)
        fsync_directory(target.parent)
        fp(Failpoint.CHECKPOINT_PARENT_FSYNCED, target)
    except OSError:
        # A rename that may not be durable is not a save: take it back. If even that fails, the
        # directory is whole or verifies as damaged, and the first error is the one to report.
        with contextlib.suppress(OSError):
            if is_published:
                target.rename(temporary)
            if has_old:
                old.rename(target)
        raise
    if has_old:
        _remove(old)


def verify(directory: Path) -> Manifest:
    """Check a checkpoint against its manifest.

    Args:
        directory: The checkpoint.

    Returns:
        Its manifest.

    Raises:
        CheckpointError: If anything is missing, changed, a link, or of a newer schema; names it.
    """
    if directory.is_symlink() or not directory.is_dir():
        raise CheckpointError(
            where=str(directory), problem="not a directory.", fix="Links are not followed."
        )
    manifest = Manifest.from_bytes(read_regular(directory / MANIFEST), where=directory / MANIFEST)
    found = _STEP.fullmatch(directory.name) or _OLD.fullmatch(directory.name)
    if found and int(found[1]) != manifest.step:
        raise CheckpointError(
            where=str(directory),
            problem=f"{MANIFEST} is of step {manifest.step}.",
            fix="Restore the directory's own manifest or delete the directory.",
        )
    manifest.check(directory)
    return manifest


def newest(parent: Path) -> Committed | None:
    """The newest checkpoint that verifies; changes nothing on disk.

    Args:
        parent: Directory of all checkpoints of the run.

    Returns:
        The checkpoint, with those passed over and why; ``None`` if there are none at all.

    Raises:
        CheckpointError: If there are some and none verifies, or the newest sound one was written
            by a newer sayso.
    """
    damaged: list[str] = []
    for directory in _directories(parent):
        try:
            manifest = verify(directory)
        except NewerSchemaError:
            raise
        except CheckpointError as error:
            damaged.append(f"{directory.name}: {error.problem}")
            continue
        return Committed(path=directory, manifest=manifest, damaged=tuple(damaged))
    if not damaged:
        return None
    raise CheckpointError(
        where=str(parent),
        problem=f"no checkpoint verifies ({len(damaged)} damaged). {' '.join(damaged)}",
        fix="Restore one from a backup, or start a new run.",
    )


def at(parent: Path, step: int) -> Committed | None:
    """The checkpoint of one step, or ``None`` if there is none.

    Raises:
        CheckpointError: If it does not verify; names the file.
    """
    for directory in _directories(parent):
        if _step_of(directory) == step:
            return Committed(path=directory, manifest=verify(directory))
    return None


def steps(parent: Path) -> list[int]:
    """Steps of all checkpoints, damaged ones included, ascending."""
    return sorted({_step_of(directory) for directory in _directories(parent)})


def prune(parent: Path, keep: int, protect: frozenset[int] | set[int] = frozenset()) -> list[int]:
    """Delete old checkpoints, each renamed away first, and leftovers; needs the run's lock.

    Nothing is deleted unless the newest verifies by hash, and only what is older than ``keep``
    that do: damaged ones do not count as kept.

    Args:
        parent: Directory of all checkpoints of the run.
        keep: Sound checkpoints to keep, at least 2.
        protect: Steps that are never deleted, for example the best and the last healthy one.

    Returns:
        Steps deleted, ascending.

    Raises:
        ValueError: If ``keep`` is below 2: one could be damaged.
        OSError: If a rename fails.
    """
    if keep < 2:
        raise ValueError(f"keep must be at least 2, got {keep}: the only one may be damaged")
    clean(parent)  # else a checkpoint set aside would count beside the one that replaced it
    num_sound = 0
    removable: list[Path] = []
    for directory in _directories(parent):
        if num_sound >= keep:
            if _step_of(directory) not in protect:
                removable.append(directory)
        elif _is_sound(directory):
            num_sound += 1
        elif num_sound == 0:
            return []
    for directory in reversed(removable):
        _delete(directory)
    if removable:
        fsync_directory(parent)
    return sorted(_step_of(directory) for directory in removable)


def clean(parent: Path) -> list[Path]:
    """Remove what dead processes left half-done, and what this one did; needs the run's lock.

    Returns:
        Paths removed.
    """
    removed = []
    for path in sorted(parent.iterdir()) if parent.is_dir() else []:
        old = _OLD.fullmatch(path.name)
        found = _LEFTOVER.fullmatch(path.name)
        is_replaced = old is not None and _is_sound(parent / f"step-{old[1]}")
        is_dead = found is not None and (found[1] == "del" or not is_other_process(int(found[2])))
        if is_replaced or is_dead:
            _remove(path)
            removed.append(path)
    return removed


def is_other_process(pid: int) -> bool:
    """Whether ``pid`` is a live process other than this one."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _directories(parent: Path) -> list[Path]:
    """Checkpoints, newest first; of one step, the one in place before the one set aside."""
    found = []
    for path in parent.iterdir() if parent.is_dir() else ():
        in_place, old = _STEP.fullmatch(path.name), _OLD.fullmatch(path.name)
        match = in_place or old
        if match:
            found.append((int(match[1]), in_place is not None, path))
    return [path for _, _, path in sorted(found, reverse=True)]


def _step_of(directory: Path) -> int:
    match = _STEP.fullmatch(directory.name) or _OLD.fullmatch(directory.name)
    assert match is not None  # noqa: S101 - only called on what `_directories` returned
    return int(match[1])


def _is_sound(directory: Path) -> bool:
    """Whether it verifies. Hashed once by this process, and again if any file was touched."""
    try:
        signature = _signature(directory)
        if _sound.get(directory) != signature:
            verify(directory)
            _sound[directory] = signature
    except NewerSchemaError:
        return True
    except (CheckpointError, OSError):
        return False
    return True


def _signature(directory: Path) -> tuple[tuple[str, int, int, int, int], ...]:
    found = [(path.name, path.lstat()) for path in sorted(directory.iterdir())]
    return tuple((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in found)


def _delete(directory: Path) -> None:
    doomed = directory.with_name(f".del-{_step_of(directory)}-{os.getpid()}")
    _remove(doomed)
    directory.rename(doomed)
    _sound.pop(directory, None)
    fp(Failpoint.PRUNE_RENAMED, doomed)
    _remove(doomed)
    fp(Failpoint.PRUNE_DELETED, doomed)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)


__all__ = ["MANIFEST", "SCHEMA", "Committed", "Entry", "Manifest", "NewerSchemaError"]
__all__ += ["at", "clean", "commit", "newest", "prune", "steps", "verify"]
