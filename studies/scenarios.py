"""What a scenario's recipe teaches: before and after, on tasks that it was not trained on.

    python studies/scenarios.py persona            # three seeds of `sayso train persona`
    python studies/scenarios.py persona --page     # the page again, of the runs that are there

A seed is a line of ``docs/results/runs/NAME.jsonl``: what is there is not run again, and a run that
was stopped goes on. When all are there, ``docs/results/NAME.md``, ``.json`` and ``.svg`` are
written. Three policies are measured on the same tasks with the same draws: the model as it is, the
one that training began with (where the recipe has a warm start), and the one that it ended with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figure import dots

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SPLITS = ("held_out", "unseen")
MODEL, START, TRAINED = "model", "start", "trained"
LABELS = {MODEL: "the model", START: "after the warm start", TRAINED: "trained"}
ABOUT = {
    "persona": (
        "One thread each, beside other work on the machine. What is trained writes on topic, in "
        "most of the styles that are asked for, and tells readers apart. Its sentences are short "
        "and not always English: the grammar of the reward does not know which verbs take an "
        'object ("You disappeared the lamp"), and nobody taught it more than 128 sentences.'
    ),
    "summary": (
        "One thread each, beside other work on the machine. What is trained copies and joins "
        "sentences that hold key facts, and keeps to the budget of words; now and then it joins "
        "two that do not belong together, which costs all of faithfulness."
    ),
}
"""What a person says of the texts, and of the machine."""
NUM_SHOWN, MAX_CHARS = 3, 1_200


def one(name: str, seed: int, folder: Path, *, episodes: int) -> dict[str, Any]:
    """Train a recipe with a seed, measure before and after."""
    run = folder / f"{name}-{seed}"
    start = time.monotonic()
    sayso = [str(Path(sys.executable).with_name("sayso")), "train", "--json"]
    is_begun = (run / "meta.json").is_file()
    if not is_begun:
        sayso += [name, "--seed", str(seed), "--run", str(run)]
    subprocess.run([*sayso, *(["--resume", str(run)] if is_begun else [])], check=True)
    seconds = time.monotonic() - start
    found: dict[str, Any] = {"seed": seed, "episodes": episodes, "curve": curve(run)}
    if not is_begun:  # else this is not all the time that it took
        found["train_s"] = round(seconds)
    found["returns"], found["texts"] = {}, {}
    for policy in (MODEL, START, TRAINED):
        measured = returns_of(run, policy, episodes=episodes)
        if measured is not None:
            found["returns"][policy], found["texts"][policy] = measured
    return found


def curve(run: Path) -> list[list[float]]:
    """Episodes and mean return of every step of training."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [
        [line["progress/episodes"], round(line["reward/mean"], 4)]
        for line in lines
        if "reward/mean" in line
    ]


def returns_of(
    run: Path, policy: str, *, episodes: int
) -> tuple[dict[str, dict[str, float]], list[str]] | None:
    """Return of every episode by split and task, and a few texts; ``None`` without a warm start."""
    import dataclasses

    from sayso.app.assemble import build_learner, build_lm
    from sayso.app.opening import env_source, rollout_limits
    from sayso.cli.restore import restore
    from sayso.data.options import WarmStartOptions
    from sayso.evaluation.evaluate import evaluate

    config, learner, _ = restore(run, "last" if policy == TRAINED else "base")
    if policy == START and config.warm_start.player is None:
        return None
    if policy == MODEL:
        config = dataclasses.replace(config, warm_start=WarmStartOptions())
        learner = build_learner(config, build_lm(config))
    env, by_split, texts = env_source(config.env), {}, []
    for split in SPLITS:
        report = evaluate(
            learner.policy(), env, split=split, num_episodes=episodes, seed=0,
            limits=rollout_limits(config.env),
        )  # fmt: skip
        by_split[split] = {f"{t}#{i}": round(r, 5) for (t, i), r in report.returns.items()}
        if split == SPLITS[0]:
            texts = [
                f"{s.observation[-MAX_CHARS:]}\n> {s.action[:MAX_CHARS]}   [{s.reward}]"
                for s in report.samples[:NUM_SHOWN]
            ]
    return by_split, texts


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The finished seeds."""
    rows = map(json.loads, path.read_text().splitlines()) if path.is_file() else ()
    return sorted(rows, key=lambda row: row["seed"])


def gain(row: Mapping[str, Any], split: str, *, since: str) -> Any:
    """Paired difference of the trained policy to an earlier one, over the tasks of a split."""
    from sayso.stats.intervals import paired_difference

    before, after = (row["returns"][policy][split] for policy in (since, TRAINED))
    shared = sorted(before.keys() & after.keys())
    return paired_difference([before[k] for k in shared], [after[k] for k in shared])


def mean(row: Mapping[str, Any], policy: str, split: str) -> float:
    """Mean return of a policy."""
    values = row["returns"][policy][split].values()
    return float(sum(values) / len(values))


def summary(name: str, env: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean over seeds, with its interval over seeds, of every policy and split."""
    from sayso.stats.intervals import mean_interval

    found = []
    for split in SPLITS:
        for policy in rows[0]["returns"]:
            values, seeds = [mean(row, policy, split) for row in rows], len(rows)
            if policy == MODEL:  # the same for every seed: its episodes are what there is
                values, seeds = list(rows[0]["returns"][policy][split].values()), 1
            told = mean_interval(values).to_json()
            found.append(
                {
                    "env": env, "split": split, "algorithm": f"{name}: {LABELS[policy]}",
                    "metric": "return", "seeds": seeds, "mean": told["mean"],
                    "low": told["low"], "high": told["high"], "published": None,
                    "command": f"python studies/scenarios.py {name}",
                }
            )  # fmt: skip
    return found


