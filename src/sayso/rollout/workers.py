"""Sessions played in a few environment processes, side by side."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import Any

from sayso.errors import GuardError
from sayso.rollout.boundary import Bounds, Outcome
from sayso.rollout.host import START_S, Host, LostError
from sayso.rollout.worker import CLOSING_S, encode, result_from_json
from sayso.types import Failure, Task

MAX_DEATHS, DEATH_WINDOW_S = 5, 600.0

Result = Outcome | Failure


@dataclass(slots=True)
class _Session:
    """What it takes to play a session again in another process."""

    key: str
    task: Task
    seed: int
    place: int
    actions: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    """Of the answers so far: to the reset, then to each action."""
    born: int = 0
    """The incarnation of its process that holds it; a later one must play it again."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One thing to play; an ``action`` of None poses the task."""

    place_in_results: int
    session: _Session
    action: str | None


class WorkerPool:
    """Sessions spread over a few processes, each call under a deadline.

    A process that hangs or dies costs the one episode whose call it was playing. Other sessions
    it held are played again in a fresh process (reset, then the same actions), so an environment
    must be deterministic for its task and seed. If such a replay answers differently, its episode
    fails too.

    Args:
        spec: How a process of its own opens the environment; see ``EnvSource.spec``.
        bounds: What its answers are held against.
        timeout_s: Deadline of one reset or step.
        num_workers: Number of processes.
        max_turns: What the environment says about its length.

    Attributes:
        max_turns: As given.
        num_killed: Processes killed at a deadline.
        num_died: Processes that ended by themselves.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        bounds: Bounds,
        *,
        timeout_s: float,
        num_workers: int,
        max_turns: int | None,
    ) -> None:
        self.max_turns = max_turns
        self.num_killed = self.num_died = 0
        self._name, self._timeout_s = str(spec["env"]), timeout_s
        setup = {"spec": dict(spec), "bounds": asdict(bounds), "path": list(sys.path)}
        self.hosts = [Host(self._name, setup) for _ in range(num_workers)]
        self._sessions: dict[str, _Session] = {}
        self._closed: list[list[str]] = [[] for _ in self.hosts]
        self._num_sessions = 0
        self._deaths: deque[float] = deque()
        self._lock = threading.Lock()
        # These threads outlive every call: on Linux a child dies with the thread that started it.
        self._threads = ThreadPoolExecutor(num_workers, "sayso-env")

    def reset(self, calls: Sequence[tuple[str, Task, int]]) -> list[Result]:
        """Start sessions: (key, task, seed)."""
        for key, task, seed in calls:
            place = self._num_sessions % len(self.hosts)
            self._sessions[key] = _Session(key, task, seed, place)
            self._num_sessions += 1
        return self._play([(key, None) for key, _, _ in calls])

    def step(self, calls: Sequence[tuple[str, str]]) -> list[Result]:
        """Play one action in each: (key, action)."""
        return self._play(list(calls))

    def close(self, key: str) -> None:
        """End a session; its process hears of it with the next call."""
        session = self._sessions.pop(key, None)
        if session is not None and session.born == self.hosts[session.place].incarnation:
            self._closed[session.place].append(key)

    def shutdown(self) -> None:
        """End every process and thread; environments are closed if they do it in time."""
        for host in self.hosts:
            host.hang_up()
        deadline = time.monotonic() + CLOSING_S
        for host in self.hosts:
            host.wait_until(deadline)
            host.interrupt()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for host in self.hosts:
            host.kill()

    def _play(self, calls: Sequence[tuple[str, str | None]]) -> list[Result]:
        """Each process plays its calls in order; the processes work at the same time."""
        lanes: dict[int, list[_Call]] = {}
        for index, (key, action) in enumerate(calls):
            session = self._sessions[key]
            lanes.setdefault(session.place, []).append(_Call(index, session, action))
        is_over = threading.Event()
        futures = [self._threads.submit(self._lane, lane, is_over) for lane in lanes.values()]
        played: dict[int, Result] = {}
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                played |= future.result()
        except BaseException:
            is_over.set()
            for place in lanes:
                self.hosts[place].interrupt()
            wait(futures)
            raise
        return [played[index] for index in range(len(calls))]

    def _lane(self, calls: Sequence[_Call], is_over: threading.Event) -> dict[int, Result]:
        results: dict[int, Result] = {}
        for call in calls:
            if is_over.is_set():
                break
            try:
                results[call.place_in_results] = self._one(call)
            except LostError as lost:
                results[call.place_in_results] = self._lost(call, lost, is_over)
        return results

    def _one(self, call: _Call) -> Result:
        """Play one call, its session's past first where the process is a new one."""
        session, host = call.session, self.hosts[call.session.place]
        if not host.is_running:
            self._closed[session.place].clear()
        host.start()
        if call.action is None:
            session.digests.clear()
            session.actions.clear()
        elif session.born != host.incarnation:
            for number, action in enumerate([None, *session.actions]):
                if _digest(self._exchange(host, session, action)) != session.digests[number]:
                    return Failure(
                        kind="not_deterministic",
                        message=(
                            f"{self._where(call)}: its process was lost, and playing it again "
                            "gave another answer; draw from self.np_random after "
                            "super().reset(seed=seed)"
                        ),
                    )
        answer = self._exchange(host, session, call.action)
        session.born = host.incarnation
        session.digests.append(_digest(answer))
        if call.action is not None:
            session.actions.append(call.action)
        return result_from_json(answer)

    def _exchange(self, host: Host, session: _Session, action: str | None) -> dict[str, Any]:
        """One call and its answer.

        Raises:
            LostError: If the process hung or ended.
        """
        closed, self._closed[session.place] = self._closed[session.place], []
        message: dict[str, Any] = {"key": session.key, "closed": closed}
        if action is not None:
            host.send(message | {"action": action}, self._timeout_s)
            return host.receive(self._timeout_s)
        task = {"id": session.task.id, "env": session.task.env, "split": session.task.split}
        host.send(message | {"reset": {"task": task, "seed": session.seed}}, self._timeout_s)
        host.receive(START_S)  # the environment is made; its constructor is not timed as a call
        return host.receive(self._timeout_s)

    def _lost(self, call: _Call, lost: LostError, is_over: threading.Event) -> Failure:
        """Say what the process was doing; too many deaths stop everything.

        Raises:
            GuardError: If processes keep dying.
        """
        failure = Failure(
            kind="env_timeout" if lost.is_late else "env_died",
            message=f"{self._where(call)}: its process {lost.how}",
        )
        with self._lock:
            if is_over.is_set():
                return failure
            if lost.is_late:
                self.num_killed += 1
                return failure
            self.num_died += 1
            now = time.monotonic()
            self._deaths.append(now)
            while now - self._deaths[0] > DEATH_WINDOW_S:
                self._deaths.popleft()
            num_deaths = len(self._deaths)
        if num_deaths > MAX_DEATHS:
            raise GuardError(
                where=self._name,
                problem=(
                    f"its processes died {num_deaths} times in {DEATH_WINDOW_S / 60:.0f} minutes; "
                    f"the last time: {failure.message}."
                ),
                fix="Run the environment by itself and mend it, then `sayso train --resume`.",
            )
        return failure

    def _where(self, call: _Call) -> str:
        task = call.session.task
        doing = "reset" if call.action is None else f"action {call.action[:80]!a}"
        return f"{task.env}, task {task.id}, {doing}"


def _digest(answer: dict[str, Any]) -> bytes:
    return hashlib.sha256(encode(answer)).digest()
