"""Sessions and the actions being sampled for them: what both engines keep, without tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sayso.errors import SamplingError
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Completion, Request
from sayso.sampling.network import num_embeddings
from sayso.sampling.stops import StopMatcher
from sayso.seeds import uniforms
from sayso.types import FinishReason


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One action while it is sampled.

    Attributes:
        order: Counts submissions; completions are returned in this order.
        max_new_tokens: Token budget, stop token included.
        uniforms: One number in [0, 1) per token of the budget, float64.
        matcher: Looks for stop strings; ``None`` when there are none.
        ids: Tokens sampled so far.
        logprobs: Log-probability (nats) of each.
    """

    order: int
    max_new_tokens: int
    uniforms: np.ndarray
    matcher: StopMatcher | None = None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def uniform(self) -> float:
        """The number that draws the next token."""
        return float(self.uniforms[len(self.ids)])


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One conversation.

    Attributes:
        name: As in the requests.
        ids: Everything appended and sampled so far.
        num_cached: Leading tokens whose keys and values are held. The last sampled token is
            never among them: it is fed together with what follows it.
        row: The action queued or being sampled; ``None`` while the session rests.
        is_open: False once closed.
    """

    name: str
    ids: list[int] = field(default_factory=list)
    num_cached: int = 0
    row: Row | None = None
    is_open: bool = True

    @property
    def active(self) -> Row:
        """The action queued or being sampled.

        Raises:
            RuntimeError: If the session rests.
        """
        if self.row is None:
            raise RuntimeError(f"session {self.name!r} has no request")
        return self.row


class SessionTable:
    """Opens sessions, checks requests and notes sampled tokens."""

    def __init__(self, lm: LanguageModel, stop: Sequence[str]) -> None:
        self._max_context = lm.max_context
        self._num_tokens, self._media = num_embeddings(lm.network), lm.media
        self._stop_ids = frozenset(lm.stop_ids)
        self._stop = tuple(stop)
        self._decode = lm.chat.text
        self._sessions: dict[str, Session] = {}
        self._num_submitted = 0

    def submit(self, request: Request) -> Session:
        """Check a request and append its tokens to its session, opened if need be.

        Raises:
            SamplingError: If the request is empty, its session is busy, a token is outside the
                vocabulary, or context and budget exceed the longest context. The session is
                then as it was before.
        """
        session = self._sessions.get(request.session) or Session(name=request.session)
        self._check(request, session)
        self._sessions[request.session] = session
        session.ids += request.new_ids
        session.row = Row(
            order=self._num_submitted,
            max_new_tokens=request.max_new_tokens,
            uniforms=uniforms(request.seed, request.max_new_tokens),
            matcher=StopMatcher(self._decode, self._stop) if self._stop else None,
        )
        self._num_submitted += 1
        return session

    def note(self, session: Session, token: int, logprob: float) -> Completion | None:
        """Record one sampled token; the completion if it was the last of the action.

        Raises:
            SamplingError: If ``logprob`` is not finite: the weights or the logits are broken.
        """
        row = session.active
        if not -np.inf < logprob <= 0.0:
            raise SamplingError(
                where=f"session {session.name!r}, token {len(row.ids)} of the action",
                problem=f"the sampled token {token} has log-probability {logprob}.",
                fix="The logits are not finite: check the weights, or lower the learning rate.",
            )
        if not 0 <= token < self._num_tokens:
            raise SamplingError(
                where=f"session {session.name!r}, token {len(row.ids)} of the action",
                problem=f"the engine drew {token}, outside [0, {self._num_tokens}).",
                fix="This is a defect of the engine: only tokens of text can be said.",
            )
        session.ids.append(token)
        row.ids.append(token)
        row.logprobs.append(logprob)
        if token in self._stop_ids or (row.matcher is not None and row.matcher.hit(token)):
            finish = FinishReason.STOP
        elif len(row.ids) == row.max_new_tokens:
            finish = FinishReason.LENGTH
        else:
            return None
        session.row = None
        return Completion(
            session=session.name, ids=tuple(row.ids), logprobs=tuple(row.logprobs), finish=finish
        )

    def close(self, name: str) -> Session | None:
        """Forget a session; returns it, or ``None`` if there was none."""
        session = self._sessions.pop(name, None)
        if session is not None:
            session.is_open = False
        return session

    def clear(self) -> None:
        """Forget all sessions."""
        for name in list(self._sessions):
            self.close(name)

    def _has(self, token: int) -> bool:
        is_media = self._media is not None and self._media.knows(token)
        return 0 <= token < self._num_tokens or is_media

    def _check(self, request: Request, session: Session) -> None:
        where = f"session {request.session!r}"
        if session.row is not None:
            raise SamplingError(
                where=where,
                problem="a request is already waiting for its completion.",
                fix="Poll until it is returned, or close the session.",
            )
        if not request.new_ids or request.max_new_tokens < 1:
            raise SamplingError(
                where=where,
                problem=f"{len(request.new_ids)} new_ids, max_new_tokens {request.max_new_tokens}.",
                fix="Send at least one new token and a budget of at least one.",
            )
        unknown = [token for token in request.new_ids if not self._has(token)]
        if unknown:
            raise SamplingError(
                where=where,
                problem=f"new_ids hold {unknown[0]}, outside [0, {self._num_tokens}).",
                fix="Use the tokenizer of this model.",
            )
        total = len(session.ids) + len(request.new_ids) + request.max_new_tokens
        if total > self._max_context:
            raise SamplingError(
                where=where,
                problem=(
                    f"{len(session.ids)} tokens held + {len(request.new_ids)} new + "
                    f"{request.max_new_tokens} to sample = {total}, but the model's context is "
                    f"{self._max_context}."
                ),
                fix="Shorten the observations, lower max_new_tokens or end the episode.",
            )
