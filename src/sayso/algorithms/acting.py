"""How learners of token values act: the language model's own preferences plus advantages.

Dimensions: n = rows, d = width, v = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.algorithms.checks import check_weights
from sayso.errors import OptionValueError
from sayso.models.lm import LanguageModel
from sayso.sampling.backend import Guide
from sayso.sampling.base import Engine, Policy, SamplingOptions
from sayso.sampling.make import guided_engine

Advantage = Callable[[Tensor], Tensor]
"""From hidden states ``[n, d]`` to advantages ``[n, v]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActingOptions:
    """How values steer decoding; written in a run file under ``[algorithm.acting]``.

    Attributes:
        beta: Weight of advantages against the model's own log-probabilities, in nats per unit of
            reward; 0 is the model by itself. More is not always better: choose it by return, with
            ``sayso eval RUN --beta 0,1,4,16``.
        adv_clip_max: No advantage counts for more than this, in reward units; 0 only ever pushes
            tokens down. Unset: none is clipped. An advantage is min Q − V; ``token_dqn``'s is what
            a token is worth above the mean of those there are to choose from.
        topk_before: Only the model's own k likeliest tokens are looked at; 0: all.
            ``sampling.top_k`` filters afterwards.
    """

    beta: float = 16.0
    adv_clip_max: float | None = None
    topk_before: int = 0

    def at(self, beta: float | None) -> ActingOptions:
        """The same with another β, if one is given."""
        return self if beta is None else replace(self, beta=beta)

    def __post_init__(self) -> None:
        check_weights(beta=self.beta, topk_before=self.topk_before)
        if self.adv_clip_max is not None and not abs(self.adv_clip_max) < float("inf"):
            raise ValueError(f"adv_clip_max must be finite, got {self.adv_clip_max}")


@runtime_checkable
class Actable(Protocol):
    """A learner whose policy is more than the language model: values steer or choose."""

    def acting_as(self, *, greedy: bool = False) -> Policy:
        """Its policy, drawn or always the likeliest, whatever the options say.

        Where values steer decoding, ``beta`` says how strongly, instead of the options.
        """
        ...


def steered(
    logits: Float[Tensor, "n v"], advantage: Float[Tensor, "n v"], options: ActingOptions
) -> Float[Tensor, "n v"]:
    r"""Logits of the policy that values steer.

    .. math:: \log \pi_b(a|h) + \beta \min(A(h, a), c) \quad\text{for } a \in \text{top-}k
        \text{ of } \pi_b

    up to a constant of each row: without the clip the value of the context in A cancels. Where all
    advantages are 0 the logits are unchanged, bit for bit. Temperature and filters of
    ``[sampling]`` come after.

    Args:
        logits: The model's own.
        advantage: A = min_i Q_i − V, in reward units.
        options: β, c and k.

    Source:
        Snell et al. 2022, arXiv:2206.11871, sec. 4.4. Their evaluation on Wordle clips at c = 0.

    Tests:
        tests/math/test_acting.py
    """
    if options.adv_clip_max is not None:
        advantage = advantage.clamp(max=options.adv_clip_max)
    moved = logits + (options.beta * advantage).to(logits.dtype)
    if 0 < options.topk_before < logits.shape[-1]:
        best = logits.topk(options.topk_before, dim=-1).indices
        kept = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, best, value=True)
        moved = moved.masked_fill(~kept, -torch.inf)
    return moved


def steering(advantage: Advantage, options: ActingOptions) -> Guide:
    """``steered`` as a guide of an engine."""

    def guide(hidden: Tensor, logits: Tensor) -> Tensor:
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return steered(logits, advantage(hidden), options)

    return guide


def steered_engine(
    lm: LanguageModel, sampling: SamplingOptions, guide: Guide, *, greedy: bool = False
) -> Engine:
    """An engine that values steer.

    Args:
        lm: The model.
        sampling: How actions are drawn.
        guide: Adds the values.
        greedy: Always the likeliest token.

    Raises:
        OptionValueError: If it is to sample from int8 weights, of which the values know nothing.
    """
    if sampling.precision != "exact":
        raise OptionValueError(
            where="sampling.precision",
            problem=f"got {sampling.precision!r}, and values steer the exact model only.",
            fix='Use "exact".',
        )
    if greedy:
        sampling = replace(sampling, temperature=1.0, top_k=1, top_p=1.0, min_p=0.0)
    return guided_engine(lm, sampling, guide)
