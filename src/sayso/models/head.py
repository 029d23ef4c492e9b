"""Log-probabilities through a language model's head, with the gradient formed on the way.

Dimensions: n = chosen positions, d = width, v = vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sayso.kernels.library import CompileError, library

BLOCK = 128
"""Positions whose logits exist at a time, when they are not kept."""
KEPT_BYTES = 256 << 20
"""Memory for probabilities that the head's own gradient needs; beyond it they are made again."""


def head_logprobs(
    hidden: Float[Tensor, "n d"],
    weight: Float[Tensor, "v d"],
    target: Int[Tensor, " n"],
    *,
    temperature: float,
) -> Float[Tensor, " n"]:
    r"""Log-probability (nats) of each target under softmax(h W^T / T).

    .. math:: \nabla_h \log p_y = (W_y - \textstyle\sum_v p_v W_v) / T

    needs no loss, so it is formed in the forward pass, block by block, and the logits are not made
    again going back. Only where the head itself trains are the probabilities kept, for its own
    gradient, up to ``KEPT_BYTES``; those beyond are computed again. No second derivative.

    Args:
        hidden: Last hidden states.
        weight: The head, without bias.
        target: Token ids.
        temperature: Divides the logits.

    Source:
        The same rearrangement as in "cut" cross-entropy kernels: Wijmans et al. 2024,
        arXiv:2411.09009; here for the log-probability itself, whose factor comes later.

    Tests:
        tests/unit/test_head.py
    """
    apply: Any = _HeadLogprobs.apply
    result: Tensor = apply(hidden, weight, target, temperature)
    return result


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, temperature: float
    ) -> Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        num, num_tokens = len(hidden), len(weight)
        most = KEPT_BYTES // (num_tokens * hidden.element_size()) // BLOCK * BLOCK
        num_kept = min(num, most) if needs_weight else 0
        kept = hidden.new_empty(num_kept, num_tokens)
        room = hidden.new_empty(min(BLOCK, num - num_kept), num_tokens)
        logprob = hidden.new_empty(num)
        slope = torch.empty_like(hidden) if needs_hidden else None
        for part in _blocks(num):
            place = kept[part] if part.start < num_kept else room[: part.stop - part.start]
            torch.mm(hidden[part], weight.T, out=place)
            logprob[part] = _softmax_(place, target[part], temperature)
            if slope is not None:
                torch.sub(weight[target[part]], place @ weight, out=slope[part])
        ctx.save_for_backward(hidden, slope, kept, target, weight)
        ctx.temperature = temperature
        return logprob

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        hidden, slope, kept, target, weight = ctx.saved_tensors
        factor = (grads[0] / ctx.temperature)[:, None]
        grad_hidden = slope * factor if slope is not None else None
        if not ctx.needs_input_grad[1]:
            return grad_hidden, None, None, None
        scaled = hidden * factor
        num_kept = len(kept)
        grad_weight = torch.mm(kept.T, scaled[:num_kept]).neg_()
        for part in _blocks(len(hidden), num_kept):
            again = hidden[part] @ weight.T
            _softmax_(again, target[part], ctx.temperature)
            grad_weight.addmm_(again.T, scaled[part], alpha=-1)
        grad_weight.index_add_(0, target, scaled)
        return grad_hidden, grad_weight, None, None


def _blocks(num: int, start: int = 0) -> Iterator[slice]:
    """Slices of at most ``BLOCK`` positions."""
    for first in range(start, num, BLOCK):
        yield slice(first, min(first + BLOCK, num))


def _softmax_(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Logits to probabilities in place; log-probability of each target."""
    if logits.dtype == torch.float32 and logits.device.type == "cpu" and logits.is_contiguous():
        try:
            calls = library().calls
        except CompileError:
            pass
        else:
            logprob = torch.empty(len(logits))
            target = target.contiguous()
            calls.sayso_softmax(
                logits.data_ptr(), *logits.shape, 1 / temperature, target.data_ptr(),
                logprob.data_ptr(), torch.get_num_threads(),
            )  # fmt: skip
            return logprob
    logits.div_(temperature)
    chosen = logits.gather(-1, target[:, None]).squeeze(-1)
    total = logits.logsumexp(-1)
    logits.sub_(total[:, None]).exp_()
    return chosen - total
