"""Tiny models of every kind, an engine's driver, and a scorer that shares no code with sayso."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from sayso.models.filters import Distribution
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.tiny import tiny_tokenizer
from sayso.sampling.base import Completion, Engine, Request
from sayso.sampling.hf_engine import HFEngine
from sayso.sampling.native.backend import NativeBackend
from sayso.sampling.native.probe import why_not_native
from sayso.sampling.torch_engine import TorchEngine

KINDS = ("llama", "gpt2", "qwen2", "qwen3", "mistral", "smollm3")


def native_engine(lm: LanguageModel, how: Distribution, *, max_rows: int, **kwargs: Any) -> Engine:
    """Our engine over the compiled kernels, exact."""
    assert why_not_native(lm, is_int8=False) is None
    backend = NativeBackend(lm, how, is_int8=False)
    return TorchEngine(lm, how, max_rows=max_rows, backend=backend, **kwargs)


ENGINES = {"torch": TorchEngine, "hf": HFEngine, "native": native_engine}
NUM_TOKENS = 37
EOS = (3, 5)
CONTEXT = 160


FOREST = Forest(((5, (3, 3, 4, 1, 3)), (1, (2,)), (4, ()), (7, (6, 6))))


def row(forest: Forest) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids of a packed row, and their positions."""
    position = []
    for prompt, branches in forest.trees:
        position += range(prompt)
        for branch in branches:
            position += range(prompt, prompt + branch)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(NUM_TOKENS, (1, forest.num_tokens), generator=generator)
    return ids, torch.tensor([position])


def network(kind: str, *, num_tokens: int = NUM_TOKENS, seed: int = 0, dropout: float = 0.0) -> Any:
    """A random causal LM whose distributions are far from uniform."""
    torch.manual_seed(seed)
    rotary = {
        "vocab_size": num_tokens,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": CONTEXT,
        "attention_dropout": dropout,
        "initializer_range": 0.25,
        "bos_token_id": 0,
        "eos_token_id": EOS[0],
        "tie_word_embeddings": False,
    }
    built: Any
    if kind == "llama":
        built = LlamaForCausalLM(LlamaConfig(**rotary))
    elif kind == "mistral":
        built = MistralForCausalLM(MistralConfig(**rotary, sliding_window=None))
    elif kind == "smollm3":
        # Deeper, to have both kinds of layers; milder, or float32 itself is off by 2e-5.
        sizes = rotary | {"num_hidden_layers": 4, "initializer_range": 0.2, "pad_token_id": 0}
        built = SmolLM3ForCausalLM(SmolLM3Config(**sizes, no_rope_layer_interval=2))
    elif kind == "qwen2":
        built = Qwen2ForCausalLM(Qwen2Config(**rotary))
    elif kind == "qwen3":
        built = Qwen3ForCausalLM(Qwen3Config(**rotary))
    else:
        config = GPT2Config(
            vocab_size=num_tokens,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=CONTEXT,
            initializer_range=0.3,
            attn_pdrop=dropout,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            bos_token_id=0,
            eos_token_id=EOS[0],
            tie_word_embeddings=False,
        )
        built = GPT2LMHeadModel(config)
    return built.eval()


def language_model(
    net: Any, *, stop_ids: Sequence[int] = (), context: int = CONTEXT
) -> LanguageModel:
    """Token i is letter i, the last one is ``<end>``; stops only at ``stop_ids``."""
    num_tokens = net.get_input_embeddings().weight.shape[0]
    letters = tuple(chr(ord("A") + i) for i in range(num_tokens - 1))
    lm = LanguageModel(net, tiny_tokenizer(letters, context=context), name="tiny-model")
    lm.stop_ids = tuple(stop_ids)
    lm.chat.stop_ids = frozenset(stop_ids)
    lm.max_context = context
    return lm


class Fed:
    """Shapes of all passes of a network, rows by columns."""

    def __init__(self, net: Any) -> None:
        self.shapes: list[tuple[int, int]] = []
        net.get_input_embeddings().register_forward_pre_hook(
            lambda _, inputs: self.shapes.append(tuple(inputs[0].shape))
        )


def prompts(count: int, *, seed: int = 0, num_tokens: int = NUM_TOKENS) -> list[tuple[int, ...]]:
    """Prompts of very different lengths, 1 to 29 tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [1 + (7 * i + 11 * seed) % 29 for i in range(count)]
    return [
        tuple(torch.randint(num_tokens, (length,), generator=generator).tolist())
        for length in lengths
    ]


def request(name: str, ids: Sequence[int], *, seed: int = 0, budget: int = 8) -> Request:
    return Request(session=name, new_ids=tuple(ids), seed=seed, max_new_tokens=budget)


def drain(engine: Engine, requests: Sequence[Request]) -> dict[str, Completion]:
    """Submit, poll until nothing is left; completions by session."""
    for one in requests:
        engine.submit(one)
    done: dict[str, Completion] = {}
    while batch := engine.poll():
        for completion in batch:
            assert completion.session not in done
            done[completion.session] = completion
    return done


def rescored(net: Any, context: Sequence[int], action: Sequence[int], how: Distribution) -> Any:
    """Log-probability of each action token: one plain pass over the row alone, no cache.

    Truncation is written out token by token in Python, on purpose unlike the library's.
    """
    with torch.no_grad():
        logits = net(torch.tensor([[*context, *action]])).logits[0].double()
    found = []
    for i, token in enumerate(action):
        row = (logits[len(context) - 1 + i] / how.temperature).tolist()
        order = sorted(range(len(row)), key=lambda j: -row[j])
        kept = order[: how.top_k] if how.top_k else order
        weight = {j: math.exp(row[j] - row[order[0]]) for j in kept}
        if how.top_p < 1:
            total, mass, nucleus = sum(weight.values()), 0.0, {}
            for j in kept:
                if mass >= how.top_p * total:
                    break
                nucleus[j] = weight[j]
                mass += weight[j]
            weight = nucleus
        if how.min_p:
            top = max(weight.values())
            weight = {j: w for j, w in weight.items() if w >= how.min_p * top}
        found.append(math.log(weight[token] / sum(weight.values())))
    return torch.tensor(found, dtype=torch.float64)
