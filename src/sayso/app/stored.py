"""The stored data set of a run: read for its model, and the same one when the run goes on."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from sayso.algorithms.kinds import NEEDS_NO_REWARD, OF_PAIRS
from sayso.app.config import AlgorithmOptions, RunConfig
from sayso.data.datasets import DataSet, files, read_data
from sayso.data.encode import Encoder
from sayso.data.options import IN_PYTHON
from sayso.data.preferences import are_pairs, chosen_of
from sayso.errors import DataError, RunError
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.models.lm import LanguageModel

_log = logging.getLogger("sayso")


def build_data(config: RunConfig, lm: LanguageModel, given: Any = None) -> DataSet | None:
    """The data set of a run, as its model's tokens; ``None`` if it plays instead.

    Args:
        config: The run's configuration.
        lm: Whose tokens.
        given: Records handed over in Python.

    Raises:
        DataError: Listing what is wrong with it.
    """
    path = config.data.path
    if path is None:
        return None
    if given is None and path == IN_PYTHON:
        raise DataError(
            where="data", problem="was handed over in Python and is not at hand.",
            fix="Pass it again: data=...",
        )  # fmt: skip
    limit = config.env.max_context_tokens
    encoder = Encoder(
        lm.chat,
        max_new_tokens=config.sampling.max_new_tokens,
        max_context=lm.max_context if limit is None else min(limit, lm.max_context),
        num_ids=lm.vocabulary,
        context=config.env.context,
    )
    data = read_data(path if given is None else given, config.data, encoder)
    algorithm = config.algorithm.type
    data = _pairs(data, path) if algorithm in OF_PAIRS else _without_rejected(data, algorithm)
    if algorithm not in NEEDS_NO_REWARD and all(e.return_ is None for e in data.episodes):
        raise DataError(
            where=path,
            problem=f"no episode has a reward, and {algorithm} learns from rewards.",
            fix="Add rewards, or imitate all of it: bc.",
        )
    return data


def _pairs(data: DataSet, path: str) -> DataSet:
    """The data set, if it is one of preferences.

    Raises:
        DataError: If it is not.
    """
    if not are_pairs(data.episodes):
        raise DataError(
            where=path, problem="holds episodes that are no preferences.",
            fix="Give records with prompt, chosen and rejected (docs/preferences.md); or imitate "
            "what there is: bc.",
        )  # fmt: skip
    return data


def _without_rejected(data: DataSet, algorithm: str) -> DataSet:
    """Of preferences the chosen answers alone: what any other algorithm can take for an example."""
    kept = chosen_of(data.episodes)
    if len(kept) == len(data.episodes):
        return data
    note = f"Of each preference the chosen answer alone is learnt from: {algorithm} knows no pairs."
    return dataclasses.replace(data, episodes=kept, notes=(*data.notes, note))


def require_data(config: RunConfig) -> None:
    """See whether the files are there, before a model is loaded.

    Raises:
        DataError: If there is none.
    """
    if config.data.path is not None and config.data.path != IN_PYTHON:
        files(config.data.path)


def same_data(run: Run, data: DataSet, *, is_new: bool) -> None:
    """Let a run go on only with the data it began with; tell of what is left out when it begins.

    Raises:
        RunError: If the data set has changed.
    """
    if is_new:
        for note in data.notes:
            _log.warning(note)
        about = {"digest": data.digest, "episodes": len(data.episodes), "notes": list(data.notes)}
        run.annotate(data=about)
        return
    known = run.meta().get("data", {})
    if known.get("digest") != data.digest:
        raise RunError(
            where=str(run.path),
            problem=f"its data set has changed: {known.get('episodes')} episodes then, "
            f"{len(data.episodes)} now, or others.",
            fix="Put the data back as it was, or start a new run.",
        )


def without_memory(config: RunConfig) -> AlgorithmOptions:
    """The algorithm's options; with stored episodes it learns from those that it is given."""
    algorithm: Any = config.algorithm
    if config.data.path is None or not hasattr(algorithm, "replay"):
        return config.algorithm
    replay = dataclasses.replace(algorithm.replay, capacity=0)
    found: AlgorithmOptions = dataclasses.replace(algorithm, replay=replay)
    return found
