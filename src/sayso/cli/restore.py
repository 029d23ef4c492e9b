"""A run's policy, put back from one of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sayso.errors import CheckpointError
from sayso.runs.commit import steps
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.algorithms.base import Learner
    from sayso.app.config import RunConfig


def restore(path: Path, checkpoint: str) -> tuple[RunConfig, Learner, int]:
    """Configuration, learner and step of a checkpoint.

    Args:
        path: The run directory.
        checkpoint: ``"last"``, ``"best"``, ``"base"`` (before training) or a step number.

    Raises:
        CheckpointError: If there is no such checkpoint.
        RunError: If there is no such run, or only Python code can make its model.
    """
    from sayso.app.opening import config_of
    from sayso.app.origin import require_named

    run = Run.open(path)
    config, there = config_of(run), steps(run.checkpoints)
    is_step = checkpoint.isascii() and checkpoint.isdecimal()
    if checkpoint not in {"last", "best", "base"} and not is_step:
        raise CheckpointError(
            where="--checkpoint",
            problem=f"got {checkpoint!r}.",
            fix="Use last, best, base or a step number.",
        )
    step = int(checkpoint) if is_step else None
    if checkpoint != "base" and (not there or (step is not None and step not in there)):
        raise _missing(path, step, there)
    require_named(run, "model")
    # These load torch: what needs none of it has been told by now.
    from sayso.app.assemble import build_learner
    from sayso.app.weights import lm_of
    from sayso.training.checkpoint import load_checkpoint

    learner = build_learner(config, lm_of(run, config))
    if checkpoint == "base":
        return config, learner, 0
    restored = load_checkpoint(run, learner, step=step)
    if restored is not None and checkpoint == "best":
        best = restored.progress.best_step
        if best < 0:
            raise CheckpointError(
                where=str(path),
                problem="has no best checkpoint: it was trained without evaluations.",
                fix="Use --checkpoint last, or train with --set train.eval_every=5.",
            )
        restored = load_checkpoint(run, learner, step=best)
    if restored is None:
        raise _missing(path, step, there)
    return config, learner, restored.progress.step


def _missing(path: Path, step: int | None, there: Sequence[int]) -> CheckpointError:
    listed = ", ".join(map(str, there))
    return CheckpointError(
        where=str(path),
        problem=f"holds no checkpoint of step {step}." if there else "holds no checkpoint yet.",
        fix=f"There are those of step {listed}." if there else "Let it train a little.",
    )
