"""One call of an environment, judged: what comes back is an outcome or a failure, never a guess."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sayso.envs.base import Observation, TextEnv
from sayso.envs.spaces import Message, messages
from sayso.types import Failure, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an environment answered.

    Attributes:
        observation: Text or messages.
        reward: ``None`` after a reset and when the turn was not graded.
        parts: Parts of the reward.
        terminated: The task ended.
        truncated: It was cut off.
        choices: Candidate actions, if listed.
    """

    observation: Observation
    reward: float | None = None
    parts: Mapping[str, float | None] = field(default_factory=dict)
    terminated: bool = False
    truncated: bool = False
    choices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the pipe between processes."""
        shown: Any = self.observation
        if not isinstance(shown, str):
            shown = [{"role": m.role, "content": m.content} for m in shown]
        return {
            "observation": shown,
            "reward": self.reward,
            "parts": dict(self.parts),
            "terminated": self.terminated,
            "truncated": self.truncated,
            "choices": list(self.choices),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Outcome:
        """Undo ``to_json``."""
        shown = record["observation"]
        observation = shown if isinstance(shown, str) else messages(shown)
        return cls(**{**record, "observation": observation, "choices": tuple(record["choices"])})


class _BreachError(Exception):
    """The environment broke its contract."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def reset_env(
    env: TextEnv, task: Task, seed: int, *, max_reward: float, max_chars: int
) -> Outcome | Failure:
    """Pose a task."""
    del max_reward
    where = f"{task.env}, task {task.id}, reset with seed {seed}"
    try:
        answer: Any = env.reset(seed=seed, options={"task": task.id, "split": task.split})
        if not isinstance(answer, tuple) or len(answer) != 2:  # (obs, info)
            raise _BreachError(
                "contract", f"reset returned {_short(answer)}, not (observation, info)"
            )
        observation, info = answer
        return Outcome(observation=_observation(observation, max_chars), choices=_choices(info))
    except _BreachError as breach:
        return Failure(kind=breach.kind, message=f"{where}: {breach}")
    except Exception as error:  # noqa: BLE001  # the boundary where user code may raise anything
        return _raised(error, where)


def step_env(
    env: TextEnv, task: Task, action: str, *, max_reward: float, max_chars: int
) -> Outcome | Failure:
    """Play one action."""
    where = f"{task.env}, task {task.id}, action {_short(action)}"
    try:
        answer: Any = env.step(action)
        if not isinstance(answer, tuple) or len(answer) != 5:  # the 5-tuple
            raise _BreachError(
                "contract",
                f"step returned {_short(answer)}, not (observation, reward, terminated, "
                "truncated, info)",
            )
        observation, reward, terminated, truncated, info = answer
        named = info.get("reward_parts", {}) if isinstance(info, Mapping) else {}
        return Outcome(
            observation=_observation(observation, max_chars),
            reward=_reward(reward, "reward", max_reward),
            parts={str(k): _reward(v, f"reward part {k!r}", max_reward) for k, v in named.items()},
            terminated=bool(terminated),
            truncated=bool(truncated),
            choices=_choices(info),
        )
    except _BreachError as breach:
        return Failure(kind=breach.kind, message=f"{where}: {breach}")
    except Exception as error:  # noqa: BLE001  # the boundary where user code may raise anything
        return _raised(error, where)


def _raised(error: Exception, where: str) -> Failure:
    return Failure(
        kind="env_raised",
        message=f"{where}: {type(error).__name__}: {_short(str(error), 300)}",
        detail="".join(traceback.format_exception(error))[-8_000:],
    )


def _reward(value: Any, name: str, max_reward: float) -> float | None:
    """A finite number of sane size, or None for "not graded"."""
    if value is None:
        return None
    if isinstance(value, bool | np.bool_) or not (
        isinstance(value, int | float | np.number)
        or (getattr(value, "ndim", None) == 0 and hasattr(value, "item"))
    ):
        raise _BreachError(
            "reward_type",
            f"{name} is {_short(value)} ({type(value).__name__}); return a float, or None for "
            "'not graded'",
        )
    number = float(value.item() if hasattr(value, "item") else value)
    if not math.isfinite(number):
        raise _BreachError("reward_not_finite", f"{name} is {number}; only None means 'not graded'")
    if abs(number) > max_reward:
        raise _BreachError(
            "reward_too_large", f"{name} is {number:g}, beyond ±{max_reward:g}; rescale it"
        )
    return number


def _observation(value: Any, max_chars: int) -> Observation:
    if isinstance(value, str):
        return _cut(value, max_chars)
    is_chat = (
        isinstance(value, tuple) and len(value) > 0 and all(isinstance(m, Message) for m in value)
    )
    if is_chat:
        return tuple(Message(m.role, _cut(m.content, max_chars)) for m in value)
    raise _BreachError(
        "observation_type",
        f"observation is {_short(value)} ({type(value).__name__}); return a string, or a tuple "
        "of sayso Message",
    )


def _cut(text: str, max_chars: int) -> str:
    """Too long a text is cut, and says so itself."""
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]}\n[cut: {len(text):,} characters in all]"


def _choices(info: Any) -> tuple[str, ...]:
    listed = info.get("choices", ()) if isinstance(info, Mapping) else ()
    return tuple(str(choice) for choice in listed)


def _short(value: Any, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
