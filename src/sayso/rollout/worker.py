"""The child process that plays environments: ``python -m sayso.rollout.worker``.

Reads one JSON object a line on what was standard input and answers on what was standard output.
The environment finds an empty standard input, and its standard output is standard error, so it
can neither eat calls nor corrupt answers. Ends when the parent closes the pipe or dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import threading
import traceback
from typing import Any

from sayso.envs.base import TextEnv
from sayso.envs.registry import EnvSource, source
from sayso.rollout.boundary import Bounds, Outcome, open_env, reset_env, step_env
from sayso.types import Failure, Task

PR_SET_PDEATHSIG = 1
CLOSING_S = 2.0
"""How long environments may take to close."""


class Player:
    """Sessions of one kind of environment.

    Args:
        opened: Opens the environment.
        bounds: What its answers are held against.
    """

    def __init__(self, opened: EnvSource, bounds: Bounds) -> None:
        self._source, self._bounds = opened, bounds
        self._free: list[TextEnv] = []
        self._playing: dict[str, tuple[TextEnv, Task]] = {}

    def open(self, key: str, task: Task) -> Failure | None:
        """Give a session its environment, one that is done or a new one."""
        env = self._free.pop() if self._free else open_env(self._source.open, task)
        if isinstance(env, Failure):
            return env
        self._playing[key] = (env, task)
        return None

    def reset(self, key: str, seed: int) -> Outcome | Failure:
        """Pose the session's task."""
        return self._kept(key, reset_env(*self._playing[key], seed, self._bounds))

    def step(self, key: str, action: str) -> Outcome | Failure:
        """Play one action."""
        return self._kept(key, step_env(*self._playing[key], action, self._bounds))

    def close(self, key: str) -> None:
        """End a session; its environment serves the next one."""
        if key in self._playing:
            self._free.append(self._playing.pop(key)[0])

    def shutdown(self) -> None:
        """Close every environment; nothing that one does meanwhile is of interest."""
        for env in [*self._free, *(env for env, _ in self._playing.values())]:
            with contextlib.suppress(Exception):
                env.close()

    def _kept(self, key: str, result: Outcome | Failure) -> Outcome | Failure:
        """An environment that failed is in a state that nobody knows: never used again."""
        if isinstance(result, Failure):
            self._playing.pop(key, None)
        return result


def encode(message: dict[str, Any]) -> bytes:
    """One line. Surrogates without their other half survive, and two halves stay apart."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Undo ``encode``.

    Raises:
        ValueError: If the line is no such message.
    """
    message = json.loads(line.decode("utf-8", "surrogatepass"))
    if not isinstance(message, dict):
        raise ValueError(f"no message: {line[:80]!r}")  # noqa: TRY004  # one error for the caller
    return message


def result_to_json(result: Outcome | Failure) -> dict[str, Any]:
    """For the pipe."""
    if isinstance(result, Failure):
        return {
            "failure": {"kind": result.kind, "message": result.message, "detail": result.detail}
        }
    return {"outcome": result.to_json()}


def result_from_json(record: dict[str, Any]) -> Outcome | Failure:
    """Undo ``result_to_json``."""
    if "failure" in record:
        return Failure(**record["failure"])
    return Outcome.from_json(record["outcome"])


def main() -> None:
    """Serve until the pipe closes."""
    calls = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    is_over = threading.Event()
    _die_with_parent(calls.fileno(), is_over)

    def say(message: dict[str, Any]) -> None:
        answers.write(encode(message))
        answers.flush()

    first = calls.readline()
    if not first:
        return
    setup = decode(first)
    sys.path[:0] = [p for p in setup["path"] if p not in sys.path]
    try:
        opened = source(setup["spec"]["env"], **setup["spec"]["kwargs"])
    except Exception as error:  # noqa: BLE001  # importing user code may raise anything
        say({"error": "".join(traceback.format_exception(error))})
        return
    player = Player(opened, Bounds(**setup["bounds"]))
    say({"ready": True})
    for line in calls:
        call = decode(line)
        for key in call["closed"]:
            player.close(key)
        key = call["key"]
        if "reset" in call:
            failure = player.open(key, Task(**call["reset"]["task"]))
            say({"opened": True})
            result = failure or player.reset(key, call["reset"]["seed"])
        else:
            result = player.step(key, call["action"])
        say(result_to_json(result))
    player.shutdown()
    is_over.set()


def _die_with_parent(pipe: int, is_over: threading.Event) -> None:
    """Leave no orphan, also when the parent is killed while an environment hangs.

    The kernel's signal comes even while the interpreter is blocked, and on Linux only. A thread
    that sees the pipe close takes the environment's own children along, once the environments
    have been closed or have had their time for it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        poll = select.poll()
        poll.register(pipe, 0)
        poll.poll()
        is_over.wait(CLOSING_S)
        if os.getpgrp() == os.getpid():  # a group of its own, as ``Host`` starts it
            os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
