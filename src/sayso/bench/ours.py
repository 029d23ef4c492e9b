"""The works by sayso, in a process of its own: ``python -m sayso.bench.ours --model=DIR ...``."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import torch

from sayso.algorithms.grpo import GRPO
from sayso.algorithms.options.grpo import GRPOOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.bench import gate
from sayso.bench.works import (
    GROUP_SIZE,
    NUM_PROMPTS,
    Job,
    conversations,
    parse,
    report,
    reward,
)
from sayso.envs.prompts import PromptEnv
from sayso.envs.registry import EnvSource, source
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode

Reward = Callable[[str, str], float]
KEPT = ("group/dead_frac", "update/skipped_frac", "parity/kl", "parity/ess_frac", "parity/mean_gap")


def main() -> None:
    """Roll out, update, again and again; report what was asked for."""
    job = parse()
    torch.set_num_threads(job.threads)
    learner, env = setting(job)
    if job.gate:
        gate.save(learner, sampled(learner, env, 0), job)
        return
    for repeat in range(job.repeats + 1):
        start = time.perf_counter()
        episodes = sampled(learner, env, repeat)
        between = time.perf_counter()
        fields: dict[str, Any] = {"rollout_s": between - start}
        if job.what != "rollout":
            update = learner.update(episodes, seed=repeat)
            fields["update_s"] = time.perf_counter() - between
            fields |= {k: m.value for k, m in update.metrics.items() if k in KEPT}
        fields["step_s"] = time.perf_counter() - start
        report(
            warmup=repeat == 0, seconds=fields[f"{job.what}_s"],
            tokens=sum(episode.num_action_tokens for episode in episodes),
            path=learner.core.engine.path,
            peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, **fields,
        )  # fmt: skip


def setting(job: Job, graded: Reward | None = None) -> tuple[GRPO, EnvSource]:
    """The learner and the environment of a work, with its own reward or another."""
    lora = LoraOptions(rank=job.lora, alpha=2 * job.lora) if job.lora else None
    lm = load(job.model, ModelOptions(name=job.model, lora=lora))
    if job.exact:
        lm.stop_ids, lm.chat.stop_ids = (), frozenset()
    precision: Any = job.precision
    sampling = SamplingOptions(max_new_tokens=job.max_new, precision=precision)
    learner = GRPO(
        lm, make_engine(lm, sampling), GRPOOptions(), sampling=sampling,
        optim=OptimOptions(lr=1e-6), kl=KLOptions(), seed=0,
    )  # fmt: skip
    asking = [chat[0]["content"] for chat in conversations(lm.tokenizer, job.prompt_tokens)]

    def own(prompt: str, completion: str) -> float:
        del prompt
        return reward(completion, job.work)

    return learner, source(PromptEnv(prompts=asking, held_out=[], reward=graded or own))


def sampled(learner: GRPO, env: EnvSource, repeat: int) -> list[Episode]:
    """The episodes of one step."""
    tasks = [env.open().tasks("train")[index] for index in range(NUM_PROMPTS)]
    return collect(
        learner.sampler(), tasks, env, group_size=GROUP_SIZE, seed=repeat, path=("bench",),
        limits=RolloutLimits(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
