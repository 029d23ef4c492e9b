"""The input embedding of a model that sees and hears.

Dimensions: b = rows, t = positions, d = width, n = rows of an item.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sayso.errors import ModelError
from sayso.models.media import DIGITS, PLACES, MediaTable
from sayso.models.media_encoders import MediaEncoder


class Kept:
    """What was computed of items, within a budget; the oldest goes first.

    A copy of a network begins with nothing: its weights may go another way.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._num_bytes = max_bytes, 0
        self._values: OrderedDict[int, Any] = OrderedDict()

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Kept:
        return Kept(self._max_bytes)

    def get(self, slot: int) -> Any:
        """What is kept of an item, if anything is."""
        if slot in self._values:
            self._values.move_to_end(slot)
        return self._values.get(slot)

    def put(self, slot: int, value: Any) -> None:
        """Keep something of an item."""
        self._values[slot] = value
        self._num_bytes += num_bytes(value)
        while self._num_bytes > self._max_bytes and len(self._values) > 1:
            self._num_bytes -= num_bytes(self._values.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._num_bytes = 0


class MediaEmbedding(nn.Module):
    """Looks tokens up as before, and takes rows of projected features for ids of media.

    Args:
        inner: The model's own embedding.
        table: What the ids of media mean.
        encoders: By kind.
        projectors: By kind; a kind without one has features of the model's width.
        keep_bytes: Memory for what is computed once per item.
    """

    def __init__(
        self,
        inner: nn.Module,
        table: MediaTable,
        encoders: Mapping[str, MediaEncoder],
        projectors: Mapping[str, nn.Module],
        *,
        keep_bytes: int,
    ) -> None:
        super().__init__()
        self.inner, self.table = inner, table
        self.encoders, self.projectors = nn.ModuleDict(encoders), nn.ModuleDict(projectors)
        self._prepared, self._features = Kept(keep_bytes), Kept(keep_bytes)
        for kind, encoder in encoders.items():
            table.serve(kind, encoder)

    @property
    def weight(self) -> Tensor:
        """Of the model's own embedding: what asks for the vocabulary or the device reads it."""
        inner: Any = self.inner
        weight: Tensor = inner.weight
        return weight

    def forward(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """Embeddings of tokens and of rows of media.

        Raises:
            ModelError: If an id is of an item that is not known, or of a row that it has not.
        """
        is_media = ids >= self.table.first_id
        if not bool(is_media.any()):
            plain: Tensor = self.inner(ids)
            return plain
        embedded: Tensor = self.inner(torch.where(is_media, 0, ids))
        named = ids[is_media] - self.table.first_id
        slots, which = torch.unique(named // PLACES, return_inverse=True)
        rows = self.rows(slots.tolist())
        sizes = torch.tensor([len(each) for each in rows], device=ids.device)
        place = named % PLACES
        if bool((beyond := place >= sizes[which]).any()):
            worst = int(beyond.nonzero()[0])
            slot = int(slots[which[worst]])
            raise ModelError(
                where=f"media {slot:0{DIGITS}x}",
                problem=f"a token asks for its feature {int(place[worst])}, its encoder gives "
                f"{len(rows[int(which[worst])])}.",
                fix="Use the encoder that the tokens were made with ([model.media]).",
            )
        first = sizes.cumsum(0) - sizes
        # Not rows[...]: where texts share an item, threads would add up its gradient in any order.
        taken = torch.cat(rows).index_select(0, first[which] + place)
        return embedded.masked_scatter(is_media[..., None], taken.to(embedded.dtype))

    def rows(self, slots: Sequence[int]) -> list[Float[Tensor, "n d"]]:
        """Embeddings of items; gradients flow to projectors, and to encoders that train."""
        by_kind: dict[str, list[int]] = {}
        for slot in slots:
            by_kind.setdefault(self.table.item(slot).kind, []).append(slot)
        found: dict[int, Tensor] = {}
        for kind, some in by_kind.items():
            features = self._encoded(kind, some)
            if kind in self.projectors:
                sizes = [len(each) for each in features]
                features = list(self.projectors[kind](torch.cat(features)).split(sizes))
            found |= dict(zip(some, features, strict=True))
        return [found[slot] for slot in slots]

    def _encoded(self, kind: str, slots: Sequence[int]) -> list[Tensor]:
        encoder: Any = self.encoders[kind]
        if not encoder.is_frozen:
            prepared = []
            for slot in slots:
                known = self._prepared.get(slot)
                if known is None:
                    known = encoder.prepare(self.table.item(slot))
                    self._prepared.put(slot, known)
                prepared.append(known)
            trained: list[Tensor] = encoder.encode(prepared)
            return trained
        found = []
        for slot in slots:
            features = self._features.get(slot)
            if features is None:
                # Alone, so that it is the same number whatever else is new.
                with torch.no_grad():
                    features = encoder.encode([encoder.prepare(self.table.item(slot))])[0]
                self._features.put(slot, features)
            found.append(features)
        return found

    def forget(self) -> None:
        """Compute everything anew: the weights of an encoder were replaced."""
        self._prepared.clear()
        self._features.clear()


def media_of(network: Any) -> MediaEmbedding | None:
    """The embedding of a causal LM that sees or hears; ``None`` if it reads text only."""
    embedding = network.get_input_embeddings()
    return embedding if isinstance(embedding, MediaEmbedding) else None


@contextmanager
def plain_embedding(network: Any) -> Iterator[None]:
    """Inside, a network is as Hugging Face made it, and its weights have the names it saves."""
    wrapped = media_of(network)
    if wrapped is None:
        yield
        return
    network.set_input_embeddings(wrapped.inner)
    try:
        yield
    finally:
        network.set_input_embeddings(wrapped)


def num_bytes(value: Any) -> int:
    """Memory of tensors, alone or in a mapping."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(num_bytes(each) for each in value.values()) if isinstance(value, Mapping) else 0
