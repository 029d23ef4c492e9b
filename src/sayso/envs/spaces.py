"""Spaces of text. Gymnasium's own ``Text`` does not even hold the space character."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from gymnasium import Space

from sayso.envs.media import AUDIO, IMAGE, PLACEHOLDER, SAMPLE_RATE, Media
from sayso.errors import OptionValueError


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        content: Its text. Where the message has media, it holds one placeholder for each,
            in order: ``<image>`` or ``<audio>``. Where it has none, those words are text like
            any other, so what a user or a model writes never counts as media.
        media: Its pictures and sounds.
    """

    role: str
    content: str
    media: tuple[Media, ...] = ()

    def parts(self) -> tuple[str | Media, ...]:
        """Text and media in reading order: no placeholders, no empty text.

        Raises:
            OptionValueError: If the placeholders do not fit the media.
        """
        if not self.media:
            return (self.content,)
        if problem := message_problem(self):
            raise OptionValueError(where="Message", problem=problem, fix=_FIT)
        texts = PLACEHOLDER.split(self.content)
        both = (part for pair in zip_longest(texts, self.media) for part in pair)
        return tuple(part for part in both if part is not None and part != "")


ROLES = ("system", "user", "assistant", "tool")
_FIT = (
    "Put one placeholder per item into the text, in order: <image> for a picture, <audio> for a "
    "sound; pass text that others wrote through sayso.envs.media.without_placeholders."
)
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
    """A list of messages, each with a role, a text and, by option, pictures and sounds.

    Args:
        max_messages: Most messages.
        max_length: Most characters of one.
        media: Messages may have media.
        seed: Seed of ``sample``.
    """

    def __init__(
        self,
        max_messages: int = 256,
        max_length: int = 65_536,
        *,
        media: bool = False,
        seed: int | None = None,
    ) -> None:
        if max_messages < 1:
            raise OptionValueError(
                where="Chat, max_messages", problem=f"got {max_messages}.", fix="Use 1 or more."
            )
        self.max_messages, self.text, self.media = max_messages, Utterance(max_length), media
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
        chat = [Message(roles[i % 2], self.text.sample()) for i in range(count)]
        if self.media:
            shown = Media.sample(self.np_random)
            content = f"{shown.placeholder} {chat[0].content}"[: self.text.max_length]
            chat[0] = Message(chat[0].role, content, (shown,))
        return tuple(chat)

    def contains(self, x: Any) -> bool:
        """True for a tuple of messages with known roles, whose placeholders fit their media."""
        return (
            isinstance(x, tuple)
            and 0 < len(x) <= self.max_messages
            and all(
                message_problem(m) is None
                and self.text.contains(m.content)
                and (self.media or not m.media)
                for m in x
            )
        )

    def to_jsonable(self, sample_n: Iterable[tuple[Message, ...]]) -> list[Any]:
        """Messages as mappings; media by key, with their bytes."""
        return [[message_row(message) for message in chat] for chat in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[tuple[Message, ...]]:
        """Undo ``to_jsonable``."""
        return [messages(chat) for chat in sample_n]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chat) and other._limits() == self._limits()

    def __hash__(self) -> int:
        return hash((Chat, *self._limits()))

    def __repr__(self) -> str:
        media = ", media=True" if self.media else ""
        return f"Chat({self.max_messages}, {self.text.max_length}{media})"

    def _limits(self) -> tuple[int, Utterance, bool]:
        return self.max_messages, self.text, self.media


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
        OptionValueError: If it is none of these, or placeholders do not fit media.
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
    for index, message in enumerate(chat):
        if problem := message_problem(message):
            raise OptionValueError(where=f"{where}, message {index + 1}", problem=problem, fix=_FIT)
    return chat


def message_problem(given: Any) -> str | None:
    """What is wrong with a message, or ``None``: its types, its role, its placeholders."""
    if not isinstance(given, Message):
        return f"got {type(given).__name__}, which is not a sayso.Message."
    if given.role not in ROLES or not isinstance(given.content, str):
        return f"got the role {given.role!r} and content of {type(given.content).__name__}."
    media: Any = given.media
    if not isinstance(media, tuple) or not all(isinstance(item, Media) for item in media):
        return "its media are not a tuple of sayso.Media."
    told, kept = PLACEHOLDER.findall(given.content), [m.placeholder for m in given.media]
    if given.media and told != kept:
        return f"its text has the placeholders {told} and its media are {kept}."
    return None


def _message(row: Any) -> Message | None:
    if isinstance(row, Mapping) and {"role", "content"} <= set(row) <= {"role", "content", "media"}:
        row = Message(row["role"], row["content"], _media(row.get("media", ())))
    is_sound = isinstance(row, Message) and row.role in ROLES and isinstance(row.content, str)
    return row if is_sound else None


def _media(given: Any) -> Any:
    """A row's media, read back where they were written out; judged by ``message_problem``."""
    if not isinstance(given, list | tuple):
        return given
    return tuple(Media.from_jsonable(m) if isinstance(m, Mapping) else m for m in given)


def message_row(message: Message) -> dict[str, Any]:
    """The usual mapping of a message; media, where it has any, by key with their bytes."""
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.media:
        row["media"] = [media.to_jsonable() for media in message.media]
    return row


def media_keys(observation: str | tuple[Message, ...]) -> tuple[str, ...]:
    """Keys of the pictures and sounds of an observation, in order."""
    if isinstance(observation, str):
        return ()
    return tuple(item.key for message in observation for item in message.media)


def messages(rows: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages from the usual ``[{"role": …, "content": …}]``, with ``to_jsonable``'s media."""
    return tuple(Message(row["role"], row["content"], _media(row.get("media", ()))) for row in rows)


__all__ = [
    "AUDIO",
    "IMAGE",
    "ROLES",
    "SAMPLE_RATE",
    "Chat",
    "Media",
    "Message",
    "Utterance",
    "media_keys",
    "message_problem",
    "message_row",
    "messages",
    "observation_of",
]
