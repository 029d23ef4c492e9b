"""Environment processes with deadlines. Only killing a process is a timeout."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from sayso.errors import GuardError
from sayso.rollout.boundary import Outcome
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.worker import decode
from sayso.types import Failure, Task

START_S = 60.0
MAX_DEATHS, DEATH_WINDOW_S = 5, 600.0


@dataclass(slots=True)
class _Session:
    """What it takes to play a session again in another process."""

    task: Task
    seed: int
    worker: int
    actions: list[str] = field(default_factory=list)
    born: int = -1
    """Which incarnation of its worker holds it; a later one must replay it."""


class _Worker:
    """One child process."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self._setup = setup
        self.process: subprocess.Popen[bytes] | None = None
        self.incarnation = 0
        self._buffer = b""

    def start(self) -> None:
        if self.process is not None:
            return
        self.incarnation += 1
        self._buffer = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sayso.rollout.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        if "ready" not in (self.call({"setup": dict(self._setup)}, START_S) or {}):
            raise RuntimeError("the environment process did not start")

    def call(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """Send and wait; ``None`` when the time is up or the process is gone."""
        self.send(message)
        deadline = time.monotonic() + timeout_s
        while (answer := self.take()) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not self.wait(left):
                return None
        return answer

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._pipe("stdin").write(json.dumps(message).encode() + b"\n")
            self._pipe("stdin").flush()
        except BrokenPipeError:
            return  # its death is noticed where the answer is awaited

    def wait(self, timeout_s: float) -> bool:
        """Read what is there; False at end of file or when nothing came in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe("stdout"), selectors.EVENT_READ)
            if not selector.select(timeout_s):
                return False
        chunk = os.read(self._pipe("stdout").fileno(), 1 << 16)
        self._buffer += chunk
        return bool(chunk)

    def take(self) -> dict[str, Any] | None:
        """A whole answer, if one has arrived."""
        line, found, rest = self._buffer.partition(b"\n")
        if not found:
            return None
        self._buffer = rest
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> str:
        """End the process and its children; how it ended."""
        if self.process is None:
            return "was not running"
        ended = self.process.poll()
        if ended is None:
            try:
                # A moment for a process that is dying by itself: its own signal is the news.
                ended = self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                ended = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self.process = None
        if ended is None:
            return "was killed"
        if ended < 0:
            return f"died of {signal.Signals(-ended).name}"
        return f"exited with code {ended}"

    def _pipe(self, name: str) -> IO[bytes]:
        pipe: IO[bytes] | None = getattr(self.process, name)
        if pipe is None:
            raise RuntimeError(f"worker has no {name}")
        return pipe


class WorkerPool:
    """Sessions spread over a few processes, each call under a deadline.

    A process that hangs or dies costs the one episode whose call it was playing. Other sessions
    it held are played again in a fresh process (reset, then the same actions), so an environment
    must be deterministic for its task and seed; ``check_text_env`` checks that.
    """

    def __init__(self, spec: Mapping[str, Any], limits: RolloutLimits, *, timeout_s: float) -> None:
        setup = {
            "spec": dict(spec), "max_reward": limits.max_reward, "path": list(sys.path),
            "max_chars": limits.max_observation_chars,
        }  # fmt: skip
        self._name, self._timeout_s = str(spec["env"]), timeout_s
        self.workers = [_Worker(setup) for _ in range(limits.num_workers)]
        self._sessions: dict[str, _Session] = {}
        self._next = 0
        self._deaths: deque[float] = deque()
        self.num_killed = 0
        atexit.register(self.shutdown)

    def reset(self, calls: Sequence[tuple[str, Task, int]]) -> list[Outcome | Failure]:
        """Start sessions, workers side by side."""
        for key, task, seed in calls:
            self._sessions[key] = _Session(task, seed, self._next % len(self.workers))
            self._next += 1
        return self._play([(key, None) for key, _, _ in calls])

    def step(self, calls: Sequence[tuple[str, str]]) -> list[Outcome | Failure]:
        """Play one action in each, workers side by side."""
        return self._play(list(calls))

    def close(self, key: str) -> None:
        """Forget a session."""
        session = self._sessions.pop(key, None)
        if session is None:
            return
        worker = self.workers[session.worker]
        if worker.process is not None and session.born == worker.incarnation:
            worker.call({"call": "close", "key": key}, self._timeout_s)

    def shutdown(self) -> None:
        """End every process."""
        for worker in self.workers:
            worker.kill()

    def _play(self, calls: list[tuple[str, str | None]]) -> list[Outcome | Failure]:
        """Each worker plays its calls in order; the workers work at the same time."""
        results: dict[str, Outcome | Failure] = {}
        queues: dict[int, deque[tuple[str, str | None]]] = {}
        for key, action in calls:
            queues.setdefault(self._sessions[key].worker, deque()).append((key, action))
        waiting: dict[int, tuple[str, str | None, float]] = {}
        while queues or waiting:
            for place in sorted(queues):
                if place not in waiting:
                    key, action = queues[place].popleft()
                    if not queues[place]:
                        del queues[place]
                    failed = self._begin(place, key, action)
                    if failed is not None:
                        results[key] = failed
                    else:
                        waiting[place] = (key, action, time.monotonic() + self._timeout_s)
            for place in self._arrived(waiting):
                key, action, _ = waiting.pop(place)
                results[key] = self._end(place, key, action)
        return [results[key] for key, _ in calls]

    def _begin(self, place: int, key: str, action: str | None) -> Failure | None:
        """Send a call, replaying its session first where the process is a new one."""
        worker, session = self.workers[place], self._sessions[key]
        worker.start()
        if action is not None and session.born != worker.incarnation:
            past = [self._reset_call(key, session)]
            past += [{"call": "step", "key": key, "action": a} for a in session.actions]
            for call in past:
                if worker.call(call, self._timeout_s) is None:
                    return self._failed(place, key, action)
        session.born = worker.incarnation
        if action is None:
            worker.send(self._reset_call(key, session))
        else:
            worker.send({"call": "step", "key": key, "action": action})
        return None

    def _arrived(self, waiting: dict[int, tuple[str, str | None, float]]) -> list[int]:
        """Workers that answered, died or ran out of time; waits for the first of them."""
        if not waiting:
            return []
        ready = [place for place in waiting if b"\n" in self.workers[place]._buffer]  # noqa: SLF001
        if ready:
            return ready
        with selectors.DefaultSelector() as selector:
            for place in waiting:
                pipe = self.workers[place]._pipe("stdout")  # noqa: SLF001  # its own module
                selector.register(pipe, selectors.EVENT_READ, place)
            first = min(deadline for _, _, deadline in waiting.values())
            events = selector.select(max(0.0, first - time.monotonic()))
        done = []
        for event, _ in events:
            worker = self.workers[event.data]
            alive = worker.wait(0)
            if not alive or b"\n" in worker._buffer:  # noqa: SLF001
                done.append(event.data)
        now = time.monotonic()
        late = [p for p, (_, _, deadline) in waiting.items() if deadline <= now and p not in done]
        return sorted(done + late)

    def _end(self, place: int, key: str, action: str | None) -> Outcome | Failure:
        answer = self.workers[place].take()
        if answer is None:
            return self._failed(place, key, action)
        if action is not None:
            self._sessions[key].actions.append(action)
        return decode(answer)

    def _failed(self, place: int, key: str, action: str | None) -> Failure:
        """Kill the process; say what it was doing."""
        session = self._sessions[key]
        ended = self.workers[place].kill()
        self.num_killed += 1
        hung = ended == "was killed"
        doing = "reset" if action is None else f"step({action[:80]!r})"
        where = f"{self._name}, task {session.task.id}, {doing}"
        if hung:
            return Failure(
                kind="env_timeout",
                message=f"{where}: no answer within {self._timeout_s:g} s, its process was killed",
            )
        self._note_death(ended)
        return Failure(kind="env_died", message=f"{where}: its process {ended}")

    def _note_death(self, ended: str) -> None:
        """Processes that keep dying by themselves are no accident."""
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths and now - self._deaths[0] > DEATH_WINDOW_S:
            self._deaths.popleft()
        if len(self._deaths) > MAX_DEATHS:
            raise GuardError(
                where=self._name,
                problem=(
                    f"its processes died {len(self._deaths)} times in {DEATH_WINDOW_S / 60:.0f} "
                    f"minutes; the last one {ended}."
                ),
                fix="Run the environment by itself and mend it, then `sayso train --resume`.",
            )

    @staticmethod
    def _reset_call(key: str, session: _Session) -> dict[str, Any]:
        task = session.task
        return {
            "call": "reset", "key": key, "seed": session.seed,
            "task": {
                "id": task.id, "env": task.env, "split": task.split,
                "payload": dict(task.payload),
            },
        }  # fmt: skip
