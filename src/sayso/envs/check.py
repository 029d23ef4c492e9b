"""Does an environment keep the contract, and is its reward easy to fool? For users to run."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import check_env

from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.registry import EnvSource, source
from sayso.errors import EnvContractError
from sayso.seeds import generator
from sayso.types import Task

MAX_TURNS = 1_000
EXPLOIT_SHARE = 0.5
MAX_HASHED_TASKS = 5_000


@dataclass(slots=True)
class CheckReport:
    """What was looked at and what was found.

    Attributes:
        checked: Names of the checks that ran.
        problems: What is wrong, in sentences.
        exploits: Mean return of each cheap trick, and of a plain answer.
    """

    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    exploits: dict[str, float] = field(default_factory=dict)


def check_text_env(
    env: Any, *, num_seeds: int = 20, exploits: bool = True, seed: int = 0, **kwargs: Any
) -> CheckReport:
    """Check everything that training relies on; list all that is wrong at once.

    Cheap tricks (an empty answer, the prompt copied back, its words repeated, endless output) are
    held against the range of the reward: ``reward_low`` and ``reward_high`` of the environment, if
    it names them. None may earn more than half of it.

    Args:
        env: Anything that ``sayso.GRPO`` takes as an environment.
        num_seeds: Seeds to play.
        exploits: Try the cheap tricks.
        seed: Decides what is played.
        **kwargs: Given to the environment's class.

    Raises:
        EnvContractError: Listing every problem.
    """
    opened = env if isinstance(env, EnvSource) else source(env, **kwargs)
    report = CheckReport()
    checks: list[tuple[str, Callable[[EnvSource, int, int], list[str]]]] = [
        ("gymnasium", _gymnasium),
        ("tasks", _tasks),
        ("splits", _splits),
        ("spaces", _spaces),
        ("determinism", _determinism),
        ("episodes", _episodes),
    ]
    for name, check in checks:
        report.checked.append(name)
        report.problems += [f"{name}: {p}" for p in check(opened, num_seeds, seed)]
    if exploits and not report.problems:
        report.checked.append("exploits")
        report.problems += _exploits(opened, num_seeds, seed, report.exploits)
    if report.problems:
        raise EnvContractError(
            where=opened.id,
            problem="\n- " + "\n- ".join(dict.fromkeys(report.problems)) + "\n",
            fix="See docs/environments.md for the contract.",
        )
    return report


def _gymnasium(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    """Gymnasium's own checker, which prints and warns."""
    del num_seeds, seed
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            check_env(opened.open(), skip_render_check=True)
    except Exception as error:  # noqa: BLE001  # user code and assertions of the checker
        return [f"{type(error).__name__}: {error}"]
    return []


