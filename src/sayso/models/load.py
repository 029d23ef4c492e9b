"""Loading: a name, a directory or a (model, tokenizer) pair becomes a ``LanguageModel``."""

from __future__ import annotations

import difflib
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sayso.errors import ModelError, ModelMissingError
from sayso.models import hub, smollm2
from sayso.models.adapters import add_lora
from sayso.models.lm import LanguageModel
from sayso.models.media_embedding import media_of
from sayso.models.media_join import join_or_load
from sayso.models.media_own import let_see, sees_by_itself, tokenizer_of
from sayso.models.options import ModelOptions, TinyOptions
from sayso.models.place import device_named
from sayso.models.quiet import without_bars, without_retries_told
from sayso.models.saving import Q_HEADS, VALUE_HEAD
from sayso.models.smollm2 import HUB_ID
from sayso.models.tiny import tiny_model
from sayso.models.trial import refuse_unsuitable
from sayso.seeds import derive

KNOWN_MODELS = {
    "smollm2": "SmolLM2-135M-Instruct, the default: cached, from the hub, or from its package",
    "tiny": "a small random Llama with a vocabulary of your own ([model.tiny]): tests and games",
}
_log = logging.getLogger("sayso")


def load(
    model: str | Path | tuple[Any, Any], options: ModelOptions | None = None, *, seed: int = 0
) -> LanguageModel:
    """A language model ready to train.

    Args:
        model: ``"smollm2"``, ``"tiny"``, a hub id, a directory, or ``(model, tokenizer)``. The
            model of a pair is used itself, not a copy; it keeps its precision, is put into
            evaluation mode and gets the adapters.
        options: Precision and adapters. ``options.name`` is not looked at.
        seed: Decides random weights: of a tiny model, of a fresh adapter.

    Raises:
        ModelMissingError: If there is no such model, with what to run.
        ModelError: If it is there but cannot be used.
        ExtraMissingError: If adapters are asked for and peft is not installed.
    """
    options = options or ModelOptions()
    dtype: torch.dtype = getattr(torch, options.dtype)
    device = device_named(options.device)
    saved: dict[str, dict[str, torch.Tensor]] = {}
    if not isinstance(model, str | Path):
        network, tokenizer = pair_of(model)
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
        for file in (VALUE_HEAD, Q_HEADS):
            if (Path(name) / file).is_file():
                saved[file] = load_file(Path(name) / file)
    if isinstance(model, str | Path):
        network = network.to(device)
    if options.lora is not None:
        _refuse_joined(network)
        network = add_lora(network, options.lora, seed=derive(seed, "lora weights"))
    processor, tokenizer = tokenizer, tokenizer_of(tokenizer)
    lm = LanguageModel(network, tokenizer, name=name)
    lm.saved_value_head = saved.get(VALUE_HEAD, {})
    lm.saved_q_heads = saved.get(Q_HEADS, {})
    lm.trainable()
    if media_of(lm.causal_lm) is None:
        refuse_unsuitable(lm)
        if processor is not tokenizer:
            let_see(lm, processor)
        saved_at = Path(name) if isinstance(model, str | Path) and Path(name).is_dir() else None
        join_or_load(lm, options.media, saved_at, seed=seed)
    if lm.chat.kind == "plain" and name != "tiny":
        _log.warning(
            "%s has no chat template (a base model): prompts are plain text with a line break "
            "after them. Set tokenizer.chat_template if it knows a chat format.",
            name,
        )
    return lm


def _refuse_joined(network: Any) -> None:
    if media_of(network) is not None:
        raise ModelError(
            where="model.lora",
            problem="the model of the pair sees or hears already, and adapters come before that.",
            fix="Pass the plain model with model.lora and model.media.",
        )


