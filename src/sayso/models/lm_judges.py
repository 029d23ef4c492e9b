"""Rewards that are a frozen language model's opinion of a text.

A judge never writes: of its next token, only the odds between few words count. What the judged
text says is data to it: put on lines that cannot pass for the form, control tokens broken up.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sayso.errors import ModelError, OptionValueError
from sayso.models.lm import LanguageModel
from sayso.models.lm_rewards import Model, frozen, require_frozen, whole
from sayso.rewards.scorer import Scorer
from sayso.rewards.text import words

NOTHING = "N/A"
"""A text without content: what a judge says of it is its liking for a word."""


@dataclass(frozen=True, kw_only=True)
class Judge(Scorer):
    """What a frozen LM thinks of a text; -1 to 1, 0 for "cannot tell", -1 for one without words.

    The model is asked a question and its opposite about the text, in two chats, and never writes:
    of its next token only the odds of Yes and No count (or, with ``kind = "digit"``, the expected
    digit). ``tanh(odds / 4)`` of the difference of the two log-odds. Asking both ways cancels its
    liking for one of the words, and a text that tells it to say Yes, which would raise both. It
    takes a model that follows instructions: SmolLM2-135M does not tell friendly from rude this way
    (``Verdict`` does).

    That is a defence and not a proof: a policy will find what a small judge likes. Keep the judge
    a capped part behind verifiable ones, and read texts with high rewards.

    Attributes:
        question: Answered Yes (or with a high digit) for a good text.
        opposite: The same for a bad text.
        model: ``"smollm2"``, a hub id, a directory, or ``(model, tokenizer)``, frozen.
        kind: ``"yes_no"`` or ``"digit"`` (1 to 5).
        show_prompt: Show the judge what was asked.
        max_chars: Of a text, the beginning that is shown.
    """

    low = -1.0

    question: str
    opposite: str
    model: Model = "smollm2"
    kind: Literal["yes_no", "digit"] = "yes_no"
    show_prompt: bool = True
    max_chars: int = 2_000

    def __post_init__(self) -> None:
        require_frozen(self.model)
        if not self.question.strip() or not self.opposite.strip() or self.max_chars < 1:
            raise OptionValueError(
                where="reward Judge",
                problem=f"question {self.question!r}, opposite {self.opposite!r}.",
                fix="Ask both ways: 'Is the text polite?', 'Is the text rude?'.",
            )
        if self.kind not in ("yes_no", "digit"):
            raise OptionValueError(
                where="reward Judge.kind", problem=f"is {self.kind!r}.", fix="Use yes_no or digit."
            )

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Opinion."""
        if not words(completion):
            return -1.0
        lm = frozen(self.model)
        asked = prompt if self.show_prompt and isinstance(prompt, str) else ""
        views = [
            self._view(lm, asked, completion[: self.max_chars], question)
            for question in (self.question, self.opposite)
        ]
        return math.tanh((views[0] - views[1]) / 4)

    def _view(self, lm: LanguageModel, asked: str, text: str, question: str) -> float:
        """Log-odds of Yes; of a digit, its distance from the middle in the same units."""
        answers = ("Yes", "No") if self.kind == "yes_no" else tuple("12345")
        how = "Yes or No" if self.kind == "yes_no" else "a digit from 1 (no) to 5 (very much)"
        shown = f"The task was:\n{_quoted(asked)}\n\n" if asked else ""
        form = f"{shown}Read this text:\n{_quoted(text)}\n\n{question} Answer with {how} only."
        logprobs = next_logprobs(lm, lm.chat.prompt(form), answers)
        if self.kind == "yes_no":
            return logprobs[0] - logprobs[1]
        shares = torch.softmax(torch.tensor(logprobs, dtype=torch.float64), dim=0)
        return float((shares * torch.arange(-2.0, 3.0, dtype=torch.float64)).sum()) * 2


def _quoted(text: str) -> str:
    """Each line marked, so that no line of a text can pass for one of the form."""
    return "\n".join(f"> {line}" for line in text.splitlines())


