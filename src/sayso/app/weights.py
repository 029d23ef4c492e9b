"""The model that an agent's weights belong to: as it was before training, or as it was saved."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Literal

import torch

from sayso.app.assemble import build_lm
from sayso.app.config import RunConfig, needs_base
from sayso.app.origin import Origin, origin_or_plain, require_named
from sayso.app.warm import FOLDER, take_up
from sayso.errors import ModelError, ModelMissingError
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.saving import adopt
from sayso.runs.run import Run

DTYPES: tuple[Literal["float32", "float64", "bfloat16"], ...] = ("float32", "float64", "bfloat16")
_log = logging.getLogger("sayso")


def with_dtype_of(config: RunConfig, lm: LanguageModel) -> RunConfig:
    """Configuration with the precision that a (model, tokenizer) pair keeps."""
    kept = next((d for d in DTYPES if lm.dtype is getattr(torch, d)), config.model.dtype)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=kept))


def lm_of(run: Run, config: RunConfig) -> LanguageModel:
    """The model that a run's checkpoints belong to, as it was before training: warmed up, if so.

    Raises:
        CheckpointError: If its warm start did not come to its end.
        RunError: If only Python code can make it.
    """
    require_named(run, "model")
    lm = _base(config, origin_or_plain(run, config))
    take_up(config, lm, run.path / FOLDER)
    return lm


def saved_lm(
    config: RunConfig, origin: Origin, directory: Path
) -> tuple[RunConfig, Origin, LanguageModel]:
    """The model that lies in a directory, over the base it was trained from.

    The base is needed for adapters and for the KL reference. If it is not at hand, the saved
    weights take its place, with a warning.

    Returns:
        Configuration and origin under which it can be opened again, and the model.
    """
    plain = dataclasses.replace(config.model, lora=None, tiny=None, name=str(directory))
    if "model" in origin.unnamed:
        why = "it was a (model, tokenizer) pair"
    elif config.warm_start.player is not None and needs_base(config):
        why = "it was warmed up, in the run"
    elif config.model.lora is None and not needs_base(config):
        return config, origin, load(directory, plain)
    else:
        try:
            lm = _base(config, origin)
            lm.freeze_reference()
            adopt(lm, load(directory, plain), directory)
        except ModelMissingError:
            why = "it was not found"
        except ModelError as error:
            why = f"{error.where} {error.problem.rstrip('.')}"
        else:
            return config, origin, lm
    if config.model.lora is not None or needs_base(config):
        _log.warning(
            "%s: the base model %s is not at hand (%s), so %s from the trained weights.",
            directory, origin.base_model, why,
            "new adapters and the reference start" if config.model.lora else
            "the reference starts",
        )  # fmt: skip
    config = dataclasses.replace(config, model=dataclasses.replace(plain, lora=config.model.lora))
    unnamed = tuple(part for part in origin.unnamed if part != "model")
    origin = dataclasses.replace(origin, unnamed=unnamed)
    return config, origin, build_lm(config)


def _base(config: RunConfig, origin: Origin) -> LanguageModel:
    seed = config.seed if origin.model_seed is None else origin.model_seed
    return build_lm(dataclasses.replace(config, seed=seed))
