"""Pairs of runs, ours and a peer's in turn, each in a fresh process; ratios of their speeds."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from sayso.bench.record import Record
from sayso.bench.works import Job
from sayso.errors import RunError

HERE = Path(__file__).parent
Peer = Literal["hf", "trl", "vllm"]
PACKAGES = {"hf": ("torch", "transformers"), "trl": ("torch", "transformers", "trl"),
            "vllm": ("torch", "vllm")}  # fmt: skip
SWEPT = (4, 8, 16, 32)
"""Micro-batches of a peer that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two.

    Attributes:
        command: Starts a process that measures; a job's arguments follow.
        threads: Of every pool the process may start.
    """

    command: Sequence[str]
    threads: int

    def run(self, job: Job) -> list[dict[str, Any]]:
        """The lines that a process reported about a job."""
        return self.lines(job.arguments())

    def lines(self, arguments: Sequence[str]) -> list[dict[str, Any]]:
        """The lines of JSON that a process with these arguments reported.

        Raises:
            RunError: If it failed, with the end of what it said.
        """
        pinned = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        done = subprocess.run(  # noqa: S603  # the command is ours
            [*self.command, *arguments], capture_output=True, text=True, check=False,
            env={**os.environ, **pinned, "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        if done.returncode:
            raise RunError(
                where=" ".join(self.command),
                problem=f"ended with code {done.returncode}: {done.stderr.strip()[-600:]}",
                fix="Run the command by hand; a peer needs an environment of its own.",
            )
        # A trainer may print dictionaries of its own; Python's look like {'loss': ...}.
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]

    def measure(self, job: Job) -> dict[str, Any]:
        """Medians of a fresh process, its warm-up left out."""
        timed = [row for row in self.run(job) if not row["warmup"]]
        rates = [row["tokens"] / row["seconds"] for row in timed]
        return {**timed[-1], "tokens_per_s": statistics.median(rates)}


def sides(against: Peer, peer_python: str, threads: int) -> tuple[Side, Side]:
    """Ours and theirs."""
    ours = Side(command=(sys.executable, "-m", "sayso.bench.ours"), threads=threads)
    theirs = (peer_python, str(HERE / "peers" / f"{against}.py"))
    return ours, Side(command=theirs, threads=threads)


def gated(ours: Side, peer: Side, job: Job) -> dict[str, float]:
    """Both sides' loss and gradient of one saved batch, compared.

    Raises:
        GuardError: If they differ.
    """
    from sayso.bench import gate

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        base = dataclasses.replace(job, gate=str(place / "batch.json"), precision="exact")
        ours.run(dataclasses.replace(base, out=str(place / "ours.safetensors")))
        peer.run(dataclasses.replace(base, out=str(place / "peer.safetensors")))
        return gate.compare(place / "ours.safetensors", place / "peer.safetensors")


def best_micro_batch(peer: Side, job: Job, tell: Callable[[str], None]) -> int:
    """The one with which a peer is fastest, one timed step each."""
    found = {}
    for rows in SWEPT:
        one = dataclasses.replace(job, micro_batch=rows, repeats=1)
        found[rows] = peer.measure(one)["tokens_per_s"]
        tell(f"micro-batch {rows}: {found[rows]:.1f} tokens/s")
    return max(found, key=lambda rows: found[rows])


def paired(
    ours: Side, peer: Side, job: Job, record: Record, *, num_pairs: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Ours, theirs, ours, theirs: ratios of each pair. What the record has is not run again.

    Returns:
        ``ratio`` of tokens per second and ``memory`` of peak resident sets (median, low, high),
        ``pairs``, and the last measurement of each side.
    """
    ratios, memory, last = [], [], {}
    for number in range(num_pairs):
        a = record.run("ours", number, partial(ours.measure, job))
        b = record.run("peer", number, partial(peer.measure, job))
        ratios.append(a["tokens_per_s"] / b["tokens_per_s"])
        if "peak_gb" in a and "peak_gb" in b:
            memory.append(a["peak_gb"] / b["peak_gb"])
        last = {"ours": a, "peer": b}
        tell(f"pair {len(ratios)} of {num_pairs}: {ratios[-1]:.2f}")
    found: dict[str, Any] = {"ratio": _spread(ratios), "pairs": len(ratios)}
    if memory:
        found["memory"] = _spread(memory)
    return {**found, **last}


def here() -> dict[str, Any]:
    """What the figures depend on: processor, cores, versions."""
    name = next(
        (line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")),
        platform.processor(),
    )
    own = {package: version(package) for package in ("sayso", "torch", "transformers")}
    return {"processor": name, "cores": os.cpu_count(), "versions": own}


def machine(peer_python: str, against: Peer) -> dict[str, Any]:
    """The same, and a peer's versions."""
    ask = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run(  # noqa: S603  # the command is ours
        [peer_python, "-c", ask, *PACKAGES[against]], capture_output=True, text=True, check=False
    )
    theirs = dict(zip(PACKAGES[against], done.stdout.split(), strict=False))
    return {**here(), "peer_versions": theirs}


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
