"""Can our cache drive this model? Asked once, before an engine is chosen."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from sayso.models.lm import LanguageModel
from sayso.sampling.cache import SlotCache
from sayso.sampling.forward import ChunkForward
from sayso.sampling.network import device_of, evaluating, num_embeddings, unwrapped

_LENGTHS = (5, 2, 4)
"""Tokens of the probe's rows: unequal, so that padding and positions matter."""


def why_not(lm: LanguageModel) -> str | None:
    """The reason why ``TorchEngine`` cannot sample from this model; ``None`` if it can.

    First what the model declares, then a trial: a few tokens through our cache, in two passes,
    against the plain pass over each row alone.
    """
    network = unwrapped(lm.network)
    return _declared(network) or _tried(lm, network)


def _declared(network: Any) -> str | None:
    """A reason that can be read off the model."""
    accepted = inspect.signature(network.forward).parameters
    missing = {"position_ids", "past_key_values", "attention_mask"} - accepted.keys()
    if missing:
        return f"its forward takes no {' and no '.join(sorted(missing))}"
    attention = getattr(network.config, "_attn_implementation", None)
    if attention not in ("eager", "sdpa"):
        return f"its attention implementation is {attention!r}, not 'sdpa' or 'eager'"
    layers = DynamicCache(config=network.config).layers
    others = sorted({type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer})
    if others:
        return f"it has layers that keep no plain list of keys and values ({', '.join(others)})"
    return None


def _tried(lm: LanguageModel, network: Any) -> str | None:
    """A reason that shows only when the model runs."""
    device, num_tokens = device_of(lm.network), num_embeddings(lm.network)
    rows = [[(7 * i + 3 * j) % num_tokens for j in range(n)] for i, n in enumerate(_LENGTHS)]
    slots = list(range(len(rows)))
    try:
        with evaluating(lm.network):
            forward, cache = ChunkForward(network, device), SlotCache(len(rows))
            forward(cache, slots, [0] * len(rows), [row[:-1] for row in rows])
            ours = forward(cache, slots, [n - 1 for n in _LENGTHS], [row[-1:] for row in rows])
            plain = [network(torch.tensor([row], device=device)).logits[0, -1] for row in rows]
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        return f"its forward fails with our cache ({type(error).__name__}: {error})"
    difference = (ours.float().log_softmax(-1) - torch.stack(plain).float().log_softmax(-1)).abs()
    largest = float(difference.max())
    tolerance = 1e-3 if network.dtype in (torch.float32, torch.float64) else 0.25
    if largest <= tolerance:
        return None
    return f"with our cache its log-probabilities are off by {largest:.2g} nats"
