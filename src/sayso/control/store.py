"""An agent of Stable-Baselines3 as files of a checkpoint, and back, without running a pickle."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from sayso.control.features import Array
from sayso.errors import CheckpointError, GuardError
from sayso.runs.commit import Committed

MODEL, REPLAY, FITTED, VALUES = (
    "model.zip",
    "replay.safetensors",
    "fitted.safetensors",
    "state.json",
)
_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def files_of(
    model: Any, fitted: Mapping[str, Array], values: Mapping[str, Any]
) -> dict[str, bytes]:
    """Everything that goes into a checkpoint.

    ``model.zip`` is what ``model.save`` writes, for ``SAC.load``; it holds pickled objects, which
    ``restore`` leaves alone.

    Raises:
        GuardError: If a weight is not finite: no checkpoint ever holds one.
    """
    for name, weight in model.policy.state_dict().items():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise GuardError(
                where=f"step {model.num_timesteps}, {name}",
                problem="holds a number that is not finite; it is not saved.",
                fix="Go on from the last checkpoint with a smaller learner.settings.learning_rate.",
            )
    written = io.BytesIO()
    model.save(written)
    files = {
        MODEL: written.getvalue(),
        FITTED: save_arrays({name: np.ascontiguousarray(a) for name, a in sorted(fitted.items())}),
        VALUES: json.dumps(dict(values), sort_keys=True, allow_nan=False).encode(),
    }
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None:
        count = buffer.buffer_size if buffer.full else buffer.pos
        arrays = {name: np.ascontiguousarray(getattr(buffer, name)[:count]) for name in _ARRAYS}
        arrays["place"] = np.array([buffer.pos, int(buffer.full)], np.int64)
        files[REPLAY] = save_arrays(arrays)
    return files


def fitted_of(found: Committed) -> dict[str, Array]:
    """Directions and components of a checkpoint."""
    return dict(load_arrays(found.read(FITTED)))


def values_of(found: Committed) -> dict[str, Any]:
    """The loop's own values of a checkpoint."""
    values: dict[str, Any] = json.loads(found.read(VALUES))
    return values


def restore(model: Any, found: Committed) -> None:
    """Put an agent back: weights, optimisers, entropy weight, replay, number of steps.

    Of ``model.zip`` only the tensors are read, by PyTorch's reader of weights alone.

    Args:
        model: Made with the same class and settings; it is changed.
        found: A checkpoint that verified.

    Raises:
        CheckpointError: If it is of another class or other settings.
    """
    from stable_baselines3.common.save_util import load_from_zip_file

    _, parameters, variables = load_from_zip_file(
        io.BytesIO(found.read(MODEL)), device=model.device, load_data=False
    )
    try:
        model.set_parameters(parameters, exact_match=True, device=model.device)
    except (ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            where=str(found.path),
            problem=f"does not fit this agent: {str(error).splitlines()[0]}",
            fix="Resume with the learner and settings that the run was started with.",
        ) from error
    for name, variable in (variables or {}).items():
        if variable is not None:
            getattr(model, name).data = variable.data
    model.num_timesteps = int(values_of(found)["num_steps"])
    if REPLAY in found.manifest.files and getattr(model, "replay_buffer", None) is not None:
        arrays = load_arrays(found.read(REPLAY))
        buffer, place = model.replay_buffer, arrays["place"]
        for name in _ARRAYS:
            getattr(buffer, name)[: len(arrays[name])] = arrays[name]
        buffer.pos, buffer.full = int(place[0]), bool(place[1])
