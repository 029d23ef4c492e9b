"""The run directory: made once, used by one process at a time.

``config.toml`` (resolved), ``meta.json`` (written last: its presence means the run is whole),
``metrics.jsonl``, ``episodes/``, ``checkpoints/``, ``eval/``, and while in use ``owner.json``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sayso.errors import RunError
from sayso.runs.commit import is_other_process
from sayso.runs.durable import fsync_directory, replace_file, write_new
from sayso.runs.failpoints import Failpoint, fp
from sayso.toml import dump_toml

_NUMBERED = re.compile(r"(.+)-(\d+)")
_OWNER_WAIT_S = 0.5
_held: set[tuple[int, int, int]] = set()
"""Locks of this process by (pid, device, inode): a lock of the operating system does not keep a
process from locking twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who uses a run.

    Attributes:
        pid: Process id.
        host: Name of its machine.
        started: When it took the lock, UTC, ISO 8601.
    """

    pid: int
    host: str
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.started}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run on disk.

    Attributes:
        path: Its directory.
    """

    path: Path

    @classmethod
    def create(cls, path: Path | str, *, config: Mapping[str, Any], meta: Mapping[str, Any]) -> Run:
        """Make a new run directory. Of several processes that try at once, one succeeds.

        Args:
            path: Must not exist, or be empty; its parents are made.
            config: Resolved configuration, written to ``config.toml``.
            meta: JSON values, written to ``meta.json``; see ``runs.meta.collect``.

        Returns:
            The run.

        Raises:
            RunError: If there is anything at the path; gives the choices.
            OSError: If the disk refuses.
        """
        run = cls(path=Path(path))
        try:
            run.path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise RunError(
                where=str(run.path),
                problem="lies below a file, not a directory.",
                fix="Name another run directory.",
            ) from None
        cls.require_free(run.path)
        try:
            run.path.mkdir(exist_ok=True)
            run.checkpoints.mkdir()  # of several that try, one succeeds
        except FileExistsError:
            raise run._taken() from None
        run._fill(config, meta)
        return run

    @classmethod
    def require_free(cls, path: Path | str) -> None:
        """What ``create`` refuses, asked before anything slow is done.

        Raises:
            RunError: If there is anything at the path; gives the choices.
        """
        run = cls(path=Path(path))
        if not cls.is_free(path):
            raise run._taken()

    @staticmethod
    def is_free(path: Path | str) -> bool:
        """Whether a run can be made at the path: nothing is there, or an empty directory."""
        path = Path(path)
        if path.is_dir():
            return not any(path.iterdir())
        return not (path.exists() or path.is_symlink())

    @staticmethod
    def clear_half_made(path: Path | str) -> None:
        """Remove what is left of a run whose making was cut short: nothing of it is lost."""
        path = Path(path)
        if path.is_dir() and not (path / "meta.json").is_file():
            shutil.rmtree(path)

    @classmethod
    def create_next(
        cls, parent: Path | str, name: str, *, config: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> Run:
        """Make ``<parent>/<name>-1``, or the next number that is free; never shared or reused.

        Raises:
            OSError: If the disk refuses.
        """
        parent = Path(parent)
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            run = cls(path=parent / next_name(parent, name))
            with contextlib.suppress(FileExistsError):
                run.path.mkdir()
                run.checkpoints.mkdir()
                break
        run._fill(config, meta)
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """An existing run, for resuming or reading.

        Raises:
            RunError: If there is none, or its creation was cut short.
        """
        run = cls(path=Path(path))
        if not run.path.is_dir():
            raise RunError(
                where=str(run.path),
                problem="no such run directory.",
                fix=_nearby(run.path.parent) or "Give the path that `sayso train` printed.",
            )
        if not (run.path / "meta.json").is_file():
            raise run._no_run()
        return run

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Directory of committed checkpoints."""
        return self.path / "checkpoints"

    @property
    def episodes(self) -> Path:
        """The episode log, JSON lines; see ``runs.ledger``."""
        return self.path / "episodes" / "episodes.jsonl"

    @property
    def eval(self) -> Path:
        """Directory of evaluation reports."""
        return self.path / "eval"

    @property
    def metrics(self) -> Path:
        """The metrics log, JSON lines."""
        return self.path / "metrics.jsonl"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    def meta(self) -> dict[str, Any]:
        """Content of ``meta.json``.

        Raises:
            RunError: If it is damaged.
        """
        try:
            found = json.loads((self.path / "meta.json").read_bytes())
            if isinstance(found, dict):
                return found
            problem = "is not a JSON object."
        except ValueError as error:
            problem = f"is damaged ({error})."
        raise RunError(
            where=str(self.path / "meta.json"), problem=problem, fix="Restore it from a backup."
        )

    def annotate(self, **values: Any) -> None:
        """Add to ``meta.json`` what is known only once the run is at work."""
        known = self.meta()
        if known | values != known:
            self._write_meta(known | values)

    def owner(self) -> Owner | None:
        """Who took the lock last and did not give it back; it may be dead."""
        try:
            found = json.loads((self.path / "owner.json").read_bytes())
            return Owner(
                pid=int(found["pid"]), host=str(found["host"]), started=str(found["started"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextlib.contextmanager
    def lock(self) -> Iterator[Owner | None]:
        """Hold the run for this process.

        The lock ends with the process, however it ends, and child processes do not inherit it.
        Nothing else may open the file ``lock`` in the process that holds it.

        Yields:
            The dead owner that left it behind, if its last one did not give it back.

        Raises:
            RunError: If another process, or this one, holds it; names the owner.
        """
        path = self.path / "lock"
        path.touch()
        status = path.stat()
        key = (os.getpid(), status.st_dev, status.st_ino)
        # Looked up before opening: closing any descriptor of the file would give this process's
        # lock on it up (POSIX).
        if key in _held:
            raise self._busy()
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            # lockf, not flock: a forked environment worker that outlives a killed trainer would
            # inherit a flock and keep the run locked.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise self._busy() from None
        _held.add(key)
        stale = self.owner()
        try:
            self._sign()
            yield stale
        finally:
            (self.path / "owner.json").unlink(missing_ok=True)
            _held.discard(key)
            os.close(descriptor)

    def _fill(self, config: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        for directory in (self.episodes.parent, self.eval):
            directory.mkdir()
        fp(Failpoint.RUN_DIRECTORY_MADE, self.path)
        write_new(self.config, dump_toml(config).encode())
        fp(Failpoint.CONFIG_WRITTEN, self.config)
        self._write_meta(meta)
        fp(Failpoint.META_WRITTEN, self.path / "meta.json")
        fsync_directory(self.path.parent)

    def _write_meta(self, meta: Mapping[str, Any]) -> None:
        data = json.dumps(dict(meta), indent=1, ensure_ascii=True, allow_nan=False) + "\n"
        replace_file(self.path / "meta.json", data.encode())

    def _sign(self) -> None:
        owner = {
            "pid": os.getpid(),
            "host": platform.node(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        # Not fsynced: it means nothing after a power cut.
        temporary = self.path / f".tmp-owner-{os.getpid()}"
        temporary.write_text(json.dumps(owner) + "\n")
        temporary.replace(self.path / "owner.json")

    def _others(self) -> list[str]:
        """What lies in the directory that no run puts there."""
        if not self.path.is_dir():
            return [self.path.name]
        known = ("checkpoints", "episodes", "eval", "config.toml", "meta.json")
        names = sorted(path.name for path in self.path.iterdir())
        return [name for name in names if name not in known and not name.startswith(".tmp-")]

    def _no_run(self) -> RunError:
        """Why a directory without ``meta.json`` is refused: only ours is to be deleted."""
        where = str(self.path)
        if any((self.path / name).exists() for name in ("sayso.json", "config.json")):
            return RunError(
                where=where,
                problem="is a model, not a run.",
                fix="Give the run it was exported from. In Python a saved agent is loaded with "
                "sayso.Agent.load(directory); any model trains on with --set model.name=DIRECTORY.",
            )
        problem = "not a run: it has no meta.json"
        if self._others():
            return RunError(where=where, problem=f"{problem}.", fix="Give another path.")
        return RunError(
            where=where,
            problem=f"{problem}, so its creation was cut short.",
            fix=f"Give another path, or delete it (rm -r {where}) and start again.",
        )

    def _taken(self) -> RunError:
        if not (self.path / "meta.json").exists() and (others := self._others()):
            more = ", ..." if len(others) > 3 else ""
            return RunError(
                where=str(self.path),
                problem=f"holds other things ({', '.join(others[:3])}{more}); nothing was changed.",
                fix="Name another directory for the run: one that is empty or does not exist.",
            )
        owner = self.owner()
        used = f" It is in use by {owner}." if owner is not None and _may_live(owner) else ""
        return RunError(
            where=str(self.path),
            problem=f"this run exists already; nothing in it was changed.{used}",
            fix=f"Go on with it (--resume {self.path}), choose another name (--run), "
            f"or delete it (rm -r {self.path}).",
        )

    def _busy(self) -> RunError:
        """The winner signs just after it locks: give it a moment."""
        deadline = time.monotonic() + _OWNER_WAIT_S
        owner = self.owner()
        while (owner is None or not _may_live(owner)) and time.monotonic() < deadline:
            time.sleep(0.02)
            owner = self.owner()
        return RunError(
            where=str(self.path),
            problem=f"in use by {owner or 'another process'}; nothing in it was changed.",
            fix="Wait for it or stop it and then --resume, choose another name (--run), "
            "or start a copy of the directory.",
        )


def next_name(parent: Path | str, recipe: str) -> str:
    """``<recipe>-<n>``, n one above the highest in use. ``Run.create_next`` claims it safely.

    Args:
        parent: Directory of the runs.
        recipe: Letters, digits, ``_`` and ``-``.

    Raises:
        RunError: If ``recipe`` cannot name a directory.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,48}", recipe):
        raise RunError(
            where="run name",
            problem=f"{recipe!r} cannot name a run.",
            fix="Use 1 to 48 letters, digits, '_' and '-', or give the directory: --run.",
        )
    parent = Path(parent)
    matches = (
        [_NUMBERED.fullmatch(path.name) for path in parent.iterdir()] if parent.is_dir() else []
    )
    numbers = [int(match[2]) for match in matches if match and match[1] == recipe]
    return f"{recipe}-{max(numbers, default=0) + 1}"


def _may_live(owner: Owner) -> bool:
    """False only for a process of this machine that is certainly gone."""
    if owner.host != platform.node():
        return True
    return owner.pid == os.getpid() or is_other_process(owner.pid)


def _nearby(parent: Path) -> str:
    runs = sorted(path.parent.name for path in parent.glob("*/meta.json"))
    return f"Runs in {parent}: {', '.join(runs[-8:])}." if runs else ""
