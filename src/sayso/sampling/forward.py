"""One pass of the network over the next tokens of several rows.

Dimensions: n = rows, q = new tokens of the longest row, k = positions read, v = vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sayso.sampling.cache import Place, SlotCache


class ChunkForward:
    """Feeds each row its next tokens, at their own positions, over the keys it already has."""

    def __init__(
        self,
        network: Any,
        device: torch.device,
        *,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Prepare.

        Args:
            network: The causal LM without wrappers.
            device: Where ids go.
            head: Logits from hidden states ``[n, d]``, instead of the network's own head.
        """
        self._network, self._head = network, head
        self._device = device
        accepted = inspect.signature(network.forward).parameters
        self._keep = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def __call__(
        self,
        cache: SlotCache,
        slots: Sequence[int],
        num_cached: Sequence[int],
        chunks: Sequence[Sequence[int]],
    ) -> Float[Tensor, "n v"]:
        """Logits after the last token of each row.

        Args:
            cache: Holds the rows' earlier keys and values, and takes the new ones.
            slots: Slot of each row.
            num_cached: Tokens of each row already in the cache.
            chunks: New tokens of each row, at least one.
        """
        ids, position, is_token = _right_aligned(num_cached, chunks)
        num_keys = int(position.max()) + 1
        cache.reserve(max(slots) + 1, num_keys)
        row, column = np.nonzero(is_token)
        cache.place = Place(
            slots=self._read(slots),
            num_keys=num_keys,
            row=self._send(row),
            column=self._send(column),
            slot=self._send(np.asarray(slots)[row]),
            position=self._send(position[row, column]),
        )
        positions = self._send(position)
        inputs = {
            "input_ids": self._send(ids),
            "attention_mask": self._mask(positions, num_keys),
            "position_ids": positions,
            "past_key_values": cache,
            "use_cache": True,
            "return_dict": True,
        }
        if self._head is not None:
            hidden: Tensor = self._network.base_model(**inputs).last_hidden_state
            return self._head(hidden[:, -1])
        logits: Tensor = self._network(**inputs, **self._keep).logits
        return logits[:, -1]

    def _read(self, slots: Sequence[int]) -> slice | Tensor:
        """Neighbouring slots are read in place; others are gathered."""
        first = slots[0]
        if list(slots) == list(range(first, first + len(slots))):
            return slice(first, first + len(slots))
        return self._send(np.asarray(slots))

    def _mask(self, position: Tensor, num_keys: int) -> Float[Tensor, "n 1 q k"]:
        """Additive mask: 0 where the key's position is at most the query's, else very negative.

        Padding sits at position 0 and sees key 0: no row is without a key, so none is NaN.
        """
        dtype = self._network.dtype
        is_visible = torch.arange(num_keys, device=self._device) <= position[:, None, :, None]
        mask = torch.zeros(is_visible.shape, dtype=dtype, device=self._device)
        return mask.masked_fill_(~is_visible, torch.finfo(dtype).min)

    def _send(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def _right_aligned(
    num_cached: Sequence[int], chunks: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids and positions ``[n, q]`` with padding on the left, and which entries are tokens.

    On the left, so that the last column is the last token of every row and only it needs logits.
    """
    num_columns = max(len(chunk) for chunk in chunks)
    ids = np.zeros((len(chunks), num_columns), dtype=np.int64)
    position = np.zeros_like(ids)
    is_token = np.zeros(ids.shape, dtype=bool)
    for i, (start, chunk) in enumerate(zip(num_cached, chunks, strict=True)):
        first = num_columns - len(chunk)
        ids[i, first:] = chunk
        position[i, first:] = np.arange(start, start + len(chunk))
        is_token[i, first:] = True
    return ids, position, is_token
