"""Options of the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How long to train and what to do along the way; written in a run file under ``[train]``.

    Attributes:
        total_episodes: Stop after this many valid episodes were trained on.
        split: Tasks to train on.
        eval_every: Evaluate every so many steps, and at the end; 0 never evaluates.
        eval_split: Tasks to evaluate on.
        eval_episodes: Episodes of one evaluation.
        patience: Stop after this many evaluations in a row without a better mean return; in
            Python the weights are then those of the best checkpoint, on the command line it is
            `--checkpoint best`. 0 never stops early.
        checkpoint_every: Steps between checkpoints: the most work a crash can cost.
        keep_checkpoints: How many to keep beside the best one; at least 2.
        failure_budget: Share of the last 100 episodes that may be invalid before the run stops.
        log_episodes: Write every episode to the run's ledger.
        curriculum: ``"none"`` meets every task of the split equally often; ``"medium"`` those of a
            level that succeeds half of the time most, where the environment's tasks have levels.
        part_weights: Learn from these parts of the reward, each divided by its own running spread
            and multiplied by its weight, instead of the reward; logs and evaluations keep the
            reward. Empty: learn from the reward. Refused with a memory (``replay.capacity``).
    """

    total_episodes: int = 2_000
    split: str = "train"
    eval_every: int = 0
    eval_split: str = "held_out"
    eval_episodes: int = 64
    patience: int = 0
    checkpoint_every: int = 10
    keep_checkpoints: int = 2
    failure_budget: float = 0.2
    log_episodes: bool = True
    curriculum: Literal["none", "medium"] = "none"
    part_weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("total_episodes", "eval_episodes", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("eval_every", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (off) or positive, got {getattr(self, name)}")
        if self.keep_checkpoints < 2:  # one damaged file must not end a run
            raise ValueError(
                f"keep_checkpoints must be at least 2, got {self.keep_checkpoints}: "
                "if the only one is damaged, nothing can be resumed"
            )
        if not 0 <= self.failure_budget <= 1:
            raise ValueError(f"failure_budget must be in [0, 1], got {self.failure_budget}")
        if not all(map(math.isfinite, self.part_weights.values())):
            raise ValueError(f"part_weights must be finite, got {self.part_weights}")
        if self.part_weights and not any(self.part_weights.values()):
            raise ValueError(f"part_weights must not all be 0, got {self.part_weights}")
        if self.patience and not self.eval_every:
            raise ValueError("patience needs eval_every: early stopping looks at evaluations")
