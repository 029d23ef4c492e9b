"""Strategy A (policy gradient) or Strategy B (Q-learning with exploration)? One command runs all.

    python studies/strategy.py                          # what two cores can do in hours
    python studies/strategy.py maze --regimes online --seeds 5 --jobs 2
    python studies/strategy.py wordle desk tutor        # what takes days
    python studies/strategy.py --page                   # only write the page from what is there

Runs, searches and models lie in ``--folder`` and are not done again; the same command goes on.
``docs/results/strategy-a-or-b.md`` and ``.json`` are written from whatever has been run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import strategy_page
from strategy_cases import CASES, REGIMES, Case

SEARCH_SEEDS = 2
SPLITS = {"ablations": ("train", "unseen")}
"""Held-out tasks decide there when to stop, so nobody is judged on them."""


def start_of(name: str, folder: Path) -> Path:
    """The model that every arm of a case begins with, where it has imitated; made once."""
    import sayso

    case, path = CASES[name], folder / f"{name}-start"
    if not (path / "config.json").is_file():
        made = sayso.BC(
            "tiny", case.env, seed=0, lr=2e-3, micro_batch_tokens=4096, tiny=_tiny(name),
            data={"path": str(games(name, folder))}, **case.shared["sampling"],
        )  # fmt: skip
        made.learn(case.imitated, run=folder / f"{name}-start-run", progress_bar=False)
        made.save(path)
    return path


def _tiny(name: str) -> dict[str, Any]:
    """Size and symbols of a model of letters."""
    from strategy_cases import WORDLE_TOKENS, ascii_lowercase

    if name == "wordle":
        return {"tokens": WORDLE_TOKENS, "width": 96, "layers": 2, "heads": 4, "context": 128}
    return {"tokens": ["\n", *ascii_lowercase], "width": 64, "layers": 2, "heads": 4, "context": 32}


def games(name: str, folder: Path) -> Path:
    """The stored games of a case, played once on tasks to train on."""
    from sayso.data.datasets import write_games
    from sayso.envs.registry import source
    from sayso.envs.scripted import play_many, scripted

    case, path = CASES[name], folder / f"{name}.jsonl"
    if not path.is_file():
        env = source(case.env, **case.kwargs).open()
        played = [
            game
            for player, count in case.players.items()
            for game in play_many(
                env, scripted(env, player).act, split="train", num_games=count, seed=0
            )
        ]
        write_games(path, played)
    return path


def config_of(name: str, regime: str, arm: str, folder: Path, *, trials: int) -> Any:
    """The options of an arm: those it was given, or the winner of its search."""
    from sayso.app.config import load_config
    from sayso.config.load import load_toml

    case = CASES[name]
    best = search_of(name, regime, arm, folder) / "best.toml"
    if trials and regime != "ablations" and best.is_file():
        return load_config(load_toml(best), source=str(best))
    model = str(start_of(name, folder)) if case.imitated else ""
    data = str(games(name, folder)) if regime == "logged" else ""
    table = case.options(regime, arm, model=model, data=data)
    return load_config(table, source=f"{name}, {regime}, {arm}")


def search_of(name: str, regime: str, arm: str, folder: Path) -> Path:
    """Where an arm's search lies."""
    return folder / f"{name}-{regime}-search" / arm


def search(name: str, regime: str, arm: str, folder: Path, *, trials: int) -> None:
    """Try sets of options of one arm; the same number, budget and seeds for every arm."""
    from sayso.app.space import space_of
    from sayso.app.tune import TuneOptions, tune

    case = CASES[name]
    config = config_of(name, regime, arm, folder, trials=0)
    budget = case.logged_budget if regime == "logged" else case.budget
    options = TuneOptions(
        trials=trials, seeds=SEARCH_SEEDS, budget=budget, episodes=case.episodes, decode="greedy",
        out=search_of(name, regime, arm, folder),
    )  # fmt: skip
    tune(config, space_of(None, config), options, recipe=name, tell=print)


