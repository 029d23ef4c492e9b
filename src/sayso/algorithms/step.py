"""The optimiser step of every learner: forward, loss, backward part by part, guarded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

import torch

from sayso.algorithms.base import Skipped, Update
from sayso.algorithms.core import Core
from sayso.algorithms.optim import Optimiser, told_if_ended
from sayso.algorithms.parity import ParityMeter
from sayso.data.batch import Batch, PackedRow
from sayso.losses.loss import Loss
from sayso.metrics import Mean, mean_of, merge
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores, score
from sayso.runs.failpoints import Failpoint, fp

RowLoss = Callable[[int, PackedRow, Scores], Sequence[Loss]]
"""From a row's number, the row and its scores to the terms of its loss."""


@dataclass(slots=True, kw_only=True)
class StepOutcome:
    """What happened to one batch.

    Attributes:
        metrics: Exact partial means.
        skipped: Why no step was taken, if a number was not finite.
        is_too_far: No step was taken because the policy has moved far enough.
    """

    metrics: dict[str, Mean] = field(default_factory=dict)
    skipped: Skipped | None = None
    is_too_far: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a step's loss, small enough for one forward.

    Attributes:
        losses: Its terms, each already divided by counts of the whole step.
        metrics: What else to tell of it.
        about: What it is of, named if the loss is not finite.
    """

    losses: Sequence[Loss]
    metrics: Mapping[str, Mean] = field(default_factory=dict)
    about: str = ""


Parts = Generator[Part, None, None]
"""Parts made one at a time: the gradient of each is taken before the next one is read."""


class Stepping(Protocol):
    """What an optimiser step needs: a learner's ``Core``, or less."""

    optimiser: Optimiser


def backpropagated(core: Stepping, parts: Parts) -> StepOutcome:
    """Add up the gradient of a step's loss, part by part.

    Returns:
        Metrics; or why it was given up, with no gradient left behind.
    """
    found: list[Mapping[str, Mean]] = []
    with closing(parts):
        for part in parts:
            fp(Failpoint.FORWARD)
            value = torch.stack([loss.value for loss in part.losses]).sum()
            if not bool(torch.isfinite(value)):
                core.optimiser.zero_grad()
                reason = f"the loss is {value.item()}{part.about and f' ({part.about})'}"
                return StepOutcome(skipped=Skipped(reason=reason))
            if value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]
            fp(Failpoint.BACKWARD)
            found += [*(loss.metrics for loss in part.losses), part.metrics]
    return StepOutcome(metrics=merge(found))


def guarded_step(core: Stepping, parts: Parts, *, max_kl: float | None = None) -> StepOutcome:
    """One optimiser step; none, and no bit changed, if a number is not finite.

    Args:
        core: The learner's parts. Its engines are not told.
        parts: What the loss is a sum of.
        max_kl: See ``take_step``.
    """
    core.optimiser.zero_grad()
    outcome = backpropagated(core, parts)
    if outcome.skipped is not None:
        return outcome
    moved = outcome.metrics.get("policy/approx_kl")
    if max_kl is not None and moved is not None and moved.value > max_kl:
        core.optimiser.zero_grad()
        return StepOutcome(metrics=outcome.metrics, is_too_far=True)
    metrics, skipped = core.optimiser.step()
    return StepOutcome(metrics=outcome.metrics | metrics, skipped=skipped)


def until_refused(steps: Iterable[StepOutcome]) -> list[StepOutcome]:
    """Take steps, each when it is asked for, up to one that was refused or had gone far enough.

    What spoils one step spoils the next.
    """
    taken: list[StepOutcome] = []
    for outcome in steps:
        taken.append(outcome)
        if outcome.skipped is not None or outcome.is_too_far:
            break
    return taken


def tasks_of(batch: Batch, row: PackedRow) -> str:
    """Whose row it is, for a message."""
    return f"tasks {', '.join(batch.episodes[e].task.id for e in row.episodes[:4])}, …"


