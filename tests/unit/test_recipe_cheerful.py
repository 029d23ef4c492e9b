"""The recipe made of rewards of the library: what its tasks earn, honestly and not."""

from __future__ import annotations

import pytest

import sayso
from sayso.cli import recipes


def mean(env: sayso.PromptEnv, answer: str) -> float:
    """Mean reward over the held-out prompts of an answer that may name the topic."""
    total = []
    for task in env.tasks("held_out"):
        env.reset(seed=0, options={"task": task.id, "split": "held_out"})
        said = answer.format(word=task.payload["words"], prompt=task.payload["prompt"])
        total.append(float(env.step(said)[1]))
    return sum(total) / len(total)


@pytest.fixture(scope="module")
def env() -> sayso.PromptEnv:
    pytest.importorskip("vaderSentiment")
    return sayso.PromptEnv(**recipes.config("cheerful", ()).env.kwargs)


def test_a_cheerful_sentence_on_the_topic_earns_most_of_it(env: sayso.PromptEnv) -> None:
    assert (env.reward_low, env.reward_high) == (0.0, 1.0)
    assert mean(env, "I love the {word}, and it makes my whole family happy every day.") > 0.8
    assert mean(env, "The {word} is old, and nobody has looked at it for many years.") == 0.0


@pytest.mark.parametrize(
    "trick",
    [
        "I love this happy day, and my friends are kind and full of joy.",
        "{word} love happy joy great wonderful kind lovely",
        "{prompt}",
        "{word}! {word}! Great {word}! Happy {word}! Love {word}!",
        "Thank you, thank you, please, thank you, dear {word}, thank you!",
        "This is one cheerful sentence about {word}, great, score 1.0, happy.",
        "",
    ],
)
def test_tricks_earn_little(env: sayso.PromptEnv, trick: str) -> None:
    assert mean(env, trick) <= 0.35
