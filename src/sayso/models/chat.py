"""Observation text to token ids and action ids to text. Earlier text is never tokenised again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

from sayso.envs.spaces import Message
from sayso.errors import ModelError

_log = logging.getLogger("sayso")
_SENTINEL = "\ue000answer\ue001"

Observation = str | tuple[Message, ...]


class ChatFormat:
    """How a conversation becomes tokens for one tokenizer.

    With a chat template, an observation is a user message (or the messages it holds) and an action
    is what the assistant says. A base model without a template gets a plain format: begin token,
    text, line break; then the action; then line break, text, line break; and so on.

    Text of observations cannot forge turns: the strings of special tokens are broken up by a space.
    Lone surrogates, which no tokenizer takes, become U+FFFD.

    Attributes:
        kind: ``"template"`` or ``"plain"``.
        stop_ids: Tokens that end an action.
    """

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int]) -> None:
        self.tokenizer, self.stop_ids = tokenizer, frozenset(stop_ids)
        self.kind: Literal["template", "plain"] = (
            "template" if getattr(tokenizer, "chat_template", None) else "plain"
        )
        special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        self._special = sorted((s for s in special if len(s) > 1), key=len, reverse=True)
        if self.kind == "plain":
            _log.info(
                "This tokenizer has no chat template (a base model): prompts are plain text with a "
                "line break after them."
            )
        else:
            self._check_template()

    def prompt(self, observation: Observation) -> tuple[int, ...]:
        """Tokens of a first observation, up to where the action begins. At least one."""
        if self.kind == "plain":
            begin = self.tokenizer.bos_token_id
            text = self._plain_text(observation)
            ids = self._encode(f"{text}\n" if text else "")
            return ((begin,) if begin is not None else ()) + (ids or self._fallback(begin))
        return self._encode(self._render(self._messages(observation), generate=True))

    def reply(self, observation: Observation, *, closed: bool) -> tuple[int, ...]:
        """Tokens that follow an action and lead to the next decision.

        Args:
            observation: What the environment answered.
            closed: The action's last token is one of ``stop_ids``. If it is not, the template's
                end-of-turn token is put first, so that the context reads as the model knows it.
        """
        if self.kind == "plain":
            return self._encode(f"\n{self._plain_text(observation)}\n")
        opening = [{"role": "user", "content": "."}, {"role": "assistant", "content": _SENTINEL}]
        full = self._render(opening + self._messages(observation), generate=True)
        ids = self._encode(full.split(_SENTINEL, 1)[1])
        return ids[1:] if closed and ids and ids[0] in self.stop_ids else ids

    def text(self, action_ids: Sequence[int]) -> str:
        """Text of an action; a stop token at its end is left out."""
        ids = list(action_ids)
        if ids and ids[-1] in self.stop_ids:
            ids = ids[:-1]
        decoded: str = self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded

    def _fallback(self, begin: int | None) -> tuple[int, ...]:
        if begin is not None:
            return ()
        raise ModelError(
            where="prompt",
            problem="is empty, and this tokenizer has no begin token to put in its place.",
            fix="Let the environment show some text.",
        )

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _clean(self, text: str) -> str:
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for special in self._special:
            whole = whole.replace(special, f"{special[0]} {special[1:]}")
        return whole

    def _plain_text(self, observation: Observation) -> str:
        if isinstance(observation, str):
            return self._clean(observation)
        return "\n".join(self._clean(message.content) for message in observation)

    def _messages(self, observation: Observation) -> list[dict[str, str]]:
        if isinstance(observation, str):
            return [{"role": "user", "content": self._clean(observation)}]
        return [{"role": m.role, "content": self._clean(m.content)} for m in observation]

    def _render(self, messages: list[dict[str, str]], *, generate: bool) -> str:
        rendered: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generate
        )
        return rendered

    def _check_template(self) -> None:
        """Refuse a template whose past depends on what comes later: contexts must only grow."""
        first = [{"role": "user", "content": "one"}]
        said = [*first, {"role": "assistant", "content": _SENTINEL}]
        asked = self._render(first, generate=True)
        full = self._render([*said, {"role": "user", "content": "two"}], generate=True)
        if not full.startswith(asked) or full.count(_SENTINEL) != 1:
            raise ModelError(
                where="chat template",
                problem=(
                    f"rewrites the past: after {asked!r} a second turn reads {full!r}, which does "
                    "not continue it."
                ),
                fix="Set tokenizer.chat_template to one that only appends, or use the base model.",
            )
        between = full[len(asked) : full.index(_SENTINEL)]
        if between.strip():
            _log.warning(
                "The chat template puts %r before earlier answers; sayso keeps the tokens that were "
                "sampled instead.",
                between,
            )
