"""Named places where a test can kill, starve or stall the program; off they cost one look-up."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sayso.errors import OptionValueError

ENVIRONMENT_VARIABLE = "SAYSO_FAILPOINT"
ACTIONS = ("kill", "enospc", "eio", "hang", "raise", "count")


class Failpoint(Enum):
    """Every durable step and every moment of training at which a run may be killed.

    Each name has a kill test; ``tests/reliability`` fails when one has none.
    """

    CHECKPOINT_TMPDIR_MADE = "checkpoint.tmpdir_made"
    CHECKPOINT_FILE_HALF = "checkpoint.file_half"
    CHECKPOINT_FILE_WRITTEN = "checkpoint.file_written"
    CHECKPOINT_FILE_FSYNCED = "checkpoint.file_fsynced"
    CHECKPOINT_MANIFEST_WRITTEN = "checkpoint.manifest_written"
    CHECKPOINT_REPLACED_MOVED = "checkpoint.replaced_moved"
    CHECKPOINT_BEFORE_RENAME = "checkpoint.before_rename"
    CHECKPOINT_AFTER_RENAME = "checkpoint.after_rename"
    CHECKPOINT_PARENT_FSYNCED = "checkpoint.parent_fsynced"
    PRUNE_RENAMED = "prune.renamed"
    PRUNE_DELETED = "prune.deleted"
    LOG_BEFORE = "log.before"
    LOG_HALF = "log.half"
    LOG_AFTER = "log.after"
    EPISODES_BEFORE = "episodes.before"
    EPISODES_HALF = "episodes.half"
    EPISODES_AFTER = "episodes.after"
    LOG_TRUNCATED = "log.truncated"
    RUN_DIRECTORY_MADE = "run.directory_made"
    CONFIG_WRITTEN = "run.config_written"
    META_WRITTEN = "run.meta_written"
    ROLLOUT_DONE = "train.rollout_done"
    REWARD_DONE = "train.reward_done"
    FORWARD = "train.forward"
    BACKWARD = "train.backward"
    MID_OPTIMISER = "train.mid_optimiser"
    EVAL = "train.eval"
    EXPORT = "train.export"
    RESUME_STARTED = "resume.started"
    RESUME_LOADED = "resume.loaded"


class FailpointError(RuntimeError):
    """Raised by a failpoint armed with the action ``raise``; only tests see it."""


@dataclass(slots=True)
class _Arm:
    """One armed failpoint: act at the ``hit``-th visit, and at all later ones if ``is_from``."""

    hit: int
    action: str
    is_from: bool
    num_hits: int = 0


_armed: dict[Failpoint, _Arm] = {}


def fp(point: Failpoint, path: Path | None = None) -> None:
    """Pass a failpoint. Does nothing unless it is armed.

    Args:
        point: Where the program is.
        path: File at hand, named by the errors that a failpoint raises.

    Raises:
        OSError: If armed with ``enospc`` or ``eio``.
        FailpointError: If armed with ``raise``.
    """
    arm = _armed.get(point)
    if arm is not None:
        _act(point, arm, path)


def arm(spec: str) -> None:
    """Arm failpoints, in addition to those armed before.

    Args:
        spec: Comma-separated ``name:hit:action``. ``hit`` counts from 1; ``3+`` means the third
            and every later one. Actions: kill (SIGKILL to this process), enospc, eio (``OSError``),
            hang, raise, count (only counts).

    Raises:
        OptionValueError: If a part does not read so.
    """
    for part in filter(None, spec.split(",")):
        point, found = _parse(part)
        _armed[point] = found


def disarm() -> None:
    """Switch all failpoints off."""
    _armed.clear()


def count_hits() -> None:
    """Count the visits of every failpoint that is not armed; read them with ``num_hits``."""
    for point in Failpoint:
        _armed.setdefault(point, _Arm(1, "count", is_from=True))


def num_hits() -> dict[Failpoint, int]:
    """Visits of each armed or counted failpoint so far, those with none left out."""
    return {point: arm.num_hits for point, arm in _armed.items() if arm.num_hits}


def _parse(part: str) -> tuple[Failpoint, _Arm]:
    name, _, rest = part.strip().partition(":")
    hit, _, action = rest.partition(":")
    number = hit.removesuffix("+")
    names = [point.value for point in Failpoint]
    if name not in names or action not in ACTIONS or not number.isdecimal() or int(number) < 1:
        raise OptionValueError(
            where=ENVIRONMENT_VARIABLE,
            problem=f"got {part!r}, which does not read name:hit:action.",
            fix=f"Names: {', '.join(names)}. Hit: 1, 2, … or 1+. Actions: {', '.join(ACTIONS)}.",
        )
    return Failpoint(name), _Arm(int(number), action, is_from=hit.endswith("+"))


def _act(point: Failpoint, arm: _Arm, path: Path | None) -> None:
    arm.num_hits += 1
    if arm.num_hits != arm.hit and not (arm.is_from and arm.num_hits > arm.hit):
        return
    if arm.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif arm.action == "hang":
        while True:
            time.sleep(3600)
    elif arm.action in ("enospc", "eio"):
        number = errno.ENOSPC if arm.action == "enospc" else errno.EIO
        raise OSError(number, os.strerror(number), str(path) if path else None)
    elif arm.action == "raise":
        raise FailpointError(f"failpoint {point.value}, hit {arm.num_hits}")


arm(os.environ.get(ENVIRONMENT_VARIABLE, ""))
