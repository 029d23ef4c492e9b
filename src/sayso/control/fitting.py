"""What is fitted before the first step: components and directions. It is told, and kept.

Dimensions: d = width, c = components, m = numbers of an action.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as save_arrays

from sayso.cache import cache_folder
from sayso.config.load import to_table
from sayso.control.features import (
    Array,
    Components,
    Hidden,
    MiniLM,
    principal,
    principal_at_most,
)
from sayso.control.moves import find_directions, token_space
from sayso.control.options import ControlOptions
from sayso.control.probes import Probe, Tell, probe, prompts
from sayso.envs.registry import BUILT_IN, EnvSource
from sayso.models.lm import LanguageModel
from sayso.runs.durable import replace_file
from sayso.sampling.base import Engine

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_log = logging.getLogger("sayso")
WORTH_KEEPING_S = 2.0
"""What took less is made anew each time."""
READ_TOGETHER = 32
TELL_EVERY_S = 10.0
SPENT = ("env_tokens", "reward_queries", "episodes", "wall_clock")
"""What is counted of a run, whatever a budget goes by."""
CODE = ("control", "envs", "rewards")
"""Packages whose change makes what was kept old."""


class Fitter:
    """Fits what a mode and an observation need, or finds it where it was kept.

    What took long is kept in the user's cache folder, below ``control/``, by a hash of the model's
    weights, the task, the options and this code: the next environment with the same is made at
    once. Only tasks that come with sayso are kept: of others nothing tells whether they changed.

    Args:
        lm: The frozen model.
        task: Opens the task's environment.
        options: Mode, observation, and how many probes.
        encoder: Reads texts.
        engine: Speaks as the model does by itself.
    """

    def __init__(
        self,
        lm: LanguageModel,
        task: EnvSource,
        options: ControlOptions,
        encoder: Hidden | MiniLM,
        engine: Engine,
    ) -> None:
        self._lm, self._task, self._options = lm, task, options
        self._encoder, self._engine = encoder, engine

    def fitted(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """All arrays that are needed; those that are given are taken as they are."""
        found = dict(given)
        for name, make in self._parts().items():
            if not any(key.startswith(name) for key in found):
                found |= self._kept(name, make)
        return found

    def _parts(self) -> dict[str, Callable[[], Mapping[str, Array]]]:
        """What has to be fitted, by how its arrays' names begin."""
        options, parts = self._options, dict[str, Callable[[], Mapping[str, Array]]]()
        if options.observation == "pca":
            parts["state"] = self._state
        if options.mode == "prefix":
            parts["token"] = lambda: token_space(self._lm, options.num_dims)
        if options.mode == "steer":
            parts["directions"] = self._directions
        if options.mode == "wolpertinger" or (
            options.mode == "candidates" and options.observation == "pca"
        ):
            parts["answer"] = self._answer
        return parts

    def _state(self) -> Mapping[str, Array]:
        options = self._options
        count = options.num_states
        tell = self._tell(f"reads {count} prompts, for what the agent is to see", count)
        asked, states = prompts(self._lm, self._task, options, count), list[Array]()
        for start in range(0, count, READ_TOGETHER):
            states.append(self._encoder.contexts(asked[start : start + READ_TOGETHER]))
            tell(start + len(states[-1]))
        found = principal_at_most(
            np.concatenate(states), options.num_components, what="num_components"
        )
        tokens = sum(len(one.context) for one in asked)
        return as_arrays("state", found) | {"state_spent": _spent(tokens, 0)}

    def _directions(self) -> Mapping[str, Array]:
        options = self._options
        probes = self._probes(f"to find {options.num_dims} directions")
        directions = find_directions(self._lm, options, probes)
        return {"directions": directions, "directions_spent": _of_probes(probes)}

    def _answer(self) -> Mapping[str, Array]:
        options = self._options
        probes = self._probes("for how the agent is to see its proposals")
        read = np.stack([self._encoder.answers(p.asked, [p.answer.ids])[0] for p in probes])
        if options.mode == "candidates":
            found = principal_at_most(read, options.num_components, what="num_components")
        else:
            found = principal(read, options.num_dims, what="num_dims")
        return as_arrays("answer", found) | {"answer_spent": _of_probes(probes)}

    def _probes(self, purpose: str) -> list[Probe]:
        options, count = self._options, self._options.num_probes
        what = f"gives {count} answers of at most {options.max_new_tokens} tokens, {purpose}"
        tell = self._tell(what, count)
        return probe(self._lm, self._engine, self._task, options, tell)

    def _tell(self, what: str, total: int) -> Tell:
        """Say what begins; what comes back says how far it is, at most once in ten seconds."""
        _log.warning("%s, frozen, %s: %s ...", self._lm.name, what, self._task.id)
        told = time.monotonic()

        def tell(num_done: int) -> None:
            nonlocal told
            if num_done < total and time.monotonic() - told >= TELL_EVERY_S:
                told = time.monotonic()
                _log.warning("  %d of %d", num_done, total)

        return tell

    def _kept(self, name: str, make: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        """What was kept, or made now and kept if that took long."""
        place = self._place(name)
        if place is not None and place.is_file():
            try:
                return dict(load_file(place))
            except (SafetensorError, OSError) as error:
                _log.warning("%s cannot be read (%s) and is made anew.", place, error)
        started = time.monotonic()
        made = dict(make())
        seconds = time.monotonic() - started
        if f"{name}_spent" in made:
            made[f"{name}_spent"][-1] = seconds
        if place is not None and seconds >= WORTH_KEEPING_S:
            place.parent.mkdir(parents=True, exist_ok=True)
            arrays = {key: np.ascontiguousarray(value) for key, value in made.items()}
            replace_file(place, save_arrays(arrays))
            _log.warning("That took %.0f s and is kept for the next time: %s", seconds, place)
        return made

    def _place(self, name: str) -> Path | None:
        spec = self._task.spec
        if spec is None or spec["env"] not in BUILT_IN:
            return None
        try:
            told = json.dumps([name, spec, to_table(self._options)], sort_keys=True)
        except TypeError:  # arguments that only this process knows
            return None
        shape = self._lm.chat.prompt("How are you?")  # how the tokenizer writes a message
        made = hashlib.sha256(
            "\n".join([told, repr(shape), weights_digest(self._lm), code_digest()]).encode()
        )
        return cache_folder() / "control" / f"{name}-{made.hexdigest()[:24]}.safetensors"


def spent(fitted: Mapping[str, Array]) -> dict[str, float]:
    """What fitting has used up: tokens asked and answered, rewards, episodes, seconds."""
    total = sum((a for name, a in fitted.items() if name.endswith("_spent")), np.zeros(len(SPENT)))
    return dict(zip(SPENT, total.tolist(), strict=True))


def _spent(tokens: int, num_probes: int) -> Array:
    """As ``SPENT``; the seconds come later."""
    return np.array([tokens, num_probes, num_probes, 0.0], np.float32)


def _of_probes(probes: Sequence[Probe]) -> Array:
    return _spent(sum(len(p.asked.context) + len(p.answer.ids) for p in probes), len(probes))


def as_arrays(name: str, found: Components) -> dict[str, Array]:
    """Components as arrays by name."""
    return {f"{name}_{part}": getattr(found, part) for part in ("mean", "axes", "scale")}


def components(fitted: Mapping[str, Array], name: str) -> Components | None:
    """Undo ``as_arrays``; ``None`` if they are not there."""
    if f"{name}_axes" not in fitted:
        return None
    return Components(**{part: fitted[f"{name}_{part}"] for part in ("mean", "axes", "scale")})


def weights_digest(lm: LanguageModel) -> str:
    """Hex sha256 of every weight and buffer of a model, by name: the same means bit for bit."""
    made = hashlib.sha256()
    state: Mapping[str, torch.Tensor] = lm.network.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        made.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        made.update(tensor.view(torch.uint8).numpy().tobytes())
    return made.hexdigest()


def code_digest() -> str:
    """Hex sha256 of the code and data that decide prompts, rewards and what is fitted to them."""
    made = hashlib.sha256()
    for package in CODE:
        _add(made.update, resources.files("sayso") / package)
    return made.hexdigest()


def _add(update: Callable[[bytes], None], folder: Traversable) -> None:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir() and entry.name != "__pycache__":
            _add(update, entry)
        elif entry.is_file() and not entry.name.endswith(".pyc"):
            update(f"{entry.name}\n".encode() + entry.read_bytes())
