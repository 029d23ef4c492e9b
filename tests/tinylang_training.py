"""Train a learner on TinyLang through the real engine and environment; truth by enumeration.

``python tests/tinylang_training.py docs/results`` runs every algorithm with ten seeds and writes
the table of results.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from learner_cases import END, VARIANTS, learner, tiny_lm
from torch import Tensor

import sayso.envs
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.envs.registry import source
from sayso.envs.tinylang_math import (
    expected_return,
    kl,
    prefixes,
    reference,
    sequences,
    soft_optimum,
)
from sayso.models.lm import LanguageModel
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.stats.intervals import mean_interval

BATCH = 64
STEPS = {0.5: 100, 0.1: 200, 0.0: 150}
"""Updates for each weight of the KL."""
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"whiten": "none", "lr": 5e-4},
}
"""Options other than the algorithm's own defaults."""
LEARNING_RATE = 3e-3


def policy_logits(lm: LanguageModel) -> Tensor:
    """Log-probabilities of a, b, end in each of the seven contexts: [7, 3]."""
    rows = []
    for prefix in prefixes():
        ids = [END, *("ab".index(letter) for letter in prefix)]
        rows.append(lm.network(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1))
    return torch.stack(rows)


def policy_table(lm: LanguageModel) -> dict[str, list[float]]:
    """The model as a table: what it is, exactly."""
    with torch.no_grad():
        probabilities = policy_logits(lm).double().softmax(-1).tolist()
    return dict(zip(prefixes(), probabilities, strict=True))


def fresh_lm() -> LanguageModel:
    """Width 16, one layer, fp32."""
    return tiny_lm(dtype="float32", width=16, context=16, loud=1.0)


