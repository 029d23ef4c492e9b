"""A language of fifteen sentences, small enough to enumerate: for proofs and first steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.scripted import Scripted
from sayso.types import Task


@lru_cache(maxsize=1)
def fixture() -> dict[str, Any]:
    """Tokens, rewards, reference policy and expected values."""
    text = (files("sayso.envs") / "data" / "tinylang.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def say_as_reference(env: TextEnv, draws: np.random.Generator) -> str:
    """A word drawn from the fixture's reference policy, letter by letter."""
    del env  # there is nothing to see
    table, word = fixture()["reference_policy"], ""
    while len(word) < fixture()["max_length"]:
        letter = str(draws.choice(["a", "b", "E"], p=table[word]))
        if letter == "E":
            break
        word += letter
    return word


class TinyLangEnv(TextEnv):
    """Say a word of up to three letters, each ``a`` or ``b``; one table says what it is worth.

    One turn. The observation is empty. The action's text is the letters; a word shorter than three
    ended with the end token, which the table calls ``E``. Any other text is worth 0 and is marked
    by the reward part ``is_word`` (1 or 0), which is not added to the reward.
    """

    max_turns = 1
    reward_low, reward_high = 0.0, 1.0
    scripted: Mapping[str, Scripted] = MappingProxyType(
        {"reference": Scripted(act=say_as_reference, about="draws from the reference policy")}
    )

    def tasks(self, split: str) -> Sequence[Task]:
        """One task; there is nothing to hold out."""
        if split != "train":
            return []
        return [Task(id="word", env="sayso/TinyLang-v0", split="train", payload={"game": "word"})]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Nothing to show."""
        super().reset(seed=seed)
        self.choose(seed, options)
        return "", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Look the word up."""
        table = fixture()["terminal_reward"]
        key = action if len(action) == fixture()["max_length"] else f"{action}E"
        is_word = key in table
        reward = float(table[key]) if is_word else 0.0
        return "", reward, True, False, {"reward_parts": {"is_word": float(is_word)}}
