"""The reward of ``sayso/Writing-v0``.

``gate * (base + (1 - base) * constraints)``: the gate is the product of quality parts (form,
spelling, grammar, repetition, own words, size), so no constraint can pay for bad text;
``constraints`` is the weighted mean of those the task asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sayso.rewards.compose import gated, product, weighted_mean
from sayso.rewards.constraints import CONSTRAINTS, check
from sayso.rewards.quality import quality

WEIGHTS: Mapping[str, float] = {
    "length": 3.0,
    "lines": 3.0,
    "sentences": 1.0,
    "use": 3.0,
    "avoid": 1.0,
    "ending": 2.0,
    "first_word": 2.0,
    "last_word": 2.0,
    "tone": 1.5,
    "place": 1.5,
    "time": 1.5,
    "name": 2.0,
    "number": 2.0,
}
"""Weight of each kind of constraint within one task."""

BASE = 0.15
"""Share of the reward that good text earns whatever was asked."""


def score(
    text: str, payload: Mapping[str, Any], weights: Mapping[str, float] = WEIGHTS
) -> tuple[float, dict[str, float | None]]:
    """Reward of a text for a task, and its parts.

    Args:
        text: What the policy wrote.
        payload: The task's payload: ``prompt`` and ``constraints``.
        weights: Weight of each kind of constraint.

    Returns:
        The reward in [0, 1] and its parts by name: every kind of constraint (``None`` when the
        task does not ask for it), the quality parts, and the two sums ``constraints`` and
        ``quality``.
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
    gate, met = product(gates.values()), weighted_mean(asked, weights)
    parts: dict[str, float | None] = {kind: asked.get(kind) for kind in CONSTRAINTS}
    parts |= gates
    parts |= {"constraints": met, "quality": gate}
    return gated(met, gate=gate, base=BASE), parts