def search_all(name: str, regime: str, folder: Path, *, trials: int, jobs: int) -> None:
    """The searches of all arms, so many processes at a time."""
    waiting = list(getattr(CASES[name], regime)) if trials and regime != "ablations" else []
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        running = [process for process in running if process.poll() is None]
        if waiting and len(running) < jobs:
            command = [
                sys.executable, __file__, name, "--regimes", regime, "--search", waiting.pop(0),
                "--trials", str(trials), "--folder", str(folder),
            ]  # fmt: skip
            running.append(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}))
        time.sleep(0.2)
    for arm in getattr(CASES[name], regime) if trials and regime != "ablations" else ():
        if not (search_of(name, regime, arm, folder) / "best.toml").is_file():
            raise SystemExit(f"{name}, {regime}: the search of {arm} found nothing; see above")


def plan_of(name: str, regime: str, folder: Path, *, trials: int) -> Any:
    """What is compared in a case."""
    from sayso.app.arms import arm_of
    from sayso.app.plan import CompareOptions, make_plan

    case: Case = CASES[name]
    arms = [
        arm_of(config_of(name, regime, arm, folder, trials=trials), recipe=name, name=arm)
        for arm in getattr(case, regime)
    ]
    options = CompareOptions(
        budget=case.logged_budget if regime == "logged" else case.budget,
        splits=SPLITS.get(regime, ()), episodes=case.episodes, points=5, point_episodes=32,
        decode=("greedy", "sampled"), adapt=case.adapt if regime == "online" else (),
    )  # fmt: skip
    return make_plan(arms, options)


def run_cell(name: str, regime: str, asked: argparse.Namespace) -> None:
    """Search, train and measure one case in one regime, and keep its report."""
    from sayso.app.comparison import run_all
    from sayso.app.plan import store_plan

    folder = asked.folder
    search_all(name, regime, folder, trials=asked.trials, jobs=asked.jobs)
    plan = plan_of(name, regime, folder, trials=asked.trials)
    place = folder / f"{name}-{regime}"
    store_plan(place, plan)
    failed = run_all(place, plan, seeds=range(asked.seeds), jobs=asked.jobs, tell=print)
    if regime == "online" and asked.pair_seeds > asked.seeds:
        pair = only(plan, CASES[name].a, CASES[name].b)
        later = range(asked.seeds, asked.pair_seeds)
        failed += run_all(place, pair, seeds=later, jobs=asked.jobs, tell=print)
    for each in failed:
        print(f"failed: {each}")
    keep_report(name, regime, plan, asked, failed=[str(each) for each in failed])


def only(plan: Any, *names: str) -> Any:
    """The plan of some arms alone."""
    return dataclasses.replace(plan, arms=tuple(a for a in plan.arms if a.name in names))


def keep_report(
    name: str, regime: str, plan: Any, asked: argparse.Namespace, *, failed: Sequence[str]
) -> None:
    """What the finished runs allow to be said, as JSON beside them."""
    from sayso.app.comparison import results
    from sayso.evaluation.comparison import summarise

    folder, most, case = asked.folder, max(asked.seeds, asked.pair_seeds), CASES[name]
    found = results(folder / f"{name}-{regime}", plan, range(asked.seeds))
    command = f"python studies/strategy.py {name} --regimes {regime} --seeds {asked.seeds}"
    command += f" --trials {asked.trials}"
    if regime == "online" and most > asked.seeds:
        command += f" --pair-seeds {most}"
    report = summarise(plan.to_json(), found, command=command,
                       notes=[f"Failed: {each}" for each in failed])  # fmt: skip
    whole = report["seeds"].get(case.env, [])
    if not whole:
        print(f"{name}, {regime}: no seed has been finished in all arms")
        return
    told: dict[str, Any] = {"report": report, "trials": asked.trials}
    if regime == "online":
        for what, arms in (("named", (case.a, case.b, case.ensemble)), ("pair", (case.a, case.b))):
            some = only(plan, *arms)
            of_some = results(folder / f"{name}-{regime}", some, range(most))
            told[what] = summarise(some.to_json(), of_some, command=command)
        told["untrained"] = untrained(name, plan, seeds=whole)
        told["bounds"] = bounds_of(case, plan)
    (folder / f"{name}-{regime}.json").write_text(json.dumps(told))


