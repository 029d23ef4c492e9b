"""Does an environment keep the contract, and is its reward easy to fool? For users to run."""

from __future__ import annotations

import io
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gymnasium.utils.env_checker import check_env

from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.listed import list_problems, places, tasks_of
from sayso.envs.registry import EnvSource, source
from sayso.errors import EnvContractError, ExtraMissingError, SaysoError, in_a_line
from sayso.rollout.boundary import Bounds, Outcome, reset_env, step_env
from sayso.rollout.limits import RolloutLimits
from sayso.seeds import generator
from sayso.types import Failure, Task

MAX_TURNS = 1_000
MAX_COMPARED_TURNS = 20
EXPLOIT_SHARE = 0.5
MAX_HASHED_TASKS = 5_000
NO_SPLIT = "no such split"
SLOW_S = 5.0
"""After so long the user is told what is being looked at."""
_log = logging.getLogger("sayso")
_LIMITS = RolloutLimits()
_BOUNDS = Bounds(max_reward=_LIMITS.max_reward, max_chars=_LIMITS.max_observation_chars)
Play = list[Outcome | Failure]


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

    Whatever the environment raises is one of the problems. Cheap tricks (an empty answer, the
    prompt copied back, its words repeated, endless output) are held against the range of the
    reward: ``reward_low`` and ``reward_high`` of the environment, if it names them. None may earn
    more than half of it.

    Args:
        env: Anything that ``sayso.GRPO`` takes as an environment.
        num_seeds: Seeds to play.
        exploits: Try the cheap tricks.
        seed: Decides what is played.
        **kwargs: Given to the environment's class.

    Raises:
        EnvContractError: Listing every problem.
        ExtraMissingError: If a package that the environment needs is not installed.
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
    started = time.monotonic()
    problems = _run(report, "constructor", lambda: _opens(opened))
    for name, check in checks if not problems else []:
        _tell_if_slow(opened, name, time.monotonic() - started)
        problems += _run(report, name, partial(check, opened, num_seeds, seed))
    if exploits and not problems:
        _tell_if_slow(opened, "exploits", time.monotonic() - started)
        problems = _run(
            report, "exploits", lambda: _exploits(opened, num_seeds, seed, report.exploits)
        )
    report.problems = list(dict.fromkeys(problems))
    if report.problems:
        raise EnvContractError(
            where=opened.id,
            problem="\n- " + "\n- ".join(report.problems) + "\n",
            fix="See docs/environments.md for the contract.",
        )
    return report


def _tell_if_slow(opened: EnvSource, name: str, seconds: float) -> None:
    if seconds > SLOW_S:
        _log.warning("%s: checking %s, after %.0f s", opened.id, name, seconds)


def _run(report: CheckReport, name: str, check: Callable[[], list[str]]) -> list[str]:
    """Problems of one check; what the user's code raises is one."""
    report.checked.append(name)
    try:
        found = check()
    except ExtraMissingError:
        raise
    except SaysoError as error:
        found = [f"{error.where}: {error.problem} {error.fix}"]
    except Exception as error:  # noqa: BLE001  # user code
        found = [in_a_line(error)]
    return [f"{name}: {problem}" for problem in found]


def _opens(opened: EnvSource) -> list[str]:
    opened.open()
    return []


