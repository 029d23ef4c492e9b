"""The child process that plays environments: ``python -m sayso.rollout.worker``.

Reads one JSON object a line on standard input and answers each with one on the descriptor that
standard output had at the start. Whatever the environment prints goes to standard error, so it
cannot corrupt the answers. Ends when the parent closes the pipe.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from sayso.envs.base import TextEnv
from sayso.envs.registry import from_spec
from sayso.rollout.boundary import Outcome, reset_env, step_env
from sayso.types import Failure, Task


class Player:
    """Sessions of one kind of environment."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._spec = setup["spec"]
        self._limits = {"max_reward": setup["max_reward"], "max_chars": setup["max_chars"]}
        self._playing: dict[str, tuple[TextEnv, Task]] = {}

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """One call, one answer."""
        key = call["key"]
        if call["call"] == "close":
            self._playing.pop(key, None)
            return {"closed": True}
        if call["call"] == "reset":
            task = Task(**call["task"])
            self._playing[key] = (from_spec(self._spec), task)
            result = reset_env(self._playing[key][0], task, call["seed"], **self._limits)
        else:
            result = step_env(*self._playing[key], call["action"], **self._limits)
        return encode(result)


def encode(result: Outcome | Failure) -> dict[str, Any]:
    """For the pipe."""
    if isinstance(result, Failure):
        return {
            "failure": {"kind": result.kind, "message": result.message, "detail": result.detail}
        }
    return {"outcome": result.to_json()}


def decode(record: dict[str, Any]) -> Outcome | Failure:
    """Undo ``encode``."""
    if "failure" in record:
        return Failure(**record["failure"])
    return Outcome.from_json(record["outcome"])


def main() -> None:
    """Serve until the pipe closes."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    player: Player | None = None
    for line in sys.stdin.buffer:
        call = json.loads(line)
        if player is None:
            sys.path[:0] = [p for p in call["setup"]["path"] if p not in sys.path]
            player = Player(call["setup"])
            answer: dict[str, Any] = {"ready": True}
        else:
            answer = player.answer(call)
        answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
