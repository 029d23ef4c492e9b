"""One step towards given actions: what the imitating algorithms share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sayso.algorithms.core import Core
from sayso.algorithms.step import RowLoss, StepOutcome, take_step
from sayso.data.batch import Batch
from sayso.types import Episode


def imitate(
    core: Core,
    episodes: Sequence[Episode],
    row_loss_of: Callable[[Batch], RowLoss],
    *,
    want_value: bool = False,
) -> StepOutcome:
    """Pack, score, step. What the sampler recorded plays no part: anybody may have acted.

    Args:
        core: The learner's parts.
        episodes: At least one, each with action tokens.
        row_loss_of: The loss of a batch.
        want_value: Scores must hold values.
    """
    core.sync()  # what the sampler remembers of a rollout is memory for the update
    batch = core.pack(list(episodes))
    return take_step(
        core, batch, row_loss_of(batch), want_value=want_value, distribution=core.imitated
    )