@dataclass(frozen=True, kw_only=True)
class Verdict(Scorer):
    """Which of two words a frozen LM puts after a text; -1 to 1, 0 for "as of no text at all".

    The model goes on after ``Text: ... / Tone:``, and the log-odds of the good word against the bad
    one count, less those after a text without content (a model likes some words better than
    others): ``tanh(difference / 4)``. It needs no instruction, so a small or a base model can do
    it. A text without words has -1.

    The text is put on one line, and the two words are blanked out in it: a model repeats what it
    has just read, so that naming the good word would earn it.

    Attributes:
        good, bad: The two words, for example "friendly" and "rude".
        label: What they are: the line that the model goes on with.
        examples: Texts with their word, shown first; as many of each word.
        model: ``"smollm2"``, a hub id, a directory, or ``(model, tokenizer)``, frozen.
        max_chars: Of a text, the beginning that is shown.

    Source: Zhao et al., 2021, "Calibrate Before Use", section 5, whose content-free text this is;
        they rescale probabilities, we subtract log-odds.
    """

    low = -1.0

    good: str
    bad: str
    label: str = "Tone"
    examples: tuple[tuple[str, str], ...] = ()
    model: Model = "smollm2"
    max_chars: int = 2_000

    def __post_init__(self) -> None:
        require_frozen(self.model)
        named = {self.good.strip(), self.bad.strip()}
        if len(named) != 2 or "" in named or not self.label.strip() or self.max_chars < 1:
            raise OptionValueError(
                where="reward Verdict",
                problem=f"good {self.good!r}, bad {self.bad!r}, label {self.label!r}.",
                fix="Name two different words and what they are.",
            )
        if any(list(example[1:]) not in [[word] for word in named] for example in self.examples):
            raise OptionValueError(
                where="reward Verdict.examples",
                problem=f"is {self.examples!r:.120}.",
                fix=f"Use pairs of a text and {self.good!r} or {self.bad!r}.",
            )

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Opinion."""
        if not words(completion):
            return -1.0
        odds = self._odds(completion) - _liking(
            self.model, self._form(NOTHING), self.good, self.bad
        )
        return math.tanh(odds / 4)

    def _odds(self, text: str) -> float:
        return _odds(frozen(self.model), self._form(text), self.good, self.bad)

    def _form(self, text: str) -> str:
        pairs = [*((shown, f" {word}\n\n") for shown, word in self.examples), (text, "")]
        return "".join(f"Text: {self._line(t)}\n{self.label}:{end}" for t, end in pairs)

    def _line(self, text: str) -> str:
        told = "|".join(map(re.escape, (self.good.strip(), self.bad.strip())))
        blanked = re.sub(rf"\b(?:{told})", "...", text, flags=re.IGNORECASE)
        return " ".join(blanked.split())[: self.max_chars]


def _odds(lm: LanguageModel, form: str, good: str, bad: str) -> float:
    """Log-odds (nats) that a plain text goes on with one word and not the other."""
    # No control token can be written in a text: its string is split into plain pieces.
    ids = lm.tokenizer(whole(form), split_special_tokens=True)["input_ids"]
    logprobs = next_logprobs(lm, ids, (good, bad))
    return logprobs[0] - logprobs[1]


@functools.lru_cache(maxsize=64)
def _liking(model: Model, form: str, good: str, bad: str) -> float:
    """``_odds`` after a text without content; asked once."""
    return _odds(frozen(model), form, good, bad)


@torch.inference_mode()
def next_logprobs(
    lm: LanguageModel, context: Sequence[int], answers: tuple[str, ...]
) -> list[float]:
    """Log-probability (nats) that the model goes on with each of some words, by first tokens.

    A word with and without a space before it counts together.

    Raises:
        ModelError: If two words begin with the same token.
    """
    ids = [_first_tokens(lm, answer) for answer in answers]
    if sum(map(len, ids)) > len(set().union(*ids)):
        raise ModelError(
            where=f"judge {lm.name}",
            problem=f"its tokenizer begins two of {', '.join(answers)} with the same token.",
            fix="Use other words, or another model.",
        )
    row = torch.tensor([list(context)[-lm.max_context :]], device=lm.device)
    logprob = torch.log_softmax(lm.causal_lm(input_ids=row).logits[0, -1].float(), dim=-1)
    return [float(torch.logsumexp(logprob[sorted(group)], dim=0)) for group in ids]


def _first_tokens(lm: LanguageModel, word: str) -> set[int]:
    found = set()
    for text in (word, f" {word}"):
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        # A space of its own says nothing of the word.
        if ids and lm.tokenizer.decode(ids[:1]).strip():
            found.add(int(ids[0]))
    return found
