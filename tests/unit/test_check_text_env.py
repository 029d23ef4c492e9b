"""The checker lists what is wrong; it never dies of it, and agrees with training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import sayso
from sayso.envs.tasks import LazyTasks
from sayso.errors import EnvContractError


class Sound(sayso.TextEnv):
    max_turns = 1

    def tasks(self, split: str) -> Any:
        return [
            sayso.Task(id=f"{split}-{n}", env="Sound", split=split, payload={"n": f"{split} {n}"})
            for n in range(4 if split in {"train", "held_out"} else 0)
        ]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.choose(seed, options)
        return "Say a.", {}

    def step(self, action: str) -> Any:
        return "", float("a" in action), True, False, {}


def raising(self: Any, *_: Any, **__: Any) -> Any:
    raise KeyError("answer")


def made(**methods: Callable[..., Any]) -> type[sayso.TextEnv]:
    return type("Odd", (Sound,), methods)


def with_tasks(change: Callable[[list[Any]], Any]) -> type[sayso.TextEnv]:
    return made(tasks=lambda self, split: change(Sound.tasks(self, split)))


def numbered(rows: list[Any]) -> list[Any]:
    return [
        sayso.Task(id=n, env="Odd", split=r.split, payload=r.payload)  # type: ignore[arg-type]
        for n, r in enumerate(rows)
    ]


def known_only(self: Any, split: str) -> Any:
    return {"train": Sound.tasks(self, "train")}[split]


MISTAKES: list[tuple[type[sayso.TextEnv], str]] = [
    (made(step=raising), "episodes: 8 of 8 episodes are invalid (env_raised): Sound, task"),
    (made(step=lambda self, action: ("", 1.0, {})), "step returned ('', 1.0, {}); return (obs"),
    (
        made(step=lambda self, action: ("", 1.0, True, False, None)),
        "info is None (NoneType); return {}",
    ),
    (made(__init__=raising), "constructor: KeyError: 'answer' (test_check_text_env.py, line"),
    (made(reset=raising), "reset with seed 0: raised KeyError: 'answer'"),
    (made(tasks=known_only), "tasks('held_out') raises KeyError: 'held_out' (test_check"),
    (made(tasks=known_only), "tasks('no such split') raises KeyError"),
    (made(tasks=lambda self, split: None), "tasks('train') returned a NoneType. Write tasks("),
    (made(tasks=lambda self, split: (t for t in ())), "tasks('train') returned a generator."),
    (
        with_tasks(lambda rows: [sayso.Task(id=r.id, env="Odd", split=r.split,
                                            payload={"n": np.int64(1)}) for r in rows]),
        "payload.n: np.int64(1) (int64) is not a JSON value",
    ),
    (with_tasks(numbered), "task 0 of 'train' has the id 0 (int); use text"),
    (made(step=lambda self, action: ("", None, True, False, {})), "no episode was graded"),
]  # fmt: skip


@pytest.mark.parametrize(("env", "says"), MISTAKES)
def test_a_mistake_is_a_problem_among_others(env: type[sayso.TextEnv], says: str) -> None:
    with pytest.raises(EnvContractError, match="See docs/environments") as raised:
        sayso.check_text_env(env)
    assert says in str(raised.value)


def test_what_a_prompt_env_reward_raises_is_told_with_its_line() -> None:
    def judge(prompt: str, completion: str) -> float:
        return {"a": 1.0}[completion]

    env = sayso.PromptEnv(prompts=["a", "b", "c"], reward=judge)
    with pytest.raises(EnvContractError, match=r"raised KeyError.*test_check_text_env\.py"):
        sayso.check_text_env(env)


@pytest.mark.parametrize("value", [torch.tensor(0.0), np.float32(0), False, np.array(0.0)])
def test_what_training_takes_for_a_reward_the_checker_takes(value: Any) -> None:
    env = made(step=lambda self, action: ("", value, np.True_, False, {}))
    assert sayso.check_text_env(env).problems == []


def test_an_environment_that_follows_the_clock_is_told_once() -> None:
    def reset(self: Any, *, seed: int | None = None, options: Any = None) -> Any:
        Clock.now += 1
        return f"It is {Clock.now}.", {}

    class Clock:
        now = 0

    with pytest.raises(EnvContractError) as raised:
        sayso.check_text_env(made(reset=reset))
    assert str(raised.value).count("two different episodes") == 1
    assert "8 of 8 tasks, for example train-" in str(raised.value)


def test_of_tasks_that_are_made_when_looked_at_a_few_hundred_are_looked_at() -> None:
    made = []

    def make(split: str) -> Any:
        def one(n: int) -> sayso.Task:
            made.append((split, n))
            return sayso.Task(id=f"{n}", env="Odd", split=split, payload={"n": f"{split} {n}"})

        return LazyTasks(4_000, one, int)

    kept = {split: make(split) for split in ("train", "held_out")}

    class Lazy(Sound):
        def tasks(self, split: str) -> Any:
            return kept.get(split, ())

    assert sayso.check_text_env(Lazy, num_seeds=2).problems == []
    assert 300 < len(set(made)) < 500


def test_a_space_that_is_too_narrow_comes_with_the_remedy() -> None:
    class Narrow(Sound):
        observation_space = gymnasium.spaces.Text(200)
        action_space = gymnasium.spaces.Text(200)

    with pytest.raises(EnvContractError) as raised:
        sayso.check_text_env(Narrow)
    said = str(raised.value)
    assert said.count("observation_space does not contain 'Say a.'; declare") == 1
    assert said.count("action_space = sayso.Utterance()") == 1
