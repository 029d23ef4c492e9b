"""Published tables, done again on this machine: value-based learning from logged games.

    python studies/offline.py maze            # LMRL-Gym's fully observed maze, 1 200 games
    python studies/offline.py wordle          # its Wordle, 100 000 games, a character model

Each run of an algorithm and a seed is a line of ``docs/results/runs/NAME.jsonl``: what is there is
not run again. When all are there, ``docs/results/NAME.md``, ``.json`` and ``.svg`` are written.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress, product
from pathlib import Path
from typing import Any

from figure import dots

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One algorithm of a study.

    Attributes:
        name: In the table.
        algorithm: Class of ``sayso``.
        options: Its options.
        episodes: Stored episodes (or, online, games) it learns from.
        published: The published mean return; ``None``: there is none.
        after: Arm whose trained model it starts from; its time is not counted again.
        is_online: It plays itself, instead of reading the logged games.
    """

    name: str
    algorithm: str
    options: Mapping[str, Any]
    episodes: int
    published: float | None = None
    after: str = ""
    is_online: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is learned from what.

    Attributes:
        title: Of the page.
        env: Environment, with ``kwargs``.
        player: Whose games are logged.
        num_games: How many.
        split: Which tasks are trained and measured on, as the publication does.
        shared: Options of every arm: the model, and what it reads.
        arms: Algorithms.
        batch_episodes: Stored games of an optimiser step.
        eval_games: Games of one evaluation.
        bounds: Known returns, by name.
        decoding: Name to changes of how the trained policy acts.
        about: Told below the table.
    """

    title: str
    env: str
    kwargs: Mapping[str, Any]
    player: str
    num_games: int
    split: str
    shared: Mapping[str, Any]
    arms: tuple[Arm, ...]
    batch_episodes: int
    eval_games: int
    bounds: Mapping[str, float]
    about: str = ""
    decoding: Mapping[str, Any] = field(default_factory=lambda: {"sampled": {}, "greedy": {}})


CELLS = [
    (row, column)
    for row, line in enumerate(
        ("1000001000001", "1110111110111", "1110111110111", "1110111110111", "1110000000111",
         "1111110111111", "1111110111111", "1111110111111"), start=1,
    )
    for column, wall in enumerate(line) if wall == "0"
]  # fmt: skip
SIDES = ("above", "below", "left", "right")
MAZE_TOKENS = [
    "move up", "move down", "move left", "move right", "Goal: 8, 6. You: ", "Success.", "\n",
    *(f"{row}, {column}" for row, column in CELLS),
    *(
        f". Walls: {', '.join(compress(SIDES, walls)) or 'none'}."
        for walls in product((True, False), repeat=4)
    ),
]  # fmt: skip
"""A symbol for each place and each set of walls: the way is to be learned, not how to read."""
WORDLE_TOKENS = ["Wordle:", "not a word", "\n", *"abcdefghijklmnopqrstuvwxyz"]

STUDIES = {
    "maze": Study(
        title="The maze from logged games",
        env="sayso/Maze-v0",
        kwargs={"starts": "all"},
        player="mixture",
        num_games=1_200,
        split="train",
        shared={
            "tiny": {"tokens": MAZE_TOKENS, "width": 64, "layers": 1, "heads": 4, "context": 64},
            "context": "turn",
            "max_new_tokens": 1,
            "max_turns": 100,
            "lr": 2e-3,
            "schedule": "linear",
            "micro_batch_tokens": 4096,
        },
        arms=(
            Arm(name="BC", algorithm="BC", options={}, episodes=6_000, published=-72.1),
            Arm(
                name="MC returns", algorithm="MCReturns", episodes=20_000, published=-48.1,
                options={
                    "gamma_turn": 0.99, "alpha_cql": 0.5, "critic_lr": 4e-3,
                    "acting": {"beta": 0.5},
                },
            ),
            Arm(
                name="ILQL", algorithm="ILQL", episodes=20_000, published=-6.97,
                options={
                    "tau": 0.95, "gamma_turn": 0.99, "alpha_cql": 0.001, "target_rate": 0.05,
                    "critic_lr": 4e-3, "acting": {"beta": 64.0},
                },
            ),
            Arm(
                name="PPO, online, after BC", algorithm="PPO", episodes=2_500, published=-37.7,
                after="BC", is_online=True,
                options={
                    "tasks_per_step": 25, "group_size": 2, "minibatches": 4, "gamma_turn": 0.99,
                    "critic_lr": 4e-3,
                },
            ),
        ),
        batch_episodes=8,
        eval_games=100,
        bounds={"best": -6.84, "data": -73.23},
        about=(
            "The policy sees the latest observation only (`env.context = \"turn\"`), as in the "
            "publication; 1 200 games of the player `mixture`, all 25 starts, 100 games of each "
            "policy. The publication's games are cut otherwise (they average -83), so its numbers "
            "are neighbours, not targets. ILQL plays the optimum in every game of all seeds, in "
            "both ways of decoding. MC returns value the random walk that the data are: steered "
            "softly (beta 0.5) they beat their data, at more they run into corners and stay there, "
            "as most greedy policies do. PPO starts from BC and plays 2 500 games of its own: one "
            "seed of five finds the optimum; training times are of a machine that did other work "
            "too."
        ),
    ),
    "wordle": Study(
        title="Wordle from 100 000 logged games",
        env="sayso/Wordle-v0",
        kwargs={"answers": "all"},
        player="mixture",
        num_games=100_000,
        split="train",
        shared={
            "tiny": {
                "tokens": WORDLE_TOKENS, "width": 96, "layers": 2, "heads": 4, "context": 128,
            },
            "max_new_tokens": 6,
            "lr": 2e-3,
            "micro_batch_tokens": 8192,
        },
        arms=(
            Arm(name="BC", algorithm="BC", options={}, episodes=100_000, published=-2.81),
            Arm(
                name="MC returns", algorithm="MCReturns", episodes=100_000, published=-2.16,
                options={"gamma_turn": 1.0, "alpha_cql": 0.01, "acting": {"beta": 64.0}},
            ),
            Arm(
                name="ILQL", algorithm="ILQL", episodes=100_000, published=-2.04,
                options={
                    "tau": 0.7, "gamma_turn": 0.99, "alpha_cql": 0.01, "target_rate": 0.02,
                    "acting": {"beta": 32.0},
                },
            ),
        ),
        batch_episodes=64,
        eval_games=860,
        bounds={"information gain": -1.847, "consistent": -2.292, "data": -4.004},
    ),
}  # fmt: skip


def data_of(study: Study, name: str, folder: Path) -> Path:
    """The logged games, written once."""
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        from sayso.data.datasets import write_games
        from sayso.envs.registry import source
        from sayso.envs.scripted import play_many, scripted

        env = source(study.env, **study.kwargs).open()
        act = scripted(env, study.player).act
        write_games(path, play_many(env, act, split=study.split, num_games=study.num_games, seed=0))
    return path


def trained(study: Study, arm: Arm, seed: int, path: Path) -> dict[str, Any]:
    """One run: seconds of training, and the mean return of every way of decoding."""
    import torch

    import sayso
    from sayso.envs.registry import source

    torch.set_num_threads(1)
    logging.getLogger("sayso").setLevel(logging.ERROR)
    env = source(study.env, **study.kwargs)
    options: dict[str, Any] = {**study.shared, **arm.options}
    model = "tiny"
    if arm.after:
        del options["tiny"]
        model = str(model_of(path, arm.after, seed))
    if not arm.is_online:
        options["data"] = {"path": str(path), "batch_episodes": study.batch_episodes}
    agent = getattr(sayso, arm.algorithm)(model, env, seed=seed, **options)
    start = time.monotonic()
    agent.learn(
        arm.episodes, run=path.parent / f"{path.stem}-{arm.algorithm}-{seed}", progress_bar=False,
        checkpoint_every=1_000_000, **({"split": study.split} if arm.is_online else {}),
    )  # fmt: skip
    seconds = time.monotonic() - start
    row: dict[str, Any] = {"arm": arm.name, "seed": seed, "train_s": round(seconds, 1)}
    for decode in ("sampled", "greedy"):
        report = sayso.evaluate(
            agent, split=study.split, num_episodes=study.eval_games, seed=seed, decode=decode
        )
        row[decode] = report.mean.mean
    if any(other.after == arm.name for other in study.arms):
        agent.save(model_of(path, arm.name, seed))
    return row


def model_of(path: Path, arm: str, seed: int) -> Path:
    """Where an arm's trained model lies, for those that start from it."""
    return path.parent / f"{path.stem}-{arm}-{seed}-model"


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The finished runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def run_all(name: str, *, seeds: int, jobs: int, only: list[str], folder: Path) -> None:
    """Start what is missing, so many processes at a time; each adds its line when it ends."""
    study, out = STUDIES[name], RESULTS / "runs" / f"{name}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    path = data_of(study, name, folder)
    waiting = wanted(study, rows_of(out), path, seeds=seeds, only=only)
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        running = [process for process in running if process.poll() is None]
        ready = [job for job in waiting if not job[0].after or has_model(path, *job)]
        if len(running) < jobs and ready:
            arm, seed = ready[0]
            waiting.remove(ready[0])
            command = [
                sys.executable, __file__, name, "--one", arm.name, str(seed), "--games", str(path),
            ]  # fmt: skip
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            running.append(subprocess.Popen(command, env=environment))
        elif waiting and not running:
            raise SystemExit(f"no model to start from: {[(a.name, s) for a, s in waiting]}")
        time.sleep(0.5)


