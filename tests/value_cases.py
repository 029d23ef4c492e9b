"""TinyLang for learners of values: its exact values, its sentences as weighted episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from learner_cases import END, tiny_lm, written

from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.registry import ALGORITHMS
from sayso.algorithms.token_states import token_states
from sayso.algorithms.value_steps import _step
from sayso.app.config import AlgorithmOptions
from sayso.credit.backups import Action, Values, value_iteration
from sayso.data.options import ReplayOptions
from sayso.data.replay import Drawn
from sayso.envs.tinylang_math import LETTERS, prefixes, probability, reference, sequences
from sayso.models.lm import LanguageModel
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode

RECORDS: dict[str, Any] = {
    record().type: record
    for record in AlgorithmOptions.__args__  # type: ignore[attr-defined]
}
VALUE_LEARNERS = ("mc_returns", "ilql", "token_dqn")
NO_MEMORY = ReplayOptions(capacity=0)


def value_learner(
    name: str,
    lm: LanguageModel | None = None,
    *,
    optim: OptimOptions | None = None,
    sampling: SamplingOptions | None = None,
    seed: int = 0,
    **options: Any,
) -> Any:
    """A learner of token values by name."""
    lm = lm or tiny_lm()
    return ALGORITHMS[name](
        lm, None, RECORDS[name](**options), sampling=sampling or SamplingOptions(max_new_tokens=3),
        optim=optim or OptimOptions(lr=1e-2), kl=KLOptions(), seed=seed,
    )  # fmt: skip


def problem(gamma: float = 1.0) -> dict[str, list[Action]]:
    """TinyLang as a table, behaving like its reference; ``gamma`` between tokens."""
    rewards, policy = sequences(), reference()
    return {
        prefix: [
            Action(
                probability=policy[prefix][number],
                reward=rewards.get(prefix + letter, 0.0),
                to=None if prefix + letter in rewards else prefix + letter,
                discount=gamma,
            )
            for number, letter in enumerate(LETTERS)
        ]
        for prefix in prefixes()
    }


def exact(backup: Any, *, gamma: float = 1.0, **more: float) -> Values:
    """The fixed point of a backup on TinyLang."""
    return value_iteration(problem(gamma), backup=backup, **more)


def spoken(lm: LanguageModel, sentence: str, **more: Any) -> Episode:
    """A sentence of TinyLang as an episode of one turn."""
    said = [END if letter == "E" else "ab".index(letter) for letter in sentence]
    return written(lm, [([END], said, sequences()[sentence])], **more)


def enumerated(lm: LanguageModel) -> Drawn:
    """Every sentence once, weighted by its probability under the reference: data without noise."""
    sentences = list(sequences())
    weights = np.array([probability(reference(), y) for y in sentences]) * len(sentences)
    episodes = [spoken(lm, y, sample=i) for i, y in enumerate(sentences)]
    return Drawn(episodes=episodes, weights=weights, serials=list(range(len(sentences))))


@torch.no_grad()
def states_of(lm: LanguageModel) -> torch.Tensor:
    """Hidden state of each of the seven contexts: [7, d]."""
    found = []
    for prefix in prefixes():
        ids = torch.tensor([[END, *("ab".index(letter) for letter in prefix)]])
        position = torch.arange(ids.shape[1])[None]
        visible = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        found.append(lm.hidden(ids, position, visible)[0, -1])
    return torch.stack(found)


def table_of(values: Values) -> torch.Tensor:
    """Action values of the seven contexts: [7, 3], in the order a, b, end."""
    return torch.tensor([values.action[prefix] for prefix in prefixes()], dtype=torch.float64)


def settle(made: Any, drawn: Drawn, num_steps: int) -> None:
    """Full-batch steps of a learner on the same weighted episodes."""
    for _ in range(num_steps):
        outcome, _ = _step(made.core, drawn, made._terms)
        assert outcome.skipped is None
        if hasattr(made, "_follow"):
            made._follow()


def settling(num_steps: int) -> OptimOptions:
    """A rate that goes to 0, for ``settle``."""
    return OptimOptions(lr=3e-2, schedule="cosine", total_steps=num_steps, max_grad_norm=1e9)


def targets_of(made: Any, episodes: list[Episode]) -> list[list[float]]:
    """What each action token's value is regressed on."""
    batch = made.core.pack(episodes)
    per_row = []
    for row in batch.rows:
        with torch.no_grad():
            states = token_states(made.core, row, batch)
            if made.options.type == "mc_returns":
                per_row.append(made._returns(batch, row, states))
            elif made.options.type == "token_dqn":
                per_row.append(made._targets(batch, row, states))
            else:
                value = made.heads.values(states.hidden)
                least = made.heads.taken_by_target(states.hidden, row.target)
                per_row.append(made._targets(batch, row, states, value=value, least=least))
    return [each.tolist() for each in batch.by_episode(per_row)]
