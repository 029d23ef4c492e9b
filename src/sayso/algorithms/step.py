"""One optimiser step over a batch: forward, loss, backward row by row, then the guarded step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from sayso.algorithms.base import Skipped, Update
from sayso.algorithms.core import Core
from sayso.algorithms.optim import told_if_ended
from sayso.algorithms.parity import ParityMeter
from sayso.data.batch import Batch, PackedRow
from sayso.losses.loss import Loss
from sayso.metrics import Mean, mean_of, merge
from sayso.models.distribution import Distribution
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


def accumulate(
    core: Core,
    batch: Batch,
    row_loss: RowLoss,
    *,
    want_entropy: bool = False,
    want_value: bool = False,
    parity: ParityMeter | None = None,
    distribution: Distribution | None = None,
) -> StepOutcome:
    """Add up the gradient of a batch, row by row.

    Args:
        core: The learner's parts; gradients are added to its parameters.
        batch: What to train on.
        row_loss: The terms of one row's loss, each already divided by counts of the whole step.
        want_entropy: Scores must hold entropies.
        want_value: Scores must hold values.
        parity: Filled on a first pass, when the weights are those that sampled.
        distribution: What the tokens are scored under; unset: what is sampled from.

    Returns:
        Metrics; or why it was given up, with no gradient left behind.
    """
    parts: list[dict[str, Mean]] = []
    is_own = all(e.policy_version >= 0 for e in batch.episodes)  # what is stored was said by others
    for number, row in enumerate(batch.rows):
        scores = score_row(
            core.lm, row, distribution or core.distribution, want_entropy=want_entropy,
            want_value=want_value,
        )  # fmt: skip
        if parity is not None:
            parity.add(scores.logprob, row.logprob_sampled)
        losses = row_loss(number, row, scores)
        fp(Failpoint.FORWARD)
        value = torch.stack([loss.value for loss in losses]).sum()
        if not bool(torch.isfinite(value)):
            core.optimiser.zero_grad()
            names = ", ".join(batch.episodes[e].task.id for e in row.episodes[:4])
            return StepOutcome(
                skipped=Skipped(reason=f"the loss is {value.item()} (tasks {names}, …)")
            )
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        fp(Failpoint.BACKWARD)
        parts += [dict(loss.metrics) for loss in losses]
        if is_own:
            parts.append({"policy/surprisal": mean_of((-row.logprob_sampled).tolist())})
        if scores.num_outside_support:
            outside = Mean(scores.num_outside_support, len(row.target))
            parts.append({"policy/outside_support_frac": outside})
    left_out = [batch.episodes[index] for index in batch.skipped]
    recorded = [-p for e in left_out for turn in e.turns for p in turn.action_logprobs]
    parts.append({"policy/surprisal": mean_of(recorded)} if recorded else {})
    skipped = Mean(len(recorded), batch.num_actions)
    return StepOutcome(metrics=merge(parts) | {"update/skipped_frac": skipped})


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
    """``accumulate``, then one guarded optimiser step. The engine sees the new weights.

    Args:
        core: The learner's parts.
        batch: What to train on.
        row_loss: As in ``accumulate``.
        want_entropy: As there.
        want_value: As there.
        parity: As there.
        distribution: As there.
        max_kl: Take no step when ``policy/approx_kl`` says that the policy is further than this
            from the one that sampled.
    """
    core.optimiser.zero_grad()
    outcome = accumulate(
        core,
        batch,
        row_loss,
        want_entropy=want_entropy,
        want_value=want_value,
        parity=parity,
        distribution=distribution,
    )
    if outcome.skipped is not None:
        return outcome
    moved = outcome.metrics.get("policy/approx_kl")
    if max_kl is not None and moved is not None and moved.value > max_kl:
        core.optimiser.zero_grad()
        return StepOutcome(metrics=outcome.metrics, is_too_far=True)
    metrics, skipped = core.optimiser.step()
    if skipped is None:
        core.sync()
    return StepOutcome(metrics=outcome.metrics | metrics, skipped=skipped)


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
