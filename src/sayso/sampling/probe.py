"""Can our cache drive this model? Asked once, before an engine is chosen."""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from sayso.models.lm import LanguageModel
from sayso.sampling.cache import SlotCache
from sayso.sampling.forward import ChunkForward
from sayso.sampling.network import device_of, evaluating, num_embeddings, unwrapped

_LENGTHS = (5, 2, 4)
"""Tokens of the probe's rows: unequal, so that padding and positions matter."""

_answers: WeakKeyDictionary[nn.Module, str | None] = WeakKeyDictionary()
"""A network is asked once: what it can do does not change with its weights."""


def why_not(lm: LanguageModel) -> str | None:
    """The reason why ``TorchEngine`` cannot sample from this model; ``None`` if it can.

    First what the model declares, then a trial: a few tokens through our cache, in two passes,
    against the plain pass over each row alone.
    """
    if lm.network not in _answers:
        network = unwrapped(lm.network)
        _answers[lm.network] = _declared(network, lm.max_context) or _tried(lm, network)
    return _answers[lm.network]


def trial_rows(lm: LanguageModel, num_tokens: int) -> list[list[int]]:
    """A few short rows of unequal length, at least two tokens each."""
    lengths = [max(2, min(n, lm.max_context)) for n in _LENGTHS]
    return [[(7 * i + 3 * j) % num_tokens for j in range(n)] for i, n in enumerate(lengths)]


def _declared(network: Any, max_context: int) -> str | None:
    """A reason that can be read off the model. A window as wide as the context is none."""
    accepted = inspect.signature(network.forward).parameters
    missing = {"position_ids", "past_key_values", "attention_mask"} - accepted.keys()
    if missing:
        return f"its forward takes no {' and no '.join(sorted(missing))}"
    attention = getattr(network.config, "_attn_implementation", None)
    if attention not in ("eager", "sdpa"):
        return f"its attention implementation is {attention!r}, not 'sdpa' or 'eager'"
    layers = DynamicCache(config=network.config).layers
    if "local" in (getattr(network.config, "attention_layers", None) or ()):
        return "it has local attention layers"
    others = sorted(
        {
            type(layer).__name__
            for layer in layers
            if type(layer) is not DynamicLayer
            and not (
                type(layer) is DynamicSlidingWindowLayer and layer.sliding_window >= max_context
            )
        }
    )
    if others:
        return f"it has layers that keep no plain list of keys and values ({', '.join(others)})"
    return None


def _tried(lm: LanguageModel, network: Any) -> str | None:
    """A reason that shows only when the model runs."""
    device = device_of(lm.network)
    rows = trial_rows(lm, num_embeddings(lm.network))
    lengths = [len(row) for row in rows]
    slots = list(range(len(rows)))
    try:
        with evaluating(lm.network):
            forward, cache = ChunkForward(network, device), SlotCache(len(rows))
            forward(cache, slots, [0] * len(rows), [row[:-1] for row in rows])
            ours = forward(cache, slots, [n - 1 for n in lengths], [row[-1:] for row in rows])
            plain = [network(torch.tensor([row], device=device)).logits[0, -1] for row in rows]
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        return f"its forward fails with our cache ({type(error).__name__}: {error})"
    difference = (ours.float().log_softmax(-1) - torch.stack(plain).float().log_softmax(-1)).abs()
    largest = float(difference.max())
    tolerance = 1e-3 if network.dtype in (torch.float32, torch.float64) else 0.25
    if largest <= tolerance:
        return None
    return f"with our cache its log-probabilities are off by {largest:.2g} nats"
