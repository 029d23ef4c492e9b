"""From the results of runs to what may be said of their arms; plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from sayso.evaluation import tracks
from sayso.stats.aggregate import MIN_RUNS, Numbers, iqm_interval, profile, profile_band
from sayso.stats.intervals import bounded_interval, difference_interval
from sayso.stats.verdict import judge

Record = Mapping[str, Any]
NUM_THRESHOLDS = 61
ALL = "all, each in its own range"
"""Stands for several environments at once; returns then run from 0 to 1."""
SEED = 0
"""Of bootstrap samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was measured at the same place in every arm.

    Attributes:
        env: Environment.
        split: Which tasks.
        decode: Way of acting.
        seeds: Those that every arm has.
        scores: Arm to one mean return for each of them, over the episodes that all arms have.
    """

    env: str
    split: str
    decode: str
    seeds: tuple[int, ...]
    scores: Mapping[str, Numbers]


def summarise(
    plan: Record,
    results: Sequence[Record],
    *,
    command: str,
    margin: float | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The report of a comparison: rows, verdicts, curves, profiles, texts, settings.

    Seeds that an arm lacks are left out of all arms of that environment, and episodes that failed
    in one arm out of all: what is compared is paired.

    Args:
        plan: As ``app.plan.Plan.to_json`` gives it.
        results: As ``app.trial.run_trial`` gives them.
        command: What was typed.
        margin: Least difference of returns that matters, if there is one.
        notes: Sentences to be told with it, for example of runs that failed.

    Returns:
        JSON values. ``rows`` hold ``env, split, algorithm, metric, seeds, mean, low, high,
        command``; the rest is documented in docs/compare.md.

    Tests:
        tests/unit/test_comparison.py
    """
    told = list(notes)
    by_place = {(r["env"], r["arm"], r["seed"]): r for r in results}
    envs = list(dict.fromkeys(_env(arm) for arm in plan["arms"]))
    names = {env: [a["name"] for a in plan["arms"] if _env(a) == env] for env in envs}
    seeds = {env: _seeds_of_all(by_place, env, names[env], told) for env in envs}
    cells: list[Cell] = []
    for env in envs:
        for split, decode in product(plan["splits"][env], plan["decode"]):
            cell = _cell(by_place, env, names[env], split, decode, seeds=seeds[env], told=told)
            if cell is not None:
                cells.append(cell)
    rows: list[dict[str, Any]] = []
    judged: list[dict[str, Any]] = []
    for cell in cells:
        rows += _return_rows(cell, plan)
        judged += _judged(cell, plan, margin)
    rows += _gap_rows(cells, plan)
    pooled = _over_environments(cells, plan)
    for cell in pooled:
        rows += _return_rows(cell, plan)
        judged += _judged(cell, plan, None)
    heads = {env: _head(plan["splits"][env]) for env in envs}
    known = {
        env: {n: [by_place[env, n, s] for s in seeds[env]] for n in names[env]} for env in envs
    }
    told += tracks.budget_notes(known, plan)
    rows += tracks.drift_rows(known, heads, told)
    rows += tracks.adaptation_rows(known, plan, told)
    return {
        "command": command,
        "budget": dict(plan["budget"]),
        "seeds": {env: list(found) for env, found in seeds.items()},
        "decode": list(plan["decode"]),
        "episodes": plan["episodes"],
        "heads": heads,
        "margin": margin,
        "notes": told,
        "rows": [{**row, "command": command} for row in rows],
        "verdicts": judged,
        "curves": tracks.curves(known, plan, heads),
        "adaptation": tracks.adaptation(known, plan),
        "profiles": [_profiles(c) for c in (*cells, *pooled) if _is_head(c, heads, plan)],
        "samples": tracks.samples(known),
        "arms": [
            {"name": a["name"], "env": _env(a), "recipe": a["recipe"], "config": a["config"],
             "spent": tracks.mean_spent(known[_env(a)][a["name"]]),
             "stopped": tracks.endings(known[_env(a)][a["name"]])}
            for a in plan["arms"]
        ],
    }  # fmt: skip


def _env(arm: Record) -> str:
    return str(arm["config"]["env"]["id"])


def _head(splits: Sequence[str]) -> str:
    return "held_out" if "held_out" in splits else splits[0]


def _is_head(cell: Cell, heads: Mapping[str, str], plan: Record) -> bool:
    is_first = cell.decode == plan["decode"][0]
    return is_first and (cell.env == ALL or cell.split == heads[cell.env])


def _seeds_of_all(
    by_place: Mapping[tuple[str, str, int], Record], env: str, names: Sequence[str], told: list[str]
) -> tuple[int, ...]:
    """Seeds that every arm has a result of."""
    each = [{s for e, name, s in by_place if (e, name) == (env, arm)} for arm in names]
    whole, some = set.intersection(*each), set.union(*each)
    if some - whole:
        told.append(
            f"{env}: seeds {sorted(some - whole)} are left out: not every arm has finished them."
        )
    return tuple(sorted(whole))


