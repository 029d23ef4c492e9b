"""An environment with every misbehaviour as a parameter.

Sound: three turns, each worth 1.0, then the end. ``fault`` happens on the tasks in ``bad_tasks`` at
call number ``at`` of the episode (0 is the reset, 1 the first step); with ``marker``, a file, only
while that does not exist.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sayso.envs.base import TextEnv
from sayso.types import Task

NUM_TURNS = 3


def _sleep() -> None:
    time.sleep(1e6)


def _sleep_holding_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(1_000_000)


def _regex_that_backtracks_for_ever() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def _power_tower() -> None:
    str(5 ** (5 ** (5**5)))


def _raise() -> None:
    raise RuntimeError("boom \x1b[31m\udc80")


class Rude(BaseException):
    """Neither an Exception nor KeyboardInterrupt, like a panic of a Rust library."""

    def __str__(self) -> str:
        raise ValueError("cannot even be printed")


def _raise_rudely() -> None:
    raise Rude


def _sleeping_grandchild() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    print(f"GRANDCHILD {child.pid}", flush=True)
    time.sleep(1e6)


ACTS: dict[str, Callable[[], object]] = {
    "sleep": _sleep,
    "hold_gil": _sleep_holding_the_interpreter,
    "regex": _regex_that_backtracks_for_ever,
    "power_tower": _power_tower,
    "nap": lambda: time.sleep(1.5),
    "raise": _raise,
    "raise_rudely": _raise_rudely,
    "sys_exit": lambda: sys.exit(0),
    "os_exit": lambda: os._exit(7),
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "grandchild": _sleeping_grandchild,
    "input": input,
    "print": lambda: print('{"outcome": {}}\n' * 2000, flush=True),
    "write_to_descriptor": lambda: os.write(1, b'{"outcome": {}}\n'),
    "close_descriptors": lambda: os.closerange(3, 256),
}
REWARDS: dict[str, Any] = {
    "nan": float("nan"),
    "numpy_nan": np.float32("nan"),
    "inf": float("inf"),
    "minus_inf": float("-inf"),
    "1e30": 1e30,
    "huge_int": 10**400,
    "string": "1.0",
    "list": [1.0],
    "array": np.array([1.0]),
    "numpy_string": np.array("1.0"),
    "complex": np.complex64(1),
    "dict": {"score": 1.0},
}
ANSWERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "none": lambda answer: None,
    "old_gym": lambda answer: (answer[0], 1.0, False, {}),
    "list_not_tuple": list,
    "info_none": lambda answer: (*answer[:-1], None),
    "observation_none": lambda answer: (None, *answer[1:]),
    "observation_bytes": lambda answer: (b"look", *answer[1:]),
    "observation_list": lambda answer: (["look"], *answer[1:]),
    "observation_empty_chat": lambda answer: ((), *answer[1:]),
    "terminated_string": lambda answer: (*answer[:2], "False", *answer[3:]),
    "terminated_array": lambda answer: (*answer[:2], np.array([True]), *answer[3:]),
    "truncated_none": lambda answer: (*answer[:3], None, answer[4]),
    "parts_nan": lambda answer: (*answer[:4], {"reward_parts": {"style": float("nan")}}),
    "parts_string": lambda answer: (*answer[:4], {"reward_parts": {"style": "good"}}),
    "parts_list": lambda answer: (*answer[:4], {"reward_parts": [1.0]}),
    "choices_string": lambda answer: (*answer[:-1], {"choices": "left"}),
    "choices_numbers": lambda answer: (*answer[:-1], {"choices": [1, 2]}),
    "choices_huge": lambda answer: (*answer[:-1], {"choices": ["x" * 1000] * 1000}),
    "both_ends": lambda answer: (*answer[:2], True, True, answer[4]),
    "numpy_flags": lambda answer: (*answer[:2], np.bool_(True), np.False_, answer[4]),
}


class BadEnv(TextEnv):
    """See the module."""

    max_turns = 10

    def __init__(
        self,
        *,
        fault: str = "",
        at: int = 2,
        bad_tasks: Sequence[str] = ("t1",),
        num_tasks: int = 4,
        timeout_s: float | None = None,
        text: str = "",
        text_size: int = 0,
        seeded: bool = True,
        marker: str = "",
    ) -> None:
        self.fault, self.at, self.bad_tasks = fault, at, set(bad_tasks)
        self.num_tasks, self.timeout_s, self.seeded = num_tasks, timeout_s, seeded
        self.text, self.text_size, self.marker = text, text_size, marker
        self.num_calls, self.task_id = 0, ""
        if fault == "constructor_raises":
            raise RuntimeError("no constructor today")
        if fault == "constructor_exits":
            os._exit(9)

    def tasks(self, split: str) -> Sequence[Task]:
        count = self.num_tasks if split in ("train", "held_out") else 0
        return [
            Task(id=f"t{i}", env="test/Bad-v0", split=split, payload={"n": i, "split": split})
            for i in range(count)
        ]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.task_id = self.choose(seed, options).id
        self.num_calls = 0
        noise = self.np_random.integers(10**6) if self.seeded else random.random()
        return self._answer((f"{self.task_id} {noise}{self.text}", {}))

    def step(self, action: str) -> Any:
        self.num_calls += 1
        over = self.num_calls >= NUM_TURNS
        noise = self.np_random.integers(10**6) if self.seeded else random.random()
        observation = f"turn {self.num_calls} after {action!r}, {noise}"
        return self._answer(
            (observation, 1.0, over, False, {"reward_parts": {"one": 1.0, "n/a": None}})
        )

    def _answer(self, answer: tuple[Any, ...]) -> Any:
        if self.num_calls != self.at or self.task_id not in self.bad_tasks:
            return answer
        if self.marker:
            if Path(self.marker).exists():
                return answer
            Path(self.marker).touch()
        if self.fault in ACTS:
            ACTS[self.fault]()
        if self.fault in ANSWERS:
            return ANSWERS[self.fault](answer)
        if self.fault in REWARDS:
            return (answer[0], REWARDS[self.fault], *answer[2:])
        if self.fault == "text":
            return (self.text * self.text_size, *answer[1:])
        return answer


def reward_that_hangs(prompt: str, completion: str, **columns: Any) -> float:
    """Hangs on prompts that say how."""
    if columns.get("hang"):
        ACTS[columns["hang"]]()
    return 1.0


def reward_that_raises(prompt: str, completion: str, **columns: Any) -> float:
    """Raises on prompts that ask for it."""
    if columns.get("bad"):
        raise ZeroDivisionError("judge divided by zero")
    return float(len(completion))
