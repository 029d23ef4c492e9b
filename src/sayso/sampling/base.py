"""What the rollout needs from a sampler, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from sayso.models.chat import ChatFormat
from sayso.models.distribution import Distribution
from sayso.types import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """Options of sampling; written in a run file under ``[sampling]``.

    Attributes:
        engine: ``"native"`` (the default: compiled kernels, on a CPU, for the families they know),
            ``"torch"`` (our decoding over the model's own forward, any device) or ``"hf"``
            (``generate``, the reference). One that cannot serve the model gives way to the next.
        precision: Of native sampling: ``"exact"`` (float32), or ``"int8"``: about twice as fast,
            from a policy a little off the trained one; every loss corrects for the difference by
            truncated importance weights. Training samples in it; evaluation, ``chat`` and
            ``predict`` are exact, as what is saved is.
        temperature: Logits are divided by it; 1.0 samples the model as it is. More of this and the
            three below in ``Distribution``.
        top_k: Keep the likeliest k tokens; 0 keeps all.
        top_p: Keep the likeliest tokens that make up this probability; 1.0 keeps all.
        min_p: Keep tokens at least this share as likely as the likeliest; 0.0 keeps all.
        max_new_tokens: Token budget of one action, stop token included.
        stop: Strings that end an action; the text before the first one is the action.
        max_rows: Rows decoded together; more wait for a free slot.
    """

    engine: Literal["native", "torch", "hf"] = "native"
    precision: Literal["exact", "int8"] = "exact"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    max_rows: int = 64

    def __post_init__(self) -> None:
        self.distribution()
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be positive, got {self.max_new_tokens}")
        if self.max_rows < 1:
            raise ValueError(f"max_rows must be positive, got {self.max_rows}")
        if self.precision == "int8" and self.engine != "native":
            raise ValueError(f"precision 'int8' needs engine 'native', got {self.engine!r}")
        if "" in self.stop:
            raise ValueError("stop must not hold an empty string: it would end every action")

    def distribution(self) -> Distribution:
        """The distribution that these options describe."""
        return Distribution(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p
        )


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
