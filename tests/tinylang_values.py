"""Learners of token values on TinyLang: from logged episodes, and from the environment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from learner_cases import END
from tinylang_training import Trained, described, reference_lm
from value_cases import NO_MEMORY, settle, settling, spoken, value_learner

from sayso.algorithms.acting import steering
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.credit.backups import Action
from sayso.data.replay import Drawn
from sayso.envs.registry import source
from sayso.envs.tinylang_math import prefixes, probability, reference, sequences
from sayso.models.distribution import token_logprobs
from sayso.models.lm import LanguageModel
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive, generator

NUM_LOGGED = 4000
BATCH = 64


def logged(seed: int) -> dict[str, int]:
    """How often the reference policy said each sentence."""
    chances = [probability(reference(), y) for y in sequences()]
    counts = generator(seed, "log").multinomial(NUM_LOGGED, chances)
    return dict(zip(sequences(), counts.tolist(), strict=True))


def in_log(seed: int) -> dict[str, list[Action]]:
    """The log as a table: what can be known from it."""
    counts, rewards = logged(seed), sequences()

    def times(start: str) -> int:
        return sum(count for y, count in counts.items() if y.startswith(start))

    return {
        prefix: [
            Action(
                probability=times(prefix + letter) / times(prefix),
                reward=rewards.get(prefix + letter, 0.0),
                to=None if prefix + letter in rewards else prefix + letter,
            )
            for letter in "abE"
        ]
        for prefix in prefixes()
    }


def all_at_once(lm: LanguageModel, seed: int) -> Drawn:
    """The log as one batch: equal episodes once, weighted by their number. The same gradient."""
    counts = {y: count for y, count in logged(seed).items() if count}
    weights = np.array(list(counts.values())) * len(counts) / NUM_LOGGED
    episodes = [spoken(lm, y, sample=i) for i, y in enumerate(counts)]
    return Drawn(episodes=episodes, weights=weights, serials=list(range(len(counts))))


def learnt_from_log(name: str, *, seed: int, num_steps: int, **options: Any) -> Any:
    """A learner that has seen the log so many times."""
    torch.set_num_threads(1)
    made = value_learner(
        name, reference_lm(), optim=settling(num_steps), critic_lr=3e-2, train_lm=False,
        replay=NO_MEMORY, gamma_turn=1.0, alpha_cql=0.0, **options,
    )  # fmt: skip
    settle(made, all_at_once(made.lm, seed), num_steps)
    return made


def greedy_sentence(made: Any, *, beta: float = 1000.0) -> str:
    """What the engine says when it always takes the likeliest token; large β: the best value."""
    words = source("sayso/TinyLang-v0")
    (episode,) = collect(
        made.acting_as(beta=beta, greedy=True), words.open().tasks("train"), words,
        group_size=1, seed=0, path=("say",), limits=RolloutLimits(),
    )  # fmt: skip
    return "".join("abE"[token] for token in episode.turns[0].action_ids)


@torch.no_grad()
def steered_table(made: Any) -> dict[str, list[float]]:
    """The policy that is evaluated, as a table: what it is, exactly."""
    guide, rows = made.parts.guide_of(made.options.acting), {}
    if made.options.type != "token_dqn":  # β is chosen afterwards: what explores need not be greedy
        guide = steering(made.heads.advantage, ActingOptions(beta=64.0))
    for prefix in prefixes():
        ids = torch.tensor([[END, *("ab".index(letter) for letter in prefix)]])
        output = made.lm.network(input_ids=ids, output_hidden_states=True)
        logits = guide(output.hidden_states[-1][0, -1:], output.logits[0, -1:])
        logprobs = token_logprobs(logits, made.core.distribution)
        rows[prefix] = logprobs[0].double().exp().tolist()
    return rows


ONLINE: dict[str, dict[str, Any]] = {
    "ilql": {"tau": 0.99, "train_lm": False, "acting": ActingOptions(beta=4.0)},
    "token_dqn": {},
}
"""What learns from the environment, and options other than the common ones."""
COMMON: dict[str, Any] = {
    "updates_per_step": 4, "critic_lr": 1e-2, "target_rate": 0.05, "gamma_turn": 1.0,
    "acting": ActingOptions(beta=64.0),
}  # fmt: skip
NUM_UPDATES = 100


def learnt_online(name: str, *, seed: int, num_updates: int = NUM_UPDATES, **more: Any) -> Trained:
    """Collect, remember, learn; then enumerate the policy that is evaluated."""
    torch.set_num_threads(1)
    options = {**COMMON, **ONLINE.get(name, {}), **more}
    made = value_learner(
        name, reference_lm(), optim=OptimOptions(lr=1e-3), seed=seed,
        sampling=SamplingOptions(max_new_tokens=3), **options,
    )  # fmt: skip
    words = source("sayso/TinyLang-v0")
    tasks = words.open().tasks("train")
    for step in range(num_updates):
        episodes = collect(
            made.sampler(), tasks, words, group_size=BATCH, seed=seed, path=("rollout", step),
            limits=RolloutLimits(),
        )  # fmt: skip
        update = made.update(episodes, seed=derive(seed, "update", step))
        assert not update.skipped
    return described(steered_table(made), 0.0)
