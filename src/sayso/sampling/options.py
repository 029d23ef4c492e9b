"""Options of sampling, and of choosing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sayso.models.filters import Distribution

Decode = Literal["sampled", "greedy"]
FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """Options of sampling; written in a run file under ``[sampling]``.

    Attributes:
        engine: ``"native"`` (the default: compiled kernels, on a CPU, for the families they know),
            ``"torch"`` (our decoding over the model's own forward, any device) or ``"hf"``
            (``generate``, the reference). One that cannot serve the model gives way to the next.
        precision: Of native sampling: ``"exact"`` (float32), or ``"int8"``: about twice as fast,
            from a policy a little off the trained one; every loss corrects for the difference by
            truncated importance weights. Training samples in it; evaluation, ``chat`` and
            ``predict`` are exact, as what is saved is.
        temperature: Logits are divided by it; 1.0 samples the model as it is. More of this and the
            three below in ``Distribution``.
        top_k: Keep the likeliest k tokens; 0 keeps all.
        top_p: Keep the likeliest tokens that make up this probability; 1.0 keeps all.
        min_p: Keep tokens at least this share as likely as the likeliest; 0.0 keeps all.
        max_new_tokens: Token budget of one action, stop token included.
        stop: Strings that end an action; the text before the first one is the action.
        max_rows: Rows decoded together; more wait for a free slot.
    """

    engine: Literal["native", "torch", "hf"] = "native"
    precision: Literal["exact", "int8"] = "exact"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    max_rows: int = 64

    def __post_init__(self) -> None:
        self.distribution()
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be positive, got {self.max_new_tokens}")
        if self.max_rows < 1:
            raise ValueError(f"max_rows must be positive, got {self.max_rows}")
        if self.precision == "int8" and self.engine != "native":
            raise ValueError(f"precision 'int8' needs engine 'native', got {self.engine!r}")
        if "" in self.stop:
            raise ValueError("stop must not hold an empty string: it would end every action")

    def distribution(self) -> Distribution:
        """The distribution that these options describe."""
        return Distribution(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOptions:
    """Among what a candidate learner chooses; written under ``[algorithm.candidates]``.

    Attributes:
        source: ``"auto"``: the actions that the environment lists (``info["choices"]``), or, where
            it lists none, proposals of the language model; ``"proposed"``: proposals always;
            ``"both"``: proposals and what is listed.
        num_proposals: Proposals drawn for each decision; equal ones become one candidate that
            counts so often.
        prior: Of listed actions: ``"uniform"``, or ``"lm"``: their probabilities under the language
            model, over the list. That of proposals is how often each was drawn.
        state: What a decision is judged by: ``"context"``, the whole conversation so far, or
            ``"observation"``, the environment's last message: for environments that say all there
            is to know each time. Proposals always see the conversation.
    """

    source: Literal["auto", "proposed", "both"] = "auto"
    num_proposals: int = 8
    prior: Literal["uniform", "lm"] = "uniform"
    state: Literal["context", "observation"] = "context"

    def __post_init__(self) -> None:
        if self.num_proposals < FEWEST:
            raise ValueError(f"num_proposals must be at least {FEWEST}, got {self.num_proposals}")
        if self.source == "proposed" and self.prior != "uniform":
            raise ValueError("prior has no effect with source = 'proposed': nothing listed is used")
