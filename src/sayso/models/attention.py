"""Attention over packed trees: a prompt once, each branch over the prompt and itself, nothing else.

Dimensions: t = positions of a row, h = heads, k = key heads, d = width of a head, b = branches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # everybody's name for it
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sayso.models import tree_attention
from sayso.models.forest import Forest, Run

NAME = "sayso_forest"
MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3", "gpt2"})
"""Families whose attention was checked to be this function of queries, keys and values."""


_current: ContextVar[Forest | None] = ContextVar("forest", default=None)


def can_attend(config: Any) -> bool:
    """Whether ``attending`` may be used with a model of this configuration."""
    is_known = config.model_type in MODEL_TYPES
    return is_known and config._attn_implementation == "sdpa"  # noqa: SLF001  # no public name


@contextmanager
def attending(config: Any, forest: Forest) -> Iterator[Tensor]:
    """Inside, the model attends along ``forest``; yields the mask to hand it, which says nothing.

    A dense mask computes every pair of a row, and most of them see nothing of each other.
    """
    before = config._attn_implementation  # noqa: SLF001
    token = _current.set(forest)
    config._attn_implementation = NAME  # noqa: SLF001
    try:
        yield torch.ones(1, 1, 1, 1, dtype=torch.bool)
    finally:
        config._attn_implementation = before  # noqa: SLF001
        _current.reset(token)


def _forest_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """The signature of transformers' attention functions; tensors are ``[1, heads, t, d]``."""
    del module, attention_mask
    forest = _current.get()
    if forest is None or query.shape[2] != forest.num_tokens:
        raise RuntimeError("forest attention outside of attending(), or over another row")
    scale = kwargs.get("scaling")
    is_one_kind = query.dtype == key.dtype == value.dtype and not torch.is_autocast_enabled("cpu")
    if query.device.type == "cpu" and is_one_kind and tree_attention.IS_HERE:
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        return tree_attention.tree_attention(q, k, v, forest, scale)[None], None
    per_key = query.shape[1] // key.shape[1]
    if per_key > 1:
        key, value = (x.repeat_interleave(per_key, dim=1) for x in (key, value))
    runs = forest.runs()
    # One split, not many slices: going back, each slice would fill a gradient of the whole row.
    sizes = [run.count * run.length for run in runs]
    pieces = [torch.split(x[0], sizes, dim=1) for x in (query, key, value)]
    out: list[Tensor] = []
    prompt = (key[0, :, :0], value[0, :, :0])
    for run, q, k, v in zip(runs, *pieces, strict=True):
        if run.is_prompt:
            prompt = (k, v)
            out.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale))
        else:
            out.append(_branches(q, k, v, prompt, run, scale))
    return torch.cat(out, dim=1).transpose(0, 1)[None], None


def _branches(
    query: Tensor, key: Tensor, value: Tensor, prompt: tuple[Tensor, Tensor], run: Run,
    scale: float | None,
) -> Tensor:  # fmt: skip
    """Branches of one length side by side: ``[h, b * n, d]`` in and out."""
    q, k, v = (
        x.reshape(len(x), run.count, run.length, -1).transpose(0, 1) for x in (query, key, value)
    )
    num_before = prompt[0].shape[1]
    k, v = (
        torch.cat([before[None].expand(run.count, -1, -1, -1), own], dim=2)
        for before, own in zip(prompt, (k, v), strict=True)
    )
    mask = torch.ones(run.length, num_before + run.length, dtype=torch.bool, device=query.device)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.tril(num_before), scale=scale)
    return mixed.transpose(0, 1).flatten(1, 2)


ALL_ATTENTION_FUNCTIONS.register(NAME, _forest_attention)
