"""The optimiser, with a guard in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sayso.algorithms.base import Skipped
from sayso.algorithms.options.optim import OptimOptions
from sayso.metrics import Mean
from sayso.runs import interrupt
from sayso.runs.failpoints import Failpoint, fp

HALF = (torch.bfloat16, torch.float16)


def told_if_ended(metrics: Mapping[str, Mean]) -> tuple[str, ...]:
    """A sentence for the user, if an update's steps were taken at a learning rate of 0."""
    if "optim/lr" in metrics and not metrics["optim/lr"].value:
        return ("The learning rate is 0: its schedule has ended, nothing more is learnt.",)
    return ()


class Optimiser:
    """AdamW over named parameters: clips, guards, steps, saves.

    Parameters in half precision are stepped through float32 masters: most steps are smaller than
    what bfloat16 can add to a weight, and would be lost. Moments and clipping are in float32 then.

    Attributes:
        num_steps: Steps taken.
        first_step: Those taken before the schedule began.
        length: Steps of the schedule where ``options.total_steps`` is unset; ``None``: unknown.
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
        self.first_step = 0
        self.length: int | None = None
        self._masters: dict[str, Tensor] = {}
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
            fused=True,  # one pass over weights and moments instead of six
        )

    def follow(self, length: int, *, is_new: bool = False) -> None:
        """Let the schedule last so many steps, from now on or from where it began."""
        self.length = length
        if is_new:
            self.first_step = self.num_steps

    def zero_grad(self) -> None:
        """Forget gradients."""
        for parameter in (*self.parameters.values(), *self._masters.values()):
            parameter.grad = None

    def step(self) -> tuple[dict[str, Mean], Skipped | None]:
        """Clip and step, unless a number is not finite: then nothing changes, bit for bit.

        Returns:
            Metrics; and why the step was not taken, if it was not.
        """
        gradients = {
            name: p.grad.float() if p.dtype in HALF else p.grad
            for name, p in self.parameters.items()
            if p.grad is not None
        }
        norm = torch.nn.utils.get_total_norm(gradients.values()) if gradients else torch.zeros(())
        if not bool(torch.isfinite(norm)):
            culprit = next(
                (name for name, g in gradients.items() if not bool(torch.isfinite(g).all())),
                "the norm of all",
            )
            self.zero_grad()
            return {}, Skipped(reason=f"the gradient of {culprit} is not finite")
        scale = min(1.0, self.options.max_grad_norm / (float(norm) + 1e-12))
        if scale < 1:
            for gradient in gradients.values():
                gradient.mul_(scale)
        lr = self.options.lr_at(self.num_steps - self.first_step, length=self.length)
        for group, name in zip(self._adam.param_groups, self.parameters, strict=True):
            stepped = self._stepped(name)
            stepped.grad = gradients.get(name)
            group["lr"], group["params"] = lr * self._scale[name], [stepped]
        interrupt.hold()  # from here to the end of the step, weights and counters change together
        fp(Failpoint.MID_OPTIMISER)
        self._adam.step()
        with torch.no_grad():
            for name, master in self._masters.items():
                self.parameters[name].copy_(master)
        self.num_steps += 1
        self.zero_grad()
        return {"optim/grad_norm": Mean(float(norm), 1), "optim/lr": Mean(lr, 1)}, None

    def _stepped(self, name: str) -> Tensor:
        """What AdamW steps: the parameter, or the float32 master of one in half precision.

        A parameter that somebody else has changed since the last step takes its master along.
        """
        parameter = self.parameters[name]
        if parameter.dtype not in HALF:
            return parameter
        now = parameter.detach().float()
        master = self._masters.setdefault(name, now)
        master.copy_(torch.where(master.to(parameter.dtype) == parameter, master, now))
        return master

    def state_tensors(self) -> dict[str, Tensor]:
        """Moments and masters by name; the live tensors."""
        tensors = {f"optimiser.{name}.master": master for name, master in self._masters.items()}
        for name, parameter in self.parameters.items():
            stepped = self._masters.get(name, parameter)
            for key, value in self._adam.state.get(stepped, {}).items():
                tensors[f"optimiser.{name}.{key}"] = value
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor], *, num_steps: int) -> None:
        """Undo ``state_tensors``; the parameters are those of that state already."""
        self.num_steps = num_steps
        self._adam.state.clear()
        self._masters = {
            name: tensors[f"optimiser.{name}.master"].to(parameter.device, copy=True)
            for name, parameter in self.parameters.items()
            if f"optimiser.{name}.master" in tensors
        }
        for name in self.parameters:
            state: dict[str, Any] = {}
            for key in ("step", "exp_avg", "exp_avg_sq"):
                saved = tensors.get(f"optimiser.{name}.{key}")
                if saved is not None:  # the fused step reads its count where the weights are
                    stepped = self._stepped(name)
                    dtype = saved.dtype if key == "step" else stepped.dtype
                    state[key] = saved.to(stepped.device, dtype, copy=True)
            if state:
                self._adam.state[self._stepped(name)] = state
