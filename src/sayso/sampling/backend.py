"""What decodes: the network and its keys and values, behind the calls that an engine needs.

Dimensions: n = rows, v = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.models.distribution import inverse_cdf, token_logprobs
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.cache import SlotCache, Snapshot
from sayso.sampling.forward import ChunkForward
from sayso.sampling.network import device_of, unwrapped

Guide = Callable[[Tensor, Tensor], Tensor]
"""From the hidden states ``[n, d]`` and the model's logits ``[n, v]`` to the logits to draw from.

How value-based learners act: log-probabilities and advantages are added up here.
"""


class Backend(Protocol):
    """Slots of keys and values, numbered from 0, and passes over them.

    ``Snapshot`` here is whatever ``snapshot`` returns; it has ``nbytes``.
    """

    @property
    def path(self) -> str:
        """How it computes, in a few words for the user."""
        ...

    def refresh(self) -> None:
        """The weights may have changed; no slot holds anything."""
        ...

    def reserve(self, num_slots: int, length: int) -> None:
        """Make room for so many slots of so many positions."""
        ...

    def clear(self, slot: int) -> None:
        """Forget what a slot holds."""
        ...

    def share(self, source: int, targets: Sequence[int], length: int) -> None:
        """Let the targets hold what the source holds: its first ``length`` positions."""
        ...

    def move(self, source: int, target: int, length: int) -> None:
        """Let the target hold what the source holds; the source is not used any more."""
        ...

    def snapshot(self, slot: int, length: int) -> Any:
        """What a slot holds, to be restored later, elsewhere."""
        ...

    def restore(self, slot: int, snapshot: Any) -> None:
        """Let a slot hold what a snapshot does."""
        ...

    def forward(
        self, slots: Sequence[int], num_cached: Sequence[int], chunks: Sequence[Sequence[int]]
    ) -> Float[Tensor, "n v"]:
        """Feed each slot its next tokens; the logits after the last of each."""
        ...

    def draw(
        self, logits: Float[Tensor, "n v"], uniform: Iterable[float]
    ) -> tuple[list[int], list[float]]:
        """One token per row at one uniform number each, and its log-probability (nats)."""
        ...


class SlotBackend:
    """The model's own forward over ``SlotCache``: any architecture, any device."""

    def __init__(
        self,
        lm: LanguageModel,
        distribution: Distribution,
        *,
        max_rows: int,
        guide: Guide | None = None,
    ) -> None:
        """Prepare; nothing is allocated yet.

        Args:
            lm: The model.
            distribution: What to draw from, after the guide.
            max_rows: Rows decoded together.
            guide: Changes the logits, if anything does.
        """
        self._device = device_of(lm.network)

        def guided(hidden: Tensor) -> Tensor:
            logits = lm.logits(hidden)
            return guide(hidden, logits) if guide else logits

        self._guide = guide
        self._forward = ChunkForward(
            unwrapped(lm.network), self._device, head=guided if guide else None
        )
        self._distribution, self._max_rows = distribution, max_rows
        self.cache = SlotCache(max_rows)

    @property
    def path(self) -> str:
        """How it computes."""
        told = ", steered by values" if self._guide else ""
        return f"torch: the model's own forward, {self._device.type}{told}"

    def refresh(self) -> None:
        """Give the memory back; the weights are read where they are."""
        self.cache = SlotCache(self._max_rows)

    def reserve(self, num_slots: int, length: int) -> None:
        """See ``SlotCache.reserve``."""
        self.cache.reserve(num_slots, length)

    def clear(self, slot: int) -> None:
        """Nothing to do: what a slot holds beyond its own length is never read."""

    def share(self, source: int, targets: Sequence[int], length: int) -> None:
        """A copy for each."""
        self.cache.copy([source] * len(targets), targets, length)

    def move(self, source: int, target: int, length: int) -> None:
        """A copy."""
        self.cache.copy([source], [target], length)

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """See ``SlotCache.snapshot``."""
        return self.cache.snapshot(slot, length)

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """See ``SlotCache.restore``."""
        self.cache.restore(slot, snapshot)

    def forward(
        self, slots: Sequence[int], num_cached: Sequence[int], chunks: Sequence[Sequence[int]]
    ) -> Float[Tensor, "n v"]:
        """See ``ChunkForward``."""
        return self._forward(self.cache, slots, num_cached, chunks)

    def draw(
        self, logits: Float[Tensor, "n v"], uniform: Iterable[float]
    ) -> tuple[list[int], list[float]]:
        """By ``token_logprobs`` and ``inverse_cdf``."""
        return drawn(logits, self._distribution, uniform)


def drawn(
    logits: Float[Tensor, "n v"], distribution: Distribution, uniform: Iterable[float]
) -> tuple[list[int], list[float]]:
    """One token per row and its log-probability, for any distribution."""
    logprobs = token_logprobs(logits, distribution)
    numbers = torch.tensor(list(uniform), dtype=torch.float64).to(logits.device)
    tokens = inverse_cdf(logprobs, numbers)
    chosen = logprobs.gather(-1, tokens[:, None]).squeeze(-1)
    return tokens.tolist(), chosen.tolist()
