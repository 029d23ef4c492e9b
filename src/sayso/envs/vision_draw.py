"""Pictures from numbers: scenes of coloured shapes, and handwritten digits on a ground.

Only sums, products and comparisons, which give the same bytes on every machine: a picture is
referred to by the hash of its bytes and drawn again when it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sayso.seeds import generator

Array = np.ndarray[Any, np.dtype[Any]]
RGB = {
    "red": (214, 40, 40),
    "green": (36, 150, 60),
    "blue": (44, 84, 214),
    "yellow": (238, 212, 40),
    "purple": (136, 48, 168),
    "orange": (242, 132, 24),
}
"""Middle of each colour; a task shifts it by up to ``SHADES`` in each channel."""
SHADES = 14
THOUSAND = 1000
"""Positions, radii and sides in a payload are thousandths of the picture's side."""
SUPERSAMPLED = 3
"""Samples a pixel in each direction, for smooth edges."""
_STAR = (
    (0.95106, -0.30902),
    (0.58779, 0.80902),
    (-0.58779, 0.80902),
    (-0.95106, -0.30902),
    (0.0, -1.0),
)
"""Normals of a pentagram's five lines; inside it at least four of them have the point behind."""


def picture(payload: Mapping[str, Any], size: int, digits: Array | None = None) -> Array:
    """The picture of a task, uint8 [size, size, 3].

    Args:
        payload: ``ground`` (RGB), ``noise`` (largest change of a channel), ``noise_seed``, and
            ``objects`` or ``digits`` with ``ink``.
        size: Side in pixels.
        digits: Handwritten digits [number, 8, 8] in 0 to 16, where the payload names some.
    """
    canvas = np.empty((size, size, 3))
    canvas[:] = payload["ground"]
    for item in payload.get("objects", ()):
        _paint(canvas, item)
    for item in payload.get("digits", ()):
        if digits is None:
            raise ValueError("a task with digits needs the digits")
        _write(canvas, digits[item["index"]], item, payload["ink"])
    level, draws = payload["noise"], generator(payload["noise_seed"], "noise")
    canvas += draws.integers(-level, level + 1, canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def is_inside(shape: str, x: Array, y: Array) -> Array:
    """Which points belong to a shape that just fits into [-1, 1] by [-1, 1]; y points down."""
    across, down = np.abs(x), np.abs(y)
    if shape == "circle":
        return np.asarray(x * x + y * y <= 0.81)
    if shape == "square":
        return np.asarray(np.maximum(across, down) <= 0.8)
    if shape == "diamond":
        return np.asarray(across + down <= 1.0)
    if shape == "triangle":
        return np.asarray((y <= 0.8) & (across <= 0.55 * (y + 0.95)))
    if shape == "cross":
        return np.asarray((np.minimum(across, down) <= 0.28) & (np.maximum(across, down) <= 0.95))
    behind = sum((a * x + b * y <= 0.309).astype(np.int64) for a, b in _STAR)
    return np.asarray(behind >= len(_STAR) - 1)


def _paint(canvas: Array, item: Mapping[str, Any]) -> None:
    """An object: shares of the pixels that it covers, in its colour."""
    size = len(canvas)
    x, y, radius = (item[name] * size / THOUSAND for name in ("x", "y", "radius"))
    left, right = max(0, int(x - radius)), min(size, int(x + radius) + 2)
    top, bottom = max(0, int(y - radius)), min(size, int(y + radius) + 2)
    fine = SUPERSAMPLED
    across = (left + (np.arange((right - left) * fine) + 0.5) / fine - x) / radius
    down = (top + (np.arange((bottom - top) * fine) + 0.5) / fine - y) / radius
    inside = is_inside(item["shape"], across[None, :], down[:, None])
    share = inside.reshape(bottom - top, fine, right - left, fine).mean(axis=(1, 3))[..., None]
    box = canvas[top:bottom, left:right]
    box += share * (np.asarray(item["rgb"], dtype=float) - box)


def _write(canvas: Array, digit: Array, item: Mapping[str, Any], ink: Any) -> None:
    """A digit of 8 by 8, enlarged by bilinear interpolation."""
    size = len(canvas)
    side, left, top = (int(item[name] * size / THOUSAND) for name in ("side", "x", "y"))
    place = np.clip((np.arange(side) + 0.5) * 8 / side - 0.5, 0, 7)
    low = np.minimum(place.astype(np.int64), 6)
    part = place - low
    rows = digit[low] * (1 - part)[:, None] + digit[low + 1] * part[:, None]
    share = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    box = canvas[top : top + side, left : left + side]
    box += (share / 16)[..., None] * (np.asarray(ink, dtype=float) - box)
