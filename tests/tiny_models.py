"""Small random models of several architectures, each with a tokenizer: ``(model, tokenizer)``.

Their distributions are far from uniform, so that a wrong position or mask shows.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from sayso.models.options import TinyOptions
from sayso.models.seeding import seeded
from sayso.models.tiny import tiny_model, tiny_tokenizer

Pair = tuple[Any, PreTrainedTokenizerFast]

CONTEXT = 256
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""SmolLM2's and Qwen's format without the default system message."""


def tiny_llama(*, seed: int = 0, **changes: Any) -> Pair:
    """Llama type: rotary positions, grouped queries, head of its own."""
    return _built(LlamaConfig, seed, **(_rotary() | changes))


def tiny_qwen2(*, seed: int = 0, **changes: Any) -> Pair:
    """Qwen2 type: biases in attention, tied embeddings."""
    return _built(Qwen2Config, seed, **(_rotary() | {"tie_word_embeddings": True} | changes))


def tiny_qwen3(*, seed: int = 0, **changes: Any) -> Pair:
    """Qwen3 type: norms of queries and keys."""
    return _built(Qwen3Config, seed, **(_rotary() | changes))


def tiny_gemma2(*, seed: int = 0, **changes: Any) -> Pair:
    """Gemma2 type: eager attention with capped scores, capped logits, sliding window."""
    own = {"sliding_window": 64, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0}
    return _built(Gemma2Config, seed, **(_rotary() | own | changes))


def tiny_cohere(*, seed: int = 0, **changes: Any) -> Pair:
    """Cohere type: scaled logits."""
    return _built(CohereConfig, seed, **(_rotary() | {"logit_scale": 0.25} | changes))


def tiny_granite(*, seed: int = 0, **changes: Any) -> Pair:
    """Granite type: divided logits."""
    return _built(GraniteConfig, seed, **(_rotary() | {"logits_scaling": 4.0} | changes))


def tiny_gpt2(*, seed: int = 0, dropout: float = 0.0, **changes: Any) -> Pair:
    """GPT-2 type: absolute positions, tied embeddings, begin = end token, no padding token."""
    own = {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": CONTEXT,
        "initializer_range": 0.2,
        "attn_pdrop": dropout,
        "resid_pdrop": dropout,
        "embd_pdrop": dropout,
    }
    return _built(GPT2Config, seed, **(own | changes))


def tiny_chat(*, seed: int = 0, template: str = CHATML) -> Pair:
    """A byte-level Llama whose tokenizer has a chat template and knows its control tokens."""
    model, tokenizer = tiny_model(TinyOptions(width=32, context=1024), seed=seed)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
    )
    tokenizer.chat_template = template
    tokenizer.eos_token = "<|im_end|>"  # noqa: S105  # no secret
    with seeded(seed):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model, tokenizer


def in_double(network: Any) -> Any:
    """The same network in float64, norms included: theirs compute in float32 whatever they hold."""
    network.double()
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if hasattr(module, "variance_epsilon"):
                norm = torch.nn.RMSNorm(
                    len(module.weight), module.variance_epsilon, dtype=torch.float64
                )
                norm.weight = module.weight
                setattr(parent, name, norm)
    return network


ARCHITECTURES = {
    "llama": tiny_llama,
    "gpt2": tiny_gpt2,
    "qwen2": tiny_qwen2,
    "qwen3": tiny_qwen3,
}


def _rotary() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
    }


def _built(config_class: Any, seed: int, **options: Any) -> Pair:
    tokenizer = tiny_tokenizer((), context=CONTEXT)
    end = tokenizer.eos_token_id
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    config = config_class(vocab_size=len(tokenizer), **(ids | options))
    with seeded(seed):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model, tokenizer
