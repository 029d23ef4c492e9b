"""The reward of ``sayso/Writing-v0``.

``quality * (BASE + (1 - BASE) * shape * (SHAPE_SHARE + (1 - SHAPE_SHARE) * content))``. Quality is
the product of quality parts (form, spelling, grammar, repetition, own words, size), so no
constraint can pay for bad text. ``shape`` is the product of what one fixed answer may fit in every
task (length, lines, a word left out), ``content`` the weighted mean of what differs from task to
task; they multiply, so that a fixed answer, however good a sentence, earns next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sayso.rewards.compose import gated, product, weighted_mean
from sayso.rewards.constraints import CONSTRAINTS, check
from sayso.rewards.quality import quality

WEIGHTS: Mapping[str, float] = {
    "length": 1.0,
    "lines": 1.0,
    "sentences": 0.5,
    "avoid": 0.5,
    "use": 3.0,
    "ending": 2.0,
    "first_word": 2.0,
    "last_word": 2.0,
    "tone": 1.5,
    "place": 1.5,
    "time": 1.5,
    "name": 2.0,
    "number": 2.0,
}
"""Of the kinds in ``SHAPE`` the exponent in a product; of the others the weight in a mean."""

SHAPE = frozenset({"length", "lines", "sentences", "avoid"})
"""Kinds that one fixed answer may meet in every task."""
MISSED = 0.1
"""Least factor of such a kind, before its exponent."""
BASE = 0.05
"""Share of the reward that good text earns whatever was asked."""
SHAPE_SHARE = 0.1
"""Share of the rest that good text of the right shape earns."""


def score(
    text: str, payload: Mapping[str, Any], weights: Mapping[str, float] = WEIGHTS
) -> tuple[float, dict[str, float | None]]:
    """Reward of a text for a task, and its parts.

    Args:
        text: What the policy wrote.
        payload: The task's payload: ``prompt`` and ``constraints``.
        weights: Exponent or weight of each kind of constraint, as in ``WEIGHTS``.

    Returns:
        The reward in [0, 1] and its parts by name: every kind of constraint (``None`` when the
        task does not ask for it), the quality parts, and the two sums ``constraints`` and
        ``quality``. A task that asks for nothing but shape has its content met.
    """
    asked = {constraint["kind"]: check(text, constraint) for constraint in payload["constraints"]}
    by_kind = {constraint["kind"]: constraint for constraint in payload["constraints"]}
    gates = quality(
        text,
        prompt=payload["prompt"],
        low=by_kind["length"]["low"],
        high=by_kind["length"]["high"],
        max_lines=by_kind["lines"]["count"] if "lines" in by_kind else 1,
    )
    shape = product(max(MISSED, s) ** weights[k] for k, s in asked.items() if k in SHAPE)
    content = weighted_mean({k: s for k, s in asked.items() if k not in SHAPE}, weights)
    met = gated(content, gate=shape, base=SHAPE_SHARE)
    gate = product(gates.values())
    parts: dict[str, float | None] = {kind: asked.get(kind) for kind in CONSTRAINTS}
    parts |= gates
    parts |= {"constraints": met, "quality": gate}
    return gated(met, gate=gate, base=BASE), parts
