"""Options of ``FilteredBC``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from sayso.algorithms.checks import check_plan, check_positive, is_changed
from sayso.data.options import ReplayOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredBCOptions:
    """Options of ``FilteredBC``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks played per step, without a stored data set.
        group_size: Attempts at each.
        top: Fraction of the episodes, by return, that is imitated. All that tie with the last of
            them are kept too, but never the worst, unless all are equal.
        among: Compare returns among ``"all"`` episodes, or among attempts at one ``"task"``.
        updates_per_step: Optimiser steps after each round of playing.
        draws: Episodes drawn for each from the best that are remembered; all, if there are fewer.
        replay: What is remembered of playing: ``capacity`` and ``max_age`` alone count.
    """

    type: Literal["filtered_bc"] = "filtered_bc"
    tasks_per_step: int = 8
    group_size: int = 8
    top: float = 0.1
    among: Literal["all", "task"] = "all"
    updates_per_step: int = 1
    draws: int = 64
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    online: ClassVar[tuple[str, ...]] = ("updates_per_step", "draws")

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size)
        check_positive(updates_per_step=self.updates_per_step, draws=self.draws)
        if not 0 < self.top <= 1:
            raise ValueError(f"top must be in (0, 1], got {self.top}")
        if not self.replay.capacity:
            for name in ("updates_per_step", "draws"):
                if is_changed(self, name):
                    raise ValueError(
                        f"{name} has no effect with replay.capacity = 0, got "
                        f"{getattr(self, name)}: a step is then on all episodes it is given"
                    )
        moot = [f.name for f in fields(self.replay) if f.name not in ("capacity", "max_age")]
        for name in moot:
            if is_changed(self.replay, name):
                raise ValueError(
                    f"replay.{name} has no effect here, got {getattr(self.replay, name)}: the best "
                    "are drawn alike"
                )
