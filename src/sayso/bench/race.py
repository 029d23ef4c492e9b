"""The rules of a race to a held-out reward.

They are fixed here before any run: ``sayso/Writing-v0``, GRPO's loss on both sides, and the
mean reward on the first held-out tasks that ends a run. No rule depends on what a run did.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """The rules.

    Attributes:
        model: A Hugging Face directory; both sides start from it and from the same adapters.
        threshold: Held-out mean reward that ends a run.
        max_steps: Optimiser steps after which a run ends without it: it is then censored.
        every: Steps between evaluations; the clock stands still during one.
        held_out: Tasks of an evaluation, one sample each.
        tasks_per_step: Different tasks of a step.
        group_size: Attempts at each.
        max_new: Most new tokens.
        lora: Rank of the adapters (alpha is twice that); 0 trains all weights.
        lr: Learning rate, constant.
        train_on: Ours only: attempts of a group that are trained on; 0: all, as the peer does.
        precision: Ours only: ``"int8"`` or ``"exact"`` sampling; evaluations are always exact.
        micro_batch: Rows of one forward pass of the peer.
        threads: Threads of a process.
    """

    model: str
    threshold: float = 0.35
    max_steps: int = 60
    every: int = 2
    held_out: int = 128
    tasks_per_step: int = 8
    group_size: int = 8
    max_new: int = 40
    lora: int = 16
    lr: float = 4e-4
    train_on: int = 0
    precision: str = "int8"
    micro_batch: int = 16
    threads: int = 2

    def __post_init__(self) -> None:
        low = ("max_steps", "every", "held_out", "tasks_per_step", "max_new", "threads")
        for name in (*low, "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.group_size < 2:
            raise ValueError(f"group_size must be at least 2, got {self.group_size}")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], got {self.threshold}")

    @property
    def rows(self) -> int:
        """Completions of a step."""
        return self.tasks_per_step * self.group_size
