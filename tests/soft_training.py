"""Train SoftQ and Q# on TinyLang, online and from logged episodes; truth by enumeration.

``python tests/soft_training.py`` prints the table of all modes, ten seeds each.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from learner_cases import END, NO_MEMORY, SOFT_MODES, learner
from tinylang_training import BATCH, described, policy_table, reference_lm

import sayso.envs
from sayso.algorithms.options.optim import OptimOptions
from sayso.data.options import ReplayOptions
from sayso.data.replay import Replay
from sayso.envs.registry import source
from sayso.envs.tinylang_math import prefixes, reference, sequences
from sayso.models.distribution import token_logprobs
from sayso.models.filters import Distribution
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.types import Episode

NUM_LOGGED = 4_000
OFFLINE_BATCH = 256
Q_SHARP: dict[str, Any] = {"low": 0.0, "high": 1.0, "bins": 21}
SETTINGS: dict[str, dict[str, Any]] = {
    "soft_pcl": {"lr": 3e-3, "critic_lr": 3e-2, "alpha": 0.0},
    "soft_trajectory": {"lr": 3e-3, "critic_lr": 3e-2, "alpha": 0.0},
    "soft_td": {"lr": 3e-3, "critic_lr": 3e-2, "alpha": 0.0},
    "q_sharp": {"critic_lr": 0.2, **Q_SHARP},
}
OFFLINE: dict[str, dict[str, Any]] = {name: {"lr": 1e-2} for name in SOFT_MODES}
ONLINE: dict[str, dict[str, Any]] = {
    # Half of what is learnt from are the best tenth: "bab" is said once in 170 sentences at first.
    "soft_pcl": {"replay": ReplayOptions(capacity=1_000, sampling="success")},
    "soft_trajectory": {"replay": ReplayOptions(capacity=1_000, sampling="success")},
    "soft_td": {
        "replay": ReplayOptions(capacity=2_000), "target_rate": 0.3, "updates_per_step": 2,
    },
}  # fmt: skip
"""At β = 0.1. One-step values need more steps, and a quick target: runs are short here."""
ONLINE_STEPS = {0.5: 100, 0.1: 200}
OFFLINE_STEPS = 400


def made(name: str, beta: float, **changes: Any) -> Any:
    """A learner whose reference is the fixture's."""
    torch.set_num_threads(1)
    options = {"tasks_per_step": 1, "group_size": BATCH, **SETTINGS[name], **changes}
    optim = OptimOptions(lr=options.pop("lr", 1e-5), **options.pop("optim", {}))
    return learner(
        name, reference_lm(), optim=optim, sampling=SamplingOptions(max_new_tokens=3), beta=beta,
        **options,
    )  # fmt: skip


def table_of(made: Any) -> dict[str, list[float]]:
    """What ``policy()`` is, exactly: the model, or the model steered."""
    if not hasattr(made, "guide"):
        return policy_table(made.lm)
    rows = []
    with torch.no_grad():
        for prefix in prefixes():
            ids = torch.tensor([[END, *("ab".index(letter) for letter in prefix)]])
            hidden = made.lm.network(input_ids=ids, output_hidden_states=True).hidden_states[-1]
            last = hidden[0, -1:]
            steered = made.guide(last, made.lm.logits(last), beta=made.options.beta)
            rows.append(token_logprobs(steered.double(), Distribution())[0].exp().tolist())
    return dict(zip(prefixes(), rows, strict=True))


def greedy_in_q(table: dict[str, list[float]]) -> str:
    """The sentence of the greatest soft Q at each step: log π - log ref, up to V and β."""
    says = ""
    while says not in sequences():
        gains = [math.log(p / r) for p, r in zip(table[says], reference()[says], strict=True)]
        says += "abE"[gains.index(max(gains))]
    return says


def played(made: Any, count: int, *, seed: int, step: int = 0) -> list[Episode]:
    """Episodes by the learner's sampler."""
    words = source("sayso/TinyLang-v0")
    return collect(
        made.sampler(), words.open().tasks("train"), words, group_size=count, seed=seed,
        path=("rollout", step), limits=RolloutLimits(),
    )  # fmt: skip


def train_online(name: str, *, beta: float, seed: int, **changes: Any) -> dict[str, list[float]]:
    """Collect, remember, learn from what is drawn; repeat."""
    steps = changes.pop("steps", ONLINE_STEPS[beta])
    plain = {"replay": ReplayOptions(capacity=1_000)}
    changes = {**(ONLINE.get(name, plain) if beta == 0.1 else plain), **changes}
    if name == "q_sharp":  # four steps per update; what is remembered never grows old
        fading = {"schedule": "linear", "total_steps": 4 * steps}
        changes = {"optim": fading, **changes, "replay": ReplayOptions()}
    one = made(name, beta, **changes)
    for step in range(steps):
        episodes = played(one, BATCH, seed=seed, step=step)
        update = one.update(episodes, seed=derive(seed, "update", step))
        assert update.fatal is None
        assert not update.skipped
    return table_of(one)


def train_offline(name: str, *, beta: float, seed: int, **changes: Any) -> dict[str, list[float]]:
    """From episodes of the reference alone, drawn by somebody else: no memory of its own.

    SoftQ may be handed rare successes more often, and learns of them sooner: its optimum does not
    depend on how often an episode is drawn. What Q# learns does.
    """
    steps = changes.pop("steps", OFFLINE_STEPS)
    fading = {"schedule": "linear", "total_steps": steps, "micro_batch_tokens": 4096}
    one = made(
        name, beta, replay=NO_MEMORY,
        **{"updates_per_step": 1, "optim": fading, **OFFLINE.get(name, {}), **changes},
    )  # fmt: skip
    logged = Replay(
        ReplayOptions(
            capacity=NUM_LOGGED, success_quantile=0.97,
            sampling="uniform" if name == "q_sharp" else "success",
        )
    )  # fmt: skip
    logged.push(played(one, NUM_LOGGED, seed=seed))
    for step in range(steps):
        drawn = logged.draw(OFFLINE_BATCH, seed=derive(seed, "data", step))
        assert not one.update(drawn.episodes, seed=step).skipped
    return table_of(one)


if __name__ == "__main__":
    assert sayso.envs
    names = sys.argv[1].split(",") if len(sys.argv) > 1 else list(SETTINGS)
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    ways = sys.argv[3].split(",") if len(sys.argv) > 3 else ["online", "offline"]
    for name in names:
        for beta in (0.5, 0.1):
            for way in ways:
                train = train_online if way == "online" else train_offline
                tables = [train(name, beta=beta, seed=seed) for seed in range(seeds)]
                runs = [described(table, beta) for table in tables]
                shares = [run.objective / run.optimum for run in runs]
                near = sum(share >= 0.95 for share in shares)
                print(f"{name} beta {beta} {way}: J - beta KL {min(shares):.4f} to "
                      f"{max(shares):.4f} of the optimum, {near} of {seeds} at 95 %; says",
                      *(greedy_in_q(table) for table in tables), flush=True)  # fmt: skip
