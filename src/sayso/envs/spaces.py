"""Spaces of text. Gymnasium's own ``Text`` does not even hold the space character."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space

from sayso.errors import OptionValueError


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        content: Its text.
    """

    role: str
    content: str


ROLES = ("system", "user", "assistant", "tool")
_SAMPLE_WORDS = ("yes", "no", "look", "at", "the", "moon", "naïve", "东", "🙂", "-1", "move up")


class Utterance(Space[str]):
    """Any Unicode string up to a length.

    Args:
        max_length: Most characters.
        seed: Seed of ``sample``.
    """

    def __init__(self, max_length: int = 65_536, *, seed: int | None = None) -> None:
        if max_length < 1:
            raise OptionValueError(
                where="Utterance, max_length", problem=f"got {max_length}.", fix="Use 1 or more."
            )
        self.max_length = max_length
        super().__init__(shape=None, dtype=None, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed number of features."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A few words; masks make no sense here and are refused."""
        _refuse_mask("Utterance", mask, probability)
        count = int(self.np_random.integers(1, 8))
        words = [str(w) for w in self.np_random.choice(np.array(_SAMPLE_WORDS), count)]
        return " ".join(words)[: self.max_length]

    def contains(self, x: Any) -> bool:
        """True for a string that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def to_jsonable(self, sample_n: Iterable[str]) -> list[Any]:
        """Strings are JSON already."""
        return list(sample_n)

    def from_jsonable(self, sample_n: list[Any]) -> list[str]:
        """Undo ``to_jsonable``."""
        return [str(sample) for sample in sample_n]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Utterance) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash((Utterance, self.max_length))

    def __repr__(self) -> str:
        return f"Utterance({self.max_length})"


class Chat(Space[tuple[Message, ...]]):
    """A list of messages, each with a role and a text.

    Args:
        max_messages: Most messages.
        max_length: Most characters of one.
        seed: Seed of ``sample``.
    """

    def __init__(
        self, max_messages: int = 256, max_length: int = 65_536, *, seed: int | None = None
    ) -> None:
        if max_messages < 1:
            raise OptionValueError(
                where="Chat, max_messages", problem=f"got {max_messages}.", fix="Use 1 or more."
            )
        self.max_messages, self.text = max_messages, Utterance(max_length)
        super().__init__(shape=None, dtype=None, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed number of features."""
        return False

    def seed(self, seed: Any = None) -> Any:
        """Seed the messages' text as well."""
        seeds = super().seed(seed)
        if hasattr(self, "text"):
            self.text.seed(None if seed is None else int(self.np_random.integers(2**31)))
        return seeds

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[Message, ...]:
        """A short conversation."""
        _refuse_mask("Chat", mask, probability)
        count = int(self.np_random.integers(1, min(4, self.max_messages) + 1))
        roles = ("user", "assistant")
        return tuple(Message(roles[i % 2], self.text.sample()) for i in range(count))

    def contains(self, x: Any) -> bool:
        """True for a tuple of messages with known roles."""
        return (
            isinstance(x, tuple)
            and 0 < len(x) <= self.max_messages
            and all(
                isinstance(m, Message) and m.role in ROLES and self.text.contains(m.content)
                for m in x
            )
        )

    def to_jsonable(self, sample_n: Iterable[tuple[Message, ...]]) -> list[Any]:
        """Messages as mappings."""
        return [[{"role": m.role, "content": m.content} for m in chat] for chat in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[tuple[Message, ...]]:
        """Undo ``to_jsonable``."""
        return [messages(chat) for chat in sample_n]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Chat)
            and other.max_messages == self.max_messages
            and other.text == self.text
        )

    def __hash__(self) -> int:
        return hash((Chat, self.max_messages, self.text))

    def __repr__(self) -> str:
        return f"Chat({self.max_messages}, {self.text.max_length})"


def _refuse_mask(space: str, mask: Any, probability: Any) -> None:
    if mask is not None or probability is not None:
        raise OptionValueError(
            where=f"{space}.sample",
            problem="got a mask or probabilities, which text does not have.",
            fix="Call sample() without them.",
        )


def observation_of(given: Any, *, where: str) -> str | tuple[Message, ...]:
    """An observation from text, messages, or the usual list of mappings.

    Args:
        given: What the user passed.
        where: Named in the error.

    Raises:
        OptionValueError: If it is none of these.
    """
    if isinstance(given, str):
        return given
    rows = [given] if isinstance(given, Message | Mapping) else given
    found = tuple(map(_message, rows)) if isinstance(rows, list | tuple) else ()
    chat = tuple(message for message in found if message is not None)
    if not chat or len(chat) != len(found):
        text = repr(given)
        raise OptionValueError(
            where=where,
            problem=f"got {text if len(text) <= 80 else f'{text[:77]}...'}, which is neither text "
            "nor a list of messages.",
            fix='Pass a string, or [{"role": "user", "content": "Hello"}] with the roles '
            f"{', '.join(ROLES)}.",
        )
    return chat


def _message(row: Any) -> Message | None:
    if isinstance(row, Mapping) and set(row) == {"role", "content"}:
        row = Message(role=row["role"], content=row["content"])
    is_sound = isinstance(row, Message) and row.role in ROLES and isinstance(row.content, str)
    return row if is_sound else None


def messages(rows: Sequence[Mapping[str, str]]) -> tuple[Message, ...]:
    """Messages from the usual ``[{"role": …, "content": …}]``."""
    return tuple(Message(role=row["role"], content=row["content"]) for row in rows)
