"""The table of the README: measure what is missing, print what is there.

    python benchmarks/table.py run --trl TRL/bin/python --vllm VLLM/bin/python
    python benchmarks/table.py show

Every cell is a ``sayso bench`` command whose finished runs lie in ``results/``; a run that is
stopped goes on where it was. Cells that cost least come first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
FULL, LORA = "whole step", "whole step, LoRA r = 16"
SAMPLING_INT8, SAMPLING_FP32 = "sampling, int8", "sampling, fp32"
GOALS = {
    (SAMPLING_INT8, "hf"): (4, 6, 8),
    (SAMPLING_FP32, "hf"): (2, 3, 4),
    (SAMPLING_INT8, "vllm"): (1.6, 1.6, 1.6),
    (FULL, "trl"): (2.2, 4, 6),
    (LORA, "trl"): (2.2, 4, 6),
}
"""Least ratio on W1, W2, W3."""
MEMORY_GOALS = (0.7, 0.5, 0.5)
PEERS = {"hf": "transformers `generate`", "trl": "TRL", "vllm": "vLLM, CPU build"}
MICRO_BATCH = {"W1": 16, "W2": 8, "W3": 8}
"""TRL's fastest on two cores, by the sweep of the first reading; W3 is swept by hand."""
CELLS = [(what, against, work) for work in ("W1", "W2", "W3") for what, against in GOALS]


def name_of(what: str, against: str, work: str) -> str:
    """File name of a cell."""
    short = {SAMPLING_INT8: "int8", SAMPLING_FP32: "fp32", FULL: "step", LORA: "lora"}[what]
    return f"{work}-{against}-{short}.jsonl"


def command_of(what: str, against: str, work: str, python: str, pairs: int) -> list[str]:
    """The ``sayso bench`` command of a cell."""
    is_step = against == "trl"
    sayso = Path(sys.executable).with_name("sayso")
    command = [str(sayso), "bench", "step" if is_step else "rollout"]
    command += ["--against", against, "--work", work, "--pairs", str(pairs)]
    command += ["--out", str(RESULTS / name_of(what, against, work)), "--json"]
    if python:
        command += ["--peer-python", python]
    if is_step:
        command += ["--set", "repeats=1", "--set", f"micro_batch={MICRO_BATCH[work]}"]
    if what == LORA:
        command += ["--set", "lora=16"]
    if what == SAMPLING_FP32:
        command += ["--set", "precision=exact"]
    return command


def run(pythons: dict[str, str], pairs: int, only: list[str]) -> None:
    """Measure every cell whose peer is there."""
    for cell in CELLS:
        against = cell[1]
        name = name_of(*cell).removesuffix(".jsonl")
        if (against != "hf" and not pythons[against]) or (only and name not in only):
            continue
        print(name, flush=True)
        subprocess.run(command_of(*cell, pythons[against], pairs), check=False)


def read(path: Path) -> tuple[dict[str, object], list[tuple[dict, dict]]]:
    """The first line of a file, and its whole pairs."""
    if not path.is_file():
        return {}, []
    header, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    by_key = {(row["side"], row["number"]): row for row in rows}
    numbers = sorted({number for _, number in by_key})
    return header, [
        (by_key["ours", n], by_key["peer", n])
        for n in numbers
        if ("ours", n) in by_key and ("peer", n) in by_key
    ]


def shown(values: list[float], goal: float, *, at_least: bool) -> str:
    """Median, range, number of pairs, and whether the goal is met."""
    if not values:
        return "not measured"
    middle = statistics.median(values)
    is_met = middle >= goal if at_least else middle <= goal
    sign = "≥" if at_least else "≤"
    ends = f"{min(values):.2f} to {max(values):.2f}, {len(values)} pairs"
    return f"{middle:.2f} ({ends}; goal {sign} {goal:g}{'' if is_met else ': **not met**'})"


def show() -> None:
    """Print the table in Markdown."""
    print("| | against | W1 | W2 | W3 |")
    print("|---|---|---|---|---|")
    memory: list[str] = []
    for (what, against), goals in GOALS.items():
        cells = []
        for number, work in enumerate(("W1", "W2", "W3")):
            _, pairs = read(RESULTS / name_of(what, against, work))
            ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs]
            cells.append(shown(ratios, goals[number], at_least=True))
            if what == FULL:
                peaks = [a["peak_gb"] / b["peak_gb"] for a, b in pairs]
                memory.append(shown(peaks, MEMORY_GOALS[number], at_least=False))
        print(f"| {what} | {PEERS[against]} | {' | '.join(cells)} |")
    print(f"| peak memory of the step | {PEERS['trl']} | {' | '.join(memory)} |")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("do", choices=("run", "show"))
    parser.add_argument("--trl", default="")
    parser.add_argument("--vllm", default="")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    if asked.do == "show":
        show()
    else:
        run({"hf": "", "trl": asked.trl, "vllm": asked.vllm}, asked.pairs, asked.only)


if __name__ == "__main__":
    main()
