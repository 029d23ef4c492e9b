"""The sampling distribution: ONE definition, used by sampling and by scoring alike.

Dimensions: n = positions, v = vocabulary.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sayso.models.filters import Distribution

_BLOCK = 256
"""Tokens per block of the cumulative sum."""


def token_logprobs(
    logits: Float[Tensor, "n v"], distribution: Distribution
) -> Float[Tensor, "n v"]:
    """Log-probabilities (nats) of every token under ``distribution``, at least fp32.

    Args:
        logits: Unnormalised scores of the model. Half precision is raised to fp32 first.
        distribution: Temperature and filters.

    Returns:
        Normalised log-probabilities; ``-inf`` for tokens that were filtered out. Gradients flow
        to the logits of the tokens that were kept; the choice of the kept set has no gradient.

    Source:
        top-p: Holtzman et al. 2019, arXiv:1904.09751; min-p: Nguyen et al. 2024,
        arXiv:2407.01082.

    Tests:
        tests/unit/test_distribution.py
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if distribution.temperature != 1:
        logits = logits / distribution.temperature
    if distribution.is_full:
        return logits.log_softmax(-1)
    kept = _kept(logits.detach().log_softmax(-1), distribution)
    return logits.masked_fill(~kept, -torch.inf).log_softmax(-1)


def inverse_cdf(logprobs: Float[Tensor, "n v"], uniform: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Token drawn in each row by inverting the cumulative distribution at one uniform number.

    The vocabulary is summed in blocks, and only the block that holds the answer is accumulated
    token by token: a cumulative sum over 49 152 entries costs ten times as much. A block's sum has
    the precision of ``logprobs``, as each probability has; what is accumulated is float64.

    Args:
        logprobs: Normalised log-probabilities; ``-inf`` entries are never drawn.
        uniform: One number in [0, 1) per row, float64.

    Returns:
        The first token whose cumulative probability exceeds ``uniform`` times the total.
    """
    num_tokens = logprobs.shape[-1]
    probabilities = logprobs.exp()
    if ragged := num_tokens % _BLOCK:
        probabilities = torch.nn.functional.pad(probabilities, (0, _BLOCK - ragged))
    blocks = probabilities.reshape(len(probabilities), -1, _BLOCK)
    upto = blocks.sum(-1).double().cumsum(-1)
    # Times the total: rounding may leave it a little off 1, and no draw may fall outside.
    threshold = uniform.to(upto)[:, None] * upto[:, -1:]
    block = _first_above(upto, threshold)
    before = torch.where(block > 0, upto.gather(-1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.take_along_dim(block[:, :, None], dim=1).squeeze(1).double().cumsum(-1)
    drawn = block * _BLOCK + _first_above(inside, threshold - before)
    return drawn.squeeze(-1).clamp(max=num_tokens - 1)


def _first_above(
    cumulative: Float[Tensor, "n k"], threshold: Float[Tensor, "n 1"]
) -> Int[Tensor, "n 1"]:
    """First entry above the threshold; if rounding leaves none, the last that adds anything."""
    first = torch.searchsorted(cumulative, threshold, right=True)
    last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())
    # The clamp only matters for NaN, which the caller must find in the log-probability it drew.
    return torch.minimum(first, last).clamp(max=cumulative.shape[-1] - 1)


def _kept(logprobs: Tensor, distribution: Distribution) -> Tensor:
    """True for tokens that survive the filters."""
    if distribution.top_k:
        k = min(distribution.top_k, logprobs.shape[-1])
        # By rank, not by value: ties must not let more than k tokens through.
        best = logprobs.topk(k, dim=-1).indices
        kept = torch.zeros_like(logprobs, dtype=torch.bool).scatter_(-1, best, value=True)
        logprobs = logprobs.masked_fill(~kept, -torch.inf).log_softmax(-1)
    if distribution.top_p < 1:
        ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        kept = torch.zeros_like(logprobs, dtype=torch.bool).scatter_(
            -1, order, before < distribution.top_p
        )
        logprobs = logprobs.masked_fill(~kept, -torch.inf).log_softmax(-1)
    if distribution.min_p:
        floor = logprobs.max(-1, keepdim=True).values + torch.log(
            torch.tensor(distribution.min_p, dtype=logprobs.dtype, device=logprobs.device)
        )
        logprobs = logprobs.masked_fill(logprobs < floor, -torch.inf)
    return logprobs != -torch.inf
