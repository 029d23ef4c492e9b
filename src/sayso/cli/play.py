"""``sayso play``: a person, or a scripted player, plays an environment in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sayso.cli.demos import arguments
from sayso.runs.terminal import printable

if TYPE_CHECKING:
    from sayso.envs.base import Observation, TextEnv
    from sayso.types import Task

Act = Callable[[Sequence[str]], str | None]
"""The next action, from the choices that are listed; None leaves the game."""


def run(
    env_id: str,
    *,
    task: str | None,
    split: str,
    player: str | None,
    seed: int,
    settings: Sequence[str],
) -> None:
    """Play one task to its end: what is shown, what it earned in each part, and the sum."""
    from sayso.envs.registry import source

    env = source(env_id, **arguments(settings)).open()
    chosen = _task(env, task, split, seed)
    act = _person() if player is None else _scripted(env, player, chosen, seed)
    print(f"{env_id}, task {printable(chosen.id)} ({chosen.split})")
    if player is None and sys.stdin.isatty():
        print("Type an answer, or a choice's number; \\n is a new line. Ctrl-D leaves the game.")
    _play(env, chosen, act, seed)


def _task(env: TextEnv, name: str | None, split: str, seed: int) -> Task:
    """The task named, else one that the seed draws."""
    from sayso.seeds import generator

    tasks = env.require_tasks(split)
    if name is not None:
        return env.task_by_id(name, split)
    return tasks[int(generator(seed, "play", split).integers(len(tasks)))]


def _scripted(env: TextEnv, name: str, task: Task, seed: int) -> Act:
    """A scripted player; it plays as in ``sayso demos`` with the same seed."""
    from sayso.envs.scripted import scripted
    from sayso.seeds import generator

    player = scripted(env, name)
    draws = generator(seed, "scripted", task.id, 0)

    def act(choices: Sequence[str]) -> str:
        del choices
        action = player.act(env, draws)
        print(f"{name}> {printable(action)}")
        return action

    return act


def _person() -> Act:
    """Lines of the standard input; a number stands for its choice."""

    def act(choices: Sequence[str]) -> str | None:
        before = None
        while True:
            said = _line()
            is_number = said is not None and said not in choices and said.strip().isdecimal()
            if said is None or not choices or not is_number:
                return said
            if 1 <= int(said) <= len(choices):
                return choices[int(said) - 1]
            if said == before:  # it is meant as it stands
                return said
            print(f"There are choices 1 to {len(choices)}. Type {said} again to say just that.")
            before = said

    return act


def _line() -> str | None:
    print("you> ", end="", flush=True)
    line = sys.stdin.readline()
    if not sys.stdin.isatty():  # a pipe does not show what was typed
        print(printable(line.rstrip("\n")))
    return line.rstrip("\n").replace("\\n", "\n") if line else None


def _play(env: TextEnv, task: Task, act: Act, seed: int) -> None:
    from sayso.seeds import generator

    env_seed = int(generator(seed, "scripted", task.id, "env").integers(2**31))
    shown, info = env.reset(seed=env_seed, options={"task": task.id, "split": task.split})
    total, turn, ending = 0.0, 0, ""
    while not ending:
        action = act(_show(shown, info))
        if action is None:
            ending = "left"
            break
        earned: Any  # gymnasium says float; here None is "not graded"
        shown, earned, terminated, truncated, info = env.step(action)
        turn += 1
        total += 0.0 if earned is None else float(earned)
        print(_earned(earned, info.get("reward_parts", {})))
        if terminated:
            ending = "terminated"
        elif truncated or (env.max_turns is not None and turn >= env.max_turns):
            ending = "truncated"
    if ending != "left" and not _is_empty(shown):
        print(_text(shown))
    print(f"{ending} after {turn} turn{'' if turn == 1 else 's'}, return {total:.3f}{_range(env)}")


def _show(shown: Observation, info: dict[str, Any]) -> tuple[str, ...]:
    """Print what a player sees; the choices."""
    print(f"\n{_text(shown)}")
    choices = tuple(map(str, info.get("choices", ())))
    for number, choice in enumerate(choices, 1):
        print(f"  {number}: {printable(choice)}")
    return choices


def _text(shown: Observation) -> str:
    if isinstance(shown, str):
        return printable(shown)
    from sayso.cli.media import drawn

    lines = []
    for message in shown:
        lines.append(f"{message.role}: {printable(message.content)}")
        lines += [drawn(media) for media in message.media]
    return "\n".join(lines)


def _is_empty(shown: Observation) -> bool:
    """Nothing is said: what environments show after the end."""
    return not (shown if isinstance(shown, str) else any(m.content for m in shown))


def _earned(reward: Any, parts: dict[str, Any]) -> str:
    """``reward 0.250 (valid 0.010, utility 0.240)``."""
    said = "not graded" if reward is None else f"reward {float(reward):.3f}"
    listed = ", ".join(
        f"{printable(name)} {'none' if value is None else f'{float(value):.3f}'}"
        for name, value in parts.items()
    )
    return f"{said} ({listed})" if listed else said


def _range(env: TextEnv) -> str:
    if env.reward_low is None or env.reward_high is None:
        return ""
    return f" (range {env.reward_low:g} to {env.reward_high:g})"
