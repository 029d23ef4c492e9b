"""Observation text to token ids and action ids to text. Earlier text is never tokenised again."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import TemplateError

from sayso.envs.media import Media
from sayso.envs.spaces import Message
from sayso.errors import ModelError

if TYPE_CHECKING:
    from sayso.models.media import MediaTable

_log = logging.getLogger("sayso")
_ANSWER = "\ue000answer\ue001"
"""Stands for an answer in a rendered template: what comes after it is the separator."""
_THOUGHT = "\ue000thought\ue001"
_ITEM = "\ue002item\ue003"
"""Stands for a picture or a sound; text that is shown beside one holds no ``\\ue002``."""
_DATE = "26 Jul 2024"
"""Some templates print today's date; prompts must not depend on the day a run is resumed."""

Observation = str | tuple[Message, ...]


class ChatFormat:
    """How a conversation becomes tokens for one tokenizer.

    With a chat template, an observation is a user message (or the messages it holds) and an action
    is what the assistant says. A base model without a template gets the plain format: begin token,
    text, line break, action, line break, text, line break, action and so on, with no token of the
    format between turns.

    Text of observations cannot forge turns: strings of control tokens are broken up by a space.
    Surrogates without their other half, which no tokenizer takes, become U+FFFD.

    Args:
        tokenizer: A Hugging Face tokenizer.
        stop_ids: Tokens that end an action; unset: the tokenizer's end token.

    Raises:
        ModelError: If the template fails or does not keep what was said.

    Attributes:
        kind: ``"template"`` or ``"plain"``.
        stop_ids: Tokens that end an action.
        media: What pictures and sounds become; ``None``: the model reads text only.
    """

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int] | None = None) -> None:
        self.media: MediaTable | None = None
        end = tokenizer.eos_token_id
        ends = stop_ids if stop_ids is not None else () if end is None else (end,)
        self.tokenizer, self.stop_ids = tokenizer, frozenset(ends)
        self.kind: Literal["template", "plain"] = (
            "template" if getattr(tokenizer, "chat_template", None) else "plain"
        )
        self._control = self._control_strings()
        self._rewrites, self._num_closing = "", 0
        self._closing: tuple[int, ...] = () if end is None else (end,)
        self._in_parts = False
        if self.kind == "template":
            # Templates of models that see take a message as a list of parts, and skip a string.
            self._in_parts = "one" not in self._render([_user("one")])
            self._render([_user("one")])
            self._rewrites = self._why_not_growing()
            self._num_closing = 0 if self._rewrites else self._count_closing()
            if self._num_closing:
                self._closing = self._encode(self._after_answer())[: self._num_closing]

    def prompt(self, observation: Observation) -> tuple[int, ...]:
        """Tokens of a first observation, up to where the action begins. At least one."""
        if self.kind == "plain":
            begin = self.tokenizer.bos_token_id
            text = self._plain_text(observation)
            ids = self._expand(f"{text}\n" if text else "", observation)
            return ((begin,) if begin is not None else ()) + ids or self._something()
        rendered = self._render(self._messages(observation))
        return self._expand(rendered, observation) or self._something()

    def reply(self, observation: Observation, *, closed: bool) -> tuple[int, ...]:
        """Tokens that follow an action and lead to the next decision. At least one.

        They are the difference between the template rendered up to an answer and beyond it, so the
        answer itself, whatever its tokens were, is never looked at.

        Args:
            observation: What the environment answered.
            closed: The action's last token is one of ``stop_ids``. If it is not, the template's
                end-of-turn token is put first, so that the context reads as the model knows it.
                The plain format has none.

        Raises:
            ModelError: If the template rewrites earlier turns, for example by taking the thinking
                out of them: the model would be trained on contexts that it never gets to see.
        """
        if self.kind == "plain":
            text = f"\n{self._plain_text(observation)}\n"
            return self._expand(text, observation) or self._something()
        if self._rewrites:
            raise ModelError(
                where="chat template",
                problem=f"cannot be used for several turns: {self._rewrites}.",
                fix="Set tokenizer.chat_template to one that keeps earlier turns as they were.",
            )
        rendered = self._render([*_OPENING, *self._messages(observation)])
        ids = self._expand(rendered.split(_ANSWER, 1)[1], observation)
        return ids[self._num_closing if closed else 0 :] or self._something()

    def is_closed(self, action_ids: Sequence[int]) -> bool:
        """Whether an action ends with a stop token: what ``reply`` wants to know.

        An action that a stop string ended does not.
        """
        return bool(action_ids) and action_ids[-1] in self.stop_ids

    def action(self, text: str, *, max_tokens: int | None = None) -> tuple[int, ...]:
        """Tokens of an action that somebody else chose: a demonstration, a listed candidate.

        The stop token is part of it, as it is of a sampled action; one that fills the budget ends
        without, as when sampled. At least one token.

        Args:
            text: What is said.
            max_tokens: Token budget of an action; a longer one is cut off there.

        Raises:
            ModelError: If nothing is said and the model has no token to stop with.
        """
        ids = (*self._encode(self._clean(text)), *self._closing)[:max_tokens]
        return ids or self._something()

    def text(self, action_ids: Sequence[int]) -> str:
        """Text of an action; a stop token at its end is left out."""
        ids = list(action_ids[:-1] if self.is_closed(action_ids) else action_ids)
        decoded: str = self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded

    def answer(self, action_ids: Sequence[int], stop: Sequence[str]) -> str:
        """What environments and people get to read: no stop token, nothing after a stop string."""
        text = self.text(action_ids)
        for string in stop:
            text = text.split(string, 1)[0]
        return text

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _something(self) -> tuple[int, ...]:
        """What stands for nothing: a model needs at least one token to go on from."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return (token,)
        raise ModelError(
            where="prompt",
            problem="is empty, and this tokenizer has no begin or end token to put in its place.",
            fix="Let the environment show some text.",
        )

    def _clean(self, text: str) -> str:
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for control in self._control:
            apart = f"{control[0]} {control[1:]}" if len(control) > 1 else ""
            whole = whole.replace(control, apart)
        return whole

    def _plain_text(self, observation: Observation) -> str:
        if isinstance(observation, str):
            return self._clean(observation)
        return "\n".join(self._content(message, observation) for message in observation)

    def _messages(self, observation: Observation) -> list[dict[str, str]]:
        if isinstance(observation, str):
            return [_user(self._clean(observation))]
        return [{"role": m.role, "content": self._content(m, observation)} for m in observation]

    def _content(self, message: Message, observation: Observation) -> str:
        """Text of a message, ``_ITEM`` where a picture or a sound stands."""
        if not _items(observation):
            return self._clean(message.content)
        return "".join(
            _ITEM if isinstance(part, Media) else self._clean(part).replace(_ITEM[0], "\ufffd")
            for part in message.parts()
        )

    def _expand(self, rendered: str, observation: Observation) -> tuple[int, ...]:
        """Ids of a text, those of its pictures and sounds where they stand.

        Raises:
            ModelError: If the model takes none of this kind, or the template loses or repeats one.
        """
        items = _items(observation)
        if not items:
            return self._encode(rendered)
        if self.media is None:
            raise ModelError(
                where="observation",
                problem=f"shows {items[0].placeholder}, and this model takes text only.",
                fix='Give it an encoder: [model.media] image = "patches" or audio = "log-mel".',
            )
        marker = self.media.marker if self._in_parts and self.media.marker else _ITEM
        texts = rendered.split(marker)
        if len(texts) != len(items) + 1:
            raise ModelError(
                where="chat template",
                problem=f"shows {len(texts) - 1} pictures or sounds of {len(items)}.",
                fix="Set tokenizer.chat_template to one that keeps every message.",
            )
        ids = list(self._encode(texts[0]))
        for item, text in zip(items, texts[1:], strict=True):
            ids += self.media.expand(item) + self._encode(text)
        return tuple(ids)

    def _render(self, messages: list[dict[str, str]], *, generate: bool = True) -> str:
        told: list[Any] = [*messages]
        if self._in_parts:
            own = bool(self.media is not None and self.media.marker)
            told = [{**m, "content": _parts(m["content"], has_own=own)} for m in messages]
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                told, tokenize=False, add_generation_prompt=generate, date_string=_DATE
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ModelError(
                where="chat template",
                problem=f"refuses messages with the roles {roles}: {error}",
                fix="Let the environment show messages that this model's template takes.",
            ) from error
        return rendered

    def _control_strings(self) -> list[str]:
        """Strings that would become a token of the format, longest first."""
        template = str(getattr(self.tokenizer, "chat_template", None) or "")
        found = set(self.tokenizer.all_special_tokens)
        for token in self.tokenizer.added_tokens_decoder.values():
            if token.special or (token.content in template and not token.content.isspace()):
                found.add(token.content)
        return sorted(found, key=lambda text: (-len(text), text))

    def _why_not_growing(self) -> str:
        """Why a rendered conversation does not continue what was rendered before; else empty."""
        asked = self._render(_OPENING[:1])
        try:
            full = self._render([*_OPENING, _user("two")])
            thought = {
                "role": "assistant",
                "content": f"<think>\n{_THOUGHT}\n</think>\n\n{_ANSWER}",
            }
            mindful = self._render([*_OPENING[:1], thought, _user("two")])
        except ModelError as error:
            return error.problem.rstrip(".")
        if full.count(_ANSWER) != 1:
            return "it drops or repeats earlier answers"
        before = full.split(_ANSWER, 1)[0]
        if not before.startswith(asked):
            return f"it changes what stood before an answer, from {asked!r} to {before!r}"
        if between := before[len(asked) :].strip():
            return f"it puts {between!r} before earlier answers"
        if _THOUGHT not in mindful:
            return "it takes the thinking out of earlier answers"
        return ""

    def _after_answer(self) -> str:
        """What the template puts behind an answer that nothing follows."""
        return self._render(_OPENING, generate=False).split(_ANSWER, 1)[1]

    def _count_closing(self) -> int:
        """Tokens between an answer and the end of its turn, the end-of-turn token included."""
        closing = self._encode(self._after_answer())
        return next((i + 1 for i, token in enumerate(closing) if token in self.stop_ids), 0)


def _items(observation: Observation) -> tuple[Media, ...]:
    """Pictures and sounds, in order."""
    if isinstance(observation, str):
        return ()
    return tuple(item for message in observation for item in message.media)


def _parts(content: str, *, has_own: bool) -> list[dict[str, str]]:
    """A message as templates of models that see take it.

    Args:
        content: Text, ``_ITEM`` where a picture stands.
        has_own: The template writes the model's own word for a picture, which is looked for.
    """
    if not has_own:
        return [{"type": "text", "text": content}]
    pieces = re.split(f"({_ITEM})", content)
    return [
        {"type": "image"} if piece == _ITEM else {"type": "text", "text": piece}
        for piece in pieces
        if piece
    ]


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


_OPENING = [_user("one"), {"role": "assistant", "content": _ANSWER}]
