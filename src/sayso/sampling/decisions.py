"""Decisions made whole: requests that wait until an engine answers all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sayso.models.lm import LanguageModel
from sayso.sampling.base import Completion, Request
from sayso.sampling.sessions import Session, SessionTable
from sayso.types import FinishReason

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A decision to be made.

    Attributes:
        context: Token ids of the conversation so far.
        observation: Those of its last message.
        choices: Actions that the environment listed.
        seed: Decides whatever is drawn for it, alone.
        max_new_tokens: Token budget of the action.
        episode_seed: See ``Request.episode_seed``.
    """

    context: Ids
    observation: Ids
    choices: tuple[str, ...]
    seed: int
    max_new_tokens: int
    episode_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided.

    Attributes:
        ids: Token ids of the action. At least one.
        logprobs: Log-probability (nats) of each.
        finish: Why it ends there.
        candidates: Token ids of the actions it was chosen from, if it was.
    """

    ids: Ids
    logprobs: tuple[float, ...]
    finish: FinishReason
    candidates: tuple[Ids, ...] = ()


class DecisionQueue:
    """Requests in order of submission, with the conversations they belong to.

    Conversations are kept as token ids, so that nothing is ever tokenised again. What an engine
    that answers by itself needs of ``Engine`` but the answers.

    Args:
        lm: Gives context length and vocabulary.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._sessions = SessionTable(lm, ())
        self._waiting: dict[str, tuple[Session, Request]] = {}

    def submit(self, request: Request) -> None:
        """Queue a request; see ``Engine``."""
        self._waiting[request.session] = (self._sessions.submit(request), request)

    def asked(self) -> list[Asked]:
        """All that wait."""
        return [
            Asked(
                context=tuple(session.ids), observation=request.new_ids, choices=request.choices,
                seed=request.seed, max_new_tokens=request.max_new_tokens,
                episode_seed=request.episode_seed,
            )
            for session, request in self._waiting.values()
        ]  # fmt: skip

    def answer(self, decided: Sequence[Decided]) -> list[Completion]:
        """Answer all that wait: one decision for each of ``asked``, in its order."""
        done = []
        for (session, _), one in zip(self._waiting.values(), decided, strict=True):
            session.ids += one.ids
            session.row = None
            done.append(
                Completion(
                    session=session.name, ids=one.ids, logprobs=one.logprobs, finish=one.finish,
                    candidates=one.candidates,
                )
            )  # fmt: skip
        self._waiting.clear()
        return done

    def close(self, session: str) -> None:
        """Forget a session."""
        self._sessions.close(session)
        self._waiting.pop(session, None)

    def clear(self) -> None:
        """Forget every session."""
        self._sessions.clear()
        self._waiting.clear()
