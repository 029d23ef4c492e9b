"""What runs of a comparison leave along the way: curves, what was spent, adaptation, texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sayso.stats.intervals import SHOWN_FROM, Interval, bounded_interval, difference_interval

Record = Mapping[str, Any]
Known = Mapping[str, Mapping[str, Sequence[Record]]]
"""Environment to arm to the results of its runs, in order of seeds."""
TOLERANCE = 0.05
"""Share of the budget from which on a difference from it is told."""
ON = ("env_tokens", "learner_tokens", "wall_clock", "reward_queries", "episodes")


def curves(known: Known, plan: Record, heads: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return against budget: a mean over runs with its interval, at equal parts of the budget.

    Steps end where they end, so each run's curve is read between its points.
    """
    axis, amount = plan["budget"]["axis"], plan["budget"]["amount"]
    grid = np.linspace(0.0, amount, plan["points"] + 1)
    found = []
    for env, arms in known.items():
        for name, runs in arms.items():
            lines = [_line(run["curve"], axis) for run in runs]
            lines = [line for line in lines if len(line)]
            if not lines:
                continue
            values = np.array([np.interp(grid, line[:, 0], line[:, 1]) for line in lines])
            points = [_point(values[:, k], plan["ranges"][env]) for k in range(len(grid))]
            found.append(
                {
                    "env": env, "split": heads[env], "algorithm": name,
                    "seeds": len(lines), "points": points,
                    "x": {on: _spent_at(runs, axis, on, grid) for on in ON},
                }
            )  # fmt: skip
    return found


def _line(points: Sequence[Record], axis: str) -> Any:
    """Pairs of what was spent and what was earned."""
    return np.array([(p["spent"][axis], p["mean"]) for p in points if p["mean"] is not None])


def _point(values: Any, ends: Sequence[float | None]) -> dict[str, Any]:
    low, high = ends
    told = bounded_interval(values.tolist(), low, high).to_json(least=SHOWN_FROM)
    return {name: told[name] for name in ("mean", "low", "high")}


def _spent_at(runs: Sequence[Record], axis: str, on: str, grid: Any) -> list[float]:
    """What runs have used of something else by then, in the mean."""
    each = [
        np.interp(
            grid, [p["spent"][axis] for p in run["curve"]], [p["spent"][on] for p in run["curve"]]
        )
        for run in runs
        if run["curve"]
    ]
    found: list[float] = np.mean(each, axis=0).tolist()
    return found


def mean_spent(runs: Sequence[Record]) -> dict[str, float]:
    """What a run used up in the end, in the mean."""
    if not runs:
        return {}
    return {on: float(np.mean([run["spent"][on] for run in runs])) for on in ON}


def endings(runs: Sequence[Record]) -> dict[str, int]:
    """How many runs ended by what."""
    return dict(Counter(run["stopped_by"] for run in runs))


def budget_notes(known: Known, plan: Record) -> list[str]:
    """Sentences on arms that did not use the budget, used more, or something beside it."""
    axis, amount = plan["budget"]["axis"], plan["budget"]["amount"]
    told = []
    for env, arms in known.items():
        for name, runs in arms.items():
            used = mean_spent(runs).get(axis, amount)
            if abs(used / amount - 1) > TOLERANCE:
                how = "more" if used > amount else "less"
                told.append(
                    f"{env}, {name}: used {used:,.0f} {axis} a run in the mean, "
                    f"{abs(used / amount - 1):.0%} {how} than the budget."
                )
            early = endings(runs).get("patience", 0)
            own = [run.get("own_evaluations", {}) for run in runs]
            num, tokens = (float(np.mean([o.get(what, 0) for o in own])) if own else 0.0
                           for what in ("episodes", "tokens"))  # fmt: skip
            if early or num:
                told.append(
                    f"{env}, {name}: {early} of {len(runs)} runs ended early. Its own evaluations, "
                    f"{num:,.0f} episodes and {tokens:,.0f} sampled tokens a run, are in no budget."
                )
    return told


def drift_rows(known: Known, heads: Mapping[str, str], told: list[str]) -> list[dict[str, Any]]:
    """KL to the model as it began, for arms whose policy speaks token by token.

    Args:
        known: Results.
        heads: Split of each environment that it was measured on.
        told: Takes a sentence where runs are left out.
    """
    found = []
    for env, arms in known.items():
        for name, runs in arms.items():
            what = "KL to the start, nats a token"
            interval = _drift([run["kl"] for run in runs], f"{env}, {name}: {what}", told)
            if interval is not None:
                found.append(row(env, heads[env], name, what, interval))
    return found


