"""What is measured of a run in a comparison, whatever learned in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sayso.app.plan import Plan
from sayso.evaluation.report import EvalReport
from sayso.runs.durable import replace_file
from sayso.runs.jsonl import JsonlLog, read, to_line
from sayso.runs.run import Run
from sayso.sampling.options import Decode

MAX_SHOWN, MAX_CHARS = 4, 2_000
"""Texts kept of a run, and of each."""
Report = Callable[[str, Decode, int], EvalReport]
"""From a split, a way of acting and a number of episodes to an evaluation."""


def measured(
    plan: Plan, env: str, report: Report, drift: Callable[[str], float | None]
) -> dict[str, Any]:
    """What the policy earns in the end, how far it has moved, and what it says.

    Args:
        plan: Of the comparison.
        env: Id of the environment.
        report: Evaluates.
        drift: KL to the model as it began, on a split; ``None`` where the policy is no LM's.
    """
    head, evals, samples = plan.head(env), [], list[dict[str, Any]]()
    for decode in plan.decode:
        for split in plan.splits[env]:
            found = report(split, decode, plan.episodes)
            evals.append({"split": split, "decode": decode, **told(found, whole=True)})
            if split == head and decode == plan.decode[0]:
                samples = _samples(found)
    return {"evals": evals, "samples": samples, "kl": drift(head)}


def told(report: EvalReport, *, whole: bool = False) -> dict[str, Any]:
    """What is kept of an evaluation."""
    mean = report.mean.mean
    found: dict[str, Any] = {
        "mean": mean if math.isfinite(mean) else None,
        "num_episodes": len(report.returns),
        "num_failed": sum(report.num_failed.values()),
    }
    if whole:
        found["mean_tokens"] = report.mean_tokens
        found["returns"] = [[t, i, value] for (t, i), value in report.returns.items()]
    return found


def _samples(report: EvalReport) -> list[dict[str, Any]]:
    first = [s for s in report.samples if s.sample_index == 0][:MAX_SHOWN]
    return [
        {
            "task": s.task_id,
            "observation": s.observation[:MAX_CHARS],
            "action": s.action[:MAX_CHARS],
            "reward": s.reward,
        }
        for s in first
    ]


def forget_beyond(run: Run, step: int) -> None:
    """Cut the curve back to a step that a run goes on from: what lies beyond is done again.

    Where seconds are counted, those steps end at others than before.
    """
    path = run.path / "curve.jsonl"
    kept = [line for line in read(path) if line["step"] <= step]
    if path.exists():
        replace_file(path, b"".join(to_line(line) for line in kept))


def append(run: Run, point: dict[str, Any]) -> None:
    """Add to the curve of a run."""
    with JsonlLog(run.path / "curve.jsonl") as log:
        log.append(point)


def points(run: Run) -> list[dict[str, Any]]:
    """Measured along the way; a step that was done again was measured again."""
    found = {line["step"]: line for line in read(run.path / "curve.jsonl")}
    return [found[step] for step in sorted(found)]
