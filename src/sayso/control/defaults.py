"""Settings of Stable-Baselines3's agents for environments in which every step is a generation."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from sayso.control.controller import SB3_BUFFER, Controller, replay_bytes
from sayso.control.env import require_sb3
from sayso.errors import OptionValueError

_log = logging.getLogger("sayso")
ALGORITHMS: Mapping[str, tuple[str, str]] = {
    "sac": ("stable_baselines3", "SAC"),
    "td3": ("stable_baselines3", "TD3"),
    "ddpg": ("stable_baselines3", "DDPG"),
    "dqn": ("stable_baselines3", "DQN"),
    "ppo": ("stable_baselines3", "PPO"),
    "a2c": ("stable_baselines3", "A2C"),
    "tqc": ("sb3_contrib", "TQC"),
    "qrdqn": ("sb3_contrib", "QRDQN"),
    "maskable_ppo": ("sb3_contrib", "MaskablePPO"),
}
"""Package and class of each algorithm that recipes may name."""
OFF_POLICY = ("sac", "td3", "ddpg", "dqn", "tqc", "qrdqn")
BUFFER = 20_000
BUFFER_BYTES = 2**28
"""Most memory of a replay buffer, whatever an observation holds."""
GAMMA = 0.99
ENTROPY = 0.02
NOISE = 0.3


def algorithm_class(name: str) -> Any:
    """The class of an algorithm by its name.

    Raises:
        ExtraMissingError: If its package is not installed.
        OptionValueError: If there is none of this name.
    """
    if name not in ALGORITHMS:
        raise OptionValueError(
            where="learner.type", problem=f"got {name!r}.", fix=f"Use {', '.join(ALGORITHMS)}."
        )
    package, attribute = ALGORITHMS[name]
    require_sb3(f"learner.type = {name!r}", package)
    import importlib

    return getattr(importlib.import_module(package), attribute)


def sb3_defaults(algorithm: Any, env: Any) -> dict[str, Any]:
    """Arguments for ``SAC("MlpPolicy", env, **sb3_defaults(SAC, env))`` and its relatives.

    Stable-Baselines3's own are meant for a million cheap steps. A step here is a generation, so
    that runs have hundreds or thousands: a small replay buffer (its own would take gigabytes),
    learning from the first steps on, one gradient step for each environment step, larger learning
    rates. One line of the log says what was chosen, and why.

    - ``gamma`` is 0 where an episode is one turn: there is nothing to look ahead to.
    - SAC's and TQC's entropy weight is fixed at 0.02 of the reward's range: the automatic one
      drives the entropy to minus the number of dimensions, which few hundred steps do not outweigh.
    - TD3 and DDPG get exploration noise; they have none by themselves.

    Args:
        algorithm: A class of Stable-Baselines3 or sb3-contrib, or its name in small letters.
        env: A control environment, wrapped or vectorised, or its ``Controller``.
    """
    name = algorithm if isinstance(algorithm, str) else _name_of(algorithm)
    moved = controller_of(env)
    num_envs = int(getattr(env, "num_envs", 1))
    is_bandit = moved.seat().max_turns == 1
    chosen: dict[str, Any] = {"gamma": 0.0 if is_bandit else GAMMA}
    if name in OFF_POLICY:
        chosen |= _off_policy(name, moved, num_envs)
    else:
        chosen |= _on_policy(name, num_envs, is_bandit=is_bandit)
    known = inspect.signature(algorithm_class(name).__init__).parameters
    chosen = {key: value for key, value in chosen.items() if key in known}
    _tell(name, chosen, moved, is_bandit=is_bandit)
    return chosen


def controller_of(env: Any) -> Controller:
    """The controller inside an environment, however it is wrapped.

    Raises:
        OptionValueError: If it is no control environment.
    """
    if isinstance(env, Controller):
        return env
    found = None
    if hasattr(env, "get_attr"):
        try:
            found = env.get_attr("controller")[0]
        except AttributeError:
            found = None
    else:
        found = getattr(getattr(env, "unwrapped", None), "controller", None)
    if isinstance(found, Controller):
        return found
    raise OptionValueError(
        where="sayso.control",
        problem=f"got {type(env).__name__}, which is no control environment.",
        fix="Make one: gymnasium.make('sayso/LMControl-v0', ...), or sayso.control.make_vec(n).",
    )


def _off_policy(name: str, moved: Controller, num_envs: int) -> dict[str, Any]:
    (width,) = moved.observation_space.shape
    buffer = max(1_000, min(BUFFER, BUFFER_BYTES // replay_bytes(width, 1)))
    chosen: dict[str, Any] = {
        "buffer_size": buffer,
        "learning_starts": 64,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "train_freq": 1,
        "gradient_steps": num_envs,
    }
    if name in ("sac", "tqc"):
        env = moved.seat().envs[0]
        low, high = env.reward_low, env.reward_high
        chosen["ent_coef"] = ENTROPY * (1.0 if low is None or high is None else high - low)
    if name in ("td3", "ddpg"):
        from stable_baselines3.common.noise import NormalActionNoise

        shape = moved.action_space.shape or ()
        chosen["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, NOISE))
    if name in ("dqn", "qrdqn"):
        chosen |= {"target_update_interval": 200, "exploration_fraction": 0.5,
                   "exploration_final_eps": 0.02}  # fmt: skip
    if name == "qrdqn":  # as TQC: the loss compares each with each, its own 200 cost 64 times more
        chosen["policy_kwargs"] = {"n_quantiles": 25}
    return chosen


def _on_policy(name: str, num_envs: int, *, is_bandit: bool) -> dict[str, Any]:
    """Rollouts of 64 steps in all, so that hundreds of steps make several updates; 256 for slots.

    What slots hold differs from decision to decision, which takes more of them to tell apart.
    """
    rollout, batch = (256, 64) if name == "maskable_ppo" else (64, 32)
    num_steps = max(2, -(-rollout // num_envs))
    if name == "a2c":
        # Not the five steps of a cheap environment, whose gradients one answer each would decide.
        return {"n_steps": max(2, -(-16 // num_envs)), "learning_rate": 2e-3, "ent_coef": 0.0,
                "gae_lambda": 1.0 if is_bandit else 0.95}  # fmt: skip
    return {"n_steps": num_steps, "batch_size": min(batch, num_steps * num_envs), "n_epochs": 10,
            "learning_rate": 1e-3, "ent_coef": 0.0}  # fmt: skip


def _name_of(algorithm: Any) -> str:
    for name, (_, attribute) in ALGORITHMS.items():
        if any(base.__name__ == attribute for base in getattr(algorithm, "__mro__", ())):
            return name
    raise OptionValueError(
        where="sb3_defaults",
        problem=f"got {algorithm!r}.",
        fix=f"Use one of {', '.join(attribute for _, attribute in ALGORITHMS.values())}.",
    )


def _tell(name: str, chosen: Mapping[str, Any], moved: Controller, *, is_bandit: bool) -> None:
    told = ", ".join(f"{key}={_short(value)}" for key, value in chosen.items())
    (width,) = moved.observation_space.shape
    why = "gamma is 0: an episode is one turn. " if is_bandit else ""
    if "buffer_size" in chosen:
        own = replay_bytes(width, SB3_BUFFER) / 1e9
        ours = replay_bytes(width, chosen["buffer_size"]) / 1e9
        why += f"The replay buffer takes {ours:.2g} GB at most, the default would take {own:.2g}. "
    _log.warning("%s: %s. %s", ALGORITHMS[name][1], told, why.rstrip())


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value)
    return f"{value:g}" if isinstance(value, int | float) else type(value).__name__
