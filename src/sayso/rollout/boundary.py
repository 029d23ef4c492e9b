"""One call of an environment, judged: what comes back is an outcome or a failure, never a guess."""

from __future__ import annotations

import math
import re
import reprlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sayso.envs.base import Observation, TextEnv
from sayso.envs.media import PLACEHOLDER
from sayso.envs.spaces import ROLES, Message, message_problem, message_row, messages
from sayso.runs import interrupt
from sayso.types import Failure, Task

_SAID_CHARS, _DETAIL_CHARS = 300, 8_000
_RESET_LENGTH, _STEP_LENGTH = 2, 5
_CUT = re.compile(r"\n\[cut: [\d,]+ characters in .*all\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an environment's answers are held against; JSON values, for the pipe.

    Attributes:
        max_reward: Largest absolute reward.
        max_chars: Longest observation.
    """

    max_reward: float
    max_chars: int


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
            shown = [message_row(message) for message in shown]
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


def open_env(opener: Callable[[], TextEnv], task: Task) -> TextEnv | Failure:
    """Make an environment."""
    try:
        return opener()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # as in `_judged`
        interrupt.check()
        return _raised(error, f"{task.env}, task {task.id}, constructor")


def reset_env(env: TextEnv, task: Task, seed: int, bounds: Bounds) -> Outcome | Failure:
    """Pose a task."""

    def play() -> Outcome:
        answer: Any = env.reset(seed=seed, options={"task": task.id, "split": task.split})
        if not isinstance(answer, tuple) or len(answer) != _RESET_LENGTH:
            raise _BreachError(
                "contract", f"reset returned {_short(answer)}; return (observation, info)"
            )
        observation, info = answer
        return Outcome(
            observation=_observation(observation, bounds.max_chars),
            choices=_choices(_info(info), bounds.max_chars),
        )

    return _judged(play, f"{task.env}, task {task.id}, reset with seed {seed}")


def step_env(env: TextEnv, task: Task, action: str, bounds: Bounds) -> Outcome | Failure:
    """Play one action."""

    def play() -> Outcome:
        answer: Any = env.step(action)
        if not isinstance(answer, tuple) or len(answer) != _STEP_LENGTH:
            raise _BreachError(
                "contract",
                f"step returned {_short(answer)}; return (observation, reward, terminated, "
                "truncated, info)",
            )
        observation, reward, terminated, truncated, info = answer
        facts = _info(info)
        return Outcome(
            observation=_observation(observation, bounds.max_chars),
            reward=_reward(reward, "reward", bounds.max_reward),
            parts=_parts(facts, bounds.max_reward),
            terminated=_flag(terminated, "terminated"),
            truncated=_flag(truncated, "truncated"),
            choices=_choices(facts, bounds.max_chars),
        )

    return _judged(play, f"{task.env}, task {task.id}, action {_short(action)}")


def _judged(play: Callable[[], Outcome], where: str) -> Outcome | Failure:
    try:
        outcome: Outcome | Failure = play()
    except _BreachError as breach:
        outcome = Failure(kind=breach.kind, message=f"{where}: {breach}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001
        # User code may raise anything: sys.exit() and panics of Rust libraries are no Exception.
        outcome = _raised(error, where)
    # A signal that came meanwhile is no failure of the environment, whoever caught it.
    interrupt.check()
    return outcome


def _raised(error: BaseException, where: str) -> Failure:
    said = traceback.format_exception_only(error)[-1].strip()
    return Failure(
        kind="env_raised",
        message=f"{where}: raised {ascii(said[:_SAID_CHARS])[1:-1]}",
        detail="".join(traceback.format_exception(error))[-_DETAIL_CHARS:],
    )


def _reward(value: Any, name: str, max_reward: float) -> float | None:
    """A finite number of sane size, or None for "not graded"; a verdict is 1 or 0."""
    if value is None:
        return None
    number = _plain(value)
    if not isinstance(number, int | float | np.floating):
        raise _BreachError(
            "reward_type",
            f"{name} is {_short(value)} ({type(value).__name__}); return a number such as "
            "float(score), or None for 'not graded'",
        )
    try:
        number = float(number)
    except OverflowError:
        number = math.inf if number > 0 else -math.inf
    if not math.isfinite(number):
        raise _BreachError(
            "reward_not_finite",
            f"{name} is {number}; return a finite number, or None for 'not graded'",
        )
    if abs(number) > max_reward:
        raise _BreachError(
            "reward_too_large", f"{name} is {number:g}, beyond ±{max_reward:g}; rescale it"
        )
    return number


def _plain(value: Any) -> Any:
    """What NumPy scalars, and arrays and tensors without dimensions, hold."""
    is_scalar = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_scalar else value


def _parts(info: Mapping[Any, Any], max_reward: float) -> dict[str, float | None]:
    named = info.get("reward_parts")
    if named is None:
        return {}
    if not isinstance(named, Mapping) or not all(isinstance(name, str) for name in named):
        raise _BreachError(
            "reward_type",
            f"info['reward_parts'] is {_short(named)}; return a dict of numbers by name",
        )
    return {k: _reward(v, f"reward part {_short(k)}", max_reward) for k, v in named.items()}


def _flag(value: Any, name: str) -> bool:
    """True or False, also NumPy's, and 0 or 1; ``bool("False")`` would be True."""
    plain = _plain(value)
    if isinstance(plain, int) and plain in (0, 1):
        return bool(plain)
    raise _BreachError(
        "contract", f"{name} is {_short(value)} ({type(value).__name__}); return True or False"
    )


def _info(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    raise _BreachError("contract", f"info is {_short(value)} ({type(value).__name__}); return {{}}")


def _observation(value: Any, max_chars: int) -> Observation:
    if isinstance(value, str):
        return _cut(str.__str__(value), max_chars)
    if isinstance(value, tuple) and value and all(message_problem(m) is None for m in value):
        return _cut_messages(value, max_chars)
    raise _BreachError(
        "observation_type",
        f"observation is {_short(value)} ({type(value).__name__}); return a string, or a tuple "
        f"of sayso.Message with text, a role among {', '.join(ROLES)} and one placeholder for "
        "each of its media",
    )


def _cut(text: str, max_chars: int) -> str:
    """Of too long a text the beginning, where tasks are posed, and a note."""
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]}\n[cut: {len(text):,} characters in all]"