def wanted(
    study: Study, rows: Iterable[Mapping[str, Any]], path: Path, *, seeds: int, only: list[str]
) -> list[tuple[Arm, int]]:
    """Runs that are missing, and those whose models others start from."""
    done = {(row["arm"], row["seed"]) for row in rows}
    missing = [
        (arm, seed) for seed in range(seeds) for arm in study.arms
        if (arm.name, seed) not in done and (not only or arm.name in only)
    ]  # fmt: skip
    by_name = {arm.name: arm for arm in study.arms}
    needed = {(arm.after, seed) for arm, seed in missing if arm.after}
    again = [
        (by_name[name], seed) for name, seed in sorted(needed)
        if (name, seed) in done and not model_of(path, name, seed).is_dir()
    ]  # fmt: skip
    return again + missing


def has_model(path: Path, arm: Arm, seed: int) -> bool:
    """Whether what an arm starts from is there, whole."""
    return (model_of(path, arm.after, seed) / "config.json").is_file()


def summary(study: Study, rows: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Mean over seeds with its interval, for every arm and way of decoding."""
    from sayso.stats.intervals import mean_interval

    found = []
    for arm in study.arms:
        for decode in ("sampled", "greedy"):
            values = [row[decode] for row in rows if row["arm"] == arm.name]
            if not values:
                continue
            interval = mean_interval(values)
            seconds = [row["train_s"] for row in rows if row["arm"] == arm.name]
            found.append(
                {
                    "env": study.env, "split": study.split, "algorithm": arm.name,
                    "metric": f"return, {decode}", "seeds": len(values), "mean": interval.mean,
                    "low": interval.low, "high": interval.high, "published": arm.published,
                    "train_s": sum(seconds) / len(seconds),
                    "command": f"python studies/offline.py {name}",
                }
            )  # fmt: skip
    return found


def write_page(name: str) -> None:
    """Table, figure, JSON."""
    study = STUDIES[name]
    rows = rows_of(RESULTS / "runs" / f"{name}.jsonl")
    found = summary(study, rows, name)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    figure = [
        {**row, "label": f"{row['algorithm']}, {row['metric'].removeprefix('return, ')}"}
        for row in found
    ]
    (RESULTS / f"{name}.svg").write_text(dots(study.title, figure, bounds=study.bounds))
    lines = [f"# {study.title}", "", f"`python studies/offline.py {name}`", ""]
    lines += ["| algorithm | decoding | seeds | return, 95 % | published | training |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in found:
        published = "" if row["published"] is None else f"{row['published']:g}"
        decode = row["metric"].removeprefix("return, ")
        lines.append(
            f"| {row['algorithm']} | {decode} | {row['seeds']} | {row['mean']:.2f} "
            f"[{row['low']:.2f}, {row['high']:.2f}] | {published} | {row['train_s']:.0f} s |"
        )
    known = ", ".join(f"{key} {value:.2f}" for key, value in study.bounds.items())
    lines += ["", f"Known returns: {known}.", "", f"![{study.title}]({name}.svg)", ""]
    if study.about:
        lines += [study.about, ""]
    (RESULTS / f"{name}.md").write_text("\n".join(lines))


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--arms", nargs="*", default=[])
    parser.add_argument("--folder", type=Path, default=Path("runs/studies"))
    parser.add_argument("--one", nargs=2, default=None, metavar=("ARM", "SEED"))
    parser.add_argument("--games", type=Path, default=None)
    asked = parser.parse_args()
    if asked.one:
        study = STUDIES[asked.study]
        arm = next(arm for arm in study.arms if arm.name == asked.one[0])
        row = trained(study, arm, int(asked.one[1]), asked.games)
        out = RESULTS / "runs" / f"{asked.study}.jsonl"
        if (row["arm"], row["seed"]) not in {(old["arm"], old["seed"]) for old in rows_of(out)}:
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    run_all(asked.study, seeds=asked.seeds, jobs=asked.jobs, only=asked.arms, folder=asked.folder)
    write_page(asked.study)


if __name__ == "__main__":
    main()
