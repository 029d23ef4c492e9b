"""Our side of a race, in a process of its own: ``python -m sayso.bench.racer RACE.json``."""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from sayso.algorithms.grpo import GRPO
from sayso.algorithms.options.grpo import GRPOOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.bench.race import Race
from sayso.bench.works import report
from sayso.envs.registry import EnvSource, source
from sayso.envs.writing_tasks import ENV_ID, tasks
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Engine
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.training.order import TaskOrder
from sayso.types import EndReason, Episode, Task


def starting_point(race: Race, seed: int) -> LanguageModel:
    """The model with fresh adapters: the same for a seed, on whichever side."""
    lora = LoraOptions(rank=race.lora, alpha=2.0 * race.lora) if race.lora else None
    return load(race.model, ModelOptions(name=race.model, lora=lora), seed=seed)


def prepare(race: Race, seed: int, folder: Path) -> Path:
    """Write what both sides read: rules, tasks in order with their prompts, first adapters.

    Returns:
        The JSON file: the rules, ``seed``, ``adapter`` (a directory, or empty), ``grader`` (a
        command), and rows of ``task``, ``prompt`` and ``ids``: ``train_rows``, ``held_out_rows``.
    """
    lm = starting_point(race, seed)
    adapter = folder / "adapter" if race.lora else None
    if adapter:
        lm.network.save_pretrained(adapter)
    order = TaskOrder(tasks("train"), race.tasks_per_step, seed=seed)
    train = [task for step in range(race.max_steps) for task in order.block(step)]

    def asked(chosen: list[Any]) -> list[dict[str, Any]]:
        prompts = [task.payload["prompt"] for task in chosen]
        return [
            {"task": task.id, "prompt": prompt, "ids": list(lm.chat.prompt(prompt))}
            for task, prompt in zip(chosen, prompts, strict=True)
        ]

    told = {
        **dataclasses.asdict(race), "seed": seed, "env": ENV_ID, "adapter": str(adapter or ""),
        "grader": [sys.executable, "-m", "sayso.bench.grader"], "train_rows": asked(train),
        "held_out_rows": asked(list(tasks("held_out")[: race.held_out])),
    }  # fmt: skip
    path = folder / "race.json"
    path.write_text(json.dumps(told))
    return path


class Racer:
    """A learner, its exact twin for evaluations, and the tasks of a race."""

    def __init__(self, told: dict[str, Any]) -> None:
        """Args: ``told`` is what ``race.prepare`` wrote."""
        names = {f.name for f in dataclasses.fields(Race)}
        self.race = race = Race(**{k: v for k, v in told.items() if k in names})
        self.seed: int = told["seed"]
        self.env: EnvSource = source(told["env"])
        known = {t.id: t for split in ("train", "held_out") for t in self.env.open().tasks(split)}
        self.train = [known[row["task"]] for row in told["train_rows"]]
        self.held_out = [known[row["task"]] for row in told["held_out_rows"]]
        lm = starting_point(race, self.seed)
        precision: Any = race.precision
        sampling = SamplingOptions(max_new_tokens=race.max_new, precision=precision)
        options = GRPOOptions(
            tasks_per_step=race.tasks_per_step, group_size=race.group_size,
            train_on=race.train_on or None,
        )  # fmt: skip
        self.learner = GRPO(
            lm, make_engine(lm, sampling), options, sampling=sampling,
            optim=OptimOptions(lr=race.lr), kl=KLOptions(), seed=self.seed,
        )  # fmt: skip
        exact = dataclasses.replace(sampling, precision="exact")
        self.exact: Engine = make_engine(lm, exact)

    def step(self, number: int) -> int:
        """Sample, grade, learn; tokens that were sampled."""
        block = self.train[number * self.race.tasks_per_step :][: self.race.tasks_per_step]
        episodes = self._played(block, ("rollout", number), self.race.group_size)
        useful = [e for e in episodes if e.end is not EndReason.FAILED]
        self.learner.update(useful, seed=derive(self.seed, "update", number))
        return sum(e.num_action_tokens for e in episodes)

    def held_out_mean(self) -> float:
        """One exact sample per held-out task, the same draws each time."""
        self.exact.sync()  # nobody told it that the weights have moved
        episodes = self._played(self.held_out, ("eval",), 1, engine=self.exact)
        returns = [0.0 if e.return_ is None else e.return_ for e in episodes]
        return sum(returns) / len(returns)

    def _played(
        self, tasks: list[Task], path: tuple[str | int, ...], size: int,
        engine: Engine | None = None,
    ) -> list[Episode]:  # fmt: skip
        policy = self.learner.sampler()
        if engine is not None:
            policy = dataclasses.replace(policy, engine=engine)
        return collect(
            policy, tasks, self.env, group_size=size, seed=self.seed, path=path,
            limits=RolloutLimits(strict=True),
        )  # fmt: skip


def run(racer: Racer) -> dict[str, Any]:
    """Train until the threshold or the last step; the clock runs in the steps alone."""
    race, seconds, tokens, curve = racer.race, 0.0, 0, []
    for step in range(race.max_steps + 1):
        if step % race.every == 0 or step == race.max_steps:
            mean = racer.held_out_mean()
            curve.append([step, round(seconds, 3), round(mean, 4)])
            if mean >= race.threshold or step == race.max_steps:
                break
        start = time.perf_counter()
        tokens += racer.step(step)
        seconds += time.perf_counter() - start
    last_step, _, mean = curve[-1]
    return {
        "seconds": seconds, "steps": last_step, "reached": mean >= race.threshold,
        "curve": curve, "tokens": tokens, "path": racer.learner.core.engine.path,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip


def main() -> None:
    """``RACE.json`` runs it; ``RULES.json SEED FOLDER`` writes one."""
    path, *more = sys.argv[1:]
    told = json.loads(Path(path).read_text())
    torch.set_num_threads(told["threads"])
    if more:
        prepare(Race(**told), int(more[0]), Path(more[1]))
        return
    start = time.perf_counter()
    racer = Racer(told)
    setup_s = time.perf_counter() - start
    report(**run(racer), setup_s=setup_s)


if __name__ == "__main__":
    main()
