"""Decoding by our own kernels. Dimensions: n = rows, v = vocabulary."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sayso.kernels import library as lib
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.backend import drawn
from sayso.sampling.native.cache import NativeSnapshot, cache_for
from sayso.sampling.native.weights import Weights
from sayso.sampling.network import unwrapped

PASS_TOKENS = 512
"""Most tokens of one call: what is kept of a pass between its layers stays in the caches."""


class NativeBackend:
    """Packed weights, shared prompts, no Python per layer. Satisfies ``Backend``."""

    def __init__(self, lm: LanguageModel, distribution: Distribution, *, is_int8: bool) -> None:
        """Prepare a model for which ``why_not`` has no objection."""
        self._kernels = lib.library()
        self._weights = Weights(unwrapped(lm.network), is_int8=is_int8)
        self._distribution = distribution
        self._is_fresh = False
        self._cache = cache_for(self._weights.model, self._kernels)
        self._logits = torch.empty(0, 0)

    @property
    def path(self) -> str:
        """How it computes."""
        kind = "int8" if self._weights.is_int8 else "float32"
        return f"native: compiled kernels, {kind}, {32 * self._kernels.lanes}-bit vectors"

    @property
    def heads_per_key(self) -> int:
        """Query heads that share a key head."""
        return int(self._weights.model.heads // self._weights.model.key_heads)

    def refresh(self) -> None:
        """Pack the weights again before the next pass, and give the memory back."""
        self._is_fresh = False
        self._cache = cache_for(self._weights.model, self._kernels)

    def reserve(self, num_slots: int, length: int) -> None:
        """Rotary tables; regions grow by themselves."""
        del num_slots
        self._weights.reach(length)

    def clear(self, slot: int) -> None:
        """Give a slot's memory back."""
        self._cache.clear(slot)

    def share(self, source: int, targets: Sequence[int], length: int) -> None:
        """By reference."""
        self._cache.share(source, targets, length)

    def move(self, source: int, target: int, length: int) -> None:
        """By reference."""
        del length
        self._cache.move(source, target)

    def snapshot(self, slot: int, length: int) -> NativeSnapshot:
        """See ``NativeCache.snapshot``."""
        return self._cache.snapshot(slot, length)

    def restore(self, slot: int, snapshot: NativeSnapshot) -> None:
        """See ``NativeCache.restore``."""
        self._cache.restore(slot, snapshot)

    def forward(
        self, slots: Sequence[int], num_cached: Sequence[int], chunks: Sequence[Sequence[int]]
    ) -> Float[Tensor, "n v"]:
        """Feed each slot its next tokens; the logits after the last of each."""
        if not self._is_fresh:
            self._weights.refresh()
            self._is_fresh = True
        ends = [start + len(chunk) for start, chunk in zip(num_cached, chunks, strict=True)]
        self._weights.reach(max(ends))
        states = [self._cache.room(slot, end) for slot, end in zip(slots, ends, strict=True)]
        logits = self._room(len(slots))
        # Rows with the same beginning side by side: it is then read once for all of them.
        order = sorted(range(len(slots)), key=lambda i: (id(states[i].prefix), i))
        pending: list[int] = []
        for i in order:
            if pending and sum(len(chunks[j]) for j in [*pending, i]) > PASS_TOKENS:
                self._pass(pending, states, num_cached, chunks, logits)
                pending = []
            pending.append(i)
        self._pass(pending, states, num_cached, chunks, logits)
        return logits

    def draw(
        self, logits: Float[Tensor, "n v"], uniform: Iterable[float]
    ) -> tuple[list[int], list[float]]:
        """In one pass over the logits, when nothing is filtered out."""
        if not self._distribution.is_full:
            return drawn(logits, self._distribution, uniform)
        numbers = np.fromiter(uniform, np.float64, len(logits))
        tokens = np.empty(len(logits), np.int64)
        logprobs = np.empty(len(logits), np.float64)
        self._kernels.calls.sayso_draw(
            logits.data_ptr(), *logits.shape, 1 / self._distribution.temperature,
            numbers.ctypes.data, tokens.ctypes.data, logprobs.ctypes.data, torch.get_num_threads(),
        )  # fmt: skip
        return tokens.tolist(), logprobs.tolist()

    def _room(self, rows: int) -> Tensor:
        """Logits are overwritten by the next pass: fresh memory each time costs page faults."""
        vocabulary = self._weights.model.vocabulary
        if self._logits.shape[0] < rows:
            self._logits = torch.empty(rows, vocabulary)
        return self._logits[:rows]

    def _pass(self, rows, states, num_cached, chunks, logits: Tensor) -> None:  # type: ignore[no-untyped-def]
        """One call of the kernel for some of the rows."""
        count = [len(chunks[i]) for i in rows]

        def spread(values: list[int]) -> np.ndarray:
            return np.repeat(np.array(values, np.int64), count)

        prefixes = [states[i].prefix for i in rows]
        arrays = {
            "token": np.array([token for i in rows for token in chunks[i]], np.int64),
            "position": np.concatenate(
                [np.arange(num_cached[i], num_cached[i] + len(chunks[i])) for i in rows]
            ).astype(np.int64),
            "own": spread([states[i].own.address for i in rows]),
            "own_capacity": spread([states[i].own.capacity for i in rows]),
            "prefix": spread([p.region.address if p else 0 for p in prefixes]),
            "prefix_capacity": spread([p.region.capacity if p else 0 for p in prefixes]),
            "num_prefix": spread([p.length if p else 0 for p in prefixes]),
            # In the order of the slots, whatever the order of the pass.
            "logits_of": (np.cumsum(np.array(count, np.int64)) - 1)[np.argsort(rows)],
        }
        tokens = lib.Tokens(count=sum(count), num_logits=len(rows))
        for name, array in arrays.items():
            setattr(tokens, name, array.ctypes.data)
        is_all = len(rows) == len(logits)
        out = logits if is_all else torch.empty(len(rows), logits.shape[1])
        self._kernels.calls.sayso_step(
            ctypes.byref(self._weights.model), ctypes.byref(tokens), out.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        if not is_all:
            logits[sorted(rows)] = out
