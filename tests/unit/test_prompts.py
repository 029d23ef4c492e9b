"""A list of prompts and a function: what is held out, and what is refused at once."""

from __future__ import annotations

import json
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
        ({"prompts": [3]}, r"prompts\[0\]: is 3, which has neither a text"),
        ({"held_out": "hi"}, "held_out: is 'hi', which is no list"),
        ({"held_out": [{"text": "b"}]}, r"held_out\[0\]: is .* nor messages under 'prompt'"),
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


SYSTEM = {"role": "system", "content": "Answer with one word."}


def asked(text: str) -> list[dict[str, str]]:
    return [SYSTEM, {"role": "user", "content": text}]


def test_a_prompt_may_be_a_conversation() -> None:
    seen: list[Any] = []

    def judge(prompt: Any, completion: str, answer: str) -> bool:
        seen.append(prompt)
        return completion == answer

    rows = [{"prompt": asked(f"Say {n}."), "answer": str(n)} for n in range(5)]
    env = sayso.PromptEnv(prompts=rows, reward=judge)
    assert sum(sizes(env)) == 5
    task = env.tasks("train")[0]
    observation, _ = env.reset(options={"task": task.id})
    assert observation == (
        sayso.Message("system", SYSTEM["content"]),
        sayso.Message("user", task.payload["prompt"][1]["content"]),
    )
    assert env.observation_space.contains(observation)
    end, reward, *_ = env.step(task.payload["answer"])
    assert env.observation_space.contains(end)
    assert reward is True
    assert seen == [task.payload["prompt"]]
    assert sayso.check_text_env(env).problems == []


def test_conversations_of_messages_and_texts_may_be_mixed() -> None:
    chat = [sayso.Message("system", "Be brief."), sayso.Message("user", "Say a.")]
    env = sayso.PromptEnv(prompts=[chat, "Say b."], held_out=["Say b."], reward=words)
    assert sizes(env) == (1, 1)
    shown = env.reset(options={"split": "held_out"})[0]
    assert shown == (sayso.Message("user", "Say b."),)
    assert env.tasks("train")[0].payload["prompt"][0] == {"role": "system", "content": "Be brief."}
    assert isinstance(json.dumps(env.process_spec), str)


def test_the_same_conversation_is_one_task_and_in_one_split() -> None:
    rows = [{"prompt": asked("a"), "style": s} for s in "xyx"] + [
        {"prompt": asked("b"), "style": "x"}
    ]
    env = sayso.PromptEnv(prompts=rows, reward=lambda prompt, completion, style: 0.0)
    assert sum(sizes(env)) == 3


@pytest.mark.parametrize(
    "odd",
    [[], [{"role": "judge", "content": "a"}], [{"role": "user"}], [{"role": "user", "content": 3}]],
)
def test_what_is_no_conversation_is_refused_with_the_form(odd: Any) -> None:
    with pytest.raises(EnvContractError, match="neither a text nor messages under 'prompt'") as no:
        sayso.PromptEnv(prompts=[{"prompt": odd}], reward=words)
    assert '[{"role": "user", "content": "Hello"}]' in str(no.value)


def test_a_reward_written_for_batches_is_told_that_it_is_called_for_each() -> None:
    def theirs(prompts: list[str], completions: list[str], **rest: Any) -> list[float]:
        return [0.0 for _ in completions]

    with pytest.raises(EnvContractError, match="once for each completion") as raised:
        sayso.PromptEnv(prompts=["a", "b"], reward=theirs)
    assert "reward 'theirs': takes `prompts` and `completions`" in str(raised.value)
    with pytest.raises(EnvContractError, match="takes `completions`, lists of"):
        sayso.PromptEnv(prompts=["a"], reward=lambda completions, **rest: [0.0])
