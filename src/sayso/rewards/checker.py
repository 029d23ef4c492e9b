"""Checks of model text that may hang, in a child process that is killed when the time is up.

Only killing a process is a timeout: a regular expression, a computer algebra system or a schema
with patterns cannot be interrupted from within. One child serves all calls of this process, one at
a time.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sayso.errors import EnvContractError, ExtraMissingError, OptionValueError

START_S = 60.0
"""Seconds for a fresh child to import what it needs."""
MAX_TIMEOUT_S = 600
MAX_ANSWER_BYTES = 1_000_000
EXTRAS = {"math": "math", "json_schema": "structured"}
_CHILD = Path(__file__).with_name("checker_child.py")
_lock = threading.Lock()


class _Child:
    """The process, and what it has said since."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603  # our own file
            [sys.executable, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self.owner = os.getpid()
        self.imported: set[str] = set()

    def ask(self, call: Mapping[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """Its answer; ``None``, and it is killed, if the time is up or it died."""
        line = json.dumps(call).encode() + b"\n"  # ASCII: surrogates travel escaped
        deadline = time.monotonic() + timeout_s
        answer = bytearray()
        pipes = (self.process.stdin, self.process.stdout)
        to_child, from_child = (pipe.fileno() for pipe in pipes if pipe is not None)
        os.set_blocking(to_child, False)
        with selectors.DefaultSelector() as ready, contextlib.suppress(BrokenPipeError):
            ready.register(to_child, selectors.EVENT_WRITE)
            ready.register(from_child, selectors.EVENT_READ)
            while not answer.endswith(b"\n") and len(answer) < MAX_ANSWER_BYTES:
                events = ready.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    break
                for key, _ in events:
                    if key.fd == to_child:
                        line = line[os.write(to_child, line) :]
                        if not line:
                            ready.unregister(to_child)
                        continue
                    piece = os.read(from_child, 65_536)
                    answer += piece
                    if not piece:  # it died
                        self.kill()
                        return None
        if not answer.endswith(b"\n"):
            self.kill()
            return None
        found: dict[str, Any] = json.loads(answer)
        return found

    def kill(self) -> None:
        """End it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


_child: _Child | None = None


@atexit.register
def _end() -> None:
    """Leave no child behind; one that hangs sees no closed pipe."""
    if _child is not None and _child.owner == os.getpid():
        _child.kill()


def checked(check: str, call: Mapping[str, Any], *, timeout_s: float) -> Any:
    """Run one check on model text.

    Args:
        check: ``"regex"``, ``"math"`` or ``"json_schema"``: a function of ``checker_child``.
        call: Its arguments; JSON values.
        timeout_s: Seconds it may take, imports aside.

    Returns:
        What the check says; ``None`` if it did not come to an end: the time was up, the memory
        was used up, or it died. A text that does this to a check has not passed it.

    Raises:
        ExtraMissingError: If the child lacks a package.
        EnvContractError: If the check itself failed, or no child can be started.
    """
    with _lock:
        child = _started(check)
        answer = child.ask({"check": check, **call}, timeout_s)
    if answer is None:
        return None
    if "missing" in answer:
        raise _missing(check, answer["missing"])
    if "error" in answer:
        raise EnvContractError(
            where=f"reward {check}",
            problem=f"the check failed: {answer['error']:.300}.",
            fix="This is a fault of the check or of the right answer, not of the text.",
        )
    return answer["result"]


def require_timeout(seconds: float, scorer: str) -> None:
    """Refuse a time in which nothing can be checked: every text would earn 0.

    Raises:
        OptionValueError: If it is not above 0, or longer than anybody waits.
    """
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise OptionValueError(
            where=f"reward {scorer}.timeout_s",
            problem=f"is {seconds!r}.",
            fix=f"Use seconds above 0, at most {MAX_TIMEOUT_S}.",
        )


def _started(check: str) -> _Child:
    """The child, started and ready for a check."""
    global _child  # noqa: PLW0603  # one child a process, as one interpreter
    # After a fork the pipes would be shared with the parent process.
    if _child is None or _child.owner != os.getpid() or _child.process.poll() is not None:
        _child = _Child()
    if check not in _child.imported:
        answer = _child.ask({"import": check, "path": sys.path}, START_S)
        if answer is None:
            raise EnvContractError(
                where=f"reward {check}",
                problem=f"the process that checks did not start within {START_S:g} s.",
                fix="Look at standard error; is the machine out of memory?",
            )
        if "missing" in answer:
            raise _missing(check, answer["missing"])
        _child.imported.add(check)
    return _child


def _missing(check: str, told: str) -> ExtraMissingError:
    return ExtraMissingError(
        where=f"reward {check}",
        problem=f"a package is not installed ({told}).",
        fix=f"Run: pip install 'sayso[{EXTRAS[check]}]'.",
    )
