"""Passes over a batch in minibatches, and what all policy-gradient losses have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from torch import Tensor

from sayso.algorithms.anchor import Anchor, anchor, start_logprobs
from sayso.algorithms.base import Skipped, Update
from sayso.algorithms.checks import check_passes
from sayso.algorithms.core import Core
from sayso.algorithms.grading import Graded, Numbers, sampled_logprobs, token_rewards
from sayso.algorithms.grpo_losses import token_share
from sayso.algorithms.kl import reference_logprobs
from sayso.algorithms.optim import told_if_ended
from sayso.algorithms.parity import ParityMeter
from sayso.algorithms.step import RowLoss, StepOutcome, take_step, until_refused
from sayso.credit.kl_reward import kl_in_reward
from sayso.data.batch import Batch, PackedRow
from sayso.losses.entropy import entropy_bonus
from sayso.losses.kl import kl_loss, kl_metrics
from sayso.losses.loss import Loss, bounded_exp
from sayso.metrics import Mean, merge
from sayso.models.scoring import Scores
from sayso.seeds import generator
from sayso.types import Episode

Counted = Literal["token", "episode", "episode mean"]
"""What a loss is a mean over: tokens of the step, episodes, or the means of episodes."""
KL_STOP_FACTOR = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Graded episodes with numbers per action token.

    Attributes:
        episodes: What to train on.
        rewards: Reward after each action token; KL is taken off where it is paid in the reward.
        logprob_ref: Log-probability under the reference, if KL is on.
        metrics: KL, if it is on.
        logprob_start: Log-probability under the policy when the update began, where several passes
            over what another sampler drew need it.
        credit: Advantages of each episode's tokens, where they are a factor of the whole loss but
            for KL and entropy: without those, episodes whose advantages are all 0 are left out of
            the passes. The gradient is the same.
    """

    episodes: list[Episode]
    rewards: list[Numbers]
    logprob_ref: list[Numbers] | None
    metrics: dict[str, Mean]
    logprob_start: list[Numbers] | None = None
    credit: list[Numbers] | None = None

    def returns(self) -> list[float]:
        """Sum of the rewards of each episode."""
        return [float(rewards.sum()) for rewards in self.rewards]


