"""The works that every benchmark runs; imports nothing of sayso, so that peers can read it too.

W1: prompts of 39 tokens, exactly 48 new ones. W2: 256, exactly 64. W3: 128, at most 256, ending
where the model ends. Eight prompts, eight completions each, temperature 1, the whole vocabulary.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process measures; its command line and back.

    Attributes:
        model: A Hugging Face directory.
        work: ``"W1"``, ``"W2"`` or ``"W3"``.
        what: ``"rollout"``, ``"update"`` or ``"step"``.
        repeats: Timed repetitions, after one that warms up.
        threads: Threads of the process.
        micro_batch: Rows of one forward pass of a peer.
        lora: Rank of adapters; 0 trains all weights.
        precision: Ours only: ``"exact"`` or ``"int8"`` sampling.
        shipped: Peers only: with the defaults they ship with.
        gate: A saved batch: compute its loss and gradient, time nothing.
        out: Where the gradient goes.
    """

    model: str
    work: str = "W1"
    what: str = "step"
    repeats: int = 2
    threads: int = 2
    micro_batch: int = 16
    lora: int = 0
    precision: str = "exact"
    shipped: int = 0
    gate: str = ""
    out: str = ""

    @property
    def prompt_tokens(self) -> int:
        """Most tokens of a prompt, template included."""
        return WORKS[self.work][0]

    @property
    def max_new(self) -> int:
        """Most new tokens."""
        return WORKS[self.work][1]

    @property
    def exact(self) -> bool:
        """Every answer has exactly that many."""
        return WORKS[self.work][2]

    def arguments(self) -> list[str]:
        """As ``parse`` reads them."""
        return [f"--{name}={value}" for name, value in asdict(self).items()]


def parse() -> Job:
    """The command line of a script."""
    parser = argparse.ArgumentParser()
    for name, default in asdict(Job(model="")).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return Job(**vars(parser.parse_args()))


def conversations(tokenizer: Any, prompt_tokens: int) -> list[list[dict[str, str]]]:
    """One chat prompt per topic, of at most so many tokens, as near to it as words allow."""

    def chat(topic: str, num_words: int) -> list[dict[str, str]]:
        words = (FILLER.format(topic) * 8).split()[:num_words]
        ask = f"Write a two sentence story about a {topic}."
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
    """W3 has a binary reward, whether it is two sentences: some groups carry no signal."""
    if work == "W3":
        return float(sum(text.count(mark) for mark in ".!?") == 2)
    return float(len(set(text.split())))


def report(**fields: Any) -> None:
    """One line of JSON."""
    print(json.dumps(fields), flush=True)
