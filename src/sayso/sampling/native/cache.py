"""Keys and values in the kernels' layout; a prompt's are shared by its group, not copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sayso.kernels.library import Library, Model

FIRST_POSITIONS = 64
"""Positions of a new region; it doubles when it is full."""


@dataclass(slots=True, eq=False)
class Region:
    """Keys and values of successive positions: ``[2, layers * heads, capacity, width]``.

    Within whole blocks of vectors the kernels have an order of their own.
    """

    held: Tensor

    @property
    def capacity(self) -> int:
        """Positions there is room for."""
        return int(self.held.shape[2])

    @property
    def address(self) -> int:
        """Where it starts in memory."""
        return self.held.data_ptr()


@dataclass(slots=True, eq=False)
class Prefix:
    """Leading positions that several rows read, and none writes."""

    region: Region
    length: int


@dataclass(slots=True, eq=False)
class SlotState:
    """What one slot holds: a shared beginning, if any, and its own positions after it."""

    prefix: Prefix | None = None
    own: Region | None = None

    @property
    def num_prefix(self) -> int:
        """Positions that lie in the shared beginning."""
        return self.prefix.length if self.prefix else 0


@dataclass(frozen=True, slots=True)
class NativeSnapshot:
    """A slot's contents, kept while its session rests. ``nbytes`` counts its own part only."""

    prefix: Prefix | None
    own: Region | None

    @property
    def nbytes(self) -> int:
        """Memory of the part that nobody else holds."""
        return self.own.held.nbytes if self.own else 0


class NativeCache:
    """Slots of regions. Regions given up are used again, so that memory is faulted in once."""

    def __init__(self, num_heads: int, width: int, dtype: torch.dtype) -> None:
        """Args: key heads of all layers together; numbers of a position in each; what they are."""
        self._num_heads, self._width, self._dtype = num_heads, width, dtype
        self._slots: dict[int, SlotState] = {}
        self._free: dict[int, list[Tensor]] = {}

    def state(self, slot: int) -> SlotState:
        """What a slot holds."""
        return self._slots.setdefault(slot, SlotState())

    def room(self, slot: int, num_positions: int) -> SlotState:
        """The slot, with room in its own region for positions below ``num_positions``."""
        state = self.state(slot)
        wanted = num_positions - state.num_prefix
        capacity = state.own.capacity if state.own else 0
        if wanted > capacity:
            size = max(FIRST_POSITIONS, capacity)
            while size < wanted:
                size *= 2
            grown = self._take(size)
            if state.own:
                grown.held[:, :, :capacity] = state.own.held
                self._give(state.own)
            state.own = grown
        return state

    def clear(self, slot: int) -> None:
        """Empty a slot."""
        state = self._slots.pop(slot, None)
        if state is not None and state.own is not None:
            self._give(state.own)

    def share(self, source: int, targets: Iterable[int], length: int) -> None:
        """Let the targets read the first ``length`` positions of the source, all it holds."""
        state = self.state(source)
        if state.prefix is None and state.own is not None:
            state.prefix, state.own = Prefix(state.own, length), None
        for target in targets:
            self.restore(target, self.snapshot(source, length))

    def move(self, source: int, target: int) -> None:
        """Take a slot's contents to another one."""
        self.clear(target)
        self._slots[target] = self._slots.pop(source, SlotState())

    def snapshot(self, slot: int, length: int) -> NativeSnapshot:
        """A slot's first ``length`` positions, all it holds."""
        state = self.state(slot)
        own = None
        if state.own is not None and length > state.num_prefix:
            own = Region(state.own.held[:, :, : self._blocks(length - state.num_prefix)].clone())
        return NativeSnapshot(state.prefix, own)

    def restore(self, slot: int, snapshot: NativeSnapshot) -> None:
        """Write a snapshot into a slot."""
        self.clear(slot)
        self._slots[slot] = SlotState(prefix=snapshot.prefix)
        if snapshot.own is not None:
            size = snapshot.own.capacity
            state = self.room(slot, size + self.state(slot).num_prefix)
            if state.own is not None:
                state.own.held[:, :, :size] = snapshot.own.held

    def _blocks(self, positions: int) -> int:
        return -(-positions // FIRST_POSITIONS) * FIRST_POSITIONS

    def _take(self, capacity: int) -> Region:
        free = self._free.get(capacity)
        if free:
            return Region(free.pop())
        return Region(torch.empty(2, self._num_heads, capacity, self._width, dtype=self._dtype))

    def _give(self, region: Region) -> None:
        self._free.setdefault(region.capacity, []).append(region.held)


def cache_for(model: Model, kernels: Library) -> NativeCache:
    """An empty cache as the kernels read it: bytes and their scales in int8, else float32."""
    num_heads = model.num_layers * model.key_heads
    padded = -(-model.head_width // kernels.lanes) * kernels.lanes
    if model.is_int8:
        return NativeCache(num_heads, padded + torch.float32.itemsize, torch.int8)
    return NativeCache(num_heads, padded, torch.float32)