def pair_of(model: Any) -> tuple[Any, Any]:
    """Network and tokenizer of what was passed as a model and is no name.

    Raises:
        ModelError: If it is not a pair of these.
    """
    fix = "Pass smollm2, a hub id, a directory, or both parts as one pair: (model, tokenizer)."
    if not isinstance(model, tuple | list) or len(model) != 2:
        kind = type(model).__name__
        problem = f"{kind}, which brings no tokenizer" if _is_network(model) else _told(model)
        raise ModelError(where="model", problem=f"got a {problem}.", fix=fix)
    network, tokenizer = model
    if not _is_network(network) or not callable(getattr(tokenizer, "decode", None)):
        problem = f"got a pair of {_told(network)} and {_told(tokenizer)}."
        raise ModelError(where="model", problem=problem, fix=fix)
    return network, tokenizer


def _is_network(thing: Any) -> bool:
    return isinstance(thing, torch.nn.Module) and hasattr(thing, "config")


def _told(thing: Any) -> str:
    return type(thing).__name__


def _pretrained(name: str, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """Network and tokenizer (of a model that sees: processor); safetensors only, no remote code.

    transformers takes scaled-dot-product attention wherever the architecture has it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    network: Any
    report: Any
    models: Any = AutoModelForCausalLM
    tokenizers: Any = AutoTokenizer
    is_here = Path(name).is_dir()
    if not is_here and _is_path(name):
        raise ModelMissingError(
            where=f"model {name}",
            problem="no such directory.",
            fix="Pass smollm2, tiny, a directory that holds a model, or a hub id.",
        )
    if not is_here:
        _refuse_typo(name)
    offline = not is_here and not hub.is_reachable()
    bars = without_bars() if is_here else nullcontext()
    try:
        with torch.random.fork_rng(devices=[]), bars, without_retries_told():
            where = {"trust_remote_code": False, "local_files_only": offline}
            if sees_by_itself(AutoConfig.from_pretrained(name, **where)):
                from transformers import AutoModelForImageTextToText, AutoProcessor

                models, tokenizers = AutoModelForImageTextToText, AutoProcessor
            tokenizer = tokenizers.from_pretrained(name, **where)
            network, report = models.from_pretrained(
                name,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=offline,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise _explained(name, error, offline=offline) from error
    absent = sorted({*report["missing_keys"], *(str(k) for k in report["mismatched_keys"])})
    if absent:
        raise ModelError(
            where=f"model {name}",
            problem=f"{len(absent)} weights are not in its files, the first is {absent[0]}.",
            fix="Pass a causal LM; a model of another kind would start with random weights.",
        )
    return network, tokenizer


def _is_path(name: str) -> bool:
    """Whether a name can only be a path: a hub id is ``owner/name`` at most."""
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


def _refuse_typo(name: str) -> None:
    """Refuse a name that is nearly one of ours, before the hub is asked for it.

    Raises:
        ModelMissingError: With ours.
    """
    known = {**{ours: ours for ours in KNOWN_MODELS}, HUB_ID.split("/")[1].lower(): "smollm2"}
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    if near and "/" not in name and not hub.has_cached(name, "config.json"):
        raise ModelMissingError(
            where=f"model {name}",
            problem="is no known name and no directory.",
            fix=f"Did you mean {known[near[0]]!r}?",
        )


def _explained(name: str, error: Exception, *, offline: bool) -> ModelError | ModelMissingError:
    """What went wrong while loading, and what to do."""
    message = " ".join(str(error).split())[:300] or type(error).__name__
    if Path(name).is_dir():
        return ModelError(
            where=f"model {name}",
            problem=f"cannot be loaded: {message}",
            fix=(
                "The directory must hold config.json, tokenizer files and *.safetensors weights of "
                "a causal LM; pickled weights (*.bin) are not read, convert them with "
                "save_pretrained. If it is sayso's cache, delete it and it is made again."
            ),
        )
    if isinstance(error, OSError) and offline:
        message = "it is no directory here and not in the hub's cache, and the hub is out of reach."
    if isinstance(error, OSError):
        return ModelMissingError(
            where=f"model {name}",
            problem=f"was not found: {message}",
            fix="Pass smollm2, tiny, a directory, or a hub id that can be reached.",
        )
    return ModelError(
        where=f"model {name}",
        problem=f"cannot be loaded: {message}",
        fix="Pass a causal LM that transformers loads without code of its own.",
    )
