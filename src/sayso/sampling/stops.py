"""Stop strings, found while the text is still being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class StopMatcher:
    """Decodes one action token by token and says when a stop string has appeared.

    Each token costs the decoding of a few tokens, not of the whole action: text that can no
    longer change is kept as a tail just long enough to hold the start of a stop string.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        """Args: ``decode`` turns ids into text; ``stop`` holds non-empty strings."""
        self._decode = decode
        self._stop = tuple(stop)
        self._num_kept = max(len(text) for text in self._stop) - 1
        self._ids: list[int] = []
        self._from = 0
        self._upto = 0
        self._tail = ""

    def hit(self, token: int) -> bool:
        """Take the next token; True when the text now contains a stop string."""
        self._ids.append(token)
        known = self._decode(self._ids[self._from : self._upto])
        text = self._decode(self._ids[self._from :])
        candidate = self._tail + text[len(known) :]
        if any(stop in candidate for stop in self._stop):
            return True
        # U+FFFD at the end: the bytes of one character are split over tokens. Wait for the rest.
        if len(text) > len(known) and not text.endswith("�"):
            self._tail = candidate[max(0, len(candidate) - self._num_kept) :]
            # The last chunk stays in the window: how a token decodes may depend on the one before.
            self._from, self._upto = self._upto, len(self._ids)
        return False