def experience(
    core: Core, episodes: list[Episode], passes: Passes | None = None
) -> Experience | Skipped:
    """Rewards of each action token, and the reference's view where KL is on.

    A divergence that is not finite says nothing of any token: the step is skipped.

    Raises:
        ValueError: If an episode is of a stored data set: what it says is not on-policy.
    """
    if any(e.policy_version < 0 for e in episodes):
        raise ValueError("stored episodes: this algorithm learns from its own policy's samples")
    rewards = [token_rewards(e) for e in episodes]
    options = core.kl.options
    found = Experience(episodes=episodes, rewards=rewards, logprob_ref=None, metrics={})
    is_several = passes is not None and passes.epochs * passes.minibatches > 1
    needs_start = is_several and core.sampling.precision != "exact"
    if options.coef == 0 and not needs_start:
        return found
    batch = core.pack(episodes)
    if needs_start:
        found = replace(found, logprob_start=batch.by_episode(start_logprobs(core, batch)))
    if options.coef == 0:
        return found
    reference = reference_logprobs(core.lm, batch, core.distribution)
    for row, ref in zip(batch.rows, reference, strict=True):
        if not bool((row.logprob_sampled - ref).isfinite().all()):
            return Skipped(reason="a log-probability of reference or sampler is not finite")
    metrics = merge(
        kl_metrics(row.logprob_sampled, ref, row.is_action)
        for row, ref in zip(batch.rows, reference, strict=True)
    )
    metrics["kl/coef"] = Mean(core.kl.coef, 1)
    by_episode = batch.by_episode(reference)
    if options.place == "reward":
        rewards = [
            kl_in_reward(reward, sampled_logprobs(e), ref, coef=core.kl.coef)
            for reward, e, ref in zip(rewards, episodes, by_episode, strict=True)
        ]
    return replace(found, rewards=rewards, logprob_ref=by_episode, metrics=metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """How often a batch is used.

    Attributes:
        epochs: Passes over it.
        minibatches: Optimiser steps of one pass.
        target_kl: Take no further step once the policy has moved further than 1.5 times this from
            the one that sampled, in nats per token; ``None`` never stops.
    """

    epochs: int = 1
    minibatches: int = 1
    target_kl: float | None = None

    def __post_init__(self) -> None:
        check_passes(self.epochs, self.minibatches)


@dataclass(slots=True)
class Minibatch:
    """Some of the episodes of an update, packed, with the numbers that belong to them."""

    batch: Batch
    indices: Sequence[int]
    _aligned: dict[int, list[Tensor]] = field(default_factory=dict)

    def align(self, per_episode: list[Numbers]) -> list[Tensor]:
        """Numbers per action token, laid out like this minibatch's rows."""
        key = id(per_episode)
        if key not in self._aligned:
            self._aligned[key] = self.batch.align([per_episode[i] for i in self.indices])
        return self._aligned[key]

    def anchors(self, core: Core, exp: Experience) -> Callable[[int, PackedRow, Scores], Anchor]:
        """What the ratios of each row are against; see ``anchor``."""
        start = None if exp.logprob_start is None else self.align(exp.logprob_start)
        return lambda number, row, scores: anchor(core, row, scores, start, number)


def run_passes(
    core: Core,
    graded: Graded,
    exp: Experience,
    passes: Passes,
    row_loss_of: Callable[[Minibatch], RowLoss],
    *,
    seed: int,
    want_entropy: bool = False,
    want_value: bool = False,
) -> Update:
    """Optimiser steps over the experience, then the bookkeeping every algorithm needs.

    Args:
        core: The learner's parts.
        graded: Where the episodes came from; its warnings and metrics are passed on.
        exp: What to train on.
        passes: Epochs and minibatches.
        row_loss_of: The loss of a minibatch.
        seed: Decides the order of minibatches.
        want_entropy: Scores must hold entropies.
        want_value: Scores must hold values.
    """
    core.sync()  # what the sampler remembers of the rollout is memory for the update
    is_exact = core.sampling.precision == "exact"
    parity = ParityMeter(is_exact=is_exact)
    max_kl = None if passes.target_kl is None else KL_STOP_FACTOR * passes.target_kl
    is_credit_all = not want_entropy and not want_value and passes.target_kl is None
    is_credit_all &= exp.logprob_ref is None or core.kl.options.place == "reward"

    def step(epoch: int, number: int, indices: list[int]) -> StepOutcome:
        skip = _without_gradient(exp.credit, indices) if exp.credit and is_credit_all else ()
        batch = core.pack([exp.episodes[i] for i in indices], skip=skip)
        return take_step(
            core, batch, row_loss_of(Minibatch(batch, indices)), want_entropy=want_entropy,
            want_value=want_value, max_kl=max_kl, parity=parity if epoch == number == 0 else None,
        )  # fmt: skip

    outcomes = until_refused(
        step(epoch, number, indices)
        for epoch in range(passes.epochs)
        for number, indices in enumerate(_split(len(exp.episodes), passes, seed, epoch))
    )
    skipped = tuple(o.skipped for o in outcomes if o.skipped is not None)
    stop = any(outcome.is_too_far for outcome in outcomes)
    told = [outcome.metrics for outcome in outcomes if outcome.skipped is None]
    metrics = merge([exp.metrics, graded.metrics, *told]) | parity.metrics()
    warnings = graded.warnings
    warnings += told_if_ended(metrics)
    if passes.target_kl is not None:
        metrics["update/stopped_early_frac"] = Mean(float(stop), 1)
    if "kl/mean" in metrics and not skipped:
        core.kl.update(metrics["kl/mean"].value, len(exp.episodes))
    return Update(
        metrics=metrics,
        num_optimiser_steps=len(told) - stop,
        skipped=skipped,
        warnings=warnings,
        fatal=parity.fatal(),
    )


def _without_gradient(credit: list[Numbers], indices: Sequence[int]) -> list[int]:
    """Places in a minibatch whose advantages are all 0; never all of them: a step is a step."""
    dead = [place for place, index in enumerate(indices) if not np.any(credit[index])]
    return dead if len(dead) < len(indices) else dead[1:]


def nothing_to_learn(graded: Graded, *skipped: Skipped) -> Update:
    """The update of a step in which no episode could be used, or which was given up at once."""
    return Update(
        metrics=graded.metrics, num_optimiser_steps=0, skipped=skipped, warnings=graded.warnings
    )


def extra_terms(
    core: Core,
    minibatch: Minibatch,
    exp: Experience,
    *,
    entropy_coef: float,
    per: Counted = "token",
) -> Callable[[int, PackedRow, Scores], list[Loss]]:
    """Entropy bonus and KL in the loss: the terms that go with any policy-gradient loss.

    Args:
        core: The learner's parts.
        minibatch: What the terms are of.
        exp: Holds the reference's log-probabilities.
        entropy_coef: Weight of the mean entropy of a decision (always per token).
        per: How the policy's own loss counts tokens; the divergence is counted alike, so that β
            weighs the same against the return wherever it is placed.
    """
    num_actions = float(minibatch.batch.num_actions)
    count = num_actions if per == "token" else float(len(minibatch.indices))
    options = core.kl.options
    reference = minibatch.align(exp.logprob_ref) if exp.logprob_ref is not None else None

    def terms(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
        found: list[Loss] = []
        if entropy_coef and scores.entropy is not None:
            bonus = entropy_bonus(scores.entropy, row.is_action, num_actions_in_step=num_actions)
            found.append(Loss(entropy_coef * bonus.value, bonus.metrics))
        estimator = options.estimator
        if reference is not None and options.place == "loss" and estimator != "k1":
            weight = bounded_exp(scores.logprob.detach() - row.logprob_sampled)
            if per == "episode mean":
                weight = weight * token_share(row, minibatch.batch)
            distance = kl_loss(
                scores.logprob, reference[number], row.is_action, estimator=estimator,
                num_actions_in_step=count, weight=weight,
            )  # fmt: skip
            found.append(Loss(core.kl.coef * distance.value))
        return found

    return terms


def _split(count: int, passes: Passes, seed: int, epoch: int) -> list[list[int]]:
    """Episode indices of each minibatch; in order when there is only one."""
    if passes.minibatches == 1:
        return [list(range(count))]
    order = generator(seed, "minibatches", epoch).permutation(count)
    return [
        [int(i) for i in part] for part in np.array_split(order, min(passes.minibatches, count))
    ]
