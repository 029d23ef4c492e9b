"""Pictures and sounds of a user's own: rows with a file, a question and what is right."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sayso.envs.extras import extra_module
from sayso.envs.media import SAMPLE_RATE, Kind, Media, without_placeholders
from sayso.envs.rows import read_rows, tasks_of_rows
from sayso.errors import DataError

MAX_SIDE = 448
"""Larger pictures are scaled down to this many pixels on their longer side."""
MAX_SECONDS = 30
FULL_SCALE = {1: 128.0, 2: 32_768.0, 4: 2_147_483_648.0}


class OwnRows:
    """Tasks from a JSON Lines file; each row names a file beside it.

    Args:
        path: Rows with ``image`` (or ``audio``), ``question``, ``answer`` (a text, or a list of
            accepted ones), perhaps ``split``.
        kind: What the files hold.
        where: Named in errors.

    Attributes:
        tasks: By split; the same file is always in the same split.

    Raises:
        DataError: If a file cannot be read, or rows are wrong.
        ExtraMissingError: If pictures are read and pillow is not installed.
    """

    def __init__(self, path: str | Path, kind: Kind, where: str) -> None:
        self._folder, self._kind, self._where = Path(path).parent, kind, where
        rows = read_rows(path, self._problem)
        keys = {row[kind]: self._read(row[kind]).key for row in rows}
        self._keys = keys
        self.tasks = tasks_of_rows(
            rows, where, key=lambda row: keys[row[kind]], payload=self._payload
        )

    def media(self, payload: Mapping[str, Any]) -> Media:
        """The picture or sound of a task.

        Raises:
            DataError: If its file is not what it was when the rows were read.
        """
        found = self._read(payload["file"])
        if found.key != payload["key"]:
            raise DataError(
                where=payload["file"],
                problem="has changed since the rows were read.",
                fix="Start again, or put the file back.",
            )
        return found

    def _read(self, name: str) -> Media:
        path = self._folder / name
        try:
            return picture_of(path, self._where) if self._kind == "image" else sound_of(path)
        except (OSError, ValueError, EOFError, wave.Error) as error:
            raise DataError(
                where=str(name),
                problem=f"cannot be read ({error}).",
                fix="Use a picture that pillow reads."
                if self._kind == "image"
                else "Use a .wav file of whole numbers (PCM) with 8, 16 or 32 bits.",
            ) from error

    def _payload(self, row: Mapping[str, Any]) -> dict[str, Any]:
        answer = row["answer"]
        # A question is a user's text: a placeholder in it must not count as a picture.
        question = without_placeholders(row["question"].strip())
        return {
            "family": "own",
            "file": row[self._kind],
            "key": self._keys[row[self._kind]],
            "prompt": f"<{self._kind}>\n{question}",
            "asked": {"form": "text", "value": [answer] if isinstance(answer, str) else answer},
        }

    def _problem(self, row: dict[str, Any]) -> str:
        """What is wrong with a row."""
        for name in (self._kind, "question"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                return f"`{name}` is no text"
        answer = row.get("answer")
        accepted = [answer] if isinstance(answer, str) else answer
        is_list = isinstance(accepted, list) and bool(accepted)
        if not is_list or not all(isinstance(a, str) and a.strip() for a in accepted or ()):
            return "`answer` is neither a text nor a list of texts"
        if not (self._folder / row[self._kind]).is_file():
            return f"`{self._kind}`: there is no file {row[self._kind]!r} beside the rows"
        return ""


def picture_of(path: Path, where: str) -> Media:
    """A picture file in RGB, at most ``MAX_SIDE`` pixels wide and high.

    Raises:
        ExtraMissingError: If pillow is not installed.
        OSError: If it is no picture.
    """
    pillow = extra_module("PIL.Image", extra="vision", where=f"{where}, data")
    with pillow.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return Media("image", np.asarray(image, dtype=np.uint8))


def sound_of(path: Path) -> Media:
    """A .wav file, its channels averaged, at ``SAMPLE_RATE``: linear interpolation between samples.

    Raises:
        ValueError: If it is empty, longer than ``MAX_SECONDS`` or of an unusual width.
        wave.Error: If it is no PCM.
    """
    with wave.open(str(path), "rb") as opened:
        width, rate, channels = (
            opened.getsampwidth(), opened.getframerate(), opened.getnchannels()
        )  # fmt: skip
        count = opened.getnframes()
        if width not in FULL_SCALE or not 0 < count <= MAX_SECONDS * rate:
            raise ValueError(
                f"{count / rate:.1f} seconds of {8 * width} bits; up to {MAX_SECONDS} seconds of "
                "8, 16 or 32 are read"
            )
        raw = opened.readframes(count)
    kind = {1: "u1", 2: "<i2", 4: "<i4"}[width]
    steps = np.frombuffer(raw, dtype=kind).reshape(-1, channels).mean(axis=1)
    samples = (steps - 128.0 if width == 1 else steps) / FULL_SCALE[width]
    places = np.arange(int(len(samples) * SAMPLE_RATE / rate)) * rate / SAMPLE_RATE
    resampled = np.interp(places, np.arange(len(samples)), samples)
    return Media("audio", np.clip(resampled, -1, 1).astype(np.float32))


def write_wav(path: Path, media: Media) -> None:
    """A sound as a .wav file of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.rint(media.data * 32_767).astype("<i2").tobytes())
