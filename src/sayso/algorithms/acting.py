"""How learners of token values act: the language model's own preferences plus advantages.

Dimensions: n = rows, d = width, v = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.algorithms.options.acting import ActingOptions
from sayso.errors import OptionValueError
from sayso.models.lm import LanguageModel
from sayso.sampling.backend import Guide
from sayso.sampling.base import Engine, Policy
from sayso.sampling.make import guided_engine
from sayso.sampling.options import SamplingOptions

Advantage = Callable[[Tensor], Tensor]
"""From hidden states ``[n, d]`` to advantages ``[n, v]``."""


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
