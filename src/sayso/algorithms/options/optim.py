"""Options of the optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sayso.algorithms.checks import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimOptions:
    """Options of the optimiser (AdamW); written in a run file under ``[optim]``.

    Attributes:
        lr: Learning rate. About 1e-4 to 5e-4 for adapters, 1e-6 to 1e-5 for all weights.
        weight_decay: Decoupled decay.
        beta1: Decay of the mean of gradients.
        beta2: Decay of the mean of their squares.
        eps: Added to the root.
        max_grad_norm: Gradients are scaled down to this norm.
        schedule: How the learning rate goes on after the warm-up.
        warmup_steps: Optimiser steps over which it rises from 0.
        total_steps: Optimiser steps of a run, warm-up included, at which ``linear`` and ``cosine``
            reach 0; unset: those that ``train.total_episodes`` come to.
        micro_batch_tokens: Tokens of one forward pass. Changes memory, never the gradient.
    """

    lr: float = 1e-5
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    max_grad_norm: float = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 0
    total_steps: int | None = None
    micro_batch_tokens: int = 1024

    def __post_init__(self) -> None:
        check_positive(lr=self.lr, eps=self.eps, total_steps=self.total_steps)
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive, got {self.max_grad_norm}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.micro_batch_tokens < 1:
            raise ValueError(f"micro_batch_tokens must be positive, got {self.micro_batch_tokens}")
        for name in ("weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.schedule == "constant" and self.total_steps is not None:
            raise ValueError(
                f"total_steps has no effect with schedule = 'constant', got {self.total_steps}: "
                "use linear or cosine, or leave it out"
            )
        if self.total_steps is not None and self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"warmup_steps must be below total_steps, which counts them: got "
                f"{self.warmup_steps} of {self.total_steps}"
            )

    def lr_at(self, step: int, *, length: int | None = None) -> float:
        """Learning rate of optimiser step ``step``, counted from 0.

        Args:
            step: Which.
            length: Steps of the run, where ``total_steps`` is unset. Beyond them the last rate
                stays: episodes that fail make a run longer than it was thought to be.

        Raises:
            ValueError: If a schedule that ends is not told where.
        """
        if self.total_steps is None and length is not None:
            step = min(step, length - 1)
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return self.lr * warm
        end = length if self.total_steps is None else self.total_steps
        if end is None:
            raise ValueError(
                f"schedule = {self.schedule!r} needs total_steps where no total_episodes tell it"
            )
        after_warmup = max(0, step - self.warmup_steps) / max(1, end - self.warmup_steps)
        left = max(0.0, 1 - after_warmup)
        if self.schedule == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return self.lr * warm * left
