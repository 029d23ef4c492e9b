"""Caches of sessions that rest, within a memory budget."""

from __future__ import annotations

from typing import Any

from sayso.sampling.sessions import Session


class Parking:
    """Keeps resting sessions' keys and values; beyond the budget the oldest are dropped.

    A dropped session is computed again from its token ids when it comes back. What is dropped
    depends on the order of calls alone, so a repeated run drops the same.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._held_bytes = 0
        self._parked: dict[str, tuple[Session, Any, int]] = {}

    def put(self, session: Session, snapshot: Any) -> None:
        """Park a session."""
        size: int = snapshot.nbytes
        self._parked[session.name] = (session, snapshot, size)
        self._held_bytes += size
        while self._held_bytes > self._budget_bytes:
            oldest = next(iter(self._parked))
            self._parked[oldest][0].num_cached = 0
            self.take(oldest)

    def take(self, name: str) -> Any:
        """Remove a session; its snapshot, or ``None`` if it was not parked or was dropped."""
        found = self._parked.pop(name, None)
        if found is None:
            return None
        self._held_bytes -= found[2]
        return found[1]

    def clear(self) -> None:
        """Drop all."""
        self._parked.clear()
        self._held_bytes = 0
