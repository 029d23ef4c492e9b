"""The works that every benchmark runs; imports nothing of sayso, so that peers can read it too.

W1: prompts of 39 tokens, exactly 48 new ones. W2: 256, exactly 64. W3: 128, at most 256, ending
where the model ends. Eight prompts, eight completions each, temperature 1, the whole vocabulary.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

WORKS = {"W1": (39, 48, True), "W2": (256, 64, True), "W3": (128, 256, False)}
"""Prompt tokens, most new tokens, whether every answer has exactly that many."""
NUM_PROMPTS, GROUP_SIZE = 8, 8
TOPICS = ("harbour", "violin", "orchard", "lantern", "glacier", "market", "railway", "kitchen")
FILLER = (
    "Last year the town put up a sign about the {0}, and since then visitors have come with "
    "questions. The baker keeps a list of them. Some want to know how old the {0} is, some who "
    "looks after it, and one asked whether it can be heard at night. Nobody answers twice alike. "
)


def arguments() -> argparse.Namespace:
    """The command line of every script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", choices=WORKS, default="W1")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--lora", type=int, default=0)
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--what", choices=("rollout", "update", "step"), default="step")
    found = parser.parse_args()
    found.prompt_tokens, found.max_new, found.exact = WORKS[found.work]
    return found


def conversations(tokenizer: Any, prompt_tokens: int) -> list[list[dict[str, str]]]:
    """One chat prompt per topic, of at most so many tokens, as near to it as words allow."""

    def chat(topic: str, num_words: int) -> list[dict[str, str]]:
        words = (FILLER.format(topic) * 8).split()[:num_words]
        ask = f"Tell a short story about a {topic}."
        return [{"role": "user", "content": " ".join([*words, ask])}]

    def size(topic: str, num_words: int) -> int:
        text = tokenizer.apply_chat_template(
            chat(topic, num_words), tokenize=False, add_generation_prompt=True
        )
        return len(tokenizer(text).input_ids)

    found = []
    for topic in TOPICS[:NUM_PROMPTS]:
        num_words = 0
        while size(topic, num_words + 1) <= prompt_tokens:
            num_words += 1
        found.append(chat(topic, num_words))
    return found


def reward(text: str, work: str) -> float:
    """W3 has a binary reward, so that some groups carry no signal."""
    if work == "W3":
        return float(sum(text.count(mark) for mark in ".!?") % 2)
    return float(len(set(text.split())))


def report(**fields: Any) -> None:
    """One line of JSON."""
    print(json.dumps(fields), flush=True)
