"""Code of a policy, run in a child process that it can neither leave nor forge a verdict in.

What the child is (``sandbox_child``): a fresh ``python -I -S`` with an empty environment, in
process, mount and network namespaces of its own (Linux): no network, no other process to see, no
file but the Python installation (read-only) and one empty folder; limits on seconds, memory, file
size, open files and processes; killed with all its children at the deadline, or when it prints
too much.

The verdict is made outside: the child is sent inputs and sends back values, the right values never
enter it. So there is nothing to patch, print or exit from that would pass a test.

What it is not: a boundary against an attacker who has an exploit for the kernel or for Python, and
it shares the machine's CPU and caches. For models that may be hostile use a virtual machine, gVisor
or a container on a host of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from sayso.errors import EnvContractError

Isolation = Literal["full", "limits"]
CHILD = Path(__file__).with_name("sandbox_child.py")
START_S = 60.0
"""Seconds for the interpreter to start and to shut itself in, on a busy machine."""
PATIENCE = 10.0
"""Most seconds by the clock for one of ``Limits.seconds``, on a machine that is overloaded."""
STARTED = b"started\n"
FIX = (
    'Allow user namespaces; or run all this in a container and pass isolation="limits": the code '
    "can then reach network, files and processes there."
)
FIX_OF_LIMITS = "Run as a user other than root."


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What code may use.

    Attributes:
        seconds: From its first line on, by the clock, less what it waited for a processor that
            other processes had (on Linux; of ten seconds at most nine are waiting).
        memory_mb: Address space, in 10^6 bytes.
        output_bytes: Of what it prints, or of its results together.
        isolation: ``"full"`` as above; ``"limits"`` without namespaces: the network, and what files
            and processes the user has, stay within reach. It may start no process either.
    """

    seconds: float = 2.0
    memory_mb: int = 256
    output_bytes: int = 100_000
    isolation: Isolation = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What came back.

    Attributes:
        data: The bytes it sent; of no use if it was ended early.
        ended: It came to its end by itself, within all limits.
    """

    data: bytes
    ended: bool


def run(source: str, work: Mapping[str, Any], limits: Limits) -> Output:
    """Run code once.

    Args:
        source: The code.
        work: ``{"calls": [[function, args, kwargs], ...]}`` to call its functions, one result a
            line; or ``{"stdin": text}`` to run it as a program, whose output comes back.
        limits: What it may use.

    Raises:
        EnvContractError: If the child cannot be shut in: nothing is run then.
    """
    job = {
        "source": source,
        "work": dict(work),
        "isolate": limits.isolation == "full",
        "binds": _binds(),
        "seconds": limits.seconds,
        "memory": limits.memory_mb * 1_000_000,
        "output": limits.output_bytes,
    }
    folder = tempfile.mkdtemp(prefix="sayso-code-")
    try:
        process = subprocess.Popen(  # noqa: S603  # our own file
            [sys.executable, "-I", "-S", "-B", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        with process:
            return _Watch(process, limits).until_the_end(json.dumps(job).encode())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Watch:
    """One child: what it is sent, what it says, and its end."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self.process, self.limits = process, limits
        self.data, self.told = bytearray(), bytearray()
        self.inner: int | None = None
        self.born = time.monotonic()
        self.begun: float | None = None
        self.waited = self.waited_before = 0.0

    def until_the_end(self, job: bytes) -> Output:
        """Serve it until it ends or has to."""
        try:
            ended = self._serve(job)
        finally:
            self._kill()
        if not self.told.endswith(STARTED):
            self._raise_unstarted()
        return Output(data=bytes(self.data[: self.limits.output_bytes]), ended=ended)

    def _raise_unstarted(self) -> NoReturn:
        """Say why nothing was run: refused, by the child's own words; or late; or killed."""
        lines = bytes(self.told).decode("utf-8", "replace").splitlines()
        said = [line for line in lines if not line.startswith("inner ")]
        refused = FIX if self.limits.isolation == "full" else FIX_OF_LIMITS
        problem, fix = f"did not start within {START_S:g} s", "Is the machine overloaded?"
        if said:
            problem, fix = f"cannot be shut in here: {said[-1][:200]}", refused
        elif self._left() > 0:
            problem, fix = "ended before the code started", "Is the machine out of memory?"
        raise EnvContractError(
            where="reward Code", problem=f"the process for code {problem}.", fix=fix
        )

    def _left(self) -> float:
        """Seconds until it is killed."""
        now, seconds = time.monotonic(), self.limits.seconds
        if self.begun is None:
            return self.born + START_S - now
        waited = _waited_s(self.inner or self.process.pid) - self.waited_before
        self.waited = max(self.waited, min(waited, (PATIENCE - 1) * seconds))
        return self.begun + seconds + self.waited - now

    def _serve(self, job: bytes) -> bool:
        """True when it ended by itself."""
        pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        to_child, output, control = (pipe.fileno() for pipe in pipes if pipe is not None)
        os.set_blocking(to_child, False)
        with selectors.DefaultSelector() as ready:
            ready.register(to_child, selectors.EVENT_WRITE)
            ready.register(output, selectors.EVENT_READ)
            ready.register(control, selectors.EVENT_READ)
            while ready.get_map():
                left = self._left()
                if left <= 0 or len(self.data) > self.limits.output_bytes:
                    return False
                for key, _ in ready.select(left):
                    if key.fd == to_child:
                        job = self._send(job, ready, to_child)
                        continue
                    piece = os.read(key.fd, 65_536)
                    if not piece:
                        ready.unregister(key.fd)
                    elif key.fd == output:
                        self.data += piece
                    else:
                        self.told += piece
                        self._note_start()
        return self._waits_for_its_end() and len(self.data) <= self.limits.output_bytes

    def _waits_for_its_end(self) -> bool:
        """Whether it ends well: its pipes are closed, but it may still wait for something."""
        while (left := self._left()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(left) == 0
        return False

    def _send(self, job: bytes, ready: selectors.BaseSelector, pipe: int) -> bytes:
        with contextlib.suppress(BrokenPipeError):
            job = job[os.write(pipe, job) :]
            if job:
                return job
        ready.unregister(pipe)
        if self.process.stdin is not None:
            self.process.stdin.close()
        return b""

    def _note_start(self) -> None:
        """When the code starts, and in which process: the first one named it before."""
        if not self.told.endswith(STARTED):
            return
        for line in bytes(self.told).splitlines():
            if line.startswith(b"inner "):
                self.inner = int(line[6:])
        self.begun = time.monotonic()
        self.waited_before = _waited_s(self.inner or self.process.pid)

    def _kill(self) -> None:
        """End everything: the first process of its namespace takes all others along."""
        if self.process.poll() is None:  # else the inner process was waited for, its number free
            for kill, number in ((os.kill, self.inner), (os.killpg, self.process.pid)):
                if number is not None:
                    with contextlib.suppress(ProcessLookupError):
                        kill(number, signal.SIGKILL)
        elif self.limits.isolation == "limits":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def _binds() -> list[str]:
    """Folders that the interpreter needs, none inside another."""
    paths = {sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib")}
    paths |= {"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache"}
    found = sorted(path for path in paths if path and Path(path).exists())
    return [p for p in found if not any(p != q and _is_inside(p, q) for q in found)]


def _is_inside(path: str, others: str) -> bool:
    return Path(others) in Path(path).parents and not Path(others).is_symlink()


def _waited_s(process: int) -> float:
    """Seconds that a process could have run and got no processor; 0 where no system tells."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
