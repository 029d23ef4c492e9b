"""Run code in a forked child with a failpoint armed, and say how the child ended.

The parent has imported everything once, so a kill costs milliseconds. Fork before any thread
starts: torch with one thread is fine.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sayso.runs import failpoints
from sayso.runs.failpoints import Failpoint

STORE_POINTS = (
    Failpoint.CHECKPOINT_TMPDIR_MADE,
    Failpoint.CHECKPOINT_FILE_HALF,
    Failpoint.CHECKPOINT_FILE_WRITTEN,
    Failpoint.CHECKPOINT_FILE_FSYNCED,
    Failpoint.CHECKPOINT_MANIFEST_WRITTEN,
    Failpoint.CHECKPOINT_REPLACED_MOVED,
    Failpoint.CHECKPOINT_BEFORE_RENAME,
    Failpoint.CHECKPOINT_AFTER_RENAME,
    Failpoint.CHECKPOINT_PARENT_FSYNCED,
    Failpoint.PRUNE_RENAMED,
    Failpoint.PRUNE_DELETED,
    Failpoint.LOG_BEFORE,
    Failpoint.LOG_HALF,
    Failpoint.LOG_AFTER,
    Failpoint.EPISODES_BEFORE,
    Failpoint.EPISODES_HALF,
    Failpoint.EPISODES_AFTER,
    Failpoint.LOG_TRUNCATED,
    Failpoint.RUN_DIRECTORY_MADE,
    Failpoint.CONFIG_WRITTEN,
    Failpoint.META_WRITTEN,
)
"""Killed one by one in ``test_store_kills.py``."""
TRAINER_POINTS = (
    Failpoint.ROLLOUT_DONE,
    Failpoint.REWARD_DONE,
    Failpoint.FORWARD,
    Failpoint.BACKWARD,
    Failpoint.MID_OPTIMISER,
    Failpoint.EVAL,
    Failpoint.EXPORT,
    Failpoint.RESUME_STARTED,
    Failpoint.RESUME_LOADED,
)
"""Killed one by one in the trainer's kill tests."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended.

    Attributes:
        signal: Signal that ended it, or ``None``.
        exit_code: 0 when the body returned, 1 when it raised, else the code it left with;
            ``None`` after a signal.
        error: The exception's type and message, and its traceback; empty when none.
        hits: Visits of every failpoint, by value; only when the child ended by itself.
    """

    signal: int | None
    exit_code: int | None
    error: str = ""
    hits: dict[str, int] = field(default_factory=dict)

    @property
    def is_killed(self) -> bool:
        """True when a failpoint's SIGKILL ended the child."""
        return self.signal == signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Child:
    """A forked child that was started.

    Attributes:
        pid: Its process id.
        reader: Where it reports.
    """

    pid: int
    reader: int

    def wait(self, timeout_s: float = 60) -> Outcome:
        """Wait for its end; a child that runs longer is killed and is an assertion error."""
        report = _read_all(self.reader, self.pid, timeout_s)
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return Outcome(signal=os.WTERMSIG(status), exit_code=None)
        told = json.loads(report) if report else {}
        return Outcome(
            signal=None,
            exit_code=os.WEXITSTATUS(status),
            error=told.get("error", ""),
            hits=told.get("hits", {}),
        )


def start_forked(body: Callable[[], object], *, spec: str = "") -> Child:
    """Start ``body`` in a forked child, with ``spec`` armed and all other failpoints counted."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(body, spec, writer)
    os.close(writer)
    return Child(pid, reader)


def run_forked(body: Callable[[], object], *, spec: str = "", timeout_s: float = 60) -> Outcome:
    """Run ``body`` in a forked child to its end; see ``start_forked`` and ``Child.wait``."""
    return start_forked(body, spec=spec).wait(timeout_s)


def kill_at(point: Failpoint, hit: int, body: Callable[[], object], **options: float) -> Outcome:
    """Run ``body`` in a forked child that is killed at the ``hit``-th visit of ``point``."""
    return run_forked(body, spec=f"{point.value}:{hit}:kill", **options)


def first_and_last(point: Failpoint, unbroken: Outcome) -> list[int]:
    """The hits at which to kill, after one run to the end has counted them.

    Raises:
        AssertionError: If the scenario never visits ``point``: then nothing is tested.
    """
    num_hits = unbroken.hits.get(point.value, 0)
    assert num_hits, f"the scenario never reaches {point.value}"
    return sorted({1, num_hits})


def _child(body: Callable[[], object], spec: str, writer: int) -> None:
    code, error = 0, ""
    try:
        failpoints.disarm()
        failpoints.arm(spec)
        failpoints.count_hits()
        body()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as raised:  # noqa: BLE001 - everything must be reported
        code, error = 1, f"{type(raised).__name__}: {raised}\n{traceback.format_exc()}"
    finally:
        hits = {point.value: count for point, count in failpoints.num_hits().items()}
        os.write(writer, json.dumps({"error": error[-30_000:], "hits": hits}).encode())
        os._exit(code)


def _read_all(reader: int, pid: int, timeout_s: float) -> bytes:
    """Until the child closes its end: grandchildren must not hold it open for ever."""
    deadline = time.monotonic() + timeout_s
    report = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise AssertionError(f"the child ran longer than {timeout_s} s")
            part = pipe.read(65536)
            if not part:
                return report
            report += part


def tree(path: Path) -> dict[str, bytes]:
    """Every regular file below ``path`` with its content, for before/after comparisons."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
