"""A list of prompts and a function: what is held out, and what is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

import sayso
from sayso.errors import EnvContractError, UnknownNameError


def words(prompt: str, completion: str) -> float:
    return float(len(completion.split()))


def sizes(env: sayso.PromptEnv) -> tuple[int, int]:
    return len(env.tasks("train")), len(env.tasks("held_out"))


@pytest.mark.parametrize("num_prompts", range(2, 12))
def test_of_a_few_prompts_one_is_held_out_and_never_all(num_prompts: int) -> None:
    env = sayso.PromptEnv(prompts=[f"Say {i}." for i in range(num_prompts)], reward=words)
    train, held_out = sizes(env)
    assert train + held_out == num_prompts
    assert train >= 1
    assert held_out >= 1


def test_rows_of_the_one_text_held_out_are_held_out_together() -> None:
    rows = [{"prompt": p, "style": s} for p in ("a", "b") for s in "xyz"]
    env = sayso.PromptEnv(prompts=rows, reward=lambda prompt, completion, style: 0.0)
    assert sizes(env) == (3, 3)


def test_with_one_prompt_the_error_says_why_nothing_is_held_out() -> None:
    env = sayso.PromptEnv(prompts=["Hello", "Hello"], reward=words)
    assert sizes(env) == (1, 0)
    with pytest.raises(UnknownNameError) as caught:
        env.reset(options={"split": "held_out"})
    assert str(caught.value) == (
        "[ENV-002] PromptEnv, split 'held_out': has no tasks. Splits with tasks: train (1). "
        "There is one prompt, which is trained on: pass two or more, or held_out=[...]."
    )


def test_a_split_without_tasks_lists_those_that_have_some_with_their_sizes() -> None:
    env = sayso.PromptEnv(prompts=["a", "b", "c"], held_out=["b"], reward=words)
    with pytest.raises(
        UnknownNameError, match=r"Splits with tasks: train \(2\), held_out \(1\)\.$"
    ):
        env.reset(options={"split": "unseen"})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"prompts": "hi"}, r"prompts: is 'hi', which is no list of prompts"),
        ({"prompts": 3}, r"prompts: is 3, which is no list"),
        (
            {"prompts": {"train": ["a"], "test": ["b"]}},
            r"a mapping with the keys \['train', 'test'",
        ),
        ({"prompts": [3]}, r"prompts\[0\]: is 3, which has no text"),
        ({"held_out": "hi"}, "held_out: is 'hi', which is no list"),
        ({"held_out": [{"text": "b"}]}, r"held_out\[0\]: is .* no text under 'prompt'"),
        ({"reward": 1}, "reward: is 1, which cannot be called"),
        ({"reward": None}, "reward: is None, which cannot be called"),
        ({"reward": lambda completion: 0.0}, r"cannot be called as reward\(prompt, completion\)"),
        (
            {"prompts": [{"prompt": "a", "answer": 1}], "reward": words},
            r"reward 'words': cannot be called as reward\(prompt, completion, answer\)",
        ),
        (
            {"prompts": [{"prompt": "a", "completion": "b"}], "reward": words},
            "multiple values for argument 'completion'",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(EnvContractError, match=says):
        sayso.PromptEnv(**{"prompts": ["a", "b"], "reward": words, **wrong})


def test_a_reward_that_does_not_tell_its_signature_is_taken() -> None:
    class Silent:
        __signature__ = "none"

        def __call__(self, *args: Any, **kwargs: Any) -> float:
            return 1.0

    env = sayso.PromptEnv(prompts=["a"], reward=Silent())
    env.reset()
    assert env.step("b")[1] == 1.0
