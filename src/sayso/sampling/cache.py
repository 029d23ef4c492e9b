"""A key-value cache whose rows are written at their own positions.

Row i of the cache is a slot. The entry of a token lies at the token's own position, so a mask
``key index <= position`` is all that rotary and absolute-position models need, whatever the
other rows hold.

Dimensions: n = rows, h = key-value heads, t = positions, d = head width, q = new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

_LENGTH_STEP = 64
"""Positions are allocated in multiples of this."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Keys and values of one row in every layer, each ``[h, t, d]``."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the new keys and values of one pass go, and which ones the pass reads.

    Attributes:
        slots: The slots of the pass, in its row order; a slice reads without copying.
        num_keys: Positions read: those of the longest row, new tokens included.
        row: Row within the pass of each token to write.
        column: Column within the pass of each token to write; padding has none.
        slot: Slot of each token to write.
        position: Position of each token to write.
    """

    slots: slice | Tensor
    num_keys: int
    row: Tensor
    column: Tensor
    slot: Tensor
    position: Tensor


class SlotCache(Cache):
    """Keys and values of all layers, each ``[slots, h, t, d]``; grows as needed, never shrinks.

    Set ``place`` before each pass: transformers hands over keys and values only.
    """

    def __init__(self, max_slots: int) -> None:
        """Args: ``max_slots`` bounds the slots ever reserved."""
        super().__init__(layers=[])
        self.place: Place | None = None
        self._held: list[tuple[Tensor, Tensor]] = []
        self._max_slots = max_slots
        self._num_slots = 0
        self._length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the new entries, each at its slot and position; return what the pass reads.

        Called by the attention of layer ``layer_idx`` with tensors ``[n, h, q, d]``.

        Raises:
            RuntimeError: If ``place`` is not set or a layer before this one never called.
        """
        place = self.place
        if place is None or layer_idx > len(self._held):
            raise RuntimeError(f"layer {layer_idx} out of turn: {len(self._held)} layers known")
        if layer_idx == len(self._held):
            self._held.append((self._grown(key_states[:0]), self._grown(value_states[:0])))
        keys, values = self._held[layer_idx]
        keys[place.slot, :, place.position] = key_states[place.row, :, place.column]
        values[place.slot, :, place.position] = value_states[place.row, :, place.column]
        return keys[place.slots, :, : place.num_keys], values[place.slots, :, : place.num_keys]

    def reserve(self, num_slots: int, length: int) -> None:
        """Make room for ``num_slots`` slots of ``length`` positions; contents are kept.

        Grows in steps that are a share of what is there, so that the copies stay cheap overall.
        """
        if num_slots <= self._num_slots and length <= self._length:
            return
        if num_slots > self._num_slots:
            self._num_slots = max(num_slots, min(2 * self._num_slots, self._max_slots))
        if length > self._length:
            wanted = max(length, self._length * 3 // 2)
            self._length = -(-wanted // _LENGTH_STEP) * _LENGTH_STEP
        for i, (keys, values) in enumerate(self._held):
            self._held[i] = (self._grown(keys), self._grown(values))

    def copy(self, source: Sequence[int], target: Sequence[int], length: int) -> None:
        """Copy the first ``length`` positions of each source slot to its target slot."""
        if not source:
            return
        for layer in self._held:
            for held in layer:
                held[list(target), :, :length] = held[list(source), :, :length]

    def snapshot(self, slot: int, length: int) -> Snapshot:
        """A copy of the first ``length`` positions of one slot."""
        return Snapshot(
            tuple(
                (keys[slot, :, :length].clone(), values[slot, :, :length].clone())
                for keys, values in self._held
            )
        )

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Write a snapshot into a slot, which must have been reserved."""
        for (keys, values), (old_keys, old_values) in zip(self._held, snapshot.layers, strict=True):
            keys[slot, :, : old_keys.shape[1]] = old_keys
            values[slot, :, : old_values.shape[1]] = old_values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Rows differ in length, so no number is right; every pass brings its own positions.

        Raises:
            RuntimeError: Always: a model that asks cannot be driven by this cache.
        """
        raise RuntimeError(f"layer {layer_idx} asks for one length, but each row has its own")

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Every pass brings its own mask.

        Raises:
            RuntimeError: Always, as in ``get_seq_length``.
        """
        raise RuntimeError(f"layer {layer_idx} builds its own mask for {query_length} tokens")

    def _grown(self, held: Tensor) -> Tensor:
        """A copy with room for all slots and positions.

        Zeros, not just any memory: a masked value is multiplied by 0, and 0 times whatever lies
        in memory may be NaN.
        """
        num_slots, heads, length, width = held.shape
        grown = held.new_zeros(self._num_slots, heads, self._length, width)
        if num_slots:
            grown[:, :, :length][:num_slots] = held
        return grown
