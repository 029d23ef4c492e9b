"""The mode ``decode``: numbers between -1 and 1 become settings of the sampler.

Dimensions: n = rows, v = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.models.distribution import token_logprobs
from sayso.models.filters import Distribution

RANGES = {
    "temperature": (0.2, 2.0),
    "top_p": (0.5, 1.0),
    "repetition": (1.0, 1.5),
    "guidance": (0.5, 3.0),
}
"""Value at -1 and at +1; on the way geometric, but for ``top_p``, which is linear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """How one row is decoded. The defaults change nothing.

    Attributes:
        temperature: Divides the logits.
        top_p: Keep the likeliest tokens that make up this probability.
        repetition: Logits of tokens that the answer holds already are divided by it where they
            are positive and multiplied where they are negative.
        guidance: γ of classifier-free guidance: 1 is the model, more of it follows the prompt more.
        is_guided: Whether there is a second row without the prompt.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    repetition: float = 1.0
    guidance: float = 1.0
    is_guided: bool = False


def knobs_of(action: Sequence[float], names: Sequence[str]) -> Knobs:
    """Settings from an action in [-1, 1], one number per knob."""
    values: dict[str, float] = {}
    for name, number in zip(names, action, strict=True):
        low, high = RANGES[name]
        share = (min(1.0, max(-1.0, float(number))) + 1) / 2
        is_linear = name == "top_p"
        values[name] = (
            low + share * (high - low)
            if is_linear
            else math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        )
    return Knobs(**values, is_guided="guidance" in names)


def neutral(names: Sequence[str]) -> tuple[float, ...]:
    """The action under which the model speaks as it is: every knob at 1."""
    found = []
    for name in names:
        low, high = RANGES[name]
        share = (
            (1 - low) / (high - low)
            if name == "top_p"
            else -math.log(low) / (math.log(high) - math.log(low))
        )
        found.append(2 * share - 1)
    return tuple(found)


def decoded_logprobs(
    logits: Float[Tensor, "m v"], said: Sequence[Sequence[int]], knobs: Sequence[Knobs]
) -> Float[Tensor, "n v"]:
    r"""Log-probabilities (nats) that the next token of each row is drawn from.

    In this order: guidance
    :math:`\log p_\emptyset + \gamma(\log p - \log p_\emptyset)`, repetition penalty, temperature,
    top-p. The last two are ``models.distribution``'s.

    Args:
        logits: n rows, or 2n: the second half without the prompt.
        said: Tokens of each answer so far. Only these are penalised: a prompt holds the words
            that are asked for.
        knobs: Settings of each row.

    Source:
        Guidance: Sanchez et al. 2023, arXiv:2306.17806, eq. 7; repetition: Keskar et al. 2019,
        arXiv:1909.05858, sec. 4.1, there for the prompt's tokens too.

    Tests:
        tests/control/test_decoding.py
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    num_rows = len(knobs)
    own = logits[:num_rows]
    if len(logits) == 2 * num_rows:
        plain, free = own.log_softmax(-1), logits[num_rows:].log_softmax(-1)
        gamma = torch.tensor([k.guidance for k in knobs], dtype=own.dtype, device=own.device)
        own = torch.where(gamma[:, None] == 1, own, free + gamma[:, None] * (plain - free))
    rows = []
    for row, ids, settings in zip(own, said, knobs, strict=True):
        moved = _penalised(row, ids, settings.repetition)
        drawn_from = Distribution(temperature=settings.temperature, top_p=settings.top_p)
        rows.append(token_logprobs(moved[None], drawn_from))
    return torch.cat(rows)


def _penalised(
    logits: Float[Tensor, " v"], ids: Sequence[int], penalty: float
) -> Float[Tensor, " v"]:
    if penalty == 1 or not ids:
        return logits
    held = torch.tensor(sorted(set(ids)), device=logits.device)
    values = logits[held]
    return logits.index_copy(0, held, torch.where(values > 0, values / penalty, values * penalty))
