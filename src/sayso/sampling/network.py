"""Small questions about a Hugging Face network, asked by both engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sayso.errors import ModelError


def unwrapped(network: nn.Module) -> Any:
    """The causal LM itself. LoRA layers live inside it, so a peft wrapper adds nothing to a pass.

    Raises:
        ModelError: If the wrapper puts virtual tokens before the context (prompt learning).
    """
    base = getattr(network, "get_base_model", None)
    if base is None:
        return network
    config: Any = getattr(network, "active_peft_config", None)
    if getattr(config, "is_prompt_learning", False):
        raise ModelError(
            where=type(network).__name__,
            problem=f"its adapter is {type(config).__name__}, which prepends virtual tokens.",
            fix="Use a LoRA adapter.",
        )
    return base()


def num_embeddings(network: nn.Module) -> int:
    """Token ids below this number can be fed."""
    embedding: Any = unwrapped(network).get_input_embeddings()
    return int(embedding.weight.shape[0])


def device_of(network: nn.Module) -> torch.device:
    """Where the token embedding lives, hence where ids must be sent."""
    embedding: Any = unwrapped(network).get_input_embeddings()
    device: torch.device = embedding.weight.device
    return device


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """No dropout and no graph inside; every module is put back into the mode it was in.

    ``no_grad`` rather than ``inference_mode``: some networks keep tensors that they compute in a
    pass (rotary tables, for one), and those of inference mode would break the next backward.
    """
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
