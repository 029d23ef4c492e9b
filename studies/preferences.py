"""From comparisons to a policy that the hidden reader likes: reward model and PPO, and DPO.

    python studies/preferences.py                     # three seeds, the recipes as they are
    python studies/preferences.py --quick --seeds 1   # a small one: does the path hold together?

Every step is a command of ``sayso``, run in ``--work``; what is there is not done again. At the end
``docs/results/persona_preferences.md`` and ``.json`` are written. The judge of both policies is the
hidden reader of ``sayso/Persona-v0``, on tasks that nobody trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sayso.runs.jsonl import read
from sayso.stats.intervals import mean_interval

RESULTS = Path(__file__).parents[1] / "docs" / "results"
NAME = "persona_preferences"
ENV = "sayso/Persona-v0"
WRITERS = ("any_style", "one_style", "infers")
POLICIES = {
    "base model": ("dpo", "base"), "PPO on the reward model": ("ppo", "last"),
    "DPO": ("dpo", "last"),
}  # fmt: skip
FULL: dict[str, Any] = {"pairs": 2000, "held_out": 400, "rm": [], "ppo": [], "dpo": [],
                        "episodes": 200}  # fmt: skip
QUICK: dict[str, Any] = {
    "pairs": 480, "held_out": 100,
    "rm": ["model.name=minilm", "model.lora=none", "reward_model.pooling=mean", "optim.lr=1e-4",
           "train.epochs=2"],
    "ppo": ["train.total_episodes=320", "algorithm.tasks_per_step=8", "train.checkpoint_every=5"],
    "dpo": ["train.total_episodes=256", "data.batch_episodes=16", "optim.warmup_steps=2"],
    "episodes": 50,
}  # fmt: skip


class Chain:
    """The commands of one seed, and what they said."""

    def __init__(self, work: Path, seed: int, size: dict[str, Any]) -> None:
        self.folder, self.seed, self.size = work / f"seed-{seed}", seed, size
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "steps.jsonl"
        self.done = {row["step"]: row for row in read(self.log)}

    def do(self, step: str, *command: str) -> dict[str, Any]:
        """Run a command once; what it printed as JSON."""
        if step in self.done:
            found: dict[str, Any] = self.done[step]
            return found
        print(f"seed {self.seed}, {step}: sayso {' '.join(command)}", flush=True)
        start = time.monotonic()
        made = subprocess.run(
            [sys.executable, "-m", "sayso.cli.main", *command, "--json"], cwd=self.folder,
            stdout=subprocess.PIPE, text=True, check=True, env=os.environ,
        )  # fmt: skip
        row = {"step": step, "command": f"sayso {' '.join(command)}",
               "seconds": round(time.monotonic() - start, 1),
               **json.loads(made.stdout.splitlines()[-1])}  # fmt: skip
        with self.log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.done[step] = row
        return row

    def pairs(self, split: str, num: int, out: str) -> None:
        """Comparisons of a split, judged by its hidden readers."""
        writers = [part for writer in WRITERS for part in ("--writer", writer)]
        self.do(out, "comparisons", ENV, *writers, "-n", str(num), "--split", split, "--seed",
                str(self.seed), "--out", f"{out}.jsonl")  # fmt: skip

    def train(self, recipe: str, *changes: str) -> dict[str, Any]:
        """Train a recipe in a run of its name."""
        kind = recipe.split("_")[1]
        sets = [part for change in (*changes, *self.size[kind]) for part in ("--set", change)]
        return self.do(kind, "train", recipe, "--run", kind, "--seed", str(self.seed), *sets)

    def run(self) -> dict[str, Any]:
        """All of it: rows of numbers by name."""
        self.pairs("train", self.size["pairs"], "train")
        self.pairs("held_out", self.size["held_out"], "held_out")
        data = "data.path=train.jsonl"
        rm = self.train("persona_rm", data, "data.held_out=held_out.jsonl")
        self.train("persona_dpo", data)
        self.train("persona_ppo_rm", "env.reward.model=rm")
        judged = {}
        for name, (run, checkpoint) in POLICIES.items():
            report = self.do(
                f"eval {name}", "eval", run, "--split", "held_out", "--checkpoint", checkpoint,
                "--episodes", str(self.size["episodes"]),
            )  # fmt: skip
            judged[name] = report["parts"]["true"] if run == "ppo" else report["mean"]
        notes = self.folder / "ppo" / "notes.jsonl"
        return {
            "accuracy": rm["accuracy"], "ece": rm["ece"], "truth": rm["truth"], "judged": judged,
            "curve": [
                {k: row.get(f"reward/{k}") for k in ("part/model", "part/true", "model_true_rank")}
                for row in read(self.folder / "ppo" / "metrics.jsonl")
            ],
            "notes": [row["note"] for row in read(notes) if "Over-opt" in row["note"]],
            "seconds": {step: row["seconds"] for step, row in self.done.items()},
        }  # fmt: skip


def rows_of(found: list[dict[str, Any]], command: str) -> list[dict[str, Any]]:
    """Rows of the table; over seeds if there are several, else over tasks or prompts."""
    numbers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in found:
        for name, mean in one["judged"].items():
            numbers.setdefault((name, "reward by the hidden reader"), []).append(mean)
        numbers.setdefault(("reward model", "accuracy"), []).append(one["accuracy"])
        numbers.setdefault(("reward model", "rank correlation with the truth"), []).append(
            one["truth"]
        )
        ece = {"mean": one["ece"], "low": None, "high": None}
        numbers.setdefault(("reward model", "calibration error"), []).append(ece)
    rows = []
    for (algorithm, metric), each in numbers.items():
        mean = each[0] if len(each) == 1 else mean_interval([m["mean"] for m in each]).to_json()
        rows.append(
            {"env": ENV, "split": "held_out", "algorithm": algorithm, "metric": metric,
             "seeds": len(each), "mean": mean["mean"], "low": mean["low"], "high": mean["high"],
             "published": None, "command": command}
        )  # fmt: skip
    return rows


def page(rows: list[dict[str, Any]], found: list[dict[str, Any]], about: str) -> str:
    """The page."""
    lines = [
        "# Preferences on Persona-v0: a reward model with PPO, and DPO", "", about, "",
        "| what | measure | seeds | mean | 95 % interval |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        ends = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        lines.append(
            f"| {row['algorithm']} | {row['metric']} | {row['seeds']} | {row['mean']:.3f} "
            f"| {ends} |"
        )
    lines += [
        "", "While PPO trained, means of its first and its last five steps:", "",
        "| seed | model's score | true reward | rank correlation of the two |", "|---|---|---|---|",
    ]  # fmt: skip
    for seed, one in enumerate(found):
        cells = []
        for key in ("part/model", "part/true", "model_true_rank"):
            told = [row[key] for row in one["curve"] if row[key] is not None]
            first, last = (sum(part) / max(len(part), 1) for part in (told[:5], told[-5:]))
            cells.append(f"{first:.3f} → {last:.3f}")
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    notes = [f"Seed {seed}: {note}" for seed, one in enumerate(found) for note in one["notes"]]
    lines += ["", *(notes or ["No run was found to over-optimise its reward model."]), ""]
    minutes = [sum(one["seconds"].values()) / 60 for one in found]
    lines += [f"Minutes of each seed: {', '.join(f'{m:.0f}' for m in minutes)}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Run the seeds, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    size = QUICK if asked.quick else FULL
    found = [Chain(asked.work.resolve(), seed, size).run() for seed in range(asked.seeds)]
    command = f"python studies/preferences.py{' --quick' * asked.quick} --seeds {asked.seeds}"
    about = f"Command: `{command}`. With one seed the intervals are over tasks or prompts of that "
    about += "run, else over seeds."
    if asked.quick:
        about += (
            " This is the small setting (a MiniLM reward model from 480 pairs, 320 episodes of PPO,"
            " 128 pairs of DPO): it shows that the path holds together, not how far it leads."
        )
    rows = rows_of(found, command)
    asked.out.mkdir(parents=True, exist_ok=True)
    told = {"command": command, "about": about, "rows": rows, "runs": found}
    (asked.out / f"{NAME}.json").write_text(json.dumps(told, indent=1) + "\n")
    (asked.out / f"{NAME}.md").write_text(page(rows, found, about))


if __name__ == "__main__":
    main()
