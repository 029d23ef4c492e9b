"""``sayso/Writing-v0``: write a line, a poem or a news item that does what was asked, well.

Single turn. The reward is ``gate * (base + (1 - base) * constraints)``: the gate is the product
of quality parts (form, spelling, grammar, repetition, own words, size), so no constraint can pay
for bad text; ``constraints`` is the weighted mean of those the task asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sayso.envs.base import TextEnv, Utterance
from sayso.envs.writing_tasks import tasks
from sayso.errors import EnvContractError, OptionValueError
from sayso.rewards.compose import gated, product, weighted_mean
from sayso.rewards.constraints import CONSTRAINTS, check
from sayso.rewards.quality import quality
from sayso.types import Task

WEIGHTS: Mapping[str, float] = {
    "length": 3.0,
    "lines": 1.0,
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
    limits = next(c for c in payload["constraints"] if c["kind"] == "length")
    gates = quality(text, prompt=payload["prompt"], low=limits["low"], high=limits["high"])
    gate, met = product(gates.values()), weighted_mean(asked, weights)
    parts: dict[str, float | None] = {kind: asked.get(kind) for kind in CONSTRAINTS}
    parts |= gates
    parts |= {"constraints": met, "quality": gate}
    return gated(met, gate=gate, base=BASE), parts


class WritingEnv(TextEnv):
    """Write under verifiable constraints; one turn, reward in [0, 1].

    Args:
        weights: Weights of kinds of constraints that replace the defaults in ``WEIGHTS``, for
            example ``{"length": 1.0}``. Unknown kinds and negative weights are refused.
        max_length: Longest answer the action space holds, in characters.
    """

    reward_low = 0.0
    reward_high = 1.0
    max_turns = 1

    def __init__(
        self, weights: Mapping[str, float] | None = None, *, max_length: int = 100_000
    ) -> None:
        chosen = dict(weights or {})
        wrong = [k for k, w in chosen.items() if k not in WEIGHTS or not 0 <= w < float("inf")]
        if wrong:
            raise OptionValueError(
                where="WritingEnv.weights",
                problem=f"{', '.join(f'{kind}={chosen[kind]!r}' for kind in wrong)}.",
                fix=f"Use finite weights of at least 0 for: {', '.join(sorted(WEIGHTS))}.",
            )
        self.weights = {**WEIGHTS, **chosen}
        self.action_space = Utterance(max_length=max_length)
        self.observation_space = Utterance()
        self._task: Task | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        """Tasks of ``train``, ``held_out`` or ``unseen``; empty for any other name."""
        return tasks(split)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Pose a task: the observation is its prompt."""
        super().reset(seed=seed)
        self._task = self.choose(seed, options)
        prompt: str = self._task.payload["prompt"]
        return prompt, {"task": self._task.id, "split": self._task.split}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Grade the answer; the episode ends."""
        if self._task is None:
            raise EnvContractError(
                where="WritingEnv.step",
                problem="no task is posed.",
                fix="Call reset before each step: an episode is one turn.",
            )
        reward, parts = score(action, self._task.payload, self.weights)
        self._task = None
        return "", reward, True, False, {"reward_parts": parts}