@lru_cache(maxsize=1)
def fitted_weights() -> dict[str, Tensor]:
    """Weights of a tiny model that is the fixture's reference policy, to KL < 1e-6."""
    lm, table = fresh_lm(), reference()
    target = torch.tensor([table[prefix] for prefix in prefixes()])
    optimiser = torch.optim.LBFGS(
        lm.network.parameters(), max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (target * (target.log() - policy_logits(lm))).sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    assert kl(table, policy_table(lm)) < 1e-6
    return {name: tensor.clone() for name, tensor in lm.network.state_dict().items()}


def reference_lm() -> LanguageModel:
    """A fresh model that is the reference policy."""
    lm = fresh_lm()
    lm.network.load_state_dict(fitted_weights())
    return lm


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What became of one run, exactly.

    Attributes:
        objective: J − β KL.
        optimum: The most it can be; with β = 0 the best reward.
        expected_return: J.
        kl: From the reference, in nats.
        says: The sentence of greedy decoding.
        says_reward: Its reward.
    """

    objective: float
    optimum: float
    expected_return: float
    kl: float
    says: str
    says_reward: float


def train_tinylang(
    name: str, *, beta: float, seed: int, precision: Literal["exact", "int8"] = "exact",
    **changes: Any,
) -> Trained:  # fmt: skip
    """A plain loop: collect, update, repeat; then enumerate."""
    torch.set_num_threads(1)
    options = {"tasks_per_step": 1, "group_size": BATCH, **SETTINGS.get(name, {}), **changes}
    steps, lr = options.pop("steps", STEPS[beta]), options.pop("lr", LEARNING_RATE)
    made = learner(
        name, reference_lm(), optim=OptimOptions(lr=lr), kl=KLOptions(coef=beta),
        sampling=SamplingOptions(max_new_tokens=3, precision=precision), **options,
    )  # fmt: skip
    words = source("sayso/TinyLang-v0")
    tasks = words.open().tasks("train")
    for step in range(steps):
        episodes = collect(
            made.sampler(), tasks, words, group_size=BATCH, seed=seed, path=("rollout", step),
            limits=RolloutLimits(),
        )  # fmt: skip
        update = made.update(episodes, seed=derive(seed, "update", step))
        assert update.fatal is None
        assert not update.skipped
        is_off = update.metrics["parity/mean_gap"].value > 1e-5
        assert is_off == (precision == "int8"), update.metrics["parity/mean_gap"]
    return described(policy_table(made.lm), beta)


def described(table: dict[str, list[float]], beta: float) -> Trained:
    """What is true of a policy table."""
    reward, distance = expected_return(table), kl(table, reference())
    says = ""
    while says not in sequences():
        row = table[says]
        says += "abE"[row.index(max(row))]
    return Trained(
        objective=reward - beta * distance,
        optimum=soft_optimum(reference(), beta).objective if beta else max(sequences().values()),
        expected_return=reward,
        kl=distance,
        says=says,
        says_reward=sequences()[says],
    )


COLUMNS = (
    "env", "split", "algorithm", "β", "metric", "seeds", "mean", "low", "high", "optimum",
    "seeds ≥ 95 %", "published", "greedy sentences",
)  # fmt: skip
COMMAND = "python tests/tinylang_training.py docs/results"


def result_rows(name: str, beta: float, seeds: int) -> list[dict[str, Any]]:
    """Rows of the results table: one algorithm, one weight of the KL."""
    runs = [train_tinylang(name, beta=beta, seed=seed) for seed in range(seeds)]
    metrics = {"J - beta KL": [run.objective for run in runs]} if beta else {
        "J": [run.expected_return for run in runs],
        "return of the greedy sentence": [run.says_reward for run in runs],
    }  # fmt: skip
    rows = []
    for metric, values in metrics.items():
        interval = mean_interval(values)
        rows.append(
            {
                "env": "sayso/TinyLang-v0", "split": "train", "algorithm": name, "beta": beta,
                "metric": metric, "seeds": seeds, "mean": interval.mean, "low": interval.low,
                "high": interval.high, "optimum": runs[0].optimum, "published": None,
                "says": [run.says for run in runs], "values": values, "command": COMMAND,
                "num_near_optimum": sum(value >= 0.95 * runs[0].optimum for value in values),
            }
        )  # fmt: skip
        print(name, beta, metric, f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]",
              f"min {min(values):.4f} optimum {runs[0].optimum:.4f}",
              " ".join(run.says for run in runs), flush=True)  # fmt: skip
    return rows


def write_results(directory: Path, rows: list[dict[str, Any]], about: str) -> None:
    """``tinylang.json`` with every run, ``tinylang.md`` with the table."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tinylang.json").write_text(
        json.dumps({"command": COMMAND, "about": about, "rows": rows}, indent=1) + "\n"
    )
    lines = [
        "# TinyLang: every algorithm against the closed form", "", about, "",
        f"Command: `{COMMAND}`", "",
        "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|",
    ]  # fmt: skip
    for row in rows:
        says = ", ".join(f"{s} × {row['says'].count(s)}" for s in sorted(set(row["says"])))
        lines.append(
            f"| {row['env']} | {row['split']} | {row['algorithm']} | {row['beta']} "
            f"| {row['metric']} | {row['seeds']} | {row['mean']:.4f} | {row['low']:.4f} "
            f"| {row['high']:.4f} | {row['optimum']:.4f} "
            f"| {row['num_near_optimum']} | – | {says} |"
        )
    (directory / "tinylang.md").write_text("\n".join(lines) + "\n")


ABOUT = (
    "A Llama of width 16 with one layer, fitted to the fixture's reference policy (KL < 1e-6), "
    f"trained on {BATCH} samples per update with AdamW at {LEARNING_RATE}, other options as they "
    f"are by default except {json.dumps(SETTINGS)}; "
    f"{STEPS[0.5]} updates with β = 0.5, {STEPS[0.1]} with β = 0.1, {STEPS[0.0]} without KL. KL "
    "is paid in the reward. All numbers are exact: the trained policy is enumerated, not sampled. "
    "Intervals are Student-t 95 % over seeds. The best sentence is bab (1.0), the second best abE "
    "(0.9); without KL an algorithm ends at one of them."
)

if __name__ == "__main__":
    assert sayso.envs  # registers the environments
    num_seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    names = sys.argv[3].split(",") if len(sys.argv) > 3 else list(VARIANTS)
    found = [
        row
        for name in names
        for beta in (0.5, 0.1, 0.0)
        for row in result_rows(name, beta, num_seeds)
    ]
    write_results(Path(sys.argv[1]), found, ABOUT)