def _tasks(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    del num_seeds, seed
    first, second = opened.open(), opened.open()
    problems = []
    if not len(first.tasks("train")):
        problems.append("the split 'train' is empty")
    for split in SPLITS:
        one, two = first.tasks(split), second.tasks(split)
        picks = _picks(one)
        if len(one) != len(two) or [one[i] for i in picks] != [two[i] for i in picks]:
            problems.append(f"two environments list different tasks for {split!r}")
        ids = [one[i].id for i in picks]
        if len(set(ids)) != len(ids):
            problems.append(f"task ids of {split!r} are not unique")
        if any(one[i].split != split for i in picks):
            problems.append(f"tasks listed under {split!r} name another split")
    return problems


def _splits(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    """No task's content may be in two splits."""
    del num_seeds, seed
    env = opened.open()
    hashes = {
        split: {env.tasks(split)[i].content_hash for i in _picks(env.tasks(split))}
        for split in SPLITS
    }
    problems = []
    for index, one in enumerate(SPLITS):
        for two in SPLITS[index + 1 :]:
            shared = len(hashes[one] & hashes[two])
            if shared:
                problems.append(f"{shared} tasks have the same content in {one!r} and {two!r}")
    return problems


def _spaces(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    env, problems = opened.open(), []
    for task in _some(env, min(num_seeds, 5), seed):
        observation, _ = _reset(env, task, seed)
        if not env.observation_space.contains(observation):
            problems.append(f"observation_space does not contain {str(observation)[:60]!r}")
        if not env.action_space.contains("Yes, 东 🙂."):
            problems.append("action_space does not contain ordinary Unicode text")
    return problems


def _determinism(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    one, two = opened.open(), opened.open()
    return [
        f"task {task.id}: the same seed and actions gave two different episodes; draw from "
        "self.np_random after super().reset(seed=seed)"
        for task in _some(one, num_seeds, seed)
        if _transcript(one, task, seed) != _transcript(two, task, seed)
    ]


def _episodes(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    """Rewards, flags and ends of whole episodes."""
    env, problems = opened.open(), []
    for task in _some(env, num_seeds, seed):
        _reset(env, task, seed)
        for turn in range(MAX_TURNS):
            answer: Any = env.step(_action(seed, turn))
            observation, reward, terminated, truncated, info = answer
            problems += _reward_problems(reward, "reward")
            parts = info.get("reward_parts", {})
            for name, part in parts.items():
                problems += _reward_problems(part, f"reward part {name!r}")
            for name, flag in (("terminated", terminated), ("truncated", truncated)):
                if not isinstance(flag, bool | np.bool_):
                    problems.append(f"{name} is {flag!r}, not a bool")
            if not env.observation_space.contains(observation):
                problems.append(f"observation_space does not contain {str(observation)[:60]!r}")
            if terminated or truncated:
                break
        else:
            if env.max_turns is None:
                problems.append(
                    f"task {task.id} has no end after {MAX_TURNS} turns; truncate, or set max_turns"
                )
    return problems


def _reward_problems(value: Any, name: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, bool | np.bool_ | int | float | np.number):
        return [f"{name} is {value!r} ({type(value).__name__}); return a float or None"]
    return [] if math.isfinite(float(value)) else [f"{name} is {value}"]


def _exploits(opened: EnvSource, num_seeds: int, seed: int, found: dict[str, float]) -> list[str]:
    """Cheap tricks must not score well."""
    env = opened.open()
    low, high = getattr(env, "reward_low", None), getattr(env, "reward_high", None)
    tricks: dict[str, Callable[[str], str]] = {
        "empty answer": lambda _: "",
        "prompt copied back": lambda prompt: prompt,
        "keyword stuffing": lambda prompt: " ".join(sorted(set(prompt.split()))) * 2,
        "endless output": lambda prompt: (prompt.split() or ["word"])[-1].join([" "] * 2_000),
    }
    for name, trick in tricks.items():
        returns = []
        for task in _some(env, num_seeds, seed):
            observation, _ = _reset(env, task, seed)
            prompt = observation if isinstance(observation, str) else observation[-1].content
            total, ended = 0.0, False
            for _ in range(MAX_TURNS if env.max_turns is None else env.max_turns):
                answer: Any = env.step(trick(prompt))
                _, reward, terminated, truncated, _ = answer
                total += float(reward or 0.0)
                ended = terminated or truncated
                if ended:
                    break
            returns.append(total)
        found[name] = sum(returns) / len(returns)
    if low is None or high is None:
        return []
    limit = low + EXPLOIT_SHARE * (high - low)
    return [
        f"{name} earns {value:.3f} on average, more than half of the range [{low}, {high}]"
        for name, value in found.items()
        if value > limit
    ]


def _some(env: TextEnv, count: int, seed: int) -> list[Task]:
    """A few tasks of every split."""
    chosen = []
    for split in SPLITS:
        tasks = env.tasks(split)
        if len(tasks):
            picks = generator(seed, "check", split).integers(0, len(tasks), count)
            chosen += [tasks[int(i)] for i in dict.fromkeys(picks.tolist())]
    return chosen


def _picks(tasks: Sequence[Task]) -> list[int]:
    """Every index, or evenly spread ones of a long list."""
    step = max(1, len(tasks) // MAX_HASHED_TASKS)
    return list(range(0, len(tasks), step))


def _reset(env: TextEnv, task: Task, seed: int) -> tuple[Any, dict[str, Any]]:
    return env.reset(seed=seed, options={"task": task.id, "split": task.split})


def _action(seed: int, turn: int) -> str:
    words = ("yes", "no", "move up", "move down", "a", "The dog sat by the old door.", "-1", "🙂")
    return words[int(generator(seed, "check action", turn).integers(len(words)))]


def _transcript(env: TextEnv, task: Task, seed: int) -> list[Any]:
    """Everything an episode says, for comparing two of them."""
    observation, info = _reset(env, task, seed)
    said: list[Any] = [observation, list(info.get("choices", ()))]
    for turn in range(20):
        observation, reward, terminated, truncated, info = env.step(_action(seed, turn))
        said.append((observation, reward, terminated, truncated, str(info.get("reward_parts"))))
        if terminated or truncated:
            break
    return said
