"""Pictures and sounds in a terminal: half blocks or letters, and a file to listen to."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sayso.envs.media import Media

COLUMNS = 48
"""Widest picture; a character is a pixel wide and two high."""
RAMP = " .:-=+*#%@"
"""Dark to bright, where colours are not shown."""
HUES = {
    "r": (1.0, 0.0, 0.0),
    "o": (0.8, 0.2, 0.0),
    "y": (0.5, 0.5, 0.0),
    "g": (0.1, 0.8, 0.1),
    "b": (0.1, 0.2, 0.7),
    "p": (0.4, 0.1, 0.5),
}
"""Letters for strong colours there, with the shares of red, green and blue they stand for."""
COLOURFUL = 0.45
"""Least saturation of a colour that gets its letter."""


def drawn(media: Media) -> str:
    """A picture as lines of the terminal; of a sound, where it was written and what it is like."""
    return picture(media.data, in_colour=_has_colour()) if media.kind == "image" else sound(media)


def picture(data: np.ndarray[Any, np.dtype[Any]], *, in_colour: bool) -> str:
    """Lines of half blocks in 24-bit colour, or of letters: by colour, of greys by brightness.

    Args:
        data: uint8 [height, width, 3].
        in_colour: Use colours.
    """
    height, width = data.shape[:2]
    columns = min(COLUMNS, width)
    rows = max(2, 2 * round(height * columns / width / 2))
    down = np.arange(rows) * height // rows
    across = np.arange(columns) * width // columns
    small = data[down][:, across].astype(int)
    if not in_colour:
        # Two rows of pixels are one line of letters, which are twice as high as wide.
        return _in_letters(small.reshape(rows // 2, 2, columns, 3).mean(axis=1))
    lines = []
    for top, bottom in zip(small[::2], small[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{r};{g};{b}m\x1b[48;2;{x};{y};{z}m▀"
            for (r, g, b), (x, y, z) in zip(top, bottom, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def _in_letters(pixels: np.ndarray[Any, np.dtype[Any]]) -> str:
    """A letter for each pixel of [rows, columns, 3]."""
    brightest = pixels.max(axis=2)
    saturation = (brightest - pixels.min(axis=2)) / np.maximum(brightest, 1)
    shares = pixels / np.maximum(pixels.sum(axis=2, keepdims=True), 1)
    away = np.abs(shares[:, :, None] - np.array(list(HUES.values()))).sum(axis=3)
    nearest, levels = away.argmin(axis=2), (pixels.mean(axis=2) * len(RAMP) / 256).astype(int)
    is_grey = (saturation < COLOURFUL) | (brightest < 64)
    letters = np.where(is_grey, np.array(list(RAMP))[levels], np.array(list(HUES))[nearest])
    return "\n".join("".join(line) for line in letters)


def sound(media: Media) -> str:
    """Write a .wav file and tell its place, length, loudness and course."""
    from sayso.envs.media import SAMPLE_RATE
    from sayso.envs.media_rows import write_wav

    path = _folder() / f"{media.key[:12]}.wav"
    write_wav(path, media)
    level = float(np.sqrt(np.mean(media.data.astype(float) ** 2)))
    parts = np.array_split(np.abs(media.data), COLUMNS)
    loud = [float(part.max()) if part.size else 0.0 for part in parts]
    top = max(*loud, 1e-9)
    course = "".join(RAMP[min(len(RAMP) - 1, int(x / top * len(RAMP)))] for x in loud)
    decibels = 20 * np.log10(max(level, 1e-9))
    return (
        f"[{course}]\n{len(media.data) / SAMPLE_RATE:.2f} seconds, {decibels:.0f} dB of full "
        f"scale: {path}"
    )


@lru_cache(maxsize=1)
def _folder() -> Path:
    """Where this process writes sounds; they stay, to be listened to."""
    return Path(tempfile.mkdtemp(prefix="sayso-sounds-"))


def _has_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
