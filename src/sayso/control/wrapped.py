"""What stood between an agent and its control environment while it learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import wrappers
from numpy.typing import NDArray

from sayso.control.controller import Controller
from sayso.errors import OptionValueError

Seen = Callable[[NDArray[Any]], NDArray[Any]]
"""From the environment's observations to those that the agent takes."""

_HARMLESS = (
    gymnasium.RewardWrapper,
    wrappers.Autoreset,
    wrappers.HumanRendering,
    wrappers.NormalizeReward,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.RecordEpisodeStatistics,
    wrappers.RecordVideo,
    wrappers.RenderCollection,
    wrappers.TimeLimit,
)
"""Wrappers of Gymnasium that leave observations and actions as they are."""


def same(observations: NDArray[Any]) -> NDArray[Any]:
    """Observations as the environment gives them."""
    return observations


def seen_through(env: Any, model: Any) -> Seen:
    """How an agent sees an environment: normalised by the statistics it learned with, or as it is.

    Args:
        env: What wraps the control environment, or the ``Controller`` itself.
        model: The agent; its own ``VecNormalize`` counts where ``env`` has none.

    Raises:
        OptionValueError: If a wrapper may change observations or actions in a way that is not
            known here.
    """
    found = _vector_wrappers(env)
    if found is None and hasattr(model, "get_vec_normalize_env"):
        own = model.get_vec_normalize_env()
        found = None if own is None else own.normalize_obs
    return found or same


def refuse_memory(model: Any) -> None:
    """An agent with a memory of its own, as ``RecurrentPPO``, would forget between turns.

    Raises:
        OptionValueError: If it has one.
    """
    if hasattr(getattr(model, "policy", None), "lstm_actor"):
        raise _carries_state(model)


def chosen_by(model: Any, seen: NDArray[Any], options: dict[str, Any]) -> NDArray[Any]:
    """The agent's actions.

    Raises:
        OptionValueError: If it hands back a state, which no decision here keeps.
    """
    actions, state = model.predict(seen, **options)
    if state is not None:
        raise _carries_state(model)
    return np.asarray(actions)


@contextmanager
def drawing(seed: int, space: Any) -> Iterator[None]:
    """All that ``predict`` may draw from follows a seed, and goes on afterwards as before.

    Args:
        seed: Below 2**63.
        space: The agent's action space, from which DQN draws while it explores.
    """
    numpy_before = np.random.get_state()  # noqa: NPY002  # Stable-Baselines3 draws from these
    space_before = space.np_random.bit_generator.state
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed & 0xFFFF_FFFF)  # noqa: NPY002
        space.np_random.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        try:
            yield
        finally:
            np.random.set_state(numpy_before)  # noqa: NPY002
            space.np_random.bit_generator.state = space_before


def _vector_wrappers(env: Any) -> Seen | None:
    """``normalize_obs`` of the ``VecNormalize`` on the way in, if there is one."""
    if isinstance(env, Controller):
        return None
    if isinstance(env, gymnasium.Env):
        _pass(env)
        return None
    from stable_baselines3.common import vec_env

    found: Seen | None = None
    while isinstance(env, vec_env.VecEnvWrapper):
        if type(env) is vec_env.VecNormalize and found is None:
            found = env.normalize_obs
        elif type(env) not in (vec_env.VecMonitor, vec_env.VecCheckNan, vec_env.VecVideoRecorder):
            raise _unknown(env)
        env = env.venv
    if isinstance(env, vec_env.DummyVecEnv):
        for inner in env.envs:
            _pass(inner)
    elif isinstance(env, vec_env.SubprocVecEnv):
        raise _unknown(env)
    return found


def _pass(env: Any) -> None:
    """Go through wrappers of one environment, which may only look and change rewards."""
    from sayso.control.env import LMControlEnv

    while not isinstance(env, LMControlEnv):
        is_monitor = type(env).__module__ == "stable_baselines3.common.monitor"
        if not (isinstance(env, _HARMLESS) or is_monitor):
            raise _unknown(env)
        env = env.env


def _unknown(env: Any) -> OptionValueError:
    name = type(env).__name__
    return OptionValueError(
        where="SB3Agent",
        problem=f"the agent learned behind {name}, whose part in what it sees and does is not "
        "known here.",
        fix=f"If {name} leaves observations and actions as they are, pass the environment inside: "
        "SB3Agent(model, env). VecNormalize is followed by itself.",
    )


def _carries_state(model: Any) -> OptionValueError:
    return OptionValueError(
        where="SB3Agent",
        problem=f"{type(model).__name__} carries a state from turn to turn, which nobody keeps.",
        fix="Use an agent without one: the observation shows the whole conversation already.",
    )
