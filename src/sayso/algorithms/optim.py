"""The optimiser, with a guard in front of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sayso.algorithms.base import Skipped
from sayso.algorithms.checks import check_positive
from sayso.metrics import Mean
from sayso.runs import interrupt
from sayso.runs.failpoints import Failpoint, fp


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
        total_steps: Optimiser steps, warm-up included, at which ``linear`` and ``cosine`` reach 0;
            needed by them.
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
        if (self.schedule == "constant") is not (self.total_steps is None):
            raise ValueError(
                f"total_steps is needed by linear and cosine and has no effect otherwise, "
                f"got {self.total_steps} with schedule = {self.schedule!r}"
            )
        if self.total_steps is not None and self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"warmup_steps must be below total_steps, which counts them: got "
                f"{self.warmup_steps} of {self.total_steps}"
            )

    def lr_at(self, step: int) -> float:
        """Learning rate of optimiser step ``step``, counted from 0."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.total_steps is None:
            return self.lr * warm
        after_warmup = max(0, step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        left = max(0.0, 1 - after_warmup)
        if self.schedule == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return self.lr * warm * left


class Optimiser:
    """AdamW over named parameters: clips, guards, steps, saves.

    Attributes:
        num_steps: Steps taken.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        options: OptimOptions,
        *,
        own_lr: Mapping[str, float] | None = None,
    ) -> None:
        """Set up.

        Args:
            parameters: What trains, by name.
            options: See ``OptimOptions``.
            own_lr: Learning rates of their own for parameters whose name begins so; the schedule
                scales them alike.
        """
        self.parameters, self.options, self.num_steps = dict(parameters), options, 0
        own = own_lr or {}
        self._scale = {
            name: next(
                (lr / options.lr for start, lr in own.items() if name.startswith(start)), 1.0
            )
            for name in self.parameters
        }
        groups = [
            {"params": [parameter], "lr": options.lr * self._scale[name]}
            for name, parameter in self.parameters.items()
        ]
        self._adam = torch.optim.AdamW(
            groups,
            lr=options.lr,
            betas=(options.beta1, options.beta2),
            eps=options.eps,
            weight_decay=options.weight_decay,
        )

    def zero_grad(self) -> None:
        """Forget gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self) -> tuple[dict[str, Mean], Skipped | None]:
        """Clip and step, unless a number is not finite: then nothing changes, bit for bit.

        Returns:
            Metrics; and why the step was not taken, if it was not.
        """
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        if not bool(torch.isfinite(norm)):
            culprit = next(
                (n for n, p in self.parameters.items()
                 if p.grad is not None and not bool(torch.isfinite(p.grad).all())),
                "the norm of all",
            )  # fmt: skip
            self.zero_grad()
            return {}, Skipped(reason=f"the gradient of {culprit} is not finite")
        scale = min(1.0, self.options.max_grad_norm / (float(norm) + 1e-12))
        if scale < 1:
            for gradient in gradients:
                gradient.mul_(scale)
        lr = self.options.lr_at(self.num_steps)
        for group, name in zip(self._adam.param_groups, self.parameters, strict=True):
            group["lr"] = lr * self._scale[name]
        interrupt.hold()  # from here to the end of the step, weights and counters change together
        fp(Failpoint.MID_OPTIMISER)
        self._adam.step()
        self.num_steps += 1
        self.zero_grad()
        return {"optim/grad_norm": Mean(float(norm), 1), "optim/lr": Mean(lr, 1)}, None

    def state_tensors(self) -> dict[str, Tensor]:
        """Moments by name; the live tensors."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            for key, value in self._adam.state.get(parameter, {}).items():
                tensors[f"optimiser.{name}.{key}"] = value
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor], *, num_steps: int) -> None:
        """Undo ``state_tensors``."""
        self.num_steps = num_steps
        self._adam.state.clear()
        for name, parameter in self.parameters.items():
            state: dict[str, Any] = {}
            for key in ("step", "exp_avg", "exp_avg_sq"):
                saved = tensors.get(f"optimiser.{name}.{key}")
                if saved is not None:
                    place = saved if key == "step" else saved.to(parameter)
                    state[key] = place.clone()
            if state:
                self._adam.state[parameter] = state