def score_row(
    lm: LanguageModel,
    row: PackedRow,
    distribution: Distribution,
    *,
    want_entropy: bool = False,
    want_value: bool = False,
) -> Scores:
    """Score the action tokens of a row."""
    return score(
        lm,
        ids=row.ids,
        position=row.position,
        visible=row.forest,
        source=row.source,
        target=row.target,
        distribution=distribution,
        want_entropy=want_entropy,
        want_value=want_value,
        final=row.final_source,
    )


def scored_parts(
    core: Core,
    batch: Batch,
    row_loss: RowLoss,
    *,
    want_entropy: bool = False,
    want_value: bool = False,
    parity: ParityMeter | None = None,
    distribution: Distribution | None = None,
) -> Parts:
    """The loss of a batch, row by row.

    Args:
        core: The learner's parts.
        batch: What to train on.
        row_loss: The terms of one row's loss.
        want_entropy: Scores must hold entropies.
        want_value: Scores must hold values.
        parity: Filled on a first pass, when the weights are those that sampled.
        distribution: What the tokens are scored under; unset: what is sampled from.
    """
    is_own = all(e.policy_version >= 0 for e in batch.episodes)  # what is stored was said by others
    for number, row in enumerate(batch.rows):
        scores = score_row(
            core.lm, row, distribution or core.distribution, want_entropy=want_entropy,
            want_value=want_value,
        )  # fmt: skip
        if parity is not None:
            parity.add(scores.logprob, row.logprob_sampled)
        told = dict[str, Mean]()
        if is_own:
            told["policy/surprisal"] = mean_of((-row.logprob_sampled).tolist())
        if scores.num_outside_support:
            outside = Mean(scores.num_outside_support, len(row.target))
            told["policy/outside_support_frac"] = outside
        losses = row_loss(number, row, scores)
        yield Part(losses=losses, metrics=told, about=tasks_of(batch, row))


def take_step(
    core: Core,
    batch: Batch,
    row_loss: RowLoss,
    *,
    want_entropy: bool = False,
    want_value: bool = False,
    parity: ParityMeter | None = None,
    distribution: Distribution | None = None,
    max_kl: float | None = None,
) -> StepOutcome:
    """One ``guarded_step`` on ``scored_parts``. The engine sees the new weights.

    Args:
        core: The learner's parts.
        batch: What to train on.
        row_loss: As in ``scored_parts``.
        want_entropy: As there.
        want_value: As there.
        parity: As there.
        distribution: As there.
        max_kl: Take no step when ``policy/approx_kl`` says that the policy is further than this
            from the one that sampled.
    """
    parts = scored_parts(
        core, batch, row_loss, want_entropy=want_entropy, want_value=want_value, parity=parity,
        distribution=distribution,
    )  # fmt: skip
    outcome = guarded_step(core, parts, max_kl=max_kl)
    if outcome.skipped is None and not outcome.is_too_far:
        core.sync()
    outcome.metrics = merge([outcome.metrics, _of_left_out(batch)])
    return outcome


def _of_left_out(batch: Batch) -> dict[str, Mean]:
    """What is told of episodes that a step could do without."""
    left_out = [batch.episodes[index] for index in batch.skipped]
    recorded = [-p for e in left_out for turn in e.turns for p in turn.action_logprobs]
    told = {"policy/surprisal": mean_of(recorded)} if recorded else {}
    return told | {"update/skipped_frac": Mean(len(recorded), batch.num_actions)}


def as_update(
    outcomes: Sequence[StepOutcome],
    *,
    metrics: Mapping[str, Mean] | None = None,
    warnings: tuple[str, ...] = (),
) -> Update:
    """What some steps came to; of one that was refused only why."""
    skipped = [outcome.skipped for outcome in outcomes if outcome.skipped is not None]
    taken = [outcome.metrics for outcome in outcomes if outcome.skipped is None]
    merged = merge([metrics or {}, *taken])
    return Update(
        metrics=merged,
        num_optimiser_steps=len(taken),
        skipped=tuple(skipped),
        warnings=warnings + told_if_ended(merged),
    )