def _gymnasium(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    """Gymnasium's own checker, which prints and warns."""
    del num_seeds, seed
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        check_env(opened.open(), skip_render_check=True)
    return []


def _tasks(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    del num_seeds, seed
    first, second = opened.open(), opened.open()
    problems = []
    for split in (*SPLITS, NO_SPLIT):
        try:
            one, two = tasks_of(first, split), tasks_of(second, split)
        except SaysoError as error:
            problems.append(f"{error.problem} {error.fix}")
            continue
        if split == "train" and not len(one):
            problems.append("the split 'train' is empty")
        picks = places(one, most=MAX_HASHED_TASKS)
        problems += list_problems(one, split)
        if len(one) != len(two) or [one[i] for i in picks] != [two[i] for i in picks]:
            problems.append(f"two environments list different tasks for {split!r}")
        if any(one[i].split != split for i in picks):
            problems.append(f"tasks listed under {split!r} name another split")
    return problems


def _splits(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    """No task's content may be in two splits."""
    del num_seeds, seed
    env, hashes = opened.open(), {}
    for split, tasks in _listed(env).items():
        if not list_problems(tasks, split):  # else told above
            hashes[split] = {tasks[i].content_hash for i in places(tasks, most=MAX_HASHED_TASKS)}
    problems, names = [], list(hashes)
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            shared = len(hashes[one] & hashes[two])
            if shared:
                problems.append(f"{shared} tasks have the same content in {one!r} and {two!r}")
    return problems


def _spaces(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    env, problems = opened.open(), []
    for task in _some(env, min(num_seeds, 5), seed):
        first = reset_env(env, task, seed, _BOUNDS)
        if isinstance(first, Outcome):
            problems += _outside(env, first)
    if not env.action_space.contains("Yes, 东 🙂."):
        problems.append(
            "action_space does not contain ordinary Unicode text, which models write; declare "
            "action_space = sayso.Utterance()"
        )
    return problems


def _outside(env: TextEnv, shown: Outcome) -> list[str]:
    if env.observation_space.contains(shown.observation):
        return []
    told = f"observation_space does not contain {str(shown.observation)[:60]!r}"
    return [f"{told}; declare observation_space = sayso.Utterance(), or sayso.Chat() for messages"]


def _determinism(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    one, two = opened.open(), opened.open()
    tasks = _some(one, num_seeds, seed)
    differing = []
    for task in tasks:
        plays = [_play(env, task, seed, MAX_COMPARED_TURNS) for env in (one, two)]
        has_failed = any(isinstance(play[-1], Failure) for play in plays)  # told by "episodes"
        if plays[0] != plays[1] and not has_failed:
            differing.append(task.id)
    if not differing:
        return []
    told = (
        f"{len(differing)} of {len(tasks)} tasks, for example {differing[0]}: the same seed and "
        "actions gave two different episodes; draw from self.np_random after "
        "super().reset(seed=seed)"
    )
    return [told]


def _episodes(opened: EnvSource, num_seeds: int, seed: int) -> list[str]:
    """Rewards, flags and ends of whole episodes, as training judges them."""
    env, problems = opened.open(), []
    tasks = _some(env, num_seeds, seed)
    failed: dict[str, list[Failure]] = {}
    is_graded = False
    for task in tasks:
        play = _play(env, task, seed, MAX_TURNS)
        last = play[-1]
        is_graded |= any(isinstance(o, Outcome) and o.reward is not None for o in play)
        if isinstance(last, Failure):
            failed.setdefault(last.kind, []).append(last)
            continue
        for outcome in play[1:]:  # the first is looked at above
            problems += _outside(env, outcome) if isinstance(outcome, Outcome) else []
        if not (last.terminated or last.truncated) and env.max_turns is None:
            problems.append(
                f"task {task.id} has no end after {MAX_TURNS} turns; truncate, or set max_turns"
            )
    for kind, failures in failed.items():
        told = _with_line(failures[0])
        problems.append(f"{len(failures)} of {len(tasks)} episodes are invalid ({kind}): {told}")
    if tasks and not failed and not is_graded:
        problems.append(
            "no episode was graded: every reward is None; a function without `return` returns None"
        )
    return problems


def _with_line(failure: Failure) -> str:
    """A failure's message, with the place in the user's file that a traceback ends at."""
    places = [line.strip() for line in failure.detail.splitlines() if line.startswith("  File ")]
    return f"{failure.message} ({places[-1].partition(', in ')[0]})" if places else failure.message


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
    problems: list[str] = []
    for name, trick in tricks.items():
        returns = []
        for task in _some(env, num_seeds, seed):
            play = _play(env, task, seed, env.max_turns or MAX_TURNS, trick)
            if isinstance(play[-1], Failure):
                problems.append(f"{name}: {_with_line(play[-1])}")
            returns.append(sum(o.reward or 0.0 for o in play if isinstance(o, Outcome)))
        found[name] = sum(returns) / len(returns)
    if low is None or high is None:
        return problems
    limit = low + EXPLOIT_SHARE * (high - low)
    return problems + [
        f"{name} earns {value:.3f} on average, more than half of the range [{low}, {high}]"
        for name, value in found.items()
        if value > limit
    ]


def _listed(env: TextEnv) -> dict[str, Sequence[Task]]:
    """Tasks of every split that can be listed; what cannot is told by the check of tasks."""
    found: dict[str, Sequence[Task]] = {}
    for split in SPLITS:
        try:
            found[split] = tasks_of(env, split)
        except SaysoError:
            continue
    return found


def _some(env: TextEnv, count: int, seed: int) -> list[Task]:
    """A few tasks of every split."""
    chosen: list[Any] = []
    for split, tasks in _listed(env).items():
        if len(tasks):
            picks = generator(seed, "check", split).integers(0, len(tasks), count)
            chosen += [tasks[int(i)] for i in dict.fromkeys(picks.tolist())]
    return [task for task in chosen if isinstance(task, Task)]


def _action(seed: int, turn: int) -> str:
    words = ("yes", "no", "move up", "move down", "a", "The dog sat by the old door.", "-1", "🙂")
    return words[int(generator(seed, "check action", turn).integers(len(words)))]


def _play(
    env: TextEnv,
    task: Task,
    seed: int,
    max_turns: int,
    trick: Callable[[str], str] | None = None,
) -> Play:
    """One episode as training judges it; a failure is its last part.

    Args:
        env: Where.
        task: What.
        seed: Of the reset, and of the actions.
        max_turns: When to stop.
        trick: The action, from the first observation; unset: some words.
    """
    first = reset_env(env, task, seed, _BOUNDS)
    play: Play = [first]
    if isinstance(first, Failure):
        return play
    shown = first.observation
    prompt = shown if isinstance(shown, str) else shown[-1].content
    for turn in range(max_turns):
        answer = step_env(env, task, trick(prompt) if trick else _action(seed, turn), _BOUNDS)
        play.append(answer)
        if isinstance(answer, Failure) or answer.terminated or answer.truncated:
            break
    return play