def _drift(values: Sequence[float | None], where: str, told: list[str]) -> Interval | None:
    """Over runs that have one; an arm none of whose runs has one is no policy of tokens."""
    finite = [value for value in values if value is not None]
    if not finite:
        return None
    if len(finite) < len(values):
        told.append(
            f"{where}: {len(values) - len(finite)} of {len(values)} runs are left out: what they "
            "say was impossible at the start, so it is infinite."
        )
    return bounded_interval(finite, 0.0, None)


def adaptation(known: Known, plan: Record) -> list[dict[str, Any]]:
    """Return on unseen tasks against episodes of training on them."""
    asked = [float(n) for n in plan["adapt"]]
    found = []
    for env, arms in known.items():
        for name, runs in arms.items():
            lines = [_line(run["adaptation"]["points"], "episodes") for run in runs
                     if "adaptation" in run]  # fmt: skip
            lines = [line for line in lines if len(line)]
            if not lines or not asked:
                continue
            values = np.array([np.interp(asked, line[:, 0], line[:, 1]) for line in lines])
            found.append(
                {
                    "env": env, "algorithm": name, "seeds": len(lines), "episodes": asked,
                    "points": [_point(found_at, plan["ranges"][env]) for found_at in values.T],
                    "area": [area(line) for line in lines],
                }
            )  # fmt: skip
    return found


def area(line: Any) -> float:
    """Mean return while adapting: the area under the curve over its length, in units of return.

    Args:
        line: Pairs of episodes and return, from 0 episodes on; trapezoids between them.
    """
    episodes, returns = np.asarray(line, np.float64).T
    length = episodes[-1] - episodes[0]
    if not length:
        return float(returns[0])
    return float(np.trapezoid(returns, episodes) / length)


def adaptation_rows(known: Known, plan: Record, told: list[str]) -> list[dict[str, Any]]:
    """Area under the curve of adaptation, and what was forgotten for it; ``told`` takes notes."""
    found = []
    for env, arms in known.items():
        low, high = plan["ranges"][env]
        for name, runs in arms.items():
            adapted = [run for run in runs if "adaptation" in run]
            lines = [_line(run["adaptation"]["points"], "episodes") for run in adapted]
            areas = [area(line) for line in lines if len(line)]
            if areas:
                what = "adaptation, area under the curve"
                found.append(row(env, "unseen", name, what, bounded_interval(areas, low, high)))
            changes = [change for run in adapted if (change := _change(run)) is not None]
            if changes:
                what = "change on train by adapting"
                found.append(row(env, "train", name, what,
                                  difference_interval(changes, low, high)))  # fmt: skip
            what = "KL to the start after adapting, nats a token"
            drifts = [run["adaptation"]["kl"] for run in adapted]
            interval = _drift(drifts, f"{env}, {name}: {what}", told)
            if interval is not None:
                found.append(row(env, "unseen", name, what, interval))
    return found


def _change(run: Record) -> float | None:
    """Return on the training tasks after adapting, less before."""
    after = run["adaptation"]["train"]["mean"]
    before = next((e["mean"] for e in run["evals"] if e["split"] == "train"), None)
    return None if after is None or before is None else float(after) - float(before)


def samples(known: Known) -> list[dict[str, Any]]:
    """The last turn of each arm in the same tasks, in its first run; what it answers may differ."""
    found = []
    for env, arms in known.items():
        first = {name: runs[0] for name, runs in arms.items() if runs}
        said = {name: {s["task"]: s for s in run["samples"]} for name, run in first.items()}
        for task in next(iter(said.values()), {}):
            answers = [
                {"algorithm": name, "text": told[task]["action"], "return": told[task]["reward"],
                 "observation": told[task]["observation"]}
                for name, told in said.items() if task in told
            ]  # fmt: skip
            found.append({"env": env, "task": task, "answers": answers})
    return found


def row(env: str, split: str, name: str, metric: str, interval: Interval) -> dict[str, Any]:
    """One line of the table, in the form of docs/results."""
    told = interval.to_json(least=SHOWN_FROM)
    return {
        "env": env, "split": split, "algorithm": name, "metric": metric, "seeds": interval.n,
        **{key: told[key] for key in ("mean", "low", "high")},
    }  # fmt: skip