def was_cut(observation: str) -> bool:
    """Whether an observation, as recorded in a turn, is the beginning of a longer one."""
    return _CUT.search(observation) is not None


def _cut_messages(chat: tuple[Message, ...], max_chars: int) -> tuple[Message, ...]:
    """The same for a conversation: all of it together may be so long."""
    total = sum(len(m.content) for m in chat)
    if total <= max_chars:
        return chat
    kept: list[Message] = []
    room = max_chars
    for message in chat:
        text = message.content[:room]
        media = message.media[: len(PLACEHOLDER.findall(text))]
        kept.append(Message(message.role, text, media))
        room -= len(message.content)
        if room <= 0:
            break
    note = f"\n[cut: {total:,} characters in {len(chat):,} messages in all]"
    kept[-1] = replace(kept[-1], content=kept[-1].content + note)
    return tuple(kept)


def _choices(info: Mapping[Any, Any], max_chars: int) -> tuple[str, ...]:
    listed = info.get("choices")
    if listed is None:
        return ()
    if not isinstance(listed, list | tuple) or not all(isinstance(text, str) for text in listed):
        raise _BreachError(
            "contract", f"info['choices'] is {_short(listed)}; return a list of strings"
        )
    if sum(map(len, listed)) > max_chars:
        raise _BreachError(
            "contract", f"info['choices'] is longer than {max_chars:,} characters; list fewer"
        )
    return tuple(listed)


def _short(value: Any, limit: int = 120) -> str:
    """A value as Python writes it, cut before it is written: it may be huge."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = limit
    text = brief.repr(value)
    size = f" ({len(value):,} characters)" if isinstance(value, str) and len(value) > limit else ""
    return text + size
