"""What a work needs at least: operations of an update, seconds of a decode step at the roofline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A model by what it multiplies.

    Attributes:
        trunk: Weights of the linear layers, head and adapters left out.
        head: Weights of the head, tied or not.
        adapters: Weights of low-rank adapters.
        attention: Query heads times their width, over all layers.
        kv: Keys and values of one position, over all layers.
        is_frozen: Only the adapters train.
    """

    trunk: int
    head: int
    adapters: int
    attention: int
    kv: int
    is_frozen: bool


def sizes(lm: LanguageModel) -> Sizes:
    """Count them."""
    network, config = lm.causal_lm, lm.causal_lm.config
    head = network.get_output_embeddings().weight
    trunk = adapters = 0
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module.weight is not head:
            if ".lora_" in name:
                adapters += module.weight.numel()
            else:
                trunk += module.weight.numel()
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return Sizes(
        trunk=trunk, head=head.numel(), adapters=adapters, attention=layers * heads * width,
        kv=2 * layers * key_heads * width, is_frozen=lm.has_adapter,
    )  # fmt: skip


def trunk_shapes(lm: LanguageModel) -> list[tuple[int, int]]:
    """Outputs and inputs of the different linear layers of the trunk, smallest first."""
    head = lm.causal_lm.get_output_embeddings()
    found: set[tuple[int, int]] = set()
    for name, module in lm.causal_lm.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head and ".lora_" not in name:
            shape: Any = module.weight.shape
            found.add(tuple(shape[::-1] if isinstance(module, Conv1D) else shape))
    return sorted(found, key=lambda shape: (shape[0] * shape[1], shape))


def visible_pairs(forests: Iterable[Forest]) -> int:
    """Pairs of a token and one that it may look at, itself included."""
    total = 0
    for forest in forests:
        for prompt, branches in forest.trees:
            total += prompt * (prompt + 1) // 2
            total += sum(n * prompt + n * (n + 1) // 2 for n in branches)
    return total


def update_flops(model: Sizes, *, tokens: int, actions: int, pairs: int) -> float:
    r"""Useful operations of an update: each prompt once, no padding, nothing computed twice.

    .. math:: 6 N_{trunk} t + 6 N_{head} n + 12 d\,p

    for t tokens, n of them actions, p visible pairs and d = ``Sizes.attention``: 2 operations a
    weight forward and 4 going back; 4 a pair (scores and sums) forward and 8 back. Frozen weights
    need no gradient of their own: 4 instead of 6, and 6 for the adapters.

    Args:
        model: Of the model.
        tokens: Different tokens.
        actions: Positions whose logits are needed.
        pairs: As ``visible_pairs`` counts them.
    """
    each = 4 if model.is_frozen else 6
    linear = each * model.trunk + 6 * model.adapters
    return linear * tokens + each * model.head * actions + 12.0 * model.attention * pairs


def decode_roofline_s(
    model: Sizes,
    *,
    rows: int,
    positions_read: int,
    weight_bytes: int,
    kv_bytes: int,
    ops_per_s: float,
    bytes_per_s: float,
) -> float:
    r"""Least seconds of one decode step.

    .. math:: \max(N b / W, 2 N B / F) + p\,k\,c / W

    Args:
        model: Of the model; N is trunk, head and adapters.
        rows: B.
        positions_read: p: a prompt that several rows share is read once for all of them.
        weight_bytes: b, of one weight.
        kv_bytes: c, of one of the k numbers that are keys and values of a position.
        ops_per_s: F.
        bytes_per_s: W.
    """
    weights = model.trunk + model.head + model.adapters
    linear = max(weights * weight_bytes / bytes_per_s, 2 * weights * rows / ops_per_s)
    return linear + kv_bytes * positions_read * model.kv / bytes_per_s
