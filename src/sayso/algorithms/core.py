"""What every policy-gradient learner holds: model, engine, optimiser, controller, counters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sayso.algorithms.base import LearnerState
from sayso.algorithms.kl import KLController
from sayso.algorithms.optim import Optimiser
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.data.batch import Batch, PackedRow, pack
from sayso.kernels.allocator import keep_freed_memory
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Engine, Policy
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class Core:
    """Held, not inherited: a learner's file says what the algorithm is, this says what it needs.

    Attributes:
        lm: The policy being trained.
        engine: Where its samples come from.
        sampling: How they are drawn.
        distribution: What they are drawn from; scoring uses the same.
        imitated: What is scored where the actions of others are imitated: the same temperature,
            without filters, so that a token that a filter cuts off competes with all the others.
        optimiser: Over everything that trains.
        kl: Weight of the distance to the reference.
        version: Optimiser steps taken; stamped on episodes.
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        critic_lr: float | None = None,
        q_heads: nn.Module | None = None,
    ) -> None:
        """Set up.

        Args:
            lm: The policy.
            engine: Where its samples come from.
            sampling: How they are drawn.
            optim: Options of the optimiser.
            kl: Options of the distance to the reference.
            critic_lr: Rate at which heads learn; without ``q_heads`` the model gets a value head.
            q_heads: Heads of a value-based algorithm. What of them takes no gradient (targets) is
                part of the state all the same.
        """
        if lm.device.type == "cpu":
            keep_freed_memory()
        self.lm, self.engine, self.sampling = lm, engine, sampling
        self._exact: Engine | None = None
        self.distribution: Distribution = sampling.distribution()
        self.imitated = Distribution(temperature=self.distribution.temperature)
        if q_heads is not None:
            lm.add_q_heads(q_heads)
        elif critic_lr is not None:
            lm.add_value_head()
        if kl.coef > 0:
            lm.freeze_reference()
        critics = ("value_head.", "q_heads.", "critic.")
        own_lr = dict.fromkeys(critics, critic_lr) if critic_lr is not None else {}
        self.optimiser = Optimiser(lm.trainable(), optim, own_lr=own_lr)
        self.kl = KLController(kl)

    @property
    def version(self) -> int:
        """Optimiser steps behind the current weights."""
        return self.optimiser.num_steps

    def sampler(self) -> Policy:
        """The policy as it is now: sampling from it is the exploration of a policy gradient."""
        return self.acting(self.engine)

    def policy(self) -> Policy:
        """The same, sampled exactly: what is measured is what is saved."""
        if self.sampling.precision == "exact":
            return self.sampler()
        if self._exact is None:
            self._exact = make_engine(self.lm, replace(self.sampling, precision="exact"))
        return self.acting(self._exact)

    def sync(self) -> None:
        """Tell the engines that the weights have changed."""
        for engine in (self.engine, self._exact):
            if engine is not None:
                engine.sync()

    def acting(self, engine: Engine) -> Policy:
        """Who acts through an engine."""
        return Policy(
            engine=engine,
            chat=self.lm.chat,
            max_new_tokens=self.sampling.max_new_tokens,
            stop=self.sampling.stop,
            version=self.version,
            name=self.lm.name,
        )

    def pack(
        self, episodes: list[Episode], *, skip: Collection[int] = (), least_tokens: int = 0
    ) -> Batch:
        """Episodes as tensors where the model is; see ``data.batch.pack``.

        Args:
            episodes: What to pack.
            skip: As there.
            least_tokens: Rows may always be this long, whatever ``micro_batch_tokens`` says.
        """
        return pack(
            episodes,
            skip=skip,
            max_tokens=max(least_tokens, self.optimiser.options.micro_batch_tokens),
            dtype=torch.float64 if self.lm.dtype is torch.float64 else torch.float32,
            device=self.lm.device,
        )

    def read(self, row: PackedRow) -> Tensor:
        """Hidden states of all tokens of a row, [t, d], by the trunk as it is switched now."""
        return self.lm.hidden(row.ids[None], row.position[None], row.forest)[0]

    def state(self, more: Mapping[str, Tensor] | None = None, **values: Any) -> LearnerState:
        """Weights that train, moments, counters, and what the algorithm adds."""
        tensors: dict[str, Tensor] = {
            f"policy.{name}": parameter.detach()
            for name, parameter in self.optimiser.parameters.items()
        }
        tensors |= self.optimiser.state_tensors() | self._targets() | dict(more or {})
        counters = {"num_steps": self.optimiser.num_steps, "kl_coef": self.kl.coef}
        if self.optimiser.first_step:
            counters["schedule_start"] = self.optimiser.first_step
        return LearnerState(tensors=tensors, values={**counters, **values})

    def _targets(self) -> dict[str, Tensor]:
        """What of the value-based heads no gradient moves."""
        heads = self.lm.q_heads
        kept = {} if heads is None else heads.state_dict()
        own = self.optimiser.parameters
        return {f"target.{n}": t for n, t in kept.items() if f"q_heads.{n}" not in own}

    def load_state(self, state: LearnerState) -> Mapping[str, Any]:
        """Undo ``state``; the values are returned for what the algorithm added.

        Raises:
            ValueError: If the state is of another model.
        """
        own = self.optimiser.parameters
        saved = {
            name.removeprefix("policy."): tensor
            for name, tensor in state.tensors.items()
            if name.startswith("policy.")
        }
        if saved.keys() != own.keys():
            different = sorted(saved.keys() ^ own.keys())
            raise ValueError(f"the checkpoint is of another model: {different[:5]} differ")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(saved[name])
            for name, tensor in self._targets().items():
                tensor.copy_(state.tensors[name])
        self.optimiser.load_tensors(state.tensors, num_steps=int(state.values["num_steps"]))
        self.optimiser.first_step = int(state.values.get("schedule_start", 0))
        self.kl.coef = float(state.values["kl_coef"])
        self.sync()
        return state.values
