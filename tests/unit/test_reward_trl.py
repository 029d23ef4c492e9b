"""Reward functions as they stand in TRL's documentation and scripts, unchanged."""

from __future__ import annotations

import asyncio
import copy
import re
from typing import Any

import numpy as np
import pytest

import sayso
from sayso import rewards
from sayso.errors import EnvContractError, OptionValueError

ASK = [{"role": "user", "content": "What is 2 + 2?"}]


def length(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


def boxed(completions: list[str], ground_truth: list[str], **kwargs: Any) -> list[float]:
    found = [re.search(r"\\boxed\{(.*?)\}", completion) for completion in completions]
    said = [match.group(1) if match else "" for match in found]
    return [1.0 if a == b else 0.0 for a, b in zip(said, ground_truth, strict=True)]


def tagged(completions: list[list[dict[str, str]]], **kwargs: Any) -> list[float]:
    pattern = r"^<think>.*?</think><answer>.*?</answer>$"
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(pattern, content) else 0.0 for content in contents]


def only_maths(
    prompts: list[Any], completions: list[str], task: list[str], **kwargs: Any
) -> list[float | None]:
    return [1.0 if name == "math" else None for name in task]


async def slow(completions: list[str], **kwargs: Any) -> list[float]:
    return [0.5 for _ in completions]


def test_a_function_of_lists_grades_one_completion() -> None:
    assert rewards.trl(length)("p", "four") == 4.0
    assert rewards.trl(boxed)("p", r"\boxed{4}", ground_truth="4", unused=1) == 1.0


def test_completions_are_messages_where_prompts_are() -> None:
    good = "<think>2 + 2</think><answer>4</answer>"
    assert rewards.trl(tagged)(ASK, good) == 1.0
    assert rewards.trl(tagged)(ASK, "4") == 0.0


def test_none_is_not_graded() -> None:
    assert rewards.trl(only_maths)("p", "x", task="code") is None
    assert rewards.trl(only_maths)("p", "x", task="math") == 1.0


def test_an_async_function_is_awaited_and_arrays_are_lists() -> None:
    assert rewards.trl(slow)("p", "x") == 0.5
    assert rewards.trl(lambda completions, **_: np.array([0.25]))("p", "x") == 0.25


def test_several_are_a_weighted_sum_with_a_part_each() -> None:
    reward = rewards.trl([length, boxed], weights=[0.1, 2.0])
    assert reward("p", r"\boxed{4}", ground_truth="4") == {
        "length": pytest.approx(0.9),
        "boxed": 2.0,
    }


def test_what_a_function_does_not_take_is_not_passed() -> None:
    assert rewards.trl(lambda completions: [1.0])("p", "x", answer=3) == 1.0


def test_in_prompt_env_with_rows_of_a_data_set() -> None:
    rows = [{"prompt": ASK, "ground_truth": str(n), "task": "math"} for n in range(5)]
    env = sayso.PromptEnv(prompts=rows, reward=rewards.trl([boxed_chat, only_maths]))
    env = copy.deepcopy(env)
    _, info = env.reset(seed=1)
    truth = env._task.payload["ground_truth"]  # type: ignore[union-attr]
    _, reward, terminated, _, info = env.step(rf"\boxed{{{truth}}}")
    assert (reward, terminated) == (2.0, True)
    assert info["reward_parts"] == {"boxed_chat": 1.0, "only_maths": 1.0}


def boxed_chat(completions: Any, ground_truth: list[str], **kwargs: Any) -> list[float]:
    return boxed([completion[0]["content"] for completion in completions], ground_truth)


def test_unwrapped_it_is_refused_with_what_to_write() -> None:
    with pytest.raises(EnvContractError, match=r"sayso\.rewards\.trl\(function\)"):
        sayso.PromptEnv(prompts=["a", "b"], reward=length)


def test_a_column_that_is_not_there_is_named_before_anything_is_sampled() -> None:
    with pytest.raises(EnvContractError, match="reads the columns ground_truth"):
        sayso.PromptEnv(prompts=["a", "b"], reward=rewards.trl(boxed))


@pytest.mark.parametrize(
    "broken",
    [
        lambda completions, **_: 1.0,
        lambda completions, **_: [1.0, 2.0],
        lambda completions, **_: [],
        lambda completions, **_: [float("nan")],
        lambda completions, **_: {"a": 1.0},
        lambda completions, **_: ["1"],
    ],
)
def test_an_answer_of_the_wrong_shape_is_an_error_and_never_a_zero(broken: Any) -> None:
    with pytest.raises(EnvContractError):
        rewards.trl(broken)("p", "x")


def needs_ids(completions: Any, completion_ids: Any, **kwargs: Any) -> list[float]:
    return [0.0]


def may_use_ids(completions: Any, completion_ids: Any = None, **kwargs: Any) -> list[float]:
    return [0.0]


def test_token_ids_are_not_here() -> None:
    with pytest.raises(OptionValueError, match="needs completion_ids"):
        rewards.trl(needs_ids)
    assert rewards.trl(may_use_ids)("p", "x") == 0.0


def test_weights_must_be_as_many_and_names_different() -> None:
    with pytest.raises(OptionValueError, match="2 functions and 1 weights"):
        rewards.trl([length, boxed], weights=[1.0])
    with pytest.raises(OptionValueError, match="one name"):
        rewards.trl([length, length])
    with pytest.raises(OptionValueError, match="cannot be called"):
        rewards.trl(["accuracy"])  # type: ignore[list-item]


def test_an_async_function_runs_inside_a_loop_that_runs_as_in_a_notebook() -> None:
    async def cell() -> Any:
        return rewards.trl(slow)("", "abc")

    assert asyncio.run(cell()) == rewards.trl(slow)("", "abc")
