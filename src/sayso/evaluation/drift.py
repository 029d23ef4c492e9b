"""How far a policy has moved from where it began."""

from __future__ import annotations

import math

import torch

from sayso.data.batch import pack
from sayso.envs.registry import EnvSource
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.models.scoring import score
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy
from sayso.types import EndReason

ROW_TOKENS = 4096


@torch.no_grad()
def kl_to(
    start: LanguageModel,
    policy: Policy,
    source: EnvSource,
    *,
    split: str,
    num_episodes: int,
    seed: int,
    limits: RolloutLimits,
    distribution: Distribution,
) -> float:
    r"""Divergence of a policy from a language model, where the policy goes.

    .. math:: \frac{1}{T} \sum_t \log \pi(a_t | h_t) - \log \pi_0(a_t | h_t), \quad a_t \sim \pi

    An unbiased estimate (k1), which may fall below 0 where the two are alike.

    Args:
        start: The model π₀.
        policy: Who samples, token by token: the logarithms of its probabilities are its own.
        source: Opens the environment.
        split: Which tasks.
        num_episodes: Episodes to sample; the first tasks of the split.
        seed: Same seed, same policy: same number.
        limits: Where episodes are cut off.
        distribution: What π₀ would be sampled from.

    Returns:
        Nats per token; NaN if no episode holds one.

    Tests:
        tests/unit/test_drift.py
    """
    tasks = source.open().tasks(split)
    episodes = collect(
        policy, [tasks[i] for i in range(min(len(tasks), num_episodes))], source,
        group_size=max(1, num_episodes // max(len(tasks), 1)), seed=seed, path=("drift", split),
        limits=limits,
    )  # fmt: skip
    played = [e for e in episodes if e.end is not EndReason.FAILED and e.num_action_tokens]
    if not played:
        return math.nan
    batch = pack(played, max_tokens=ROW_TOKENS, dtype=start.dtype, device=start.device)
    total = 0.0
    for row in batch.rows:
        scores = score(
            start, ids=row.ids, position=row.position, visible=row.forest, source=row.source,
            target=row.target, distribution=distribution,
        )  # fmt: skip
        total += float((row.logprob_sampled.double() - scores.logprob.double()).sum())
    return total / batch.num_actions
