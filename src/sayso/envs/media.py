"""Pictures and sounds inside messages, and the words that hold their places."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sayso.errors import OptionValueError

IMAGE = "<image>"
AUDIO = "<audio>"
SAMPLE_RATE = 16_000
PLACEHOLDER = re.compile(f"{IMAGE}|{AUDIO}")
Kind = Literal["image", "audio"]


@dataclass(frozen=True, slots=True, eq=False)
class Media:
    """A picture or a sound; two with the same content are equal.

    Attributes:
        kind: ``"image"`` or ``"audio"``.
        data: A picture is uint8 of shape [height, width, 3] (RGB). A sound is float32 of shape
            [samples] in [-1, 1]: mono, ``SAMPLE_RATE`` samples a second. A read-only copy.
        key: Hex sha256 of kind, type, shape and bytes; what the ledger refers to it by.

    Raises:
        OptionValueError: If kind and data do not fit these.
    """

    kind: Kind
    data: np.ndarray[Any, np.dtype[Any]]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        if problem := _problem(self.kind, self.data):
            raise OptionValueError(
                where="Media",
                problem=problem,
                fix='Pass "image" with uint8 of shape [height, width, 3], or "audio" with float32 '
                f"of shape [samples] in [-1, 1] at {SAMPLE_RATE:,} samples a second.",
            )
        data = np.array(self.data, order="C")
        data.setflags(write=False)
        told = f"{self.kind} {data.dtype.str} {data.shape} ".encode()
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "key", hashlib.sha256(told + data.tobytes()).hexdigest())

    @property
    def placeholder(self) -> str:
        """The word that holds its place in a message: ``<image>`` or ``<audio>``."""
        return f"<{self.kind}>"

    def to_jsonable(self) -> dict[str, str]:
        """Kind, key, and the array as base64 of NumPy's own file format."""
        file = io.BytesIO()
        np.save(file, self.data, allow_pickle=False)
        npy = base64.b64encode(file.getvalue()).decode("ascii")
        return {"kind": self.kind, "key": self.key, "npy": npy}

    @staticmethod
    def from_jsonable(row: Mapping[str, Any]) -> Media:
        """Undo ``to_jsonable``.

        Raises:
            OptionValueError: If the bytes are not those the key was made of.
        """
        file = io.BytesIO(base64.b64decode(row["npy"]))
        media = Media(row["kind"], np.load(file, allow_pickle=False))
        if media.key != row["key"]:
            raise OptionValueError(
                where="Media",
                problem=f"the bytes have the key {media.key[:12]}…, the row says "
                f"{str(row['key'])[:12]}….",
                fix="Write the row again with to_jsonable; this one was changed.",
            )
        return media

    @staticmethod
    def sample(random: np.random.Generator) -> Media:
        """A small picture or a short sound of noise."""
        if random.integers(2):
            return Media("image", random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        return Media("audio", random.uniform(-1, 1, 160).astype(np.float32))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Media) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Media({self.kind} {list(self.data.shape)}, {self.key[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled through the constructor, so that the copy is read-only too."""
        return Media, (self.kind, self.data)


def without_placeholders(text: str) -> str:
    """Text that others wrote, to be shown in a message with media: ``<image>`` is ``[image]``."""
    return PLACEHOLDER.sub(lambda found: f"[{found[0][1:-1]}]", text)


def _problem(kind: Any, data: Any) -> str | None:
    if kind not in ("image", "audio"):
        return f"got the kind {kind!r}; it is image or audio."
    if not isinstance(data, np.ndarray):
        return f"got {type(data).__name__} for its data."
    told = f"got {kind} data of type {data.dtype} and shape {list(data.shape)}"
    if data.size == 0:
        return f"{told}, which is empty."
    if kind == "image":
        is_fit = data.dtype == np.uint8 and data.ndim == 3 and data.shape[2] == 3
        return None if is_fit else f"{told}."
    if data.dtype != np.float32 or data.ndim != 1:
        return f"{told}."
    # Written so that NaN is refused as well.
    return None if bool((np.abs(data) <= 1).all()) else f"{told} outside [-1, 1]."
