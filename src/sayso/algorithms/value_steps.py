"""What learners of token values share: steps on episodes that were drawn from a memory.

Their losses hold for any policy's episodes, so nothing here compares with the sampler; what is old
in the memory is only off the policy of today, as a stored data set is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sayso.algorithms.base import Skipped, Update
from sayso.algorithms.checks import check_plan, check_positive
from sayso.algorithms.core import Core
from sayso.algorithms.grading import Graded, Numbers
from sayso.algorithms.optim import told_if_ended
from sayso.algorithms.step import StepOutcome
from sayso.data.batch import Batch, PackedRow
from sayso.data.replay import Drawn, Replay, ReplayOptions
from sayso.losses.loss import Loss
from sayso.metrics import Mean, merge
from sayso.runs.failpoints import Failpoint, fp
from sayso.seeds import derive


class RowTerms(NamedTuple):
    """The loss of one row.

    Attributes:
        losses: Its terms, each already divided by the action tokens of the whole step.
        td_error: By how much each action's value was off, for prioritised memory.
    """

    losses: Sequence[Loss]
    td_error: Tensor


TermsOf = Callable[[Batch, PackedRow, Tensor], RowTerms]
"""From a batch, one of its rows and the importance weight of each action to the row's loss."""


def learn(  # where the episodes come from, and what is done with them
    core: Core,
    kept: Graded,
    memory: Replay,
    terms_of: TermsOf,
    *,
    num_updates: int,
    draws: int | None,
    seed: int,
    after_step: Callable[[], None] = lambda: None,
) -> Update:
    """Remember the new episodes, then take optimiser steps on what is drawn from the memory.

    Args:
        core: The learner's parts.
        kept: The new episodes.
        memory: Where they go; one without room leaves every step to the new episodes, all of them.
        terms_of: The loss.
        num_updates: Steps.
        draws: Episodes of a step that are drawn; ``None``: as many as are new.
        seed: Decides the draws.
        after_step: Called after each step that was taken: targets follow here.
    """
    core.sync()  # what the sampler remembers of the rollout is memory for the update
    if memory.options.capacity:
        memory.push(kept.episodes)
    version = core.version  # the new episodes are of this age, whatever steps follow
    parts, skipped, num_steps = [kept.metrics], list[Skipped](), 0
    for number in range(num_updates):
        drawn = Drawn(episodes=kept.episodes, weights=np.ones(len(kept.episodes)), serials=[])
        if memory.options.capacity:
            count = draws or len(kept.episodes)
            drawn = memory.draw(count, seed=derive(seed, "draw", number), version=version)
        outcome, errors = _step(core, drawn, terms_of)
        if outcome.skipped is not None:  # what spoils one step spoils the next
            skipped.append(outcome.skipped)
            break
        parts.append(outcome.metrics)
        num_steps += 1
        after_step()
        if memory.options.sampling == "prioritised":
            memory.note_errors(drawn.serials, errors)
    metrics = merge(parts)
    if memory.options.capacity:
        metrics["replay/episodes"] = Mean(len(memory), 1)
    warnings = kept.warnings
    warnings += told_if_ended(metrics)
    return Update(
        metrics=metrics, num_optimiser_steps=num_steps, skipped=tuple(skipped), warnings=warnings
    )


def _step(core: Core, drawn: Drawn, terms_of: TermsOf) -> tuple[StepOutcome, list[float]]:
    """One guarded step, and the mean |error| of each episode."""
    core.optimiser.zero_grad()
    batch = core.pack(drawn.episodes)
    weights = batch.align([
        np.full(episode.num_action_tokens, weight)
        for episode, weight in zip(batch.episodes, drawn.weights, strict=True)
    ])  # fmt: skip
    parts, errors = list[dict[str, Mean]](), list[Tensor]()
    for row, weight in zip(batch.rows, weights, strict=True):
        terms = terms_of(batch, row, weight)
        fp(Failpoint.FORWARD)
        value = torch.stack([loss.value for loss in terms.losses]).sum()
        if not bool(torch.isfinite(value)):
            core.optimiser.zero_grad()
            names = ", ".join(batch.episodes[e].task.id for e in row.episodes[:4])
            reason = f"the loss is {value.item()} (tasks {names}, …)"
            return StepOutcome(skipped=Skipped(reason=reason)), []
        value.backward()  # type: ignore[no-untyped-call]
        fp(Failpoint.BACKWARD)
        parts += [dict(loss.metrics) for loss in terms.losses]
        errors.append(terms.td_error)
    metrics, skipped = core.optimiser.step()
    if skipped is None:
        core.sync()
    found = [float(np.abs(each).mean()) for each in batch.by_episode(errors)]
    return StepOutcome(metrics=merge(parts) | metrics, skipped=skipped), found


def per_episode(batch: Batch, row: PackedRow, numbers: Tensor) -> list[Numbers]:
    """Numbers per action token of a row, cut into its episodes in order of ``row.episodes``."""
    counts = [batch.episodes[index].num_action_tokens for index in row.episodes]
    flat = numbers.detach().double().cpu().numpy()
    return list(np.split(flat, np.cumsum(counts)[:-1]))


def check_memory(
    *,
    tasks_per_step: int,
    group_size: int,
    updates_per_step: int,
    draws: int | None,
    replay: ReplayOptions,
) -> None:
    """Refuse steps of nothing, and a size of draws that are not made.

    Raises:
        ValueError: Naming the option.
    """
    check_plan(tasks_per_step, group_size)
    check_positive(updates_per_step=updates_per_step, draws=draws)
    if draws is not None and not replay.capacity:
        raise ValueError(
            f"draws has no effect with replay.capacity = 0, got {draws}: every "
            "step is on all new episodes"
        )
