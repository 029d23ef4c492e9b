"""Where each family of models keeps what a decoder needs: a table, not branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Attribute paths, from the causal LM or from one of its layers.

    Attributes:
        body: The transformer without its head.
        layers: List of layers, from the body.
        embedding: Token embedding, from the body.
        positions: Table of learned positions, from the body; empty: rotary.
        rotary: Module that gives cosines and sines, from the body; empty: none.
        final_norm: Norm before the head, from the body.
        attention: Attention module, from a layer.
        before_attention, before_mlp: Norms, from a layer.
        qkv: Projections to queries, keys and values, from a layer, in this order.
        out: Projection of the attention's result, from a layer.
        query_norm, key_norm: Norms per head, from a layer, where a layer has them.
        up: Projections into the MLP, from a layer; two: gate, then up.
        down: Projection out of the MLP, from a layer.
        activations: Names of the activation that the kernel computes.
    """

    body: str = "model"
    layers: str = "layers"
    embedding: str = "embed_tokens"
    positions: str = ""
    rotary: str = "rotary_emb"
    final_norm: str = "norm"
    attention: str = "self_attn"
    before_attention: str = "input_layernorm"
    before_mlp: str = "post_attention_layernorm"
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    out: str = "self_attn.o_proj"
    query_norm: str = "self_attn.q_norm"
    key_norm: str = "self_attn.k_norm"
    up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    activations: tuple[str, ...] = ("silu", "swish")


ROTARY = Family()
FAMILIES = {
    "llama": ROTARY,
    "mistral": ROTARY,
    "qwen2": ROTARY,
    "qwen3": ROTARY,
    "smollm3": ROTARY,
    "gpt2": Family(
        body="transformer",
        layers="h",
        embedding="wte",
        positions="wpe",
        rotary="",
        final_norm="ln_f",
        attention="attn",
        before_attention="ln_1",
        before_mlp="ln_2",
        qkv=("attn.c_attn",),
        out="attn.c_proj",
        up=("mlp.c_fc",),
        down="mlp.c_proj",
        activations=("gelu_new", "gelu_pytorch_tanh"),
    ),
}
"""By ``config.model_type``."""

_FIXED_ROTARY = ("default", "linear", "llama3", "yarn")
"""Rotary tables that do not change with the length of the text."""


def find(module: Any, path: str) -> Any:
    """The attribute at a dotted path; ``None`` if there is none."""
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def why_no_family(network: Any, max_context: int) -> str | None:
    """The reason why the kernels cannot run this causal LM; ``None`` if they can."""
    config = network.config
    family = FAMILIES.get(config.model_type)
    if family is None:
        return f"architecture {config.model_type!r} is not among {', '.join(FAMILIES)}"
    weights = list(network.parameters())
    if any(w.dtype != torch.float32 or w.device.type != "cpu" for w in weights):
        return "its weights are not all float32 on the CPU"
    checks = (_wrong_layers, _wrong_options)
    return next((r for check in checks if (r := check(network, family, max_context))), None)


def _wrong_layers(network: Any, family: Family, max_context: int) -> str | None:
    del max_context
    for layer in find(network, f"{family.body}.{family.layers}"):
        for path in (*family.qkv, family.out, *family.up, family.down):
            plain = getattr(find(layer, path), "base_layer", find(layer, path))
            if type(plain) not in (nn.Linear, Conv1D):
                return f"its layer {path} is a {type(plain).__name__}"
    return None


def _wrong_options(network: Any, family: Family, max_context: int) -> str | None:
    config = network.config
    activation = getattr(config, "hidden_act", None) or getattr(config, "activation_function", None)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    window = getattr(config, "sliding_window", None)
    slides = bool(kinds) or config.model_type == "mistral"
    by_layer = getattr(config, "scale_attn_by_inverse_layer_idx", False)
    is_scaled = getattr(config, "scale_attn_weights", True)
    scaled = [n for n in ("logit_scale", "final_logit_softcapping") if getattr(config, n, None)]
    faults = {
        f"its activation is {activation!r}": activation not in family.activations,
        f"its rotary positions are of type {rope.get('rope_type')!r}": bool(family.rotary)
        and rope.get("rope_type", "default") not in _FIXED_ROTARY,
        "its rotary positions cover a part of each head": rope.get("partial_rotary_factor", 1) != 1,
        f"it has layers of type {', '.join(sorted(kinds))}": bool(kinds - {"sliding_attention"}),
        f"its attention has a window of {window}": slides
        and window is not None
        and window < max_context,
        "its attention is scaled by layer": by_layer or not is_scaled,
        "its logits are scaled": bool(scaled),
    }
    return next((fault for fault, is_so in faults.items() if is_so), None)
