"""What the proofs about utterance-level critics have in common: sentences, a game, exact heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from learner_cases import END, written
from torch import Tensor

from sayso.envs.tinylang_math import sequences
from sayso.models.heads import ValueHead
from sayso.models.lm import LanguageModel
from sayso.types import Episode

REWARDS = sequences()
IDS = {y: [END, *("abE".index(letter) for letter in y)] for y in REWARDS}
GAME = ("aa", "ab", "ba", "bb")
"""What is said in the two turns of the game."""


def sentence(lm: LanguageModel, y: str, reward: float | None = None) -> Episode:
    return written(lm, [(IDS[y][:1], IDS[y][1:], REWARDS[y] if reward is None else reward)])


def all_sentences(lm: LanguageModel) -> dict[str, Episode]:
    return {y: sentence(lm, y) for y in REWARDS}


def solve(head: ValueHead, hidden: Tensor, wanted: Sequence[float], *, wide: int = 400) -> None:
    """Make a head say exactly these numbers: random inner features, the last layer solved for."""
    generator = torch.Generator().manual_seed(3)
    width = hidden.shape[1]
    inner = torch.nn.Linear(width, wide, dtype=torch.float64)
    project = torch.nn.Linear(wide, 1, dtype=torch.float64)
    with torch.no_grad():
        inner.weight.copy_(torch.randn(wide, width, dtype=torch.float64, generator=generator) * 3)
        inner.bias.copy_(torch.randn(wide, dtype=torch.float64, generator=generator))
        features = torch.nn.functional.gelu(inner(hidden))
        goal = torch.tensor(wanted, dtype=torch.float64)
        project.weight.copy_(torch.linalg.lstsq(features, goal[:, None], driver="gelsd").solution.T)
        project.bias.zero_()
        head.inner, head.project = inner, project
        assert (head(hidden) - goal).abs().max() < 1e-9


def two_turns(lm: LanguageModel, first: str, second: str) -> Episode:
    """A game of two turns: the environment's reply names the first answer."""
    reply = [0, 1] if first == "a" else [1, 0]
    said = [["ab".index(first), END], ["ab".index(second), END]]
    rewards = {"aa": 0.0, "ab": 1.0, "ba": 0.6, "bb": 0.2}
    turns = [([END], said[0], 0.1 if first == "a" else 0.3),
             (reply, said[1], rewards[first + second])]  # fmt: skip
    return written(lm, turns)


def weighted(episodes: Sequence[Episode], weights: Sequence[float], num: int) -> list[Episode]:
    """Repeated in proportion, so that a mean over them is the expectation."""
    return [e for e, w in zip(episodes, weights, strict=True) for _ in range(round(w * num))]
