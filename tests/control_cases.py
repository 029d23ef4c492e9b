"""Small frozen models and tasks whose reward can be moved, for tests of control."""

from __future__ import annotations

from typing import Any

import torch

import sayso
from sayso.control.controller import Controller, controller
from sayso.envs.base import TextEnv
from sayso.models.lm import LanguageModel
from sayso.models.options import TinyOptions
from sayso.models.tiny import tiny_model
from sayso.types import Task

LETTERS = "abcdefghijklmnop"
TARGET = frozenset("abcd")


def letters_lm(*, seed: int = 3, sharpness: float = 16.0) -> LanguageModel:
    """A random Llama over sixteen letters whose head is far from uniform."""
    shape = TinyOptions(tokens=LETTERS, width=32, layers=2, heads=4, context=128)
    network, tokenizer = tiny_model(shape, seed=seed)
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(sharpness)  # type: ignore[operator]
    return LanguageModel(network, tokenizer, name="letters")


def share_of_target(prompt: str, completion: str) -> float:
    """Share of the answer's letters that are in the target set; 0 for an empty answer."""
    del prompt
    return sum(letter in TARGET for letter in completion) / max(len(completion), 1)


def letters_task() -> sayso.PromptEnv:
    """One turn; any prompt, the same reward."""
    prompts = [a + b for a in LETTERS for b in "acegikmo"]
    return sayso.PromptEnv(prompts=prompts, reward=share_of_target, reward_low=0.0, reward_high=1.0)


def letters_controller(mode: str = "steer", **options: Any) -> Controller:
    """Both together, with short answers."""
    chosen = {"max_new_tokens": 8, "num_probes": 64, **options}
    return controller(letters_lm(), letters_task(), mode, **chosen)


class Chain(TextEnv):
    """Three letters are asked for, one a turn; a fourth turn is cut off by the environment.

    A turn is worth 1 if the answer begins with the letter shown. ``stop`` ends the task for good.
    """

    max_turns = None
    reward_low, reward_high = 0.0, 3.0

    def __init__(self, *, num_turns: int = 3, end: str = "truncated", graded: bool = True) -> None:
        self.num_turns, self.end, self.graded = num_turns, end, graded
        self._turn = 0

    def tasks(self, split: str) -> list[Task]:
        count = {"train": 8, "held_out": 4}.get(split, 0)
        return [
            Task(id=f"{split}-{n}", env="Chain", split=split, payload={"letter": LETTERS[n]})
            for n in range(count)
        ]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self._letter = self.choose(seed, options).payload["letter"]
        self._turn = 0
        return self._letter, {"choices": self._choices()}

    def step(self, action: str) -> tuple[str, float | None, bool, bool, dict[str, Any]]:
        self._turn += 1
        is_last = self._turn >= self.num_turns
        reward = float(action.startswith(self._letter)) if self.graded else None
        return (
            self._letter, reward, is_last and self.end == "terminated",
            is_last and self.end == "truncated", {"choices": self._choices()},
        )  # fmt: skip

    def _choices(self) -> list[str]:
        return [self._letter, "p", "po"][: 2 + self._turn % 2]
