"""A language model as a function from text to text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sayso.errors import OptionValueError
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import ModelOptions
from sayso.sampling.base import Request
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive


class TextModel:
    """A loaded language model that continues text.

    Attributes:
        lm: The model, its tokenizer and chat format; ``lm=`` of the control environments takes it.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm

    def generate(
        self,
        prompt: str,
        max_length: int = 100,
        top_k: int = 50,
        *,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The prompt and what the model continues it with.

        The prompt is taken as it is, without a chat template; for answers to a message use
        ``sayso.Agent.predict``.

        Args:
            prompt: Text to continue.
            max_length: Most tokens of both together, as in transformers' ``generate``.
            top_k: Draw from the k likeliest tokens; 0: from all, 1: always the likeliest.
            temperature: Divides the logits.
            seed: Decides the draws: the same seed, the same text.

        Raises:
            OptionValueError: If the prompt alone is as long as ``max_length`` or the context.
        """
        tokenizer = self.lm.tokenizer
        ids = tuple(tokenizer(prompt).input_ids) or (tokenizer.bos_token_id,)
        room = min(max_length, self.lm.max_context) - len(ids)
        if room < 1:
            raise OptionValueError(
                where="generate, max_length",
                problem=f"the prompt has {len(ids)} tokens, and {len(ids) + room} are allowed.",
                fix="Raise max_length (the model's own context is "
                f"{self.lm.max_context}) or shorten the prompt.",
            )
        sampling = SamplingOptions(top_k=top_k, temperature=temperature, max_new_tokens=room)
        engine = make_engine(self.lm, sampling)
        engine.submit(
            Request(session="text", new_ids=ids, seed=derive(seed, "text"), max_new_tokens=room)
        )
        (completion,) = engine.poll()
        return prompt + self.lm.chat.text(completion.ids)


def load_lm(model: str | Path | tuple[Any, Any], options: ModelOptions | None = None) -> TextModel:
    """A language model by name, as in ``sayso.load_lm("smollm2").generate("Once upon a time")``.

    Args:
        model: ``"smollm2"``, ``"tiny"``, a hub id such as ``"gpt2"``, a directory, or ``(model,
            tokenizer)``.
        options: Precision and device.

    Raises:
        ModelMissingError: If there is no such model.
    """
    return TextModel(load(model, options))
