"""A look at an environment before a model is loaded: what is broken shows within seconds."""

from __future__ import annotations

from sayso.envs.listed import list_problems
from sayso.envs.registry import EnvSource
from sayso.errors import EnvContractError, SaysoError, in_a_line
from sayso.rollout.boundary import Outcome
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import EnvPool, pool_for
from sayso.seeds import generator
from sayso.types import Failure, Task

DUMMY_ACTIONS = ("A dog sat by the door.", "yes", "")
MAX_TURNS = 3
NUM_LISTED_TASKS, NUM_LISTED_TURNS = 16, 8


def preflight(
    source: EnvSource, *, seed: int, split: str = "train", limits: RolloutLimits | None = None
) -> list[str]:
    """Look at the list of tasks, then play two short episodes twice with dummy actions.

    It stops at the first thing that is not sound. The second time is on the same object: an
    environment that carries something over from one episode to the next shows here, as does one
    that ignores its seed.

    Returns:
        What is wrong, in sentences; empty when nothing is.
    """
    try:
        tasks = source.open().require_tasks(split, where=source.id)
        if problems := list_problems(tasks, split):
            return [f"{source.id}: {problem}" for problem in problems]
        chosen = [tasks[0], tasks[len(tasks) - 1]]
        pool = pool_for(source, limits or RolloutLimits())
    except SaysoError as error:
        return [str(error)]
    except Exception as error:  # noqa: BLE001  # the user's constructor or list of tasks
        return [f"{source.id} cannot be opened: {in_a_line(error)}"]
    for task in chosen:
        first = _play(pool, task, seed, 0)
        problems = [
            f"{result.kind}: {result.message}\n{result.detail}".rstrip()
            for result in first
            if isinstance(result, Failure)
        ]
        if not problems and _play(pool, task, seed, 1) != first:
            problems.append(
                f"{source.id}, task {task.id}: the same seed and actions gave two different "
                "episodes; draw from self.np_random after super().reset(seed=seed), and let "
                "nothing remain from the episode before"
            )
        if problems:
            return problems
    return []


def require_sound(
    source: EnvSource, *, seed: int, split: str = "train", limits: RolloutLimits | None = None
) -> None:
    """Raise what ``preflight`` finds.

    Raises:
        EnvContractError: Listing all of it, or saying why the environment cannot be opened.
        UnknownNameError: If the split has no tasks.
    """
    try:  # what is told in our own words needs no others around it
        source.open().require_tasks(split, where=source.id)
    except SaysoError:
        raise
    except Exception as error:  # noqa: BLE001  # the user's constructor; told below
        del error
    problems = preflight(source, seed=seed, split=split, limits=limits)
    if problems:
        raise EnvContractError(
            where=source.id,
            problem="does not play: " + "\n".join(problems).rstrip(".") + ".",
            fix="Mend it; sayso.check_text_env(env) checks everything at once.",
        )


def listed_actions(
    source: EnvSource, *, seed: int, split: str = "train", limits: RolloutLimits | None = None
) -> set[str]:
    """Actions that an environment lists over a few tasks, in which listed ones are taken.

    Args:
        source: How to open it.
        seed: Decides which tasks, and what is taken.
        split: Which tasks.
        limits: Those of the run.

    Returns:
        All that were listed; empty where none are. Tasks not played may list others.
    """
    tasks = source.open().require_tasks(split, where=source.id)
    pool = pool_for(source, limits or RolloutLimits())
    found: set[str] = set()
    for number in range(NUM_LISTED_TASKS):
        draws = generator(seed, "listed", number)
        task, key = tasks[int(draws.integers(len(tasks)))], f"listed/{number}"
        try:
            (shown,) = pool.reset([(key, task, seed)])
            for _ in range(NUM_LISTED_TURNS):
                if isinstance(shown, Failure) or not shown.choices:
                    break
                found |= set(shown.choices)
                if shown.terminated or shown.truncated:
                    break
                taken = shown.choices[int(draws.integers(len(shown.choices)))]
                (shown,) = pool.step([(key, taken)])
        finally:
            pool.close(key)
    return found


def _play(pool: EnvPool, task: Task, seed: int, attempt: int) -> list[Outcome | Failure]:
    key = f"preflight/{task.id}/{attempt}"
    try:
        results = pool.reset([(key, task, seed)])
        for action in DUMMY_ACTIONS[:MAX_TURNS]:
            last = results[-1]
            if isinstance(last, Failure) or last.terminated or last.truncated:
                break
            results += pool.step([(key, action)])
        return results
    finally:
        pool.close(key)