def known_bounds(env: str, kwargs: Mapping[str, Any]) -> dict[str, float]:
    """Mean return of the scripted players on 64 held-out tasks."""
    from sayso.envs.registry import source
    from sayso.envs.scripted import bounds

    opened = source(env, **kwargs).open()
    return {k: v.mean for k, v in bounds(opened, split=SPLITS[0], num_games=64).items()}


def write_page(name: str) -> None:
    """Table, figure, texts, JSON."""
    from sayso.cli import recipes

    rows = rows_of(RESULTS / "runs" / f"{name}.jsonl")
    env = recipes.config(name, ()).env
    found = summary(name, env.id, rows)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    bounds = known_bounds(env.id, env.kwargs)
    figure = [
        {**row, "label": f"{row['algorithm'].partition(': ')[2]}, {row['split']}"}
        for row in found
        if row["low"] is not None
    ]
    lines = [
        f"# What `sayso train {name}` teaches",
        "",
        f"`python studies/scenarios.py {name}`",
        "",
    ]
    measured = rows[0]["episodes"]
    lines += [
        f"Mean return over {measured} episodes of each split; gained: paired, since the start.", "",
        f"| seed | split | {' | '.join(LABELS[p] for p in rows[0]['returns'])} | gained |",
        f"|---|---|{'---|' * len(rows[0]['returns'])}---|",
    ]  # fmt: skip
    for row in rows:
        since = START if START in row["returns"] else MODEL
        for split in SPLITS:
            told = gain(row, split, since=since)
            means = " | ".join(f"{mean(row, p, split):.3f}" for p in row["returns"])
            lines.append(
                f"| {row['seed']} | {split} | {means} | {told.mean:+.3f} "
                f"[{told.low:+.3f}, {told.high:+.3f}] |"
            )
    known = ", ".join(f"`{key}` {value:.3f}" for key, value in bounds.items())
    lines += ["", f"Scripted players on held-out tasks: {known}.", ""]
    times = [row["train_s"] for row in rows if "train_s" in row]
    if times:
        told = ", ".join(f"{t / 60:.0f}" for t in times)
        lines += [f"Training: {told} minutes. {ABOUT.get(name, '')}".rstrip(), ""]
    if figure:
        title = f"{env.id}: return before and after"
        (RESULTS / f"{name}.svg").write_text(dots(title, figure, bounds=bounds))
        lines += [f"![{title}]({name}.svg)", ""]
    lines += ["## Texts", "", f"Seed {rows[0]['seed']}, the first held-out tasks.", ""]
    for policy, texts in rows[0]["texts"].items():
        lines += [f"### {LABELS[policy].capitalize()}", ""]
        lines += [part for text in texts for part in ("```text", text, "```", "")]
    (RESULTS / f"{name}.md").write_text("\n".join(lines))


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=96)
    parser.add_argument("--folder", type=Path, default=Path("runs/scenarios"))
    parser.add_argument("--one", type=int, default=None, metavar="SEED")
    parser.add_argument("--page", action="store_true", help="only write the page")
    asked = parser.parse_args()
    out = RESULTS / "runs" / f"{asked.recipe}.jsonl"
    if asked.one is not None:
        row = one(asked.recipe, asked.one, asked.folder, episodes=asked.episodes)
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return
    done = {row["seed"] for row in rows_of(out)}
    for seed in () if asked.page else (s for s in range(asked.seeds) if s not in done):
        command = [sys.executable, __file__, asked.recipe, "--one", str(seed)]
        command += ["--folder", str(asked.folder), "--episodes", str(asked.episodes)]
        subprocess.run(command, check=True, env=os.environ)
    write_page(asked.recipe)


if __name__ == "__main__":
    main()
