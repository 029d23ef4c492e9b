"""Low-rank adapters, through peft (the extra ``lora``)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sayso.errors import ExtraMissingError, ModelError
from sayso.models.options import LoraOptions
from sayso.models.seeding import seeded

POLICY_ADAPTER = "default"
"""Name of the adapters that ``add_lora`` makes: what acts, and what is saved as the policy."""


def add_lora(network: Any, options: LoraOptions, *, seed: int, task: str = "CAUSAL_LM") -> Any:
    """The network with fresh adapters; they start as the identity, and only they train.

    Args:
        network: A causal LM or, with another task, an encoder; its layers are changed in place.
        options: Rank, scale and layers.
        seed: Decides the adapters' first weights.
        task: peft's name for what the network does.

    Raises:
        ExtraMissingError: If peft is not installed.
        ModelError: If there are adapters already, no layer has the names asked for, or a layer is
            asked for that shares its weights with another.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ExtraMissingError(
            where="model.lora",
            problem="peft is not installed.",
            fix="Run: pip install 'sayso[lora]', or leave model.lora out to train every weight.",
        ) from error
    if hasattr(network, "get_base_model"):
        raise ModelError(
            where="model.lora",
            problem="the model has adapters already.",
            fix="Leave model.lora out, or merge them first with merge_and_unload().",
        )
    targets = options.target_modules
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
        # GPT-2's layers hold their weights transposed.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
        task_type=task,
    )
    _refuse_tied(network, targets)
    try:
        with seeded(seed), warnings.catch_warnings():
            # peft asks transformers a question by the name it had before 5.20.
            warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
            wrapped = get_peft_model(network, config)
    except ValueError as error:
        raise ModelError(
            where="model.lora.target_modules",
            problem=f"{targets!r} does not fit this model: {error}",
            fix='Use "all-linear", or names of its linear layers.',
        ) from error
    return wrapped


def add_another(network: Any, name: str, *, seed: int) -> None:
    """A second reader on the same weights: fresh adapters shaped like the policy's.

    They start as the identity and train; the policy's stay active. If they exist, they stay.

    Args:
        network: A peft model.
        name: What to call them; no dots.
        seed: Decides their first weights.

    Raises:
        ModelError: If the model has no adapters.
    """
    if not hasattr(network, "get_base_model"):
        raise ModelError(
            where="model.lora",
            problem=f"is unset, so there is nothing to hold the adapter {name!r}.",
            fix="Set model.lora, or let the critic read the frozen model.",
        )
    if name not in network.peft_config:
        with seeded(seed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
            network.add_adapter(name, copy.deepcopy(network.peft_config[POLICY_ADAPTER]))
    for parameter in adapter_weights(network, name).values():
        parameter.requires_grad_(True)  # noqa: FBT003


def adapter_weights(network: Any, name: str) -> dict[str, nn.Parameter]:
    """The weights of one adapter by layer and factor, in an order that all adapters share."""
    mark = f".{name}."
    return {
        n.replace(mark, "."): p
        for n, p in network.named_parameters()
        if mark in n and ".lora_" in n
    }


@contextmanager
def reading_with(network: Any, name: str, *, trains: bool) -> Iterator[None]:
    """Inside, forwards go through the adapters of this name instead of the policy's.

    Not peft's ``set_adapter``, which switches off the gradients of all others, as does its
    ``disable_adapter``: here those of the named ones are set anew each time.
    """
    layers = [module for module in network.modules() if hasattr(module, "lora_A")]
    before = [list(layer.active_adapters) for layer in layers]
    for parameter in adapter_weights(network, name).values():
        parameter.requires_grad_(trains)
    for layer in layers:
        layer._active_adapter = [name]  # noqa: SLF001
    try:
        yield
    finally:
        for layer, names in zip(layers, before, strict=True):
            layer._active_adapter = names  # noqa: SLF001


def _refuse_tied(network: Any, targets: str | tuple[str, ...]) -> None:
    """Adapters of a tied layer are lost when they are merged: the two layers are saved as one."""
    if targets == "all-linear" or not getattr(network.config, "tie_word_embeddings", False):
        return
    tied = (network.get_input_embeddings(), network.get_output_embeddings())
    names = [name for name, module in network.named_modules() if module in tied]
    asked = (targets,) if isinstance(targets, str) else targets
    wrong = [n for n in names if n in asked or n.rsplit(".", 1)[-1] in asked]
    if wrong:
        raise ModelError(
            where="model.lora.target_modules",
            problem=f"{', '.join(wrong)} shares its weights between input and output.",
            fix='Leave it out, for example with "all-linear".',
        )


def low_rank(module: Any) -> tuple[Tensor, Tensor] | None:
    """Factors of a layer's adapters, ``[r, depth]`` and ``[columns, r]`` (scaled), or ``None``."""
    names = getattr(module, "active_adapters", None)
    if not names or module.disable_adapters or module.merged:
        return None
    names = [name for name in names if name in module.lora_A]
    if not names:
        return None
    down = [module.lora_A[name].weight for name in names]
    up = [module.lora_B[name].weight * module.scaling[name] for name in names]
    return torch.cat(down).float(), torch.cat(up, dim=1).float()
