"""Loading: a name, a directory or a (model, tokenizer) pair becomes a ``LanguageModel``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sayso.errors import ExtraMissingError, ModelError, ModelMissingError
from sayso.models import smollm2
from sayso.models.lm import LanguageModel
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions
from sayso.models.tiny import tiny_model
from sayso.seeds import derive

KNOWN_MODELS = {
    "smollm2": "SmolLM2-135M-Instruct, the default: cached, from the hub, or from its package",
    "tiny": "a small random Llama with a vocabulary of your own ([model.tiny]): tests and games",
}


def load(
    model: str | Path | tuple[Any, Any], options: ModelOptions | None = None, *, seed: int = 0
) -> LanguageModel:
    """A language model ready to train.

    Args:
        model: ``"smollm2"``, ``"tiny"``, a hub id, a directory, or ``(model, tokenizer)``.
        options: Precision and adapters. ``options.name`` is not looked at.
        seed: Decides random weights: of a tiny model, of a fresh adapter.

    Raises:
        ModelMissingError: If there is no such model, with what to run.
        ModelError: If it is there but cannot be used.
        ExtraMissingError: If adapters are asked for and peft is not installed.
    """
    options = options or ModelOptions()
    dtype: torch.dtype = getattr(torch, options.dtype)
    if isinstance(model, tuple):
        network, tokenizer = model
        network = network.to(dtype)
        name = str(getattr(network.config, "name_or_path", "") or type(network).__name__)
    elif str(model) == "tiny":
        name = "tiny"
        network, tokenizer = tiny_model(
            options.tiny or TinyOptions(), seed=derive(seed, "tiny weights"), dtype=dtype
        )
    else:
        name = str(model)
        network, tokenizer = _pretrained(
            smollm2.resolve() if name == "smollm2" else name, dtype=dtype
        )
    if options.lora is not None:
        network = add_lora(network, options.lora, seed=derive(seed, "lora weights"))
    lm = LanguageModel(network, tokenizer, name=name)
    lm.trainable()
    return lm


def add_lora(network: Any, options: LoraOptions, *, seed: int) -> Any:
    """The network with fresh adapters; they start as the identity, and only they train.

    Raises:
        ExtraMissingError: If peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ExtraMissingError(
            where="model.lora",
            problem="peft is not installed.",
            fix="Run: pip install 'sayso[lora]', or leave model.lora out to train every weight.",
        ) from error
    targets = options.target_modules
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(network, config, autocast_adapter_dtype=False)
    return wrapped


def _pretrained(name: str, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """Network and tokenizer of a hub id or directory; safetensors only, no remote code."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        network = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
    except OSError as error:
        message = str(error).strip().split("\n")[0]
        if Path(name).is_dir():
            raise ModelError(
                where=f"model {name}",
                problem=f"cannot be loaded: {message}",
                fix=(
                    "The directory must hold config.json, tokenizer files and *.safetensors weights; "
                    "pickled weights (*.bin) are not read, convert them with save_pretrained."
                ),
            ) from error
        raise ModelMissingError(
            where=f"model {name}",
            problem=f"was not found: {message}",
            fix="Pass smollm2, tiny, a directory, or a hub id that can be reached.",
        ) from error
    return network, tokenizer
