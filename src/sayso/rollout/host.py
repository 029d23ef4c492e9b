"""One child process that plays environments, each call under a deadline.

Only killing a process is a timeout: a thread or a signal cannot stop code that holds the
interpreter.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from sayso.errors import EnvContractError
from sayso.rollout.worker import decode, encode

START_S = 60.0
"""Seconds for imports in a fresh process, and for making an environment."""
_END_S = 5.0
_SLICE_S = 1.0


class LostError(Exception):
    """The process did not answer and is gone.

    Attributes:
        is_late: It was killed because the time was up; else it ended by itself.
        how: How it ended, for a message.
    """

    def __init__(self, how: str, *, is_late: bool) -> None:
        super().__init__(how)
        self.how, self.is_late = how, is_late


class Host:
    """One child process, started when needed. Used by one thread at a time.

    Args:
        name: Name of the environment, for messages.
        setup: What the child needs to open it.

    Attributes:
        incarnation: How many processes have been started.
        is_running: A process has been started and not been lost since.
    """

    def __init__(self, name: str, setup: Mapping[str, Any]) -> None:
        self._name, self._setup = name, dict(setup)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self.incarnation = 0

    @property
    def is_running(self) -> bool:
        """A process has been started and not been lost since."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Of the process, if one is running."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start a process unless one is running.

        Raises:
            LostError: If it ends or hangs before it can be used.
            EnvContractError: If it cannot import the environment.
        """
        if self.is_running:
            return
        self.incarnation += 1
        self._buffer.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sayso.rollout.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the trainer; a kill takes grandchildren along
            # Else sets of strings would have another order in each process.
            env={"PYTHONHASHSEED": "0", **os.environ},
        )
        os.set_blocking(self._fd("stdin"), False)
        self.send(self._setup, START_S)
        answer = self.receive(START_S)
        if "error" in answer:
            self.kill()
            raise EnvContractError(
                where=self._name,
                problem=f"cannot be opened in a process of its own:\n{answer['error']}",
                fix=(
                    "Name it 'module:Class' or 'module:Id', with a module that a fresh Python "
                    "process can import."
                ),
            )

    def send(self, message: Mapping[str, Any], timeout_s: float) -> None:
        """Write one message.

        Raises:
            LostError: If the process does not take it in time.
        """
        left = memoryview(encode(dict(message)))
        deadline = time.monotonic() + timeout_s
        while left:
            deadline = self._wait("stdin", selectors.EVENT_WRITE, deadline, timeout_s)
            try:
                left = left[os.write(self._fd("stdin"), left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._gone() from None

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Wait for one message.

        Raises:
            LostError: If none came in time, or the process ended.
        """
        deadline = time.monotonic() + timeout_s
        while (end := self._buffer.find(b"\n")) < 0:
            deadline = self._wait("stdout", selectors.EVENT_READ, deadline, timeout_s)
            chunk = os.read(self._fd("stdout"), 1 << 16)
            if not chunk:
                raise self._gone()
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            return decode(line)
        except ValueError:
            self.kill()
            raise LostError(f"answered {line[:80]!r}, which is no message", is_late=False) from None

    def interrupt(self) -> None:
        """Kill from another thread; the thread at work finds the process gone."""
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Tell the process that nothing more will come: it closes its environments and ends."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def wait_until(self, deadline: float) -> None:
        """Wait for the process to end, at most until then (``time.monotonic``)."""
        process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))

    def kill(self) -> int | None:
        """End the process and its children; its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return status

    def _wait(self, pipe: str, event: int, deadline: float, timeout_s: float) -> float:
        """Wait until a pipe can be used; the deadline, moved if this process was stopped.

        Raises:
            LostError: If it is not in time.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd(pipe), event)
            while True:
                before = time.monotonic()
                wanted = max(0.0, min(_SLICE_S, deadline - before))
                if selector.select(wanted):
                    return deadline
                now = time.monotonic()
                # A stopped or starved trainer must not take its own pause for the child's.
                if (pause := now - before - wanted) > _SLICE_S:
                    deadline += pause
                if now >= deadline:
                    self.kill()
                    raise LostError(
                        f"gave no answer within {timeout_s:g} s and was killed", is_late=True
                    )

    def _gone(self) -> LostError:
        """The other end is closed: say how the process ended."""
        process = self._process
        if process is None:
            return LostError("was not running", is_late=False)
        try:
            status: int | None = process.wait(_END_S)
        except subprocess.TimeoutExpired:
            status = None
        self.kill()
        if status is None:
            return LostError("closed its pipe and was killed", is_late=False)
        if status >= 0:
            return LostError(f"exited with code {status}", is_late=False)
        known = -status in set(signal.Signals)
        name = signal.Signals(-status).name if known else f"signal {-status}"
        hint = " (often for lack of memory)" if -status == signal.SIGKILL else ""
        return LostError(f"died of {name}{hint}", is_late=False)

    def _fd(self, name: str) -> int:
        pipe = getattr(self._process, name)
        if pipe is None:
            raise RuntimeError(f"the process has no {name}")
        number: int = pipe.fileno()
        return number
