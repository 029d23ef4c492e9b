"""Checkpoints: a learner's state and the loop's, committed or not there at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from sayso.algorithms.base import Learner, LearnerState
from sayso.errors import CheckpointError, GuardError
from sayso.runs import commit, interrupt
from sayso.runs.jsonl import read
from sayso.runs.run import Run
from sayso.training.logs import RunLogs
from sayso.training.progress import Progress

TENSORS, VALUES = "learner.safetensors", "state.json"
MAX_FAILED_SAVES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a checkpoint gives back.

    Attributes:
        progress: The loop's counters and cursors.
        offsets: Length in bytes of each log at that moment, by name.
        damaged: Newer checkpoints that did not verify, each with the reason.
    """

    progress: Progress
    offsets: dict[str, int]
    damaged: tuple[str, ...]


class Saver:
    """Writes checkpoints of one run; keeps training alive when the disk refuses now and then."""

    def __init__(self, run: Run, learner: Learner, *, keep: int) -> None:
        self.run, self.learner, self.keep = run, learner, keep
        self.num_failed_in_a_row = 0
        self._saved: tuple[int, int] | None = None

    def note_saved(self, progress: Progress) -> None:
        """The newest checkpoint is of exactly this state."""
        self._saved = (progress.step, progress.eval_step)

    def save(self, progress: Progress, logs: RunLogs) -> None:
        """Commit everything that ``load_checkpoint`` needs, unless that was done already.

        Signals are held; the caller releases them.

        Raises:
            CheckpointError: If a number is not finite: no checkpoint ever holds one.
            GuardError: If the disk refused three times in a row. Checkpoints that were there
                are intact.
        """
        if self._saved == (progress.step, progress.eval_step):
            return
        interrupt.hold()
        try:
            logs.flush()
            self._commit(progress, logs.offsets())
        except OSError as error:
            self.num_failed_in_a_row += 1
            logs.note(f"step {progress.step}: no checkpoint could be written: {error}")
            if self.num_failed_in_a_row >= MAX_FAILED_SAVES:
                raise GuardError(
                    where=f"step {progress.step}",
                    problem=f"{MAX_FAILED_SAVES} checkpoints in a row were not written: {error}.",
                    fix="Free some disk space, then `sayso train --resume`.",
                ) from error
            return
        self.num_failed_in_a_row = 0
        self.note_saved(progress)

    def _commit(self, progress: Progress, offsets: dict[str, int]) -> None:
        state = self.learner.state()
        for name, tensor in state.tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(
                    where=f"step {progress.step}, {name}",
                    problem="holds a number that is not finite, so it is not written.",
                    fix="Resume from the last checkpoint with a smaller `optim.lr`.",
                )
        tensors = {
            name: state.tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
            for name in sorted(state.tensors)
        }
        values = {
            "learner": dict(state.values),
            "progress": progress.to_json(),
            "offsets": dict(offsets),
        }
        files = {
            TENSORS: save_tensors(tensors),
            VALUES: json.dumps(values, sort_keys=True, allow_nan=False).encode(),
        }
        commit.commit(self.run.checkpoints, progress.step, files)
        protect = {progress.best_step} if progress.best_step >= 0 else set()
        commit.prune(self.run.checkpoints, keep=self.keep, protect=protect)


def require_no_history(run: Run) -> None:
    """Refuse to start over what has been trained: its logs would be cut back to nothing.

    A checkpoint of step 0 is written before the first line of a log.

    Raises:
        CheckpointError: If a log of the run holds anything.
    """
    if any(log.is_file() and log.stat().st_size for log in (run.metrics, run.episodes)):
        num_steps = sum(1 for _ in read(run.metrics))
        raise CheckpointError(
            where=str(run.checkpoints),
            problem=f"holds no checkpoint, yet {num_steps} steps are logged; nothing was changed.",
            fix="Put checkpoints/ back from a backup, or start a new run: this one would begin at "
            "step 0 and lose its logs.",
        )


def load_checkpoint(run: Run, learner: Learner, *, step: int | None = None) -> Restored | None:
    """Put the learner back to a checkpoint.

    Args:
        run: Where to look.
        learner: Built with the same options; its state is replaced.
        step: Which checkpoint; ``None`` takes the newest that verifies.

    Returns:
        The loop's state, or ``None`` when the run has no checkpoint yet.

    Raises:
        CheckpointError: If checkpoints exist but none verifies, or ``step`` does not.
    """
    found = commit.newest(run.checkpoints) if step is None else commit.at(run.checkpoints, step)
    if found is None:
        return None
    values: dict[str, Any] = json.loads(found.read(VALUES))
    tensors = load_tensors(found.read(TENSORS))
    learner.load_state(LearnerState(tensors=tensors, values=values["learner"]))
    return Restored(
        progress=Progress.from_json(values["progress"]),
        offsets=dict(values["offsets"]),
        damaged=tuple(found.damaged),
    )
