"""Comparisons: the columns, the noise, and who is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sayso.envs.base import TextEnv
from sayso.envs.comparisons import _chance, comparisons
from sayso.envs.persona import PersonaEnv
from sayso.envs.scripted import Scripted
from sayso.envs.wordle import WordleEnv
from sayso.errors import EnvContractError, OptionValueError, UnknownNameError
from sayso.types import Task


class Words(TextEnv):
    """One turn; ``good`` earns 0.6, anything else 0.4."""

    def __init__(self) -> None:
        self.scripted = {
            "good": Scripted(act=lambda env, draws: "good", about=""),
            "bad": Scripted(act=lambda env, draws: "bad", about=""),
        }

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(id="a", env="Words", split="train")] if split == "train" else []

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return "Say a word.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "", 0.6 if action == "good" else 0.4, True, False, {}


def test_rows_have_the_columns_of_preference_data_and_are_json() -> None:
    rows = list(comparisons(PersonaEnv(), 6, 0, ["any_style", "knows"]))
    assert len(rows) == 6
    for row in rows:
        assert json.loads(json.dumps(row)) == row
        assert {"prompt", "chosen", "rejected"} <= set(row)
        assert row["prompt"].startswith("Liked: ")
        assert row["chosen"] != row["rejected"]
        assert {row["writer_chosen"], row["writer_rejected"]} <= {"any_style", "knows"}


def test_the_same_seed_gives_the_same_rows_and_another_others() -> None:
    first, again, other = (
        [row["chosen"] for row in comparisons(PersonaEnv(), 4, seed, ["any_style"])]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_more_rows_begin_with_the_same() -> None:
    few, many = (list(comparisons(PersonaEnv(), n, 0, ["any_style"])) for n in (2, 4))
    assert many[:2] == few


def test_without_noise_the_better_text_is_chosen() -> None:
    rows = list(comparisons(PersonaEnv(), 12, 0, ["random", "knows"], temperature=0.0))
    assert all(row["score_chosen"] >= row["score_rejected"] for row in rows)


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_the_worse_text_wins_as_often_as_bradley_and_terry_say(temperature: float) -> None:
    rows = list(comparisons(Words(), 1500, 0, ["good", "bad"], temperature=temperature))
    share = sum(row["chosen"] == "good" for row in rows) / len(rows)
    expected = 1 / (1 + math.exp(-0.2 / temperature))
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / len(rows))


def test_chances_add_up_to_one_and_never_overflow() -> None:
    for gap in (0.0, 0.1, 5.0, 1e9):
        for temperature in (0.0, 1e-9, 0.1, 10.0):
            assert _chance(gap, temperature) + _chance(-gap, temperature) == pytest.approx(1.0)
            assert _chance(gap, temperature) >= 0.5


def test_players_of_ones_own_may_write() -> None:
    def mine(env: Any, draws: np.random.Generator) -> str:
        return f"word {draws.integers(10**9)}"

    (row,) = comparisons(Words(), 1, 0, {"mine": mine})
    assert row["chosen"].startswith("word ")


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(EnvContractError, match="same text twice"):
        list(comparisons(Words(), 1, 0, ["good"]))
    with pytest.raises(EnvContractError, match="turns"):
        list(comparisons(WordleEnv(), 1, 0, ["random", "consistent"]))
    with pytest.raises(UnknownNameError, match="nobody"):
        list(comparisons(Words(), 1, 0, ["nobody"]))
    with pytest.raises(UnknownNameError, match="unseen"):
        list(comparisons(Words(), 1, 0, ["good", "bad"], split="unseen"))
    with pytest.raises(OptionValueError, match="writers"):
        list(comparisons(Words(), 1, 0, []))
    with pytest.raises(OptionValueError, match="temperature"):
        list(comparisons(Words(), 1, 0, ["good", "bad"], temperature=-1.0))
