"""Attention along a forest on a CPU, forward and backward, without copies of a prompt.

A branch looks at its prompt and at itself. The two parts are computed apart, the first for all
branches of a tree at once, and joined by their log-sum-exp; what goes back needs no more than the
joined result. Kept for the way back: queries, keys, values, result, log-sum-exp, each once.

Dimensions: t = positions of a row, h = heads, k = key heads, d = width of a head, b = branches.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.models.forest import Forest

_ATEN = torch.ops.aten
IS_HERE = hasattr(_ATEN, "_scaled_dot_product_flash_attention_for_cpu") and hasattr(
    _ATEN, "_scaled_dot_product_flash_attention_for_cpu_backward"
)
"""Whether this PyTorch has the two operators behind its attention on a CPU."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Queries and the keys they look at.

    Attributes:
        query: Where the queries are in the row.
        key: Where the keys are.
        count: Texts of one length side by side.
        is_causal: Each query sees the keys up to its own place; else all of them.
    """

    query: slice
    key: slice
    count: int
    is_causal: bool


def tree_attention(
    query: Float[Tensor, "t h d"],
    key: Float[Tensor, "t k d"],
    value: Float[Tensor, "t k d"],
    forest: Forest,
    scale: float | None,
) -> Float[Tensor, "t h d"]:
    r"""Softmax attention in which every token sees the earlier ones of its own text.

    With parts A and B of the keys, their results o and log-sum-exps l:

    .. math:: o = e^{l_A - l} o_A + e^{l_B - l} o_B, \quad l = \log(e^{l_A} + e^{l_B})

    Going back, each part's gradient is that of attention with the joined o and l.

    Args:
        query: Scaled by ``scale`` inside.
        key: Fewer heads than queries may share.
        value: As many heads as keys.
        forest: How the row hangs together.
        scale: Unset: one over the root of the width.

    Source:
        Joining by log-sum-exp: Milakov and Gimelshein 2018, arXiv:1805.02867; for shared prompts:
        Juravsky et al. 2024, arXiv:2402.05099.

    Tests:
        tests/unit/test_attention.py
    """
    apply: Any = _TreeAttention.apply
    result: Tensor = apply(query, key, value, forest, scale)
    return result


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, forest: Forest, scale: float | None
    ) -> Tensor:
        out = torch.empty_like(query)
        total = torch.empty(  # in half precision the operators add up in float32
            query.shape[:2], dtype=torch.promote_types(query.dtype, torch.float32),
            device=query.device,
        )  # fmt: skip
        keys, values = _repeated(query, key, value)
        for part in _parts(forest):
            mixed, logsumexp = _ATEN._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
                _texts(query[part.query], part), _texts(keys[part.key], part),
                _texts(values[part.key], part), 0.0, part.is_causal, scale=scale,
            )  # fmt: skip
            found, where = _row(mixed), part.query
            own = logsumexp.transpose(1, 2).flatten(0, 1)
            if part.is_causal:  # every token is in one such part, and it comes first
                out[where], total[where] = found, own
                continue
            joined = torch.logaddexp(total[where], own)
            out[where] *= (total[where] - joined).exp()[..., None]
            out[where] += found * (own - joined).exp()[..., None]
            total[where] = joined
        ctx.save_for_backward(query, key, value, out, total)
        ctx.forest, ctx.scale = forest, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        query, key, value, out, total = ctx.saved_tensors
        keys, values = _repeated(query, key, value)
        into = [torch.empty_like(x) for x in (query, keys, values)]
        for part in _parts(ctx.forest):
            back = _ATEN._scaled_dot_product_flash_attention_for_cpu_backward(  # noqa: SLF001
                _texts(grads[0][part.query], part), _texts(query[part.query], part),
                _texts(keys[part.key], part), _texts(values[part.key], part),
                _texts(out[part.query], part), _texts(total[part.query], part), 0.0,
                part.is_causal, scale=ctx.scale,
            )  # fmt: skip
            for whole, where, found in zip(
                into, (part.query, part.key, part.key), back, strict=True
            ):
                if part.is_causal:
                    whole[where] = _row(found)
                else:
                    whole[where] += _row(found)
        shared = query.shape[1] // key.shape[1]
        if shared > 1:
            into[1:] = [x.view(len(x), -1, shared, x.shape[2]).sum(2) for x in into[1:]]
        return *into, None, None


def _parts(forest: Forest) -> Iterator[_Part]:
    """Prompts and branches, each over itself; then the branches of each tree over its prompt."""
    start = 0
    for prompt, branches in forest.trees:
        stem, rest = (
            slice(start, start + prompt),
            slice(start + prompt, start + prompt + sum(branches)),
        )
        if prompt:
            yield _Part(stem, stem, 1, is_causal=True)
        at = rest.start
        for length, group in itertools.groupby(branches):
            count = len([*group])
            if length:
                run = slice(at, at + count * length)
                yield _Part(run, run, count, is_causal=True)
                at = run.stop
        if prompt and rest.stop > rest.start:
            yield _Part(rest, stem, 1, is_causal=False)
        start = rest.stop


def _texts(x: Tensor, part: _Part) -> Tensor:
    """From tokens, heads, ... to texts, heads, tokens, ...; nothing is copied."""
    return x.view(part.count, -1, *x.shape[1:]).transpose(1, 2)


def _row(x: Tensor) -> Tensor:
    """Undo ``_texts``."""
    return x.transpose(1, 2).flatten(0, 1)


def _repeated(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values for every head of the queries."""
    shared = query.shape[1] // key.shape[1]
    if shared == 1:
        return key, value
    return key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
