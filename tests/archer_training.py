"""Train ArCHer and offline ArCHer where the optimum is known; truth by enumeration.

``python tests/archer_training.py 10`` prints what became of ten seeds of each.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from learner_cases import END, plain_logprobs
from tinylang_training import Trained, described, fresh_lm, policy_table, reference_lm

import sayso
from sayso.algorithms.archer import ArCHer
from sayso.algorithms.offline_archer import OfflineArCHer
from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.data.options import ReplayOptions
from sayso.envs.registry import source
from sayso.envs.tinylang_math import expected_return, probability, reference, sequences
from sayso.models.lm import LanguageModel
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.types import Episode, Task

BATCH = 64
ONLINE: dict[str, Any] = {
    "critic_updates": 15, "critic_lr": 8e-3, "target_rate": 0.1, "trunk": "copy",
    "actor_updates": 1,
    "replay": ReplayOptions(sampling="success"),
}  # fmt: skip
"""Other than by default: fewer critic steps at a higher rate; a tiny random model reads too little
to serve as a frozen trunk; rare good sentences are drawn more often, lest the policy settles on the
second best before the critic knows the best."""


class TwoTurns(sayso.TextEnv):
    """Say a or b, twice. What pays at once leads to where less can be had."""

    now: ClassVar = {"a": 0.0, "b": 0.1}
    later: ClassVar = {"aa": 0.0, "ab": 1.0, "ba": 0.4, "bb": 0.1}

    def tasks(self, split: str) -> list[Task]:
        return [Task(id=f"{split}-0", env="TwoTurns", split=split)]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        del seed, options
        self.said = ""
        return "", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        action = action if action in ("a", "b") else ""
        if not self.said:
            self.said = action or "b"
            return self.said * 2, self.now.get(action, 0.0), False, False, {}
        return "", self.later.get(self.said + action, 0.0), True, False, {}


def two_turns_return(lm: LanguageModel) -> float:
    """Exact mean return of the policy in the game."""
    total = 0.0
    answers = [[0, END], [1, END], [END], *([x, y] for x in (0, 1) for y in (0, 1))]
    names = ["a", "b", "", *[""] * 4]
    env = TwoTurns()
    chat = lm.chat
    start = list(chat.prompt(""))
    for one, other in itertools.product(range(7), repeat=2):
        env.reset()
        shown, first, *_ = env.step(names[one])
        _, second, *_ = env.step(names[other])
        reply = chat.reply(shown, closed=answers[one][-1] == END)
        ids = [*start, *answers[one], *reply, *answers[other]]
        with torch.no_grad():
            logprobs = plain_logprobs(lm, ids).double()
        place = len(start) - 1
        said = logprobs[place : place + len(answers[one])].sum()
        place += len(answers[one]) + len(reply)
        said = said + logprobs[place : place + len(answers[other])].sum()
        total += float(said.exp()) * (first + second)
    return total


def train_archer(env: Any, lm: LanguageModel, *, seed: int, steps: int, max_new_tokens: int,
                 lr: float = 3e-3, beta: float = 0.0, **changes: Any) -> ArCHer:  # fmt: skip
    """A plain loop: collect, update, repeat."""
    torch.set_num_threads(1)
    sampling = SamplingOptions(max_new_tokens=max_new_tokens)
    made = ArCHer(
        lm, make_engine(lm, sampling),
        ArCHerOptions(tasks_per_step=1, group_size=BATCH, **{**ONLINE, **changes}),
        sampling=sampling, optim=OptimOptions(lr=lr), kl=KLOptions(coef=beta), seed=seed,
    )  # fmt: skip
    words = source(env)
    tasks = words.open().tasks("train")
    for step in range(steps):
        episodes = collect(made.sampler(), tasks, words, group_size=BATCH, seed=seed,
                           path=("rollout", step), limits=RolloutLimits())  # fmt: skip
        update = made.update(episodes, seed=derive(seed, "update", step))
        assert update.fatal is None
        assert not update.skipped
    return made


def archer_on_tinylang(seed: int, *, beta: float = 0.0, **changes: Any) -> Trained:
    """60 updates, ten of them of the critic alone."""
    made = train_archer("sayso/TinyLang-v0", reference_lm(), seed=seed, max_new_tokens=3,
                        beta=beta, **{"steps": 60, **changes})  # fmt: skip
    return described(policy_table(made.lm), beta)


def archer_on_two_turns(seed: int, **changes: Any) -> float:
    """Exact mean return; the most is 1.0, greed gets 0.5."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        lm = fresh_lm()
    made = train_archer(TwoTurns, lm, seed=seed, max_new_tokens=2, **{"steps": 100, **changes})
    return two_turns_return(made.lm)


