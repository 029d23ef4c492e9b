"""Pictures and sounds as token ids: which id stands for which row of which item.

Row j of an item is the id ``V + slot * PLACES + j``, where V is the size of the vocabulary and the
slot is the beginning of the item's key. Ids depend on content alone, so they mean the same in every
process, in every run and after every resume, and contexts, packing, shared prompts and caches are
those of text.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sayso.envs.media import Media
from sayso.errors import ModelError
from sayso.runs.durable import replace_file

PLACES = 4096
"""Most rows of one item."""
DIGITS = 12
"""Hex digits of a key that make its slot: 48 bits. With ``PLACES`` an id stays below 2**61."""
KEY_DIGITS = 64
ROW = -1
"""In a layout: a row of the item, not a token of text."""


class HasLayout(Protocol):
    """What an encoder must say before anything is computed."""

    def layout(self, media: Media) -> tuple[int, ...]:
        """Tokens of text that stand around the rows of an item, ``ROW`` for each of these."""
        ...


class MediaTable:
    """The items that ids refer to, within a memory budget.

    An item that does not fit any more is written to the run's ``media/`` directory (or a temporary
    one, where nothing is trained) and read from there when it is needed again.

    Attributes:
        first_id: Size of the vocabulary; ids from here on are rows of media.
        marker: Text by which the chat template of a model that sees by itself shows a picture.
    """

    def __init__(self, first_id: int, *, keep_bytes: int, marker: str = "") -> None:
        self.first_id, self.marker = first_id, marker
        self._encoders: dict[str, HasLayout] = {}
        self._keep_bytes, self._num_bytes = keep_bytes, 0
        self._items: OrderedDict[int, Media] = OrderedDict()
        self._layouts: dict[int, tuple[int, ...]] = {}
        self._files: dict[int, Path] = {}
        self._keys: dict[int, str] = {}
        self._folder: Path | None = None
        self._temporary: Path | None = None

    def __deepcopy__(self, memo: Mapping[int, Any]) -> MediaTable:
        """Copies of a network (a frozen reference) read the same items."""
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of media that the model takes."""
        return tuple(self._encoders)

    def serve(self, kind: str, encoder: HasLayout) -> None:
        """Take items of a kind, laid out by its encoder."""
        self._encoders[kind] = encoder

    def expand(self, media: Media) -> tuple[int, ...]:
        """The ids that an item becomes; from now on they are known.

        Raises:
            ModelError: If the model has no encoder for its kind, it makes too many rows, or it
                shares its slot with another item.
        """
        if media.kind not in self._encoders:
            raise ModelError(
                where="observation",
                problem=f"shows {media.placeholder}, and this model takes "
                f"{', '.join(self.kinds) or 'text only'}.",
                fix=f"Give it an encoder: [model.media] {media.kind} = "
                f'"{"log-mel" if media.kind == "audio" else "patches"}".',
            )
        slot = slot_of(media.key)
        if self._keys.get(slot, media.key) != media.key:
            raise ModelError(
                where=f"media {media.key[:DIGITS]}",
                problem=f"begins like the key of another item, {self._keys[slot]}.",
                fix="Change one of the two items by a pixel or a sample.",
            )
        if slot not in self._items:
            self._keep(slot, media)
        if self._folder is not None:
            self._write(slot, media)
        return self._ids(slot)

    def knows(self, token: int) -> bool:
        """Whether an id is a row of an item that is at hand."""
        slot, place = divmod(token - self.first_id, PLACES)
        return slot in self._keys and place < self.num_rows(slot)

    def num_rows(self, slot: int) -> int:
        """Rows of an item."""
        return self._layout(slot).count(ROW)

    def item(self, slot: int) -> Media:
        """The item of a slot.

        Raises:
            ModelError: If it is neither in memory nor on disk, or was changed there.
        """
        if slot in self._items:
            self._items.move_to_end(slot)
            return self._items[slot]
        if slot not in self._files:
            raise ModelError(
                where=f"media {slot:0{DIGITS}x}",
                problem="is not at hand: the tokens refer to an item that this process has not "
                "seen and that lies in no media/ directory it knows.",
                fix="Keep media/ of the run beside its episodes/, or play the task again.",
            )
        media = _read(self._files[slot])
        self._keep(slot, media)
        return media

    def save_in(self, folder: Path) -> None:
        """Write every new item to this directory, and know those that lie there."""
        self._folder = folder
        self.look_in(folder)

    def look_in(self, folder: Path) -> None:
        """Know the items that lie in a directory: those of a run's ledger."""
        for path in sorted(folder.glob("*.npy")) if folder.is_dir() else ():
            if len(path.stem) == KEY_DIGITS:
                self._keys.setdefault(slot_of(path.stem), path.stem)
                self._files[slot_of(path.stem)] = path

    def check_row(self, ids: Iterable[int], *, where: str = "row") -> None:
        """See that a row holds every item whole: as many tokens as there are features, in order.

        Raises:
            ModelError: Naming the row and the item.
        """
        rows = [divmod(token - self.first_id, PLACES) for token in ids if token >= self.first_id]
        start = 0
        while start < len(rows):
            slot, _ = rows[start]
            expected = self.num_rows(slot)
            got = rows[start : start + expected]
            if got != [(slot, place) for place in range(expected)]:
                count = sum(s == slot for s, _ in got)
                raise ModelError(
                    where=f"{where}, media {self._keys.get(slot, f'{slot:x}')[:DIGITS]}",
                    problem=f"the row holds {count} tokens of it in a stretch of {len(got)}, its "
                    f"encoder gives {expected} features.",
                    fix="Keep observations whole, and use the encoder that the tokens were made "
                    "with ([model.media]).",
                )
            start += expected

    def whole(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The ids from behind the last row of an item whose first rows were cut off before them."""
        rows = [(i, token - self.first_id) for i, token in enumerate(ids) if token >= self.first_id]
        if not rows or rows[0][1] % PLACES == 0:
            return ids
        slot, place = divmod(rows[0][1], PLACES)
        left = self.num_rows(slot) - place
        return ids[rows[min(left, len(rows)) - 1][0] + 1 :]

    def _ids(self, slot: int) -> tuple[int, ...]:
        base = self.first_id + slot * PLACES
        place = 0
        ids: list[int] = []
        for token in self._layout(slot):
            ids.append(base + place if token == ROW else token)
            place += token == ROW
        return tuple(ids)

    def _layout(self, slot: int) -> tuple[int, ...]:
        if slot not in self._layouts:
            media = self.item(slot)
            layout = self._encoders[media.kind].layout(media)
            if not 0 < layout.count(ROW) <= PLACES:
                raise ModelError(
                    where=repr(media),
                    problem=f"becomes {layout.count(ROW)} tokens; an item has 1 to {PLACES}.",
                    fix="Show a smaller picture or a shorter sound.",
                )
            self._layouts[slot] = layout
        return self._layouts[slot]

    def _keep(self, slot: int, media: Media) -> None:
        self._items[slot] = media
        self._keys[slot] = media.key
        self._num_bytes += media.data.nbytes
        while self._num_bytes > self._keep_bytes and len(self._items) > 1:
            oldest, dropped = self._items.popitem(last=False)
            self._num_bytes -= dropped.data.nbytes
            self._write(oldest, dropped)

    def _write(self, slot: int, media: Media) -> None:
        folder = self._folder
        if slot in self._files and folder in (None, self._files[slot].parent):
            return
        if folder is None:
            if self._temporary is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="sayso-media-"))
                weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
            folder = self._temporary
        folder.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        np.save(file, media.data, allow_pickle=False)
        path = folder / f"{media.key}.npy"
        replace_file(path, file.getvalue())
        self._files[slot] = path


def slot_of(key: str) -> int:
    """The number of an item among ids."""
    return int(key[:DIGITS], 16)


def _read(path: Path) -> Media:
    try:
        data = np.load(path, allow_pickle=False)
        media = Media("image" if data.dtype == np.uint8 else "audio", data)
    except (OSError, ValueError) as error:
        raise ModelError(
            where=str(path), problem=f"cannot be read: {error}", fix="Restore it from a backup."
        ) from error
    if media.key != path.stem:
        raise ModelError(
            where=str(path),
            problem=f"holds an item of the key {media.key[:DIGITS]}.",
            fix="Restore it from a backup: a run's media are never changed.",
        )
    return media
