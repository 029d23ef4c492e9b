"""Engines for tests of the rollout: one that follows a script, one that takes notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sayso.models.chat import ChatFormat
from sayso.models.tiny import tiny_tokenizer
from sayso.sampling.base import Completion, Engine, Policy, Request
from sayso.seeds import uniforms
from sayso.types import FinishReason

END_ID = 256
"""The end token of the byte-level tokenizer."""


def by_seed(request: Request) -> str:
    """An action that depends on nothing but the request's seed."""
    numbers = uniforms(request.seed, 6)
    return "".join("abcdefgh"[int(u * 8)] for u in numbers[: 1 + int(numbers[0] * 5)])


@dataclass
class ScriptedEngine:
    """Answers with ``script(request)``; shorter answers are finished earlier, as in decoding.

    Attributes:
        script: Text of an action; cut at the budget, else followed by the end token.
        max_context: As in ``Engine``.
        held: Tokens of each open session.
        requests: All of them, in order.
        closed: Names of closed sessions, in order.
    """

    script: Callable[[Request], str] = by_seed
    max_context: int = 4096
    held: dict[str, list[int]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    _queue: dict[str, tuple[Request, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return "scripted"

    def submit(self, request: Request) -> None:
        assert request.session not in self._queue, "one request at a time"
        assert request.new_ids
        assert request.max_new_tokens >= 1
        tokens = tiny_tokenizer(()).encode(self.script(request), add_special_tokens=False)
        ids = (*tokens, END_ID)[: request.max_new_tokens]
        held = self.held.setdefault(request.session, [])
        assert len(held) + len(request.new_ids) + request.max_new_tokens <= self.max_context
        held.extend(request.new_ids)
        self.requests.append(request)
        self._queue[request.session] = (request, ids)

    def poll(self) -> list[Completion]:
        if not self._queue:
            return []
        shortest = min(len(ids) for _, ids in self._queue.values())
        finished = [name for name, (_, ids) in self._queue.items() if len(ids) == shortest]
        completions = []
        for name in finished:
            _, ids = self._queue.pop(name)
            self.held[name].extend(ids)
            finish = FinishReason.STOP if ids and ids[-1] == END_ID else FinishReason.LENGTH
            logprobs = tuple(-0.125 * (i + 1) for i in range(len(ids)))
            completions.append(Completion(session=name, ids=ids, logprobs=logprobs, finish=finish))
        return completions

    def close(self, session: str) -> None:
        self.closed.append(session)
        self.held.pop(session, None)
        self._queue.pop(session, None)

    def sync(self) -> None:
        self.held.clear()
        self._queue.clear()


def scripted_policy(
    script: Callable[[Request], str] = by_seed, *, max_new_tokens: int = 16, context: int = 4096
) -> tuple[Policy, ScriptedEngine]:
    """A policy over bytes with the plain chat format."""
    engine = ScriptedEngine(script, max_context=context)
    chat = ChatFormat(tiny_tokenizer(()))
    return Policy(engine=engine, chat=chat, max_new_tokens=max_new_tokens, version=7), engine


class RecordingEngine:
    """Passes everything on and remembers what was sent and what came back.

    Attributes:
        contexts: Of each session: the tokens held when each of its actions was asked for.
        completions: Of each session, in order.
        closed: Sessions that were closed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.contexts: dict[str, list[tuple[int, ...]]] = {}
        self.completions: dict[str, list[Completion]] = {}
        self.closed: set[str] = set()

    @property
    def max_context(self) -> int:
        return self._engine.max_context

    def submit(self, request: Request) -> None:
        past = self.contexts.setdefault(request.session, [])
        answers = self.completions.setdefault(request.session, [])
        before = (*past[-1], *answers[-1].ids) if past else ()
        past.append((*before, *request.new_ids))
        self._engine.submit(request)

    def poll(self) -> list[Completion]:
        completions = self._engine.poll()
        for completion in completions:
            self.completions[completion.session].append(completion)
        return completions

    def close(self, session: str) -> None:
        self.closed.add(session)
        self._engine.close(session)

    def sync(self) -> None:
        self._engine.sync()