def untrained(name: str, plan: Any, *, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The first model of all arms, on the episodes that they are measured on."""
    from sayso.app.arms import trial_config
    from sayso.app.assemble import build_learner, build_lm
    from sayso.app.opening import env_source, rollout_limits
    from sayso.app.sweep import policy_as
    from sayso.evaluation.evaluate import evaluate
    from sayso.seeds import derive
    from sayso.stats.intervals import bounded_interval

    (arm,) = [a for a in plan.arms if a.name == CASES[name].a]
    means: dict[tuple[str, str], list[float]] = {}
    for seed in seeds:
        config = trial_config(arm, plan.budget, seed)
        learner = build_learner(config, build_lm(config))
        for decode in plan.decode:
            for split in plan.splits[arm.env]:
                report = evaluate(
                    policy_as(learner, config, decode=decode), env_source(config.env), split=split,
                    num_episodes=plan.episodes, seed=derive(seed, "compare"),
                    limits=rollout_limits(config.env),
                )  # fmt: skip
                means.setdefault((split, decode), []).append(report.mean.mean)
    found = []
    for (split, decode), values in means.items():
        told = bounded_interval(values, *plan.ranges[arm.env]).to_json()
        ends = {key: told[key] for key in ("mean", "low", "high")}
        found.append({"env": arm.env, "split": split, "algorithm": "untrained model",
                      "metric": f"return, {decode}", "seeds": len(values), **ends})  # fmt: skip
    return found


def bounds_of(case: Case, plan: Any) -> list[dict[str, Any]]:
    """What scripted players earn on each split."""
    from sayso.envs.registry import source
    from sayso.envs.scripted import bounds

    env, found = source(case.env, **case.kwargs).open(), []
    for split in plan.splits[case.env]:
        num = max(1, round(200 / len(env.tasks(split)))) * min(len(env.tasks(split)), 500)
        for player, interval in bounds(env, split=split, num_games=num).items():
            told = interval.to_json()
            ends = {key: told[key] for key in ("mean", "low", "high")}
            found.append({"env": case.env, "split": split, "algorithm": f"player {player}",
                          "metric": "return, scripted", "seeds": 1, **ends})  # fmt: skip
    return found


def main() -> None:
    """Parse and go."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    default = [name for name, case in CASES.items() if not case.untried]
    parser.add_argument("cases", nargs="*", default=default, help=", ".join(CASES))
    parser.add_argument("--regimes", nargs="*", choices=tuple(REGIMES), default=list(REGIMES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pair-seeds", type=int, default=0, help="of the headline pair, online")
    parser.add_argument("--trials", type=int, default=8, help="sets of options tried for each arm")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path("runs/studies/strategy"))
    parser.add_argument(
        "--page", action="store_true", help="train nothing, write the page from what is there"
    )
    parser.add_argument("--search", default="", metavar="ARM", help="one arm's search, and no more")
    asked = parser.parse_args()
    if unknown := [name for name in asked.cases if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    from sayso.app.plan import FILE, read_plan

    asked.folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("sayso").setLevel(logging.ERROR)
    if asked.search:
        search(asked.cases[0], asked.regimes[0], asked.search, asked.folder, trials=asked.trials)
        return
    for name, regime in product(asked.cases, asked.regimes):
        if asked.page and (asked.folder / f"{name}-{regime}" / FILE).is_file():
            plan = read_plan(asked.folder / f"{name}-{regime}")
            keep_report(name, regime, plan, asked, failed=[])
        elif not asked.page and getattr(CASES[name], regime):
            run_cell(name, regime, asked)
    strategy_page.write(asked.folder)


if __name__ == "__main__":
    main()