def _cell(
    by_place: Mapping[tuple[str, str, int], Record],
    env: str,
    names: Sequence[str],
    split: str,
    decode: str,
    *,
    seeds: Sequence[int],
    told: list[str],
) -> Cell | None:
    """Mean returns over the episodes that every arm has; none, if a seed has no such episode."""
    scores: dict[str, list[float]] = {name: [] for name in names}
    num_lost = 0
    for seed in seeds:
        found = {n: _returns(by_place[env, n, seed], split, decode) for n in names}
        common = set.intersection(*(set(f) for f in found.values()))
        num_lost += max(len(f) for f in found.values()) - len(common)
        if not common:
            told.append(
                f"{env}, {split}, {decode}: of seed {seed} no episode was graded in all arms, so "
                "nothing is said of it."
            )
            return None
        for name in names:
            scores[name].append(_mean_over_tasks({key: found[name][key] for key in common}))
    if num_lost:
        told.append(
            f"{env}, {split}, {decode}: {num_lost} episodes failed or were not graded in an arm "
            "and are left out of all."
        )
    if not seeds:
        return None
    return Cell(env=env, split=split, decode=decode, seeds=tuple(seeds),
                scores={name: np.asarray(x, np.float64) for name, x in scores.items()})  # fmt: skip


def _returns(result: Record, split: str, decode: str) -> dict[tuple[str, int], float]:
    for found in result["evals"]:
        if (found["split"], found["decode"]) == (split, decode):
            return {(task, sample): value for task, sample, value in found["returns"]}
    return {}


def _mean_over_tasks(returns: Mapping[tuple[str, int], float]) -> float:
    tasks: dict[str, list[float]] = {}
    for (task, _), value in sorted(returns.items()):
        tasks.setdefault(task, []).append(value)
    return float(np.mean([np.mean(values) for values in tasks.values()]))


def _return_rows(cell: Cell, plan: Record) -> list[dict[str, Any]]:
    low, high = _ends(cell, plan)
    found = []
    for name, scores in cell.scores.items():
        means = scores if scores.ndim == 1 else scores.mean(axis=1)
        intervals = {
            "return": bounded_interval(means.tolist(), low, high),
            "IQM": iqm_interval(scores, seed=SEED, ends=(low, high)).within(low, high),
        }
        found += [
            tracks.row(cell.env, cell.split, name, f"{what}, {cell.decode}", interval)
            for what, interval in intervals.items()
        ]
    return found


def _ends(cell: Cell, plan: Record) -> tuple[float | None, float | None]:
    """Least and greatest return there, where known."""
    low, high = (0.0, 1.0) if cell.env == ALL else plan["ranges"][cell.env]
    return low, high


def _judged(cell: Cell, plan: Record, margin: float | None) -> list[dict[str, Any]]:
    place = {"env": cell.env, "split": cell.split, "decode": cell.decode}
    found = judge(cell.scores, seed=SEED, ends=_ends(cell, plan), margin=margin)
    return [{**place, **j.to_json()} for j in found]


def _gap_rows(cells: Sequence[Cell], plan: Record) -> list[dict[str, Any]]:
    """What is lost from tasks trained on to tasks of other kinds, run by run."""
    by_place = {(c.env, c.decode, c.split): c for c in cells}
    found = []
    for (env, decode, split), cell in by_place.items():
        trained = by_place.get((env, decode, "train"))
        if split == "train" or trained is None:
            continue
        for name, scores in cell.scores.items():
            lost = (trained.scores[name] - scores).tolist()
            interval = difference_interval(lost, *_ends(cell, plan))
            found.append(
                tracks.row(cell.env, cell.split, name, f"gap from train, {decode}", interval)
            )
    return found


def _over_environments(cells: Sequence[Cell], plan: Record) -> list[Cell]:
    """One cell for several environments, where all have the same arms and a known range."""
    envs = list(dict.fromkeys(c.env for c in cells))
    ranges = {env: plan["ranges"][env] for env in envs}
    arms = {tuple(c.scores) for c in cells}
    if len(envs) < 2 or len(arms) > 1 or any(None in ends for ends in ranges.values()):
        return []
    found = []
    for split, decode in dict.fromkeys((c.split, c.decode) for c in cells):
        here = [c for c in cells if (c.split, c.decode) == (split, decode)]
        seeds = sorted(set.intersection(*(set(c.seeds) for c in here)))
        if len(here) < len(envs) or not seeds:
            continue
        scores = {
            name: np.stack([_normalised(c, name, seeds, ranges[c.env]) for c in here], axis=1)
            for name in here[0].scores
        }
        found.append(Cell(env=ALL, split=split, decode=decode, seeds=tuple(seeds), scores=scores))
    return found


def _normalised(cell: Cell, name: str, seeds: Sequence[int], ends: Sequence[float]) -> Numbers:
    low, high = ends
    chosen = [cell.seeds.index(seed) for seed in seeds]
    found: Numbers = (cell.scores[name][chosen] - low) / (high - low)
    return found


def _profiles(cell: Cell) -> dict[str, Any]:
    """The share of runs above each threshold."""
    everything = np.concatenate([x.ravel() for x in cell.scores.values()])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.05 * (high - low or 1.0)
    at = np.linspace(low - margin, high + margin, NUM_THRESHOLDS)
    lines = {}
    for name, scores in cell.scores.items():
        ends: list[list[float | None]] = [[None] * len(at)] * 2
        if len(scores) >= MIN_RUNS:
            ends = [end.tolist() for end in profile_band(scores, at, seed=SEED)]
        lines[name] = {"share": profile(scores, at).tolist(), "low": ends[0], "high": ends[1]}
    place = {"env": cell.env, "split": cell.split, "decode": cell.decode}
    return {**place, "thresholds": at.tolist(), "arms": lines}
