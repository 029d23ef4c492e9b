"""Parts into one reward: weights, products and gates. ``None`` means "does not apply"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def weighted_mean(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Mean of the parts that apply, by weight.

    Args:
        parts: Score by name, in [0, 1]; ``None`` parts are left out of both sums.
        weights: Weight by name, not negative. A part without a weight is an error.

    Returns:
        The mean in [0, 1]; ``None`` when no part applies or all their weights are 0.

    Raises:
        KeyError: If a part has no weight: a forgotten weight would silently drop the part.
    """
    total = sum(weights[name] for name, score in parts.items() if score is not None)
    if total <= 0:
        return None
    return sum(weights[name] * s for name, s in parts.items() if s is not None) / total


def product(scores: Iterable[float | None]) -> float:
    """Product of the scores that apply; 1 when none does."""
    result = 1.0
    for score in scores:
        if score is not None:
            result *= score
    return result


def gated(score: float | None, *, gate: float, base: float) -> float:
    """``gate * (base + (1 - base) * score)``: good form earns ``base``, the task the rest.

    The gate multiplies, so nothing that the task asks for can pay for bad text.

    Args:
        score: How well the task was done, in [0, 1]; ``None`` (nothing asked) counts as 1.
        gate: Quality of the text itself, in [0, 1].
        base: Share of the reward that quality alone earns, in [0, 1].
    """
    return gate * (base + (1.0 - base) * (1.0 if score is None else score))
