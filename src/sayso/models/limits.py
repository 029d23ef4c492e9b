"""What a model's configuration says about where contexts and answers end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sayso.errors import ModelError

END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|endoftext|>",
)
"""Tokens that end an answer in common chat formats, whether or not the model's files say so."""


def stop_ids(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends an answer: of the tokenizer, of the model, of its generation config."""
    found: set[int] = set()
    generation = getattr(network, "generation_config", None)
    for ids in (
        tokenizer.eos_token_id,
        getattr(network.config, "eos_token_id", None),
        getattr(generation, "eos_token_id", None),
    ):
        found.update(ids if isinstance(ids, list | tuple) else [ids] if ids is not None else [])
    added = tokenizer.get_added_vocab()
    found.update(added[name] for name in END_OF_TURN if name in added)
    return tuple(sorted(found))


def max_context(config: Any) -> int:
    """Most tokens of a context for which sampling and scoring compute the same thing.

    That is the number of positions; or the window, if attention slides or comes in chunks; or the
    length from which rotary frequencies depend on the other rows of a batch (``longrope`` and
    ``dynamic`` scaling).

    Raises:
        ModelError: If the configuration does not say, or has local attention by place in the row
            (GPT-Neo), which packed rows would feed wrongly.
    """
    if "local" in (getattr(config, "attention_layers", None) or ()):
        raise ModelError(
            where=type(config).__name__,
            problem="has local attention layers, which several texts in one row would confuse.",
            fix="Use a model with full attention, for example of the Llama, Qwen or GPT-2 type.",
        )
    known = [int(limit) for limit in _limits(config) if limit]
    if not known:
        raise ModelError(
            where=type(config).__name__,
            problem="does not say how long a context may be.",
            fix="Set config.max_position_embeddings.",
        )
    return min(known)


def _limits(config: Any) -> Iterator[Any]:
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"):
        yield getattr(config, name, None)
    if getattr(config, "use_sliding_window", True):
        yield getattr(config, "sliding_window", None)
    yield getattr(config, "attention_chunk_size", None)
    rotary = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [part for part in rotary.values() if isinstance(part, dict)]
    for part in (rotary, *by_layer_type):
        if part.get("rope_type") in ("longrope", "dynamic"):
            yield part.get("original_max_position_embeddings")
