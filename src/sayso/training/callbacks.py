"""Callbacks in Stable-Baselines3's shape: methods called by the loop; returning False stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sayso.algorithms.base import Learner
from sayso.evaluation.report import EvalReport
from sayso.runs.run import Run
from sayso.training.options import TrainOptions
from sayso.training.progress import Progress
from sayso.types import Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One finished step, as callbacks see it.

    Attributes:
        step: Updates finished, this one included.
        metrics: The line written to ``metrics.jsonl``.
        episodes: All episodes of the step, invalid ones included.
        warnings: New sentences for the user.
    """

    step: int
    metrics: Mapping[str, float]
    episodes: Sequence[Episode]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingContext:
    """What callbacks may read. They must change nothing in it.

    Attributes:
        run: The run directory.
        learner: The algorithm.
        options: The loop's options.
        progress: Counters; live.
    """

    run: Run
    learner: Learner
    options: TrainOptions
    progress: Progress


class Callback:
    """Base of callbacks: override what you need. None of them may touch randomness or weights."""

    def on_training_start(self, context: TrainingContext) -> None:
        """Once, before the first step (also of a resumed run)."""

    def on_rollout_start(self, context: TrainingContext) -> None:
        """Before each step's episodes are sampled."""

    def on_rollout_end(self, context: TrainingContext, episodes: Sequence[Episode]) -> None:
        """After sampling, before the update."""

    def on_step(self, context: TrainingContext, report: StepReport) -> bool | None:
        """After each update. Return False to stop training; anything else goes on."""
        return None

    def on_evaluation(self, context: TrainingContext, report: EvalReport) -> bool | None:
        """After each evaluation. Return False to stop training."""
        return None

    def on_training_end(self, context: TrainingContext) -> None:
        """Once, however training ended, signals included."""


class StopOnReward(Callback):
    """Stops when an evaluation's mean return reaches a threshold."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def on_evaluation(self, context: TrainingContext, report: EvalReport) -> bool | None:
        """False once the mean is at or above the threshold."""
        return report.mean.mean < self.threshold


class TensorBoard(Callback):
    """Writes every metric to TensorBoard; needs the extra ``track``."""

    def __init__(self) -> None:
        """Ready, if tensorboard is installed: before a run is made, not after.

        Raises:
            ExtraMissingError: If it is not.
        """
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            from sayso.errors import ExtraMissingError

            raise ExtraMissingError(
                where="TensorBoard callback",
                problem="tensorboard is not installed.",
                fix="Run: pip install 'sayso[track]'",
            ) from error

    def on_training_start(self, context: TrainingContext) -> None:
        """Open the writer inside the run directory."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(
            str(context.run.path / "tensorboard"), purge_step=context.progress.step + 1
        )

    def on_step(self, context: TrainingContext, report: StepReport) -> bool | None:
        """One point per metric."""
        for name, value in report.metrics.items():
            self._writer.add_scalar(name, value, report.step)
        return None

    def on_evaluation(self, context: TrainingContext, report: EvalReport) -> bool | None:
        """The mean and its interval."""
        for name in ("mean", "low", "high"):
            self._writer.add_scalar(
                f"eval/{name}", getattr(report.mean, name), context.progress.step
            )
        return None

    def on_training_end(self, context: TrainingContext) -> None:
        """Flush."""
        self._writer.close()
