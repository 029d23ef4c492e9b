"""Our own batched decoding: slots, sessions that keep their cache, prompts computed once.

Dimensions: n = rows, v = vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.backend import Backend, SlotBackend
from sayso.sampling.base import Completion, Request
from sayso.sampling.network import evaluating
from sayso.sampling.parking import Parking
from sayso.sampling.sessions import Session, SessionTable

PREFILL_TOKENS = 2048
"""Most tokens of a pass over several new contexts, padding included."""
PIECE_TOKENS = 512
"""A longer context is fed in pieces of this size, which bounds the attention mask."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A computed prompt that queued sessions still need, and the logits after it ``[v]``."""

    snapshot: Any
    logits: Tensor


class TorchEngine:
    """Decoding in slots over a backend, the model's own forward unless told. Satisfies ``Engine``.

    Slot i of the cache belongs to ``_slots[i]``, and slots are always filled from 0 up, so that
    attention runs over the rows being decoded and no others. A finished session stays in its
    slot until the next ``poll``: if it has a new request by then, it goes on where it is; else
    its keys and values are parked, and dropped beyond ``idle_bytes``, oldest first, to be
    computed again from its token ids if it comes back. All of this depends on the sequence of
    calls alone.
    """

    def __init__(
        self,
        lm: LanguageModel,
        distribution: Distribution,
        *,
        max_rows: int,
        stop: Sequence[str] = (),
        idle_bytes: int = 1 << 30,
        backend: Backend | None = None,
    ) -> None:
        """Prepare; nothing is allocated before the first ``poll``.

        Args:
            lm: The model. Its network is put into eval mode only while sampling.
            distribution: What to sample from.
            max_rows: Rows decoded together.
            stop: Strings that end an action.
            idle_bytes: Memory for the caches of sessions that rest.
            backend: What decodes; unset: the model's own forward.
        """
        self._network = lm.network
        self._max_rows = max_rows
        self._max_context: int = lm.max_context
        self._sessions = SessionTable(lm, stop)
        self._queue: dict[str, Session] = {}
        self._slots: list[Session] = []
        self._parking = Parking(idle_bytes)
        self._prompts: dict[tuple[int, ...], _Prompt] = {}
        self._backend = backend or SlotBackend(lm, distribution, max_rows=max_rows)

    @property
    def path(self) -> str:
        """How it computes."""
        return self._backend.path

    @property
    def max_context(self) -> int:
        """Most tokens a session may hold."""
        return self._max_context

    def submit(self, request: Request) -> None:
        """Queue a request; see ``Engine``.

        Raises:
            SamplingError: If it cannot be served; see ``SessionTable.submit``.
        """
        session = self._sessions.submit(request)
        self._queue[session.name] = session

    def poll(self) -> list[Completion]:
        """Decode until at least one request finishes; see ``Engine``."""
        with evaluating(self._network):
            self._settle()
            self._admit()
            finished = self._prefill()
            while self._slots and not finished:
                finished = self._decode()
        return [completion for _, completion in sorted(finished, key=lambda pair: pair[0])]

    def close(self, session: str) -> None:
        """Forget a session; its slot is free from the next ``poll`` on."""
        self._sessions.close(session)
        self._queue.pop(session, None)
        self._parking.take(session)

    def sync(self) -> None:
        """Drop every session and all cached state, memory included."""
        self._sessions.clear()
        self._queue.clear()
        self._slots.clear()
        self._parking.clear()
        self._prompts.clear()
        self._backend.refresh()

    def _settle(self) -> None:
        """Free the slots of closed and resting sessions, then move the others to the front."""
        kept = []
        for slot, session in enumerate(self._slots):
            if session.is_open and session.row is None:
                snapshot = self._backend.snapshot(slot, session.num_cached)
                self._parking.put(session, snapshot)
            elif session.is_open:
                self._queue.pop(session.name, None)
                kept.append(slot)
        holes = sorted(set(range(len(kept))) - set(kept))
        movers = [slot for slot in kept if slot >= len(kept)]
        for hole, mover in zip(holes, movers, strict=True):
            self._backend.move(mover, hole, self._slots[mover].num_cached)
            self._slots[hole] = self._slots[mover]
        for slot in range(len(kept), len(self._slots)):
            self._backend.clear(slot)
        del self._slots[len(kept) :]

    def _admit(self) -> None:
        """Give free slots to the queue, in order of submission."""
        first = len(self._slots)
        while self._queue and len(self._slots) < self._max_rows:
            self._slots.append(self._queue.pop(next(iter(self._queue))))
        admitted = self._slots[first:]
        if admitted:
            longest = max(len(session.ids) for session in admitted)
            self._backend.reserve(len(self._slots), longest)
        for slot, session in enumerate(admitted, start=first):
            snapshot = self._parking.take(session.name)
            if snapshot is not None:
                self._backend.restore(slot, snapshot)

    def _prefill(self) -> list[tuple[int, Completion]]:
        """Feed the contexts of actions that have no token yet, each different one once; draw."""
        fresh = [slot for slot, session in enumerate(self._slots) if not session.active.ids]
        if not fresh:
            return []
        leaders: dict[tuple[int, ...], int] = {}
        copies: dict[int, list[int]] = {}
        for slot in fresh:
            session = self._slots[slot]
            leader = slot if session.num_cached else leaders.setdefault(tuple(session.ids), slot)
            copies.setdefault(leader, []).append(slot)
        logits = self._stored(leaders)
        logits |= self._feed([slot for slot in copies if slot not in logits])
        for leader, slots in copies.items():
            length = self._slots[leader].num_cached
            others = [slot for slot in slots if slot != leader]
            if others:
                self._backend.share(leader, others, length)
            for slot in others:
                self._slots[slot].num_cached = length
        self._store(leaders, logits)
        order = [slot for slots in copies.values() for slot in slots]
        rows = [logits[leader] for leader, slots in copies.items() for _ in slots]
        return self._draw(order, torch.stack(rows))

    def _stored(self, leaders: dict[tuple[int, ...], int]) -> dict[int, Tensor]:
        """Restore the prompts computed for an earlier part of the group; logits by slot."""
        logits = {}
        for prompt, slot in leaders.items():
            known = self._prompts.get(prompt)
            if known is not None:
                self._backend.restore(slot, known.snapshot)
                self._slots[slot].num_cached = len(prompt)
                logits[slot] = known.logits
        return logits

    def _store(self, leaders: dict[tuple[int, ...], int], logits: dict[int, Tensor]) -> None:
        """Keep the prompts that sessions in the queue share, and forget all others."""
        wanted = {tuple(session.ids) for session in self._queue.values() if not session.num_cached}
        for prompt in wanted & leaders.keys() - self._prompts.keys():
            slot = leaders[prompt]
            self._backend.share(slot, (), len(prompt))
            snapshot = self._backend.snapshot(slot, len(prompt))
            self._prompts[prompt] = _Prompt(snapshot, logits[slot].clone())
        self._prompts = {ids: kept for ids, kept in self._prompts.items() if ids in wanted}

    def _feed(self, slots: list[int]) -> dict[int, Tensor]:
        """Logits ``[v]`` after the whole context of each slot, by slot."""
        for slot in slots:
            while self._num_new(slot) > PIECE_TOKENS:
                self._step([slot], PIECE_TOKENS)
        logits: dict[int, Tensor] = {}
        for batch in self._batches(sorted(slots, key=self._num_new)):
            # A copy: the backend may use the same memory for the next pass.
            logits |= dict(zip(batch, self._step(batch, PIECE_TOKENS).clone(), strict=True))
        return logits

    def _batches(self, slots: list[int]) -> Iterator[list[int]]:
        """Cut slots, ordered by their number of new tokens, into passes of bounded size."""
        batch: list[int] = []
        for slot in slots:
            if batch and (len(batch) + 1) * self._num_new(slot) > PREFILL_TOKENS:
                yield batch
                batch = []
            batch.append(slot)
        if batch:
            yield batch

    def _num_new(self, slot: int) -> int:
        session = self._slots[slot]
        return len(session.ids) - session.num_cached

    def _decode(self) -> list[tuple[int, Completion]]:
        """One token more for every row."""
        slots = list(range(len(self._slots)))
        return self._draw(slots, self._step(slots, 1))

    def _step(self, slots: list[int], most: int) -> Float[Tensor, "n v"]:
        """Feed each slot its next tokens, at most ``most``; the logits after them."""
        sessions = [self._slots[slot] for slot in slots]
        starts = [session.num_cached for session in sessions]
        chunks = [session.ids[session.num_cached :][:most] for session in sessions]
        logits = self._backend.forward(slots, starts, chunks)
        for session, chunk in zip(sessions, chunks, strict=True):
            session.num_cached += len(chunk)
        return logits

    def _draw(self, slots: list[int], logits: Float[Tensor, "n v"]) -> list[tuple[int, Completion]]:
        """Draw one token per row with the row's own number; the rows that finished."""
        rows = [self._slots[slot].active for slot in slots]
        tokens, logprobs = self._backend.draw(logits, [row.uniform for row in rows])
        finished = []
        for slot, token, logprob in zip(slots, tokens, logprobs, strict=True):
            session = self._slots[slot]
            order = session.active.order
            completion = self._sessions.note(session, token, logprob)
            if completion is not None:
                finished.append((order, completion))
        return finished
