"""What the rollout needs from a sampler, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sayso.models.chat import ChatFormat
from sayso.types import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Continue one session by one action.

    Attributes:
        session: Names the conversation; the engine keeps its key-value cache until ``close``.
        new_ids: Tokens to append to what the session holds (everything appended and sampled so
            far) before sampling. For a new session: the whole prompt. At least one token.
        seed: Decides the draws of this action, alone: token i uses ``uniforms(seed, ...)[i]``.
        max_new_tokens: Token budget of this action.
        choices: Actions that the environment listed; an engine that samples tokens ignores them.
        episode_seed: The same for all actions of an episode: decides what is drawn once for it. An
            engine that samples tokens ignores it.
    """

    session: str
    new_ids: tuple[int, ...]
    seed: int
    max_new_tokens: int
    choices: tuple[str, ...] = ()
    episode_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sampled action.

    Attributes:
        session: The request's session.
        ids: Sampled tokens, stop token included if one was drawn. At least one.
        logprobs: Log-probability (nats) of each under the distribution it was drawn from.
        finish: Why it stopped.
        candidates: Token ids of the actions it was chosen from, if it was.
    """

    session: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: FinishReason
    candidates: tuple[tuple[int, ...], ...] = ()


@runtime_checkable
class Engine(Protocol):
    """Turns requests into completions. Rows are independent; only their seeds decide them."""

    @property
    def max_context(self) -> int:
        """Most tokens a session may hold, prompt and actions together."""
        ...

    @property
    def path(self) -> str:
        """How it computes, in a few words for the user."""
        ...

    def submit(self, request: Request) -> None:
        """Queue a request. A session has at most one at a time.

        Raises:
            ValueError: If the session's context and the token budget exceed ``max_context``.
        """
        ...

    def poll(self) -> list[Completion]:
        """Decode until at least one request finishes.

        Returns those that did, in order of submission. An empty list means that nothing is
        queued. A freed slot is refilled from the queue at once.
        """
        ...

    def close(self, session: str) -> None:
        """Forget a session and free its memory. Unknown sessions are ignored."""
        ...

    def sync(self) -> None:
        """The model's weights have changed: drop every session and all cached state."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who acts: an engine, the format that turns text into ids, and how to sample.

    Attributes:
        engine: Where tokens come from.
        chat: Observation text to token ids and action ids to text.
        max_new_tokens: Token budget of one action.
        stop: Stop strings.
        version: Optimiser steps behind the current weights.
        name: Shown in logs.
    """

    engine: Engine
    chat: ChatFormat
    max_new_tokens: int
    stop: Sequence[str] = field(default_factory=tuple)
    version: int = 0
    name: str = "policy"
