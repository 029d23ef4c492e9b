"""The reward of ``sayso/Persona-v0``.

``quality * (BASE + (1 - BASE) * topic * utility)``. Quality is the product of form, spelling,
grammar, repetition, own words, size and layout, so that no preference can pay for bad text; the
topic multiplies, so that one good text for everybody earns next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sayso.envs.persona_taste import KINDS, utility
from sayso.rewards.compose import gated, product
from sayso.rewards.constraints import uses
from sayso.rewards.quality import quality, size
from sayso.rewards.text import lowered, ngrams

BASE = 0.05
"""Share of the reward that good text earns whatever the reader likes."""
OFF_TOPIC = 0.1
"""Factor of a text that does not mention the topic."""
SIZE = (6, 14)
"""Fewest and most words that ``quality`` takes for asked: it is silent from 3 to 35 words."""
MOST_CHARACTERS = 1_000
"""What is longer is judged by its start; its size leaves next to nothing."""
JOB_WORDS = frozenset({"reader", "readers", "text", "texts", "liked", "disliked", "likes",
                       "dislikes", "prompt", "preference", "preferences"})  # fmt: skip
"""Words that name the job: a text for somebody does not talk about itself."""
TALK = 0.4
"""Factor of own words for each of them."""
FREE_COPY, MOST_COPY = 0.2, 0.6
"""Shares of runs of three words taken from one example: free up to the first, worth nothing from
the second on."""


def fresh(text: str, shown: Sequence[str]) -> float:
    """How little a text copies one of the texts that were shown, in [0, 1]; 1 below three words."""
    runs = set(ngrams(lowered(text), 3))
    if not runs:
        return 1.0
    most = max((len(runs & set(ngrams(lowered(other), 3))) for other in shown), default=0)
    return min(1.0, max(0.0, (MOST_COPY - most / len(runs)) / (MOST_COPY - FREE_COPY)))


def score(text: str, payload: Mapping[str, Any]) -> tuple[float, dict[str, float | None]]:
    """Reward of a text for a task, and its parts.

    Args:
        text: What the policy wrote.
        payload: The task's payload.

    Returns:
        The reward in [0, 1] and its parts by name: every kind of preference (``None`` when the
        reader does not care), ``utility``, ``on_topic``, the quality parts and their product
        ``fluency``.
    """
    whole, text = text, text[:MOST_CHARACTERS]
    gates = quality(text, prompt=payload["prompt"], low=SIZE[0], high=SIZE[1])
    gates["size"] = size(whole, low=SIZE[0], high=SIZE[1])
    shown = [*payload["liked"], *payload["disliked"]]
    talk = TALK ** len(JOB_WORDS & set(lowered(text)) - {payload["topic"]})
    gates["own_words"] = min(gates["own_words"], fresh(text, shown)) * talk
    value, met = utility(text, payload["preferences"])
    on_topic = uses(text, words=[payload["topic"]])
    fluency = product(gates.values())
    reward = gated(max(OFF_TOPIC, on_topic) * value, gate=fluency, base=BASE)
    parts: dict[str, float | None] = {kind: met.get(kind) for kind in KINDS}
    parts |= {"utility": value, "on_topic": on_topic, **gates, "fluency": fluency}
    return reward, parts
