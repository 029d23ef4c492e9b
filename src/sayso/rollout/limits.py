"""Limits of one episode."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutLimits:
    """Where an episode is cut off, and what an environment may not do.

    Attributes:
        max_turns: Decisions; ``None``: what the environment says.
        max_context_tokens: Context length; ``None``: what the engine can hold.
        env_timeout_s: Seconds for each call of the environment, in a process of its own;
            ``None``: what the environment asks for.
        max_reward: Largest absolute reward that is believed.
        max_observation_chars: Longer observations are cut, with a note in the text.
        num_workers: Environment processes at work at the same time.
    """

    max_turns: int | None = None
    max_context_tokens: int | None = None
    env_timeout_s: float | None = None
    max_reward: float = 1e6
    max_observation_chars: int = 100_000
    num_workers: int = 4
