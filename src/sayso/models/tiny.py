"""Small random models with a vocabulary of one's own: tests, games and proofs need no weights."""

from __future__ import annotations

import re
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from sayso.models.options import TinyOptions
from sayso.models.seeding import seeded

END = "<end>"


def tiny_tokenizer(
    tokens: str | tuple[str, ...], *, context: int = 1024
) -> PreTrainedTokenizerFast:
    """One token per symbol, longest match first; anything else in a text is dropped.

    Args:
        tokens: The symbols (or an alphabet of characters), ids in order. Empty: the 256 bytes, so
            nothing is dropped.
        context: Recorded as the tokenizer's longest input.

    Returns:
        A fast tokenizer whose begin, end and padding token are one symbol with the last id.
    """
    if tokens:
        vocabulary = {symbol: i for i, symbol in enumerate((*tokens, END))}
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
        by_length = sorted(tokens, key=len, reverse=True)
        pattern = Regex("|".join(re.escape(symbol) for symbol in by_length))
        backend.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="removed", invert=True)
        backend.decoder = decoders.Fuse()
    else:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {symbol: i for i, symbol in enumerate((*alphabet, END))}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = fast(
        tokenizer_object=backend,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    return tokenizer


def tiny_model(
    options: TinyOptions, *, seed: int, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A random Llama of the given shape; the global random state is left alone."""
    tokenizer = tiny_tokenizer(options.tokens, context=options.context)
    end: Any = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.width,
        intermediate_size=4 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads or options.heads,
        max_position_embeddings=options.context,
        bos_token_id=end,
        eos_token_id=end,
        # Not the end symbol: torch zeroes a padding row and keeps gradients from it, and every
        # prompt of this model begins with that symbol.
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    with seeded(seed):
        network: Any = LlamaForCausalLM(config)
        network.to(dtype)
        if dtype == torch.float64:
            _norm_precisely(network)
    return network, tokenizer


def _norm_precisely(network: torch.nn.Module) -> None:
    """Llama's own norm computes in fp32 whatever its weights are; proofs need all of fp64."""
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, LlamaRMSNorm):
                width, epsilon = module.weight.shape[0], module.variance_epsilon
                norm = torch.nn.RMSNorm(width, epsilon, dtype=module.weight.dtype)
                setattr(parent, name, norm)
