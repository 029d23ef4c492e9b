"""Ctrl-C and SIGTERM at safe moments only.

Weights change in a short stretch of each step. Outside it a signal stops the run at once and
the state is that of the last step boundary; inside it the signal waits. A second signal leaves
without waiting: the run stays resumable from its last checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interrupted(BaseException):
    """A signal asked the run to stop.

    Not a ``KeyboardInterrupt``: command-line libraries turn that into an exit code of their own.

    Attributes:
        exit_code: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = EXIT_CODES.get(signal.Signals(signum), 128 + signum)


class _State:
    """One per process, as signals are.

    Attributes:
        held: True while state is being changed or written.
        pending: The signal that came meanwhile.
        listening: True between ``listen`` and its end.
    """

    held = False
    pending: int | None = None
    listening = False


def hold() -> None:
    """From here on state changes: a signal waits for ``release``."""
    _State.held = True


def release() -> None:
    """State is whole again.

    Raises:
        Interrupted: If a signal came while held.
    """
    _State.held = False
    check()


def check() -> None:
    """Raise what has been raised already, if somebody's ``except`` took it for his own error.

    Raises:
        Interrupted: If a signal came, and state is not changing right now.
    """
    if _State.pending is not None and _State.listening and not _State.held:
        raise Interrupted(_State.pending)


@contextmanager
def listen() -> Iterator[None]:
    """Handle SIGINT and SIGTERM inside; outside the main thread this does nothing."""
    if threading.current_thread() is not threading.main_thread() or _State.listening:
        yield
        return
    previous = {number: signal.signal(number, _handle) for number in EXIT_CODES}
    _State.held, _State.pending, _State.listening = False, None, True
    try:
        yield
    finally:
        _State.held, _State.pending, _State.listening = False, None, False
        for number, handler in previous.items():
            signal.signal(number, handler)


def _handle(signum: int, frame: FrameType | None) -> None:
    del frame
    if _State.pending is not None:
        os._exit(EXIT_CODES[signal.Signals(signum)])
    _State.pending = signum
    if not _State.held:
        raise Interrupted(signum)
