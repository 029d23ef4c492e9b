"""Pairs of runs, ours and a peer's in turn, each in a fresh process; ratios of their speeds.

How to call it: README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def speed(command: list[str], threads: int) -> dict[str, Any]:
    """Median tokens per second of one process, its warm-up left out."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=HERE,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    timed = [row for row in rows if not row["warmup"]]
    if done.returncode or not timed:
        raise SystemExit(f"{command} failed:\n{done.stderr[-2000:]}")
    rates = [row["tokens"] / row["seconds"] for row in timed]
    return {**timed[-1], "tokens_per_s": statistics.median(rates)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rollout", "step"))
    parser.add_argument("--against", required=True, help="a script beside this one")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", default="W1")
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--lora", default="0")
    parser.add_argument("--micro-batch", default="16")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    shared = [
        "--model", asked.model, "--work", asked.work, "--threads", str(asked.threads),
        "--lora", asked.lora,
    ]  # fmt: skip
    ours = [sys.executable, str(HERE / "ours.py"), *shared, "--what", asked.what,
            "--precision", asked.precision]  # fmt: skip
    peer = [asked.peer_python, str(HERE / asked.against), *shared,
            "--micro-batch", asked.micro_batch]  # fmt: skip
    ratios, last = [], {}
    for _ in range(asked.pairs):
        a, b = speed(ours, asked.threads), speed(peer, asked.threads)
        ratios.append(a["tokens_per_s"] / b["tokens_per_s"])
        last = {"ours": a, "peer": b}
        print(f"pair {len(ratios)}: {ratios[-1]:.2f}", file=sys.stderr, flush=True)
    told = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    about = {name: getattr(asked, name) for name in ("what", "work", "against", "precision")}
    print(json.dumps({**about, "ratio": told, "pairs": len(ratios), **last}))


if __name__ == "__main__":
    main()
