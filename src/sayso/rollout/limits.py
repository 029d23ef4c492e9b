"""Limits of one episode."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sayso.types import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutLimits:
    """Where an episode is cut off, what is seen of it, and what an environment may not do.

    Attributes:
        max_turns: Decisions; ``None``: what the environment says.
        max_context_tokens: Context length; ``None``: what the engine can hold.
        context: What the policy sees at each turn: ``"episode"``: everything so far; ``"turn"``:
            the latest observation alone.
        env_timeout_s: Seconds for each call of the environment, in a process of its own;
            ``None``: what the environment asks for.
        max_reward: Largest absolute reward that is believed.
        max_observation_chars: Of a longer observation the beginning is kept, with a note that
            tells its full length.
        num_workers: Environment processes at work at the same time.
        strict: Raise at the first failed episode, instead of leaving it out and going on.
    """

    max_turns: int | None = None
    max_context_tokens: int | None = None
    context: Context = "episode"
    env_timeout_s: float | None = None
    max_reward: float = 1e6
    max_observation_chars: int = 100_000
    num_workers: int = 4
    strict: bool = False

    def __post_init__(self) -> None:
        for name in ("max_turns", "max_context_tokens", "max_observation_chars", "num_workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.env_timeout_s is not None and not 0 < self.env_timeout_s < math.inf:
            raise ValueError(f"env_timeout_s must be positive and finite, got {self.env_timeout_s}")
        if not 0 < self.max_reward < math.inf:
            raise ValueError(f"max_reward must be positive and finite, got {self.max_reward}")
