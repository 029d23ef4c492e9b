"""A figure of results: a dot and its 95 % interval a row, published numbers beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

ROW, LEFT, WIDTH, TOP = 26, 250, 460, 54
INK, FAINT, OURS, THEIRS = "#222222", "#d5d5d5", "#1f5fa8", "#c46a1b"


def dots(title: str, rows: Sequence[Mapping[str, Any]], *, bounds: Mapping[str, float]) -> str:
    """An SVG image.

    Args:
        title: Above it.
        rows: ``label``, ``mean``, ``low``, ``high`` and perhaps ``published``.
        bounds: Vertical lines by name, for example the optimum.
    """
    numbers = [row[key] for row in rows for key in ("low", "high", "published") if row.get(key)]
    least, most = min([*numbers, *bounds.values()]), max([*numbers, *bounds.values()])
    margin = 0.06 * (most - least or 1.0)
    least, most = least - margin, most + margin

    def x(value: float) -> float:
        return LEFT + WIDTH * (value - least) / (most - least)

    height = TOP + ROW * len(rows) + 46
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="12" y="22" font-size="15" '
        f'fill="{INK}">{escape(title)}</text>'
    )
    parts = [opening]
    for name, value in bounds.items():
        parts.append(
            f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 10}" y2="{height - 34}" '
            f'stroke="{FAINT}" stroke-width="2"/><text x="{x(value):.1f}" y="{height - 18}" '
            f'text-anchor="middle" fill="#777777" font-size="11">{escape(name)} {value:.2f}</text>'
        )
    for place, row in enumerate(rows):
        y = TOP + ROW * place + 8
        parts.append(
            f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end" fill="{INK}">'
            f"{escape(row['label'])}</text>"
            f'<line x1="{x(row["low"]):.1f}" x2="{x(row["high"]):.1f}" y1="{y}" y2="{y}" '
            f'stroke="{OURS}" stroke-width="3"/>'
            f'<circle cx="{x(row["mean"]):.1f}" cy="{y}" r="5" fill="{OURS}"/>'
            f'<text x="{LEFT + WIDTH + 12}" y="{y + 4}" fill="{INK}">{row["mean"]:.2f}</text>'
        )
        if row.get("published") is not None:
            at = x(row["published"])
            parts.append(
                f'<path d="M{at - 5:.1f} {y - 6} l10 12 m0 -12 l-10 12" stroke="{THEIRS}" '
                'stroke-width="2"/>'
            )
    parts.append(
        f'<text x="12" y="40" font-size="11" fill="#777777">dot and bar: mean over seeds with its '
        f'95 % interval; <tspan fill="{THEIRS}">×</tspan>: published</text></svg>'
    )
    return "\n".join(parts) + "\n"
