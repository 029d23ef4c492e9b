"""Learners over candidates on tiny models, and what is true of choosing among proposals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from learner_cases import built
from torch import nn

from sayso.algorithms.options.optim import OptimOptions
from sayso.envs.maze import MOVES, Cell, MazeEnv
from sayso.envs.tinylang_math import probability, reference, sequences
from sayso.models.candidate_heads import CandidateCritic
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions, Twins
from sayso.models.seeding import seeded
from sayso.sampling.options import SamplingOptions


def candidate_learner(
    options: Any,
    lm: LanguageModel | None = None,
    *,
    sampling: SamplingOptions | None = None,
    optim: OptimOptions | None = None,
    seed: int = 0,
) -> Any:
    """A learner of these options."""
    torch.set_num_threads(1)
    return built(options, lm, optim=optim or OptimOptions(), sampling=sampling, seed=seed)


def best_of(num: int, scores: Mapping[str, float]) -> float:
    """Exact mean reward of the proposal with the highest score among so many of the reference's.

    The best of n draws is y with probability P(all scores <= that of y)^n - P(all below)^n.
    """
    below, total = 0.0, 0.0
    for sentence in sorted(sequences(), key=lambda y: scores[y]):
        chance = probability(reference(), sentence)
        total += sequences()[sentence] * ((below + chance) ** num - below**num)
        below += chance
    return total


def ids_of(sentence: str) -> tuple[int, ...]:
    """A sentence of TinyLang in tokens: a, b, end."""
    return tuple("abE".index(letter) for letter in sentence)


def sentence_of(ids: Sequence[int]) -> str:
    """The other way round."""
    return "".join("abE"[token] for token in ids)


MAZE_TOKENS = (
    "move up", "move down", "move left", "move right", "Goal: ", "You: ", "Walls: ", "above",
    "below", "left", "right", "none", "Success.", ", ", ". ", ".", "\n", "0", "1", "2", "3", "4",
)  # fmt: skip
MAZE: dict[str, Any] = {
    "layout": ["11111", "10001", "11011", "11111"], "goal": [2, 2], "starts": "all",
    "max_moves": 6,
}  # fmt: skip
"""Three starts in a T; the best moves: right, down, left."""


def maze_lm(*, seed: int = 0, width: int = 32, loud: float = 8.0, dtype: Any = "float32") -> Any:
    """A random model whose states tell texts apart: its attention is far from uniform."""
    tiny = TinyOptions(tokens=MAZE_TOKENS, width=width, layers=1, heads=2, context=256)
    return louder(load("tiny", ModelOptions(name="tiny", dtype=dtype, tiny=tiny), seed=seed), loud)


def louder(lm: LanguageModel, times: float = 8.0) -> LanguageModel:
    """All weights so many times as large: random states then tell texts apart."""
    with torch.no_grad():
        for module in lm.network.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.mul_(times)
    return lm


@dataclass(frozen=True, slots=True)
class Solved:
    """What is true of the maze: values of each move in each cell, and of each cell."""

    q: dict[tuple[Cell, str], float]
    v: dict[Cell, float]


def solve(gamma: float, *, temperature: float = 0.0, bonus: float = 0.0) -> Solved:
    """By value iteration; with a temperature, of the policy whose entropy is paid for.

    ``bonus`` is paid on top for each decision.

    An episode that is cut off would have gone on, so that there is no horizon here.
    """
    env = MazeEnv(**MAZE)
    led: dict[tuple[Cell, str], tuple[float, Cell | None]] = {}
    for row, column in env.start_cells:
        for move in MOVES:
            env.reset(options={"task": f"start-{row}-{column}"})
            text, reward, terminated, _, _ = env.step(move)
            led[(row, column), move] = reward, None if terminated else cell_of(text)
    v = dict.fromkeys(env.start_cells, 0.0)
    q: dict[tuple[Cell, str], float] = {}
    for _ in range(300):
        for (cell, move), (reward, after) in led.items():
            q[cell, move] = reward + (gamma * v[after] if after else 0.0)
        for cell in v:
            values = [q[cell, move] for move in MOVES]
            tempered = [math.exp((x - max(values)) / temperature) for x in values if temperature]
            entropy = temperature * math.log(sum(tempered)) if temperature else 0.0
            v[cell] = max(values) + entropy + bonus
    return Solved(q, v)


def cell_of(text: str) -> Cell:
    """Where the player stands, from the observation."""
    row, column = text.split("You: ")[1].split(". ", maxsplit=1)[0].split(", ")
    return int(row), int(column)


def randomise(module: nn.Module, *, seed: int = 3) -> None:
    """Heads that say something else of every candidate."""
    with seeded(seed), torch.no_grad():
        for name, parameter in module.named_parameters():
            if "trunk" not in name:
                parameter.normal_()


def small_critic(lm: LanguageModel, *, twins: Twins, is_random: bool = True) -> CandidateCritic:
    """A critic that reads the frozen model."""
    critic = CandidateCritic(lm, twins=twins, owns_trunk=False, seed=0)
    if is_random:
        randomise(critic)
    return critic
