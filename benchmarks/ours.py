"""The same works by sayso. ``python benchmarks/ours.py --what step --work W1 --model DIR``."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
from works import GROUP_SIZE, NUM_PROMPTS, arguments, conversations, report, reward

from sayso.algorithms.grpo import GRPO, GRPOOptions
from sayso.algorithms.kl import KLOptions
from sayso.algorithms.optim import OptimOptions
from sayso.envs.prompts import PromptEnv
from sayso.envs.registry import source
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import SamplingOptions
from sayso.sampling.make import make_engine
from sayso.types import Episode


def main() -> None:
    """Roll out, update, again and again; report what was asked for."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    lora = LoraOptions(rank=asked.lora, alpha=2 * asked.lora) if asked.lora else None
    lm = load(asked.model, ModelOptions(name=asked.model, lora=lora))
    if asked.exact:
        lm.stop_ids, lm.chat.stop_ids = (), frozenset()
    sampling = SamplingOptions(max_new_tokens=asked.max_new, precision=asked.precision)
    learner = GRPO(
        lm, make_engine(lm, sampling), GRPOOptions(), sampling=sampling,
        optim=OptimOptions(lr=1e-6), kl=KLOptions(), seed=0,
    )  # fmt: skip
    asking = [chat[0]["content"] for chat in conversations(lm.tokenizer, asked.prompt_tokens)]

    def graded(prompt: str, completion: str) -> float:
        del prompt
        return reward(completion, asked.work)

    env = source(PromptEnv(prompts=asking, held_out=[], reward=graded))
    tasks = env.open().tasks("train")
    assert len(tasks) == NUM_PROMPTS  # noqa: S101
    for repeat in range(asked.repeats + 1):
        start = time.perf_counter()
        episodes = collect(
            learner.sampler(), tasks, env, group_size=GROUP_SIZE, seed=repeat, path=("bench",),
            limits=RolloutLimits(),
        )  # fmt: skip
        sampled = time.perf_counter()
        fields: dict[str, Any] = {"rollout_s": sampled - start, "path": learner.core.engine.path}
        if asked.what != "rollout":
            update = learner.update(episodes, seed=repeat)
            fields["update_s"] = time.perf_counter() - sampled
            fields |= {k: m.value for k, m in update.metrics.items() if k in KEPT}
        whole = time.perf_counter() - start
        seconds = {"rollout": fields["rollout_s"], "update": fields.get("update_s"), "step": whole}
        report(
            warmup=repeat == 0, seconds=seconds[asked.what], tokens=_tokens(episodes),
            peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, **fields,
        )  # fmt: skip


KEPT = ("group/dead_frac", "update/skipped_frac", "parity/kl", "parity/ess_frac", "parity/mean_gap")


def _tokens(episodes: list[Episode]) -> int:
    return sum(episode.num_action_tokens for episode in episodes)


if __name__ == "__main__":
    main()
