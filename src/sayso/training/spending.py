"""What a run has used up, stopping by it, and measuring along the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sayso.runs.jsonl import read
from sayso.runs.run import Run
from sayso.training.budget import AXES, Axis, Budget
from sayso.training.callbacks import Callback, StepReport, TrainingContext
from sayso.training.progress import Progress

CLOCKS = ("time/rollout_s", "time/update_s")


def spent(progress: Progress, run: Run) -> dict[Axis, float]:
    """What a run has used up, on every axis.

    Clocks are in its log alone: counters of equal runs are equal, bit for bit, and clocks are not.
    """
    seconds = sum(
        float(line.get(clock, 0.0))
        for line in read(run.metrics)
        if line["step"] <= progress.step
        for clock in CLOCKS
    )
    return {**_counted(progress), "wall_clock": seconds}


def _counted(progress: Progress) -> dict[Axis, float]:
    return {
        "env_tokens": progress.num_env_tokens,
        "learner_tokens": progress.num_learner_tokens,
        "reward_queries": progress.num_reward_queries,
        "episodes": progress.num_episodes,
    }


Measure = Callable[[int, dict[Axis, float]], None]
"""Called with a step and what is spent by then."""


class UnderBudget(Callback):
    """Stops after the first step at or beyond the budget, and measures on the way there.

    A run that goes on measures what lies beyond what it has spent; a step that is done again after
    a crash is measured again, with the same result.

    Attributes:
        used: What is spent, on every axis.
    """

    def __init__(self, budget: Budget, measure: Measure, *, at: Sequence[float]) -> None:
        """Ready.

        Args:
            budget: How much.
            measure: Called before the first step, and after each step that reaches another place.
            at: The places, amounts on the budget's axis, rising.
        """
        self.budget, self.measure, self.at = budget, measure, tuple(at)
        self.used: dict[Axis, float] = dict.fromkeys(AXES, 0.0)

    def on_training_start(self, context: TrainingContext) -> None:
        """Know what is spent; measure what has not begun."""
        self.used = spent(context.progress, context.run)
        if context.progress.step == 0:
            self.measure(0, dict(self.used))

    def on_step(self, context: TrainingContext, report: StepReport) -> bool | None:
        """False once the budget is spent."""
        before = self.used[self.budget.axis]
        seconds = sum(report.metrics.get(clock, 0.0) for clock in CLOCKS)
        clock = self.used["wall_clock"] + seconds
        self.used = {**_counted(context.progress), "wall_clock": clock}
        now = self.used[self.budget.axis]
        if self._places(now) > self._places(before):
            self.measure(report.step, dict(self.used))
        return now < self.budget.amount

    def _places(self, amount: float) -> int:
        return sum(place <= amount for place in self.at)