def logged(count: int, *, seed: int) -> list[Episode]:
    """What the reference policy said."""
    lm, sampling, words = reference_lm(), SamplingOptions(max_new_tokens=3), "sayso/TinyLang-v0"
    made = ArCHer(lm, make_engine(lm, sampling), ArCHerOptions(), sampling=sampling,
                  optim=OptimOptions(), kl=KLOptions(), seed=0)  # fmt: skip
    return collect(made.sampler(), source(words).open().tasks("train"), source(words),
                   group_size=count, seed=seed, path=("log",), limits=RolloutLimits())  # fmt: skip


def expectile(values: Sequence[float], weights: Sequence[float], tau: float) -> float:
    """The number v at which the mean of |τ − 1[x < v]| (x − v) is 0."""
    x, p = np.asarray(values), np.asarray(weights)
    low, high = float(x.min()), float(x.max())
    for _ in range(100):
        v = (low + high) / 2
        pull = (p * np.where(x < v, 1 - tau, tau) * (x - v)).sum()
        low, high = (v, high) if pull > 0 else (low, v)
    return low


def theory(data: dict[str, float], *, tau: float, scale: float, most: float = 20.0) -> float:
    """Return of the policy that weighs each sentence of the data by its exponential advantage."""
    reward = sequences()
    value = expectile([reward[y] for y in data], list(data.values()), tau)
    weight = {y: p * min(np.exp(scale * (reward[y] - value)), most) for y, p in data.items()}
    return float(sum(w * reward[y] for y, w in weight.items()) / sum(weight.values()))


def share_of(episodes: Sequence[Episode]) -> dict[str, float]:
    """How often each sentence was said."""
    said = ["".join("abE"[i] for i in e.turns[0].action_ids) for e in episodes]
    return {y: said.count(y) / len(said) for y in sorted(set(said))}


def offline_on_tinylang(
    seed: int, *, scale: float, num_logged: int = 1024, updates: int = 180
) -> tuple[float, float, float]:
    """Exact returns: of what it learnt, of what theory says of its data, of who played them."""
    torch.set_num_threads(1)
    episodes = logged(num_logged, seed=seed)
    lm, sampling = reference_lm(), SamplingOptions(max_new_tokens=3)
    options = OfflineArCHerOptions(advantage_weight=scale, trunk="copy", critic_lr=5e-3,
                                   critic_updates=3, warmup_updates=30)  # fmt: skip
    made = OfflineArCHer(lm, make_engine(lm, sampling), options, sampling=sampling,
                         optim=OptimOptions(lr=1.5e-3), kl=KLOptions(), seed=seed)  # fmt: skip
    for step in range(updates):
        draw = np.random.default_rng([seed, step]).integers(num_logged, size=512)
        update = made.update([episodes[i] for i in draw], seed=step)
        assert not update.skipped
    data = share_of(episodes)
    behaviour = sum(probability(reference(), y) * r for y, r in sequences().items())
    found = expected_return(policy_table(made.lm))
    return found, theory(data, tau=options.tau, scale=scale), behaviour


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        run = archer_on_tinylang(number)
        print("archer tinylang", number, run.says, f"{run.expected_return:.4f}", flush=True)
    for number in range(int(sys.argv[1])):
        print("archer two turns", number, f"{archer_on_two_turns(number):.4f}", flush=True)
    for number in range(int(sys.argv[1])):
        print("offline", number, *(f"{x:.4f}" for x in offline_on_tinylang(number, scale=4.0)),
              flush=True)  # fmt: skip
